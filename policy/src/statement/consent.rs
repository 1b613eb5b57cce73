//! What an operator at an offline machine says, where the bundle demands several of them.

use serde::{Deserialize, Serialize};

use super::session::check_digests;
use super::{Body, Kind};
use crate::hash::Hash;
use crate::id::MemberId;

/// An operator read what a package asks a machine to sign, and agrees. It counts for that package at that machine alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfflineConsent {
    /// SHA-256 of the request package.
    pub package: Hash,
    /// Digest of the sign-request statement in it.
    pub request: Hash,
    /// The exact signing digests.
    pub digests: Vec<Hash>,
    /// The machine.
    pub machine: MemberId,
}

impl Body for OfflineConsent {
    const KIND: Kind = Kind::OfflineConsent;

    fn check(&self) -> Result<(), String> {
        check_digests(&self.digests)
    }
}
