//! How a session ends for good, so that what it reserved can return.

use serde::{Deserialize, Serialize};

use countersign_policy::{Envelope, Hash, MemberId};

/// Asks a participant never to send its share for a session, reserved there or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// The authorization statement, expired or not.
    pub authorization: Envelope,
    /// The sign-request statement.
    pub request: Envelope,
}

/// How a session ended on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionOutcome {
    /// The node never sent its share and never will.
    Aborted,
    /// Too late: the node may have sent its share.
    Released,
}

/// The durable answer to an abort. The entry itself travels with the node's ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionEnded {
    /// The node.
    pub node: MemberId,
    /// The session.
    pub session: Hash,
    /// How it ended here.
    pub outcome: SessionOutcome,
}
