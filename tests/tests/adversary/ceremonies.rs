//! Orders for keys that nobody ordered.

use countersign_policy::bundle::Environment;
use countersign_policy::statement::KeyCeremony;
use countersign_policy::testing::{
    APPROVERS, AUTHOR, COORDINATOR, OFFICER, TestDeployment, member,
};
use countersign_policy::{Envelope, IdentityKey, Protocol};
use countersign_signer::clock::now;
use countersign_signer::net::CallError;
use countersign_signer::wire::{CeremonyStatus, ProblemCode, StartCeremony, path};

use crate::arena::{Arena, CALL, resigned};

async fn order_is_refused(arena: &mut Arena, attack: &str, order: &Envelope, words: &str) {
    let node = arena.node(1);
    let call = StartCeremony {
        order: order.clone(),
    };
    let client = arena.cluster.client(&node);
    let answer: Result<CeremonyStatus, CallError> =
        client.post_json(path::CEREMONIES, &call, CALL).await;
    let subject = order.digest().to_string();
    let expected = (ProblemCode::Statement, words);
    arena
        .refused(attack, &node, ("ceremony", &subject), answer, expected)
        .await;
    let at = format!("{}/{}", path::CEREMONIES, order.digest());
    let client = arena.cluster.client(&node);
    let status: Result<CeremonyStatus, CallError> = client.get_json(&at, CALL).await;
    let problem = crate::arena::problem(attack, status);
    assert_eq!(problem.code(), Some(ProblemCode::NotFound), "{attack}");
}

fn body(arena: &Arena, key: &str) -> KeyCeremony {
    KeyCeremony {
        key: countersign_policy::testing::key_id(key),
        protocol: Protocol::Dkls23,
        threshold: 2,
        max_faulty: 0,
        nodes: arena.cluster.members(),
        purpose: "tests".to_owned(),
        environment: Environment::Test,
    }
}

fn order(arena: &mut Arena, body: KeyCeremony, issuer: &str, others: &[&str]) -> Envelope {
    arena.cluster.deployment.set_now(now());
    let deployment = &arena.cluster.deployment;
    let statement = deployment.statement(issuer, "an-order", 600, body);
    deployment.sign_by(&statement, others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ceremony_that_its_quorum_did_not_order_is_refused() {
    let mut arena = Arena::with_dkls23().await;
    let [first, second] = APPROVERS;
    let signers: [(&str, &str, &[&str], &str); 5] = [
        ("ceremony by its author alone", AUTHOR, &[], "are needed"),
        ("ceremony with one approver", AUTHOR, &[first], "are needed"),
        (
            "ceremony by a coordinator",
            COORDINATOR,
            &[first, second],
            "no policy author",
        ),
        (
            "ceremony approved by an officer",
            AUTHOR,
            &[first, OFFICER],
            "no policy approver",
        ),
        (
            "ceremony approved twice by one",
            AUTHOR,
            &[first, first],
            "signature by",
        ),
    ];
    for (attack, issuer, others, words) in signers {
        let content = body(&arena, "wanted");
        let order = order(&mut arena, content, issuer, others);
        order_is_refused(&mut arena, attack, &order, words).await;
    }
    contents(&mut arena).await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

async fn contents(arena: &mut Arena) {
    let existing = body(arena, "hot-ecdsa");
    let order_for_existing = order(arena, existing, AUTHOR, &APPROVERS);
    order_is_refused(
        arena,
        "ceremony for an existing key",
        &order_for_existing,
        "exists already",
    )
    .await;

    let mut without = body(arena, "without-node-1");
    without.nodes = vec![member("node-2"), member("node-3")];
    let without = order(arena, without, AUTHOR, &APPROVERS);
    order_is_refused(
        arena,
        "ceremony without the node itself",
        &without,
        "not among",
    )
    .await;

    let mut strange = body(arena, "with-a-stranger");
    strange.nodes = ["node-1", "node-2", "node-9"].map(member).to_vec();
    let strange = order(arena, strange, AUTHOR, &APPROVERS);
    order_is_refused(arena, "ceremony with a stranger", &strange, "").await;

    arena
        .cluster
        .deployment
        .set_now(now().minus_seconds(86_400));
    let content = body(arena, "of-yesterday");
    let deployment = &arena.cluster.deployment;
    let old = deployment.statement(AUTHOR, "yesterday", 600, content);
    let old = deployment.sign_by(&old, &APPROVERS);
    order_is_refused(arena, "yesterday's ceremony", &old, "expired").await;

    // What the honest code would not write: every signature is right, the content is not.
    let content = body(arena, "too-few");
    let honest = order(arena, content, AUTHOR, &APPROVERS);
    let everybody = |arena: &Arena, change: &dyn Fn(&str) -> String| {
        let deployment = &arena.cluster.deployment;
        let mut changed = resigned(&honest, AUTHOR, deployment.identity(AUTHOR), change);
        for approver in APPROVERS {
            let key = deployment.identity(approver);
            changed.add_signature(approver, key).unwrap();
        }
        changed
    };
    let minority = everybody(arena, &|t| t.replace("\"threshold\":2", "\"threshold\":1"));
    order_is_refused(
        arena,
        "ceremony that a minority could sign with",
        &minority,
        "",
    )
    .await;
    let unordered = everybody(arena, &|t| {
        t.replace(r#""node-1","node-2""#, r#""node-2","node-1""#)
    });
    order_is_refused(
        arena,
        "ceremony with nodes out of order",
        &unordered,
        "ascending",
    )
    .await;
    let stranger = IdentityKey::from_seed(&[9; 32]);
    let forged = resigned(&honest, AUTHOR, &stranger, |t| {
        t.replace("too-few", "forged")
    });
    order_is_refused(
        arena,
        "ceremony with a forged signature",
        &forged,
        "does not verify",
    )
    .await;
}

/// Two orders of the quorum for one name, because the coordinator said that the first had failed. It then has the first
/// key pinned: the second ceremony must not have put other shares in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_ceremony_does_not_take_a_pinned_keys_shares_away() {
    let mut arena = Arena::empty(3, 2).await;
    let first = arena.cluster.order("hot-ecdsa", Protocol::Dkls23, 2);
    let transcripts = arena.cluster.run_ceremony(&first).await;
    let second = arena.cluster.order("hot-ecdsa", Protocol::Dkls23, 2);
    assert_ne!(first.digest(), second.digest());
    arena.cluster.run_ceremony(&second).await;
    let record = arena.cluster.record(&first, &transcripts);
    let active = arena.cluster.active().clone();
    let bundle = arena.cluster.deployment.successor(&active, |content| {
        TestDeployment::add_key_to(content, record);
    });
    arena.cluster.follow(bundle, transcripts).await;
    arena.an_honest_payment_is_signed().await;
}
