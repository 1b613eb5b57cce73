//! Random transactions, written by hand: decoded to what they were written from, signed, put together, taken apart again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs
)]

use countersign_policy::{DecodeError, DecodedTransaction, Network, PublicKey, Signature, decode};
use countersign_tests::transactions::{Choices, RandomTransaction, random_evm, random_tron};
use k256::ecdsa::SigningKey;
use k256::ecdsa::signature::hazmat::PrehashSigner;
use serde_json::Value;

const ROUNDS: u64 = 3_000;

fn key() -> (SigningKey, PublicKey) {
    let key = SigningKey::from_slice(&[0x46; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(true);
    (
        key,
        PublicKey::secp256k1(point.as_bytes().try_into().unwrap()).unwrap(),
    )
}

fn sign(key: &SigningKey, transaction: &DecodedTransaction) -> Signature {
    let signature: k256::ecdsa::Signature =
        key.sign_prehash(transaction.digest().as_bytes()).unwrap();
    let signature = signature.normalize_s().unwrap_or(signature);
    let (r, s) = signature.split_bytes();
    Signature::Secp256k1 {
        r: r.into(),
        s: s.into(),
    }
}

/// The meaning in the words of the generator.
fn check_meaning(transaction: &DecodedTransaction, written: &RandomTransaction) {
    let intent = serde_json::to_value(transaction.intent()).unwrap();
    let expected = serde_json::to_value(written).unwrap();
    assert_eq!(transaction.intent().kind.name(), written.kind);
    assert_eq!(intent["transfers"], expected["transfers"]);
    let none = Value::Array(vec![]);
    assert_eq!(
        intent.get("approvals").unwrap_or(&none),
        &expected["approvals"]
    );
    if let Some(max_fee) = &written.max_fee {
        assert_eq!(&transaction.intent().max_fee.amount.to_string(), max_fee);
    }
}

fn signed_and_refused_as_unsigned(network: &Network, transaction: &DecodedTransaction) {
    let (key, public_key) = key();
    let signed = transaction
        .assemble(&sign(&key, transaction), &public_key)
        .unwrap();
    assert_eq!(
        decode(network, &signed.bytes).unwrap_err(),
        DecodeError::AlreadySigned
    );
}

#[test]
fn random_evm_transactions_mean_what_they_were_written_from() {
    let mut choices = Choices::new(1);
    for _ in 0..ROUNDS {
        let written = random_evm(&mut choices);
        let network = written.network.parse().unwrap();
        let transaction = decode(&network, &written.bytes).unwrap();
        assert_eq!(transaction.preimage(), written.bytes);
        check_meaning(&transaction, &written);
        signed_and_refused_as_unsigned(&network, &transaction);
    }
}

#[test]
fn random_tron_transactions_mean_what_they_were_written_from() {
    let mut choices = Choices::new(2);
    let owner = key().1.address(&Network::TRON).unwrap();
    for _ in 0..ROUNDS {
        let written = random_tron(&mut choices, owner.as_bytes().try_into().unwrap());
        let transaction = decode(&Network::TRON, &written.bytes).unwrap();
        assert_eq!(transaction.preimage(), written.bytes);
        assert_eq!(transaction.intent().from, Some(owner));
        check_meaning(&transaction, &written);
        signed_and_refused_as_unsigned(&Network::TRON, &transaction);
    }
}
