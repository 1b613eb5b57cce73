//! Which files are opened, and which are not.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use super::support::*;
use crate::store::{OpenError, OpenMode, Store, StoreError, StoreOptions};

async fn open_with(options: &StoreOptions) -> Result<Store, OpenError> {
    let node = options.node.as_str().to_owned();
    let store = Store::open(options, identity(&node), &kek(PASSPHRASE)).await?;
    count_by_no_limits(&store).await;
    Ok(store)
}

#[tokio::test]
async fn a_file_that_should_be_there_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let existing = StoreOptions {
        mode: OpenMode::Existing,
        ..options(folder.path(), "node-1")
    };
    let new = StoreOptions {
        mode: OpenMode::CreateNew,
        ..existing.clone()
    };
    assert!(matches!(
        open_with(&existing).await,
        Err(OpenError::Missing(_))
    ));
    // Not even where a crash left an empty one.
    std::fs::File::create(&existing.path)
        .unwrap()
        .set_permissions(std::fs::Permissions::from_mode(0o600))
        .unwrap();
    assert!(matches!(
        open_with(&existing).await,
        Err(OpenError::Missing(_))
    ));
    std::fs::remove_file(&existing.path).unwrap();
    open_with(&new).await.unwrap().close().await;
    assert!(matches!(open_with(&new).await, Err(OpenError::Exists(_))));
    open_with(&existing).await.unwrap();
}

#[tokio::test]
async fn a_file_that_others_can_reach_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), "node-1").await.close().await;
    let path = options(folder.path(), "node-1").path;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let opened = try_open(folder.path(), "node-1").await;
    assert!(
        matches!(opened, Err(OpenError::Permissions { mode: 0o640, .. })),
        "{opened:?}"
    );
}

#[tokio::test]
async fn the_store_of_another_node_or_deployment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), "node-1").await.close().await;
    let ours = options(folder.path(), "node-1");
    let other_node = StoreOptions {
        node: member("node-2"),
        ..ours.clone()
    };
    let other_genesis = StoreOptions {
        genesis: hash("other"),
        ..ours
    };
    for other in [other_node, other_genesis] {
        let opened = open_with(&other).await;
        assert!(matches!(opened, Err(OpenError::Owner { .. })), "{opened:?}");
    }
}

#[tokio::test]
async fn other_files_and_newer_forms_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = options(folder.path(), "node-1").path;
    let text = "this is no database, and more than a page long ".repeat(200);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let opened = try_open(folder.path(), "node-1").await;
    assert!(
        matches!(opened, Err(OpenError::Foreign { .. })),
        "{opened:?}"
    );
    std::fs::remove_file(&path).unwrap();
    for script in ["PRAGMA user_version = 99", "PRAGMA application_id = 1"] {
        let store = open(folder.path(), "node-1").await;
        store.script(script).await.unwrap();
        store.close().await;
        let opened = try_open(folder.path(), "node-1").await;
        assert!(
            matches!(opened, Err(OpenError::Foreign { .. })),
            "{opened:?}"
        );
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_or_edited_ledger_is_refused() {
    let forged = "DROP TRIGGER ledger_is_not_updated; DROP TRIGGER ledger_is_not_deleted;";
    for edit in [
        "DELETE FROM ledger WHERE sequence = 2",
        "DELETE FROM ledger WHERE sequence = 1",
        "UPDATE ledger SET id = 9 WHERE sequence = 4",
        "UPDATE ledger SET id = id + (7 << 40) WHERE sequence = 4",
        "UPDATE ledger SET envelope = (SELECT envelope FROM ledger WHERE sequence = 3) WHERE sequence = 4",
        "UPDATE ledger SET envelope = CAST(replace(CAST(envelope AS TEXT), 'keyid', 'keyiD') AS BLOB)",
        "DELETE FROM authors",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), "node-1").await;
        for payment in ["a", "b", "c", "d"] {
            store.reserve(reservation(payment, 1), at(0)).await.unwrap();
        }
        store.script("PRAGMA foreign_keys = OFF").await.unwrap();
        store.script(&format!("{forged} {edit}")).await.unwrap();
        store.close().await;
        let opened = try_open(folder.path(), "node-1").await;
        let corrupt = matches!(&opened, Err(OpenError::Store(StoreError::Corrupt(_))));
        assert!(corrupt, "{edit}: {opened:?}");
    }
}

#[tokio::test]
async fn a_head_that_this_node_did_not_sign_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    store.reserve(reservation("a", 1), at(0)).await.unwrap();
    store.close().await;
    let ours = options(folder.path(), "node-1");
    let opened = Store::open(&ours, identity("node-2"), &kek(PASSPHRASE)).await;
    assert!(
        matches!(opened, Err(OpenError::Store(StoreError::Corrupt(_)))),
        "{opened:?}"
    );
}

#[tokio::test]
async fn overwritten_pages_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    for number in 0..200 {
        let this = reservation(&format!("p{number}"), 1);
        store.reserve(this, at(0)).await.unwrap();
    }
    store.close().await;
    let path = options(folder.path(), "node-1").path;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let opened = try_open(folder.path(), "node-1").await;
    assert!(matches!(opened, Err(OpenError::Store(_))), "{opened:?}");
}

#[tokio::test]
async fn a_second_handle_in_this_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let second = try_open(folder.path(), "node-1").await;
    assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    store.close().await;
    open(folder.path(), "node-1").await;
}

const HOLD: &str = "COUNTERSIGN_TEST_HOLD_STORE";

/// Not a test of its own: the process that holds the file for the test below.
#[tokio::test]
async fn child_that_holds_the_store() {
    let Some(folder) = std::env::var_os(HOLD) else {
        return;
    };
    let _store = open(folder.as_ref(), "node-1").await;
    println!("\nholding");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::tests::opening::child_that_holds_the_store",
            "--nocapture",
        ])
        .env(HOLD, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(output);
    assert!(lines.any(|line| line.unwrap() == "holding"));
    let second = try_open(folder.path(), "node-1").await;
    assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    open(folder.path(), "node-1").await;
}
