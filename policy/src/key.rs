//! Public keys and signatures of wallets, as they travel in statements.

use std::fmt;
use std::str::FromStr;

use k256::ecdsa::signature::hazmat::PrehashVerifier;
use k256::elliptic_curve::PrimeField;
use k256::elliptic_curve::group::prime::PrimeCurveAffine;
use k256::elliptic_curve::ops::{Invert, LinearCombination, Reduce};
use k256::elliptic_curve::point::AffineCoordinates;
use k256::elliptic_curve::sec1::ToEncodedPoint;
use k256::{ProjectivePoint, Scalar};
use sha3::{Digest, Keccak256};

use crate::address::Address;
use crate::caip::Network;
use crate::text::serde_as_text;

/// A wallet's public key. Its text form is lower-case hex: 66 digits for secp256k1 (compressed, SEC 1), 64 for Ed25519.
///
/// A value always holds a valid point: constructors check it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicKey {
    /// A secp256k1 point, compressed to 33 bytes (SEC 1 section 2.3.3). Built by [`PublicKey::secp256k1`].
    Secp256k1(Secp256k1Point),
    /// An Ed25519 point, 32 bytes (RFC 8032). Built by [`PublicKey::ed25519`].
    Ed25519(Ed25519Point),
}

/// 33 bytes known to be a point of secp256k1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secp256k1Point([u8; 33]);

/// 32 bytes known to be a canonical point of Ed25519 that is not of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ed25519Point([u8; 32]);

/// Why bytes are no public key, or a key has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Neither 33 nor 32 bytes of lower-case hex.
    #[error(
        "a public key is lower-case hex: 66 digits (secp256k1, compressed) or 64 digits (Ed25519)"
    )]
    Malformed,
    /// Not on the curve, or not in its canonical form, or of small order.
    #[error("the bytes are no valid point of {0}")]
    NotAPoint(&'static str),
    /// This network uses the other curve.
    #[error("network {network} does not use {curve} keys")]
    WrongCurve {
        /// The network asked for.
        network: Network,
        /// The curve of the key.
        curve: &'static str,
    },
}

impl PublicKey {
    /// A compressed secp256k1 point (33 bytes).
    ///
    /// # Errors
    /// [`PublicKeyError::NotAPoint`] when the bytes are no point of the curve.
    pub fn secp256k1(bytes: [u8; 33]) -> Result<Self, PublicKeyError> {
        k256::PublicKey::from_sec1_bytes(&bytes)
            .map_err(|_| PublicKeyError::NotAPoint("secp256k1"))?;
        Ok(Self::Secp256k1(Secp256k1Point(bytes)))
    }

    /// An Ed25519 public key (32 bytes). Non-canonical encodings and points of small order are refused.
    ///
    /// # Errors
    /// [`PublicKeyError::NotAPoint`].
    pub fn ed25519(bytes: [u8; 32]) -> Result<Self, PublicKeyError> {
        let refused = PublicKeyError::NotAPoint("Ed25519");
        match ed25519_dalek::VerifyingKey::from_bytes(&bytes) {
            Ok(key) if !key.is_weak() && key.to_edwards().compress().0 == bytes => {
                Ok(Self::Ed25519(Ed25519Point(bytes)))
            }
            _ => Err(refused),
        }
    }

    pub(crate) fn from_k256(key: &k256::PublicKey) -> Result<Self, PublicKeyError> {
        let bytes = key
            .to_encoded_point(true)
            .as_bytes()
            .try_into()
            .map_err(|_| PublicKeyError::Malformed)?;
        Ok(Self::Secp256k1(Secp256k1Point(bytes)))
    }

    /// The encoded point: 33 or 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Secp256k1(point) => &point.0,
            Self::Ed25519(point) => &point.0,
        }
    }

    /// The account that this key controls on `network`: the last 20 bytes of the keccak-256 of the uncompressed point
    /// (EVM, Tron), or the key itself (Solana).
    ///
    /// # Errors
    /// [`PublicKeyError::WrongCurve`] when the network uses the other curve.
    pub fn address(&self, network: &Network) -> Result<Address, PublicKeyError> {
        match (self, network) {
            (Self::Secp256k1(point), Network::Evm { .. }) => Ok(Address::Evm(point.account()?)),
            (Self::Secp256k1(point), Network::Tron(_)) => Ok(Address::Tron(point.account()?)),
            (Self::Ed25519(point), Network::Solana(_)) => Ok(Address::Solana(point.0)),
            (Self::Secp256k1(_), _) => Err(PublicKeyError::WrongCurve {
                network: *network,
                curve: "secp256k1",
            }),
            (Self::Ed25519(_), _) => Err(PublicKeyError::WrongCurve {
                network: *network,
                curve: "Ed25519",
            }),
        }
    }

    /// True when `signature` holds for this key over `preimage`: see [`PublicKey::address`] for which networks use which. For
    /// whoever had the bytes signed and looks at what came back.
    #[must_use]
    pub fn holds(&self, signature: &Signature, preimage: &[u8], prehash: &[u8; 32]) -> bool {
        self.verifies(signature, preimage, prehash)
    }

    /// True when `signature` holds for this key over `preimage`, whose digest is `prehash` (secp256k1 signs the digest,
    /// Ed25519 the preimage itself, strictly as in `verify_strict`). High-s ECDSA signatures do not hold.
    pub(crate) fn verifies(
        &self,
        signature: &Signature,
        preimage: &[u8],
        prehash: &[u8; 32],
    ) -> bool {
        match (self, signature) {
            (Self::Secp256k1(point), Signature::Secp256k1 { r, s }) => {
                let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&point.0);
                let signature = k256::ecdsa::Signature::from_scalars(*r, *s);
                match (key, signature) {
                    (Ok(key), Ok(signature)) => {
                        signature.normalize_s().is_none()
                            && key.verify_prehash(prehash, &signature).is_ok()
                    }
                    _ => false,
                }
            }
            (Self::Ed25519(point), Signature::Ed25519(bytes)) => {
                ed25519_dalek::VerifyingKey::from_bytes(&point.0).is_ok_and(|key| {
                    key.verify_strict(preimage, &ed25519_dalek::Signature::from_bytes(bytes))
                        .is_ok()
                })
            }
            _ => false,
        }
    }
}

impl Secp256k1Point {
    /// The 33 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }

    fn account(&self) -> Result<[u8; 20], PublicKeyError> {
        let refused = PublicKeyError::NotAPoint("secp256k1");
        let key = k256::PublicKey::from_sec1_bytes(&self.0).map_err(|_| refused.clone())?;
        let point = key.to_encoded_point(false);
        let (_, coordinates) = point
            .as_bytes()
            .split_first()
            .ok_or_else(|| refused.clone())?;
        let hash = Keccak256::digest(coordinates);
        hash.get(12..)
            .and_then(|end| end.try_into().ok())
            .ok_or(refused)
    }
}

impl Ed25519Point {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for Secp256k1Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Ed25519Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(PublicKeyError::Malformed);
        }
        let bytes = hex::decode(text).map_err(|_| PublicKeyError::Malformed)?;
        if let Ok(point) = <[u8; 33]>::try_from(bytes.as_slice()) {
            return Self::secp256k1(point);
        }
        <[u8; 32]>::try_from(bytes.as_slice())
            .map_err(|_| PublicKeyError::Malformed)
            .and_then(Self::ed25519)
    }
}

serde_as_text!(PublicKey, "a public key in hex");

/// A signature as the protocols make it. Its text form is lower-case hex behind the curve's name:
/// `secp256k1:<r><s>` or `ed25519:<R><s>`, 64 bytes each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// ECDSA over secp256k1: `r` and `s`, big-endian. Only `s` in the lower half of the order is accepted anywhere.
    Secp256k1 {
        /// The x coordinate of the nonce point, modulo the order.
        r: [u8; 32],
        /// The second half.
        s: [u8; 32],
    },
    /// Ed25519 (RFC 8032).
    Ed25519([u8; 64]),
}

impl Signature {
    fn to_k256(self) -> Option<k256::ecdsa::Signature> {
        match self {
            Self::Secp256k1 { r, s } => k256::ecdsa::Signature::from_scalars(r, s).ok(),
            Self::Ed25519(_) => None,
        }
    }

    /// True for an ECDSA signature whose `s` is in the upper half of the order.
    pub(crate) fn is_high_s(&self) -> bool {
        self.to_k256()
            .is_some_and(|signature| signature.normalize_s().is_some())
    }

    /// Verifies an ECDSA signature (SEC 1 section 4.1.4, low s only) and gives its recovery id: 0 or 1, whether the
    /// nonce point's y is even or odd. That point falls out of the verification, so that nothing needs to be tried.
    pub(crate) fn recovery_id(&self, key: &PublicKey, prehash: &[u8; 32]) -> Option<u8> {
        let PublicKey::Secp256k1(point) = key else {
            return None;
        };
        let key = k256::PublicKey::from_sec1_bytes(point.as_bytes()).ok()?;
        let signature = self.to_k256()?;
        if signature.normalize_s().is_some() {
            return None;
        }
        let (r, s) = signature.split_scalars();
        let z = <Scalar as Reduce<k256::U256>>::reduce_bytes(&(*prehash).into());
        let inverse = Option::<Scalar>::from(s.as_ref().invert_vartime())?;
        let nonce = ProjectivePoint::lincomb(
            &ProjectivePoint::GENERATOR,
            &z.mul(&inverse),
            &key.to_projective(),
            &r.as_ref().mul(&inverse),
        );
        let nonce = nonce.to_affine();
        // An x of the group's order or more would need the ids 2 and 3, which no chain takes: then x and r differ.
        let same = !bool::from(nonce.is_identity()) && nonce.x() == r.to_repr();
        same.then(|| nonce.y_is_odd().unwrap_u8())
    }
}

/// The text is no [`Signature`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signature is secp256k1: or ed25519: and 128 lower-case hex digits")]
pub struct SignatureFormatError;

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secp256k1 { r, s } => write!(f, "secp256k1:{}{}", hex::encode(r), hex::encode(s)),
            Self::Ed25519(bytes) => write!(f, "ed25519:{}", hex::encode(bytes)),
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = SignatureFormatError;

    fn from_str(text: &str) -> Result<Self, SignatureFormatError> {
        let (curve, digits) = text.split_once(':').ok_or(SignatureFormatError)?;
        let mut bytes = [0; 64];
        if digits.bytes().any(|b| b.is_ascii_uppercase())
            || hex::decode_to_slice(digits, &mut bytes).is_err()
        {
            return Err(SignatureFormatError);
        }
        match curve {
            "secp256k1" => {
                let (r, s) = bytes.split_at(32);
                match (r.try_into(), s.try_into()) {
                    (Ok(r), Ok(s)) => Ok(Self::Secp256k1 { r, s }),
                    _ => Err(SignatureFormatError),
                }
            }
            "ed25519" => Ok(Self::Ed25519(bytes)),
            _ => Err(SignatureFormatError),
        }
    }
}

serde_as_text!(Signature, "a signature such as secp256k1:<hex>");

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the example in EIP-155 (private key 0x46 repeated), address from the same text.
    const EIP155_KEY: &str = "024bc2a31265153f07e70e0bab08724e6b85e217f8cd628ceb62974247bb493382";

    #[test]
    fn one_secp256k1_key_has_an_evm_and_a_tron_address() {
        let key: PublicKey = EIP155_KEY.parse().unwrap();
        assert_eq!(key.to_string(), EIP155_KEY);
        let evm = key.address(&Network::ETHEREUM).unwrap();
        assert_eq!(
            evm.to_string(),
            "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"
        );
        let tron = key.address(&Network::TRON).unwrap();
        assert_eq!(tron.as_bytes(), evm.as_bytes());
        assert!(matches!(
            key.address(&Network::SOLANA),
            Err(PublicKeyError::WrongCurve { .. })
        ));
    }

    proptest::proptest! {
        /// What the library's verification and its recovery by trial say, for whole and for damaged signatures.
        #[test]
        fn the_recovery_id_is_the_one_that_recovery_by_trial_finds(
            secret in proptest::array::uniform32(1_u8..),
            prehash: [u8; 32],
            damage in proptest::option::of((0_usize..96, 1_u8..)),
        ) {
            let secret = k256::ecdsa::SigningKey::from_slice(&secret).unwrap();
            let key = PublicKey::from_k256(&secret.verifying_key().into()).unwrap();
            let (signature, _) = secret.sign_prehash_recoverable(&prehash).unwrap();
            let mut bytes = [&signature.to_bytes()[..], &prehash].concat();
            if let Some((at, bits)) = damage {
                bytes[at] ^= bits;
            }
            let part = |n: usize| <[u8; 32]>::try_from(&bytes[32 * n..32 * n + 32]).unwrap();
            let (signature, prehash) = (Signature::Secp256k1 { r: part(0), s: part(1) }, part(2));
            let found = signature.recovery_id(&key, &prehash);
            let holds = key.verifies(&signature, &[], &prehash);
            proptest::prop_assert_eq!(found.is_some(), holds);
            proptest::prop_assert_eq!(holds, damage.is_none());
            if let Some(id) = found {
                let id = k256::ecdsa::RecoveryId::from_byte(id).unwrap();
                let signature = signature.to_k256().unwrap();
                let recovered = k256::ecdsa::VerifyingKey::recover_from_prehash(&prehash, &signature, id);
                proptest::prop_assert_eq!(&recovered.unwrap(), secret.verifying_key());
            }
        }
    }

    #[test]
    fn an_ed25519_key_is_its_solana_address() {
        let key: PublicKey = "66c2f508c9c555cacc9fb26d88e88dd54e210bb5a8bce5687f60d7e75c4cd07f"
            .parse()
            .unwrap();
        let address = key.address(&Network::SOLANA).unwrap();
        assert_eq!(
            address.to_string(),
            "7v91N7iZ9mNicL8WfG6cgSCKyRXydQjLh6UYBWwm6y1Q"
        );
        assert!(matches!(
            key.address(&Network::TRON),
            Err(PublicKeyError::WrongCurve { .. })
        ));
    }

    #[test]
    fn points_off_the_curve_and_of_small_order_are_refused() {
        // x = 5 has no y on secp256k1.
        let mut off = [0_u8; 33];
        off[0] = 2;
        off[32] = 5;
        assert_eq!(
            PublicKey::secp256k1(off),
            Err(PublicKeyError::NotAPoint("secp256k1"))
        );
        // The neutral element, and the same with a non-canonical y = p + 1.
        let mut neutral = [0_u8; 32];
        neutral[0] = 1;
        assert_eq!(
            PublicKey::ed25519(neutral),
            Err(PublicKeyError::NotAPoint("Ed25519"))
        );
        let mut above = [0xff_u8; 32];
        above[0] = 0xee;
        above[31] = 0x7f;
        assert_eq!(
            PublicKey::ed25519(above),
            Err(PublicKeyError::NotAPoint("Ed25519"))
        );
    }

    #[test]
    fn other_forms_of_a_key_are_refused() {
        for text in [
            "",
            "02",
            &EIP155_KEY.to_uppercase(),
            &format!("0x{EIP155_KEY}"),
            &format!("{EIP155_KEY}00"),
        ] {
            assert_eq!(
                text.parse::<PublicKey>(),
                Err(PublicKeyError::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn signatures_are_read_back_as_written() {
        for signature in [
            Signature::Secp256k1 {
                r: [1; 32],
                s: [2; 32],
            },
            Signature::Ed25519([3; 64]),
        ] {
            assert_eq!(signature.to_string().parse(), Ok(signature));
        }
        assert_eq!("ed25519:00".parse::<Signature>(), Err(SignatureFormatError));
        assert_eq!(
            format!("p256:{}", "00".repeat(64)).parse::<Signature>(),
            Err(SignatureFormatError)
        );
    }
}
