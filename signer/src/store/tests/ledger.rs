//! What is promised, refused and remembered.

use countersign_policy::statement::StopOutcome;

use super::support::*;
use crate::store::{
    AbortRefusal, LedgerPosition, OpError, ReleaseRefusal, ReserveRefusal, SessionState,
};

fn refused<T: std::fmt::Debug, R: std::error::Error>(result: Result<T, OpError<R>>) -> R {
    match result {
        Err(OpError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

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
        ReleaseRefusal::AlreadyReleased
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
        "UPDATE ledger SET sequence = 7",
        "UPDATE ledger SET envelope = x'00'",
    ] {
        let error = store.script(sql).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
}
