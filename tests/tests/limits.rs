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

use countersign_policy::limits::{
    LedgerGroup, Limit, LimitScope, Measure, NonceAhead, NonceLead, Period,
};
use countersign_policy::statement::{
    Authorization, Fate, Observation, SignRequest, UsedNonce, Verified,
};
use countersign_policy::testing::{
    COORDINATOR, OBSERVER, OTHER_OBSERVER, SOLANA_WALLET, wallet_id,
};
use countersign_policy::{
    Amount, Envelope, Facts, Hash, LedgerGroupId, Lifetime, LimitId, MemberId, Network, Protocol,
    Reason,
};
use countersign_signer::clock::now;
use countersign_signer::net::CallError;
use countersign_signer::node::ResourceConfig;
use countersign_signer::wire::{Freezes, GiveStatement, ProblemCode, StatementTaken, path};
use countersign_tests::cluster::{Cluster, Place};
use countersign_tests::payments::{assemble, code, pay, problem, solana, usdt};

const CAP: u64 = 100_000;
/// So many refused requests freeze their service.
const REFUSALS: usize = 20;

/// A cluster with an Ed25519 wallet out of which at most [`CAP`] lamports go in an hour, as `quorum` nodes know it.
async fn cluster(nodes: usize, threshold: u16, quorum: u16) -> Cluster {
    let resources = ResourceConfig {
        sign_timeout_seconds: 5,
        spare_primes: 0,
        auto_freeze_refusals: REFUSALS,
        ..ResourceConfig::default()
    };
    let mut cluster = Cluster::start_with(nodes, threshold, Place::Inside, resources).await;
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
    let more = solana(cluster, "one-more", amount + 100);
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
        move |body: &mut Authorization| body.witnesses = witnesses
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

const CALL: Duration = Duration::from_secs(10);

/// Gives a node what both chain observers say of the transaction of a request: its blockhash is over.
async fn tell(
    cluster: &Cluster,
    node: &MemberId,
    request: &Envelope,
    blockhash: &str,
) -> Result<StatementTaken, CallError> {
    let fate = Fate::BlockhashExpired {
        blockhash: blockhash.to_owned(),
        last_valid_block_height: 150,
        block: 151,
    };
    tell_fate(cluster, node, request, fate).await
}

fn facts_of(cluster: &Cluster, request: &Envelope) -> Facts {
    let opened: Verified<SignRequest> = cluster.active().directory().open(request).unwrap();
    Facts::establish(cluster.active(), opened.body()).unwrap()
}

async fn tell_fate(
    cluster: &Cluster,
    node: &MemberId,
    request: &Envelope,
    fate: Fate,
) -> Result<StatementTaken, CallError> {
    let facts = facts_of(cluster, request);
    let body = Observation {
        network: facts.transaction().intent().network,
        digest: Hash::from_bytes(*facts.transaction().digest().as_bytes()),
        fate,
    };
    let statement = cluster
        .deployment
        .quorum_signed(&[OBSERVER, OTHER_OBSERVER], body);
    let call = GiveStatement { statement };
    let client = cluster.client(node);
    client.post_json(path::OBSERVATIONS, &call, CALL).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_dead_on_chain_returns_at_each_node_that_was_shown_the_proof() {
    let mut cluster = cluster(3, 2, 2).await;
    let nodes = cluster.members();
    let pair = nodes[..2].to_vec();
    let first = solana(&mut cluster, "dead", 90_000);
    pay(&mut cluster, &first, &pair, 1).await.unwrap();
    let second = solana(&mut cluster, "next", 20_000);
    let refused = code(pay(&mut cluster, &second, &pair, 1).await);
    assert_eq!(refused, ProblemCode::Policy);
    let facts = facts_of(&cluster, &first);
    let Lifetime::Solana { blockhash } = facts.transaction().intent().lifetime.clone() else {
        panic!("a Solana transaction");
    };
    // A proof about another blockhash is none.
    let unfit = tell(
        &cluster,
        &nodes[0],
        &first,
        "11111111111111111111111111111112",
    )
    .await;
    assert_eq!(code(unfit), ProblemCode::Statement);
    tell(&cluster, &nodes[0], &first, &blockhash).await.unwrap();
    // One node alone believes it: the other one still holds the spend against the limit.
    let refused = code(pay(&mut cluster, &second, &pair, 2).await);
    assert_eq!(refused, ProblemCode::Policy);
    tell(&cluster, &nodes[1], &first, &blockhash).await.unwrap();
    pay(&mut cluster, &second, &pair, 3).await.unwrap();
    // What is dead is not signed again.
    let again = code(pay(&mut cluster, &first, &pair, 2).await);
    assert_eq!(again, ProblemCode::Transaction);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_with_too_many_refused_requests_is_frozen_and_one_request_repeated_freezes_nobody()
 {
    let mut cluster = cluster(3, 2, 2).await;
    let nodes = cluster.members();
    let pair = nodes[..2].to_vec();
    // Far above what any rule allows.
    let too_much = 2_000_000_000_000;
    let one = solana(&mut cluster, "again-and-again", too_much);
    for attempt in 1..=u32::try_from(REFUSALS).unwrap() + 2 {
        let authorization = cluster.authorize(&one, &pair, attempt);
        let refused = code(cluster.prepare(&nodes[0], &authorization, &one).await);
        assert_eq!(refused, ProblemCode::Policy);
    }
    let honest = solana(&mut cluster, "honest", 1_000);
    pay(&mut cluster, &honest, &pair, 1).await.unwrap();
    for number in 0..REFUSALS as u64 {
        let request = solana(&mut cluster, &format!("stolen-{number}"), too_much + number);
        let authorization = cluster.authorize(&request, &pair, 1);
        let refused = code(cluster.prepare(&nodes[0], &authorization, &request).await);
        assert_eq!(refused, ProblemCode::Policy);
    }
    // The freeze travels by itself: also the node that never saw one of the requests has it.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let client = cluster.client(&nodes[2]);
        let freezes: Freezes = client.get_json(path::FREEZES, CALL).await.unwrap();
        if freezes.in_force.len() == 1 {
            break;
        }
        assert!(std::time::Instant::now() < until, "{freezes:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let late = solana(&mut cluster, "late", 1_000);
    let refused = problem(pay(&mut cluster, &late, &nodes[1..], 1).await);
    assert!(
        refused
            .reasons
            .iter()
            .any(|r| matches!(r, Reason::Frozen(_))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abandoned_session_returns_by_itself_when_all_its_participants_have_said_so() {
    let mut cluster = cluster(3, 2, 2).await;
    let nodes = cluster.members();
    let pair = nodes[..2].to_vec();
    let abandoned = solana(&mut cluster, "abandoned", 90_000);
    cluster.deployment.set_now(now());
    let deployment = &cluster.deployment;
    let body = deployment.authorization_body(cluster.active(), &abandoned, &pair, 1);
    let authorization = deployment.sign(COORDINATOR, 2, body);
    let started = std::time::Instant::now();
    // The second participant never hears of it from the coordinator.
    cluster
        .prepare(&nodes[0], &authorization, &abandoned)
        .await
        .unwrap();
    let next = solana(&mut cluster, "next", 20_000);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let authorization = cluster.authorize(&next, &pair, attempt);
        match cluster.prepare(&nodes[0], &authorization, &next).await {
            Ok(_) => break,
            refused => assert_eq!(code(refused), ProblemCode::Policy),
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "it never returns"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Two seconds of life, and twice the five seconds that clocks may differ, until the second participant may say so.
    let waited = started.elapsed();
    assert!(waited > Duration::from_secs(11), "too early: {waited:?}");
    pay(&mut cluster, &next, &pair, attempt + 1).await.unwrap();
}

/// What a node says of a nonce that is too far ahead.
async fn ahead(cluster: &mut Cluster, nonce: u64, pair: &[MemberId], attempt: u32) -> NonceAhead {
    let request = usdt(cluster, &format!("ahead-{nonce}-{attempt}"), 1_000, nonce);
    let refused = problem(pay(cluster, &request, pair, attempt).await);
    assert_eq!(refused.code(), Some(ProblemCode::Policy));
    match refused.reasons.as_slice() {
        [Reason::NonceAhead(ahead)] => ahead.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nonces_lead_the_last_observed_one_by_no_more_than_the_bundle_says() {
    let resources = ResourceConfig {
        spare_primes: 0,
        ..ResourceConfig::default()
    };
    let mut cluster = Cluster::start_with(3, 2, Place::Inside, resources).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    cluster.deployment.set_now(now());
    let bundle = cluster.deployment.successor(cluster.active(), |content| {
        content.nonce_leads.push(NonceLead {
            id: LimitId::new("nonces").unwrap(),
            network: Network::ETHEREUM,
            wallets: Vec::new(),
            max: 2,
            first: Vec::new(),
        });
    });
    cluster.follow(bundle, Vec::new()).await;
    let pair = cluster.members()[..2].to_vec();
    let first = usdt(&mut cluster, "first", 1_000, 0);
    let second = usdt(&mut cluster, "second", 1_000, 1);
    pay(&mut cluster, &first, &pair, 1).await.unwrap();
    pay(&mut cluster, &second, &pair, 1).await.unwrap();
    let refused = ahead(&mut cluster, 2, &pair, 1).await;
    assert_eq!((refused.observed, refused.highest), (None, 1));
    let account = *facts_of(&cluster, &first).source();
    let confirmed = |nonce| Fate::Confirmed {
        transaction: "0x01".to_owned(),
        block: 7,
        depth: 64,
        used: Some(UsedNonce { account, nonce }),
    };
    // Observers who say that it used another nonce are believed nothing.
    let unfit = tell_fate(&cluster, &pair[0], &first, confirmed(40)).await;
    assert_eq!(code(unfit), ProblemCode::Statement);
    for node in &pair {
        tell_fate(&cluster, node, &first, confirmed(0))
            .await
            .unwrap();
    }
    let refused = ahead(&mut cluster, 3, &pair, 2).await;
    assert_eq!((refused.observed, refused.highest), (Some(0), 2));
    let third = usdt(&mut cluster, "third", 1_000, 2);
    pay(&mut cluster, &third, &pair, 1).await.unwrap();
    // What was observed outlives a restart, and so does the bound.
    cluster.restart().await;
    let refused = ahead(&mut cluster, 3, &pair, 3).await;
    assert_eq!((refused.observed, refused.highest), (Some(0), 2));
}
