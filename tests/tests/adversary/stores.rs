//! Whoever writes to a node's database, or holds statements back: what the node knew, it knows again or it says that it
//! does not.

use std::path::{Path, PathBuf};

use countersign_policy::statement::{Fate, FreezeTarget, Observation};
use countersign_policy::testing::{OBSERVER, OFFICER, SOLANA_WALLET, wallet_id};
use countersign_policy::{Envelope, Hash, MemberId, Network, RuleId};
use countersign_signer::clock::now;
use countersign_signer::wire::{Prepare, ProblemCode, path};
use countersign_tests::cluster::Place;
use countersign_tests::payments::{pay_in_the_end, solana};
use sqlx::{Connection as _, SqliteConnection};

use crate::arena::Arena;
use crate::clocks::{CAP, FULL, opened};
use crate::hands::strangers_key;
use crate::office::said;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_node_knew_is_neither_held_back_nor_forgotten() {
    let mut arena = opened(Place::Inside).await;
    held_back(&mut arena).await;
    let pair = arena.pair();
    let request = solana(&mut arena.cluster, "fills-the-minute", CAP - 50);
    // From here on every payment is above what is left.
    arena.payments += 100;
    pay_in_the_end(&mut arena.cluster, &request, &pair, 1).await;
    arena.wait_until_all_told().await;
    let freeze = arena
        .freeze(FreezeTarget::Wallet {
            wallet: wallet_id(SOLANA_WALLET),
        })
        .await;
    arena.cluster.restart().await;
    let call = payment(&mut arena, "after-the-restart");
    let attack = "payment after a restart of all nodes, of what was frozen before";
    is_refused_by_all(
        &mut arena,
        attack,
        &call,
        (ProblemCode::Policy, "is frozen"),
    )
    .await;
    edited(&mut arena).await;
    old_copies(&mut arena).await;
    arena.unfreeze(freeze).await;
    hidden(&mut arena).await;
    arena.finish();
}

fn payment(arena: &mut Arena, external_id: &str) -> Prepare {
    let pair = arena.pair();
    arena.payments += 1;
    let lamports = arena.payments;
    let request = solana(&mut arena.cluster, external_id, lamports);
    Prepare {
        authorization: arena.cluster.authorize(&request, &pair, 1),
        request,
        approvals: Vec::new(),
    }
}

async fn is_refused_by_all(
    arena: &mut Arena,
    attack: &str,
    call: &Prepare,
    expected: (ProblemCode, &str),
) {
    for node in arena.pair() {
        let attack = format!("{attack}, at {node}");
        arena
            .prepare_at_is_refused(&attack, &node, call, expected)
            .await;
    }
}

/// A freeze that only one node was given, by an officer whom the coordinator cannot stop.
async fn frozen_at(arena: &mut Arena, node: &MemberId, target: FreezeTarget) -> Envelope {
    arena.cluster.deployment.set_now(now());
    let freeze = arena.cluster.deployment.freeze(OFFICER, target);
    arena
        .give_openly(node, path::FREEZE, &freeze)
        .await
        .unwrap();
    freeze
}

async fn held_back(arena: &mut Arena) {
    let (pair, three) = (arena.pair(), arena.node(3));
    let wallet = FreezeTarget::Wallet {
        wallet: wallet_id(SOLANA_WALLET),
    };
    let freeze = frozen_at(arena, &three, wallet.clone()).await;
    let head = arena.freezes(&three).await.head;
    arena.wait_for_freezes(head).await;
    let call = payment(arena, "held-back");
    let attack = "payment while the coordinator holds a freeze back";
    let expected = (
        ProblemCode::Policy,
        "wallet hot-solana is frozen by officer",
    );
    is_refused_by_all(arena, attack, &call, expected).await;
    arena.unfreeze(freeze.digest()).await;

    // Between receipt and release, at one participant.
    let call = payment(arena, "caught");
    let session = arena.session_by(call, &pair).await;
    let freeze = frozen_at(arena, &pair[1], wallet).await;
    let receipts = (session.id, session.receipts.as_slice());
    let expected = (
        ProblemCode::Frozen,
        "wallet hot-solana is frozen by officer",
    );
    let attack = "release after a freeze that came between receipt and release";
    arena
        .sign_is_refused(attack, &pair[1], receipts, expected)
        .await;
    let answer = arena
        .cluster
        .sign_at(&pair[0], session.id, &session.receipts)
        .await;
    assert!(answer.is_err(), "{attack}: {answer:?}");
    let head = arena.freezes(&pair[1]).await.head;
    arena.wait_for_freezes(head).await;
    arena.unfreeze(freeze.digest()).await;

    // Of something else: no share leaves either while participants hold different freezes.
    let call = payment(arena, "different");
    let first = arena.session_by(call.clone(), &pair[..1]).await;
    let rule = FreezeTarget::Rule {
        rule: RuleId::new("no-such-rule").unwrap(),
    };
    let freeze = frozen_at(arena, &pair[1], rule).await;
    let second = arena.session_by(call, &pair[1..]).await;
    let receipts = [first.receipts, second.receipts].concat();
    let expected = (ProblemCode::Receipts, "agreed to other terms");
    let attack = "receipts of nodes that hold different freezes";
    arena
        .sign_is_refused(attack, &pair[0], (first.id, &receipts), expected)
        .await;
    let head = arena.freezes(&pair[1]).await.head;
    arena.wait_for_freezes(head).await;
    arena.unfreeze(freeze.digest()).await;
}

fn file(arena: &Arena, node: &MemberId) -> PathBuf {
    arena.cluster.node_folder(node).join("data/signer.sqlite")
}

fn copy(from: &Path, to: &Path) {
    for name in std::fs::read_dir(to).unwrap() {
        std::fs::remove_file(name.unwrap().path()).unwrap();
    }
    for name in std::fs::read_dir(from).unwrap() {
        let name = name.unwrap();
        std::fs::copy(name.path(), to.join(name.file_name())).unwrap();
    }
}

async fn edit(file: &Path, statements: &str) {
    let at = format!("sqlite://{}", file.display());
    let mut database = SqliteConnection::connect(&at).await.unwrap();
    let triggers: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            .fetch_all(&mut database)
            .await
            .unwrap();
    for (trigger,) in triggers {
        let drop = sqlx::AssertSqlSafe(format!("DROP TRIGGER {trigger}"));
        sqlx::query(drop).execute(&mut database).await.unwrap();
    }
    let statement = sqlx::AssertSqlSafe(statements.to_owned());
    let done = sqlx::raw_sql(statement)
        .execute(&mut database)
        .await
        .unwrap();
    assert!(done.rows_affected() > 0, "nothing was edited: {statements}");
    database.close().await.unwrap();
}

/// Each edit by somebody who can write to the file of node 1 and has none of its keys.
async fn edited(arena: &mut Arena) {
    let one = arena.node(1);
    let folder = arena.cluster.node_folder(&one).join("data");
    let whole = tempfile::tempdir().unwrap();
    const NEWEST: &str = "(SELECT max(id) FROM ledger WHERE author = 0)";
    let cases = [
        (
            "ledger entry in a database exchanged for another",
            format!(
                "UPDATE ledger SET envelope = (SELECT envelope FROM ledger WHERE id = {NEWEST}) \
                 WHERE id = {NEWEST} - 1"
            ),
            "breaks at entry",
        ),
        (
            "ledger entry deleted from the middle of a database",
            format!("DELETE FROM ledger WHERE id = {NEWEST} - 1"),
            "breaks at entry",
        ),
        (
            "newest bundle deleted from a database",
            "DELETE FROM bundles WHERE version = (SELECT max(version) FROM bundles)".to_owned(),
            "is recorded in the ledger and not there",
        ),
        (
            "freeze deleted from a database",
            "DELETE FROM statements WHERE kind = 'freeze'".to_owned(),
            "is not whole",
        ),
        (
            "database under another genesis",
            "UPDATE header SET genesis = zeroblob(32)".to_owned(),
            "the store belongs to genesis",
        ),
        (
            "last statements deleted from a database, the freeze among them",
            "DELETE FROM statements WHERE position >= \
             (SELECT max(position) FROM statements WHERE kind = 'freeze')"
                .to_owned(),
            "is recorded in the ledger and not there",
        ),
    ];
    for (attack, statements, words) in cases {
        arena.cluster.kill(&one).await;
        copy(&folder, whole.path());
        edit(&file(arena, &one), &statements).await;
        arena.start_is_refused(attack, &one, ("store", words)).await;
        copy(whole.path(), &folder);
        arena.cluster.start_node(&one).await;
    }
    // An observation that no observer signed, as a row that only the node itself writes.
    let observation = {
        let digest = Hash::sha256(b"some transaction");
        let fate = Fate::Confirmed {
            transaction: "00".to_owned(),
            block: 1,
            depth: 1,
            used: None,
        };
        let body = Observation {
            network: Network::SOLANA,
            digest,
            fate,
        };
        said(arena, (OBSERVER, &strangers_key()), body)
    };
    let row = format!(
        "INSERT INTO observations (statement, envelope) VALUES (x'{}', x'{}')",
        observation.digest().to_hex(),
        hex::encode(serde_json::to_vec(&observation).unwrap()),
    );
    arena.cluster.kill(&one).await;
    copy(&folder, whole.path());
    edit(&file(arena, &one), &row).await;
    let attack = "observation written into a database";
    let words = "is there and not recorded in the ledger";
    arena.start_is_refused(attack, &one, ("store", words)).await;
    copy(whole.path(), &folder);
    arena.cluster.start_node(&one).await;
}

/// A copy from before something that the node has said since.
async fn old_copies(arena: &mut Arena) {
    let one = arena.node(1);
    let folder = arena.cluster.node_folder(&one).join("data");
    let old = tempfile::tempdir().unwrap();
    let newest = tempfile::tempdir().unwrap();
    arena.cluster.kill(&one).await;
    copy(&folder, old.path());
    arena.cluster.start_node(&one).await;
    let rule = RuleId::new("another-rule").unwrap();
    let freeze = arena.freeze(FreezeTarget::Rule { rule }).await;
    arena.wait_until_all_told().await;
    arena.cluster.kill(&one).await;
    copy(&folder, newest.path());
    copy(old.path(), &folder);
    let expected = ("store", "old copy");
    let attack = "database taken back to before a freeze";
    arena.start_is_refused(attack, &one, expected).await;
    let attack = "database taken back to before a freeze, once more";
    arena.start_is_refused(attack, &one, expected).await;
    copy(newest.path(), &folder);
    arena.cluster.start_node(&one).await;
    arena.unfreeze(freeze).await;
}

/// What a peer signed with another one, and does not tell.
async fn hidden(arena: &mut Arena) {
    let [one, two, three] = [1, 2, 3].map(|n| arena.node(n));
    // A reservation of a peer, deleted here: the peer says it again.
    arena.cluster.kill(&one).await;
    let newest = "(SELECT max(id) FROM ledger WHERE author = 1)";
    let delete = format!("DELETE FROM ledger WHERE id = {newest}");
    edit(&file(arena, &one), &delete).await;
    arena.cluster.start_node(&one).await;
    arena.wait_until_all_told().await;
    let call = payment(arena, "after-an-edit");
    let attack = "a peer's ledger entry deleted from a database";
    arena.prepare_at_is_refused(attack, &one, &call, FULL).await;

    let folder = arena.cluster.node_folder(&one).join("data");
    let whole = tempfile::tempdir().unwrap();
    arena.cluster.kill(&one).await;
    copy(&folder, whole.path());
    let overwrite = "UPDATE shares SET sealed = zeroblob(length(sealed))";
    edit(&file(arena, &one), overwrite).await;
    arena.cluster.start_node(&one).await;
    let call = payment(arena, "with-another-share");
    let attack = "share in a database overwritten";
    let expected = (ProblemCode::Internal, "");
    arena
        .prepare_at_is_refused(attack, &one, &call, expected)
        .await;
    // The share alone comes back: the peers know this start by now.
    arena.cluster.kill(&one).await;
    let mend = format!(
        "ATTACH '{}' AS whole; \
         UPDATE main.shares SET sealed = (SELECT w.sealed FROM whole.shares w \
         WHERE w.key = main.shares.key AND w.generation = main.shares.generation)",
        whole.path().join("signer.sqlite").display()
    );
    edit(&file(arena, &one), &mend).await;
    arena.cluster.start_node(&one).await;

    // Node 1 sleeps, the two others sign, one of them falls silent: the other one alone is not believed.
    arena.cluster.kill(&one).await;
    arena.cluster.kill(&three).await;
    arena.cluster.start_node(&one).await;
    let call = payment(arena, "with-a-liar");
    let expected = (ProblemCode::Unregistered, "missing are node-3");
    let attack = "start known to one peer that may hide what it signed";
    arena
        .prepare_at_is_refused(attack, &one, &call, expected)
        .await;

    // Last, because the peers remember the start of what they refuse.
    arena.wait_until_told(&one, &two).await;
    arena.cluster.kill(&one).await;
    let newest = "(SELECT max(id) FROM ledger WHERE author = 0)";
    let delete = format!("DELETE FROM ledger WHERE id = {newest}");
    edit(&file(arena, &one), &delete).await;
    let attack = "newest ledger entry deleted from a database";
    arena
        .start_is_refused(attack, &one, ("store", "old copy"))
        .await;
}
