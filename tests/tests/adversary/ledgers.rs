//! A node pushes ledger entries that are forged, incomplete, out of order, somebody else's, or of a second history.

use countersign_policy::statement::{LedgerEntry, LedgerEvent, Statement};
use countersign_policy::{Envelope, Hash, IdentityKey, StatementId};
use countersign_signer::clock::{end_of_time, now};
use countersign_signer::net::CallError;
use countersign_signer::wire::{EntriesKnown, ProblemCode, PushEntries, path};

use crate::arena::{Arena, CALL};

/// An entry as node 2 would write it, signed with any key under any name.
fn entry(arena: &Arena, (sequence, previous): (u64, Hash), issuer: &str) -> Envelope {
    let deployment = &arena.cluster.deployment;
    let issuer_id = countersign_policy::testing::member(issuer);
    let statement = Statement {
        kind: countersign_policy::statement::Kind::LedgerEntry,
        genesis: deployment.genesis_hash(),
        id: StatementId::new(format!("entry-{sequence}")).unwrap(),
        issuer: issuer_id,
        issued_at: now(),
        expires_at: end_of_time(),
        body: LedgerEntry {
            sequence,
            previous,
            event: LedgerEvent::Stopped {
                request: Hash::sha256(b"some request"),
                cancel: Hash::sha256(b"some cancel"),
            },
        },
    };
    statement.sign(deployment.identity(issuer)).unwrap()
}

async fn push_is_refused(
    arena: &mut Arena,
    attack: &str,
    (entries, head): (Vec<Envelope>, u64),
    words: &str,
) {
    let one = arena.node(1);
    let call = PushEntries {
        entries,
        known: 0,
        head,
        incarnation: 1,
    };
    let client = arena.cluster.client_as("node-2", &one);
    let answer: Result<EntriesKnown, CallError> =
        client.post_json(path::ENTRIES, &call, CALL).await;
    let expected = (ProblemCode::Protocol, words);
    let problem = arena
        .refused(attack, &one, ("peer", "node-2"), answer, expected)
        .await;
    assert_eq!(problem.culprits, [arena.node(2)], "{attack}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ledger_that_is_not_its_authors_one_history_is_refused() {
    let mut arena = Arena::with_dkls23().await;
    let two = arena.node(2);
    // Its software falls silent once node 1 has all of its ledger: then the test speaks for it.
    let status = arena.cluster.status(&two).await;
    let (end, head) = (status.ledger_sequence, status.ledger_head);
    let client = arena.cluster.client_as("node-2", &arena.node(1));
    let one = arena.node(1);
    arena.wait_until_told(&two, &one).await;
    arena.cluster.kill(&two).await;

    let next = (end + 1, head);
    let honest = entry(&arena, next, "node-2");
    let second = entry(&arena, (end + 2, honest.digest()), "node-2");
    let forged = {
        let text = std::str::from_utf8(honest.payload()).unwrap().to_owned();
        let key = IdentityKey::from_seed(&[9; 32]);
        Envelope::sign(honest.payload_type(), text.into_bytes(), "node-2", &key)
    };
    let others = entry(&arena, next, "node-3");
    let by_a_coordinator = entry(&arena, next, "coordinator-1");
    let most = vec![honest.clone(); 1_001];
    for (attack, entries, words) in [
        ("forged ledger entry", vec![forged], "does not verify"),
        ("entry of another node", vec![others], "is by node-3"),
        (
            "entry of a coordinator",
            vec![by_a_coordinator],
            "no role that may issue",
        ),
        (
            "ledger entry left out",
            vec![second.clone()],
            "cannot follow entry",
        ),
        (
            "ledger entries out of order",
            vec![second.clone(), honest.clone()],
            "cannot follow entry",
        ),
        ("a thousand and one entries", most, "at most 1000"),
    ] {
        push_is_refused(&mut arena, attack, (entries, end + 2), words).await;
    }
    // None of it was taken, and none of it was held against the node: its true entries still are.
    let push = PushEntries {
        entries: vec![honest, second],
        known: 0,
        head: end + 2,
        incarnation: 1,
    };
    let taken: Result<EntriesKnown, CallError> = client.post_json(path::ENTRIES, &push, CALL).await;
    taken.expect("true entries are taken");

    // Two histories are proof: the node is banned, for ever.
    let fork = entry(&arena, next, "node-2");
    let attack = "second history";
    push_is_refused(
        &mut arena,
        attack,
        (vec![fork.clone()], end + 2),
        "two histories",
    )
    .await;
    let attack = "after a second history";
    let (one, three) = (arena.node(1), arena.node(3));
    push_is_refused(&mut arena, attack, (vec![fork], end + 2), "is banned").await;
    arena.cluster.kill(&one).await;
    arena.cluster.start_node(&one).await;
    let request = arena.payment();
    let authorization = arena.authorize(&request);
    let expected = (ProblemCode::Protocol, "caught cheating");
    arena
        .prepare_is_refused("node of two histories", &authorization, &request, expected)
        .await;
    let set = [one, three];
    let request = arena.payment();
    let authorization = arena.cluster.authorize(&request, &set, 1);
    let signed = arena.cluster.sign(&authorization, &request, &set).await;
    assert!(signed.unwrap().iter().all(Result::is_ok));
    arena.finish();
}
