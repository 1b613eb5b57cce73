//! What is said about keys, in types that leave no room for mistakes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// ECDSA over secp256k1 (SEC 2), for a 32-byte hash.
    Secp256k1,
    /// Ed25519 (RFC 8032), for a message.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secp256k1 => "secp256k1",
            Self::Ed25519 => "ed25519",
        })
    }
}

/// `CKA_ID` of a key in the token: 1 to 32 bytes. What begins with `csn-` is for the product itself (its canary).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct KeyId(Vec<u8>);

/// Why bytes are no key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyIdError {
    /// Too short or too long.
    #[error("a key id (CKA_ID) has 1 to {MAX_ID} bytes, this one has {0}")]
    Length(usize),
    /// Reserved.
    #[error("key ids that begin with csn- are reserved")]
    Reserved,
    /// Not hexadecimal.
    #[error("a key id is written as hexadecimal digits")]
    Hex,
}

/// The longest `CKA_ID`, in bytes.
const MAX_ID: usize = 32;
const RESERVED: &[u8] = b"csn-";

impl KeyId {
    /// Takes the bytes of `CKA_ID`.
    ///
    /// # Errors
    /// [`KeyIdError`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, KeyIdError> {
        if bytes.is_empty() || bytes.len() > MAX_ID {
            return Err(KeyIdError::Length(bytes.len()));
        }
        if bytes.starts_with(RESERVED) {
            return Err(KeyIdError::Reserved);
        }
        Ok(Self(bytes))
    }

    /// From hexadecimal digits.
    ///
    /// # Errors
    /// [`KeyIdError`].
    pub fn from_hex(text: &str) -> Result<Self, KeyIdError> {
        Self::new(hex::decode(text).map_err(|_| KeyIdError::Hex)?)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for KeyId {
    type Error = KeyIdError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, KeyIdError> {
        Self::new(bytes)
    }
}

impl From<KeyId> for Vec<u8> {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The key that shows that a token can sign. It signs nothing else: its id is no [`KeyId`], and its preimage is made where it
/// is used, from a tag that no transaction has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryId;

impl CanaryId {
    /// `CKA_ID` of the canary.
    pub const BYTES: &'static [u8] = b"csn-canary";

    /// What the canary signs for one challenge: SHA-256 of a tag, a zero byte and the challenge.
    pub(crate) fn prehash(challenge: &[u8; 32]) -> Prehash {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        hash.update(b"countersign/hsm/canary/v1\0");
        hash.update(challenge);
        Prehash(hash.finalize().into())
    }
}

/// A 32-byte hash to sign. `CKM_ECDSA` takes any length and cuts: so the length is in the type.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prehash([u8; 32]);

impl Prehash {
    /// Takes the hash.
    pub const fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Prehash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prehash({})", hex::encode(self.0))
    }
}

/// A public key in its one canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicPoint {
    /// SEC 1, compressed.
    Secp256k1([u8; 33]),
    /// RFC 8032.
    Ed25519([u8; 32]),
}

impl PublicPoint {
    /// The kind of key.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Secp256k1(_) => KeyKind::Secp256k1,
            Self::Ed25519(_) => KeyKind::Ed25519,
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Secp256k1(point) => point,
            Self::Ed25519(point) => point,
        }
    }
}

impl fmt::Display for PublicPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", self.kind())
    }
}

/// An ECDSA signature that was verified: r and s (s in the lower half, BIP 62), and which of the four candidates the public
/// key is (SEC 1, section 4.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoverableSignature {
    /// r and s, 32 bytes each, big endian.
    pub bytes: [u8; 64],
    /// 0 to 3; 2 and 3 only when r was reduced, about once in 2^128.
    pub recovery_id: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_product_itself_and_impossible_ones_are_refused() {
        assert_eq!(
            KeyId::new(CanaryId::BYTES.to_vec()),
            Err(KeyIdError::Reserved)
        );
        assert_eq!(KeyId::new(Vec::new()), Err(KeyIdError::Length(0)));
        assert_eq!(KeyId::new(vec![1; 33]), Err(KeyIdError::Length(33)));
        assert_eq!(KeyId::from_hex("0g"), Err(KeyIdError::Hex));
        assert_eq!(KeyId::from_hex("00ff").unwrap().to_string(), "00ff");
    }

    #[test]
    fn a_canary_signs_a_hash_of_its_own_tag() {
        assert_ne!(CanaryId::prehash(&[0; 32]), CanaryId::prehash(&[1; 32]));
        let shown = hex::encode(CanaryId::prehash(&[0; 32]).as_bytes());
        use sha2::Digest as _;
        let expected =
            sha2::Sha256::digest([b"countersign/hsm/canary/v1\0".as_slice(), &[0; 32]].concat());
        assert_eq!(shown, hex::encode(expected));
    }
}
