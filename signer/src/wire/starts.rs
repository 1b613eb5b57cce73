//! How a node that started makes itself known to a peer.

use serde::{Deserialize, Serialize};

use countersign_policy::{Envelope, Hash};

/// One start of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartName {
    /// Counted from 1.
    pub incarnation: u64,
    /// 32 random bytes, chosen at that start and kept.
    pub nonce: Hash,
}

/// A node says that it started, and how far it knows the recipient's ledger. Repeating it is harmless.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterStart {
    /// This start.
    pub start: StartName,
    /// The newest starts before it, oldest first, at most [`MAX_STARTS`]: a copy of the store cannot name those that came
    /// after it was made.
    pub earlier: Vec<StartName>,
    /// The last entry of the sender's own ledger.
    pub head: u64,
    /// The last entry of the recipient's ledger that the sender holds durably.
    pub known: u64,
}

/// The greatest number of earlier starts in one call.
pub const MAX_STARTS: usize = 256;

/// The recipient's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRegistered {
    /// Its incarnation-ack statement over the sender's nonce, unless it refuses.
    pub ack: Option<Envelope>,
    /// Why it refuses: the start does not follow the newest one that it knows.
    pub refusal: Option<String>,
    /// The last entry of the sender's ledger that the recipient holds. A sender that does not have it runs on an old copy of
    /// its store, or has a twin.
    pub last: Option<Envelope>,
    /// The last entry of the recipient's own ledger: the sender has caught up when it holds it.
    pub head: u64,
    /// The next entries of the recipient's ledger that the sender lacks, oldest first.
    pub entries: Vec<Envelope>,
}
