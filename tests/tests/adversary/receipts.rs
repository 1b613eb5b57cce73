//! The coordinator shows the signers different worlds, or receipts that are not theirs.

use countersign_policy::testing::{OFFICER, PAYMENTS};
use countersign_policy::{Envelope, Hash};
use countersign_signer::net::CallError;
use countersign_signer::wire::{Prepare, ProblemCode};

use crate::arena::{Arena, OpenSession, session_id, tampered};

/// How the coordinator changes the receipts that it hands to node 1.
type Change = fn(&mut Arena, &OpenSession, &OpenSession) -> Vec<Envelope>;

fn changes() -> Vec<(&'static str, Change, (ProblemCode, &'static str))> {
    use ProblemCode::{Receipts, Statement};
    vec![
        (
            "no receipts",
            |_, _, _| Vec::new(),
            (Receipts, "0 receipts for 2"),
        ),
        (
            "own receipt only",
            |_, s, _| s.receipts[..1].to_vec(),
            (Receipts, "1 receipts for 2"),
        ),
        (
            "a third receipt",
            |_, s, o| [s.receipts.clone(), o.receipts[..1].to_vec()].concat(),
            (Receipts, "3 receipts for 2"),
        ),
        (
            "own receipt twice",
            |_, s, _| vec![s.receipts[0].clone(), s.receipts[0].clone()],
            (Receipts, "is by node-1"),
        ),
        (
            "receipts out of order",
            |_, s, _| s.receipts.iter().rev().cloned().collect(),
            (Receipts, "is by node-2"),
        ),
        (
            "peer's receipt of another session",
            |_, s, o| vec![s.receipts[0].clone(), o.receipts[1].clone()],
            (Receipts, "other terms"),
        ),
        (
            "all receipts of another session",
            |_, _, o| o.receipts.clone(),
            (Receipts, "other terms"),
        ),
        (
            "own receipt replaced",
            |a, s, _| {
                let own = a.receipt_changed(&s.receipts[0], "node-1", |r| r.ledger_sequence += 1);
                vec![own, s.receipts[1].clone()]
            },
            (Receipts, "another one"),
        ),
        (
            "receipt by a node outside the session",
            |a, s, _| {
                let other = a.receipt_changed(&s.receipts[1], "node-3", |r| r.ledger_sequence += 1);
                vec![s.receipts[0].clone(), other]
            },
            (Receipts, "is by node-3"),
        ),
        (
            "receipt by an officer",
            |a, s, _| {
                let other = a.receipt_changed(&s.receipts[1], OFFICER, |r| r.ledger_sequence += 1);
                vec![s.receipts[0].clone(), other]
            },
            (Statement, "no role that may issue"),
        ),
        (
            "receipt changed after signing",
            |_, s, _| {
                let sequence = |t: &str| t.replace("\"ledger_sequence\":", "\"ledger_sequence\":9");
                vec![s.receipts[0].clone(), tampered(&s.receipts[1], sequence)]
            },
            (Statement, "does not verify"),
        ),
        (
            "receipt over another digest",
            |a, s, _| {
                let digests = vec![Hash::sha256(b"another transaction")];
                let other =
                    a.receipt_changed(&s.receipts[1], "node-2", |r| r.terms.digests = digests);
                vec![s.receipts[0].clone(), other]
            },
            (Receipts, "other terms"),
        ),
        (
            "receipt under another bundle",
            |a, s, _| {
                let genesis = a.cluster.deployment.genesis_hash();
                let other =
                    a.receipt_changed(&s.receipts[1], "node-2", |r| r.terms.bundle = genesis);
                vec![s.receipts[0].clone(), other]
            },
            (Receipts, "other terms"),
        ),
        (
            "receipt of another attempt",
            |a, s, _| {
                let other = a.receipt_changed(&s.receipts[1], "node-2", |r| r.terms.attempt = 2);
                vec![s.receipts[0].clone(), other]
            },
            (Receipts, "other terms"),
        ),
        (
            "receipt with a presignature",
            |a, s, _| {
                let named = Some(Hash::sha256(b"a presignature"));
                let other =
                    a.receipt_changed(&s.receipts[1], "node-2", |r| r.terms.presignature = named);
                vec![s.receipts[0].clone(), other]
            },
            (Receipts, "other terms"),
        ),
        (
            "request in a receipt's place",
            |_, s, _| vec![s.receipts[0].clone(), s.request.clone()],
            (Statement, "payload type"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn receipts_that_do_not_agree_end_the_session_for_ever() {
    let mut arena = Arena::with_dkls23().await;
    let other = arena.session().await;
    let node = arena.node(1);
    for (attack, change, expected) in changes() {
        let session = arena.session().await;
        let receipts = change(&mut arena, &session, &other);
        arena
            .sign_is_refused(attack, &node, (session.id, &receipts), expected)
            .await;
        // The right receipts come too late: the abort is in the ledger.
        let late = arena
            .cluster
            .sign_at(&node, session.id, &session.receipts)
            .await;
        assert!(late.is_err(), "{attack}: {late:?}");
    }
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

/// Two authorizations of one request, one to each signer: each has a receipt, and they are over different sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn signers_that_were_split_notice() {
    let mut arena = Arena::with_dkls23().await;
    let (one, two) = (arena.node(1), arena.node(2));
    let request = arena.payment();
    let first = arena.authorize(&request);
    let second = arena.authorize_with(&request, |a| a.nonce = Hash::sha256(b"second"));
    let receipts = [
        arena.cluster.prepare(&one, &first, &request).await.unwrap(),
        arena
            .cluster
            .prepare(&two, &second, &request)
            .await
            .unwrap(),
    ];
    for (attack, node, authorization) in [
        (
            "one request under two authorizations, first half",
            &one,
            &first,
        ),
        (
            "one request under two authorizations, second half",
            &two,
            &second,
        ),
    ] {
        let expected = (ProblemCode::Receipts, "split the signers");
        arena
            .sign_is_refused(
                attack,
                node,
                (session_id(authorization), &receipts),
                expected,
            )
            .await;
    }
    two_transactions_under_one_external_id(&mut arena).await;
    two_receipts_of_a_lying_node(&mut arena).await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

/// Two sessions of one request at two sets of nodes: the node in both lets only one of them be released.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_sessions_at_two_signer_sets_one_is_released() {
    let mut arena = Arena::with_dkls23().await;
    let (one, two, three) = (arena.node(1), arena.node(2), arena.node(3));
    let request = arena.payment();
    let first = arena.authorize(&request);
    let first = arena.session_of(request.clone(), first).await;
    // Beside the first, as the same attempt: node 2 has one session open.
    let set = [two.clone(), three.clone()];
    let beside = arena.cluster.authorize_with(&request, &set, 1, |a| {
        a.nonce = Hash::sha256(b"beside");
    });
    let call = Prepare {
        authorization: beside,
        request: request.clone(),
        approvals: Vec::new(),
    };
    let expected = (ProblemCode::Busy, "still open");
    arena
        .prepare_at_is_refused("second signer set beside the first", &two, &call, expected)
        .await;
    // As a later attempt: node 2 gives the first up for ever before it answers.
    let later = arena.cluster.authorize(&request, &set, 2);
    let mut receipts = Vec::new();
    for node in &set {
        receipts.push(arena.cluster.prepare(node, &later, &request).await.unwrap());
    }
    let (left, right) = tokio::join!(
        arena.cluster.sign_at(&one, first.id, &first.receipts),
        arena.cluster.sign_at(&two, first.id, &first.receipts)
    );
    let subject = first.id.to_string();
    for (node, answer) in [(&one, left), (&two, right)] {
        let attack = format!("first session after the second, at {node}");
        let code = match &answer {
            Err(CallError::Problem(problem)) => problem.code().unwrap(),
            other => panic!("{attack}: answered with {other:?}"),
        };
        arena
            .refused(&attack, node, ("sign", &subject), answer, (code, ""))
            .await;
    }
    for answer in arena.cluster.sign_with(&receipts, &set).await {
        answer.expect("the second session is released");
    }
    arena.finish();
}

/// Two messages: node 1 reserves one payment, node 2 another one, both for the same external id.
async fn two_transactions_under_one_external_id(arena: &mut Arena) {
    let (one, two) = (arena.node(1), arena.node(2));
    let first = arena.payment_body();
    let mut second = arena.payment_body();
    second.external_id = first.external_id.clone();
    let first = arena.signed(PAYMENTS, first);
    let second = arena.signed(PAYMENTS, second);
    let (a, b) = (arena.authorize(&first), arena.authorize(&second));
    let (left, right) = tokio::join!(
        arena.cluster.prepare(&one, &a, &first),
        arena.cluster.prepare(&two, &b, &second)
    );
    let receipts = [left.unwrap(), right.unwrap()];
    let expected = (ProblemCode::Receipts, "split the signers");
    arena
        .sign_is_refused(
            "two transactions, first half",
            &one,
            (session_id(&a), &receipts),
            expected,
        )
        .await;
    arena
        .sign_is_refused(
            "two transactions, second half",
            &two,
            (session_id(&b), &receipts),
            expected,
        )
        .await;
}

/// Node 1 lies together with the coordinator: node 2 sees another receipt of it than node 1 itself uses.
async fn two_receipts_of_a_lying_node(arena: &mut Arena) {
    let session = arena.session().await;
    let lie = arena.receipt_changed(&session.receipts[0], "node-1", |r| r.ledger_sequence += 1);
    let shown = [lie, session.receipts[1].clone()];
    let (one, two) = (arena.node(1), arena.node(2));
    let (first, second) = tokio::join!(
        arena.cluster.sign_at(&one, session.id, &session.receipts),
        arena.cluster.sign_at(&two, session.id, &shown)
    );
    let subject = session.id.to_string();
    for (node, answer) in [(&one, first), (&two, second)] {
        let attack = format!("two different receipts of one node, at {node}");
        let expected = (ProblemCode::Receipts, "no share leaves");
        arena
            .refused(&attack, node, ("sign", &subject), answer, expected)
            .await;
    }
}
