//! Putting signatures and transactions together: what is refused, and what other software reads.

use k256::ecdsa::SigningKey;
use k256::ecdsa::signature::hazmat::PrehashSigner;

use super::*;
use crate::{Address, SenderMismatch};

/// The example of EIP-155 and its key.
const UNSIGNED: &str =
    "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080";

fn transaction() -> DecodedTransaction {
    decode(&Network::ETHEREUM, &hex::decode(UNSIGNED).unwrap()).unwrap()
}

fn key(byte: u8) -> (SigningKey, PublicKey) {
    let key = SigningKey::from_slice(&[byte; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(true);
    let public_key = PublicKey::secp256k1(point.as_bytes().try_into().unwrap()).unwrap();
    (key, public_key)
}

fn sign(key: &SigningKey, digest: &SigningDigest) -> Signature {
    let signature: k256::ecdsa::Signature = key.sign_prehash(digest.as_bytes()).unwrap();
    let signature = signature.normalize_s().unwrap_or(signature);
    let (r, s) = signature.split_bytes();
    Signature::Secp256k1 {
        r: r.into(),
        s: s.into(),
    }
}

/// The bytes of a TRX transfer from the account of `key(0x46)`.
fn tron(permission: Option<i32>) -> DecodedTransaction {
    let (_, public_key) = key(0x46);
    let owner = public_key.address(&Network::TRON).unwrap();
    let address = |bytes: &[u8]| [&[0x15, 0x41], bytes].concat();
    let transfer = [
        vec![0x0a],
        address(owner.as_bytes()),
        vec![0x12],
        address(&[9; 20]),
        vec![0x18, 1],
    ]
    .concat();
    let url = b"type.googleapis.com/protocol.TransferContract";
    let any = [
        &[0x0a, url.len() as u8],
        url.as_slice(),
        &[0x12, transfer.len() as u8],
        &transfer,
    ]
    .concat();
    let mut contract = [&[0x08, 1, 0x12, any.len() as u8], any.as_slice()].concat();
    if let Some(id) = permission {
        contract.extend([0x28, id as u8]);
    }
    // ref_block_bytes, ref_block_hash, expiration 2, contract, timestamp 1
    let head = [0x0a, 2, 1, 2, 0x22, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x40, 2];
    let raw = [
        head.as_slice(),
        &[0x5a, contract.len() as u8],
        &contract,
        &[0x70, 1],
    ]
    .concat();
    decode(&Network::TRON, &raw).unwrap()
}

#[test]
fn a_signature_of_the_key_makes_the_published_transaction() {
    let (key, public_key) = key(0x46);
    let transaction = transaction();
    let signed = transaction
        .assemble(&sign(&key, &transaction.digest()), &public_key)
        .unwrap();
    assert_eq!(
        hex::encode(signed.bytes),
        "f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195f\
         e537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"
    );
}

#[test]
fn a_signature_of_another_key_or_over_another_digest_is_refused() {
    let (ours, our_public) = key(0x46);
    let (theirs, _) = key(0x47);
    let transaction = transaction();
    let refused = transaction.assemble(&sign(&theirs, &transaction.digest()), &our_public);
    assert_eq!(refused, Err(AssembleError::Invalid));
    let refused = transaction.assemble(&sign(&ours, &SigningDigest([7; 32])), &our_public);
    assert_eq!(refused, Err(AssembleError::Invalid));
    for (r, s) in [
        ([0; 32], [1; 32]),
        ([1; 32], [0; 32]),
        ([0xff; 32], [1; 32]),
    ] {
        let refused = transaction.assemble(&Signature::Secp256k1 { r, s }, &our_public);
        assert_eq!(refused, Err(AssembleError::Invalid));
    }
}

#[test]
fn a_high_s_is_refused_though_it_verifies() {
    let (key, public_key) = key(0x46);
    let transaction = transaction();
    let Signature::Secp256k1 { r, s } = sign(&key, &transaction.digest()) else {
        panic!()
    };
    let low = k256::ecdsa::Signature::from_scalars(r, s).unwrap();
    let high = k256::ecdsa::Signature::from_scalars(r, (-*low.s()).to_bytes()).unwrap();
    let (r, s) = high.split_bytes();
    let signature = Signature::Secp256k1 {
        r: r.into(),
        s: s.into(),
    };
    assert_eq!(
        transaction.assemble(&signature, &public_key),
        Err(AssembleError::HighS)
    );
}

#[test]
fn a_signature_or_key_of_the_other_curve_is_refused() {
    let (key, public_key) = key(0x46);
    let transaction = transaction();
    let network = Network::ETHEREUM;
    let refused = transaction.assemble(&Signature::Ed25519([1; 64]), &public_key);
    assert_eq!(refused, Err(AssembleError::WrongCurve { network }));
    let ed25519: PublicKey = "66c2f508c9c555cacc9fb26d88e88dd54e210bb5a8bce5687f60d7e75c4cd07f"
        .parse()
        .unwrap();
    let refused = transaction.assemble(&sign(&key, &transaction.digest()), &ed25519);
    assert!(matches!(refused, Err(AssembleError::Key(_))));
}

#[test]
fn a_tron_transaction_is_signed_by_its_owner_only() {
    let transaction = tron(None);
    let (owner, public_key) = key(0x46);
    let signed = transaction
        .assemble(&sign(&owner, &transaction.digest()), &public_key)
        .unwrap();
    assert_eq!(signed.tx_id, hex::encode(transaction.digest().as_bytes()));
    assert!(
        signed
            .bytes
            .last()
            .is_some_and(|recovery_id| *recovery_id <= 1)
    );
    let (other, other_public) = key(0x47);
    let refused = transaction.assemble(&sign(&other, &transaction.digest()), &other_public);
    assert!(matches!(
        refused,
        Err(AssembleError::Sender(SenderMismatch { .. }))
    ));
    // Under another permission only the chain knows whose key it is.
    let permitted = tron(Some(2));
    assert!(
        permitted
            .assemble(&sign(&other, &permitted.digest()), &other_public)
            .is_ok()
    );
}

#[test]
fn the_sender_completes_an_evm_intent_and_names_what_it_replaces() {
    let (_, public_key) = key(0x46);
    let sender = public_key.address(&Network::ETHEREUM).unwrap();
    let intent = transaction().intent().clone();
    assert_eq!(intent.replacement_key(), None);
    let intent = intent.with_sender(&sender).unwrap();
    assert_eq!(intent.from, Some(sender));
    let key = "eip155:1/0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F/9";
    assert_eq!(intent.replacement_key().as_deref(), Some(key));
    let other = Address::Evm([1; 20]);
    assert_eq!(
        intent.with_sender(&other),
        Err(SenderMismatch {
            stated: sender,
            signer: other
        })
    );
}

#[test]
fn a_digest_is_read_back_as_written() {
    let digest = transaction().digest();
    assert_eq!(digest.to_string().parse(), Ok(digest));
    assert!("0x00".parse::<SigningDigest>().is_err());
}
