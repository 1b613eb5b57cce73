//! Limits over real nodes: exact while sessions race over all signer sets, and with witnesses where more nodes must reserve
//! than sign.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use countersign_policy::limits::{LedgerGroup, Limit, LimitScope, Measure, Period};
use countersign_policy::testing::{SOLANA_WALLET, wallet_id};
use countersign_policy::{Amount, Envelope, LedgerGroupId, LimitId, MemberId, Protocol, Reason};
use countersign_signer::clock::now;
use countersign_signer::wire::ProblemCode;
use countersign_tests::cluster::{Cluster, Place};
use countersign_tests::payments::{assemble, code, problem, solana};

const CAP: u64 = 100_000;

/// A cluster with an Ed25519 wallet out of which at most [`CAP`] lamports go in an hour, as `quorum` nodes know it.
async fn cluster(nodes: usize, threshold: u16, quorum: u16) -> Cluster {
    let mut cluster = Cluster::start(nodes, threshold, Place::Inside).await;
    cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, threshold)
        .await;
    let wallet = wallet_id(SOLANA_WALLET);
    let rules = &cluster.active().content().rules;
    let asset = rules.iter().find(|r| r.wallet == wallet).unwrap().asset;
    let group = LedgerGroup {
        id: LedgerGroupId::new("all").unwrap(),
        nodes: cluster.members(),
        quorum,
        max_faulty: 0,
    };
    let limit = Limit {
        id: LimitId::new("sol-hourly").unwrap(),
        ledger_group: group.id.clone(),
        scope: LimitScope {
            wallets: vec![wallet],
            ..LimitScope::default()
        },
        measure: Measure::Amount {
            asset,
            max: Amount::from(CAP),
        },
        period: Period::Rolling { seconds: 3600 },
    };
    cluster.deployment.set_now(now());
    let bundle = cluster.deployment.successor(cluster.active(), |content| {
        content.ledger_groups.push(group);
        content.limits.push(limit);
    });
    cluster.follow(bundle, Vec::new()).await;
    cluster
}

/// The cluster while nothing races.
fn alone(cluster: &mut Arc<Cluster>) -> &mut Cluster {
    Arc::get_mut(cluster).expect("nobody else uses the cluster")
}

/// One attempt; whether anybody has the signature. What fails is given up at all participants, so that it can return.
async fn attempt(
    cluster: &Cluster,
    authorization: &Envelope,
    request: &Envelope,
    pair: &[MemberId],
) -> bool {
    let answers = cluster.sign(authorization, request, pair).await;
    let signatures: Vec<_> = answers
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .collect();
    if let Some(signature) = signatures.first() {
        assemble(cluster, request, &signature[0]);
        return true;
    }
    for node in pair {
        let _ = cluster.abort(node, authorization, request).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_race_over_the_three_pairs_never_sign_more_than_the_cap() {
    let mut cluster = Arc::new(cluster(3, 2, 2).await);
    let nodes = cluster.members();
    let pairs = [[0, 1], [0, 2], [1, 2]].map(|pair| pair.map(|i| nodes[i].clone()));
    let amount = 30_000;
    let requests: Vec<Envelope> = (0..6)
        .map(|i| solana(alone(&mut cluster), &format!("race-{i}"), amount + i))
        .collect();
    let mut signed: BTreeSet<usize> = BTreeSet::new();
    for round in 1..=4u32 {
        let open: Vec<usize> = (0..requests.len())
            .filter(|i| !signed.contains(i))
            .collect();
        let authorized: Vec<(usize, Envelope)> = open
            .into_iter()
            .map(|i| {
                let pair = &pairs[(i + round as usize) % 3];
                (i, alone(&mut cluster).authorize(&requests[i], pair, round))
            })
            .collect();
        let mut racing = tokio::task::JoinSet::new();
        for (i, authorization) in authorized {
            let (cluster, request) = (Arc::clone(&cluster), requests[i].clone());
            let pair = pairs[(i + round as usize) % 3].clone();
            racing.spawn(
                async move { (i, attempt(&cluster, &authorization, &request, &pair).await) },
            );
        }
        for (i, done) in racing.join_all().await {
            if done {
                signed.insert(i);
            }
        }
        let total: u64 = signed.iter().map(|i| amount + *i as u64).sum();
        assert!(total <= CAP, "round {round}: {total} signed");
        // What was given up is told to the peers.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    // One after the other nothing stands in the way but the limit itself.
    for (i, request) in requests.iter().enumerate() {
        if signed.contains(&i) {
            continue;
        }
        let pair = &pairs[i % 3];
        let authorization = alone(&mut cluster).authorize(request, pair, 10);
        if attempt(&cluster, &authorization, request, pair).await {
            signed.insert(i);
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    assert_eq!(signed.len(), 3, "three of 30,000 fit under 100,000");
    // A retry of what was signed adds nothing and is signed again, by any pair, also when the nodes come back.
    let cluster = alone(&mut cluster);
    cluster.restart().await;
    let again = *signed.first().unwrap();
    let authorization = cluster.authorize(&requests[again], &pairs[0], 20);
    assert!(attempt(cluster, &authorization, &requests[again], &pairs[0]).await);
    let more = solana(cluster, "one-more", amount);
    let authorization = cluster.authorize(&more, &pairs[1], 1);
    let refused = problem(cluster.prepare(&pairs[1][0], &authorization, &more).await);
    assert_eq!(refused.code(), Some(ProblemCode::Policy));
    assert!(
        matches!(refused.reasons.as_slice(), [Reason::Limit(hit)] if hit.limit.as_str() == "sol-hourly"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_of_five_sign_with_a_witness_where_four_must_reserve() {
    let mut cluster = cluster(5, 3, 4).await;
    let nodes = cluster.members();
    let (signers, witness) = (nodes[..3].to_vec(), nodes[3].clone());
    let request = solana(&mut cluster, "witnessed", 60_000);
    // Three alone are too few.
    let authorization = cluster.authorize(&request, &signers, 1);
    let refused = problem(cluster.prepare(&nodes[0], &authorization, &request).await);
    assert_eq!(refused.code(), Some(ProblemCode::Authorization));
    assert!(
        refused.detail.contains("sol-hourly") && refused.detail.contains('4'),
        "{refused}"
    );
    let with = |witnesses: &[MemberId]| {
        let witnesses = witnesses.to_vec();
        move |body: &mut countersign_policy::statement::Authorization| body.witnesses = witnesses
    };
    let witnesses = [witness.clone()];
    // A coordinator that forgets the witness's receipt gets nothing.
    let authorization = cluster.authorize_with(&request, &signers, 2, with(&witnesses));
    let mut receipts = Vec::new();
    for node in signers.iter().chain(&witnesses) {
        receipts.push(
            cluster
                .prepare(node, &authorization, &request)
                .await
                .unwrap(),
        );
    }
    let incomplete = cluster.sign_with(&receipts[..3], &signers).await;
    for answer in incomplete {
        assert_eq!(code(answer), ProblemCode::Receipts);
    }
    // All four: three signatures, and nothing from the witness.
    let all: Vec<MemberId> = signers.iter().chain(&witnesses).cloned().collect();
    let authorization = cluster.authorize_with(&request, &signers, 3, with(&witnesses));
    let mut answers = cluster.sign(&authorization, &request, &all).await.unwrap();
    assert!(answers.pop().unwrap().unwrap().is_empty());
    for answer in answers {
        assemble(&cluster, &request, &answer.unwrap()[0]);
    }
    // The witness remembers the spend, so a set that shares no signer but one with the first is held to the limit.
    let more = solana(&mut cluster, "too-much", 50_000);
    let others = nodes[2..].to_vec();
    let authorization = cluster.authorize_with(&more, &others, 1, with(&[nodes[0].clone()]));
    let refused = problem(cluster.prepare(&witness, &authorization, &more).await);
    assert_eq!(refused.code(), Some(ProblemCode::Policy));
    assert!(
        matches!(refused.reasons.as_slice(), [Reason::Limit(_)]),
        "{refused:?}"
    );
}
