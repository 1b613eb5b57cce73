//! What the network does to messages between nodes: every session ends in time, with a valid signature or with a failure
//! that has a name, and no honest node is blamed or banned for it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::time::{Duration, Instant};

use countersign_policy::{Envelope, MemberId, Protocol};
use countersign_signer::net::CallError;
use countersign_signer::node::ResourceConfig;
use countersign_signer::wire::ProblemCode;
use countersign_tests::cluster::{self, Cluster, Place};
use countersign_tests::payments::{assemble, code, pay, solana, usdt};

#[tokio::test]
async fn child_entry() {
    cluster::child_entry().await;
}

/// What confirm and protocol together get.
const SIGN_TIMEOUT: u64 = 8;
/// A session must have ended by then; the rest is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(2 * SIGN_TIMEOUT);

struct Case {
    name: &'static str,
    plan: &'static str,
    /// The transport mends it: a signature must come out.
    mended: bool,
}

const CASES: [Case; 9] = [
    Case {
        name: "loss of batches",
        plan: "seed=1,drop=35",
        mended: true,
    },
    Case {
        name: "loss of answers",
        plan: "seed=2,forget=40",
        mended: true,
    },
    Case {
        name: "duplication",
        plan: "seed=3,duplicate=100",
        mended: true,
    },
    Case {
        name: "reordering",
        plan: "seed=4,reorder=100",
        mended: true,
    },
    Case {
        name: "delay",
        plan: "seed=5,delay=100,delay_ms=80",
        mended: true,
    },
    Case {
        name: "garbage",
        plan: "seed=6,garbage=100",
        mended: true,
    },
    Case {
        name: "oversize",
        plan: "seed=7,oversize=30",
        mended: true,
    },
    Case {
        name: "everything at once",
        plan: "seed=8,drop=15,forget=15,duplicate=30,reorder=50,delay=30,delay_ms=30,garbage=20,replay=50",
        mended: true,
    },
    Case {
        name: "loss for good",
        plan: "seed=9,lose=30",
        mended: false,
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_session_over_a_bad_network_ends_well_or_by_name() {
    let resources = ResourceConfig {
        sign_timeout_seconds: SIGN_TIMEOUT,
        spare_primes: 0,
        ..ResourceConfig::default()
    };
    let mut cluster = Cluster::start_with(3, 2, Place::Processes, resources).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 2)
        .await;
    for (number, case) in CASES.iter().enumerate() {
        for node in cluster.members() {
            cluster.set_faults(&node, case.plan);
        }
        cluster.restart().await;
        for attempt in 0..2_u64 {
            let amount = 1_000 + 10 * number as u64 + attempt;
            let id = format!("{number}-{attempt}");
            let request = usdt(&mut cluster, &format!("usdt-{id}"), amount, amount);
            ends_in_time(&mut cluster, case, "dkls23", &request).await;
            let request = solana(&mut cluster, &format!("sol-{id}"), amount);
            ends_in_time(&mut cluster, case, "frost-ed25519", &request).await;
        }
        nobody_is_banned(&cluster, case).await;
    }
    // Over a good network everything works again, with every pair.
    for node in cluster.members() {
        cluster.set_faults(&node, "");
    }
    cluster.restart().await;
    let nodes = cluster.members();
    for (i, pair) in [[0, 1], [0, 2], [1, 2]].into_iter().enumerate() {
        let pair = pair.map(|n| nodes[n].clone());
        let request = usdt(&mut cluster, &format!("good-{i}"), 1, 5_000 + i as u64);
        pay(&mut cluster, &request, &pair, 1).await.unwrap();
        let request = solana(&mut cluster, &format!("good-sol-{i}"), 5_000 + i as u64);
        pay(&mut cluster, &request, &pair, 1).await.unwrap();
    }
}

async fn ends_in_time(cluster: &mut Cluster, case: &Case, protocol: &str, request: &Envelope) {
    let pair: Vec<MemberId> = cluster.members()[..2].to_vec();
    let authorization = cluster.authorize(request, &pair, 1);
    let started = Instant::now();
    let answers = cluster.sign(&authorization, request, &pair).await.unwrap();
    let took = started.elapsed();
    assert!(took < PATIENCE, "{} took {took:?}", case.name);
    let mut ends = Vec::new();
    for answer in answers {
        ends.push(match answer {
            Ok(signatures) => {
                assemble(cluster, request, &signatures[0]);
                "signed".to_owned()
            }
            Err(CallError::Problem(problem)) => {
                assert!(!case.mended, "{}: {problem:?}", case.name);
                let named = problem.code() == Some(ProblemCode::Timeout);
                assert!(named && !problem.missing.is_empty(), "{problem:?}");
                assert!(
                    problem.culprits.is_empty(),
                    "an honest node is blamed: {problem:?}"
                );
                format!("timeout, waiting for {}", problem.missing[0])
            }
            Err(other) => panic!("{}: {other:?}", case.name),
        });
    }
    println!(
        "{} / {protocol}: {ends:?} in {} ms",
        case.name,
        took.as_millis()
    );
}

async fn nobody_is_banned(cluster: &Cluster, case: &Case) {
    for node in cluster.members() {
        let status = cluster.status(&node).await;
        let banned = status.keys.iter().any(|key| !key.banned.is_empty());
        assert!(!banned, "{}: {:?}", case.name, status.keys);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn yesterdays_session_cannot_be_replayed() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    // Each batch of frames that a node sends is followed by an earlier one, also one of an earlier session.
    for node in cluster.members() {
        cluster.set_faults(&node, "seed=3,replay=100");
    }
    cluster.restart().await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 2)
        .await;
    let nodes = cluster.members();
    let pair = nodes[..2].to_vec();
    let mut recorded = Vec::new();
    for i in 0..2 {
        for dkls in [true, false] {
            let id = format!("yesterday-{i}-{dkls}");
            let request = match dkls {
                true => usdt(&mut cluster, &id, 1, i),
                false => solana(&mut cluster, &id, i + 1),
            };
            let authorization = cluster.authorize(&request, &pair, 1);
            let mut receipts = Vec::new();
            for node in &pair {
                receipts.push(
                    cluster
                        .prepare(node, &authorization, &request)
                        .await
                        .unwrap(),
                );
            }
            for answer in cluster.sign_with(&receipts, &pair).await {
                assemble(&cluster, &request, &answer.unwrap()[0]);
            }
            recorded.push((authorization, request, receipts));
        }
    }
    // node-1 starts anew; node-2 still has the frames of all those sessions and sends them again.
    cluster.kill(&nodes[0]).await;
    cluster.start_node(&nodes[0]).await;
    let heads = heads(&cluster, &pair).await;
    for (authorization, request, receipts) in &recorded {
        for node in &pair {
            let session =
                countersign_policy::statement::SessionTerms::session_id(authorization.digest());
            let signed = cluster.sign_at(node, session, receipts).await;
            let prepared = cluster.prepare(node, authorization, request).await;
            if *node == nodes[0] {
                // Refused: the memory of the session is gone, its nonce is not.
                assert_eq!(code(signed), ProblemCode::NotFound);
                assert_eq!(code(prepared), ProblemCode::Authorization);
            } else {
                // The same answers as yesterday, from memory; nothing runs again.
                assemble(&cluster, request, &signed.unwrap()[0]);
                assert_eq!(prepared.unwrap().digest(), receipts[1].digest());
            }
        }
    }
    assert_eq!(
        heads,
        self::heads(&cluster, &pair).await,
        "a replay left a trace in a ledger"
    );
    for i in 0..2 {
        let request = usdt(&mut cluster, &format!("today-{i}"), 1, 100 + i);
        pay(&mut cluster, &request, &pair, 1).await.unwrap();
        let request = solana(&mut cluster, &format!("today-sol-{i}"), 100 + i);
        pay(&mut cluster, &request, &pair, 1).await.unwrap();
    }
    an_old_authorization_is_refused(&mut cluster, &pair).await;
}

async fn heads(cluster: &Cluster, nodes: &[MemberId]) -> Vec<countersign_policy::Hash> {
    let mut heads = Vec::new();
    for node in nodes {
        heads.push(cluster.status(node).await.ledger_head);
    }
    heads
}

/// One that was made a day ago and never used.
async fn an_old_authorization_is_refused(cluster: &mut Cluster, pair: &[MemberId]) {
    let request = usdt(cluster, "never-used", 1, 200);
    let active = cluster.active().clone();
    let yesterday = countersign_signer::clock::now().minus_seconds(86_400);
    cluster.deployment.set_now(yesterday);
    let authorization = cluster.deployment.authorization(&active, &request, pair, 1);
    for node in pair {
        let answer = cluster.prepare(node, &authorization, &request).await;
        assert_eq!(code(answer), ProblemCode::Authorization);
    }
}
