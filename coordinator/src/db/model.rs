//! What is stored about a sign request.

use std::fmt;
use std::str::FromStr;

use countersign_policy::statement::TransactionHex;
use countersign_policy::{
    Address, Decision, DerivationPath, Envelope, ExternalId, Hash, Intent, KeyId, MemberId,
    Network, SigningDigest, Timestamp, WalletId,
};
use serde::{Deserialize, Serialize};

use crate::lifecycle::{State, StateName, Waiting, Why};

/// What was decoded from the request's bytes, and what was decided about it when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFacts {
    /// The decoded meaning, with the paying address.
    pub intent: Intent,
    /// The paying address.
    pub from: Address,
    /// The derivation path of the key that signs.
    pub path: DerivationPath,
    /// The unsigned transaction.
    pub unsigned: TransactionHex,
    /// The signing digest.
    pub digest: SigningDigest,
    /// The decision.
    pub decision: Decision,
    /// The bundle it was decided under.
    pub bundle: Hash,
}

/// A request as stored.
#[derive(Debug, Clone)]
pub struct StoredRequest {
    /// Digest of the sign-request statement.
    pub id: Hash,
    /// Who asked.
    pub initiator: MemberId,
    /// The payment layer's name for the payment.
    pub external_id: ExternalId,
    /// The wallet.
    pub wallet: WalletId,
    /// Its key.
    pub key: KeyId,
    /// The network.
    pub network: Network,
    /// The statement, as received.
    pub envelope: Envelope,
    /// What was decoded and decided.
    pub facts: RequestFacts,
    /// Where it stands.
    pub state: State,
    /// The newest attempt; 0 when there was none.
    pub attempt: u32,
    /// Counts the changes.
    pub revision: i64,
    /// When it came.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The statement's expiry.
    pub expires_at: Timestamp,
}

/// A request that has just been verified and decided.
#[derive(Debug)]
pub struct NewRequest<'a> {
    /// Digest of the statement.
    pub id: Hash,
    /// Who asks.
    pub initiator: &'a MemberId,
    /// The payment layer's name.
    pub external_id: &'a ExternalId,
    /// The wallet.
    pub wallet: &'a WalletId,
    /// The key.
    pub key: &'a KeyId,
    /// The network.
    pub network: Network,
    /// The statement.
    pub envelope: &'a Envelope,
    /// What was decoded and decided.
    pub facts: &'a RequestFacts,
    /// The statement's expiry.
    pub expires_at: Timestamp,
    /// What follows from the decision.
    pub decided: Decided,
}

/// What follows from the first decision.
#[derive(Debug, Clone)]
pub enum Decided {
    /// Policy says no; final.
    Blocked(Why),
    /// Approvals are needed first.
    PendingApproval(Waiting),
    /// Allowed, but it could not be authorized yet.
    Received,
    /// Allowed and authorized.
    Authorized(NewAttempt),
}

/// An authorization that is stored before it is sent.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// From 1.
    pub attempt: u32,
    /// The authorization statement.
    pub authorization: Envelope,
}

/// An attempt as stored.
#[derive(Debug, Clone)]
pub struct StoredAttempt {
    /// From 1.
    pub attempt: u32,
    /// The authorization statement.
    pub authorization: Envelope,
    /// The receipts that were handed out, if they were stored.
    pub receipts: Option<Vec<Envelope>>,
    /// How it ended.
    pub outcome: Option<String>,
}

/// A client's idempotency key and how its call is answered.
#[derive(Debug)]
pub struct IdempotencyKey<'a> {
    /// The key.
    pub key: &'a str,
    /// How long the call may take to be answered, in milliseconds.
    pub answer_within: i64,
    /// Whether the call is answered at once (202) unless the request is final.
    pub at_once: bool,
}

/// An answer that was given while the request was not final: it is given again to whoever repeats the call.
pub type StoredAnswer = (u16, String);

/// What became of a new request.
#[derive(Debug)]
pub enum Created {
    /// It was stored.
    New(Box<StoredRequest>),
    /// The very same statement is known.
    Known {
        /// The request.
        request: Box<StoredRequest>,
        /// The answer that was given to the same call before.
        answer: Option<StoredAnswer>,
    },
    /// The same call is being answered right now.
    InFlight(Hash),
    /// The idempotency key was used with another statement.
    KeyReused(Hash),
    /// The external id was used in another statement.
    ExternalIdTaken(Hash),
}

/// One change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The state it came into.
    pub state: String,
    /// Why, and how.
    pub detail: String,
}

/// What a list shows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this state.
    pub state: Option<StateName>,
    /// Only this wallet.
    pub wallet: Option<String>,
    /// Only this network.
    pub network: Option<String>,
    /// Only this external id.
    pub external_id: Option<String>,
    /// Only this initiator.
    pub initiator: Option<String>,
    /// Only those that came at or after this time.
    pub created_after: Option<Timestamp>,
}

/// A place in the list, which runs from the newest to the oldest. It names a request, not a number of rows, so that what
/// comes later moves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageCursor {
    /// When the last request of the page before came, in milliseconds since 1970.
    pub created_at: i64,
    /// Its id.
    pub id: String,
}

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.created_at, self.id)
    }
}

/// The text is no [`PageCursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that this API gave")]
pub struct NoCursor;

impl FromStr for PageCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (at, id) = text.split_once('-').ok_or(NoCursor)?;
        let id: Hash = id.parse().map_err(|_| NoCursor)?;
        let cursor = Self {
            created_at: at.parse().map_err(|_| NoCursor)?,
            id: id.to_hex(),
        };
        // One text for one place: no signs, no zeros in front, no capitals.
        (cursor.to_string() == text)
            .then_some(cursor)
            .ok_or(NoCursor)
    }
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// The requests, newest first.
    pub requests: Vec<StoredRequest>,
    /// Where the next page starts, if there is one.
    pub next: Option<PageCursor>,
}

/// What is stored together with a change of state.
#[derive(Debug, Default)]
pub(crate) struct Change<'a> {
    /// A new attempt.
    pub(crate) attempt: Option<&'a NewAttempt>,
    /// Events of states that were passed on the way, with their times.
    pub(crate) passed: &'a [Event],
    /// Receipts of the present attempt.
    pub(crate) receipts: Option<&'a [Envelope]>,
    /// How the present attempt ended.
    pub(crate) outcome: Option<&'a str>,
    /// What was decided when the request was decided again.
    pub(crate) facts: Option<&'a RequestFacts>,
}
