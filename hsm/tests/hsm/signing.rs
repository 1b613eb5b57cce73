//! Signatures: verified by others, for the right key only.

use countersign_hsm::{HsmError, KeyKind, Prehash, PublicPoint};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use crate::token::{Softhsm, id};

#[test]
fn a_secp256k1_signature_is_low_and_recovers_to_the_key() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "treasury")
        .unwrap();
    let key = hsm.open_key_blocking(&id("k1"), public).unwrap();
    let verifier = VerifyingKey::from_sec1_bytes(public.as_bytes()).unwrap();
    for round in 0..40u8 {
        let prehash = [round; 32];
        let signed = hsm
            .sign_prehash_blocking(&key, Prehash::new(prehash))
            .unwrap();
        let signature = Signature::from_slice(&signed.bytes).unwrap();
        assert!(signature.normalize_s().is_none(), "the lower s");
        let recovery = RecoveryId::from_byte(signed.recovery_id).unwrap();
        let found = VerifyingKey::recover_from_prehash(&prehash, &signature, recovery).unwrap();
        assert_eq!(found, verifier);
    }
    let metrics = hsm.metrics();
    assert_eq!(
        (
            metrics.worker_starts,
            metrics.logins,
            metrics.wrong_signatures
        ),
        (1, 1, 0)
    );
    assert!(
        metrics.done >= 41 && metrics.failed == 0 && metrics.errors.is_empty(),
        "{metrics:?}"
    );
    assert_eq!(metrics.latency.iter().sum::<u64>(), metrics.done);
    assert_eq!(metrics.token.unwrap().label, "test");
}

#[tokio::test]
async fn an_ed25519_signature_verifies_and_is_for_the_message_itself() {
    let softhsm = Softhsm::new();
    let hsm = tokio::task::spawn_blocking({
        let config = softhsm.config("test");
        move || countersign_hsm::HsmClient::start(config).unwrap()
    })
    .await
    .unwrap();
    let public = hsm
        .generate_key_pair(KeyKind::Ed25519, &id("ed"), "solana")
        .await
        .unwrap();
    let key = hsm.open_key(&id("ed"), public).await.unwrap();
    let PublicPoint::Ed25519(point) = public else {
        panic!("{public:?}")
    };
    let verifier = ed25519_dalek::VerifyingKey::from_bytes(&point).unwrap();
    for length in [0, 1, 32, 1232, 60_000] {
        let message = vec![7; length];
        let signed = hsm.sign_ed25519(&key, &message).await.unwrap();
        verifier
            .verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&signed))
            .unwrap();
    }
    assert!(matches!(
        hsm.sign_ed25519(&key, &[0; 70_000]).await,
        Err(HsmError::TooLong(70_000))
    ));
    let wrong_kind = hsm.sign_prehash(&key, Prehash::new([1; 32])).await;
    assert!(
        matches!(wrong_kind, Err(HsmError::Failed(_) | HsmError::Kind { .. })),
        "{wrong_kind:?}"
    );
}

#[test]
fn many_callers_get_each_their_own_signature() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "")
        .unwrap();
    let key = hsm.open_key_blocking(&id("k1"), public).unwrap();
    std::thread::scope(|scope| {
        for caller in 0..8u8 {
            let (hsm, key) = (hsm.clone(), &key);
            scope.spawn(move || {
                for round in 0..10u8 {
                    // Each is verified inside for its own hash.
                    hsm.sign_prehash_blocking(key, Prehash::new([caller ^ (round << 4); 32]))
                        .unwrap();
                }
            });
        }
    });
    assert!(hsm.metrics().sessions_opened <= 3);
}

#[test]
fn the_canary_sings_and_is_reached_in_no_other_way() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let without = hsm.health_blocking();
    assert!(
        matches!(
            without,
            Err(HsmError::Failed(countersign_hsm::Failure::Missing { .. }))
        ),
        "{without:?}"
    );
    hsm.generate_canary_blocking().unwrap();
    hsm.health_blocking().unwrap();
    assert!(hsm.generate_canary_blocking().is_err(), "never twice");
    // No key id names it.
    assert!(countersign_hsm::KeyId::new(b"csn-canary".to_vec()).is_err());
}

#[test]
fn a_thousand_requests_wait_and_no_more() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "")
        .unwrap();
    let key = hsm.open_key_blocking(&id("k1"), public).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcomes = runtime.block_on(async {
        let asked: Vec<_> = (0..1500)
            .map(|_| {
                let (hsm, key) = (hsm.clone(), key.clone());
                tokio::spawn(async move { hsm.sign_prehash(&key, Prehash::new([1; 32])).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in asked {
            outcomes.push(task.await.unwrap());
        }
        outcomes
    });
    let busy = outcomes
        .iter()
        .filter(|o| matches!(o, Err(HsmError::Busy(_))))
        .count();
    let done = outcomes.iter().filter(|o| o.is_ok()).count();
    assert!(busy > 0 && done >= 900, "busy {busy}, done {done}");
    assert!(
        hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]))
            .is_ok()
    );
}
