//! What was said once is said again: after a restart, and over an older state.

use countersign_signer::wire::ProblemCode;

use crate::arena::Arena;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_of_an_earlier_process_can_be_replayed() {
    use ProblemCode::{Authorization, NotFound};
    let mut arena = Arena::with_dkls23().await;
    let (one, pair) = (arena.node(1), arena.pair());
    let signed = arena.session().await;
    for answer in arena.cluster.sign_with(&signed.receipts, &pair).await {
        answer.expect("an honest payment is signed");
    }
    let open = arena.session().await;
    for node in &pair {
        arena.cluster.kill(node).await;
        arena.cluster.start_node(node).await;
    }
    for (name, session) in [("signed", &signed), ("open", &open)] {
        let attack = format!("receipts of a session that was {name} before the restart");
        let replay = (session.id, session.receipts.as_slice());
        let expected = (NotFound, "no such session");
        arena.sign_is_refused(&attack, &one, replay, expected).await;
        let attack = format!("authorization of a session that was {name} before the restart");
        let expected = (Authorization, "session exists already");
        arena
            .prepare_is_refused(&attack, &session.authorization, &session.request, expected)
            .await;
    }
    // The nonce and the external id are remembered as well.
    let nonce = {
        let directory = arena.cluster.active().directory();
        let opened = directory
            .open::<countersign_policy::statement::Authorization>(&open.authorization)
            .unwrap();
        opened.body().nonce
    };
    let request = arena.payment();
    let authorization = arena.authorize_with(&request, |a| a.nonce = nonce);
    let expected = (Authorization, "nonce was used");
    arena
        .prepare_is_refused(
            "nonce from before the restart",
            &authorization,
            &request,
            expected,
        )
        .await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}
