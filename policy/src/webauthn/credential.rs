//! Credentials as they stand in the bundle, ready to verify.

use p256::ecdsa::signature::Verifier as _;

use super::{Assertion, AssertionError};
use crate::HexBytes;
use crate::bundle::{Credential, CredentialAlgorithm};
use crate::envelope::{IdentityPublicKey, ReadyKey};
use crate::hash::Hash;

/// A credential whose public key is decompressed already.
#[derive(Debug, Clone)]
pub(crate) struct ReadyCredential {
    id: HexBytes,
    key: Key,
}

#[derive(Debug, Clone)]
enum Key {
    Es256(Box<p256::ecdsa::VerifyingKey>),
    Eddsa(Box<ReadyKey>),
    /// No point of its curve, or not in the form of its algorithm: verifies nothing.
    Unusable,
}

impl ReadyCredential {
    pub(crate) fn new(credential: &Credential) -> Self {
        let bytes = credential.public_key.0.as_slice();
        let key = match credential.algorithm {
            CredentialAlgorithm::Es256 if bytes.len() == 33 => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                    .ok()
                    .map(|key| Key::Es256(Box::new(key)))
            }
            CredentialAlgorithm::Es256 => None,
            CredentialAlgorithm::Eddsa => bytes
                .try_into()
                .ok()
                .map(IdentityPublicKey::from_bytes)
                .filter(IdentityPublicKey::is_usable)
                .and_then(|key| ReadyKey::new(&key))
                .map(|key| Key::Eddsa(Box::new(key))),
        };
        Self {
            id: credential.id.clone(),
            key: key.unwrap_or(Key::Unusable),
        }
    }

    pub(super) fn id(&self) -> &HexBytes {
        &self.id
    }

    /// The signature over the authenticator data and the hash of the client data, in the one form that authenticators
    /// give it (Web Authentication Level 3, section 6.5.5).
    pub(super) fn verify(&self, assertion: &Assertion) -> Result<(), AssertionError> {
        let hash = Hash::sha256(assertion.client_data_json());
        let message = [assertion.authenticator_data(), hash.as_bytes()].concat();
        let form = || AssertionError::SignatureForm;
        let verified = match &self.key {
            Key::Es256(key) => {
                let der = assertion.signature();
                let signature = p256::ecdsa::Signature::from_der(der).map_err(|_| form())?;
                // DER has one encoding; a reader that is lenient about it does not matter here.
                if signature.to_der().as_bytes() != der {
                    return Err(form());
                }
                key.verify(&message, &signature).is_ok()
            }
            Key::Eddsa(key) => {
                let signature = assertion.signature().try_into().map_err(|_| form())?;
                key.verify(&message, signature)
            }
            Key::Unusable => return Err(AssertionError::UnusableKey),
        };
        if verified {
            Ok(())
        } else {
            Err(AssertionError::Signature)
        }
    }
}
