//! Addresses of a wallet's children, from its pinned public key alone (BIP-32, non-hardened).

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac};
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::group::Group;
use k256::elliptic_curve::ops::MulByGenerator;
use k256::{FieldBytes, ProjectivePoint, Scalar};
use serde::{Deserialize, Serialize};
use sha2::Sha512;

use crate::key::{PublicKey, PublicKeyError};
use crate::text::serde_as_text;

/// A group's public key with the chain code from which every child follows. Public, but whoever has it can link all
/// addresses of the wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendedPublicKey {
    /// The key itself, at path `m`.
    pub public_key: PublicKey,
    /// 32 bytes fixed by the key ceremony.
    pub chain_code: ChainCode,
}

/// A BIP-32 chain code; text form 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainCode(pub [u8; 32]);

/// The text is no [`ChainCode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chain code is 64 lower-case hex digits")]
pub struct ChainCodeError;

/// Where a child key is: `m`, `m/0`, `m/0/7`. Only non-hardened steps (below 2^31) exist, because a threshold key has no
/// private key from which hardened children could be made; at most [`DerivationPath::MAX_DEPTH`] steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DerivationPath(Vec<u32>);

/// Why there is no such child.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerivationError {
    /// Not `m` followed by `/number` steps.
    #[error("a derivation path looks like m/0/7: m, then decimal steps without leading zeros")]
    Malformed,
    /// A step of 2^31 or more, or one marked with ' or h.
    #[error(
        "hardened steps need a private key, and a threshold key has none: use steps below 2147483648"
    )]
    Hardened,
    /// Too many steps.
    #[error("a derivation path has at most {max} steps", max = DerivationPath::MAX_DEPTH)]
    TooDeep,
    /// Ed25519 keys have no non-hardened children.
    #[error("Ed25519 keys have no children: use the path m")]
    NoChildren,
    /// The one-in-2^127 case in which BIP-32 says to take the next index.
    #[error("BIP-32 gives no key for step {0}: use another index")]
    NoKey(u32),
    /// The parent is no valid point.
    #[error("the parent key is invalid")]
    Parent(#[from] PublicKeyError),
}

const HARDENED: u32 = 1 << 31;

impl DerivationPath {
    /// The most steps a path may have.
    pub const MAX_DEPTH: usize = 8;

    /// The key itself: `m`.
    #[must_use]
    pub const fn master() -> Self {
        Self(Vec::new())
    }

    /// The path with these steps.
    ///
    /// # Errors
    /// [`DerivationError::TooDeep`], [`DerivationError::Hardened`].
    pub fn new(steps: Vec<u32>) -> Result<Self, DerivationError> {
        if steps.len() > Self::MAX_DEPTH {
            return Err(DerivationError::TooDeep);
        }
        if steps.iter().any(|step| *step >= HARDENED) {
            return Err(DerivationError::Hardened);
        }
        Ok(Self(steps))
    }

    /// The steps, outermost first.
    #[must_use]
    pub fn steps(&self) -> &[u32] {
        &self.0
    }

    /// True for `m`.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.0.is_empty()
    }

    /// True when `self` is `prefix` or below it.
    #[must_use]
    pub fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}

impl FromStr for DerivationPath {
    type Err = DerivationError;

    fn from_str(text: &str) -> Result<Self, DerivationError> {
        let mut parts = text.split('/');
        if parts.next() != Some("m") {
            return Err(DerivationError::Malformed);
        }
        let steps = parts
            .take(Self::MAX_DEPTH.saturating_add(1))
            .map(step)
            .collect::<Result<_, _>>()?;
        Self::new(steps)
    }
}

fn step(text: &str) -> Result<u32, DerivationError> {
    if text.ends_with(['\'', 'h', 'H']) {
        return Err(DerivationError::Hardened);
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(DerivationError::Malformed);
    }
    text.parse().map_err(|_| DerivationError::Hardened)
}

serde_as_text!(DerivationPath, "a derivation path such as m/0/7");

impl fmt::Display for ChainCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChainCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainCode({self})")
    }
}

impl FromStr for ChainCode {
    type Err = ChainCodeError;

    fn from_str(text: &str) -> Result<Self, ChainCodeError> {
        let mut bytes = [0; 32];
        if text.bytes().any(|b| b.is_ascii_uppercase())
            || hex::decode_to_slice(text, &mut bytes).is_err()
        {
            return Err(ChainCodeError);
        }
        Ok(Self(bytes))
    }
}

serde_as_text!(ChainCode, "a chain code in hex");

impl ExtendedPublicKey {
    /// The child at `path`: BIP-32 `CKDpub`, repeated.
    ///
    /// The protocols derive the same children: `dkls23`'s `derive_from_path` is BIP-32 too, and the SLIP-10 of
    /// `hd-wallet` that `cggmp24` uses differs only for the indices, one in 2^127, to which BIP-32 gives no key: those
    /// are refused here, so no address of such a child is ever shown.
    ///
    /// # Errors
    /// [`DerivationError::NoChildren`] for an Ed25519 key with a path other than `m`, [`DerivationError::NoKey`].
    pub fn derive(&self, path: &DerivationPath) -> Result<Self, DerivationError> {
        path.steps()
            .iter()
            .try_fold(*self, |parent, index| parent.child(*index))
    }

    fn child(&self, index: u32) -> Result<Self, DerivationError> {
        let PublicKey::Secp256k1(point) = &self.public_key else {
            return Err(DerivationError::NoChildren);
        };
        let parent = k256::PublicKey::from_sec1_bytes(point.as_bytes())
            .map_err(|_| PublicKeyError::NotAPoint("secp256k1"))?;
        let no_key = || DerivationError::NoKey(index);
        let mut mac = Hmac::<Sha512>::new_from_slice(&self.chain_code.0).map_err(|_| no_key())?;
        mac.update(point.as_bytes());
        mac.update(&index.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        let (left, right) = digest.split_at(32);
        let left: [u8; 32] = left.try_into().map_err(|_| no_key())?;
        let tweak =
            Option::<Scalar>::from(Scalar::from_repr(FieldBytes::from(left))).ok_or_else(no_key)?;
        let child = add(parent.to_projective(), tweak);
        if bool::from(child.is_identity()) {
            return Err(no_key());
        }
        let child = k256::PublicKey::from_affine(child.to_affine()).map_err(|_| no_key())?;
        let chain_code = ChainCode(right.try_into().map_err(|_| no_key())?);
        Ok(Self {
            public_key: PublicKey::from_k256(&child)?,
            chain_code,
        })
    }
}

/// Curve arithmetic cannot overflow; the lint speaks of integers.
#[allow(clippy::arithmetic_side_effects)]
fn add(parent: ProjectivePoint, tweak: Scalar) -> ProjectivePoint {
    parent + ProjectivePoint::mul_by_generator(&tweak)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes an `xpub...` of BIP-32 to its key and chain code.
    fn xpub(text: &str) -> ExtendedPublicKey {
        let bytes = bs58::decode(text).with_check(None).into_vec().unwrap();
        assert_eq!(bytes.len(), 78);
        ExtendedPublicKey {
            public_key: PublicKey::secp256k1(bytes[45..].try_into().unwrap()).unwrap(),
            chain_code: ChainCode(bytes[13..45].try_into().unwrap()),
        }
    }

    /// Every non-hardened step in the test vectors of BIP-32: (parent, step, child).
    const BIP32: [(&str, &str, &str); 4] = [
        // Test vector 1: m/0H -> m/0H/1
        (
            "xpub68Gmy5EdvgibQVfPdqkBBCHxA5htiqg55crXYuXoQRKfDBFA1WEjWgP6LHhwBZeNK1VTsfTFUHCdrfp1bgwQ9xv5ski8PX9rL2dZXvgGDnw",
            "m/1",
            "xpub6ASuArnXKPbfEwhqN6e3mwBcDTgzisQN1wXN9BJcM47sSikHjJf3UFHKkNAWbWMiGj7Wf5uMash7SyYq527Hqck2AxYysAA7xmALppuCkwQ",
        ),
        // Test vector 1: m/0H/1/2H/2 -> m/0H/1/2H/2/1000000000
        (
            "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cfN7fe5JnJ7dh8zL4fiyLHV",
            "m/1000000000",
            "xpub6H1LXWLaKsWFhvm6RVpEL9P4KfRZSW7abD2ttkWP3SSQvnyA8FSVqNTEcYFgJS2UaFcxupHiYkro49S8yGasTvXEYBVPamhGW6cFJodrTHy",
        ),
        // Test vector 2: m -> m/0
        (
            "xpub661MyMwAqRbcFW31YEwpkMuc5THy2PSt5bDMsktWQcFF8syAmRUapSCGu8ED9W6oDMSgv6Zz8idoc4a6mr8BDzTJY47LJhkJ8UB7WEGuduB",
            "m/0",
            "xpub69H7F5d8KSRgmmdJg2KhpAK8SR3DjMwAdkxj3ZuxV27CprR9LgpeyGmXUbC6wb7ERfvrnKZjXoUmmDznezpbZb7ap6r1D3tgFxHmwMkQTPH",
        ),
        // Test vector 2: m/0/2147483647H/1/2147483646H -> .../2
        (
            "xpub6ERApfZwUNrhLCkDtcHTcxd75RbzS1ed54G1LkBUHQVHQKqhMkhgbmJbZRkrgZw4koxb5JaHWkY4ALHY2grBGRjaDMzQLcgJvLJuZZvRcEL",
            "m/2",
            "xpub6FnCn6nSzZAw5Tw7cgR9bi15UV96gLZhjDstkXXxvCLsUXBGXPdSnLFbdpq8p9HmGsApME5hQTZ3emM2rnY5agb9rXpVGyy3bdW6EEgAtqt",
        ),
    ];

    #[test]
    fn the_non_hardened_steps_of_the_bip_32_vectors_hold() {
        for (parent, path, child) in BIP32 {
            assert_eq!(
                xpub(parent).derive(&path.parse().unwrap()).unwrap(),
                xpub(child)
            );
        }
    }

    #[test]
    fn two_steps_equal_one_after_the_other() {
        let root = xpub(BIP32[2].0);
        let both = root.derive(&"m/0/7".parse().unwrap()).unwrap();
        let one = root
            .derive(&"m/0".parse().unwrap())
            .unwrap()
            .derive(&"m/7".parse().unwrap())
            .unwrap();
        assert_eq!(both, one);
        assert_eq!(root.derive(&DerivationPath::master()).unwrap(), root);
    }

    #[test]
    fn an_ed25519_key_has_no_children() {
        let public_key = "66c2f508c9c555cacc9fb26d88e88dd54e210bb5a8bce5687f60d7e75c4cd07f"
            .parse()
            .unwrap();
        let key = ExtendedPublicKey {
            public_key,
            chain_code: ChainCode([0; 32]),
        };
        assert_eq!(key.derive(&DerivationPath::master()), Ok(key));
        assert_eq!(
            key.derive(&"m/0".parse().unwrap()),
            Err(DerivationError::NoChildren)
        );
    }

    #[test]
    fn paths_have_one_spelling() {
        for text in ["m", "m/0", "m/0/7", "m/2147483647", "m/1/2/3/4/5/6/7/8"] {
            assert_eq!(text.parse::<DerivationPath>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("", DerivationError::Malformed),
            ("0/7", DerivationError::Malformed),
            ("m/", DerivationError::Malformed),
            ("m//1", DerivationError::Malformed),
            ("m/07", DerivationError::Malformed),
            ("m/+7", DerivationError::Malformed),
            ("M/7", DerivationError::Malformed),
            ("m/0'", DerivationError::Hardened),
            ("m/0h", DerivationError::Hardened),
            ("m/2147483648", DerivationError::Hardened),
            ("m/99999999999", DerivationError::Hardened),
            ("m/1/2/3/4/5/6/7/8/9", DerivationError::TooDeep),
        ] {
            assert_eq!(text.parse::<DerivationPath>(), Err(why), "{text}");
        }
    }
}
