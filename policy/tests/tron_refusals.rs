//! What is refused in the contract of a Tron transaction, one test for each reason, and that the nearest acceptable one is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    missing_docs
)]

mod build;

use build::{
    Tron, approve, bytes_field, contract, int_field, owner, transfer, transfer_from, trigger,
    trigger_with, trx,
};
use countersign_policy::{
    CallError, DecodeError, IntentKind, Lifetime, Network, TronError, Warning, decode,
};

fn refusal(bytes: &[u8]) -> DecodeError {
    decode(&Network::TRON, bytes).unwrap_err()
}

#[test]
fn trx_and_usdt_transfers_are_accepted() {
    let transaction = decode(&Network::TRON, &Tron::default().encode()).unwrap();
    assert_eq!(transaction.intent().kind, IntentKind::TokenTransfer);
    assert_eq!(
        transaction.intent().transfers[0].asset.to_string(),
        "tron:0x2b6653dc/trc20:TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
    );
    assert_eq!(transaction.intent().warnings, []);
    let Lifetime::Tron { expires_at_ms, .. } = transaction.intent().lifetime else {
        panic!()
    };
    assert_eq!(expires_at_ms, 1_700_000_060_000);
    let trx = Tron {
        fee_limit: 0,
        ..Tron::with(trx(9))
    };
    let transaction = decode(&Network::TRON, &trx.encode()).unwrap();
    assert_eq!(transaction.intent().kind, IntentKind::NativeTransfer);
    assert_eq!(transaction.intent().transfers[0].amount.to_string(), "9");
}

#[test]
fn no_contract_and_more_than_one() {
    for count in [0, 2, 3] {
        let tron = Tron {
            contracts: vec![trx(1); count],
            ..Tron::default()
        };
        assert_eq!(
            refusal(&tron.encode()),
            TronError::ContractCount(count).into()
        );
    }
}

#[test]
fn a_type_number_and_a_type_url_that_disagree() {
    for (number, name) in [
        (1, "TriggerSmartContract"),
        (31, "TransferContract"),
        (57, "TransferContract"),
    ] {
        let refused = refusal(&Tron::with(contract(number, name, &[])).encode());
        assert!(
            matches!(refused, DecodeError::Tron(TronError::TypeMismatch { .. })),
            "{refused}"
        );
    }
    let any = bytes_field(1, b"type.example.com/protocol.TransferContract");
    let elsewhere = [int_field(1, 1), bytes_field(2, &any)].concat();
    assert!(matches!(
        refusal(&Tron::with(elsewhere).encode()),
        DecodeError::Tron(TronError::TypeMismatch { .. })
    ));
    let nothing = int_field(1, 1);
    assert!(matches!(
        refusal(&Tron::with(nothing).encode()),
        DecodeError::Tron(TronError::TypeMismatch { .. })
    ));
}

#[test]
fn an_unknown_contract_type() {
    for number in [7, 20, 60, -1] {
        let refused = refusal(&Tron::with(contract(number, "TransferContract", &[])).encode());
        assert_eq!(
            refused,
            TronError::UnknownContractType(number as i32).into()
        );
    }
}

#[test]
fn other_contract_types_are_a_kind_of_their_own() {
    let freeze = Tron::with(contract(
        54,
        "FreezeBalanceV2Contract",
        &bytes_field(1, &owner()),
    ));
    let transaction = decode(&Network::TRON, &freeze.encode()).unwrap();
    assert_eq!(transaction.intent().kind.name(), "other-contract");
    assert_eq!(transaction.intent().from, None);
    assert_eq!(
        transaction.intent().warnings,
        [Warning::UninterpretedContract]
    );
}

#[test]
fn a_token_call_that_carries_trx_or_tokens() {
    let data = transfer(&[1; 20], 1);
    let method = "transfer(address,uint256)";
    let with_value = Tron::with(trigger_with(&data, 5, 0, 0));
    assert_eq!(
        refusal(&with_value.encode()),
        CallError::CarriesValue {
            method,
            value: "5".to_owned()
        }
        .into()
    );
    for (value, id) in [(1, 0), (0, 1_000_001), (1, 1_000_001), (-1, 0)] {
        let with_token = Tron::with(trigger_with(&data, 0, value, id));
        assert_eq!(
            refusal(&with_token.encode()),
            TronError::CarriesToken.into()
        );
    }
}

#[test]
fn dirty_address_bytes_also_the_0x41_prefix() {
    let mut data = transfer(&[1; 20], 1);
    data[4 + 11] = 0x41;
    let method = "transfer(address,uint256)";
    assert_eq!(
        refusal(&Tron::with(trigger(&data)).encode()),
        CallError::DirtyAddress {
            method,
            argument: 1
        }
        .into()
    );
}

#[test]
fn missing_and_trailing_bytes_in_call_data() {
    for (data, method, expected) in [
        (transfer(&[1; 20], 1), "transfer(address,uint256)", 68),
        (approve(&[1; 20], &[0; 32]), "approve(address,uint256)", 68),
        (
            transfer_from(&[1; 20], &[2; 20], 1),
            "transferFrom(address,address,uint256)",
            100,
        ),
    ] {
        assert!(decode(&Network::TRON, &Tron::with(trigger(&data)).encode()).is_ok());
        for data in [
            data[..data.len() - 1].to_vec(),
            [data.clone(), vec![0; 32]].concat(),
        ] {
            let refused = refusal(&Tron::with(trigger(&data)).encode());
            assert_eq!(
                refused,
                CallError::Length {
                    method,
                    expected,
                    found: data.len()
                }
                .into()
            );
        }
    }
}

#[test]
fn other_calls_are_a_kind_of_their_own() {
    let transaction = decode(
        &Network::TRON,
        &Tron::with(trigger_with(&[1, 2, 3, 4], 7, 0, 0)).encode(),
    )
    .unwrap();
    assert_eq!(transaction.intent().kind.name(), "contract-call");
    assert_eq!(transaction.intent().transfers[0].amount.to_string(), "7");
    // A trigger without data runs the fallback function: no plain transfer.
    let transaction = decode(&Network::TRON, &Tron::with(trigger(&[])).encode()).unwrap();
    assert_eq!(transaction.intent().kind.name(), "contract-call");
    assert!(transaction.intent().transfers.is_empty());
}

#[test]
fn malformed_addresses() {
    let message = |owner: &[u8], to: &[u8]| {
        let message = [bytes_field(1, owner), bytes_field(2, to), int_field(3, 1)].concat();
        Tron::with(contract(1, "TransferContract", &message)).encode()
    };
    for bad in [
        vec![0x41; 20],
        vec![0x41; 22],
        vec![0xa0; 21],
        b"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t".to_vec(),
    ] {
        assert_eq!(
            refusal(&message(&bad, &owner())),
            TronError::BadAddress("owner_address").into()
        );
        assert_eq!(
            refusal(&message(&owner(), &bad)),
            TronError::BadAddress("to_address").into()
        );
    }
}
