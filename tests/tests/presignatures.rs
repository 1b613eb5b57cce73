//! CGGMP24 keys in a real cluster: pools fill by themselves, every presignature signs once, and none outlives its process.
//!
//! The auxiliary primes are the fixed ones that release builds refuse; everything else is what production runs.
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

use countersign_policy::{Envelope, Hash, MemberId, Protocol, Signature};
use countersign_signer::net::CallError;
use countersign_signer::node::ResourceConfig;
use countersign_signer::wire::ProblemCode;
use countersign_tests::cluster::{self, Cluster, Place};
use countersign_tests::payments::{assemble, code, finish, presignatures, problem, usdt};

#[tokio::test]
async fn child_entry() {
    cluster::child_entry().await;
}

const KEY: &str = "hot-ecdsa";

/// A cluster with a CGGMP24 key and the payments that were asked of it so far.
struct Scene {
    cluster: Cluster,
    nodes: Vec<MemberId>,
    payments: u64,
}

impl Scene {
    async fn start(nodes: usize, threshold: u16, place: Place) -> Self {
        let resources = ResourceConfig {
            sign_timeout_seconds: 5,
            ceremony_timeout_seconds: 600,
            spare_primes: 1,
            ..ResourceConfig::default()
        };
        let mut cluster = Cluster::start_with(nodes, threshold, place, resources).await;
        let started = Instant::now();
        cluster.make_key(KEY, Protocol::Cggmp24, threshold).await;
        println!("{threshold} of {nodes}: ceremony {:?}", started.elapsed());
        let nodes = cluster.members();
        Self {
            cluster,
            nodes,
            payments: 0,
        }
    }

    fn set(&self, positions: &[usize]) -> Vec<MemberId> {
        positions.iter().map(|i| self.nodes[*i].clone()).collect()
    }

    /// A payment of its own: other bytes than any before.
    fn payment(&mut self) -> Envelope {
        self.payments += 1;
        let id = format!("payment-{}", self.payments);
        usdt(&mut self.cluster, &id, 1_000_000, self.payments)
    }

    fn authorize(
        &mut self,
        request: &Envelope,
        set: &[MemberId],
        presignature: Option<Hash>,
        attempt: u32,
    ) -> Envelope {
        let change = |a: &mut countersign_policy::statement::Authorization| {
            a.presignature = presignature;
        };
        self.cluster.authorize_with(request, set, attempt, change)
    }

    async fn pool(&self, set: &[MemberId], at_least: usize) -> Vec<Hash> {
        presignatures(&self.cluster, KEY, set, at_least).await
    }

    async fn sign(
        &mut self,
        set: &[MemberId],
        request: &Envelope,
        presignature: Hash,
        attempt: u32,
    ) -> Result<String, CallError> {
        let authorization = self.authorize(request, set, Some(presignature), attempt);
        finish(&self.cluster, &authorization, request, set).await
    }

    /// Every node of the set refuses to use a presignature, for a new payment.
    async fn is_refused(&mut self, what: &str, set: &[MemberId], presignature: Option<Hash>) {
        let request = self.payment();
        let authorization = self.authorize(&request, set, presignature, 1);
        for node in set {
            let answer = self.cluster.prepare(node, &authorization, &request).await;
            let refusal = problem(answer);
            assert_eq!(
                refusal.code(),
                Some(ProblemCode::Presignature),
                "{what} at {node}: {refusal:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_presignature_signs_once_and_none_outlives_its_process() {
    let mut scene = Scene::start(3, 2, Place::Processes).await;
    spare_primes_wait_for_the_next_group(&scene).await;
    every_pair_signs_and_pools_fill_again(&mut scene).await;
    a_presignature_is_for_its_own_signers(&mut scene).await;
    racing_coordinators_get_one_signature_at_most(&mut scene).await;
    a_stopped_session_burns_its_presignature(&mut scene).await;
    killed_nodes_forget_theirs(&mut scene).await;
    an_old_copy_of_the_files_holds_none(&mut scene).await;
    a_second_key_has_pools_of_its_own(&mut scene).await;
}

/// The ceremony took a set out of the store; the node made another one.
async fn spare_primes_wait_for_the_next_group(scene: &Scene) {
    let until = Instant::now() + Duration::from_secs(20);
    for node in &scene.nodes {
        loop {
            let status = scene.cluster.status(node).await;
            if status.background["spare primes"] == "1 sets ready" {
                break;
            }
            assert!(Instant::now() < until, "{node}: {:?}", status.background);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn every_pair_signs_and_pools_fill_again(scene: &mut Scene) {
    for pair in [[0, 1], [0, 2], [1, 2]] {
        let pair = scene.set(&pair);
        let held = scene.pool(&pair, 2).await;
        for presignature in &held {
            let request = scene.payment();
            let started = Instant::now();
            scene.sign(&pair, &request, *presignature, 1).await.unwrap();
            println!("{pair:?} signed in {:?}", started.elapsed());
            scene.is_refused("used", &pair, Some(*presignature)).await;
        }
        let again = scene.pool(&pair, 2).await;
        assert!(again.iter().all(|id| !held.contains(id)), "never again");
    }
}

async fn a_presignature_is_for_its_own_signers(scene: &mut Scene) {
    let (pair, other) = (scene.set(&[0, 1]), scene.set(&[0, 2]));
    scene.is_refused("none named", &pair, None).await;
    let unknown = Hash::sha256(b"a presignature that was never made");
    scene.is_refused("never made", &pair, Some(unknown)).await;
    let held = scene.pool(&other, 1).await[0];
    scene.is_refused("other signers", &pair, Some(held)).await;
    // The refusals cost nothing: it still signs for those who made it.
    let request = scene.payment();
    scene.sign(&other, &request, held, 1).await.unwrap();
}

/// Two coordinators name the same presignature for two payments at the same time. Whatever the order in which the nodes
/// hear of them, no two signatures come of it.
async fn racing_coordinators_get_one_signature_at_most(scene: &mut Scene) {
    let pair = scene.set(&[0, 1]);
    let mut signed_in_all = 0;
    for round in 0..4 {
        let held = scene.pool(&pair, 1).await[0];
        let (first, second) = (scene.payment(), scene.payment());
        let authorizations = [
            scene.authorize(&first, &pair, Some(held), 1),
            scene.authorize(&second, &pair, Some(held), 1),
        ];
        let cluster = &scene.cluster;
        let (a, b) = tokio::join!(
            attempt(cluster, &authorizations[0], &first, &pair, false),
            // The second one asks the nodes in the other order.
            attempt(cluster, &authorizations[1], &second, &pair, round % 2 == 1),
        );
        let signed = [&a, &b].into_iter().filter(|r| r.is_ok()).count();
        println!("race {round}: {signed} signed, {a:?} {b:?}");
        assert!(signed <= 1, "one presignature signed two payments");
        signed_in_all += signed;
        scene.is_refused("after the race", &pair, Some(held)).await;
        // The loser gets its signature from another presignature.
        for (request, ended) in [(&first, a), (&second, b)] {
            if ended.is_err() {
                let held = scene.pool(&pair, 1).await[0];
                pay_again(scene, &pair, request, held).await;
            }
        }
    }
    println!("races: {signed_in_all} of 4 signed at once");
}

/// A new attempt, once the nodes gave up the one before.
async fn pay_again(scene: &mut Scene, pair: &[MemberId], request: &Envelope, first: Hash) {
    let until = Instant::now() + Duration::from_secs(60);
    let mut held = first;
    for attempt in 2.. {
        match scene.sign(pair, request, held, attempt).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < until, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        held = scene.pool(pair, 1).await[0];
    }
}

/// One coordinator's attempt.
async fn attempt(
    cluster: &Cluster,
    authorization: &Envelope,
    request: &Envelope,
    pair: &[MemberId],
    reversed: bool,
) -> Result<Signature, ProblemCode> {
    let mut order = pair.to_vec();
    if reversed {
        order.reverse();
    }
    let mut receipts = Vec::new();
    for node in &order {
        let receipt = cluster.prepare(node, authorization, request).await;
        match receipt {
            Ok(receipt) => receipts.push(receipt),
            refused => return Err(code(refused)),
        }
    }
    if reversed {
        receipts.reverse();
    }
    let mut answers = cluster.sign_with(&receipts, pair).await;
    match answers.swap_remove(0) {
        Ok(signatures) => {
            assemble(cluster, request, &signatures[0]);
            Ok(signatures[0])
        }
        refused => Err(code(refused)),
    }
}

/// A presignature that one node bound and the other never used is gone all the same.
async fn a_stopped_session_burns_its_presignature(scene: &mut Scene) {
    let pair = scene.set(&[0, 1]);
    let held = scene.pool(&pair, 1).await[0];
    let request = scene.payment();
    let authorization = scene.authorize(&request, &pair, Some(held), 1);
    let prepared = scene.cluster.prepare(&pair[0], &authorization, &request);
    prepared.await.unwrap();
    // Another digest at the same node: refused. The same digest again, by a new attempt: refused as well.
    let other = scene.payment();
    for (request, attempt) in [(&other, 1), (&request, 2)] {
        let authorization = scene.authorize(request, &pair, Some(held), attempt);
        let answer = scene.cluster.prepare(&pair[0], &authorization, request);
        assert_eq!(code(answer.await), ProblemCode::Presignature);
    }
    // The other node's half is an orphan. It goes as well, or a hostile coordinator could fill the pools with orphans.
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let pools = scene.cluster.pools(&pair[1]).await.pools;
        let mut ids = pools.into_iter().flat_map(|pool| pool.available);
        if ids.all(|id| id != held) {
            break;
        }
        assert!(Instant::now() < until, "the orphan stays");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn killed_nodes_forget_theirs(scene: &mut Scene) {
    let (pair, untouched) = (scene.set(&[0, 1]), scene.set(&[0, 2]));
    let before = scene.pool(&pair, 2).await;
    let kept = scene.pool(&untouched, 1).await;
    // Bound by both and killed before it is used; then killed idle, with a full pool.
    let request = scene.payment();
    let authorization = scene.authorize(&request, &pair, Some(before[0]), 1);
    for node in &pair {
        let prepared = scene.cluster.prepare(node, &authorization, &request);
        prepared.await.unwrap();
    }
    scene.cluster.kill(&pair[1]).await;
    scene.cluster.start_node(&pair[1]).await;
    for presignature in &before {
        let request = scene.payment();
        let authorization = scene.authorize(&request, &pair, Some(*presignature), 1);
        let answer = scene.cluster.prepare(&pair[1], &authorization, &request);
        assert_eq!(code(answer.await), ProblemCode::Presignature);
    }
    // The peer hears of the restart and drops its halves; then both make new ones, and the payment is signed with one.
    let fresh = scene.pool(&pair, 1).await;
    assert!(fresh.iter().all(|id| !before.contains(id)));
    for presignature in &before {
        scene
            .is_refused("before the kill", &pair, Some(*presignature))
            .await;
    }
    pay_again(scene, &pair, &request, fresh[0]).await;
    // What two other nodes hold together is still good.
    let other = scene.payment();
    scene.sign(&untouched, &other, kept[0], 1).await.unwrap();

    // Killed at several moments of using one: at most one signature, and never the same presignature again.
    for millis in [0, 6] {
        let held = scene.pool(&pair, 1).await[0];
        let request = scene.payment();
        let authorization = scene.authorize(&request, &pair, Some(held), 1);
        let mut receipts = Vec::new();
        for node in &pair {
            let prepared = scene.cluster.prepare(node, &authorization, &request);
            receipts.push(prepared.await.unwrap());
        }
        let pid = scene.cluster.process(&pair[1]).unwrap().id();
        let killer = async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            let mut kill = Command::new("kill");
            let killed = kill.args(["-9", &pid.to_string()]).status();
            assert!(killed.unwrap().success());
        };
        let (answers, ()) = tokio::join!(scene.cluster.sign_with(&receipts, &pair), killer);
        let signed = answers.iter().filter(|a| a.is_ok()).count();
        scene.cluster.kill(&pair[1]).await;
        scene.cluster.start_node(&pair[1]).await;
        println!("killed {millis} ms into sign: {signed} answers");
        let fresh = scene.pool(&pair, 1).await[0];
        scene
            .is_refused("killed while signing", &pair, Some(held))
            .await;
        pay_again(scene, &pair, &request, fresh).await;
    }
}

/// A node put back on a copy of its files: the pools that it had before the copy, and those it made after, are gone (I10).
async fn an_old_copy_of_the_files_holds_none(scene: &mut Scene) {
    let pair = scene.set(&[0, 1]);
    let data = scene.cluster.node_folder(&pair[0]).join("data");
    let copy = scene.cluster.node_folder(&pair[0]).join("copy");
    let before = scene.pool(&pair, 2).await;
    scene.cluster.kill(&pair[0]).await;
    put(&data, &copy);
    scene.cluster.start_node(&pair[0]).await;
    let after = scene.pool(&pair, 2).await;
    scene.cluster.kill(&pair[0]).await;
    // Filling pools writes nothing, so the copy is no step back for the ledger. The start in between shows: peers remember it.
    let newest = scene.cluster.node_folder(&pair[0]).join("newest");
    put(&data, &newest);
    put(&copy, &data);
    let refused = scene.cluster.try_start_node(&pair[0]).await;
    refused.expect_err("a node starts on an old copy");
    put(&newest, &data);
    scene.cluster.start_node(&pair[0]).await;
    for presignature in before.iter().chain(&after) {
        let request = scene.payment();
        let authorization = scene.authorize(&request, &pair, Some(*presignature), 1);
        let answer = scene.cluster.prepare(&pair[0], &authorization, &request);
        assert_eq!(code(answer.await), ProblemCode::Presignature);
    }
    let fresh = scene.pool(&pair, 1).await[0];
    assert!(!before.contains(&fresh) && !after.contains(&fresh));
    let request = scene.payment();
    scene.sign(&pair, &request, fresh, 1).await.unwrap();
}

/// A second key of the same nodes shares their auxiliary data, so its ceremony needs no primes; its presignatures are its own.
async fn a_second_key_has_pools_of_its_own(scene: &mut Scene) {
    let pair = scene.set(&[0, 1]);
    let started = Instant::now();
    let second = scene.cluster.make_key("second", Protocol::Cggmp24, 2).await;
    println!("second key of the group: ceremony {:?}", started.elapsed());
    let node = &pair[0];
    let until = Instant::now() + Duration::from_secs(180);
    let foreign = loop {
        let pools = scene.cluster.pools(node).await.pools;
        let mut of_second = pools.into_iter().filter(|p| p.key == second.id);
        if let Some(pool) = of_second.find(|p| p.signers == pair && !p.available.is_empty()) {
            break pool.available[0];
        }
        assert!(Instant::now() < until, "the second key has no pool");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    scene.is_refused("another key", &pair, Some(foreign)).await;
}

/// Replaces a folder by a copy of another.
fn put(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_of_five_sign_from_a_pool() {
    let mut scene = Scene::start(5, 3, Place::Inside).await;
    for triple in [[0, 1, 2], [1, 3, 4]] {
        let triple = scene.set(&triple);
        let held = scene.pool(&triple, 1).await[0];
        let request = scene.payment();
        scene.sign(&triple, &request, held, 1).await.unwrap();
        scene.is_refused("used", &triple, Some(held)).await;
    }
}
