//! A transfer is prepared, agreed on, released and signed by real nodes over real TLS, with every protocol.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use countersign_policy::Protocol;
use countersign_signer::net::CallError;
use countersign_signer::node::ResourceConfig;
use countersign_signer::wire::ProblemCode;
use countersign_tests::cluster::{Cluster, Place};
use countersign_tests::payments::{pay, solana, usdt};

/// Signs one payment with each of the given signer sets, by the positions of the nodes.
async fn every_set_signs(cluster: &mut Cluster, protocol: Protocol, sets: &[&[usize]], tag: &str) {
    let nodes = cluster.members();
    for (i, set) in sets.iter().enumerate() {
        let participants: Vec<_> = set.iter().map(|n| nodes[*n].clone()).collect();
        // Every payment has bytes of its own: the same ones never count for two external ids.
        let number = tag.len() as u64 * 100 + i as u64;
        let id = format!("{protocol}-{tag}-{i}");
        let request = match protocol {
            Protocol::FrostEd25519 => solana(cluster, &id, 5_000 + number),
            _ => usdt(cluster, &id, 1_000_000, number),
        };
        let started = std::time::Instant::now();
        pay(cluster, &request, &participants, 1).await.unwrap();
        println!("{protocol} {set:?} {tag}: {:?}", started.elapsed());
    }
}

const PAIRS: [&[usize]; 3] = [&[0, 1], &[0, 2], &[1, 2]];
/// Each node is in at least one of them.
const TRIPLES: [&[usize]; 3] = [&[0, 1, 2], &[0, 2, 4], &[1, 3, 4]];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dkls23_and_frost_two_of_three_sign_with_every_pair_also_after_a_full_restart() {
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    let protocols = [
        ("hot-ecdsa", Protocol::Dkls23),
        ("hot-eddsa", Protocol::FrostEd25519),
    ];
    for (key, protocol) in protocols {
        cluster.make_key(key, protocol, 2).await;
        every_set_signs(&mut cluster, protocol, &PAIRS, "first").await;
    }
    cluster.restart().await;
    for (_, protocol) in protocols {
        every_set_signs(&mut cluster, protocol, &PAIRS, "restarted").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dkls23_and_frost_three_of_five_sign_also_after_a_full_restart() {
    let mut cluster = Cluster::start(5, 3, Place::Inside).await;
    let protocols = [
        ("hot-ecdsa", Protocol::Dkls23),
        ("hot-eddsa", Protocol::FrostEd25519),
    ];
    for (key, protocol) in protocols {
        cluster.make_key(key, protocol, 3).await;
        every_set_signs(&mut cluster, protocol, &TRIPLES, "first").await;
    }
    cluster.restart().await;
    for (_, protocol) in protocols {
        every_set_signs(&mut cluster, protocol, &TRIPLES[..2], "restarted").await;
    }
}

/// The bound is on what is open. A node that counted what it signed a while ago would stop under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_ended_leave_room_and_open_ones_are_bounded() {
    let resources = ResourceConfig {
        max_sessions: 2,
        spare_primes: 0,
        ..ResourceConfig::default()
    };
    let mut cluster = Cluster::start_with(3, 2, Place::Inside, resources).await;
    cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 2)
        .await;
    let nodes = cluster.members();
    let pair = nodes[..2].to_vec();
    for number in 0..6 {
        let request = solana(&mut cluster, &format!("in-turn-{number}"), 5_000 + number);
        pay(&mut cluster, &request, &pair, 1).await.unwrap();
    }
    let mut open = Vec::new();
    for number in 0..3 {
        let request = solana(&mut cluster, &format!("open-{number}"), 6_000 + number);
        let authorization = cluster.authorize(&request, &pair, 1);
        let prepared = cluster.prepare(&nodes[0], &authorization, &request).await;
        open.push(prepared);
    }
    assert!(open[0].is_ok() && open[1].is_ok());
    match &open[2] {
        Err(CallError::Problem(problem)) => assert_eq!(problem.code(), Some(ProblemCode::Busy)),
        other => panic!("expected a busy node, got {other:?}"),
    }
}
