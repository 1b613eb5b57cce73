//! Payments by DKLs23 and FROST, and what may be asked twice.

use countersign_coordinator::{RequestView, StateName};
use countersign_policy::testing::COORDINATOR;
use countersign_tests::payments::{solana, usdt};

use crate::arena::{Arena, TIMING};
use crate::database::{Kind, TestDatabase, both};

both!(
    a_payment_by_each_protocol_is_signed_and_may_be_asked_again,
    async |database: &TestDatabase| {
        let mut arena = Arena::start(database).await;
        // Waiting for the answer, and asking again: the same answer.
        let erc20 = usdt(&mut arena.cluster, "payout-1", 12_500_000, 0);
        let sol = solana(&mut arena.cluster, "payout-2", 1_000_000);
        for (request, key) in [(&erc20, "k-1"), (&sol, "k-2")] {
            let first = arena.post(request, key, 30).await;
            assert_eq!(first.status, 200);
            let view: RequestView = first.json();
            arena.holds(request, &view);
            let again = arena.post(request, key, 30).await;
            assert_eq!((again.status, &again.body), (first.status, &first.body));
            let history = arena.read(request).await;
            let states: Vec<&str> = history.events.iter().map(|e| e.state.as_str()).collect();
            assert_eq!(states, ["RECEIVED", "AUTHORIZED", "SIGNING", "SIGNED"]);
            assert_eq!(history.attempts.len(), 1);
        }

        // Not waiting: 202 at once, byte for byte again, and signed in the background.
        let quick = usdt(&mut arena.cluster, "payout-3", 1, 1);
        let first = arena.post(&quick, "k-3", 0).await;
        assert_eq!(first.status, 202);
        let again = arena.post(&quick, "k-3", 0).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body));
        assert_eq!(again.headers["idempotency-replayed"], "true");
        arena.is_signed(&quick).await;

        // The key belongs to its body, and the external id to its request.
        let other = usdt(&mut arena.cluster, "payout-4", 2, 2);
        let reply = arena.post(&other, "k-1", 30).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem().as_str()),
            (422, "idempotency-key-reused")
        );
        let twice = usdt(&mut arena.cluster, "payout-1", 12_500_000, 3);
        let reply = arena.post(&twice, "k-5", 30).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem().as_str()),
            (409, "external-id")
        );

        // While two nodes hang nothing is signed, and the same call is in flight.
        let slow = usdt(&mut arena.cluster, "payout-6", 3, 4);
        for number in [2, 3] {
            let node = arena.node(number);
            arena.cluster.signal(&node, "STOP");
        }
        let (two, three) = (arena.node(2), arena.node(3));
        let first = async { arena.post(&slow, "k-6", 40).await };
        let second = async {
            loop {
                let path = format!("/v1/sign-requests/{}", slow.digest());
                let who = countersign_policy::testing::PAYMENTS;
                let reply = arena.try_get(COORDINATOR, who, &path, 0).await.unwrap();
                if reply.status == 200 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            arena.post(&slow, "k-6", 40).await
        };
        let mut first = std::pin::pin!(first);
        let second = tokio::select! {
            first = &mut first => panic!("an answer without nodes: {}", String::from_utf8_lossy(&first.body)),
            second = second => second,
        };
        assert_eq!(
            (second.status.as_u16(), second.problem().as_str()),
            (409, "in-flight")
        );
        for node in [&two, &three] {
            arena.cluster.signal(node, "CONT");
        }
        let first = first.await;
        let view: RequestView = first.json();
        arena.holds(&slow, &view);
    }
);

/// The coordinator's memory is not what stands between a payment and its second signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_id_is_not_signed_twice_even_if_the_database_is_wiped() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let mut arena = Arena::start(&database).await;
    let paid = usdt(&mut arena.cluster, "payout-1", 5_000, 0);
    arena.post(&paid, "k-1", 30).await;
    arena.is_signed(&paid).await;
    let paid_sol = solana(&mut arena.cluster, "payout-2", 5_000);
    arena.post(&paid_sol, "k-2", 30).await;
    arena.is_signed(&paid_sol).await;

    arena.coordinators.kill(COORDINATOR);
    let empty = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let cluster = arena.cluster;
    drop(arena.coordinators);
    let mut arena =
        Arena::before(cluster, &empty, &[COORDINATOR], TIMING, &Default::default()).await;
    let again = usdt(&mut arena.cluster, "payout-1", 5_000, 1);
    let again_sol = solana(&mut arena.cluster, "payout-2", 5_001);
    for (request, key) in [(&again, "k-1"), (&again_sol, "k-2")] {
        let view: RequestView = arena.post(request, key, 40).await.json();
        assert_eq!(view.state, StateName::Blocked, "{view:#?}");
        let why = view.reason.expect("a reason");
        assert_eq!(why.code, "external-id", "{why:?}");
        let by_a_node = why.detail.starts_with("node-");
        assert!(by_a_node && why.detail.contains("refuses"), "{why:?}");
    }
    // Another external id is another payment.
    let new = usdt(&mut arena.cluster, "payout-3", 5_000, 1);
    arena.post(&new, "k-3", 0).await;
    arena.is_signed(&new).await;
    // Not even two statements about the same bytes got a second session.
    let digests = [arena.digest(&again), arena.digest(&again_sol)];
    let released = arena.released().await;
    for digest in digests {
        // The bytes of the second ERC-20 payment are those of the third request, which has an external id of its own.
        let sessions = released.get(&digest).map_or(0, |s| s.len());
        assert!(
            sessions <= usize::from(digest == digests[0]),
            "{released:?}"
        );
    }
}
