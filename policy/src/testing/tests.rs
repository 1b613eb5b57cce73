//! The helper itself: what it makes is accepted by what it is for.

use super::transaction::{self, EXCHANGE, Tron};
use super::*;
use crate::statement::{
    AckStage, Approval, BundleAck, CancelReason, Fate, Freeze, FreezeTarget, Observation,
    StatementError, Unfreeze, Verdict, Veto,
};
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

#[test]
fn what_officers_and_observers_say_can_be_opened() {
    let mut deployment = TestDeployment::with_approvals(3, 2, "treasury:2,security:1");
    deployment.add_limit(
        "count",
        crate::limits::Measure::Count { max: 3 },
        crate::limits::Period::Transaction,
    );
    let bundle = deployment.bundle();
    let directory = bundle.directory();
    let request = deployment.usdt_request("payment-1", 1_000_000);
    let approval = deployment.approval(OFFICER, &request, Verdict::Approve);
    let approval = directory.open::<Approval>(&approval).unwrap();
    assert_eq!(approval.body().request, request.digest());
    assert!(approval.body().intent.from.is_some());
    let freeze = deployment.freeze(OFFICER, FreezeTarget::Everything);
    assert!(directory.open::<Freeze>(&freeze).is_ok());
    let unfreeze = deployment.unfreeze(&OTHER_OFFICERS, &[freeze.digest()]);
    let unfreeze = directory.open_quorum::<Unfreeze>(&unfreeze).unwrap();
    assert_eq!(unfreeze.signers().len(), 2);
    let fate = Fate::Confirmed {
        transaction: "0x01".to_owned(),
        block: 1,
        depth: 64,
        used: None,
    };
    let observation = deployment.observation(&request, fate);
    let observation = directory.open_quorum::<Observation>(&observation).unwrap();
    assert_eq!(observation.body().digest, approval.body().digests[0]);
    let successor = deployment.successor(&bundle, |_| ());
    let veto = deployment.veto(APPROVERS[0], &successor);
    assert!(directory.open::<Veto>(&veto).is_ok());
    let ack = deployment.ack("node-1", &bundle, &successor, AckStage::Kept);
    assert!(directory.open::<BundleAck>(&ack).is_ok());
    let limited = TestDeployment::with_limit(5, 3, 1_000, 86_400);
    assert_eq!(limited.bundle().content().ledger_groups[0].quorum, 3);
}
