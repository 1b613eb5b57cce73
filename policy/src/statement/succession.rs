//! How one policy follows another: nodes acknowledge a successor, approvers may veto it.

use serde::{Deserialize, Serialize};

use super::{Body, Kind, strictly_ascending};
use crate::hash::Hash;
use crate::plain::plain_text;

/// How far a node stands behind a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckStage {
    /// It verified the successor and keeps it durably. Enough of these start the activation delay.
    Kept,
    /// The delay passed since enough nodes kept it, and this node knows of no veto. Enough of these activate the successor,
    /// for good: a veto that comes later changes nothing.
    Confirmed,
}

/// A node stands behind one successor of its active bundle, durably, and behind no other one in its place unless that one
/// names it in `supersedes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleAck {
    /// Digest of the successor.
    pub bundle: Hash,
    /// Its version.
    pub version: u64,
    /// Digest of the active bundle that it follows.
    pub predecessor: Hash,
    /// How far the node stands behind it.
    pub stage: AckStage,
    /// Other successors that this node had confirmed before and gave up for this one, which supersedes them; in ascending
    /// order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Hash>,
}

/// Successors that one acknowledgement replaces.
const MAX_REPLACED: usize = 64;

impl Body for BundleAck {
    const KIND: Kind = Kind::BundleAck;

    fn check(&self) -> Result<(), String> {
        if self.version < 2 {
            return Err("the genesis is pinned, not acknowledged".into());
        }
        if !self.replaces.is_empty() {
            strictly_ascending("replaced bundles", &self.replaces)?;
        }
        if self.replaces.len() > MAX_REPLACED || self.replaces.contains(&self.bundle) {
            return Err(format!(
                "at most {MAX_REPLACED} other bundles are replaced, and none replaces itself"
            ));
        }
        Ok(())
    }
}

/// A policy approver stops a successor before it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veto {
    /// Digest of the successor.
    pub bundle: Hash,
    /// Why, for people; 1 to 128 bytes.
    pub reason: String,
}

impl Body for Veto {
    const KIND: Kind = Kind::Veto;

    fn check(&self) -> Result<(), String> {
        plain_text(&self.reason).map_err(|what| format!("the reason of a veto {what}"))
    }
}
