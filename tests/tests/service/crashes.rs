//! A coordinator that is killed at any point of a request: the next one finds it in the database and brings it to its end.

use std::time::Duration;

use countersign_coordinator::{StateName, TimingConfig};
use countersign_policy::testing::COORDINATOR;
use countersign_tests::payments::{pay_in_the_end, solana, usdt};

use crate::arena::{Arena, TIMING, two_keys};
use crate::database::{Kind, TestDatabase, both};

both!(
    a_coordinator_killed_at_any_point_of_a_request_resumes_it,
    async |database: &TestDatabase| {
        let mut arena = Arena::start(database).await;
        let (two, three) = (arena.node(2), arena.node(3));
        let mut requests = Vec::new();

        // RECEIVED: too few nodes for any attempt.
        for node in [&two, &three] {
            arena.cluster.kill(node).await;
        }
        arena.sees(COORDINATOR, &[arena.node(1)]).await;
        let request = usdt(&mut arena.cluster, "in-received", 1_000, 0);
        arena.post(&request, "k-0", 0).await;
        arena.reaches(&request, StateName::Received).await;
        arena.coordinators.kill(COORDINATOR);
        for node in [&two, &three] {
            arena.cluster.start_node(node).await;
        }
        arena.start_coordinator(COORDINATOR).await;
        arena.is_signed(&request).await;
        requests.push(request);

        // AUTHORIZED: the authorization is stored, and its prepare hangs.
        for node in [&two, &three] {
            arena.cluster.signal(node, "STOP");
        }
        let request = solana(&mut arena.cluster, "in-authorized", 1_000);
        arena.post(&request, "k-1", 0).await;
        arena.reaches(&request, StateName::Authorized).await;
        arena.coordinators.kill(COORDINATOR);
        for node in [&two, &three] {
            arena.cluster.signal(node, "CONT");
        }
        arena.start_coordinator(COORDINATOR).await;
        arena.is_signed(&request).await;
        requests.push(request);

        // SIGNING: the nodes are at it, slowly; and the same with the answer lost.
        for node in arena.cluster.members() {
            arena.cluster.set_faults(&node, "delay=100,delay_ms=200");
        }
        arena.cluster.restart().await;
        arena.sees(COORDINATOR, &arena.cluster.members()).await;
        for (number, pause) in [(2, 0), (3, 2_000)] {
            let request = usdt(
                &mut arena.cluster,
                &format!("in-signing-{number}"),
                1_000,
                number,
            );
            arena.post(&request, &format!("k-{number}"), 0).await;
            arena.reaches(&request, StateName::Signing).await;
            arena.coordinators.kill(COORDINATOR);
            // Meanwhile the nodes may finish.
            tokio::time::sleep(Duration::from_millis(pause)).await;
            arena.start_coordinator(COORDINATOR).await;
            arena.is_signed(&request).await;
            requests.push(request);
        }

        // At any moment, whatever the state is then.
        for number in 4..8 {
            let request = usdt(&mut arena.cluster, &format!("any-{number}"), 1_000, number);
            arena.post(&request, &format!("k-{number}"), 0).await;
            tokio::time::sleep(Duration::from_millis(40 * (number - 4))).await;
            arena.coordinators.kill(COORDINATOR);
            arena.start_coordinator(COORDINATOR).await;
            arena.is_signed(&request).await;
            requests.push(request);
        }

        // STOPPING: decided, and too few nodes to promise.
        for node in [&two, &three] {
            arena.cluster.signal(node, "STOP");
        }
        let stopped = solana(&mut arena.cluster, "in-stopping", 2_000);
        arena.post(&stopped, "k-8", 0).await;
        assert_eq!(arena.cancel(&stopped, 0).await.status, 202);
        arena.reaches(&stopped, StateName::Stopping).await;
        arena.coordinators.kill(COORDINATOR);
        for node in [&two, &three] {
            arena.cluster.signal(node, "CONT");
        }
        arena.start_coordinator(COORDINATOR).await;
        arena.reaches(&stopped, StateName::Cancelled).await;

        let cancelled = arena.digest(&stopped);
        let digests: Vec<_> = requests.iter().map(|r| arena.digest(r)).collect();
        let released = arena.released().await;
        assert!(!released.contains_key(&cancelled));
        for digest in digests {
            assert_eq!(released[&digest].len(), 1, "one digest, one session");
        }
    }
);

both!(
    a_prepare_repeated_at_a_node_that_forgot_the_session_leads_to_a_new_attempt,
    async |database: &TestDatabase| {
        let timing = TimingConfig {
            prepare_timeout_ms: 30_000,
            ..TIMING
        };
        let mut arena = Arena::with(database, &[COORDINATOR], timing).await;
        let (one, two) = (arena.node(1), arena.node(2));
        // A fresh coordinator begins with nodes 1 and 2. The second one's receipt does not come.
        arena.cluster.signal(&two, "STOP");
        let before = arena.cluster.status(&one).await.ledger_sequence;
        let request = usdt(&mut arena.cluster, "payout-1", 1_000, 0);
        arena.post(&request, "k-1", 0).await;
        while arena.cluster.status(&one).await.ledger_sequence == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        arena.coordinators.kill(COORDINATOR);
        // Node 1 forgets the session, and remembers its nonce.
        arena.cluster.kill(&one).await;
        arena.cluster.start_node(&one).await;
        arena.cluster.signal(&two, "CONT");
        arena.start_coordinator(COORDINATOR).await;
        let view = arena.is_signed(&request).await;
        assert!(view.attempts.len() >= 2, "{view:#?}");
        let first = view.attempts[0].outcome.clone().expect("an outcome");
        assert!(
            first.contains("node-1") && first.contains("authorization"),
            "{first}"
        );
        let digest = arena.digest(&request);
        assert_eq!(arena.released().await[&digest].len(), 1);
    }
);

/// What a coordinator leaves behind when it dies with its call under way, without anything of a coordinator in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_prepare_whose_caller_goes_away_leaves_no_session_that_blocks_the_next_attempt() {
    let mut cluster = two_keys().await;
    let pair = cluster.members()[..2].to_vec();
    for i in 0..40_u64 {
        let request = usdt(&mut cluster, &format!("payout-{i}"), 1_000, i);
        let authorization = cluster.authorize(&request, &pair, 1);
        let call = cluster.prepare(&pair[0], &authorization, &request);
        let gone = Duration::from_micros(400 * i);
        let answered = tokio::time::timeout(gone, call).await.is_ok();
        println!("the caller of {i} was gone after {gone:?}, answered: {answered}");
        // A later attempt may have to wait for the first one's reservation, and then replaces it.
        pay_in_the_end(&mut cluster, &request, &pair, 2).await;
    }
}
