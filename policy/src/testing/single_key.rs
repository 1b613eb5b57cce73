//! A wallet key held whole, in the place of a threshold key: it makes signatures that verify, without a protocol.

use ed25519_dalek::Signer as _;
use hmac::{Hmac, Mac as _};
use k256::elliptic_curve::PrimeField as _;
use k256::{FieldBytes, Scalar};
use sha2::Sha512;

use crate::{
    ChainCode, DecodedTransaction, DerivationPath, HashAlgorithm, Protocol, PublicKey, Signature,
};

/// A secp256k1 or Ed25519 key whose secret is known.
#[derive(Clone, Debug)]
pub enum SingleKey {
    /// secp256k1, with BIP-32 children.
    Ecdsa {
        /// The secret scalar of the root, big endian.
        secret: [u8; 32],
        /// The root's chain code.
        chain_code: [u8; 32],
    },
    /// Ed25519.
    Eddsa {
        /// The seed of RFC 8032.
        seed: [u8; 32],
    },
}

impl SingleKey {
    /// The deployment's secp256k1 key.
    pub fn ecdsa() -> Self {
        Self::Ecdsa {
            secret: [0x11; 32],
            chain_code: [0x22; 32],
        }
    }

    /// The deployment's Ed25519 key.
    pub fn eddsa() -> Self {
        Self::Eddsa { seed: [0x33; 32] }
    }

    /// The protocol that such a key pretends to have: `dkls23` or `frost-ed25519`.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Ecdsa { .. } => Protocol::Dkls23,
            Self::Eddsa { .. } => Protocol::FrostEd25519,
        }
    }

    /// The public key of the root.
    pub fn public_key(&self) -> PublicKey {
        self.public_key_at(&DerivationPath::master())
    }

    /// The public key at `path`.
    pub fn public_key_at(&self, path: &DerivationPath) -> PublicKey {
        match self {
            Self::Ecdsa { .. } => {
                let key = self.ecdsa_secret(path);
                let point = key.verifying_key().to_encoded_point(true);
                let bytes = point.as_bytes().try_into().expect("33 bytes");
                PublicKey::secp256k1(bytes).expect("a point")
            }
            Self::Eddsa { seed } => {
                let key = ed25519_dalek::SigningKey::from_bytes(seed);
                PublicKey::ed25519(key.verifying_key().to_bytes()).expect("a point")
            }
        }
    }

    /// The chain code of the root, for secp256k1.
    pub fn chain_code(&self) -> Option<ChainCode> {
        match self {
            Self::Ecdsa { chain_code, .. } => Some(ChainCode(*chain_code)),
            Self::Eddsa { .. } => None,
        }
    }

    /// Signs a decoded transaction as the key at `path`.
    pub fn sign(&self, transaction: &DecodedTransaction, path: &DerivationPath) -> Signature {
        match (self, transaction.hash_algorithm()) {
            (Self::Ecdsa { .. }, HashAlgorithm::Keccak256 | HashAlgorithm::Sha256) => {
                let key = self.ecdsa_secret(path);
                let (signature, _) = key
                    .sign_prehash_recoverable(transaction.digest().as_bytes())
                    .expect("a digest of 32 bytes");
                let (r, s) = signature.split_bytes();
                Signature::Secp256k1 {
                    r: r.into(),
                    s: s.into(),
                }
            }
            (Self::Eddsa { seed }, HashAlgorithm::Ed25519Message) => {
                assert!(path.is_master(), "Ed25519 keys have no children");
                let key = ed25519_dalek::SigningKey::from_bytes(seed);
                Signature::Ed25519(key.sign(transaction.preimage()).to_bytes())
            }
            (key, algorithm) => {
                unreachable!(
                    "{:?} keys do not sign {algorithm:?} transactions",
                    key.protocol()
                )
            }
        }
    }

    /// BIP-32 `CKDpriv` for non-hardened steps.
    fn ecdsa_secret(&self, path: &DerivationPath) -> k256::ecdsa::SigningKey {
        let Self::Ecdsa { secret, chain_code } = self else {
            unreachable!("only secp256k1 keys have ECDSA secrets");
        };
        let mut scalar = read_scalar(secret);
        let mut chain_code = *chain_code;
        for step in path.steps() {
            let public = signing_key(&scalar).verifying_key().to_encoded_point(true);
            let mut mac = Hmac::<Sha512>::new_from_slice(&chain_code).expect("any length");
            mac.update(public.as_bytes());
            mac.update(&step.to_be_bytes());
            let digest = mac.finalize().into_bytes();
            let (left, right) = digest.split_at(32);
            scalar = scalar.add(&read_scalar(left.try_into().expect("32 bytes")));
            chain_code = right.try_into().expect("32 bytes");
        }
        signing_key(&scalar)
    }
}

fn read_scalar(bytes: &[u8; 32]) -> Scalar {
    Option::from(Scalar::from_repr(FieldBytes::from(*bytes))).expect("below the curve's order")
}

fn signing_key(scalar: &Scalar) -> k256::ecdsa::SigningKey {
    k256::ecdsa::SigningKey::from_bytes(&scalar.to_bytes()).expect("not zero")
}
