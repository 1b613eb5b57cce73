//! A stop counts for ever, nobody else can forge one, and it is never reported when it came too late.

use countersign_policy::statement::{CancelReason, StopAck, StopOutcome, Verified};
use countersign_policy::testing::{COORDINATOR, OFFICER, OPERATOR, OTHER_PAYMENTS, PAYMENTS};
use countersign_policy::{Envelope, IdentityKey, MemberId};
use countersign_signer::net::CallError;
use countersign_signer::wire::ProblemCode;

use crate::arena::{Arena, resigned, tampered};

fn outcome(arena: &Arena, ack: &Envelope) -> StopOutcome {
    let ack: Verified<StopAck> = arena.cluster.active().directory().open(ack).unwrap();
    ack.body().outcome
}

fn cancel(arena: &Arena, issuer: &str, request: &Envelope) -> Envelope {
    let deployment = &arena.cluster.deployment;
    deployment.cancel(issuer, request, CancelReason::Initiator)
}

async fn stop_is_refused(
    arena: &mut Arena,
    attack: &str,
    (request, cancel): (&Envelope, &Envelope),
    expected: (ProblemCode, &str),
) {
    let node = arena.node(1);
    let answer = arena.cluster.stop(&node, request, cancel).await;
    let subject = request.digest().to_string();
    arena
        .refused(attack, &node, ("stop", &subject), answer, expected)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_holds_and_cannot_be_forged() {
    let mut arena = Arena::with_dkls23().await;
    let request = arena.payment();
    forged_stops(&mut arena, &request).await;
    // None of the forgeries stopped it: it can still be signed.
    let authorization = arena.authorize(&request);
    let session = arena.session_of(request, authorization).await;
    let pair = arena.pair();
    for answer in arena.cluster.sign_with(&session.receipts, &pair).await {
        answer.expect("no forged stop had an effect");
    }
    // Released is released: a stop does not claim otherwise, so nobody pays twice on its word.
    let late = cancel(&arena, PAYMENTS, &session.request);
    for node in &pair {
        let ack = arena
            .cluster
            .stop(node, &session.request, &late)
            .await
            .unwrap();
        let released = outcome(&arena, &ack) == StopOutcome::Released;
        let attack = format!("stop after release at {node}");
        let what = "its signed answer says that the request was released";
        arena.answered(&attack, node.as_str(), (what, released));
    }
    stopped_requests(&mut arena).await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

async fn forged_stops(arena: &mut Arena, request: &Envelope) {
    use ProblemCode::{Forbidden, Statement};
    let other = arena.payment();
    let honest = cancel(arena, PAYMENTS, request);
    let stranger = IdentityKey::from_seed(&[9; 32]);
    let by = |arena: &Arena, issuer: &str| {
        let key = arena.cluster.deployment.identity(issuer);
        resigned(&honest, issuer, key, |t| {
            t.replace(
                "\"issuer\":\"payments\"",
                &format!("\"issuer\":\"{issuer}\""),
            )
        })
    };
    let cases = [
        (
            "stop by another payment service",
            cancel(arena, OTHER_PAYMENTS, request),
            (Forbidden, "may not cancel"),
        ),
        (
            "stop by a node",
            by(arena, "node-2"),
            (Statement, "no role that may issue"),
        ),
        (
            "stop by an operator",
            by(arena, OPERATOR),
            (Statement, "no role that may issue"),
        ),
        (
            "stop of another request",
            cancel(arena, PAYMENTS, &other),
            (Statement, "another request"),
        ),
        (
            "stop with a forged signature",
            resigned(&honest, PAYMENTS, &stranger, |t| {
                t.replace("wanted", "needed")
            }),
            (Statement, "does not verify"),
        ),
        (
            "stop changed after signing",
            tampered(&honest, |t| t.replace("wanted", "needed")),
            (Statement, "does not verify"),
        ),
        (
            "request in the stop's place",
            other.clone(),
            (Statement, "payload type"),
        ),
    ];
    for (attack, cancel, expected) in cases {
        stop_is_refused(arena, attack, (request, &cancel), expected).await;
    }
}

async fn stopped_requests(arena: &mut Arena) {
    let one: MemberId = arena.node(1);
    for issuer in [PAYMENTS, OFFICER, COORDINATOR] {
        let request = arena.payment();
        let cancel = cancel(arena, issuer, &request);
        let ack = arena.cluster.stop(&one, &request, &cancel).await.unwrap();
        assert_eq!(outcome(arena, &ack), StopOutcome::Stopped);
        let authorization = arena.authorize(&request);
        let attack = format!("prepare after a stop by {issuer}");
        let expected = (ProblemCode::StoppedRequest, "stopped");
        arena
            .prepare_is_refused(&attack, &authorization, &request, expected)
            .await;
    }
    // Between prepare and sign: both receipts are there, and still nothing is signed.
    let session = arena.session().await;
    let cancel = cancel(arena, PAYMENTS, &session.request);
    let ack = arena
        .cluster
        .stop(&one, &session.request, &cancel)
        .await
        .unwrap();
    assert_eq!(outcome(arena, &ack), StopOutcome::Stopped);
    let expected = (ProblemCode::StoppedRequest, "stopped");
    let receipts = (session.id, session.receipts.as_slice());
    arena
        .sign_is_refused("sign after a stop", &one, receipts, expected)
        .await;
    // The other participant alone: whether it heard of the stop or waits for node 1 in vain, it does not sign.
    let two = arena.node(2);
    let answer = arena
        .cluster
        .sign_at(&two, session.id, &session.receipts)
        .await;
    let attack = "sign after a stop elsewhere";
    let code = match &answer {
        Err(CallError::Problem(problem)) => problem.code().unwrap(),
        other => panic!("{attack}: answered with {other:?}"),
    };
    let subject = session.id.to_string();
    arena
        .refused(attack, &two, ("sign", &subject), answer, (code, ""))
        .await;
}
