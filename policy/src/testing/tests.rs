//! The helper itself: what it makes is accepted by what it is for.

use super::transaction::{self, EXCHANGE, Tron};
use super::*;
use crate::statement::{CancelReason, StatementError};
use crate::{Decision, Facts, Outcome, Standing, decide};

fn decision(deployment: &TestDeployment, request: &Envelope) -> Decision {
    let bundle = deployment.bundle();
    let request = bundle.directory().open(request).unwrap();
    let facts = Facts::establish(&bundle, request.body()).unwrap();
    decide(
        &bundle,
        &request,
        &facts,
        &Standing::unencumbered(),
        deployment.now(),
    )
}

#[test]
fn every_standard_transfer_is_allowed_and_its_signature_assembles() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let tron = Tron::at(deployment.now());
    let bsc = Network::evm(56).unwrap();
    let (ecdsa, eddsa) = (SingleKey::ecdsa(), SingleKey::eddsa());
    let hot = WALLET;
    for (name, wallet, network, bytes, key) in [
        (
            "usdt",
            hot,
            Network::ETHEREUM,
            transaction::usdt_erc20(&EXCHANGE, 7, 0),
            &ecdsa,
        ),
        (
            "eth",
            hot,
            Network::ETHEREUM,
            transaction::ether(&EXCHANGE, 7, 1),
            &ecdsa,
        ),
        (
            "bsc",
            hot,
            bsc,
            transaction::usdt_bep20(&EXCHANGE, 7, 0),
            &ecdsa,
        ),
        (
            "trc20",
            hot,
            Network::TRON,
            tron.usdt_trc20(&EXCHANGE, 7),
            &ecdsa,
        ),
        ("trx", hot, Network::TRON, tron.trx(&EXCHANGE, 7), &ecdsa),
        (
            "sol",
            SOLANA_WALLET,
            Network::SOLANA,
            transaction::sol(&EXCHANGE, 7),
            &eddsa,
        ),
    ] {
        let request = deployment.request(name, wallet, network, bytes.clone());
        let decision = decision(&deployment, &request);
        assert_eq!(decision.outcome, Outcome::Allow, "{name}: {decision:?}");
        let decoded = decode(&network, &bytes).unwrap();
        let signature = key.sign(&decoded, &DerivationPath::master());
        decoded.assemble(&signature, &key.public_key()).unwrap();
    }
}

#[test]
fn children_of_a_single_key_are_those_of_its_public_key() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let bundle = deployment.bundle();
    let path: DerivationPath = "m/0/7".parse().unwrap();
    let root = bundle
        .key(&key_id(ECDSA_KEY))
        .unwrap()
        .extended_public_key();
    let child = SingleKey::ecdsa().public_key_at(&path);
    assert_eq!(root.derive(&path).unwrap().public_key, child);
}

#[test]
fn statements_open_and_the_same_arguments_give_the_same_bytes() {
    let deployment = TestDeployment::with_single_keys(5, 3);
    let bundle = deployment.bundle();
    assert_eq!(
        deployment.genesis(),
        TestDeployment::with_single_keys(5, 3).genesis()
    );
    let request = deployment.usdt_request("p-1", 5);
    assert_eq!(request, deployment.usdt_request("p-1", 5));
    let nodes = deployment.nodes();
    let authorization = deployment.authorization(&bundle, &request, &nodes[..3], 1);
    let directory = bundle.directory();
    let authorization = directory.open::<Authorization>(&authorization).unwrap();
    assert_eq!(authorization.body().request, request.digest());
    let cancel = deployment.cancel(PAYMENTS, &request, CancelReason::Initiator);
    directory.open::<Cancel>(&cancel).unwrap();
    assert!(matches!(
        directory.open::<Cancel>(&request),
        Err(StatementError::PayloadType { .. })
    ));
}

#[test]
fn a_successor_continues_the_chain() {
    let deployment = TestDeployment::new(3, 2);
    let mut chain = deployment.chain();
    let mut with_keys = TestDeployment::new(3, 2);
    with_keys.add_single_keys();
    let next = deployment.successor(chain.active(), |content| {
        let PolicyBundle {
            keys,
            wallets,
            assets,
            rules,
            fee_caps,
            ..
        } = with_keys.content().clone();
        *content = PolicyBundle {
            keys,
            wallets,
            assets,
            rules,
            fee_caps,
            ..content.clone()
        };
    });
    let active = chain.append(&next, deployment.now()).unwrap();
    assert_eq!(active.content().version, 2);
    assert!(active.wallet(&wallet_id(WALLET)).is_some());
}
