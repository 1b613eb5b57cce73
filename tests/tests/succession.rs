//! One bundle follows another at nodes that talk among themselves: delay, veto, forks, and what resolves them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::time::{Duration, Instant};

use countersign_policy::bundle::PolicyBundle;
use countersign_policy::testing::{OFFICER, SPARE_APPROVER};
use countersign_policy::{Envelope, MemberId};
use countersign_signer::clock::now;
use countersign_signer::net::{CallError, EmergencyError};
use countersign_signer::wire::{
    ActivateBundle, BundleAck, Bundles, GiveStatement, ProblemCode, StatementTaken, SubmitBundle,
    path,
};
use countersign_tests::cluster::{Cluster, Place};
use countersign_tests::payments::code;

const CALL: Duration = Duration::from_secs(10);
/// The activation delay in these tests.
const DELAY: u64 = 4;

async fn propose(
    cluster: &Cluster,
    node: &MemberId,
    bundle: &Envelope,
) -> Result<BundleAck, CallError> {
    let call = SubmitBundle {
        bundle: bundle.clone(),
        transcripts: Vec::new(),
    };
    let client = cluster.client(node);
    client.post_json(path::BUNDLES, &call, CALL).await
}

async fn bundles(cluster: &Cluster, node: &MemberId) -> Bundles {
    let client = cluster.client(node);
    client.get_json(path::BUNDLES, CALL).await.unwrap()
}

fn successor(cluster: &mut Cluster, edit: impl FnOnce(&mut PolicyBundle)) -> Envelope {
    cluster.deployment.set_now(now());
    cluster.deployment.successor(cluster.chain.active(), edit)
}

fn renamed(cluster: &mut Cluster, name: &str, supersedes: &[&Envelope]) -> Envelope {
    let mut supersedes: Vec<_> = supersedes.iter().map(|b| b.digest()).collect();
    supersedes.sort_unstable();
    successor(cluster, |content| {
        content.organisation = name.to_owned();
        content.supersedes = supersedes;
    })
}

async fn wait_until_active(cluster: &Cluster, bundle: &Envelope) {
    let until = Instant::now() + Duration::from_secs(30);
    for node in cluster.members() {
        while bundles(cluster, &node).await.active != bundle.digest() {
            assert!(Instant::now() < until, "{node} does not follow it");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn with_delay(nodes: usize) -> Cluster {
    let mut cluster = Cluster::start(nodes, 2, Place::Inside).await;
    let delayed = successor(&mut cluster, |content| {
        content.timing.activation_delay_seconds = DELAY;
    });
    cluster.follow(delayed, Vec::new()).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bundle_given_to_one_node_becomes_active_everywhere_after_its_delay_and_not_before() {
    let mut cluster = with_delay(3).await;
    let nodes = cluster.members();
    let next = renamed(&mut cluster, "renamed", &[]);
    let proposed = Instant::now();
    let ack = propose(&cluster, &nodes[0], &next).await.unwrap();
    assert!(!ack.active);
    let again = propose(&cluster, &nodes[0], &next).await.unwrap();
    assert_eq!(
        again.ack, ack.ack,
        "one acknowledgement, however often it is asked for"
    );
    // A coordinator cannot hurry it.
    let hurry = ActivateBundle {
        bundle: next.clone(),
        transcripts: Vec::new(),
        acks: ack.ack.into_iter().collect(),
    };
    for node in &nodes {
        let client = cluster.client(node);
        let answer: Result<BundleAck, CallError> =
            client.post_json(path::ACTIVATE, &hurry, CALL).await;
        assert_eq!(code(answer), ProblemCode::Bundle);
    }
    while proposed.elapsed() < Duration::from_secs(DELAY) {
        let shown = bundles(&cluster, &nodes[0]).await;
        if proposed.elapsed() < Duration::from_secs(DELAY) {
            assert_eq!(shown.active, cluster.active().digest());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    wait_until_active(&cluster, &next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_veto_at_one_node_stops_a_bundle_and_a_superseding_one_goes_on() {
    let mut cluster = with_delay(3).await;
    let nodes = cluster.members();
    let unwanted = renamed(&mut cluster, "unwanted", &[]);
    for node in &nodes {
        propose(&cluster, node, &unwanted).await.unwrap();
    }
    let give = |statement: Envelope| GiveStatement { statement };
    let port = cluster.emergency(&nodes[1]);
    let by_an_officer = cluster.deployment.veto(OFFICER, &unwanted);
    let refused: Result<StatementTaken, EmergencyError> =
        port.post_json(path::VETO, &give(by_an_officer)).await;
    assert!(
        matches!(refused, Err(EmergencyError::Problem(_))),
        "{refused:?}"
    );
    let veto = cluster.deployment.veto(SPARE_APPROVER, &unwanted);
    let _: StatementTaken = port.post_json(path::VETO, &give(veto)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(DELAY + 3)).await;
    for node in &nodes {
        let shown = bundles(&cluster, node).await;
        assert_eq!(shown.active, cluster.active().digest(), "{node}");
        assert_eq!(shown.candidate.unwrap().vetoes.len(), 1, "{node}");
    }
    let other = renamed(&mut cluster, "other", &[]);
    let refused = propose(&cluster, &nodes[0], &other).await;
    assert_eq!(code(refused), ProblemCode::Bundle);
    let better = renamed(&mut cluster, "better", &[&unwanted]);
    propose(&cluster, &nodes[0], &better).await.unwrap();
    wait_until_active(&cluster, &better).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_bundles_that_block_each_other_are_resolved_by_one_that_names_both() {
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    let nodes = cluster.members();
    let one = renamed(&mut cluster, "one", &[]);
    let two = renamed(&mut cluster, "two", &[]);
    cluster.kill(&nodes[2]).await;
    cluster.kill(&nodes[1]).await;
    propose(&cluster, &nodes[0], &one).await.unwrap();
    cluster.kill(&nodes[0]).await;
    cluster.start_node(&nodes[1]).await;
    propose(&cluster, &nodes[1], &two).await.unwrap();
    cluster.start_node(&nodes[0]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for node in &nodes[..2] {
        let shown = bundles(&cluster, node).await;
        assert_eq!(shown.active, cluster.active().digest(), "{node}");
    }
    let refused = propose(&cluster, &nodes[0], &two).await;
    assert_eq!(code(refused), ProblemCode::Bundle);
    // What each acknowledged outlives a restart.
    cluster.kill(&nodes[0]).await;
    cluster.start_node(&nodes[0]).await;
    let refused = propose(&cluster, &nodes[0], &two).await;
    assert_eq!(code(refused), ProblemCode::Bundle);

    let both = renamed(&mut cluster, "both", &[&one, &two]);
    propose(&cluster, &nodes[0], &both).await.unwrap();
    let until = Instant::now() + CALL;
    loop {
        let candidate = bundles(&cluster, &nodes[1]).await.candidate;
        if candidate.is_some_and(|c| c.bundle == both) {
            break;
        }
        assert!(Instant::now() < until, "node 2 does not change over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The third node could have followed one of the two: until it has spoken, nobody follows what supersedes them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for node in &nodes[..2] {
        let shown = bundles(&cluster, node).await;
        assert_eq!(shown.active, cluster.active().digest(), "{node}");
    }
    cluster.start_node(&nodes[2]).await;
    wait_until_active(&cluster, &both).await;
}
