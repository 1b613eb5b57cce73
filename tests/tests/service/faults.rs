//! Nodes that are down, hang, fall silent or lie: others sign, and who was at fault is told.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use countersign_coordinator::{AttemptView, TimingConfig, Why};
use countersign_policy::testing::COORDINATOR;
use countersign_tests::payments::{solana, usdt};

use crate::arena::{Arena, PATIENCE, TIMING, two_keys};
use crate::database::{Kind, TestDatabase, both};
use crate::relay::Liar;
use crate::stops::short_of;

both!(
    a_node_that_is_down_or_hangs_or_falls_silent_is_replaced_by_another,
    async |database: &TestDatabase| {
        // The coordinator does not ask how the nodes are while a call is under way: it finds out by itself.
        let mut arena = Arena::start(database).await;
        let (one, two, three) = (arena.node(1), arena.node(2), arena.node(3));
        let mut number = 0;

        // Down: whichever pair is chosen first, every payment is signed by the other two.
        arena.cluster.kill(&two).await;
        for _ in 0..3 {
            number += 1;
            let request = usdt(&mut arena.cluster, &format!("down-{number}"), 1_000, number);
            arena.post(&request, &format!("k-{number}"), 0).await;
            let view = arena.is_signed(&request).await;
            assert_eq!(view.participants, [one.clone(), three.clone()]);
        }
        arena.cluster.start_node(&two).await;
        arena.sees(COORDINATOR, &arena.cluster.members()).await;

        // Hanging: its connections stand, nothing comes.
        arena.cluster.signal(&three, "STOP");
        for _ in 0..3 {
            number += 1;
            let request = solana(&mut arena.cluster, &format!("hangs-{number}"), number);
            arena.post(&request, &format!("k-{number}"), 0).await;
            let view = arena.is_signed(&request).await;
            assert_eq!(view.participants, [one.clone(), two.clone()]);
        }
        arena.cluster.signal(&three, "CONT");
        arena.sees(COORDINATOR, &arena.cluster.members()).await;

        // Silent towards its peers only: it answers the coordinator, so that each first attempt with it fails at sign.
        arena.cluster.kill(&one).await;
        arena.cluster.set_faults(&one, "lose=100");
        arena.cluster.start_node(&one).await;
        arena.sees(COORDINATOR, &arena.cluster.members()).await;
        let mut failed = Vec::new();
        for _ in 0..3 {
            number += 1;
            let request = usdt(
                &mut arena.cluster,
                &format!("silent-{number}"),
                1_000,
                number,
            );
            arena.post(&request, &format!("k-{number}"), 0).await;
            let view = arena.is_signed(&request).await;
            assert_eq!(view.participants, [two.clone(), three.clone()], "{view:#?}");
            failed.extend(failures(&view.attempts));
        }
        assert!(
            !failed.is_empty(),
            "no attempt was made with the silent node"
        );
        for why in failed {
            assert!(why.culprits.is_empty(), "silence is no proof: {why:?}");
            assert!(
                why.nodes.values().any(|said| said.contains("in time")),
                "{why:?}"
            );
        }
    }
);

/// What is stored about attempts that failed.
fn failures(attempts: &[AttemptView]) -> Vec<Why> {
    let outcomes = attempts.iter().filter_map(|a| a.outcome.as_deref());
    outcomes
        .filter_map(|o| serde_json::from_str(o).ok())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_sends_a_wrong_share_is_named_in_the_answer_and_in_the_log() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let mut cluster = two_keys().await;
    let liar = cluster.members()[1].clone();
    let lie = Liar::make(&mut cluster, &liar).await;
    let timing = TimingConfig {
        call_timeout_ms: 4_000,
        ..TIMING
    };
    let mut arena = Arena::before(cluster, &database, &[COORDINATOR], timing, &lie.urls).await;
    let (one, three) = (arena.node(1), arena.node(3));

    // The liar got a right share and has a signature. That is taken, and the liar is named.
    let request = solana(&mut arena.cluster, "payout-0", 999);
    arena.post(&request, "k", 0).await;
    let view = arena.is_signed(&request).await;
    assert_eq!(
        view.participants,
        [one.clone(), liar.clone()],
        "a fresh coordinator begins with these"
    );
    let until = Instant::now() + PATIENCE;
    let named = |log: &str| {
        let line = log
            .lines()
            .find(|l| l.contains("a node sent something wrong in a session"));
        line.map(str::to_owned)
    };
    let line = loop {
        let log = arena.coordinators.log(COORDINATOR);
        if let Some(line) = named(&log) {
            break line;
        }
        assert!(Instant::now() < until, "nothing in the log:\n{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        line.contains("ERROR") && line.contains("node=node-2"),
        "{line}"
    );

    // It keeps that to itself: the others sign without it, and the attempt says why.
    lie.mute.store(true, Ordering::Relaxed);
    let mut blamed = Vec::new();
    let mut number = 0;
    while blamed.is_empty() {
        number += 1;
        let request = solana(
            &mut arena.cluster,
            &format!("payout-{number}"),
            1_000 + number,
        );
        arena.post(&request, &format!("k-{number}"), 0).await;
        let view = arena.is_signed(&request).await;
        assert_eq!(view.participants, [one.clone(), three.clone()], "{view:#?}");
        blamed.extend(failures(&view.attempts));
        assert!(number < 20, "no attempt was made with the liar");
    }
    for why in &blamed {
        assert_eq!(
            why.culprits.as_slice(),
            std::slice::from_ref(&liar),
            "{why:?}"
        );
    }

    // With nobody else to sign with, the request's own reason names it.
    arena.cluster.kill(&three).await;
    arena.sees(COORDINATOR, &[one, liar.clone()]).await;
    let long = solana(&mut arena.cluster, "x", 2_000);
    let request = short_of(&mut arena, &long, "payout-9", 6);
    arena.post(&request, "k-9", 0).await;
    let view = arena
        .until(&request, "reason with a name", |view| view.reason.is_some())
        .await;
    let why = view.reason.expect("a reason");
    assert_eq!(why.culprits, [liar], "{why:?}");
    assert_eq!(why.code, "expired");
}
