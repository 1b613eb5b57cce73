//! Every role, every action: one table that a person reads.

use std::fmt::Write as _;

use super::{approved_by, codes, decide_with, with_rules};
use crate::testing::transaction::{self, EXCHANGE, STRANGER, Tron};
use crate::testing::{
    APPROVERS, AUDITOR, AUTHOR, COORDINATOR, OFFICER, OPERATOR, OTHER_OFFICERS, OTHER_PAYMENTS,
    PAYMENTS, SOLANA_WALLET, TestDeployment, WALLET,
};
use crate::{Network, Outcome, Standing};

const THOUSAND: u64 = 1_000_000_000;
const ETHER: u64 = 1_000_000_000_000_000_000;

/// Name, wallet, network and transaction of each action.
fn actions(deployment: &TestDeployment) -> Vec<(&'static str, &'static str, Network, Vec<u8>)> {
    let tron = Tron::at(deployment.now());
    let bsc = Network::evm(56).unwrap();
    let eth = Network::ETHEREUM;
    let hour_later = deployment.now().plus_seconds(3_601).as_millis();
    let long = Tron {
        expiration: hour_later,
        ..tron.clone()
    };
    let late = Tron {
        expiration: deployment.now().as_millis(),
        timestamp: deployment.now().as_millis() - 1_000,
        ..tron.clone()
    };
    let permission = Tron {
        permission_id: 2,
        ..tron.clone()
    };
    let memo = Tron {
        memo: b"42".to_vec(),
        ..tron.clone()
    };
    let costly = Tron {
        fee_limit: 200_000_000,
        ..tron.clone()
    };
    let transfer_from = [&[0x23, 0xb8, 0x72, 0xdd][..], &[0; 96]].concat();
    let usdt = [
        0xda, 0xc1, 0x7f, 0x95, 0x8d, 0x2e, 0xe5, 0x23, 0xa2, 0x20, 0x62, 0x06, 0x99, 0x45, 0x97,
        0xc1, 0x3d, 0x83, 0x1e, 0xc7,
    ];
    let unknown_token = [
        &[0xa9, 0x05, 0x9c, 0xbb][..],
        &[0; 12],
        &EXCHANGE,
        &[0; 31],
        &[1],
    ]
    .concat();
    vec![
        (
            "usdt to the exchange",
            WALLET,
            eth,
            transaction::usdt_erc20(&EXCHANGE, THOUSAND, 0),
        ),
        (
            "usdt above the cap",
            WALLET,
            eth,
            transaction::usdt_erc20(&EXCHANGE, THOUSAND + 1, 0),
        ),
        (
            "usdt to a stranger",
            WALLET,
            eth,
            transaction::usdt_erc20(&STRANGER, 1, 0),
        ),
        (
            "usdt to a stranger above the cap",
            WALLET,
            eth,
            transaction::usdt_erc20(&STRANGER, THOUSAND + 1, 0),
        ),
        (
            "usdt approve",
            WALLET,
            eth,
            transaction::usdt_approve(&EXCHANGE, 1, 0),
        ),
        (
            "usdt transferFrom",
            WALLET,
            eth,
            transaction::evm_call(&usdt, 0, transfer_from, 0),
        ),
        (
            "unknown token",
            WALLET,
            eth,
            transaction::evm_call(&STRANGER, 0, unknown_token, 0),
        ),
        (
            "ether to the exchange",
            WALLET,
            eth,
            transaction::ether(&EXCHANGE, ETHER, 0),
        ),
        (
            "ether to a stranger",
            WALLET,
            eth,
            transaction::ether(&STRANGER, ETHER, 0),
        ),
        (
            "contract call at the exchange",
            WALLET,
            eth,
            transaction::evm_call(&EXCHANGE, 0, vec![1, 2, 3, 4], 0),
        ),
        (
            "usdt on bsc",
            WALLET,
            bsc,
            transaction::usdt_bep20(&EXCHANGE, ETHER, 0),
        ),
        (
            "usdt on tron",
            WALLET,
            Network::TRON,
            tron.usdt_trc20(&EXCHANGE, THOUSAND),
        ),
        (
            "usdt on tron above the fee cap",
            WALLET,
            Network::TRON,
            costly.usdt_trc20(&EXCHANGE, 1),
        ),
        ("trx", WALLET, Network::TRON, tron.trx(&EXCHANGE, 1)),
        (
            "trx with memo",
            WALLET,
            Network::TRON,
            memo.trx(&EXCHANGE, 1),
        ),
        (
            "trx that lives too long",
            WALLET,
            Network::TRON,
            long.trx(&EXCHANGE, 1),
        ),
        (
            "trx that has expired",
            WALLET,
            Network::TRON,
            late.trx(&EXCHANGE, 1),
        ),
        (
            "trx under another permission",
            WALLET,
            Network::TRON,
            permission.trx(&EXCHANGE, 1),
        ),
        (
            "sol to the exchange",
            SOLANA_WALLET,
            Network::SOLANA,
            transaction::sol(&EXCHANGE, 1),
        ),
        (
            "sol to a stranger",
            SOLANA_WALLET,
            Network::SOLANA,
            transaction::sol(&STRANGER, 1),
        ),
    ]
}

const INITIATORS: [&str; 9] = [
    PAYMENTS,
    OTHER_PAYMENTS,
    OFFICER,
    AUTHOR,
    APPROVERS[0],
    OPERATOR,
    AUDITOR,
    COORDINATOR,
    "node-1",
];

const LETTERS: [(&str, char); 11] = [
    ("initiator-role", 'R'),
    ("no-rule", 'N'),
    ("kind-not-allowed", 'K'),
    ("destination-not-allowed", 'D'),
    ("amount-cap", 'C'),
    ("fee-cap", 'F'),
    ("lifetime-cap", 'L'),
    ("transaction-expired", 'X'),
    ("feature", 'P'),
    ("forbidden", 'B'),
    ("missing-approvals", 'A'),
];

/// The table: a row for each action, a column for each initiator.
fn table(deployment: &TestDeployment, standing: &Standing) -> String {
    let bundle = deployment.bundle();
    let mut table = String::from("allow, or the letters of all reasons:");
    for (name, letter) in LETTERS {
        write!(table, " {letter} {name}").unwrap();
    }
    write!(table, "\n\n{:34}", "").unwrap();
    for initiator in INITIATORS {
        write!(table, "{initiator:>15}").unwrap();
    }
    for (name, wallet, network, bytes) in actions(deployment) {
        write!(table, "\n{name:34}").unwrap();
        let wallet = deployment.wallet(wallet);
        let body = deployment.sign_request("p", wallet, &wallet.path, network, bytes);
        for initiator in INITIATORS {
            let request = deployment.sign(initiator, 600, body.clone());
            let decision = decide_with(&bundle, &request, standing, deployment.now());
            let letters: String = codes(&decision)
                .iter()
                .map(|code| LETTERS.iter().find(|(name, _)| name == code).unwrap().1)
                .collect();
            let cell = match decision.outcome {
                Outcome::Allow => "allow",
                Outcome::Blocked => &letters,
                Outcome::NeedsApprovals => "approvals",
            };
            write!(table, "{cell:>15}").unwrap();
        }
    }
    table
}

#[test]
fn who_can_do_what() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    insta::assert_snapshot!(table(&deployment, &Standing::unencumbered()));
}

/// Rules as an organisation may have them, beside the transfer rules.
const RULES: &str = r#"
@id("small-allowances")
permit (principal, action, resource)
when { context.kind == "token-approve" && context.destinationListed && context has amountMicro && context.amountMicro <= 5 };

@id("strangers") @needs("treasury:2")
permit (principal, action, resource)
when { context.kind == "native-transfer" || context.kind == "token-transfer" }
unless { context.destinationListed };

@id("solana-only-to-listed") @reason("Solana goes to listed destinations")
forbid (principal, action, resource == Countersign::Wallet::"hot-solana")
unless { context.destinationListed };

@id("no-contracts") @reason("contracts are called by nobody")
forbid (principal, action, resource)
when { context.kind == "contract-call" };
"#;

#[test]
fn who_can_do_what_with_cedar_rules_and_without_approvals() {
    let deployment = with_rules(RULES);
    insta::assert_snapshot!(table(&deployment, &Standing::unencumbered()));
}

#[test]
fn who_can_do_what_with_cedar_rules_and_two_of_treasury() {
    let deployment = with_rules(RULES);
    insta::assert_snapshot!(table(
        &deployment,
        &approved_by(&[OFFICER, OTHER_OFFICERS[0]])
    ));
}
