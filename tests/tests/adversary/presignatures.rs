//! A presignature that signs two messages gives the key away.

use std::time::{Duration, Instant};

use countersign_policy::{Hash, MemberId, Protocol};
use countersign_signer::wire::ProblemCode;
use countersign_tests::cluster::Place;

use crate::arena::Arena;

/// Ids that both members of `set` hold; waits until there are some.
async fn pooled(arena: &Arena, set: &[MemberId]) -> Vec<Hash> {
    let until = Instant::now() + Duration::from_secs(240);
    loop {
        let mut common: Option<Vec<Hash>> = None;
        for node in set {
            let pools = arena.cluster.pools(node).await.pools;
            let here = pools.into_iter().find(|p| p.signers == set);
            let here = here.map_or_else(Vec::new, |p| p.available);
            common = Some(match common {
                None => here,
                Some(before) => before.into_iter().filter(|id| here.contains(id)).collect(),
            });
        }
        let common = common.unwrap_or_default();
        if !common.is_empty() {
            return common;
        }
        assert!(Instant::now() < until, "no presignature of {set:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_presignature_is_used_once_by_its_own_signers() {
    use ProblemCode::Presignature;
    // In processes, because these are given the fixed auxiliary primes.
    let mut arena = Arena::at(Place::Processes, 3, 2).await;
    arena
        .cluster
        .make_key("hot-ecdsa", Protocol::Cggmp24, 2)
        .await;
    let pair = arena.pair();
    let others = [arena.node(1), arena.node(3)];
    let foreign = pooled(&arena, &others).await[0];
    let right = pooled(&arena, &pair).await[0];
    let unknown = Hash::sha256(b"a presignature that was never made");
    for (attack, named, words) in [
        ("no presignature for a CGGMP key", None, "names none"),
        (
            "presignature that was never made",
            Some(unknown),
            "is not in the pool",
        ),
        (
            "presignature of another signer set",
            Some(foreign),
            "is not in the pool",
        ),
    ] {
        let request = arena.payment();
        let authorization = arena.authorize_with(&request, |a| a.presignature = named);
        arena
            .prepare_is_refused(attack, &authorization, &request, (Presignature, words))
            .await;
    }
    let request = arena.payment();
    let authorization = arena.authorize_with(&request, |a| a.presignature = Some(right));
    let session = arena.session_of(request, authorization).await;
    let used = "is not in the pool";
    second_message(&mut arena, "presignature of an open session", right, used).await;
    for answer in arena.cluster.sign_with(&session.receipts, &pair).await {
        answer.expect("the first message is signed");
    }
    second_message(&mut arena, "presignature that signed already", right, used).await;
    let one = arena.node(1);
    arena.cluster.kill(&one).await;
    arena.cluster.start_node(&one).await;
    second_message(
        &mut arena,
        "presignature from before a restart",
        right,
        used,
    )
    .await;
    arena.finish();
}

async fn second_message(arena: &mut Arena, attack: &str, presignature: Hash, words: &str) {
    let request = arena.payment();
    let authorization = arena.authorize_with(&request, |a| a.presignature = Some(presignature));
    let expected = (ProblemCode::Presignature, words);
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
}
