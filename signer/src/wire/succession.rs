//! How a node is led from one policy bundle to the next.

use serde::{Deserialize, Serialize};

use countersign_policy::{Envelope, Hash, MemberId, Timestamp};

/// A successor of the active bundle, with what a node needs to judge it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitBundle {
    /// The policy-bundle statement.
    pub bundle: Envelope,
    /// For each new key: the transcripts of all its nodes.
    pub transcripts: Vec<Envelope>,
}

/// A node durably holds the bundle as the one successor of its active bundle, or follows it already.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleAck {
    /// The node.
    pub node: MemberId,
    /// Digest of the bundle.
    pub bundle: Hash,
    /// Its version.
    pub version: u64,
    /// Whether the node follows it: it was activated here.
    pub active: bool,
    /// The node's bundle-ack statement: the same one whenever it is asked again. None for the genesis, and for bundles that
    /// the node was led through without having acknowledged them.
    pub ack: Option<Envelope>,
}

/// Makes a successor the active bundle. The node verifies everything itself; it need not have heard of the bundle before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivateBundle {
    /// The policy-bundle statement.
    pub bundle: Envelope,
    /// For each new key: the transcripts of all its nodes. May be empty when the node acknowledged the bundle itself.
    pub transcripts: Vec<Envelope>,
    /// Bundle-ack statements of nodes. The node adds those that it knows.
    pub acks: Vec<Envelope>,
}

/// The chain a node follows, and what may come next.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundles {
    /// Digest of the active bundle.
    pub active: Hash,
    /// Its version.
    pub version: u64,
    /// All bundles, oldest first.
    pub chain: Vec<Envelope>,
    /// The successor that the node acknowledged, until it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// The acknowledgements that the node keeps, of all bundles: what a machine with no network needs to follow them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acks: Vec<Envelope>,
}

/// A successor that is acknowledged and not active.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The policy-bundle statement.
    pub bundle: Envelope,
    /// The bundle-ack statements that the node knows, its own among them.
    pub acks: Vec<Envelope>,
    /// The vetoes that the node knows: with one, the bundle never becomes active.
    pub vetoes: Vec<Envelope>,
    /// When it can become active, once enough nodes have acknowledged it.
    pub activates_at: Option<Timestamp>,
}
