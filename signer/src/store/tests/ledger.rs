//! What is promised, refused and remembered.

use countersign_policy::Hash;
use countersign_policy::statement::StopOutcome;

use super::support::*;
use crate::store::{
    AbortRefusal, LedgerPosition, OpError, OwnEntryRefusal, ReleaseRefusal, ReserveRefusal,
    SessionState, Store, StoreError, StoreOptions,
};

#[tokio::test]
async fn a_session_is_reserved_released_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.head().unwrap(), LedgerPosition::EMPTY);
    let first = reservation("a", 1);
    let reserved = store.reserve(first.clone(), at(0)).await.unwrap();
    assert_eq!(reserved.sequence, 1);
    let released = store.release(first.session, at(1)).await.unwrap();
    assert_eq!(released.sequence, 2);
    assert_eq!(store.head().unwrap(), released);
    store.close().await;

    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.head().unwrap(), released);
    assert_eq!(store.entries_after(0, 10).await.unwrap().len(), 2);
    assert_eq!(
        refused(store.release(first.session, at(2)).await),
        ReleaseRefusal::AlreadyReleased { released }
    );
    assert_eq!(
        refused(store.abort(first.session, "late", at(2)).await),
        AbortRefusal::Released
    );
    assert_eq!(
        refused(store.reserve(first.clone(), at(2)).await),
        ReserveRefusal::SessionExists {
            state: SessionState::Released,
            reserved,
        }
    );
    let stop = store.stop(first.request, hash("cancel"), at(3)).await;
    assert_eq!(stop.unwrap(), StopOutcome::Released);
}

#[tokio::test]
async fn the_file_itself_refuses_to_change_or_forget_an_entry() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    store.reserve(reservation("a", 1), at(0)).await.unwrap();
    for sql in [
        "DELETE FROM ledger",
        "UPDATE ledger SET id = 7",
        "UPDATE ledger SET envelope = x'00'",
    ] {
        let error = store.script(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_nonce_serves_one_session_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let first = reservation("a", 1);
    store.reserve(first.clone(), at(0)).await.unwrap();
    store
        .abort(first.session, "peer down", at(1))
        .await
        .unwrap();
    for payment in ["a", "b"] {
        let mut again = reservation(payment, 2);
        again.nonce = first.nonce;
        let refusal = refused(store.reserve(again, at(2)).await);
        assert_eq!(refusal, ReserveRefusal::NonceUsed);
    }
}

#[tokio::test]
async fn a_retry_waits_for_the_end_of_the_earlier_session() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let (first, second, third) = (
        reservation("a", 1),
        reservation("a", 2),
        reservation("a", 3),
    );
    store.reserve(first.clone(), at(0)).await.unwrap();
    assert_eq!(
        refused(store.reserve(second.clone(), at(1)).await),
        ReserveRefusal::SessionOpen {
            session: first.session
        }
    );
    let open_sessions = store.open_sessions().await.unwrap();
    assert_eq!(open_sessions.len(), 1);
    assert_eq!(open_sessions[0].session, first.session);
    assert_eq!(open_sessions[0].reserved_at, at(0));
    store
        .abort(first.session, "peer down", at(2))
        .await
        .unwrap();
    store.reserve(second.clone(), at(3)).await.unwrap();
    store.release(second.session, at(4)).await.unwrap();
    // The same digest once more adds nothing: the first signature may have been lost.
    store.reserve(third.clone(), at(5)).await.unwrap();
    store.release(third.session, at(6)).await.unwrap();
    assert!(store.open_sessions().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_external_id_belongs_to_one_request_of_its_initiator() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let first = reservation("a", 1);
    store.reserve(first.clone(), at(0)).await.unwrap();
    store.abort(first.session, "expired", at(1)).await.unwrap();
    let mut other = reservation("b", 1);
    other.external_id = first.external_id.clone();
    assert_eq!(
        refused(store.reserve(other.clone(), at(2)).await),
        ReserveRefusal::ExternalIdBound {
            request: Some(first.request),
            by: None
        }
    );
    other.initiator = member("payments-2");
    store.reserve(other, at(3)).await.unwrap();
}

#[tokio::test]
async fn digests_presignatures_and_sessions_are_bound_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let mut first = reservation("a", 1);
    first.presignature = Some(hash("presignature"));
    let reserved = store.reserve(first.clone(), at(0)).await.unwrap();
    let state = SessionState::Reserved;
    assert_eq!(
        refused(store.reserve(first.clone(), at(1)).await),
        ReserveRefusal::SessionExists { state, reserved }
    );
    store.abort(first.session, "x", at(1)).await.unwrap();
    store.close().await;
    let store = open(folder.path(), "node-1").await;

    let mut changed = reservation("a", 2);
    changed.digests.push(hash("more"));
    assert_eq!(
        refused(store.reserve(changed, at(2)).await),
        ReserveRefusal::DigestsChanged
    );
    let mut stolen = reservation("b", 1);
    stolen.digests = first.digests.clone();
    assert_eq!(
        refused(store.reserve(stolen, at(2)).await),
        ReserveRefusal::DigestReserved {
            digest: first.digests[0],
            request: first.request
        }
    );
    for payment in ["a", "c"] {
        let mut burnt = reservation(payment, 2);
        burnt.presignature = first.presignature;
        assert_eq!(
            refused(store.reserve(burnt, at(2)).await),
            ReserveRefusal::PresignatureBurnt
        );
    }
}

#[tokio::test]
async fn abort_and_release_exclude_each_other_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let first = reservation("a", 1);
    let unknown = hash("nobody");
    assert_eq!(
        refused(store.release(unknown, at(0)).await),
        ReleaseRefusal::Unknown
    );
    assert_eq!(
        refused(store.abort(unknown, "x", at(0)).await),
        AbortRefusal::Unknown
    );
    store.reserve(first.clone(), at(0)).await.unwrap();
    let long = "é".repeat(300);
    let aborted = store.abort(first.session, long, at(1)).await.unwrap();
    store.reserve(reservation("b", 1), at(1)).await.unwrap();
    let again = store.abort(first.session, "again", at(2)).await.unwrap();
    assert_eq!(again, aborted);
    assert_eq!(
        refused(store.release(first.session, at(3)).await),
        ReleaseRefusal::Aborted
    );
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert_eq!(
        refused(store.release(first.session, at(3)).await),
        ReleaseRefusal::Aborted
    );
    let status = store.session(first.session).await.unwrap().unwrap();
    assert_eq!(status.state, SessionState::Aborted);
    assert_eq!(status.ended, Some(aborted.sequence));
}

#[tokio::test]
async fn concurrent_release_and_abort_have_one_winner() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    for attempt in 0..50 {
        let this = reservation(&format!("p{attempt}"), 1);
        store.reserve(this.clone(), at(0)).await.unwrap();
        let (release, abort, stop) = tokio::join!(
            store.release(this.session, at(1)),
            store.abort(this.session, "x", at(1)),
            store.stop(this.request, hash("cancel"), at(1)),
        );
        assert_ne!(release.is_ok(), abort.is_ok());
        let expected = match release.is_ok() {
            true => StopOutcome::Released,
            false => StopOutcome::Stopped,
        };
        assert_eq!(stop.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_stop_ends_a_request_known_or_not_and_is_answered_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let (known, unknown) = (reservation("known", 1), reservation("unknown", 1));
    store.reserve(known.clone(), at(0)).await.unwrap();
    for request in [known.request, unknown.request] {
        let stopped = store.stop(request, hash("cancel"), at(1)).await.unwrap();
        assert_eq!(stopped, StopOutcome::Stopped);
    }
    let head = store.head().unwrap();
    // Reserved, aborted, stopped, stopped.
    assert_eq!(head.sequence, 4);
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    for request in [known.request, unknown.request] {
        let stopped = store
            .stop(request, hash("other cancel"), at(2))
            .await
            .unwrap();
        assert_eq!(stopped, StopOutcome::Stopped);
    }
    assert_eq!(store.head().unwrap(), head);
    assert_eq!(
        refused(store.release(known.session, at(3)).await),
        ReleaseRefusal::Aborted
    );
    for late in [reservation("known", 2), unknown] {
        let refusal = refused(store.reserve(late, at(3)).await);
        assert_eq!(refusal, ReserveRefusal::Stopped { by: None });
    }
}

#[tokio::test]
async fn own_entries_are_served_from_memory_and_from_the_file_alike() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    for attempt in 0..5 {
        store
            .reserve(reservation(&format!("p{attempt}"), 1), at(0))
            .await
            .unwrap();
    }
    let from_memory = store.entries_after(1, 3).await.unwrap();
    assert!(store.entries_after(5, 3).await.unwrap().is_empty());
    assert!(store.entries_after(99, 3).await.unwrap().is_empty());
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.entries_after(1, 3).await.unwrap(), from_memory);
    assert_eq!(from_memory.len(), 3);
    store.reserve(reservation("p9", 1), at(0)).await.unwrap();
    let all = store.entries_after(0, usize::MAX).await.unwrap();
    assert_eq!(all.len(), 6);
    let mut previous = Hash::ZERO;
    for (sequence, envelope) in (1..).zip(&all) {
        let opened = CHAIN
            .active()
            .directory()
            .open::<countersign_policy::statement::LedgerEntry>(envelope)
            .unwrap();
        assert_eq!(opened.body().sequence, sequence);
        assert_eq!(opened.body().previous, previous);
        previous = envelope.digest();
    }
    assert_eq!(store.head().unwrap().head, previous);
}

#[tokio::test]
async fn an_entry_of_the_ledger_looks_like_this() {
    let folder = tempfile::tempdir().unwrap();
    let fixed = StoreOptions {
        genesis: hash("genesis"),
        ..options(folder.path(), "node-1")
    };
    let store = Store::open(&fixed, identity("node-1"), &kek(PASSPHRASE))
        .await
        .unwrap();
    count_by_no_limits(&store).await;
    let mut first = reservation("a", 1);
    first.presignature = Some(hash("presignature"));
    store.reserve(first.clone(), at(0)).await.unwrap();
    store.release(first.session, at(1)).await.unwrap();
    let entries = store.entries_after(0, 2).await.unwrap();
    let payloads: Vec<serde_json::Value> = entries
        .iter()
        .map(|entry| serde_json::from_slice(entry.payload()).unwrap())
        .collect();
    insta::assert_json_snapshot!("ledger-entries", payloads);
}

#[tokio::test]
async fn an_old_copy_of_the_file_is_found_out_and_stays_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let first = reservation("a", 1);
    store.reserve(first.clone(), at(0)).await.unwrap();
    store.close().await;
    let path = options(folder.path(), "node-1").path;
    let copy = folder.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();

    let store = open(folder.path(), "node-1").await;
    store.release(first.session, at(1)).await.unwrap();
    let seen_by_peer = store.entries_after(0, 10).await.unwrap();
    for entry in &seen_by_peer {
        store.check_own(entry).await.unwrap();
    }
    store.close().await;

    std::fs::copy(&copy, &path).unwrap();
    let store = open(folder.path(), "node-1").await;
    store.check_own(&seen_by_peer[0]).await.unwrap();
    let old_copy =
        |error: &StoreError| matches!(error, StoreError::RolledBack { ours: 1, seen: 2 });
    match store.check_own(&seen_by_peer[1]).await {
        Err(OpError::Failed(error)) => assert!(old_copy(&error), "{error}"),
        other => panic!("{other:?}"),
    }
    match store.abort(first.session, "restart", at(2)).await {
        Err(OpError::Failed(error)) => assert!(old_copy(&error), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(old_copy(&store.head().unwrap_err()));
    drop(store);
    let error = reopen_refused(folder.path(), "node-1").await;
    assert!(error.contains("an old copy"), "{error}");
}

#[tokio::test]
async fn two_heads_of_our_own_are_a_rollback_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    store.reserve(reservation("a", 1), at(0)).await.unwrap();
    let mut twin = TestPeer::new("node-1");
    let entry = twin.says(reserved(reservation("b", 1)));
    let result = store.check_own(&entry).await;
    assert!(
        matches!(
            result,
            Err(OpError::Failed(StoreError::RolledBack { ours: 1, seen: 1 }))
        ),
        "{result:?}"
    );
}

#[tokio::test]
async fn an_entry_that_this_node_did_not_sign_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let entry = TestPeer::new("node-2").says(reserved(reservation("b", 1)));
    let forged = countersign_policy::Envelope::sign(
        entry.payload_type(),
        TestPeer::new("node-1")
            .says(reserved(reservation("b", 1)))
            .payload()
            .to_vec(),
        "node-1",
        &identity("node-2"),
    );
    for entry in [entry, forged] {
        assert_eq!(
            refused(store.check_own(&entry).await),
            OwnEntryRefusal::Foreign
        );
    }
    store.reserve(reservation("a", 1), at(0)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_fails_closed_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let kept = store.reserve(reservation("kept", 1), at(0)).await.unwrap();
    // No page beyond the present ones.
    store.script("PRAGMA max_page_count = 1").await.unwrap();
    let mut told = Vec::new();
    let failure = loop {
        let this = reservation(&format!("p{}", told.len()), 1);
        match store.reserve(this.clone(), at(0)).await {
            Ok(position) => told.push((this.session, position)),
            Err(OpError::Failed(failure)) => break failure,
            Err(OpError::Refused(refusal)) => panic!("{refusal}"),
        }
        assert!(told.len() < 1000, "the disk never got full");
    };
    assert!(failure.to_string().contains("full"), "{failure}");
    let later = store.stop(hash("r"), hash("c"), at(1)).await.unwrap_err();
    assert_eq!(later.to_string(), failure.to_string());
    assert!(store.head().is_err() && store.health().is_err());
    drop(store);

    let store = reopen(folder.path(), "node-1").await;
    let newest = told.last().map_or(kept, |(_, position)| *position);
    assert_eq!(store.head().unwrap(), newest);
    for (session, _) in told {
        assert!(store.session(session).await.unwrap().is_some());
    }
    store.reserve(reservation("after", 1), at(2)).await.unwrap();
}
