//! What a token gave, checked before it is a signature.

use k256::ecdsa::{Signature, VerifyingKey};
use k256::elliptic_curve::PrimeField as _;
use k256::elliptic_curve::ops::{Invert as _, LinearCombination as _, Reduce};
use k256::elliptic_curve::point::AffineCoordinates as _;
use k256::{ProjectivePoint, Scalar, U256};

use crate::types::{Prehash, PublicPoint, RecoverableSignature};

/// A key as signatures are verified under it: decoded once.
#[derive(Debug, Clone)]
pub(super) enum Verifier {
    Secp256k1(Box<VerifyingKey>),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
}

impl Verifier {
    pub fn new(public: &PublicPoint) -> Option<Self> {
        Some(match public {
            PublicPoint::Secp256k1(point) => {
                Self::Secp256k1(Box::new(VerifyingKey::from_sec1_bytes(point).ok()?))
            }
            PublicPoint::Ed25519(point) => Self::Ed25519(Box::new(
                ed25519_dalek::VerifyingKey::from_bytes(point).ok()?,
            )),
        })
    }
}

/// Verifies r and s under the key (SEC 1, section 4.1.4), takes the lower s (BIP 62), and says which candidate the key is
/// (section 4.1.6). One double multiplication does it all: the point that verification computes has the parity asked for.
// Arithmetic modulo the group's order does not overflow.
#[allow(clippy::arithmetic_side_effects)]
pub(super) fn recoverable(
    key: &VerifyingKey,
    prehash: &Prehash,
    raw: &[u8],
) -> Option<RecoverableSignature> {
    // Refuses zero and what is not below the order.
    let signature = Signature::from_slice(raw).ok()?;
    let low = signature.normalize_s().unwrap_or(signature);
    let (r, s) = low.split_scalars();
    let z = <Scalar as Reduce<U256>>::reduce_bytes(prehash.as_bytes().into());
    let inverse = *s.invert_vartime();
    let key = ProjectivePoint::from(*key.as_affine());
    let point = ProjectivePoint::lincomb(
        &ProjectivePoint::GENERATOR,
        &(z * inverse),
        &key,
        &(*r * inverse),
    )
    .to_affine();
    let x = point.x();
    if <Scalar as Reduce<U256>>::reduce_bytes(&x) != *r {
        return None;
    }
    let reduced = bool::from(Scalar::from_repr(x).is_none());
    Some(RecoverableSignature {
        bytes: low.to_bytes().into(),
        recovery_id: u8::from(bool::from(point.y_is_odd())) | (u8::from(reduced) << 1),
    })
}

/// Verifies strictly (RFC 8032, section 8.4: one signature, one reading).
pub(super) fn ed25519(
    key: &ed25519_dalek::VerifyingKey,
    message: &[u8],
    raw: &[u8],
) -> Option<[u8; 64]> {
    let bytes: [u8; 64] = raw.try_into().ok()?;
    let signature = ed25519_dalek::Signature::from_bytes(&bytes);
    key.verify_strict(message, &signature).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::ecdsa::{RecoveryId, SigningKey, signature::hazmat::PrehashSigner as _};
    use proptest::prelude::*;

    /// What a token would give: the high s as well.
    fn raw(key: &SigningKey, prehash: &[u8; 32], high: bool) -> [u8; 64] {
        let signature: Signature = key.sign_prehash(prehash).unwrap();
        let signature = signature.normalize_s().unwrap_or(signature);
        if !high {
            return signature.to_bytes().into();
        }
        let (r, s) = signature.split_scalars();
        Signature::from_scalars(r, -*s).unwrap().to_bytes().into()
    }

    proptest! {
        #[test]
        fn low_s_and_recovery_id_are_what_another_implementation_says(
            seed in any::<[u8; 32]>(), prehash in any::<[u8; 32]>(), high in any::<bool>(), bit in 0usize..512,
        ) {
            let Ok(key) = SigningKey::from_slice(&seed) else { return Ok(()) };
            let given = raw(&key, &prehash, high);
            let found = recoverable(key.verifying_key(), &Prehash::new(prehash), &given).unwrap();
            let signature = Signature::from_slice(&found.bytes).unwrap();
            prop_assert!(signature.normalize_s().is_none(), "the lower s");
            let id = RecoveryId::trial_recovery_from_prehash(key.verifying_key(), &prehash, &signature).unwrap();
            prop_assert_eq!(found.recovery_id, id.to_byte());
            // Any flipped bit is noticed.
            let mut damaged = given;
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(recoverable(key.verifying_key(), &Prehash::new(prehash), &damaged).is_none());
            let mut other = prehash;
            other[bit / 16] ^= 1;
            prop_assert!(recoverable(key.verifying_key(), &Prehash::new(other), &given).is_none());
        }
    }

    #[test]
    fn zeros_and_wrong_lengths_are_no_signatures() {
        let key = SigningKey::from_slice(&[1; 32]).unwrap();
        for raw in [&[][..], &[0; 64], &[0xff; 64], &[1; 63], &[1; 65]] {
            assert!(recoverable(key.verifying_key(), &Prehash::new([2; 32]), raw).is_none());
        }
        let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        for raw in [&[][..], &[0; 64], &[1; 65]] {
            assert!(ed25519(&key.verifying_key(), b"m", raw).is_none());
        }
        use ed25519_dalek::Signer as _;
        let good = key.sign(b"m").to_bytes();
        assert_eq!(ed25519(&key.verifying_key(), b"m", &good), Some(good));
        assert_eq!(ed25519(&key.verifying_key(), b"n", &good), None);
    }
}
