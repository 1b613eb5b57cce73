//! Bytes and stated intent: every field, stated wrongly once.

use super::decide_at;
use crate::statement::{SignRequest, StatedIntent};
use crate::testing::transaction::{self, EXCHANGE, STRANGER};
use crate::testing::{PAYMENTS, TestDeployment, WALLET};
use crate::{
    Address, Allowance, Amount, ContractCall, HexBytes, IntentKind, Network, Outcome, Reason,
};

/// The mismatches when `state` changes what is said about `transaction`.
fn mismatches(
    transaction: Vec<u8>,
    state: impl FnOnce(&mut StatedIntent),
) -> Vec<(String, String, String)> {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let wallet = deployment.wallet(WALLET);
    let mut body: SignRequest =
        deployment.sign_request("p", wallet, &wallet.path, Network::ETHEREUM, transaction);
    state(&mut body.intent);
    let request = deployment.sign(PAYMENTS, 600, body);
    let decision = decide_at(&deployment.bundle(), &request, deployment.now());
    assert_eq!(decision.outcome, Outcome::Blocked);
    let found = decision
        .reasons
        .into_iter()
        .filter_map(|reason| match reason {
            Reason::IntentMismatch {
                field,
                stated,
                decoded,
            } => Some((field, stated, decoded)),
            _ => None,
        });
    found.collect()
}

fn usdt(state: impl FnOnce(&mut StatedIntent)) -> Vec<(String, String, String)> {
    mismatches(transaction::usdt_erc20(&EXCHANGE, 5, 0), state)
}

fn approve(state: impl FnOnce(&mut StatedIntent)) -> Vec<(String, String, String)> {
    mismatches(transaction::usdt_approve(&EXCHANGE, 5, 0), state)
}

fn field(found: &[(String, String, String)]) -> Vec<&str> {
    found.iter().map(|(field, _, _)| field.as_str()).collect()
}

#[test]
fn every_field_of_a_transfer() {
    assert_eq!(
        field(&usdt(|i| i.kind = IntentKind::NativeTransfer)),
        ["kind"]
    );
    let found = usdt(|i| i.max_fee = Amount::from(1_u64));
    assert_eq!(
        found,
        [("max_fee".into(), "1".into(), "3000000000000000".into())]
    );
    let found = usdt(|i| i.transfers[0].amount = Amount::from(4_u64));
    assert_eq!(
        found,
        [("transfers[0].amount".into(), "4".into(), "5".into())]
    );
    assert_eq!(
        field(&usdt(|i| i.transfers[0].to = Address::Evm(STRANGER))),
        ["transfers[0].to"]
    );
    assert_eq!(
        field(&usdt(
            |i| i.transfers[0].asset = Network::ETHEREUM.native_asset()
        )),
        ["transfers[0].asset"]
    );
    let found = usdt(|i| i.transfers[0].from = Some(Address::Evm(STRANGER)));
    assert_eq!(found[0].0, "transfers[0].from");
    assert_eq!(found[0].2, "the signer");
}

#[test]
fn transfers_left_out_or_made_up() {
    assert_eq!(field(&usdt(|i| i.transfers.clear())), ["transfers"]);
    let doubled = usdt(|i| i.transfers = vec![i.transfers[0].clone(); 2]);
    assert_eq!(doubled, [("transfers".into(), "2".into(), "1".into())]);
}

#[test]
fn every_field_of_an_allowance() {
    assert_eq!(field(&approve(|i| i.approvals.clear())), ["approvals"]);
    assert_eq!(
        field(&approve(|i| i.approvals[0].amount = Amount::MAX)),
        ["approvals[0].amount"]
    );
    assert_eq!(
        field(&approve(|i| i.approvals[0].spender = Address::Evm(STRANGER))),
        ["approvals[0].spender"]
    );
    assert_eq!(
        field(&approve(
            |i| i.approvals[0].asset = Network::ETHEREUM.native_asset()
        )),
        ["approvals[0].asset"]
    );
    let extra = |i: &mut StatedIntent| {
        i.approvals.push(Allowance {
            asset: i.transfers[0].asset,
            spender: Address::Evm(STRANGER),
            amount: Amount::MAX,
        });
    };
    assert_eq!(field(&usdt(extra)), ["approvals"]);
}

#[test]
fn two_contract_calls_with_different_data_differ() {
    let call = transaction::evm_call(&EXCHANGE, 0, vec![1, 2, 3, 4, 5], 0);
    let found = mismatches(call, |i| {
        let IntentKind::ContractCall(ContractCall { data_hash, .. }) = &mut i.kind else {
            panic!("a contract call");
        };
        *data_hash = HexBytes(vec![0; 32]);
    });
    assert_eq!(field(&found), ["kind"]);
}

#[test]
fn what_a_request_says_is_not_repeated_without_bound() {
    let found = usdt(|i| {
        i.kind = IntentKind::OtherContract {
            contract_type: 1,
            name: "é".repeat(100_000),
            data_hash: HexBytes(vec![]),
        };
    });
    assert!(found[0].1.len() < 2_000 && found[0].1.ends_with("..."));
}
