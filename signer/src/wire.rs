//! What coordinators and nodes say to a node over HTTPS: the bodies of its API. All of it is JSON; statements travel as
//! DSSE envelopes exactly as they were signed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use countersign_policy::{Envelope, Hash, KeyId, MemberId, Protocol, Signature, Timestamp};

use crate::plain::plain;

mod endings;
mod starts;
mod stops;
mod succession;

pub use endings::{Abort, SessionEnded, SessionOutcome};
pub use starts::{MAX_STARTS, RegisterStart, StartName, StartRegistered};
pub use stops::{
    ExchangeStatements, Freezes, GiveStatement, RefusedStatement, StatementTaken,
    StatementsExchanged,
};
pub use succession::{ActivateBundle, BundleAck, Bundles, Candidate, SubmitBundle};

/// Paths of the API. One place, so that client and server cannot differ.
pub mod path {
    /// POST [`Prepare`](super::Prepare): check everything, reserve, answer with a receipt.
    pub const PREPARE: &str = "/v1/prepare";
    /// POST [`Sign`](super::Sign): all receipts; confirm with the peers, release or abort, run the protocol.
    pub const SIGN: &str = "/v1/sign";
    /// POST [`Stop`](super::Stop): never sign this request.
    pub const STOP: &str = "/v1/stop";
    /// POST [`Abort`](super::Abort): never sign in this session; what it reserved can return.
    pub const ABORT: &str = "/v1/abort";
    /// POST [`SubmitBundle`](super::SubmitBundle): propose a successor of the active bundle, answered by
    /// [`BundleAck`](super::BundleAck); repeating it, or the active one, is harmless. GET: the chain as [`Bundles`](super::Bundles).
    pub const BUNDLES: &str = "/v1/bundles";
    /// POST [`ActivateBundle`](super::ActivateBundle): follow an acknowledged successor, answered by [`BundleAck`](super::BundleAck).
    pub const ACTIVATE: &str = "/v1/bundles/activate";
    /// POST [`GiveStatement`](super::GiveStatement) with a veto, answered by [`StatementTaken`](super::StatementTaken).
    pub const VETO: &str = "/v1/veto";
    /// POST [`GiveStatement`](super::GiveStatement) with a freeze, answered by [`StatementTaken`](super::StatementTaken).
    pub const FREEZE: &str = "/v1/freeze";
    /// POST [`GiveStatement`](super::GiveStatement) with an unfreeze, answered by [`StatementTaken`](super::StatementTaken).
    pub const UNFREEZE: &str = "/v1/unfreeze";
    /// POST [`GiveStatement`](super::GiveStatement) with an observation, answered by [`StatementTaken`](super::StatementTaken).
    pub const OBSERVATIONS: &str = "/v1/observations";
    /// GET [`Freezes`](super::Freezes): what stands still on this node.
    pub const FREEZES: &str = "/v1/freezes";
    /// POST [`StartCeremony`](super::StartCeremony). GET `/v1/ceremonies/{digest}`: [`CeremonyStatus`](super::CeremonyStatus).
    pub const CEREMONIES: &str = "/v1/ceremonies";
    /// GET [`NodeStatus`](super::NodeStatus).
    pub const STATUS: &str = "/v1/status";
    /// GET [`Pools`](super::Pools): presignatures that can be named in an authorization.
    pub const POOLS: &str = "/v1/pools";
    /// GET [`Records`](super::Records): the node's records of refusals and operations, newest first (`?limit=N`).
    pub const RECORDS: &str = "/v1/records";
    /// POST [`PresignInvitation`](super::PresignInvitation) from a peer (nodes only): take part in filling a pool.
    pub const PRESIGN: &str = "/peer/v1/presign";
    /// POST [`PushEntries`](super::PushEntries) from a peer (nodes only), answered by [`EntriesKnown`](super::EntriesKnown).
    pub const ENTRIES: &str = "/peer/v1/entries";
    /// POST [`RegisterStart`](super::RegisterStart) from a peer (nodes only), answered by [`StartRegistered`](super::StartRegistered).
    pub const START: &str = "/peer/v1/start";
    /// POST [`ExchangeStatements`](super::ExchangeStatements) from a peer (nodes only), answered by
    /// [`StatementsExchanged`](super::StatementsExchanged).
    pub const STATEMENTS: &str = "/peer/v1/statements";
    /// POST: binary frames from a peer (nodes only).
    pub const FRAMES: &str = "/peer/v1/frames";
}

/// Asks a participant to check and reserve.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepare {
    /// The authorization statement.
    pub authorization: Envelope,
    /// The sign-request statement.
    pub request: Envelope,
    /// The approvals named in the authorization.
    pub approvals: Vec<Envelope>,
}

/// The receipt.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// A receipt statement.
    pub receipt: Envelope,
}

/// Hands every participant all receipts. The answer comes when the signature is there or cannot be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The session.
    pub session: Hash,
    /// One receipt of each participant and then of each witness, in their order.
    pub receipts: Vec<Envelope>,
}

/// The signature, verified by the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// One signature for each digest of the authorization; none from a witness, which only confirms.
    pub signatures: Vec<Signature>,
    /// From a witness of an offline session: its confirm, with what it found when it looked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Envelope>,
}

/// Asks a node never to sign a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The sign-request statement.
    pub request: Envelope,
    /// The cancel statement, or an officer's approval statement with the verdict `reject`.
    pub cancel: Envelope,
}

/// The durable answer to a stop.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopped {
    /// A stop-ack statement.
    pub ack: Envelope,
}

/// Starts a key ceremony. Repeating it is harmless.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartCeremony {
    /// The key-ceremony statement.
    pub order: Envelope,
}

/// Where a ceremony stands on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeremonyStatus {
    /// Digest of the order.
    pub ceremony: Hash,
    /// The key.
    pub key: KeyId,
    /// The present step.
    pub step: CeremonyStep,
    /// The node's transcript statement, once everything succeeded.
    pub transcript: Option<Envelope>,
}

/// The steps of a ceremony.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CeremonyStep {
    /// Making the four safe primes of a CGGMP group; minutes.
    Primes {
        /// Primes found, of four.
        found: u8,
        /// Seconds since the start.
        seconds: u64,
    },
    /// The auxiliary data of a CGGMP group is exchanged.
    Auxiliary,
    /// Distributed key generation.
    KeyGeneration,
    /// Every node makes test signatures with its stored share.
    TestSignatures,
    /// All nodes signed the transcript; a bundle can pin the key.
    Complete,
    /// It failed; a new order can be given for the same key.
    Failed {
        /// Why, and who is to blame if that is known.
        reason: String,
    },
}

/// What a node says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeStatus {
    /// The node.
    pub node: MemberId,
    /// Software version.
    pub version: String,
    /// Its clock.
    pub now: Timestamp,
    /// The pinned genesis.
    pub genesis: Hash,
    /// The active bundle.
    pub bundle: Hash,
    /// Its version.
    pub bundle_version: u64,
    /// Last sequence number of its ledger.
    pub ledger_sequence: u64,
    /// Digest of that entry.
    pub ledger_head: Hash,
    /// Keys of which it holds a share.
    pub keys: Vec<HeldKey>,
    /// Peers and when they last answered.
    pub peers: BTreeMap<MemberId, PeerState>,
    /// The number of this start; peers refuse lower ones.
    pub incarnation: u64,
    /// Whether enough peers know of this start: before that the node promises nothing.
    pub registered: bool,
    /// The name of the set of freezes in force; [`Hash::ZERO`] for none.
    pub freeze_head: Hash,
    /// Progress of background work, by name, for people.
    pub background: BTreeMap<String, String>,
    /// What it did since it started, for whoever measures it.
    #[serde(default)]
    pub figures: NodeFigures,
}

/// What a node did since it started, in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFigures {
    /// Commits of its state file, each of which waited for the disk.
    pub commits: u64,
    /// Rows in them.
    pub rows: u64,
    /// By part of a signature (`admit`, `reserve`, `confirm`, `release`, `protocol`): how many took at most so many
    /// microseconds, and more than the class before.
    pub stages: BTreeMap<String, BTreeMap<u64, u64>>,
}

/// A key of which the node holds a share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldKey {
    /// The key.
    pub key: KeyId,
    /// Its protocol.
    pub protocol: Protocol,
    /// Whether the active bundle pins it and lets it sign.
    pub active: bool,
    /// Whether a peer was caught cheating in a DKLs23 session with this key: it signs no more with that peer.
    pub banned: Vec<MemberId>,
}

/// How a peer is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerState {
    /// Whether a connection stands.
    pub connected: bool,
    /// The last answer.
    pub last_seen: Option<Timestamp>,
}

/// Presignatures in memory, free to be named in an authorization.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pools {
    /// Random since the node's last start: presignatures made together with an earlier process are worth nothing.
    pub process: Hash,
    /// One entry per key, path and signer set.
    pub pools: Vec<PoolEntry>,
}

/// One pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolEntry {
    /// The key.
    pub key: KeyId,
    /// The derivation path.
    pub path: countersign_policy::DerivationPath,
    /// The signer set, in ascending order.
    pub signers: Vec<MemberId>,
    /// Ids of the presignatures, oldest first.
    pub available: Vec<Hash>,
}

/// A peer asks to make one presignature together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresignInvitation {
    /// 32 random bytes of the inviting node: the execution id derives from it.
    pub nonce: Hash,
    /// The key.
    pub key: KeyId,
    /// The derivation path.
    pub path: countersign_policy::DerivationPath,
    /// The signer set, in ascending order; its first member invites.
    pub signers: Vec<MemberId>,
    /// The name of the group's auxiliary data to use.
    pub auxiliary: String,
    /// The inviting process, as in [`Pools::process`].
    pub process: Hash,
}

/// The invited node takes part.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresignAccepted {
    /// The invited process, as in [`Pools::process`].
    pub process: Hash,
}

/// A peer pushes its ledger entries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushEntries {
    /// The sender's ledger entries that the recipient lacks, oldest first; at most 1,000.
    pub entries: Vec<Envelope>,
    /// The last entry of the recipient's ledger that the sender holds durably.
    pub known: u64,
    /// The last entry of the sender's own ledger.
    pub head: u64,
    /// The sender's incarnation. Lower than one that the recipient registered: an old copy, or a twin.
    pub incarnation: u64,
}

/// How far the recipient knows the sender's ledger now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntriesKnown {
    /// The last entry held durably.
    pub known: u64,
    /// That entry, when it lies beyond the sender's head: then the sender runs on an old copy of its store.
    pub beyond: Option<Envelope>,
}

/// A node's records, newest first. They move into the transparency log when that arrives.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// The records.
    pub records: Vec<Record>,
}

/// One operation or refusal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Position, from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What was attempted: prepare, sign, stop, bundle, ceremony, peer.
    pub operation: String,
    /// The subject: a request, session, bundle or ceremony digest, or a peer.
    pub subject: String,
    /// How it ended: a stable code such as `signed`, `refused/policy`.
    pub outcome: String,
    /// For people.
    pub detail: String,
}

/// An error as RFC 9457 problem+json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {}", plain(title), plain(detail))]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// A stable name, `urn:countersign:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text that is the same for every problem of the type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do about it.
    pub detail: String,
    /// Nodes whose messages were wrong, if that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub culprits: Vec<MemberId>,
    /// Nodes that did not answer in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MemberId>,
    /// Policy's reasons, when policy said no.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<countersign_policy::Reason>,
}

/// What a node can answer besides success. The code is the end of the problem's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemCode {
    /// The body is not what the path takes.
    Malformed,
    /// The caller's certificate does not allow this.
    Forbidden,
    /// A statement is forged, expired, for somebody else, or not canonical.
    Statement,
    /// The transaction was refused by the decoder, or does not belong to wallet, key and path.
    Transaction,
    /// Policy says no.
    Policy,
    /// An approval does not count, or approvals are missing.
    Approval,
    /// A freeze stands in the way, or came meanwhile.
    Frozen,
    /// This node has not made its start known to enough peers, or a peer knows a later start of it.
    Unregistered,
    /// The authorization does not fit the request, or was used before.
    Authorization,
    /// The external id was used for another payment.
    ExternalId,
    /// The request was stopped.
    StoppedRequest,
    /// The presignature is unknown, or bound to something else.
    Presignature,
    /// The receipts do not agree.
    Receipts,
    /// A peer sent something wrong, or the protocol failed.
    Protocol,
    /// Peers did not answer in time.
    Timeout,
    /// The session is aborted for ever on this node.
    Aborted,
    /// Nothing is known by this name.
    NotFound,
    /// The bundle does not continue the chain, or pins a key that this node disagrees with.
    Bundle,
    /// Too much at once; try again.
    Busy,
    /// The clock is in doubt.
    Clock,
    /// The node cannot write or read its store, or has another fault.
    Internal,
}

impl ProblemCode {
    const TABLE: [(ProblemCode, &'static str, u16, &'static str); 21] = [
        (
            Self::Malformed,
            "malformed",
            400,
            "the body is not what this path takes",
        ),
        (
            Self::Forbidden,
            "forbidden",
            403,
            "the caller may not do this",
        ),
        (
            Self::Statement,
            "statement",
            422,
            "a statement is not acceptable",
        ),
        (
            Self::Transaction,
            "transaction",
            422,
            "the transaction is refused",
        ),
        (Self::Policy, "policy", 403, "policy says no"),
        (
            Self::Approval,
            "approval",
            409,
            "an approval is missing or does not count",
        ),
        (
            Self::Frozen,
            "frozen",
            409,
            "a freeze came in between, or nodes hold different freezes",
        ),
        (
            Self::Unregistered,
            "unregistered",
            503,
            "the node's start is not known to enough peers",
        ),
        (
            Self::Authorization,
            "authorization",
            409,
            "the authorization is not acceptable",
        ),
        (
            Self::ExternalId,
            "external-id",
            409,
            "the external id belongs to another payment",
        ),
        (
            Self::StoppedRequest,
            "stopped",
            409,
            "the request was stopped",
        ),
        (
            Self::Presignature,
            "presignature",
            409,
            "the presignature cannot be used",
        ),
        (Self::Receipts, "receipts", 409, "the receipts do not agree"),
        (Self::Protocol, "protocol", 502, "the protocol failed"),
        (
            Self::Timeout,
            "timeout",
            504,
            "peers did not answer in time",
        ),
        (Self::Aborted, "aborted", 409, "the session is aborted"),
        (
            Self::NotFound,
            "not-found",
            404,
            "nothing is known by this name",
        ),
        (Self::Bundle, "bundle", 409, "the bundle is not acceptable"),
        (Self::Busy, "busy", 503, "too much at once"),
        (Self::Clock, "clock", 503, "the clock is in doubt"),
        (Self::Internal, "internal", 500, "the node has a fault"),
    ];

    fn row(self) -> (&'static str, u16, &'static str) {
        let found = Self::TABLE.iter().find(|row| row.0 == self);
        found.map_or(("internal", 500, "the node has a fault"), |row| {
            (row.1, row.2, row.3)
        })
    }

    /// The last part of the problem's type.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// A problem of this type. The detail often quotes what a caller sent: it is cut, and stays on one line.
    pub fn problem(self, detail: impl Into<String>) -> Problem {
        let (code, status, title) = self.row();
        Problem {
            kind: format!("urn:countersign:problem:{code}"),
            title: title.to_owned(),
            status,
            detail: plain(&detail.into()),
            culprits: Vec::new(),
            missing: Vec::new(),
            reasons: Vec::new(),
        }
    }
}

impl Problem {
    /// The code that made it, if it is one of a node's.
    pub fn code(&self) -> Option<ProblemCode> {
        let code = self.kind.strip_prefix("urn:countersign:problem:")?;
        ProblemCode::TABLE
            .iter()
            .find(|row| row.1 == code)
            .map(|row| row.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_code_has_a_row_of_its_own() {
        for (code, name, status, _) in ProblemCode::TABLE {
            let problem = code.problem("x");
            assert_eq!(problem.code(), Some(code));
            assert_eq!(problem.status, status);
            assert!(problem.kind.ends_with(name));
        }
    }
}
