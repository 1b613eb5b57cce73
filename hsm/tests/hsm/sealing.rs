//! Sealing a data key: opens with the same key in the same place, and with nothing else.

use countersign_hsm::{Failure, HsmError, Sealed, Secret32};

use crate::token::{Softhsm, id};

fn refused(outcome: Result<Secret32, HsmError>) -> bool {
    matches!(outcome, Err(HsmError::Failed(Failure::SealRefused)))
}

#[test]
fn a_data_key_opens_with_its_key_in_its_place_only() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    for name in ["kek1", "kek2"] {
        hsm.generate_kek_blocking(&id(name), "kek").unwrap();
    }
    let secret = Secret32::new(&[42; 32]);
    let sealed = hsm
        .wrap_blocking(&id("kek1"), b"store of node-1", &secret)
        .unwrap();
    assert_eq!(sealed.sealed.len(), 48);
    assert_ne!(sealed.iv, [0; 12]);
    let another = hsm
        .wrap_blocking(&id("kek1"), b"store of node-1", &secret)
        .unwrap();
    assert_ne!(sealed.iv, another.iv, "a fresh vector each time");
    let opened = hsm
        .unwrap_blocking(&id("kek1"), b"store of node-1", &sealed)
        .unwrap();
    assert_eq!(opened.expose(), &[42; 32]);
    assert!(refused(hsm.unwrap_blocking(
        &id("kek1"),
        b"store of node-2",
        &sealed
    )));
    assert!(refused(hsm.unwrap_blocking(
        &id("kek2"),
        b"store of node-1",
        &sealed
    )));
    for byte in [0, 31, 32, 47] {
        let mut damaged = sealed.clone();
        damaged.sealed[byte] ^= 1;
        assert!(
            refused(hsm.unwrap_blocking(&id("kek1"), b"store of node-1", &damaged)),
            "byte {byte}"
        );
    }
    let other_iv = Sealed {
        iv: another.iv,
        ..sealed.clone()
    };
    assert!(refused(hsm.unwrap_blocking(
        &id("kek1"),
        b"store of node-1",
        &other_iv
    )));
    for length in [0, 16, 47] {
        let cut = Sealed {
            sealed: sealed.sealed[..length].to_vec(),
            ..sealed.clone()
        };
        assert!(
            refused(hsm.unwrap_blocking(&id("kek1"), b"store of node-1", &cut)),
            "{length}"
        );
    }
    // Nothing of that made anybody doubt the token.
    assert_eq!(
        (hsm.metrics().reinitialisations, hsm.metrics().worker_starts),
        (0, 1)
    );
}

#[test]
fn a_key_of_another_token_with_the_same_id_does_not_open() {
    let (one, two) = (Softhsm::new(), Softhsm::beside());
    let (first, second) = (one.client(), two.client());
    for hsm in [&first, &second] {
        hsm.generate_kek_blocking(&id("kek"), "kek").unwrap();
    }
    let sealed = first
        .wrap_blocking(&id("kek"), b"place", &Secret32::new(&[1; 32]))
        .unwrap();
    assert!(refused(second.unwrap_blocking(
        &id("kek"),
        b"place",
        &sealed
    )));
}

#[test]
fn a_signing_key_does_not_seal() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    hsm.generate_key_pair_blocking(countersign_hsm::KeyKind::Secp256k1, &id("k1"), "")
        .unwrap();
    let outcome = hsm.wrap_blocking(&id("k1"), b"", &Secret32::new(&[1; 32]));
    assert!(
        matches!(outcome, Err(HsmError::Failed(Failure::Missing { .. }))),
        "{outcome:?}"
    );
}
