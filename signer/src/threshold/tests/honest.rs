//! Everybody behaves: any t of n sign, and verifiers from outside agree.

use std::sync::Arc;

use countersign_policy::{PublicKey, Signature};
use k256::ecdsa::signature::hazmat::PrehashVerifier;

use super::fixtures::{SIZES, context, key, preimage, sign, signer_sets};
use super::network::Network;
use crate::threshold::{HashAlgorithm, KeyShare, Preimage, Protocol, ShareError};

/// Verifies with the curve libraries alone, not with the driver's own function.
pub(super) fn outside_verifier_accepts(
    key: &PublicKey,
    preimage: &Preimage,
    signature: &Signature,
) {
    match (key, signature) {
        (PublicKey::Secp256k1(point), Signature::Secp256k1 { r, s }) => {
            let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(point.as_bytes()).unwrap();
            let signature = k256::ecdsa::Signature::from_scalars(*r, *s).unwrap();
            assert!(signature.normalize_s().is_none(), "high s");
            key.verify_prehash(preimage.digest(), &signature).unwrap();
        }
        (PublicKey::Ed25519(point), Signature::Ed25519(bytes)) => {
            let key = ed25519_dalek::VerifyingKey::from_bytes(point.as_bytes()).unwrap();
            let signature = ed25519_dalek::Signature::from_bytes(bytes);
            key.verify_strict(preimage.bytes(), &signature).unwrap();
        }
        _ => panic!("signature of another curve"),
    }
}

fn every_signer_set_signs(protocol: Protocol) {
    for (t, n) in SIZES {
        let key = key(protocol, t, n);
        assert_eq!(key.parameters.threshold(), t);
        for signers in signer_sets(t, n) {
            let context = context(&key, &signers, "m", preimage(protocol));
            let signatures = sign(&Network::honest(), &key, &context);
            assert_eq!(signatures.len(), usize::from(t));
            let first = signatures.values().next().unwrap().clone().unwrap();
            for signature in signatures.values() {
                assert_eq!(signature.as_ref(), Ok(&first), "{t}-of-{n} {signers:?}");
            }
            outside_verifier_accepts(&key.public.public_key, &context.preimage, &first);
        }
    }
}

#[test]
fn every_signer_set_of_a_dkls23_key_signs() {
    every_signer_set_signs(Protocol::Dkls23);
}

#[test]
fn every_signer_set_of_a_frost_key_signs() {
    every_signer_set_signs(Protocol::FrostEd25519);
}

#[test]
fn dkls23_signs_for_bip32_children_over_both_hashes() {
    let key = key(Protocol::Dkls23, 2, 3);
    for (path, algorithm) in [
        ("m/0/7", HashAlgorithm::Keccak256),
        ("m/44/195/2147483647", HashAlgorithm::Sha256),
    ] {
        let preimage = Preimage::new(algorithm, b"child".to_vec());
        let context = context(&key, &[0, 2], path, preimage);
        let child = key.public.at(&context.path).unwrap();
        assert_ne!(child, key.public.public_key);
        for signature in sign(&Network::honest(), &key, &context).into_values() {
            outside_verifier_accepts(&child, &context.preimage, &signature.unwrap());
        }
    }
}

#[test]
fn a_frost_signature_of_the_same_message_is_never_the_same() {
    let key = key(Protocol::FrostEd25519, 2, 3);
    let one = || {
        let context = context(&key, &[0, 1], "m", preimage(Protocol::FrostEd25519));
        let signatures = sign(&Network::honest(), &key, &context);
        signatures.into_values().next().unwrap().unwrap()
    };
    assert_ne!(one(), one());
}

#[test]
fn a_share_loads_only_as_what_it_is() {
    let protocols = [Protocol::Cggmp24, Protocol::Dkls23, Protocol::FrostEd25519];
    for made in protocols {
        let share = super::fixtures::sealed(made);
        for asked in protocols {
            let read = KeyShare::from_bytes(asked, &share);
            if asked == made {
                assert!(read.unwrap().load().is_ok());
            } else {
                assert_eq!(
                    read.unwrap_err(),
                    ShareError::WrongProtocol {
                        expected: asked,
                        found: made
                    }
                );
            }
        }
        for cut in [0, 1, 40, share.len() / 2, share.len() - 1] {
            let loaded = KeyShare::from_bytes(made, &share[..cut]).and_then(|s| s.load());
            assert!(loaded.is_err(), "{made} cut to {cut} bytes");
        }
        let longer = [share.as_slice(), &[0]].concat();
        let loaded = KeyShare::from_bytes(made, &longer).and_then(|s| s.load());
        assert!(loaded.is_err(), "{made} with a trailing byte");
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let key = key(Protocol::Dkls23, 2, 3);
    let shown = format!("{:?}", Arc::clone(&key.shares[0]));
    assert!(
        !shown.contains("poly_point") && !shown.contains("seed"),
        "{shown}"
    );
}
