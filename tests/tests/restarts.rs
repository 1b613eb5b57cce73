//! What a node may forget and what it may not: lost and copied stores, clocks that are wrong, starts that nobody knows of.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::time::{Duration, Instant};

use countersign_policy::{MemberId, Protocol};
use countersign_signer::node::{NodeConfig, create_store};
use countersign_signer::wire::ProblemCode;
use countersign_tests::cluster::{self, Cluster, Place};
use countersign_tests::payments::{pay_in_the_end, problem, usdt};

#[tokio::test]
async fn child_entry() {
    cluster::child_entry().await;
}

async fn wait_until_registered(cluster: &Cluster, node: &MemberId) {
    let until = Instant::now() + Duration::from_secs(20);
    while !cluster.status(node).await.registered {
        assert!(Instant::now() < until, "{node} stays unknown to its peers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_lost_its_database_does_not_begin_again_from_nothing() {
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let nodes = cluster.members();
    let request = usdt(&mut cluster, "before-the-loss", 1, 1);
    pay_in_the_end(&mut cluster, &request, &nodes[..2], 1).await;
    cluster.kill(&nodes[0]).await;
    let folder = cluster.node_folder(&nodes[0]);
    std::fs::remove_dir_all(folder.join("data")).unwrap();
    let missing = cluster.try_start_node(&nodes[0]).await.unwrap_err();
    assert!(missing.contains("there is no store"), "{missing}");
    // Whoever makes a new file under the old identity is stopped by what the peers hold.
    let config = NodeConfig::load(&folder.join("node.toml")).unwrap();
    create_store(&config).await.unwrap();
    let refused = cluster.try_start_node(&nodes[0]).await.unwrap_err();
    assert!(refused.contains("old copy"), "{refused}");
    // For good, also when it is tried again.
    let refused = cluster.try_start_node(&nodes[0]).await.unwrap_err();
    assert!(refused.contains("old copy"), "{refused}");
    // The others go on.
    let request = usdt(&mut cluster, "without-it", 2, 2);
    pay_in_the_end(&mut cluster, &request, &nodes[1..], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_start_at_once_come_up_and_one_that_nobody_answers_promises_nothing() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let nodes = cluster.members();
    for node in &nodes {
        cluster.kill(node).await;
    }
    cluster.start_node(&nodes[0]).await;
    let first = cluster.status(&nodes[0]).await;
    assert!(!first.registered);
    let request = usdt(&mut cluster, "too-early", 3, 3);
    let authorization = cluster.authorize(&request, &nodes[..2], 1);
    let refusal = problem(cluster.prepare(&nodes[0], &authorization, &request).await);
    assert_eq!(refusal.code(), Some(ProblemCode::Unregistered), "{refusal}");
    assert_eq!(refusal.missing, nodes[1..], "{refusal}");
    // None of the three is registered yet, and each answers the others all the same.
    cluster.start_node(&nodes[1]).await;
    cluster.start_node(&nodes[2]).await;
    for node in &nodes {
        wait_until_registered(&cluster, node).await;
    }
    pay_in_the_end(&mut cluster, &request, &nodes[..2], 2).await;
    let before = cluster.status(&nodes[0]).await.incarnation;
    assert_eq!(before, first.incarnation);
    cluster.kill(&nodes[0]).await;
    cluster.start_node(&nodes[0]).await;
    assert_eq!(cluster.status(&nodes[0]).await.incarnation, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_whose_clock_is_off_refuses_and_names_the_clock() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let nodes = cluster.members();
    // The bundle bounds the skew to five seconds.
    cluster.kill(&nodes[0]).await;
    cluster.set_clock(&nodes[0], 12_000);
    cluster.start_node(&nodes[0]).await;
    let request = usdt(&mut cluster, "by-a-fast-clock", 4, 4);
    let authorization = cluster.authorize(&request, &nodes[..2], 1);
    let refusal = problem(cluster.prepare(&nodes[0], &authorization, &request).await);
    assert_eq!(refusal.code(), Some(ProblemCode::Clock), "{refusal}");
    assert!(
        refusal.culprits.is_empty(),
        "nobody knows whose clock is wrong"
    );
    assert!(!cluster.status(&nodes[0]).await.registered);
    // Its own clock never raised the floor: with the right time it is back.
    cluster.kill(&nodes[0]).await;
    cluster.set_clock(&nodes[0], 0);
    cluster.start_node(&nodes[0]).await;
    pay_in_the_end(&mut cluster, &request, &nodes[..2], 2).await;

    // A clock that went back beyond what the node has shown before: it does not even start.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.kill(&nodes[0]).await;
    cluster.set_clock(&nodes[0], -3_600_000);
    let refused = cluster.try_start_node(&nodes[0]).await.unwrap_err();
    assert!(refused.contains("ended"), "{refused}");
    cluster.set_clock(&nodes[0], 0);
    cluster.start_node(&nodes[0]).await;
    let request = usdt(&mut cluster, "with-the-right-time", 5, 5);
    pay_in_the_end(&mut cluster, &request, &nodes[..2], 1).await;
}
