//! Starts are counted, peers' starts only rise, and a copy of the store does not know those that came after it.

use countersign_policy::statement::{LedgerEntry, LedgerEvent, Statement};
use countersign_policy::{Hash, Timestamp};

use super::support::*;
use crate::store::{OpError, OwnStart, StartRefusal, Store, StoreError};
use crate::wire::StartName;

async fn register(store: &Store, peer: &str, own: &OwnStart) -> Result<(), StartRefusal> {
    let (start, earlier) = (own.start.clone(), own.earlier.clone());
    match store.register_start(&member(peer), start, earlier).await {
        Ok(()) => Ok(()),
        Err(OpError::Refused(refusal)) => Err(refusal),
        Err(OpError::Failed(fault)) => panic!("{fault}"),
    }
}

#[tokio::test]
async fn each_start_has_a_higher_number_and_names_those_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut names: Vec<StartName> = Vec::new();
    for incarnation in 1..=4 {
        let store = reopen(folder.path(), "node-1").await;
        let own = store.begin_start().await.unwrap();
        assert_eq!(own.start.incarnation, incarnation);
        assert_eq!(own.earlier, names);
        names.push(own.start);
        store.close().await;
    }
    let nonces: std::collections::BTreeSet<Hash> = names.iter().map(|n| n.nonce).collect();
    assert_eq!(nonces.len(), 4);
}

#[tokio::test]
async fn a_peers_start_is_remembered_and_only_a_later_one_by_the_same_store_follows() {
    let (peer_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let peer = open(peer_folder.path(), "node-2").await;
    let first = peer.begin_start().await.unwrap();
    let second = peer.begin_start().await.unwrap();
    let third = peer.begin_start().await.unwrap();

    let store = open(folder.path(), "node-1").await;
    register(&store, "node-2", &second).await.unwrap();
    // Repeating it is harmless.
    register(&store, "node-2", &second).await.unwrap();
    store.close().await;
    let store = reopen(folder.path(), "node-1").await;
    assert_eq!(store.peer_incarnation(&member("node-2")).unwrap(), Some(2));
    assert_eq!(
        register(&store, "node-2", &first).await.unwrap_err(),
        StartRefusal::NotLater {
            peer: member("node-2"),
            found: 1,
            known: 2
        }
    );
    register(&store, "node-2", &third).await.unwrap();
    assert_eq!(store.peer_incarnation(&member("node-2")).unwrap(), Some(3));
    // Another peer's starts are another count.
    register(&store, "node-3", &first).await.unwrap();
}

#[tokio::test]
async fn a_copy_of_a_store_is_refused_however_often_it_starts() {
    let (peer_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let peer = open(peer_folder.path(), "node-2").await;
    peer.begin_start().await.unwrap();
    peer.close().await;
    let copied = tempfile::tempdir().unwrap();
    let file = "node-2.db";
    std::fs::copy(peer_folder.path().join(file), copied.path().join(file)).unwrap();

    let store = open(folder.path(), "node-1").await;
    let peer = reopen(peer_folder.path(), "node-2").await;
    let second = peer.begin_start().await.unwrap();
    register(&store, "node-2", &second).await.unwrap();

    let copy = open(copied.path(), "node-2").await;
    for attempt in 2..=5u64 {
        let start = copy.begin_start().await.unwrap();
        assert_eq!(start.start.incarnation, attempt);
        let refused = register(&store, "node-2", &start).await.unwrap_err();
        let number = matches!(refused, StartRefusal::NotLater { .. });
        assert_eq!(number, attempt == 2, "{refused}");
        assert!(refused.to_string().contains("old copy"), "{refused}");
    }
    // So is a new file under the same identity.
    let empty = tempfile::tempdir().unwrap();
    let fresh = open(empty.path(), "node-2").await;
    for _ in 1..=4 {
        let start = fresh.begin_start().await.unwrap();
        register(&store, "node-2", &start).await.unwrap_err();
    }
    // The true one goes on.
    let third = peer.begin_start().await.unwrap();
    register(&store, "node-2", &third).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_was_away_for_hundreds_of_starts_takes_the_newest() {
    let (peer_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let peer = open(peer_folder.path(), "node-2").await;
    let store = open(folder.path(), "node-1").await;
    let first = peer.begin_start().await.unwrap();
    register(&store, "node-2", &first).await.unwrap();
    let mut last = first;
    for _ in 0..300 {
        last = peer.begin_start().await.unwrap();
    }
    assert_eq!(last.earlier.len(), crate::wire::MAX_STARTS);
    register(&store, "node-2", &last).await.unwrap();
}

#[tokio::test]
async fn the_ledger_says_which_start_enough_peers_know() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    store.record_started(7, at(1)).await.unwrap();
    let entry = store.entries_after(0, 1).await.unwrap().remove(0);
    let entry: Statement<LedgerEntry> = serde_json::from_slice(entry.payload()).unwrap();
    assert_eq!(entry.body.event, LedgerEvent::Started { incarnation: 7 });
}

#[tokio::test]
async fn the_time_floor_rises_and_survives() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.time_floor()?, Timestamp::from_millis(0));
    store.raise_time_floor(at(100)).await?;
    store.settled().await?;
    // Not for a few seconds, and never down.
    store.raise_time_floor(at(101)).await?;
    store.raise_time_floor(at(50)).await?;
    store.settled().await?;
    assert_eq!(store.time_floor()?, at(100));
    store.close().await;
    let store = reopen(folder.path(), "node-1").await;
    assert_eq!(store.time_floor()?, at(100));
    let error = store.script("UPDATE time_floor SET at = 1").await;
    assert!(error.unwrap_err().to_string().contains("does not go back"));
    Ok(())
}
