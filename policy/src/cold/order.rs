//! What is carried to a machine that is to make a key.

use serde::{Deserialize, Serialize};

use super::chain::follow;
use super::package::{ORDER, require_kind};
use super::{MAX_PACKAGE, PackageError, Trust, VERSION};
use crate::bundle::{ActivationEvidence, BundleChain};
use crate::canonical;
use crate::envelope::Envelope;
use crate::hash::Hash;
use crate::statement::{KeyCeremony, Verified};
use crate::time::Timestamp;

/// A ceremony order, and the policy that it counts under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderPackage {
    /// What it is: `countersign-cold-order`.
    pub package: String,
    /// [`VERSION`].
    pub version: u16,
    /// The deployment.
    pub genesis: Hash,
    /// Bundles in order, as in a request package.
    pub chain: Vec<ActivationEvidence>,
    /// The key-ceremony statement, signed by a quorum.
    pub order: Envelope,
}

impl OrderPackage {
    /// A package of this version.
    pub fn new(genesis: Hash, chain: Vec<ActivationEvidence>, order: Envelope) -> Self {
        Self {
            package: ORDER.to_owned(),
            version: VERSION,
            genesis,
            chain,
            order,
        }
    }

    /// The bytes: the same for the same content.
    ///
    /// # Errors
    /// [`PackageError::Malformed`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, PackageError> {
        Ok(canonical::to_vec(self)?)
    }

    /// Reads bytes that [`OrderPackage::to_bytes`] wrote, and nothing else. Nothing in it is verified.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackageError> {
        if bytes.len() > MAX_PACKAGE {
            return Err(PackageError::TooLarge { size: bytes.len() });
        }
        require_kind(bytes, ORDER)?;
        Ok(canonical::from_slice(bytes, MAX_PACKAGE)?)
    }
}

/// Opens an order: by a quorum of the newest policy, for a key that does not exist, not expired.
///
/// # Errors
/// [`PackageError`]: the first check that failed.
pub fn open_order(
    bytes: &[u8],
    trust: &Trust<'_>,
    now: Timestamp,
) -> Result<(BundleChain, Verified<KeyCeremony>), PackageError> {
    let package = OrderPackage::from_bytes(bytes)?;
    if package.genesis != trust.genesis {
        return Err(PackageError::Genesis {
            found: package.genesis,
            pinned: trust.genesis,
        });
    }
    let chain = follow(trust, &package.chain, now)?;
    let bundle = chain.active();
    let order = bundle.open_ceremony(&package.order)?;
    order
        .require_current(now, bundle.skew_seconds())
        .map_err(|source| PackageError::Statement {
            what: "ceremony order".to_owned(),
            source,
        })?;
    Ok((chain, order))
}
