//! A node that lies with its half of a presignature, and a coordinator that tries what is left of it.

use std::sync::{Arc, Mutex};

use countersign_policy::{Hash, Protocol};
use countersign_signer::net::FrameKind;
use countersign_signer::wire::ProblemCode;
use countersign_tests::payments::presignatures;

use crate::arena::Arena;
use crate::nodes::{Lie, Proxy, victim};

const KEY: &str = "hot-ecdsa";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_partial_signature_names_its_sender_and_costs_one_presignature() {
    let mut arena = Arena::empty(3, 2).await;
    arena.cluster.make_key(KEY, Protocol::Cggmp24, 2).await;
    // The presignatures are made honestly; only what is sent in this session is a lie.
    let attacked: Arc<Mutex<Option<Hash>>> = Arc::default();
    let session_under_attack = Arc::clone(&attacked);
    let lie: Lie = Arc::new(move |frame| {
        let attacked = *session_under_attack.lock().unwrap() == Some(frame.channel);
        if attacked && frame.kind == FrameKind::Broadcast {
            let last = frame.body.len() - 1;
            frame.body[last] ^= 1;
        }
        true
    });
    let (one, liar) = (arena.node(1), arena.node(2));
    let proxy = Proxy::before(&mut arena, &one, lie).await;
    let pair = arena.pair();
    let held = presignatures(&arena.cluster, KEY, &pair, 1).await;
    let burnt = held[0];
    let request = arena.payment();
    let authorization = arena.authorize_with(&request, |a| a.presignature = Some(burnt));
    let session = arena.session_of(request, authorization).await;
    *attacked.lock().unwrap() = Some(session.id);
    let codes = &[ProblemCode::Protocol];
    let attack = "wrong partial signature in CGGMP24";
    let problem = victim(&mut arena, attack, session, codes).await;
    assert_eq!(problem.culprits, [liar], "{problem}");
    // One wrong message bans nobody: it could be damaged memory.
    let banned = arena.cluster.status(&one).await.keys[0].banned.clone();
    assert!(banned.is_empty(), "{banned:?}");
    // Its partial signature is out: the same presignature for other bytes would give the key away.
    let request = arena.payment();
    let authorization = arena.authorize_with(&request, |a| a.presignature = Some(burnt));
    let expected = (ProblemCode::Presignature, "");
    arena
        .prepare_is_refused(
            "presignature that failed",
            &authorization,
            &request,
            expected,
        )
        .await;
    drop(proxy);
    let set = [arena.node(1), arena.node(3)];
    let held = presignatures(&arena.cluster, KEY, &set, 1).await;
    let request = arena.payment();
    let authorization = arena
        .cluster
        .authorize_with(&request, &set, 1, |a| a.presignature = Some(held[0]));
    let signed = arena.cluster.sign(&authorization, &request, &set).await;
    assert!(signed.unwrap().iter().all(Result::is_ok));
    arena.finish();
}
