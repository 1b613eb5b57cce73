//! `CKA_EC_POINT`: what tokens call a point, told apart by its length.
//!
//! PKCS#11 (2.40 and 3.x) says: a DER OCTET STRING with the point in it. Some modules give the bare point, some of those for
//! Edwards curves a BIT STRING. Looking at bytes in the middle is wrong for one bare point of 256: the length decides.

use k256::ecdsa::VerifyingKey;

use crate::types::{KeyKind, PublicPoint};

/// What a token gave is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token's CKA_EC_POINT is no {kind} public key: {length} bytes, {shown}")]
pub struct PointError {
    kind: KeyKind,
    length: usize,
    shown: String,
}

/// Reads `CKA_EC_POINT`.
pub(crate) fn decode(kind: KeyKind, bytes: &[u8]) -> Result<PublicPoint, PointError> {
    let found = match kind {
        KeyKind::Secp256k1 => secp256k1(bytes),
        KeyKind::Ed25519 => ed25519(bytes),
    };
    found.ok_or_else(|| PointError {
        kind,
        length: bytes.len(),
        shown: hex::encode(bytes.get(..bytes.len().min(80)).unwrap_or_default()),
    })
}

fn secp256k1(bytes: &[u8]) -> Option<PublicPoint> {
    let point = match (bytes.len(), bytes) {
        (67, [0x04, 0x41, point @ ..]) | (35, [0x04, 0x21, point @ ..]) => point,
        (65 | 33, point) => point,
        _ => return None,
    };
    // Also says whether the point is on the curve, and not at infinity.
    let key = VerifyingKey::from_sec1_bytes(point).ok()?;
    let compressed = key.to_encoded_point(true);
    Some(PublicPoint::Secp256k1(
        compressed.as_bytes().try_into().ok()?,
    ))
}

fn ed25519(bytes: &[u8]) -> Option<PublicPoint> {
    let point = match (bytes.len(), bytes) {
        (34, [0x04, 0x20, point @ ..]) => point,
        (35, [0x03, 0x21, 0x00, point @ ..]) => point,
        (32, point) => point,
        _ => return None,
    };
    let point: [u8; 32] = point.try_into().ok()?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&point).ok()?;
    (!key.is_weak()).then_some(PublicPoint::Ed25519(point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::ecdsa::SigningKey;

    fn keys() -> impl Iterator<Item = SigningKey> {
        (1..=254u8).map(|seed| SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    #[test]
    fn every_form_of_a_secp256k1_point_is_the_same_key() {
        for key in keys() {
            let long = key
                .verifying_key()
                .to_encoded_point(false)
                .as_bytes()
                .to_vec();
            let short = key
                .verifying_key()
                .to_encoded_point(true)
                .as_bytes()
                .to_vec();
            let wanted = PublicPoint::Secp256k1(short.clone().try_into().unwrap());
            for form in [
                long.clone(),
                short.clone(),
                [&[0x04, 0x41], long.as_slice()].concat(),
                [&[0x04, 0x21], short.as_slice()].concat(),
            ] {
                assert_eq!(decode(KeyKind::Secp256k1, &form).unwrap(), wanted);
                assert!(decode(KeyKind::Ed25519, &form).is_err() || form.len() == 35);
            }
        }
    }

    #[test]
    fn every_form_of_an_ed25519_point_is_the_same_key() {
        for seed in 0..=255u8 {
            let point = ed25519_dalek::SigningKey::from_bytes(&[seed; 32])
                .verifying_key()
                .to_bytes();
            for form in [
                point.to_vec(),
                [&[0x04, 0x20], point.as_slice()].concat(),
                [&[0x03, 0x21, 0x00], point.as_slice()].concat(),
            ] {
                assert_eq!(
                    decode(KeyKind::Ed25519, &form).unwrap(),
                    PublicPoint::Ed25519(point)
                );
            }
        }
    }

    #[test]
    fn what_is_no_point_is_refused() {
        let off_curve = [&[0x04][..], &[1; 64]].concat();
        for bytes in [
            &[][..],
            &[0],
            &[4; 65],
            &off_curve,
            &[2; 34],
            &[0x04, 0x41],
            &[0; 67],
        ] {
            assert!(decode(KeyKind::Secp256k1, bytes).is_err(), "{bytes:?}");
        }
        // The identity has small order: any signature "verifies" under it.
        let mut identity = [0u8; 32];
        identity[0] = 1;
        for bytes in [&[][..], &identity, &[0xff; 33], &[4; 34]] {
            assert!(decode(KeyKind::Ed25519, bytes).is_err(), "{bytes:?}");
        }
    }
}
