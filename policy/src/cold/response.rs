//! What is carried back.

use serde::{Deserialize, Serialize};

use super::package::{RESPONSE, require_kind};
use super::{MAX_PACKAGE, PackageError, VERSION};
use crate::Signature;
use crate::canonical;
use crate::envelope::Envelope;
use crate::hash::Hash;
use crate::id::MemberId;

/// What the machine answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MachineAnswer {
    /// It signed. Whoever imports it verifies the signature against the pinned key and the bytes that were asked for.
    Signed {
        /// The signature.
        signature: Signature,
        /// The machine's ledger entry that released it.
        released: Envelope,
    },
    /// It did not, and says why. Nobody concludes anything from it: only the authorization's end is certain.
    Refused {
        /// A stable code.
        code: String,
        /// For people.
        detail: String,
    },
}

/// The response package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponsePackage {
    /// What it is: `countersign-cold-response`.
    pub package: String,
    /// [`VERSION`].
    pub version: u16,
    /// The deployment.
    pub genesis: Hash,
    /// SHA-256 of the request package that it answers.
    pub answers: Hash,
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// The session.
    pub session: Hash,
    /// The machine.
    pub machine: MemberId,
    /// The policy version that the machine follows now: a later package can leave out what came before.
    pub bundle_version: u64,
    /// What it answers.
    pub outcome: MachineAnswer,
}

impl ResponsePackage {
    /// What the first field says.
    pub fn kind() -> String {
        RESPONSE.to_owned()
    }

    /// The bytes: the same for the same content.
    ///
    /// # Errors
    /// [`PackageError::Malformed`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, PackageError> {
        debug_assert_eq!(self.version, VERSION);
        Ok(canonical::to_vec(self)?)
    }

    /// Reads bytes that [`ResponsePackage::to_bytes`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PackageError> {
        if bytes.len() > MAX_PACKAGE {
            return Err(PackageError::TooLarge { size: bytes.len() });
        }
        require_kind(bytes, RESPONSE)?;
        Ok(canonical::from_slice(bytes, MAX_PACKAGE)?)
    }
}
