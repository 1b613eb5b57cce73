//! The request is honest; what the coordinator makes of it is not.

use countersign_policy::statement::SignRequest;
use countersign_policy::testing::{AUTHOR, COORDINATOR, OFFICER, PAYMENTS, member};
use countersign_policy::{Envelope, ExternalId, Hash, IdentityKey};
use countersign_signer::clock::now;
use countersign_signer::wire::{Prepare, ProblemCode};

use crate::arena::{Arena, by_coordinator, resigned, tampered};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_authorization_that_does_not_fit_is_refused() {
    let mut arena = Arena::with_dkls23().await;
    content(&mut arena).await;
    issuers(&mut arena).await;
    times(&mut arena).await;
    participants(&mut arena).await;
    approvals(&mut arena).await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

async fn content(arena: &mut Arena) {
    use ProblemCode::{Authorization, Bundle, Presignature};
    let other = arena.payment();
    let other_digest = {
        let (active, pair) = (arena.cluster.active().clone(), arena.pair());
        let deployment = &arena.cluster.deployment;
        deployment
            .authorization_body(&active, &other, &pair, 1)
            .digests[0]
    };
    let genesis = arena.cluster.deployment.genesis_hash();
    let unknown = Hash::sha256(b"a bundle that nobody signed");
    type Change = Box<dyn FnOnce(&mut countersign_policy::statement::Authorization)>;
    let cases: Vec<(&str, Change, (ProblemCode, &str))> = vec![
        (
            "authorization of another request",
            Box::new(move |a| a.request = other.digest()),
            (Authorization, "another sign request"),
        ),
        (
            "digest of another transaction",
            Box::new(move |a| a.digests = vec![other_digest]),
            (Authorization, "other digests"),
        ),
        (
            "a second digest besides the right one",
            Box::new(move |a| a.digests.push(other_digest)),
            (Authorization, "other digests"),
        ),
        (
            "older bundle",
            Box::new(move |a| a.bundle = genesis),
            (Bundle, "made under bundle"),
        ),
        (
            "unknown bundle",
            Box::new(move |a| a.bundle = unknown),
            (Bundle, "made under bundle"),
        ),
        (
            "presignature for a DKLs23 key",
            Box::new(move |a| a.presignature = Some(unknown)),
            (Presignature, "use no presignatures"),
        ),
        (
            "approvals that nobody gave",
            Box::new(move |a| a.approvals = vec![unknown]),
            (Authorization, "approvals"),
        ),
    ];
    for (attack, change, expected) in cases {
        let request = arena.payment();
        let authorization = arena.authorize_with(&request, change);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}

async fn issuers(arena: &mut Arena) {
    let request = arena.payment();
    let honest = arena.authorize(&request);
    let stranger = IdentityKey::from_seed(&[9; 32]);
    let mut cases = vec![
        (
            "authorization with a forged signature".to_owned(),
            resigned(&honest, COORDINATOR, &stranger, |t| {
                t.replace("\"attempt\":1", "\"attempt\":2")
            }),
            "does not verify",
        ),
        (
            "authorization changed after signing".to_owned(),
            tampered(&honest, |t| t.replace("\"attempt\":1", "\"attempt\":3")),
            "does not verify",
        ),
        (
            "authorization by an unknown coordinator".to_owned(),
            resigned(&honest, "coordinator-9", &stranger, |t| {
                t.replace("coordinator-1", "coordinator-9")
            }),
            "not a member",
        ),
        (
            "authorization with an unknown field".to_owned(),
            by_coordinator(arena, &honest, |t| {
                t.replace("\"attempt\":1", "\"attempt\":1,\"override\":true")
            }),
            "not acceptable",
        ),
        (
            "attempt number 0".to_owned(),
            by_coordinator(arena, &honest, |t| {
                t.replace("\"attempt\":1", "\"attempt\":0")
            }),
            "attempts count from 1",
        ),
        (
            "request in the authorization's place".to_owned(),
            request.clone(),
            "payload type",
        ),
    ];
    for issuer in [OFFICER, PAYMENTS, AUTHOR, "node-2"] {
        let key = arena.cluster.deployment.identity(issuer);
        let by = resigned(&honest, issuer, key, |t| t.replace(COORDINATOR, issuer));
        cases.push((
            format!("authorization by {issuer}"),
            by,
            "no role that may issue",
        ));
    }
    for (attack, authorization, words) in cases {
        let expected = (ProblemCode::Statement, words);
        arena
            .prepare_is_refused(&attack, &authorization, &request, expected)
            .await;
    }
}

async fn times(arena: &mut Arena) {
    let cases = [
        ("expired authorization", -120_i64, 60, "expired"),
        ("authorization that just ended", -61, 60, "expired"),
        ("authorization from the future", 60, 60, "issued at"),
        ("authorization that lives too long", 0, 61, "lives longer"),
    ];
    for (attack, shift, life, words) in cases {
        let request = arena.payment();
        let (active, pair) = (arena.cluster.active().clone(), arena.pair());
        let at = countersign_policy::Timestamp::from_millis(now().as_millis() + shift * 1_000);
        let deployment = &mut arena.cluster.deployment;
        deployment.set_now(at);
        let body = deployment.authorization_body(&active, &request, &pair, 1);
        let authorization = deployment.sign(COORDINATOR, life, body);
        let expected = (ProblemCode::Authorization, words);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}

async fn participants(arena: &mut Arena) {
    use ProblemCode::{Authorization, Statement};
    let one = |names: &[&str]| names.iter().map(|n| member(n)).collect::<Vec<_>>();
    let cases = [
        (
            "fewer participants than the threshold",
            one(&["node-1"]),
            "needs exactly",
        ),
        (
            "more participants than the threshold",
            one(&["node-1", "node-2", "node-3"]),
            "needs exactly",
        ),
        (
            "a stranger among the participants",
            one(&["node-1", "node-9"]),
            "holds no share",
        ),
        (
            "an officer among the participants",
            one(&["node-1", "officer"]),
            "holds no share",
        ),
        (
            "participants without the node itself",
            one(&["node-2", "node-3"]),
            "is not among",
        ),
    ];
    for (attack, named, words) in cases {
        let request = arena.payment();
        let authorization = arena.authorize_with(&request, |a| a.participants = named);
        let expected = (Authorization, words);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
    let request = arena.payment();
    let honest = arena.authorize(&request);
    for (attack, list) in [
        ("one participant twice", r#"["node-1","node-1"]"#),
        ("participants out of order", r#"["node-2","node-1"]"#),
        ("no participants", "[]"),
    ] {
        let authorization = by_coordinator(arena, &honest, |t| {
            t.replace(r#"["node-1","node-2"]"#, list)
        });
        let expected = (Statement, "in ascending order");
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}

async fn approvals(arena: &mut Arena) {
    let request = arena.payment();
    let call = Prepare {
        authorization: arena.authorize(&request),
        request: request.clone(),
        approvals: vec![arena.payment()],
    };
    let node = arena.node(1);
    let expected = (ProblemCode::Authorization, "approvals");
    arena
        .prepare_at_is_refused("approval attached", &node, &call, expected)
        .await;
}

/// One nonce, one external id and one transaction are good for one payment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_counts_once_counts_twice() {
    use ProblemCode::{Authorization, Busy, ExternalId as External};
    let mut arena = Arena::with_dkls23().await;
    let first = arena.session().await;
    let nonce = {
        let directory = arena.cluster.active().directory();
        let opened =
            directory.open::<countersign_policy::statement::Authorization>(&first.authorization);
        opened.unwrap().body().nonce
    };
    let request = arena.payment();
    let authorization = arena.authorize_with(&request, |a| a.nonce = nonce);
    let expected = (Authorization, "nonce was used");
    arena
        .prepare_is_refused(
            "nonce of another session",
            &authorization,
            &request,
            expected,
        )
        .await;

    // The same attempt again under a fresh nonce, while the first can still be signed.
    let authorization = arena.authorize_with(&first.request, |a| a.nonce = Hash::sha256(b"fresh"));
    let expected = (Busy, "still open");
    arena
        .prepare_is_refused(
            "second session beside the first",
            &authorization,
            &first.request,
            expected,
        )
        .await;

    // The answer to the same authorization with another request is the first request's receipt, and no other.
    let other = arena.payment();
    let node = arena.node(1);
    let again = arena
        .cluster
        .prepare(&node, &first.authorization, &other)
        .await;
    assert_eq!(again.unwrap().digest(), first.receipts[0].digest());

    let mut body = arena.payment_body();
    body.external_id = opened(&arena, &first.request).external_id;
    let twin = arena.signed(PAYMENTS, body);
    let authorization = arena.authorize(&twin);
    let expected = (External, "belongs to another request");
    arena
        .prepare_is_refused(
            "external id of another payment",
            &authorization,
            &twin,
            expected,
        )
        .await;
    external_id_at_another_signer_set(&mut arena, &twin).await;

    let mut body = opened(&arena, &first.request);
    body.external_id = ExternalId::new("the-same-bytes").unwrap();
    let twin = arena.signed(PAYMENTS, body);
    let authorization = arena.authorize(&twin);
    let expected = (External, "was reserved for request");
    arena
        .prepare_is_refused(
            "transaction of another payment",
            &authorization,
            &twin,
            expected,
        )
        .await;

    let pair = arena.pair();
    for answer in arena.cluster.sign_with(&first.receipts, &pair).await {
        answer.expect("the first payment is signed, once");
    }
    arena.finish();
}

fn opened(arena: &Arena, request: &Envelope) -> SignRequest {
    let directory = arena.cluster.active().directory();
    let opened = directory.open::<SignRequest>(request);
    opened.unwrap().body().clone()
}

/// Nodes 2 and 3 instead of 1 and 2: the node in both sets refuses at once, and the other one cannot go on alone.
async fn external_id_at_another_signer_set(arena: &mut Arena, twin: &Envelope) {
    let set = [arena.node(2), arena.node(3)];
    let authorization = arena.cluster.authorize(twin, &set, 1);
    let call = Prepare {
        authorization,
        request: twin.clone(),
        approvals: Vec::new(),
    };
    let expected = (ProblemCode::ExternalId, "belongs to another request");
    arena
        .prepare_at_is_refused(
            "external id at another signer set",
            &set[0],
            &call,
            expected,
        )
        .await;
    // Once node 3 has heard of the first payment it refuses for itself.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    arena
        .prepare_at_is_refused("external id heard of from a peer", &set[1], &call, expected)
        .await;
}
