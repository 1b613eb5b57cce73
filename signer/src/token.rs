//! Keys in an HSM, as the signer uses them.
//!
//! [`Token`] is what a backend does; [`TokenKeys`] is the only holder of one, and signs with a [`Released`] of the gate alone.
//! What comes back is verified here as well, against the pinned key: a token is a machine like others.

mod pkcs11;

pub use pkcs11::HsmToken;

use std::sync::Arc;

use countersign_policy::bundle::KeyRecord;
use countersign_policy::{KeyId, Protocol, PublicKey, Signature};

use crate::gate::Released;
use crate::threshold::Preimage;

/// Why a token did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It has no such key. That never leads to making one.
    #[error("the token has no key {0}")]
    Missing(KeyId),
    /// It has another key under that name than the bundle pins.
    #[error("the token's key {key} is {found}, the policy bundle pins {pinned}")]
    Other {
        /// The name.
        key: KeyId,
        /// In the token.
        found: PublicKey,
        /// In the bundle.
        pinned: PublicKey,
    },
    /// It has a key of that name already.
    #[error("the token has a key {0} already; it is never overwritten")]
    Exists(KeyId),
    /// It is busy or away, and may do it later.
    #[error("the HSM cannot be used now: {0}")]
    Busy(String),
    /// It failed.
    #[error("the HSM failed: {0}")]
    Failed(String),
    /// What it returned is no signature of the pinned key over these bytes.
    #[error("the HSM returned a signature that does not verify with key {0}")]
    WrongSignature(KeyId),
    /// The release is for other bytes.
    #[error("the gate released another digest than the one to be signed")]
    OtherDigest,
}

/// What a backend does with an HSM. Calls block; they are made off the async threads.
pub trait Token: std::fmt::Debug + Send + Sync {
    /// The public key of a key.
    ///
    /// # Errors
    /// [`TokenError`].
    fn public_key(&self, key: &KeyId, protocol: Protocol) -> Result<PublicKey, TokenError>;

    /// Makes a key pair that never leaves the token.
    ///
    /// # Errors
    /// [`TokenError::Exists`] when there is one of that name.
    fn generate(&self, key: &KeyId, protocol: Protocol) -> Result<PublicKey, TokenError>;

    /// Signs: ECDSA over the released digest with a low s, or Ed25519 over the preimage, whose digest it is. Without the gate's
    /// [`Released`] nobody can ask for it (I2).
    ///
    /// # Errors
    /// [`TokenError`].
    fn sign(
        &self,
        key: &KeyId,
        protocol: Protocol,
        preimage: &Preimage,
        released: &Released,
    ) -> Result<Signature, TokenError>;
}

/// The keys in a token, behind the gate.
#[derive(Debug, Clone)]
pub struct TokenKeys {
    token: Arc<dyn Token>,
}

impl TokenKeys {
    /// Takes a token over: from here on it signs what the gate released, and nothing else.
    pub fn new(token: Arc<dyn Token>) -> Self {
        Self { token }
    }

    /// The token has the key that the bundle pins.
    ///
    /// # Errors
    /// [`TokenError::Missing`], [`TokenError::Other`], or why the token cannot be asked.
    pub fn require(&self, key: &KeyRecord) -> Result<(), TokenError> {
        let found = self.token.public_key(&key.id, key.protocol)?;
        match found == key.group_key {
            true => Ok(()),
            false => Err(TokenError::Other {
                key: key.id.clone(),
                found,
                pinned: key.group_key,
            }),
        }
    }

    /// Makes the key of a ceremony.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn generate(&self, key: &KeyId, protocol: Protocol) -> Result<PublicKey, TokenError> {
        self.token.generate(key, protocol)
    }

    /// Signs what the gate released, and verifies it.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn sign(
        &self,
        key: &KeyRecord,
        preimage: &Preimage,
        released: Released,
    ) -> Result<Signature, TokenError> {
        self.sign_as(&key.id, key.protocol, &key.group_key, preimage, released)
    }

    /// The same for a key that no bundle pins yet: the test signature of its ceremony.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn sign_as(
        &self,
        key: &KeyId,
        protocol: Protocol,
        public_key: &PublicKey,
        preimage: &Preimage,
        released: Released,
    ) -> Result<Signature, TokenError> {
        if released.digest() != preimage.digest() || !preimage.fits(protocol) {
            return Err(TokenError::OtherDigest);
        }
        let signature = self.token.sign(key, protocol, preimage, &released)?;
        match public_key.holds(&signature, preimage.bytes(), preimage.digest()) {
            true => Ok(signature),
            false => Err(TokenError::WrongSignature(key.clone())),
        }
    }
}
