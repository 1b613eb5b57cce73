//! Counters of authenticators go up, also over restarts.

use countersign_policy::HexBytes;

use super::support::*;
use crate::store::{OpError, SeenCounter, Store};

fn seen(credential: u8, counter: u32, statement: &str) -> SeenCounter {
    SeenCounter {
        credential: HexBytes(vec![credential; 16]),
        counter,
        statement: hash(statement),
    }
}

async fn admitted(store: &Store, seen: Vec<SeenCounter>) -> bool {
    match store.admit_counters(seen).await {
        Ok(()) => true,
        Err(OpError::Refused(_)) => false,
        Err(OpError::Failed(fault)) => panic!("{fault}"),
    }
}

#[tokio::test]
async fn a_counter_that_goes_back_is_refused_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    assert!(admitted(&store, vec![seen(1, 7, "a"), seen(2, 3, "b")]).await);
    // The statement that was seen, again; and an authenticator that does not count.
    assert!(admitted(&store, vec![seen(1, 7, "a"), seen(3, 0, "c")]).await);
    store.close().await;
    let store = reopen(folder.path(), "node-1").await;
    assert!(!admitted(&store, vec![seen(1, 7, "d")]).await);
    assert!(!admitted(&store, vec![seen(1, 6, "d")]).await);
    // All or none: the first of these was not taken in.
    assert!(!admitted(&store, vec![seen(1, 9, "e"), seen(2, 2, "f")]).await);
    assert!(admitted(&store, vec![seen(1, 8, "g")]).await);
    assert!(admitted(&store, vec![seen(1, 7, "a")]).await);
}
