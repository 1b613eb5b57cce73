//! What the operating system may do with the memory of a process that holds secrets (I1).
#![cfg(target_os = "linux")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use countersign_tests::cluster::{Cluster, Place};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_entry() {
    countersign_tests::cluster::child_entry().await;
}

/// The limit of core files of a process, soft and hard, as the kernel shows it.
fn core_limit(pid: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    let mut words = line.split_whitespace().skip(4);
    let mut next = || words.next().unwrap().to_owned();
    (next(), next())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_crashes_leaves_no_core_dump() {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    let node = cluster.members().remove(0);
    let process = cluster.process(&node).unwrap();
    assert_eq!(core_limit(process.id()), ("0".to_owned(), "0".to_owned()));
    let abort = Command::new("kill")
        .args(["-ABRT", &process.id().to_string()])
        .status();
    assert!(abort.unwrap().success());
    let ended = process.wait().unwrap();
    assert_eq!(ended.signal(), Some(6));
    assert!(!ended.core_dumped(), "{ended}");
}
