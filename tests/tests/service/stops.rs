//! A final state without a signature is a promise, made only with the promises of enough nodes.

use countersign_coordinator::{Goal, RequestView, StateName};
use countersign_policy::statement::SignRequest;
use countersign_policy::testing::{COORDINATOR, PAYMENTS};
use countersign_policy::{Envelope, ExternalId};
use countersign_signer::clock::now;
use countersign_tests::payments::{solana, usdt};

use crate::arena::{Arena, TIMING};
use crate::database::{Kind, TestDatabase, both};

both!(
    a_cancelled_request_is_stopping_until_enough_nodes_promised_never_to_sign,
    async |database: &TestDatabase| {
        let mut arena = Arena::start(database).await;
        let (one, two, three) = (arena.node(1), arena.node(2), arena.node(3));
        for node in [&two, &three] {
            arena.cluster.signal(node, "STOP");
        }
        let request = usdt(&mut arena.cluster, "payout-1", 1_000, 0);
        assert_eq!(arena.post(&request, "k-1", 0).await.status, 202);
        let reply = arena.cancel(&request, 1).await;
        assert_eq!(reply.status, 202);
        let view: RequestView = reply.json();
        assert_eq!(view.state, StateName::Stopping);
        assert_eq!(view.stopping_towards, Some(Goal::Cancelled));
        // n - t + 1 + f = 2 promises are needed; one node alone can answer. However often it is asked, that is not final.
        let view = arena
            .until(&request, "promise of node 1", |view| {
                let why = view.reason.as_ref();
                why.is_some_and(|w| w.nodes.get(&one).is_some_and(|n| n == "stopped"))
            })
            .await;
        assert_eq!(view.state, StateName::Stopping);
        assert_eq!(arena.read(&request).await.state, StateName::Stopping);
        // Nor does a new coordinator take it for final.
        arena.coordinators.kill(COORDINATOR);
        arena.boot(COORDINATOR).await;
        assert_eq!(arena.read(&request).await.state, StateName::Stopping);
        arena.cluster.signal(&two, "CONT");
        let view = arena.reaches(&request, StateName::Cancelled).await;
        let why = view.reason.expect("a reason");
        assert_eq!(why.code, "cancelled");
        let stopped = why.nodes.values().filter(|said| *said == "stopped").count();
        assert!(stopped >= 2, "{why:?}");
        arena.cluster.signal(&three, "CONT");
        arena.sees(COORDINATOR, &arena.cluster.members()).await;

        // Cancelling again is harmless, and the external id stays taken.
        assert_eq!(arena.cancel(&request, 1).await.status, 200);
        let other = usdt(&mut arena.cluster, "payout-1", 1_000, 0);
        assert_eq!(arena.post(&other, "k-2", 0).await.problem(), "external-id");
        // What is signed stays signed.
        let paid = solana(&mut arena.cluster, "payout-2", 1_000);
        arena.post(&paid, "k-3", 0).await;
        arena.is_signed(&paid).await;
        let reply = arena.cancel(&paid, 1).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem().as_str()),
            (409, "final")
        );

        let digest = arena.digest(&request);
        assert!(!arena.released().await.contains_key(&digest));
    }
);

both!(
    a_request_expires_only_when_enough_nodes_promised_never_to_sign,
    async |database: &TestDatabase| {
        let mut arena = Arena::start(database).await;
        let (one, two, three) = (arena.node(1), arena.node(2), arena.node(3));
        arena.cluster.kill(&two).await;
        arena.cluster.kill(&three).await;
        arena.sees(COORDINATOR, std::slice::from_ref(&one)).await;
        let request = short(&mut arena, "payout-1", 3);
        arena.post(&request, "k-1", 0).await;
        let view = arena.reaches(&request, StateName::Stopping).await;
        assert_eq!(view.stopping_towards, Some(Goal::Expired));
        let why = view.reason.expect("a reason");
        assert!(
            why.detail
                .contains("1 of the key's nodes answer, 2 are needed"),
            "{why:?}"
        );
        arena.cluster.start_node(&two).await;
        let view = arena.reaches(&request, StateName::Expired).await;
        let mut states: Vec<&str> = view.events.iter().map(|e| e.state.as_str()).collect();
        // STOPPING is told again whenever the nodes say something new.
        states.dedup();
        assert_eq!(states, ["RECEIVED", "STOPPING", "EXPIRED"]);
        assert_eq!(view.reason.expect("a reason").code, "expired");
    }
);

/// A request that lives for so many seconds.
pub fn short(arena: &mut Arena, external_id: &str, seconds: u64) -> Envelope {
    let long = usdt(&mut arena.cluster, "x", 1_000, 0);
    short_of(arena, &long, external_id, seconds)
}

/// The same payment as another request, with a life of so many seconds.
pub fn short_of(arena: &mut Arena, like: &Envelope, external_id: &str, seconds: u64) -> Envelope {
    let opened = arena.cluster.active().directory().open::<SignRequest>(like);
    let mut body = opened.unwrap().body().clone();
    body.external_id = ExternalId::new(external_id).unwrap();
    arena.cluster.deployment.set_now(now());
    arena.cluster.deployment.sign(PAYMENTS, seconds, body)
}

/// A cancel that comes when a signature may exist already: whatever the end is, it is the truth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_races_with_the_signature_never_hides_it() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let mut arena = Arena::with(&database, &[COORDINATOR], TIMING).await;
    // Every message between nodes takes a while, so that a signature takes longer than the cancel.
    for node in arena.cluster.members() {
        arena.cluster.set_faults(&node, "delay=100,delay_ms=150");
    }
    arena.cluster.restart().await;
    arena.sees(COORDINATOR, &arena.cluster.members()).await;
    let mut ends = Vec::new();
    for i in 0..4_u64 {
        let request = usdt(&mut arena.cluster, &format!("payout-{i}"), 1_000, i);
        arena.post(&request, &format!("k-{i}"), 0).await;
        if i > 0 {
            arena.reaches(&request, StateName::Signing).await;
            tokio::time::sleep(std::time::Duration::from_millis(150 * (i - 1))).await;
        }
        arena.cancel(&request, 0).await;
        let view = arena
            .until(&request, "end", |view| view.state.is_final())
            .await;
        println!("cancel {i}: {:?}", view.state);
        ends.push((request, view));
    }
    let digests: Vec<_> = ends.iter().map(|(r, _)| arena.digest(r)).collect();
    for (request, view) in &ends {
        match view.state {
            StateName::Signed => arena.holds(request, view),
            other => assert_eq!(other, StateName::Cancelled),
        }
    }
    let released = arena.released().await;
    for ((_, view), digest) in ends.iter().zip(digests) {
        let sessions = released.get(&digest).map_or(0, |s| s.len());
        assert_eq!(
            sessions,
            usize::from(view.state == StateName::Signed),
            "{view:#?}"
        );
    }
}
