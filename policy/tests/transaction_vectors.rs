//! The published vectors in `tests/vectors/`: digest, meaning, signed bytes and id of each transaction, and the refusal of
//! everything in there that is no transaction.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs
)]

use std::fs;
use std::path::Path;

use alloy_rlp::Header;
use countersign_policy::{
    DecodeError, DecodedTransaction, EvmError, IntentKind, Network, PublicKey, Signature,
    SolanaError, Warning, decode,
};
use k256::ecdsa::{RecoveryId, VerifyingKey};
use serde_json::{Value, json};

fn vector(id: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(format!("{id}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(vector[field].as_str().unwrap()).unwrap()
}

fn decoded(network: &str, vector: &Value) -> DecodedTransaction {
    let preimage = bytes(vector, "unsigned_preimage");
    let transaction = decode(&network.parse().unwrap(), &preimage).unwrap();
    assert_eq!(transaction.preimage(), preimage);
    if let Some(sighash) = vector["sighash"].as_str() {
        assert_eq!(hex::encode(transaction.digest().as_bytes()), sighash);
    }
    transaction
}

/// r, s and the parity of a signed EVM transaction: its last three RLP items.
fn evm_signature(signed: &[u8]) -> (Signature, u8) {
    let mut list = if signed[0] < 0xc0 {
        &signed[1..]
    } else {
        signed
    };
    let mut payload = Header::decode_bytes(&mut list, true).unwrap();
    let mut items = vec![];
    while !payload.is_empty() {
        let header = Header::decode(&mut payload).unwrap();
        items.push(&payload[..header.payload_length]);
        payload = &payload[header.payload_length..];
    }
    let [.., v, r, s] = items.as_slice() else {
        panic!("no signature")
    };
    let word = |item: &[u8]| {
        let mut word = [0; 32];
        word[32 - item.len()..].copy_from_slice(item);
        word
    };
    let v = v.iter().fold(0_u64, |v, byte| v * 256 + u64::from(*byte));
    let parity = if v >= 35 { (v - 35) % 2 } else { v };
    (
        Signature::Secp256k1 {
            r: word(r),
            s: word(s),
        },
        parity as u8,
    )
}

fn recover(transaction: &DecodedTransaction, signature: &Signature, parity: u8) -> PublicKey {
    let Signature::Secp256k1 { r, s } = signature else {
        panic!("not ECDSA")
    };
    let signature = k256::ecdsa::Signature::from_scalars(*r, *s).unwrap();
    let id = RecoveryId::from_byte(parity).unwrap();
    let key = VerifyingKey::recover_from_prehash(transaction.digest().as_bytes(), &signature, id)
        .unwrap();
    PublicKey::secp256k1(key.to_encoded_point(true).as_bytes().try_into().unwrap()).unwrap()
}

/// Digest, signer, signed bytes and id; and what the transaction means, against `kind` and `transfers`.
fn evm(id: &str, network: &str) -> DecodedTransaction {
    let vector = vector(id);
    let transaction = decoded(network, &vector);
    let signed = bytes(&vector, "signed");
    let (signature, parity) = evm_signature(&signed);
    let key = recover(&transaction, &signature, parity);
    assert_eq!(
        key.address(&network.parse().unwrap()).unwrap().to_string(),
        vector["signer"]
    );
    let assembled = transaction.assemble(&signature, &key).unwrap();
    assert_eq!(
        hex::encode(&assembled.bytes),
        vector["signed"].as_str().unwrap()
    );
    assert_eq!(
        assembled.tx_id,
        format!("0x{}", vector["txid"].as_str().unwrap())
    );
    assert_eq!(
        decode(&network.parse().unwrap(), &signed).unwrap_err(),
        DecodeError::AlreadySigned,
        "the signed form is no unsigned transaction"
    );
    transaction
}

fn means(transaction: &DecodedTransaction, expected: Value) {
    let mut intent = serde_json::to_value(transaction.intent()).unwrap();
    let read_back: countersign_policy::Intent = serde_json::from_value(intent.clone()).unwrap();
    assert_eq!(&read_back, transaction.intent());
    let fields = intent.as_object_mut().unwrap();
    fields.retain(|field, _| expected.get(field).is_some());
    assert_eq!(intent, expected);
}

#[test]
fn eip_155_example_is_a_native_transfer() {
    means(
        &evm("evm_eip155_transfer", "eip155:1"),
        json!({
            "network": "eip155:1",
            "kind": "native-transfer",
            "transfers": [{
                "asset": "eip155:1/slip44:60",
                "to": "0x3535353535353535353535353535353535353535",
                "amount": "1000000000000000000",
            }],
            "max_fee": {"asset": "eip155:1/slip44:60", "amount": "420000000000000"},
            "lifetime": {"evm": {"chain_id": "1", "nonce": "9"}},
        }),
    );
}

#[test]
fn eip_2930_with_an_access_list() {
    means(
        &evm("evm_eip2930_access_list", "eip155:1"),
        json!({
            "kind": "native-transfer",
            "transfers": [{
                "asset": "eip155:1/slip44:60",
                "to": "0x095E7BAea6a6c7c4c2DfeB977eFac326aF552d87",
                "amount": "0",
            }],
            "lifetime": {"evm": {"chain_id": "1", "nonce": "0"}},
        }),
    );
}

#[test]
fn eip_1559_native_transfer() {
    means(
        &evm("evm_eip1559_eth_transfer", "eip155:3"),
        json!({
            "kind": "native-transfer",
            "transfers": [{
                "asset": "eip155:3/slip44:60",
                "to": "0xB9F5771C27664bF2282D98E09D7F50cEc7cB01a7",
                "amount": "543210987654321",
            }],
            "max_fee": {"asset": "eip155:3/slip44:60", "amount": "63300000000000"},
            "lifetime": {"evm": {"chain_id": "3", "nonce": "6"}},
        }),
    );
}

#[test]
fn erc_20_transfer_of_an_unknown_token() {
    let dai = "eip155:1/erc20:0x6b175474e89094c44da98b954eedeac495271d0f";
    means(
        &evm("evm_eip1559_erc20_transfer", "eip155:1"),
        json!({
            "kind": "token-transfer",
            "transfers": [{"asset": dai, "to": "0x5322B34c88Ed0691971Bf52A7047448f0F4eFC84", "amount": "2000000000000000000"}],
            "warnings": [{"unknown-token": dai}],
        }),
    );
}

#[test]
fn erc_20_approve() {
    let dai = "eip155:1/erc20:0x6b175474e89094c44da98b954eedeac495271d0f";
    means(
        &evm("evm_eip1559_erc20_approve", "eip155:1"),
        json!({
            "kind": "token-approve",
            "transfers": [],
            "approvals": [{
                "asset": dai,
                "spender": "0x5322B34c88Ed0691971Bf52A7047448f0F4eFC84",
                "amount": "2000000000000000000",
            }],
        }),
    );
}

#[test]
fn usdt_transfer_with_an_access_list_is_a_known_token() {
    let transaction = evm("evm_eip1559_usdt_access_list", "eip155:1");
    means(
        &transaction,
        json!({
            "kind": "token-transfer",
            "transfers": [{
                "asset": "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7",
                "to": "0xb2Fb4372E663B2e53dA97D98100433d1fd06ca55",
                "amount": "1000000",
            }],
        }),
    );
    assert_eq!(transaction.intent().warnings, []);
}

#[test]
fn erc_721_transfer_from_is_an_unknown_token_whose_amount_may_be_an_id() {
    let transaction = evm("evm_eip1559_erc721_transferFrom", "eip155:1");
    let intent = transaction.intent();
    assert_eq!(intent.kind, IntentKind::TokenTransferFrom);
    let asset = intent.transfers[0].asset;
    assert_eq!(
        intent.transfers[0].amount.to_string(),
        "600080101".to_owned()
    );
    assert_eq!(
        intent.warnings,
        [
            Warning::UnknownToken(asset),
            Warning::AmountMayBeTokenId(asset)
        ]
    );
}

#[test]
fn what_is_no_transaction_is_refused_as_what_it_is() {
    let delegation = bytes(&vector("evm_eip7702_authorization"), "unsigned_preimage");
    assert_eq!(
        decode(&Network::ETHEREUM, &delegation).unwrap_err(),
        EvmError::Delegation.into()
    );
    for id in [
        "evm_eip712_mail",
        "evm_eip712_permit2_unlimited",
        "evm_eip712_safetx_1_0_0_no_chainid",
        "evm_eip712_safetx_1_3_0",
    ] {
        let vector = vector(id);
        // As JSON text, and as a 0x19 0x01 preimage around two hashes.
        let text = vector["typed_data"].to_string();
        assert_eq!(
            decode(&Network::ETHEREUM, text.as_bytes()).unwrap_err(),
            EvmError::UnknownType(b'{').into()
        );
        let hash = hex::decode(vector["sighash"].as_str().unwrap()).unwrap();
        let preimage = [[0x19, 0x01].as_slice(), &hash, &hash].concat();
        assert_eq!(
            decode(&Network::ETHEREUM, &preimage).unwrap_err(),
            EvmError::SignedData.into()
        );
        // A bare hash is no transaction either: its first byte is no type that is supported.
        assert!(decode(&Network::ETHEREUM, &hash).is_err());
    }
}

fn tron(id: &str) -> DecodedTransaction {
    let vector = vector(id);
    let transaction = decoded("tron:0x2b6653dc", &vector);
    let signature = bytes(&vector, "signature");
    let (r, s) = (
        signature[..32].try_into().unwrap(),
        signature[32..64].try_into().unwrap(),
    );
    let ours = Signature::Secp256k1 { r, s };
    let key = recover(&transaction, &ours, signature[64]);
    assert_eq!(
        key.address(&Network::TRON).unwrap().to_string(),
        vector["signer_base58"]
    );
    let assembled = transaction.assemble(&ours, &key).unwrap();
    assert_eq!(assembled.tx_id, vector["sighash"].as_str().unwrap());
    assert!(
        assembled.bytes.ends_with(&signature),
        "65 bytes, recovery id as in the source"
    );
    assert_eq!(
        decode(&Network::TRON, &assembled.bytes).unwrap_err(),
        DecodeError::AlreadySigned
    );
    transaction
}

#[test]
fn tron_transfer_with_a_memo() {
    means(
        &tron("tron_transfer_memo_mainnet"),
        json!({
            "network": "tron:0x2b6653dc",
            "kind": "native-transfer",
            "from": "TFnYQCt892UNjn67pjAULTSTkB7YvqsnPp",
            "transfers": [{
                "asset": "tron:0x2b6653dc/slip44:195",
                "to": "TBUCzgc29vykkvFaEG2mgRtxKvaKe6skwX",
                "amount": "100000",
            }],
            "memo": format!("0x{}", hex::encode("Test memo")),
            "warnings": ["memo"],
        }),
    );
}

#[test]
fn tron_delegation_is_a_kind_of_its_own_that_names_nobody() {
    let transaction = tron("tron_delegate_resource");
    let intent = transaction.intent();
    assert_eq!(intent.kind.name(), "other-contract");
    let IntentKind::OtherContract {
        contract_type: 57,
        name,
        ..
    } = &intent.kind
    else {
        panic!("{:?}", intent.kind)
    };
    assert_eq!(name, "DelegateResourceContract");
    assert_eq!(intent.warnings, [Warning::UninterpretedContract]);
    assert!(intent.transfers.is_empty());
}

#[test]
fn solana_system_transfer() {
    let vector = vector("sol_legacy_system_transfer");
    let preimage = bytes(&vector, "unsigned_preimage");
    let transaction = decode(&Network::SOLANA, &preimage).unwrap();
    means(
        &transaction,
        json!({
            "kind": "native-transfer",
            "from": vector["signer"],
            "transfers": [{
                "asset": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/slip44:501",
                "to": vector["intent"]["to"],
                "amount": "42",
            }],
            "max_fee": {"asset": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/slip44:501", "amount": "5000"},
            "lifetime": {"solana": {"blockhash": "11111111111111111111111111111111"}},
        }),
    );
    let signed = bytes(&vector, "signed");
    let signature = Signature::Ed25519(signed[1..65].try_into().unwrap());
    let key = PublicKey::ed25519(preimage[4..36].try_into().unwrap()).unwrap();
    let assembled = transaction.assemble(&signature, &key).unwrap();
    assert_eq!(assembled.bytes, signed);
    assert_eq!(assembled.tx_id, vector["signatures"][0].as_str().unwrap());
    assert_eq!(
        decode(&Network::SOLANA, &signed).unwrap_err(),
        DecodeError::AlreadySigned
    );
}

#[test]
fn other_solana_messages_are_not_supported_yet() {
    for id in [
        "sol_durable_nonce_transfer",
        "sol_legacy_spl_transfer_checked",
        "sol_legacy_token2022_transfer_checked",
        "sol_transfer_priority_fee",
        "sol_v0_system_transfer",
    ] {
        let preimage = bytes(&vector(id), "unsigned_preimage");
        let refused = decode(&Network::SOLANA, &preimage).unwrap_err();
        assert!(
            matches!(refused, DecodeError::Solana(SolanaError::NotSupported(_))),
            "{id}: {refused}"
        );
    }
}
