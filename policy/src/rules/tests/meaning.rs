//! What rules are told of a transaction.

use super::with_rules;
use crate::bundle::AddressBookEntry;
use crate::limits::{Price, Reference};
use crate::rules::SigningFacts;
use crate::statement::SignRequest;
use crate::testing::transaction::{self, EXCHANGE, STRANGER, Tron};
use crate::testing::{TestDeployment, WALLET};
use crate::{Amount, Facts, Network};

fn facts(deployment: &TestDeployment, network: Network, bytes: Vec<u8>) -> SigningFacts {
    let bundle = deployment.bundle();
    let request = deployment.request("p", WALLET, network, bytes);
    let request = bundle.directory().open::<SignRequest>(&request).unwrap();
    let facts = Facts::establish(&bundle, request.body()).unwrap();
    SigningFacts::of(&bundle, &request, &facts, deployment.now())
}

fn ethereum(bytes: Vec<u8>) -> SigningFacts {
    facts(&with_rules(""), Network::ETHEREUM, bytes)
}

#[test]
fn a_transfer_to_a_listed_destination() {
    let facts = ethereum(transaction::usdt_erc20(&EXCHANGE, 1_500_000, 0));
    insta::assert_json_snapshot!(facts);
}

#[test]
fn eighteen_decimals_are_rounded_up() {
    let facts = ethereum(transaction::ether(&EXCHANGE, 1_000_000_000_001, 0));
    assert_eq!(facts.amount_micro, Some(2));
    assert_eq!(facts.fee_micro, Some(3_000));
}

#[test]
fn a_stranger_is_not_listed_and_a_spender_is_a_destination() {
    for bytes in [
        transaction::usdt_erc20(&STRANGER, 1, 0),
        transaction::usdt_approve(&STRANGER, 1, 0),
        transaction::evm_call(&STRANGER, 0, vec![1, 2, 3, 4, 5], 0),
    ] {
        let facts = ethereum(bytes);
        assert!(!facts.destination_listed && facts.destination_labels.is_empty());
        assert_eq!(facts.destination_active_since, None);
    }
    let facts = ethereum(transaction::usdt_approve(&EXCHANGE, 1, 0));
    assert!(facts.destination_listed);
    assert_eq!(facts.amount_micro, Some(1));
}

#[test]
fn an_entry_that_is_not_active_yet_is_not_listed() {
    let mut deployment = with_rules("");
    let later = deployment.now().plus_seconds(1);
    for entry in &mut deployment.content_mut().address_book {
        entry.active_from = later;
    }
    let facts = facts(
        &deployment,
        Network::ETHEREUM,
        transaction::usdt_erc20(&EXCHANGE, 1, 0),
    );
    assert!(!facts.destination_listed && facts.destination_labels.is_empty());
    assert_eq!(facts.destination_active_since, Some(later));
}

/// A call that carries ether to a listed contract and one that carries it to a stranger differ in what is listed, and a
/// call is never listed by its transfers alone.
#[test]
fn a_call_is_listed_by_the_contract_too() {
    let facts = ethereum(transaction::evm_call(&EXCHANGE, 5, vec![1, 2, 3, 4, 5], 0));
    assert_eq!(facts.kind, "contract-call");
    assert!(facts.destination_listed);
    assert_eq!(facts.selector.as_deref(), Some("0x01020304"));
    assert!(facts.contract.is_some() && facts.data_hash.is_some());
    assert_eq!(facts.amount_micro, Some(1));
}

#[test]
fn what_is_without_limit_or_does_not_fit_has_no_amount() {
    let unlimited = [
        &[0x09, 0x5e, 0xa7, 0xb3][..],
        &[0; 12],
        &EXCHANGE,
        &[0xff; 32],
    ]
    .concat();
    let usdt = [
        0xda, 0xc1, 0x7f, 0x95, 0x8d, 0x2e, 0xe5, 0x23, 0xa2, 0x20, 0x62, 0x06, 0x99, 0x45, 0x97,
        0xc1, 0x3d, 0x83, 0x1e, 0xc7,
    ];
    let facts = ethereum(transaction::evm_call(&usdt, 0, unlimited, 0));
    assert_eq!(facts.kind, "token-approve");
    assert!(facts.unlimited_approval);
    assert_eq!(facts.amount_micro, None);
    let facts = ethereum(transaction::usdt_erc20(&EXCHANGE, u64::MAX, 0));
    assert_eq!(facts.amount_micro, None);
}

#[test]
fn an_asset_that_the_bundle_does_not_know_has_no_amount() {
    let token = [
        &[0xa9, 0x05, 0x9c, 0xbb][..],
        &[0; 12],
        &EXCHANGE,
        &[0; 31],
        &[1],
    ]
    .concat();
    let facts = ethereum(transaction::evm_call(&STRANGER, 0, token, 0));
    assert_eq!(facts.kind, "token-transfer");
    assert_eq!((facts.amount_micro, facts.fee_micro), (None, Some(3_000)));
}

#[test]
fn memo_and_permission_of_tron() {
    let deployment = with_rules("");
    let tron = Tron {
        permission_id: 2,
        memo: b"42".to_vec(),
        ..Tron::at(deployment.now())
    };
    let facts = facts(&deployment, Network::TRON, tron.trx(&EXCHANGE, 7));
    assert_eq!(facts.permission, 2);
    assert_eq!(facts.memo.as_deref(), Some("0x3432"));
    assert_eq!(facts.amount_micro, Some(7));
}

#[test]
fn the_value_is_what_prices_say_rounded_up_and_absent_without_a_price() {
    let mut deployment = with_rules("");
    let ether = Network::ETHEREUM.native_asset();
    deployment.content_mut().reference = Some(Reference {
        currency: "USD".to_owned(),
        decimals: 2,
        prices: vec![Price {
            asset: ether,
            per_unit: Amount::from(300_000_u64),
        }],
    });
    let value = |bytes| facts(&deployment, Network::ETHEREUM, bytes).value_micro;
    assert_eq!(
        value(transaction::ether(&EXCHANGE, 1_000_000_000_000_000_000, 0)),
        Some(3_000_000_000)
    );
    // A wei is worth less than a cent and counts as one.
    assert_eq!(value(transaction::ether(&EXCHANGE, 1, 0)), Some(10_000));
    assert_eq!(value(transaction::usdt_erc20(&EXCHANGE, 1, 0)), None);
}

#[test]
fn labels_are_of_this_network_alone() {
    let mut deployment = with_rules("");
    deployment
        .content_mut()
        .address_book
        .push(AddressBookEntry {
            label: "elsewhere".to_owned(),
            network: Network::evm(56).unwrap(),
            address: crate::Address::Evm(STRANGER),
            active_from: crate::Timestamp::from_millis(0),
        });
    let facts = facts(
        &deployment,
        Network::ETHEREUM,
        transaction::usdt_erc20(&STRANGER, 1, 0),
    );
    assert!(facts.destination_labels.is_empty());
    assert_eq!(facts.source.get(..2), Some("0x"));
}
