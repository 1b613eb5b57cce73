//! How one policy follows another: nodes acknowledge a successor, approvers may veto it.

use serde::{Deserialize, Serialize};

use super::{Body, Kind};
use crate::hash::Hash;
use crate::plain::plain_text;

/// A node verified a successor of its active bundle, keeps it durably, and acknowledges no other one in its place unless
/// that one names it in `supersedes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleAck {
    /// Digest of the successor.
    pub bundle: Hash,
    /// Its version.
    pub version: u64,
    /// Digest of the active bundle that it follows.
    pub predecessor: Hash,
}

impl Body for BundleAck {
    const KIND: Kind = Kind::BundleAck;

    fn check(&self) -> Result<(), String> {
        if self.version < 2 {
            return Err("the genesis is pinned, not acknowledged".into());
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
