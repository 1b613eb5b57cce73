//! What is kept for others, and what stands still.

use countersign_policy::statement::{FreezeTarget, Kind, LedgerEntry, LedgerEvent, Statement};
use countersign_policy::testing::{OFFICER, OTHER_OFFICERS};
use countersign_policy::{Envelope, FreezeSet, Hash};

use super::support::*;
use crate::store::{Effect, NewStatement, Store};

fn freeze(target: FreezeTarget) -> NewStatement {
    let bundle = CHAIN.active();
    let envelope = DEPLOYMENT.freeze(OFFICER, target);
    let opened = bundle.open_freeze(&envelope).unwrap();
    NewStatement {
        kind: Kind::Freeze,
        bundle: bundle.digest(),
        envelope,
        effect: Effect::Freeze(Box::new(opened)),
    }
}

fn unfreeze(freezes: &[Hash]) -> NewStatement {
    let bundle = CHAIN.active();
    let envelope = DEPLOYMENT.unfreeze(&[OFFICER, OTHER_OFFICERS[0]], freezes);
    let opened = bundle.open_unfreeze(&envelope).unwrap();
    NewStatement {
        kind: Kind::Unfreeze,
        bundle: bundle.digest(),
        envelope,
        effect: Effect::Unfreeze(Box::new(opened)),
    }
}

async fn event(store: &Store, sequence: u64) -> LedgerEvent {
    let entry: Envelope = store
        .entries_after(sequence - 1, 1)
        .await
        .unwrap()
        .remove(0);
    let entry: Statement<LedgerEntry> = serde_json::from_slice(entry.payload()).unwrap();
    entry.body.event
}

#[tokio::test]
async fn a_freeze_is_in_force_and_in_the_ledger_when_it_is_kept_and_once_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let everything = freeze(FreezeTarget::Everything);
    let digest = everything.envelope.digest();
    let kept = store.keep(vec![everything.clone()], at(1)).await.unwrap();
    assert!(store.freezes().unwrap().contains(&digest));
    assert_eq!(
        event(&store, kept[0].entry).await,
        LedgerEvent::Frozen { freeze: digest }
    );
    let again = store.keep(vec![everything], at(2)).await.unwrap();
    assert_eq!(again, kept);
    assert_eq!(store.head().unwrap().sequence, 1);
    assert_eq!(store.statement_count().unwrap(), 1);
}

#[tokio::test]
async fn an_unfreeze_ends_what_it_names_also_when_it_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let (first, second) = (
        freeze(FreezeTarget::Everything),
        freeze(FreezeTarget::Everything),
    );
    let (one, two) = (first.envelope.digest(), second.envelope.digest());
    store.keep(vec![first], at(1)).await.unwrap();
    store
        .keep(vec![unfreeze(&[one, two])], at(2))
        .await
        .unwrap();
    assert_eq!(store.freezes().unwrap().head(), Hash::ZERO);
    let kept = store.keep(vec![second], at(3)).await.unwrap();
    assert_eq!(
        kept[0].entry, 0,
        "nothing froze, so the ledger says nothing"
    );
    assert!(store.freezes().unwrap().is_empty());
}

#[tokio::test]
async fn statements_come_back_whole_and_in_order_and_the_file_forgets_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let statement = freeze(FreezeTarget::Everything);
    let ended = unfreeze(&[hash("some freeze")]);
    let kept = store.keep(vec![statement, ended], at(1)).await.unwrap();
    store.close().await;
    let store = reopen(folder.path(), "node-1").await;
    assert_eq!(store.statements().await.unwrap(), kept);
    // Freezes count again once somebody opened them under their bundles.
    assert!(store.freezes().unwrap().is_empty());
    let mut set = FreezeSet::default();
    set.insert(&CHAIN.active().open_freeze(&kept[0].envelope).unwrap());
    store.restore_freezes(set.clone()).await.unwrap();
    assert_eq!(store.freezes().unwrap().head(), set.head());
    for sql in ["DELETE FROM statements", "UPDATE statements SET entry = 7"] {
        let error = store.script(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
}
