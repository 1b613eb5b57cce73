//! Two coordinators on one PostgreSQL.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use countersign_coordinator::{RequestView, StateName};
use countersign_policy::Envelope;
use countersign_policy::testing::{COORDINATOR, OTHER_COORDINATOR};
use countersign_tests::payments::{solana, usdt};

use crate::arena::{Arena, PATIENCE, TIMING};
use crate::database::{Kind, TestDatabase};

const BOTH: [&str; 2] = [COORDINATOR, OTHER_COORDINATOR];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_coordinators_share_the_work_and_killing_either_loses_nothing() {
    let Some(database) = TestDatabase::new(Kind::Postgres).await else {
        return;
    };
    let mut arena = Arena::with(&database, &BOTH, TIMING).await;
    // Signatures take a while, so that the kills come in the middle of many.
    for node in arena.cluster.members() {
        arena.cluster.set_faults(&node, "delay=100,delay_ms=60");
    }
    arena.cluster.restart().await;
    for name in BOTH {
        arena.sees(name, &arena.cluster.members()).await;
    }
    let mut requests = Vec::new();
    for (round, victim) in [COORDINATOR, OTHER_COORDINATOR, COORDINATOR]
        .into_iter()
        .enumerate()
    {
        let survivor = if victim == COORDINATOR {
            OTHER_COORDINATOR
        } else {
            COORDINATOR
        };
        let mut batch = Vec::new();
        for i in 0..8_u64 {
            let number = 100 * (round as u64 + 1) + i;
            let id = format!("payout-{number}");
            batch.push(match i % 2 {
                0 => usdt(&mut arena.cluster, &id, 1_000, number),
                _ => solana(&mut arena.cluster, &id, number),
            });
        }
        // Half of them go to each; the same call goes to both for one of them.
        for (i, request) in batch.iter().enumerate() {
            let reply = arena
                .try_post(BOTH[i % 2], request, &key(request), 0)
                .await
                .unwrap();
            assert_eq!(reply.status, 202);
        }
        let again = arena
            .try_post(BOTH[1], &batch[0], &key(&batch[0]), 0)
            .await
            .unwrap();
        assert_eq!(again.status, 202);
        arena.coordinators.kill(victim);
        for request in &batch {
            ends_signed(&arena, survivor, request).await;
        }
        arena.start_coordinator(victim).await;
        requests.extend(batch);
    }
    // Both tell the same, and both did work.
    let mut by = BTreeMap::new();
    for request in &requests {
        let views = [
            arena.read_at(COORDINATOR, request, 0).await,
            arena.read_at(OTHER_COORDINATOR, request, 0).await,
        ];
        assert_eq!(views[0], views[1]);
        arena.holds(request, &views[0]);
        *by.entry(views[0].attempts.len()).or_insert(0) += 1;
    }
    println!("attempts: requests {by:?}");
    let digests: Vec<_> = requests.iter().map(|r| arena.digest(r)).collect();
    let released = arena.released().await;
    for digest in digests {
        assert_eq!(released[&digest].len(), 1, "one digest, one session");
    }
    database.drop().await;
}

fn key(request: &Envelope) -> String {
    format!("k-{}", request.digest().to_hex())
}

async fn ends_signed(arena: &Arena, survivor: &str, request: &Envelope) -> RequestView {
    let until = Instant::now() + PATIENCE;
    loop {
        let view = arena.read_at(survivor, request, 10).await;
        if view.state == StateName::Signed {
            arena.holds(request, &view);
            return view;
        }
        assert!(!view.state.is_final(), "{view:#?}");
        let log = arena.coordinators.log(survivor);
        assert!(Instant::now() < until, "{view:#?}\n{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
