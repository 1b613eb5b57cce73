//! Keys in a PKCS#11 token, behind the gate: nothing is signed without its [`Released`].

use countersign_hsm::{HsmClient, HsmError, KeyHandle, KeyId, KeyKind, Prehash, PublicPoint};
use countersign_policy::{HashAlgorithm, PublicKey, PublicKeyError, Signature};

use crate::gate::Released;
use crate::threshold::{ExecutionId, Preimage, verifies};

/// A token whose keys sign what the gate released, and nothing else.
#[derive(Debug, Clone)]
pub struct HsmBackend {
    token: HsmClient,
}

/// A key in the token: checked, and its public key is the pinned one.
#[derive(Debug, Clone)]
pub struct HsmKey {
    handle: KeyHandle,
    public: PublicKey,
}

impl HsmKey {
    /// The pinned public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }
}

/// Why a key in a token did not sign, or was not made.
#[derive(Debug, thiserror::Error)]
pub enum HsmSignError {
    /// The release is for something else; nothing was asked of the token.
    #[error("the release is for another preimage or execution; nothing was signed")]
    NotReleased,
    /// The preimage is for another curve; nothing was asked of the token.
    #[error("the preimage is for another curve; nothing was signed")]
    Curve,
    /// The token or the way to it.
    #[error("the token")]
    Token(#[from] HsmError),
    /// The token's public key is none.
    #[error("the token's public key")]
    PublicKey(#[from] PublicKeyError),
    /// The signature does not verify over the preimage; it was dropped.
    #[error("the signature does not verify; it was dropped")]
    Wrong,
}

impl HsmBackend {
    /// Uses this token.
    pub fn new(token: HsmClient) -> Self {
        Self { token }
    }

    /// Takes a key into use: its attributes are checked, and its public key must be the pinned one.
    ///
    /// # Errors
    /// [`HsmSignError::Token`].
    pub async fn open(&self, id: &KeyId, pinned: &PublicKey) -> Result<HsmKey, HsmSignError> {
        let point = match pinned {
            PublicKey::Secp256k1(point) => PublicPoint::Secp256k1(*point.as_bytes()),
            PublicKey::Ed25519(point) => PublicPoint::Ed25519(*point.as_bytes()),
        };
        Ok(HsmKey {
            handle: self.token.open_key(id, point).await?,
            public: *pinned,
        })
    }

    /// Makes a key, for a ceremony that ordered it. Never repeated by itself, never where there is one.
    ///
    /// # Errors
    /// [`HsmSignError::Token`].
    pub async fn generate(
        &self,
        kind: KeyKind,
        id: &KeyId,
        label: &str,
    ) -> Result<PublicKey, HsmSignError> {
        Ok(match self.token.generate_key_pair(kind, id, label).await? {
            PublicPoint::Secp256k1(point) => PublicKey::secp256k1(point)?,
            PublicPoint::Ed25519(point) => PublicKey::ed25519(point)?,
        })
    }

    /// Signs the preimage that was released, in the execution it was released for, and verifies over the very bytes.
    ///
    /// # Errors
    /// [`HsmSignError`].
    pub async fn sign(
        &self,
        released: Released,
        execution: &ExecutionId,
        key: &HsmKey,
        preimage: &Preimage,
    ) -> Result<Signature, HsmSignError> {
        if released.digest() != preimage.digest() || released.execution() != execution {
            return Err(HsmSignError::NotReleased);
        }
        let signature = match (&key.public, preimage.algorithm()) {
            (PublicKey::Secp256k1(_), HashAlgorithm::Keccak256 | HashAlgorithm::Sha256) => {
                let prehash = Prehash::new(*preimage.digest());
                let signed = self.token.sign_prehash(&key.handle, prehash).await?;
                let (r, s) = signed.bytes.split_at(32);
                match (r.try_into(), s.try_into()) {
                    (Ok(r), Ok(s)) => Signature::Secp256k1 { r, s },
                    _ => return Err(HsmSignError::Wrong),
                }
            }
            (PublicKey::Ed25519(_), HashAlgorithm::Ed25519Message) => Signature::Ed25519(
                self.token
                    .sign_ed25519(&key.handle, preimage.bytes())
                    .await?,
            ),
            _ => return Err(HsmSignError::Curve),
        };
        // The client verified as well; this is over the bytes that the gate decided on (I4).
        match verifies(&key.public, preimage, &signature) {
            true => Ok(signature),
            false => Err(HsmSignError::Wrong),
        }
    }

    /// The token, for what is not signing: health, metrics.
    pub fn token(&self) -> &HsmClient {
        &self.token
    }
}
