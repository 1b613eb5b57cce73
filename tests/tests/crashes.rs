//! Nodes killed with `kill -9` at each step, and stores put back from a copy: nothing is signed twice, nothing is
//! forgotten, and everything else goes on.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use countersign_policy::statement::{CancelReason, StopAck, StopOutcome};
use countersign_policy::testing::PAYMENTS;
use countersign_policy::{Envelope, Hash, MemberId, Protocol, Signature};
use countersign_signer::net::CallError;
use countersign_signer::node::ResourceConfig;
use countersign_signer::wire::{CeremonyStatus, CeremonyStep, ProblemCode, StartCeremony, path};
use countersign_tests::cluster::{self, Cluster, Place};
use countersign_tests::payments::{assemble, code, pay, pay_in_the_end, solana, usdt};

#[tokio::test]
async fn child_entry() {
    cluster::child_entry().await;
}

const CALL: Duration = Duration::from_secs(10);

/// `kill -9` of a process that this test started.
fn kill_9(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
}

fn payment(cluster: &mut Cluster, dkls: bool, external_id: &str, amount: u64) -> Envelope {
    match dkls {
        true => usdt(cluster, external_id, amount, amount),
        false => solana(cluster, external_id, amount),
    }
}

/// Another payment under the same external id is refused by every node that had to do with the first, whatever became of it.
async fn is_bound(cluster: &mut Cluster, dkls: bool, external_id: &str) {
    let other = payment(cluster, dkls, external_id, 999_999);
    let nodes = cluster.members();
    let authorization = cluster.authorize(&other, &nodes[..2], 77);
    for node in &nodes[..2] {
        let answer = cluster.prepare(node, &authorization, &other).await;
        assert_eq!(code(answer), ProblemCode::ExternalId, "{node}");
    }
    let pair = [nodes[0].clone(), nodes[2].clone()];
    let authorization = cluster.authorize(&other, &pair, 78);
    // The third node may not have heard of it yet; any pair shares a node that has, and that one refuses.
    let answer = cluster.prepare(&nodes[0], &authorization, &other).await;
    assert_eq!(code(answer), ProblemCode::ExternalId);
}

async fn receipts(
    cluster: &mut Cluster,
    request: &Envelope,
    pair: &[MemberId],
) -> (Envelope, Vec<Envelope>) {
    let authorization = cluster.authorize(request, pair, 1);
    let mut receipts = Vec::new();
    for node in pair {
        let receipt = cluster.prepare(node, &authorization, request).await;
        receipts.push(receipt.unwrap());
    }
    (authorization, receipts)
}

fn end(answer: &Result<Vec<Signature>, CallError>) -> String {
    match answer {
        Ok(_) => "signed".to_owned(),
        Err(CallError::Problem(problem)) => problem.code().unwrap().code().to_owned(),
        Err(_) => "gone".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_killed_at_each_step_of_a_session_forgets_nothing() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 2)
        .await;
    for (name, dkls) in [("dkls23", true), ("frost", false)] {
        killed_after_prepare(&mut cluster, name, dkls).await;
        killed_during_sign(&mut cluster, name, dkls).await;
        killed_after_signed(&mut cluster, name, dkls).await;
    }
}

async fn killed_after_prepare(cluster: &mut Cluster, name: &str, dkls: bool) {
    let nodes = cluster.members();
    let external_id = format!("{name}-prepared");
    let request = payment(cluster, dkls, &external_id, 101);
    let (authorization, receipts) = receipts(cluster, &request, &nodes[..2]).await;
    let before = cluster.status(&nodes[1]).await;
    cluster.kill(&nodes[1]).await;
    cluster.start_node(&nodes[1]).await;
    // The open session was aborted by an entry that continues the ledger.
    let after = cluster.status(&nodes[1]).await;
    assert_eq!(after.ledger_sequence, before.ledger_sequence + 1);
    assert_ne!(after.ledger_head, before.ledger_head);
    // Its receipts are worth nothing any more, at either node.
    let answers = cluster.sign_with(&receipts, &nodes[..2]).await;
    let [survivor, restarted] = <[_; 2]>::try_from(answers).unwrap();
    assert_eq!(code(restarted), ProblemCode::NotFound);
    let survivor = code(survivor);
    assert!(
        matches!(survivor, ProblemCode::Timeout | ProblemCode::Aborted),
        "{survivor:?}"
    );
    // The authorization itself is used up.
    let again = cluster.prepare(&nodes[1], &authorization, &request).await;
    assert_eq!(code(again), ProblemCode::Authorization);
    // Another pair signs, and so does the pair with the restarted node: the same transaction, never another.
    let other_pair = [nodes[0].clone(), nodes[2].clone()];
    pay_in_the_end(cluster, &request, &other_pair, 2).await;
    pay_in_the_end(cluster, &request, &nodes[1..], 40).await;
    is_bound(cluster, dkls, &external_id).await;
    println!("{name}: killed after prepare: aborted at restart, signed by both other pairs");
}

async fn killed_during_sign(cluster: &mut Cluster, name: &str, dkls: bool) {
    let nodes = cluster.members();
    // At several moments of the few milliseconds that signing takes: before, within and after.
    for (i, millis) in [0, 4, 8, 15, 30].into_iter().enumerate() {
        let external_id = format!("{name}-signing-{i}");
        let request = payment(cluster, dkls, &external_id, 200 + i as u64);
        let (_, receipts) = receipts(cluster, &request, &nodes[..2]).await;
        let pid = cluster.process(&nodes[1]).unwrap().id();
        let killer = async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            kill_9(pid);
        };
        let (answers, ()) = tokio::join!(cluster.sign_with(&receipts, &nodes[..2]), killer);
        let ends: Vec<String> = answers.iter().map(end).collect();
        for signature in answers.into_iter().flatten() {
            assemble(cluster, &request, &signature[0]);
        }
        cluster.kill(&nodes[1]).await;
        cluster.start_node(&nodes[1]).await;
        let other_pair = [nodes[0].clone(), nodes[2].clone()];
        pay_in_the_end(cluster, &request, &other_pair, 2).await;
        pay_in_the_end(cluster, &request, &nodes[..2], 40).await;
        is_bound(cluster, dkls, &external_id).await;
        println!("{name}: killed {millis} ms into sign: {ends:?}; then signed by two pairs");
    }
}

async fn killed_after_signed(cluster: &mut Cluster, name: &str, dkls: bool) {
    let nodes = cluster.members();
    let external_id = format!("{name}-signed");
    let request = payment(cluster, dkls, &external_id, 301);
    let (authorization, receipts) = receipts(cluster, &request, &nodes[..2]).await;
    let mut answers = cluster.sign_with(&receipts, &nodes[..2]).await;
    let signature = answers.swap_remove(0).unwrap()[0];
    let before = cluster.status(&nodes[1]).await;
    cluster.kill(&nodes[1]).await;
    cluster.start_node(&nodes[1]).await;
    let after = cluster.status(&nodes[1]).await;
    assert_eq!(after.ledger_head, before.ledger_head, "nothing was open");
    // The other node gives the same answer again; the restarted one has no session to go on with.
    let answers = cluster.sign_with(&receipts, &nodes[..2]).await;
    let [survivor, restarted] = <[_; 2]>::try_from(answers).unwrap();
    assert_eq!(survivor.unwrap()[0], signature);
    assert_eq!(code(restarted), ProblemCode::NotFound);
    let again = cluster.prepare(&nodes[1], &authorization, &request).await;
    assert_eq!(code(again), ProblemCode::Authorization);
    // It remembers that it released, so it never says "stopped": nobody pays twice.
    let cancel = cluster
        .deployment
        .cancel(PAYMENTS, &request, CancelReason::Initiator);
    let ack = cluster.stop(&nodes[1], &request, &cancel).await.unwrap();
    let ack = cluster.active().directory().open::<StopAck>(&ack).unwrap();
    assert_eq!(ack.body().outcome, StopOutcome::Released);
    is_bound(cluster, dkls, &external_id).await;
    println!("{name}: killed after the signature: remembered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ceremony_without_a_killed_node_fails_and_can_be_ordered_again() {
    let resources = ResourceConfig {
        sign_timeout_seconds: 5,
        ceremony_timeout_seconds: 30,
        spare_primes: 0,
        ..ResourceConfig::default()
    };
    let mut cluster = Cluster::start_with(3, 2, Place::Processes, resources).await;
    let nodes = cluster.members();
    let order = cluster.order("hot-ecdsa", Protocol::Dkls23, 2);
    let call = StartCeremony {
        order: order.clone(),
    };
    for node in &nodes {
        let started: Result<CeremonyStatus, CallError> = cluster
            .client(node)
            .post_json(path::CEREMONIES, &call, CALL)
            .await;
        started.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    cluster.kill(&nodes[2]).await;
    cluster.start_node(&nodes[2]).await;
    for node in &nodes {
        let reason = failure(&cluster, node, order.digest()).await;
        println!("{node}: {reason}");
        let expected = match *node == nodes[2] {
            true => "the node restarted",
            false => "node-3",
        };
        assert!(reason.contains(expected), "{reason}");
    }
    // The order is spent; a new one for the same key makes it.
    let again: CeremonyStatus = cluster
        .client(&nodes[0])
        .post_json(path::CEREMONIES, &call, CALL)
        .await
        .unwrap();
    assert!(matches!(again.step, CeremonyStep::Failed { .. }));
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let request = usdt(&mut cluster, "payment-1", 1, 1);
    pay(&mut cluster, &request, &nodes[1..], 1).await.unwrap();
}

async fn failure(cluster: &Cluster, node: &MemberId, order: Hash) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let at = format!("{}/{order}", path::CEREMONIES);
        let status: CeremonyStatus = cluster.client(node).get_json(&at, CALL).await.unwrap();
        if let CeremonyStep::Failed { reason } = status.step {
            return reason;
        }
        assert!(Instant::now() < until, "{node} is at {:?}", status.step);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_that_has_just_come_back_is_asked_at_once() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 2)
        .await;
    let nodes = cluster.members();
    for attempt in 1..=3 {
        cluster.kill(&nodes[0]).await;
        cluster.kill(&nodes[1]).await;
        cluster.start_node(&nodes[0]).await;
        // The first node has met nobody since its start, and by now it waits long between its attempts.
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.start_node(&nodes[1]).await;
        let request = payment(&mut cluster, false, &format!("back-{attempt}"), attempt);
        receipts(&mut cluster, &request, &nodes[..2]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_on_an_old_copy_of_its_store_signs_no_more() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let nodes = cluster.members();
    let (data, old) = (
        cluster.node_folder(&nodes[0]).join("data"),
        cluster.node_folder(&nodes[0]).join("old"),
    );
    let request = usdt(&mut cluster, "before-the-copy", 1, 1);
    pay(&mut cluster, &request, &nodes[..2], 1).await.unwrap();
    cluster.kill(&nodes[0]).await;
    copy(&data, &old);
    cluster.start_node(&nodes[0]).await;
    // Signed with node-2; node-3 hears of it by the ledgers alone.
    let request = usdt(&mut cluster, "after-the-copy", 2, 2);
    pay(&mut cluster, &request, &nodes[..2], 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    cluster.kill(&nodes[0]).await;
    copy(&data, &cluster.node_folder(&nodes[0]).join("new"));
    copy(&old, &data);

    // Its peers run: each shows it what it signed, and it does not start.
    cluster.try_start_node(&nodes[0]).await.unwrap_err();
    // It stays so, also without the peers: the evidence is in the file.
    cluster.kill(&nodes[1]).await;
    cluster.kill(&nodes[2]).await;
    cluster.try_start_node(&nodes[0]).await.unwrap_err();

    // An old copy that meets nobody at its start begins, and stops as soon as a peer comes back.
    copy(&old, &data);
    cluster.start_node(&nodes[0]).await;
    cluster.start_node(&nodes[2]).await;
    let request = usdt(&mut cluster, "on-the-copy", 3, 3);
    let pair = [nodes[0].clone(), nodes[2].clone()];
    let until = Instant::now() + Duration::from_secs(10);
    let mut attempt = 1;
    loop {
        let answer = pay(&mut cluster, &request, &pair, attempt).await;
        let code = code(answer);
        println!("attempt {attempt} on the old copy: {}", code.code());
        let records = cluster.try_records(&nodes[0]).await;
        if code == ProblemCode::Internal && records.is_err() {
            break;
        }
        assert!(Instant::now() < until);
        attempt += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // With its own newest file it is whole again, and the others never banned it for what the copy did not sign.
    cluster.kill(&nodes[0]).await;
    copy(&cluster.node_folder(&nodes[0]).join("new"), &data);
    cluster.start_node(&nodes[1]).await;
    cluster.start_node(&nodes[0]).await;
    let request = usdt(&mut cluster, "with-the-newest-file", 4, 4);
    pay_in_the_end(&mut cluster, &request, &nodes[..2], 1).await;
}
