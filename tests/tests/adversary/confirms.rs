//! Lies in confirms, signed with the liar's own key: about its ledger, its receipts, and different ones for different peers.

use std::sync::Arc;

use countersign_policy::statement::{Confirm, Statement};
use countersign_policy::{Envelope, Hash, IdentityKey, Protocol};
use countersign_signer::net::{CallError, Frame, FrameKind};
use countersign_signer::wire::ProblemCode;
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::nodes::{Case, Lie, Proxy, case, solana_payment};

/// Changes a confirm and what goes with it, and signs it again.
fn retold(
    key: &IdentityKey,
    change: impl Fn(&mut Confirm, &mut Value) + Send + Sync + 'static,
) -> impl Fn(&mut Frame) -> bool + Send + Sync + 'static {
    let key = IdentityKey::from_seed(&key.to_seed());
    move |frame| {
        if frame.kind == FrameKind::Confirm {
            let mut message: Value = serde_json::from_slice(&frame.body).unwrap();
            let envelope: Envelope = serde_json::from_value(message["confirm"].clone()).unwrap();
            let mut statement: Statement<Confirm> =
                serde_json::from_slice(envelope.payload()).unwrap();
            change(&mut statement.body, &mut message);
            message["confirm"] = serde_json::to_value(statement.sign(&key).unwrap()).unwrap();
            frame.body = serde_json::to_vec(&message).unwrap();
        }
        true
    }
}

/// What the liar, whose key is given, says in its confirms.
pub fn cases(key: &IdentityKey) -> Vec<Case> {
    use ProblemCode::{Busy, Internal, Protocol, Receipts, Statement};
    let lie = |attack, change: fn(&mut Confirm, &mut Value), codes, named| {
        case(attack, retold(key, change), codes, named)
    };
    vec![
        lie(
            "confirm with a false ledger head",
            |c, _| c.ledger_head = Hash::sha256(b"another head"),
            &[Protocol],
            true,
        ),
        lie(
            "confirm with a false head below its ledger's end",
            |c, _| {
                c.ledger_sequence -= 1;
                c.ledger_head = Hash::sha256(b"another history");
            },
            &[Protocol],
            true,
        ),
        // Perhaps only its background push is late: nobody is blamed, and nothing is signed.
        lie(
            "confirm about entries that it does not send",
            |c, _| c.ledger_sequence += 5,
            &[Busy],
            false,
        ),
        lie(
            "confirm of other receipts",
            |c, _| c.receipts = Hash::sha256(b"other receipts"),
            &[Receipts],
            false,
        ),
        lie(
            "confirm of another session",
            |c, _| c.session = Hash::sha256(b"another session"),
            &[Statement],
            true,
        ),
        lie(
            "confirm that knows more of the victim's ledger than there is",
            |_, m| m["known"] = json!(1_000_000),
            &[Internal],
            false,
        ),
        lie(
            "confirm with entries that are none",
            |_, m| m["entries"] = json!([m["confirm"].clone()]),
            &[Protocol],
            true,
        ),
    ]
}

/// Node 2 confirms honestly to node 1 and tells node 3 of another ledger: node 3 names it, and there is no signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn different_confirms_for_different_peers_end_without_a_signature() {
    let mut arena = Arena::empty(5, 3).await;
    arena
        .cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 3)
        .await;
    let (victim, liar) = (arena.node(3), arena.node(2));
    let key = arena.cluster.deployment.identity(liar.as_str());
    let lie: Lie = Arc::new(retold(key, |c, _| c.ledger_head = Hash::sha256(b"other")));
    let _proxy = Proxy::before(&mut arena, &victim, lie).await;
    let request = solana_payment(&mut arena);
    let set = [arena.node(1), arena.node(2), arena.node(3)];
    let authorization = arena.cluster.authorize(&request, &set, 1);
    let answers = arena.cluster.sign(&authorization, &request, &set).await;
    let mut answers = answers.expect("all receipts are there");
    for answer in &answers {
        assert!(answer.is_err(), "{answer:?}");
    }
    let answer = answers.pop().unwrap();
    let named = match &answer {
        Err(CallError::Problem(problem)) => problem.culprits.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(named, [liar]);
    let subject = crate::arena::session_id(&authorization).to_string();
    let expected = (ProblemCode::Protocol, "another ledger head");
    arena
        .refused(
            "equivocating confirms",
            &victim,
            ("sign", &subject),
            answer,
            expected,
        )
        .await;
    arena.finish();
}
