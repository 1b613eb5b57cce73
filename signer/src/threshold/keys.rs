//! What goes in and comes out of signing: preimages, public keys, signatures.

use std::fmt;

use k256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest as _, Sha256};
use sha3::Keccak256;

use countersign_policy::{
    ChainCode, DecodedTransaction, DerivationError, DerivationPath, ExtendedPublicKey,
    HashAlgorithm, Protocol, PublicKey, Signature,
};

/// The 32 bytes by which a session, a presignature and a release name what is signed.
///
/// For ECDSA this is the hash that is signed; for Ed25519, which signs the message itself, it is the message's SHA-256.
pub type Digest = [u8; 32];

/// The bytes to be signed. The hash is always computed here: no interface takes a bare hash, because signing an unknown
/// preimage's hash with a presignature permits forgery (ePrint 2021/1330, section 1.1.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Preimage {
    algorithm: HashAlgorithm,
    bytes: Vec<u8>,
    digest: Digest,
}

impl Preimage {
    /// The preimage of a decoded transaction: the very bytes that were checked (I4).
    pub fn of(transaction: &DecodedTransaction) -> Self {
        Self::new(
            transaction.hash_algorithm(),
            transaction.preimage().to_vec(),
        )
    }

    /// Takes any bytes. Inside this crate only: for transactions as [`Preimage::of`] does, and for test signatures over
    /// preimages that can be no transaction.
    pub(crate) fn new(algorithm: HashAlgorithm, bytes: Vec<u8>) -> Self {
        let digest = match algorithm {
            HashAlgorithm::Keccak256 => Keccak256::digest(&bytes).into(),
            HashAlgorithm::Sha256 | HashAlgorithm::Ed25519Message => Sha256::digest(&bytes).into(),
        };
        Self {
            algorithm,
            bytes,
            digest,
        }
    }

    /// How the bytes are hashed.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest that names them.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether a protocol's curve can sign this.
    pub fn fits(&self, protocol: Protocol) -> bool {
        let ed25519 = self.algorithm == HashAlgorithm::Ed25519Message;
        ed25519 != protocol.is_secp256k1()
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preimage")
            .field("algorithm", &self.algorithm)
            .field("bytes", &self.bytes.len())
            .field("digest", &hex::encode(self.digest))
            .finish()
    }
}

/// Whether a signature holds: ECDSA over the preimage's hash and low-s, Ed25519 over the bytes and strictly.
pub fn verifies(key: &PublicKey, preimage: &Preimage, signature: &Signature) -> bool {
    match (key, signature, preimage.algorithm()) {
        (
            PublicKey::Secp256k1(point),
            Signature::Secp256k1 { r, s },
            HashAlgorithm::Keccak256 | HashAlgorithm::Sha256,
        ) => verifies_ecdsa(point.as_bytes(), preimage.digest(), r, s),
        (PublicKey::Ed25519(point), Signature::Ed25519(bytes), HashAlgorithm::Ed25519Message) => {
            ed25519_dalek::VerifyingKey::from_bytes(point.as_bytes()).is_ok_and(|key| {
                let signature = ed25519_dalek::Signature::from_bytes(bytes);
                key.verify_strict(preimage.bytes(), &signature).is_ok()
            })
        }
        _ => false,
    }
}

fn verifies_ecdsa(key: &[u8; 33], digest: &Digest, r: &[u8; 32], s: &[u8; 32]) -> bool {
    let Ok(key) = k256::ecdsa::VerifyingKey::from_sec1_bytes(key) else {
        return false;
    };
    let Ok(signature) = k256::ecdsa::Signature::from_scalars(*r, *s) else {
        return false;
    };
    signature.normalize_s().is_none() && key.verify_prehash(digest, &signature).is_ok()
}

/// What a ceremony pins: the group's public key and, for secp256k1, the BIP-32 chain code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupKey {
    /// The key the group signs with at path `m`.
    pub public_key: PublicKey,
    /// BIP-32 chain code; Ed25519 keys have none.
    pub chain_code: Option<ChainCode>,
}

impl GroupKey {
    /// The public key at a path.
    ///
    /// # Errors
    /// [`DerivationError`]: Ed25519 keys exist at `m` only.
    pub fn at(&self, path: &DerivationPath) -> Result<PublicKey, DerivationError> {
        if path.is_master() {
            return Ok(self.public_key);
        }
        let root = self.extended().ok_or(DerivationError::NoChildren)?;
        Ok(root.derive(path)?.public_key)
    }

    /// With its chain code; nothing for a key without children.
    pub fn extended(&self) -> Option<ExtendedPublicKey> {
        Some(ExtendedPublicKey {
            public_key: self.public_key,
            chain_code: self.chain_code?,
        })
    }

    /// The bytes all parties compare at the end of a key generation.
    pub(crate) fn transcript(&self) -> Vec<u8> {
        let mut bytes = self.public_key.as_bytes().to_vec();
        bytes.extend(self.chain_code.iter().flat_map(|code| code.0));
        bytes
    }
}
