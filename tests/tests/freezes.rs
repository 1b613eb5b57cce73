//! One officer stops a wallet at one node, without a coordinator: every node stops, whatever happens to it, until a quorum
//! ends it by name.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::time::{Duration, Instant};

use countersign_policy::statement::{
    CancelReason, Freeze, FreezeTarget, LedgerEntry, LedgerEvent, Verdict,
};
use countersign_policy::testing::{
    APPROVERS, OFFICER, OTHER_OFFICERS, PAYMENTS, SOLANA_WALLET, TestAuthenticator, WALLET, member,
    wallet_id,
};
use countersign_policy::{Envelope, Hash, MemberId, Protocol, Reason};
use countersign_signer::clock::now;
use countersign_signer::net::EmergencyError;
use countersign_signer::wire::{
    Freezes, GiveStatement, Prepared, ProblemCode, StatementTaken, Stop, Stopped, path,
};
use countersign_tests::cluster::{self, Cluster, Place};
use countersign_tests::payments::{code, pay_in_the_end, problem, usdt};

#[tokio::test]
async fn child_entry() {
    cluster::child_entry().await;
}

const CALL: Duration = Duration::from_secs(10);

async fn give(
    cluster: &Cluster,
    node: &MemberId,
    at: &str,
    statement: &Envelope,
) -> Result<StatementTaken, ProblemCode> {
    let call = GiveStatement {
        statement: statement.clone(),
    };
    match cluster.emergency(node).post_json(at, &call).await {
        Ok(taken) => Ok(taken),
        Err(EmergencyError::Problem(problem)) => Err(problem.code().unwrap()),
        Err(other) => panic!("{other}"),
    }
}

async fn freezes(cluster: &Cluster, node: &MemberId) -> Freezes {
    let client = cluster.client(node);
    client.get_json(path::FREEZES, CALL).await.unwrap()
}

/// Waits until the same freezes are in force on all nodes.
async fn wait_for_head(cluster: &Cluster, head: Hash) {
    let until = Instant::now() + Duration::from_secs(20);
    for node in cluster.members() {
        while freezes(cluster, &node).await.head != head {
            assert!(Instant::now() < until, "{node} does not hear of it");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn is_frozen_everywhere(cluster: &mut Cluster, external_id: &str) {
    let nodes = cluster.members();
    let request = usdt(cluster, external_id, 5, 50);
    let authorization = cluster.authorize(&request, &nodes[..2], 1);
    for node in &nodes[..2] {
        let refusal = problem(cluster.prepare(node, &authorization, &request).await);
        assert_eq!(refusal.code(), Some(ProblemCode::Policy), "{refusal}");
        let frozen = |r: &Reason| matches!(r, Reason::Frozen(_));
        assert!(refusal.reasons.iter().any(frozen), "{refusal:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_freeze_by_one_officer_at_one_node_spreads_and_lasts_until_a_quorum_ends_it_by_name() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let nodes = cluster.members();
    cluster.deployment.set_now(now());
    let target = FreezeTarget::Wallet {
        wallet: wallet_id(WALLET),
    };
    let freeze = cluster.deployment.freeze(OFFICER, target);
    let taken = give(&cluster, &nodes[0], path::FREEZE, &freeze)
        .await
        .unwrap();
    // The node's own signed entry says so.
    let entry = taken.entry.expect("a ledger entry");
    let entry = cluster
        .active()
        .directory()
        .open::<LedgerEntry>(&entry)
        .unwrap();
    assert_eq!(*entry.issuer(), nodes[0]);
    assert_eq!(
        entry.body().event,
        LedgerEvent::Frozen {
            freeze: freeze.digest()
        }
    );
    // Nobody but the nodes passes it on.
    wait_for_head(&cluster, taken.freeze_head).await;
    is_frozen_everywhere(&mut cluster, "while-frozen").await;

    // kill -9 of all, one after another.
    for node in &nodes {
        cluster.kill(node).await;
    }
    for node in &nodes {
        cluster.start_node(node).await;
    }
    wait_for_head(&cluster, taken.freeze_head).await;
    is_frozen_everywhere(&mut cluster, "after-the-restart").await;

    // One officer alone ends nothing, nor does somebody else, nor an unfreeze of another freeze.
    let digest = freeze.digest();
    let alone = cluster.deployment.unfreeze(&[OFFICER], &[digest]);
    let refused = give(&cluster, &nodes[1], path::UNFREEZE, &alone).await;
    assert_eq!(refused.unwrap_err(), ProblemCode::Statement);
    let others = cluster.deployment.unfreeze(&APPROVERS, &[digest]);
    let refused = give(&cluster, &nodes[1], path::UNFREEZE, &others).await;
    assert_eq!(refused.unwrap_err(), ProblemCode::Statement);
    let elsewhere = Hash::sha256(b"another freeze");
    let other = cluster
        .deployment
        .unfreeze(&[OFFICER, OTHER_OFFICERS[0]], &[elsewhere]);
    let still = give(&cluster, &nodes[1], path::UNFREEZE, &other).await;
    assert_eq!(still.unwrap().freeze_head, taken.freeze_head);

    // A quorum that names it does, at a third node; the freeze given once more changes nothing.
    let unfreeze = cluster
        .deployment
        .unfreeze(&[OFFICER, OTHER_OFFICERS[0]], &[digest]);
    let ended = give(&cluster, &nodes[2], path::UNFREEZE, &unfreeze).await;
    assert_eq!(ended.unwrap().freeze_head, Hash::ZERO);
    wait_for_head(&cluster, Hash::ZERO).await;
    let again = give(&cluster, &nodes[0], path::FREEZE, &freeze).await;
    assert_eq!(again.unwrap().freeze_head, Hash::ZERO);
    let request = usdt(&mut cluster, "after-the-unfreeze", 6, 60);
    pay_in_the_end(&mut cluster, &request, &nodes[..2], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_freeze_between_receipt_and_release_lets_no_share_out() {
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let nodes = cluster.members();
    let request = usdt(&mut cluster, "caught-on-the-way", 7, 70);
    let authorization = cluster.authorize(&request, &nodes[..2], 1);
    let mut receipts = Vec::new();
    for node in &nodes[..2] {
        receipts.push(
            cluster
                .prepare(node, &authorization, &request)
                .await
                .unwrap(),
        );
    }
    cluster.deployment.set_now(now());
    let freeze = cluster.deployment.freeze(OFFICER, FreezeTarget::Everything);
    give(&cluster, &nodes[0], path::FREEZE, &freeze)
        .await
        .unwrap();
    for answer in cluster.sign_with(&receipts, &nodes[..2]).await {
        let code = code(answer);
        let expected = [
            ProblemCode::Frozen,
            ProblemCode::Aborted,
            ProblemCode::Timeout,
        ];
        assert!(expected.contains(&code), "{code:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_emergency_port_takes_stops_that_prove_themselves_and_nothing_else() {
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let nodes = cluster.members();
    cluster.deployment.set_now(now());
    let by_a_service = cluster
        .deployment
        .freeze(PAYMENTS, FreezeTarget::Everything);
    let refused = give(&cluster, &nodes[0], path::FREEZE, &by_a_service).await;
    assert_eq!(refused.unwrap_err(), ProblemCode::Statement);
    let freeze = cluster.deployment.freeze(OFFICER, FreezeTarget::Everything);
    let as_unfreeze = give(&cluster, &nodes[0], path::UNFREEZE, &freeze).await;
    assert_eq!(as_unfreeze.unwrap_err(), ProblemCode::Statement);
    assert_eq!(freezes(&cluster, &nodes[0]).await.head, Hash::ZERO);

    // Nothing is started here.
    let request = usdt(&mut cluster, "not-here", 8, 80);
    let call = countersign_signer::wire::Prepare {
        authorization: cluster.authorize(&request, &nodes[..2], 1),
        request: request.clone(),
        approvals: Vec::new(),
    };
    let port = cluster.emergency(&nodes[0]);
    let answer: Result<Prepared, EmergencyError> = port.post_json(path::PREPARE, &call).await;
    let Err(EmergencyError::Problem(problem)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(problem.code(), Some(ProblemCode::NotFound));

    // An officer's rejection, and an initiator's cancel, stop a request.
    let rejection = cluster.deployment.approval_under(
        cluster.active(),
        OFFICER,
        &request,
        Verdict::Reject {
            reason: "never heard of it".to_owned(),
        },
    );
    let approval =
        cluster
            .deployment
            .approval_under(cluster.active(), OFFICER, &request, Verdict::Approve);
    let stop = |cancel: &Envelope| Stop {
        request: request.clone(),
        cancel: cancel.clone(),
    };
    let answer: Result<Stopped, EmergencyError> =
        port.post_json(path::STOP, &stop(&approval)).await;
    assert!(
        matches!(answer, Err(EmergencyError::Problem(_))),
        "{answer:?}"
    );
    let cancel = cluster
        .deployment
        .cancel(PAYMENTS, &request, CancelReason::Initiator);
    for no in [&rejection, &cancel] {
        let stopped: Stopped = port.post_json(path::STOP, &stop(no)).await.unwrap();
        let ack = cluster
            .active()
            .directory()
            .open::<countersign_policy::statement::StopAck>(&stopped.ack)
            .unwrap();
        assert_eq!(ack.body().cancel, no.digest());
    }
    let authorization = cluster.authorize(&request, &nodes[..2], 2);
    let answer = cluster.prepare(&nodes[0], &authorization, &request).await;
    assert_eq!(code(answer), ProblemCode::StoppedRequest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copied_authenticator_freezes_nothing_at_nodes_that_know_its_counter() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    let mut own = TestAuthenticator::es256("an officer's");
    // The same secrets, and a counter of its own.
    let mut copy = TestAuthenticator::es256("an officer's");
    cluster.deployment.set_now(now());
    let bundle = cluster.deployment.successor(cluster.active(), |content| {
        content.webauthn = Some(own.policy());
        let mut members = content.members.iter_mut();
        let officer = members.find(|m| m.id == member(OFFICER)).unwrap();
        officer.credentials.push(own.credential());
    });
    cluster.follow(bundle, Vec::new()).await;
    let nodes = cluster.members();
    cluster.deployment.set_now(now());
    let deployment = &cluster.deployment;
    let freeze = |wallet: &str, with: &mut TestAuthenticator| {
        let body = Freeze {
            target: FreezeTarget::Wallet {
                wallet: wallet_id(wallet),
            },
            reason: "unknown withdrawals".to_owned(),
        };
        deployment.sign_with(OFFICER, 600, body, with)
    };
    let first = freeze(WALLET, &mut own);
    let later = freeze(SOLANA_WALLET, &mut own);
    let by_the_copy = freeze(SOLANA_WALLET, &mut copy);
    let taken = give(&cluster, &nodes[0], path::FREEZE, &first).await;
    let head = taken.unwrap().freeze_head;
    wait_for_head(&cluster, head).await;
    // Also where the freeze came from a peer, and after a restart.
    cluster.kill(&nodes[0]).await;
    cluster.start_node(&nodes[0]).await;
    for node in &nodes {
        let refused = give(&cluster, node, path::FREEZE, &by_the_copy).await;
        assert_eq!(refused.unwrap_err(), ProblemCode::Statement, "{node}");
        assert_eq!(freezes(&cluster, node).await.head, head);
    }
    // What was taken once is taken again, and the officer's own goes on.
    let again = give(&cluster, &nodes[1], path::FREEZE, &first).await;
    assert_eq!(again.unwrap().freeze_head, head);
    let taken = give(&cluster, &nodes[1], path::FREEZE, &later).await;
    wait_for_head(&cluster, taken.unwrap().freeze_head).await;
}
