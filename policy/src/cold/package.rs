//! The request package as it is written.

use serde::{Deserialize, Serialize};

use super::PackageError;
use crate::bundle::ActivationEvidence;
use crate::canonical;
use crate::envelope::Envelope;
use crate::hash::Hash;

/// The version of the format. Another one is refused, older or newer: what a machine does not understand it does not sign.
pub const VERSION: u16 = 1;

/// The largest package, in bytes: a long chain of large bundles fits. A plain transfer stays below 64 KiB.
pub const MAX_PACKAGE: usize = 8 << 20;

/// What the first field says.
pub(super) const REQUEST: &str = "countersign-cold-request";
pub(super) const ORDER: &str = "countersign-cold-order";
pub(super) const RESPONSE: &str = "countersign-cold-response";

/// What is carried to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestPackage {
    /// What it is: `countersign-cold-request`.
    pub package: String,
    /// [`VERSION`].
    pub version: u16,
    /// The deployment.
    pub genesis: Hash,
    /// Bundles in order, each with the acknowledgements that made it count: from the genesis (which has none), or what follows the
    /// newest one that the machine knows.
    pub chain: Vec<ActivationEvidence>,
    /// The sign-request statement.
    pub request: Envelope,
    /// The approvals that the authorization names, in its order.
    pub approvals: Vec<Envelope>,
    /// The authorization statement.
    pub authorization: Envelope,
    /// The freezes in force, in ascending order of their digests.
    pub freezes: Vec<Envelope>,
    /// One receipt of each witness, in their order.
    pub receipts: Vec<Envelope>,
    /// One confirm of each witness, in their order, in which it clears the session.
    pub confirms: Vec<Envelope>,
}

impl RequestPackage {
    /// A package of this version; freezes are put in order.
    pub fn new(genesis: Hash, chain: Vec<ActivationEvidence>, session: SessionEvidence) -> Self {
        let SessionEvidence {
            request,
            approvals,
            authorization,
            mut freezes,
            receipts,
            confirms,
        } = session;
        freezes.sort_by_key(Envelope::digest);
        Self {
            package: REQUEST.to_owned(),
            version: VERSION,
            genesis,
            chain,
            request,
            approvals,
            authorization,
            freezes,
            receipts,
            confirms,
        }
    }

    /// The bytes: the same for the same content.
    ///
    /// # Errors
    /// [`PackageError::Malformed`] and [`PackageError::TooLarge`]: what nobody could read is not written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PackageError> {
        let bytes = canonical::to_vec(self)?;
        require_size(bytes.len())?;
        Ok(bytes)
    }

    /// Reads bytes that [`RequestPackage::to_bytes`] wrote, and nothing else. Nothing in it is verified.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackageError> {
        require_size(bytes.len())?;
        require_kind(bytes, REQUEST)?;
        Ok(canonical::from_slice(bytes, MAX_PACKAGE)?)
    }
}

/// What is known about one session.
#[derive(Debug, Clone)]
pub struct SessionEvidence {
    /// The sign-request statement.
    pub request: Envelope,
    /// The approvals that the authorization names.
    pub approvals: Vec<Envelope>,
    /// The authorization statement.
    pub authorization: Envelope,
    /// The freezes in force.
    pub freezes: Vec<Envelope>,
    /// The witnesses' receipts.
    pub receipts: Vec<Envelope>,
    /// Their confirms.
    pub confirms: Vec<Envelope>,
}

fn require_size(size: usize) -> Result<(), PackageError> {
    match size > MAX_PACKAGE {
        true => Err(PackageError::TooLarge { size }),
        false => Ok(()),
    }
}

/// The kind and version are looked at first, so that another version is called that and not malformed.
pub(super) fn require_kind(bytes: &[u8], kind: &'static str) -> Result<(), PackageError> {
    #[derive(Deserialize)]
    struct Peek {
        package: String,
        version: u64,
    }
    let peek: Peek = serde_json::from_slice(bytes).map_err(canonical::CanonicalError::from)?;
    if peek.package != kind {
        return Err(PackageError::Kind { expected: kind });
    }
    if peek.version != u64::from(VERSION) {
        return Err(PackageError::Version {
            found: peek.version,
        });
    }
    Ok(())
}
