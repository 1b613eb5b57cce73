//! The ledger: what this node promised, and what its peers say they promised (DESIGN section 5).
//!
//! Own entries are signed [`LedgerEntry`](countersign_policy::statement::LedgerEntry) statements, chained by envelope
//! digest, counted from 1. An answer comes only after the commit that holds it (I5), and a release and an abort of one
//! session exclude each other for ever.
//!
//! **What peers say.** [`Store::ingest`](super::Store::ingest) makes peers' entries count at once and writes them in the
//! transaction of the next operation that must be durable, at the latest after [`LAZY_WRITE`](super::LAZY_WRITE). A release
//! decided over the union is thus committed together with that union. [`Store::peer_position`](super::Store::peer_position)
//! reports only what is durable, so that a peer is never told that we hold what a crash could still take.

mod counted;
pub(super) mod index;
mod own;
mod peers;
mod recall;
pub(super) mod rules;
pub(super) mod spends;
pub(super) mod taken;

pub use counted::ObserveRefusal;
pub use own::OwnEntryRefusal;
pub use peers::{IngestRefusal, PeerPosition};
pub(super) use peers::{believable, parse_entry};

use countersign_policy::limits::{LimitHit, NonceAhead};
use countersign_policy::{Hash, LedgerGroupId, LimitId, MemberId, Timestamp};

use super::{OpError, StoreError};

/// A place in a ledger: an entry's sequence number and digest. Sequence 0 and [`Hash::ZERO`] before the first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerPosition {
    /// From 1; 0 for an empty ledger.
    pub sequence: u64,
    /// Digest of the entry's envelope.
    pub head: Hash,
}

impl LedgerPosition {
    /// The position of an empty ledger.
    pub const EMPTY: LedgerPosition = LedgerPosition {
        sequence: 0,
        head: Hash::ZERO,
    };
}

/// Where a session stands on this node. It leaves `Reserved` once and never comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Reserved, not decided.
    Reserved,
    /// The share may be sent.
    Released,
    /// The share will never be sent.
    Aborted,
    /// There is no share to send: this node only reserved the spend, so that limits count it.
    Witnessed,
}

/// A session of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionStatus {
    /// The session.
    pub session: Hash,
    /// Digest of its sign-request statement.
    pub request: Hash,
    /// Where it stands.
    pub state: SessionState,
    /// Sequence number of its reservation.
    pub sequence: u64,
    /// Sequence number of its release or abort.
    pub ended: Option<u64>,
    /// When it was reserved, by this node's clock.
    pub reserved_at: Timestamp,
}

/// Why a reservation is refused. `by` is none when this node's own ledger says so, and a peer otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReserveRefusal {
    /// This very authorization was reserved before. For repeating a receipt, if the state still allows it.
    #[error("session exists already, {state:?}, at ledger entry {}", .reserved.sequence)]
    SessionExists {
        /// Where it stands.
        state: SessionState,
        /// Its reservation.
        reserved: LedgerPosition,
    },
    /// No policy bundle is active yet.
    #[error("the limits of the policy are not known yet")]
    NoRules,
    /// This node wrote before that it will never sign in this session.
    #[error("the session was aborted on this node before it was reserved")]
    Aborted,
    /// Chain observers proved that the transaction can never be in a block; what it would spend no longer counts.
    #[error("the transaction is dead on its chain")]
    Dead,
    /// Too few nodes reserve the spend for a limit to be exact.
    #[error(
        "limit {limit} counts this spend: {needed} nodes of ledger group {group} must reserve it, participants and witnesses together; {found} do"
    )]
    TooFew {
        /// The limit.
        limit: LimitId,
        /// Whose ledgers it adds up.
        group: LedgerGroupId,
        /// How many of them must reserve.
        needed: usize,
        /// How many of them are named.
        found: usize,
    },
    /// A limit would be passed, by what this node knows.
    #[error("{0}")]
    Limit(LimitHit),
    /// The transaction's nonce is too far ahead of the last one that this node was told of.
    #[error("{0}")]
    NonceAhead(NonceAhead),
    /// Another authorization used the nonce.
    #[error("the authorization's nonce was used before")]
    NonceUsed,
    /// The request was stopped.
    #[error("the request was stopped{}", by_peer(.by))]
    Stopped {
        /// Who stopped it.
        by: Option<MemberId>,
    },
    /// The initiator used the external id for another request.
    #[error("the external id belongs to another request{}", by_peer(.by))]
    ExternalIdBound {
        /// The other request, where it is the first one known.
        request: Option<Hash>,
        /// Who reserved it.
        by: Option<MemberId>,
    },
    /// The same request came before with other signing digests.
    #[error("the request was reserved before with other signing digests")]
    DigestsChanged,
    /// The same bytes belong to another request.
    #[error("signing digest {digest} was reserved for request {request}")]
    DigestReserved {
        /// The digest.
        digest: Hash,
        /// Who has it.
        request: Hash,
    },
    /// The presignature was bound to a digest before.
    #[error("the presignature is burnt")]
    PresignatureBurnt,
    /// One request cannot fill the ledger.
    #[error(
        "the request was attempted {MAX_ATTEMPTS} times on this node; its initiator must sign a new one"
    )]
    TooManyAttempts,
    /// An earlier attempt is neither released nor aborted: abort it first, if its time is over.
    #[error("session {session} of the same request is still open")]
    SessionOpen {
        /// The earlier session.
        session: Hash,
    },
}

/// Why a release is refused. Of all but `Unknown` and `AlreadyReleased` the right consequence is an abort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefusal {
    /// No such session was reserved.
    #[error("no such session is reserved")]
    Unknown,
    /// This node is a witness of the session: it has no share to send.
    #[error("this node only witnesses the session")]
    Witness,
    /// Chain observers proved that the transaction can never be in a block.
    #[error("the transaction is dead on its chain")]
    Dead,
    /// A limit would be passed, by what all who reserved the spend know.
    #[error("{0}")]
    Limit(LimitHit),
    /// It was released before: nothing more may be sent.
    #[error("the session was released before, by ledger entry {}", .released.sequence)]
    AlreadyReleased {
        /// The release.
        released: LedgerPosition,
    },
    /// It is aborted for ever.
    #[error("the session is aborted")]
    Aborted,
    /// The request was stopped.
    #[error("the request was stopped{}", by_peer(.by))]
    Stopped {
        /// By whom; none for this node.
        by: Option<MemberId>,
    },
    /// A participant will never send its share.
    #[error("{peer} aborted the session")]
    PeerAborted {
        /// Who.
        peer: MemberId,
    },
    /// A peer reserved the initiator's external id for another request.
    #[error("the external id is reserved for another request{}", by_peer(.by))]
    ExternalIdContested {
        /// Who.
        by: Option<MemberId>,
    },
    /// A peer reserved the nonce for another session.
    #[error("the nonce is reserved for another session{}", by_peer(.by))]
    NonceContested {
        /// Who.
        by: Option<MemberId>,
    },
}

/// Why an abort is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AbortRefusal {
    /// No such session was reserved.
    #[error("no such session is reserved")]
    Unknown,
    /// Too late: the share may have been sent.
    #[error("the session was released")]
    Released,
    /// One request cannot fill the ledger.
    #[error("{MAX_ATTEMPTS} sessions of the request were excluded before they were reserved")]
    TooMany,
    /// Nothing to abort: this node has no share to send.
    #[error("this node only witnesses the session")]
    Witness,
}

/// The ledger's answer to [`Store::reserve`](super::Store::reserve).
pub type Reserved = Result<LedgerPosition, OpError<ReserveRefusal>>;
/// The ledger's answer to [`Store::release`](super::Store::release).
pub type Released = Result<LedgerPosition, OpError<ReleaseRefusal>>;
/// The ledger's answer to [`Store::abort`](super::Store::abort).
pub type Aborted = Result<LedgerPosition, OpError<AbortRefusal>>;

/// Reservations that one request can have on a node: a coordinator makes authorizations for free, and each costs every
/// node two ledger entries for ever.
pub(super) const MAX_ATTEMPTS: u16 = 1_000;

fn by_peer(by: &Option<MemberId>) -> String {
    by.as_ref()
        .map(|peer| format!(" (by {peer})"))
        .unwrap_or_default()
}

/// Cuts text for people to at most `max` bytes at a character's end.
pub(super) fn clipped(mut text: String, max: usize) -> String {
    if text.len() > max {
        let mut end = max;
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        text.truncate(end);
    }
    text
}

pub(super) type Fallible<T> = Result<T, StoreError>;
