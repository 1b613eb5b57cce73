//! Time and memory: one node's clock is moved, its store is taken back to yesterday or edited, its peers hide what they
//! know. Limits here are so short that a clock could walk out of them.

use countersign_policy::limits::{LedgerGroup, Limit, LimitScope, Measure, Period};
use countersign_policy::testing::{
    COORDINATOR, PAYMENTS, SOLANA_WALLET, TestDeployment, wallet_id,
};
use countersign_policy::{Amount, Envelope, LedgerGroupId, LimitId, MemberId, Network, Protocol};
use countersign_signer::clock::now;
use countersign_signer::wire::{Prepare, ProblemCode};
use countersign_tests::cluster::Place;
use countersign_tests::payments::{pay_in_the_end, solana};

use crate::arena::Arena;

/// In lamports, in a minute.
pub const CAP: u64 = 100_000;
pub const FULL: (ProblemCode, &str) = (ProblemCode::Policy, "limit sol-minute would be passed");

/// Three nodes with an Ed25519 key and a limit over one minute, under a policy that is two hours old.
pub async fn opened(place: Place) -> Arena {
    let mut arena = Arena::at(place, 3, 2).await;
    let cluster = &mut arena.cluster;
    let order = cluster.order("hot-eddsa", Protocol::FrostEd25519, 2);
    let transcripts = cluster.run_ceremony(&order).await;
    let record = cluster.record(&order, &transcripts);
    let nodes = cluster.members();
    let active = cluster.active().clone();
    cluster.deployment.set_now(now().minus_seconds(7_200));
    let bundle = cluster.deployment.successor(&active, |content| {
        TestDeployment::add_key_to(content, record);
        content.ledger_groups.push(LedgerGroup {
            id: LedgerGroupId::new("all").unwrap(),
            nodes,
            quorum: 2,
            max_faulty: 0,
        });
        content.limits.push(Limit {
            id: LimitId::new("sol-minute").unwrap(),
            ledger_group: LedgerGroupId::new("all").unwrap(),
            scope: LimitScope {
                wallets: vec![wallet_id(SOLANA_WALLET)],
                ..LimitScope::default()
            },
            measure: Measure::Amount {
                asset: Network::SOLANA.native_asset(),
                max: Amount::from(CAP),
            },
            period: Period::Rolling { seconds: 60 },
        });
    });
    arena.cluster.follow(bundle, transcripts).await;
    arena
}

/// A call under an authorization of now plus so many milliseconds.
fn call(arena: &mut Arena, request: &Envelope, set: &[MemberId], shift: i64) -> Prepare {
    let active = arena.cluster.active().clone();
    let at = countersign_policy::Timestamp::from_millis(now().as_millis() + shift);
    arena.cluster.deployment.set_now(at);
    let deployment = &arena.cluster.deployment;
    let attempt = u32::try_from(shift / 1_000).unwrap() + 1;
    let body = deployment.authorization_body(&active, request, set, attempt);
    Prepare {
        authorization: deployment.sign(COORDINATOR, 60, body),
        request: request.clone(),
        approvals: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_clock_leads_out_of_a_window() {
    let mut arena = opened(Place::Processes).await;
    let (nodes, pair) = (arena.cluster.members(), arena.pair());
    let paid = now();
    let first = solana(&mut arena.cluster, "fills-the-minute", CAP);
    pay_in_the_end(&mut arena.cluster, &first, &pair, 1).await;
    arena.wait_until_all_told().await;
    let next = solana(&mut arena.cluster, "one-more", 1);
    let one = nodes[0].clone();

    // Back: nothing but what the node remembers speaks against it, or the policy itself.
    arena.cluster.kill(&one).await;
    arena.cluster.set_clock(&one, -3_600_000);
    let attack = "clock of one node moved back";
    let expected = ("clock", "this node's clock went back");
    arena.start_is_refused(attack, &one, expected).await;
    arena.cluster.set_clock(&one, -3 * 3_600_000);
    let attack = "clock of one node moved back to before its policy";
    let expected = ("bundle", "after the present");
    arena.start_is_refused(attack, &one, expected).await;

    // Ahead: its peers show another time.
    arena.cluster.set_clock(&one, 90_000);
    arena.cluster.start_node(&one).await;
    let ahead = call(&mut arena, &next, &pair, 90_000);
    let expected = (ProblemCode::Clock, "one of the two is wrong");
    let attack = "clock of one node moved ahead, out of the window";
    arena
        .prepare_at_is_refused(attack, &one, &ahead, expected)
        .await;
    let by_time = call(&mut arena, &next, &pair, 0);
    let attack = "authorization that is over by the moved clock";
    let expected = (ProblemCode::Authorization, "expired");
    arena
        .prepare_at_is_refused(attack, &one, &by_time, expected)
        .await;
    // The node that is right does not believe the other one's receipts either.
    let set = [nodes[0].clone(), nodes[1].clone()];
    let honest = call(&mut arena, &next, &set, 0);
    let attack = "limit at a node whose peer's clock is ahead";
    arena
        .prepare_at_is_refused(attack, &nodes[1], &honest, FULL)
        .await;

    // All clocks at once, just inside the window: a spend counts for twice the skew longer.
    let shift = paid.plus_seconds(61).as_millis() - now().as_millis();
    for node in &nodes {
        arena.cluster.kill(node).await;
        arena.cluster.set_clock(node, shift);
    }
    for node in &nodes {
        arena.cluster.start_node(node).await;
    }
    let until = std::time::Instant::now() + crate::arena::CALL;
    while !arena.cluster.status(&one).await.registered {
        assert!(
            std::time::Instant::now() < until,
            "the nodes find each other"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    arena.wait_until_all_told().await;
    let late = solana_at(&mut arena, "after-the-minute", shift);
    let late = call(&mut arena, &late, &pair, shift);
    let attack = "limit split over time, just after its window and within the clocks' skew";
    arena.prepare_at_is_refused(attack, &one, &late, FULL).await;
    arena.finish();
}

/// A request that is issued later than now.
fn solana_at(arena: &mut Arena, external_id: &str, shift: i64) -> Envelope {
    let request = solana(&mut arena.cluster, external_id, 1);
    let at = countersign_policy::Timestamp::from_millis(now().as_millis() + shift);
    arena.cluster.deployment.set_now(at);
    let statement: countersign_policy::statement::Statement<
        countersign_policy::statement::SignRequest,
    > = serde_json::from_slice(request.payload()).unwrap();
    arena.cluster.deployment.sign(PAYMENTS, 600, statement.body)
}
