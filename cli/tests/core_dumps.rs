//! No program of this product can be dumped, or read by another process of its user (I1).
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Nobody in particular, if this test runs as root: what belongs to root anyhow would show nothing.
const NOBODY: u32 = 65_534;

#[test]
fn the_command_can_neither_be_dumped_nor_attached_to() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("countersign");
    std::fs::copy(env!("CARGO_BIN_EXE_countersign"), &program).unwrap();
    let root = folder.path().metadata().unwrap().uid() == 0;
    let mut command = Command::new(&program);
    // Waits for transactions on standard input: it has done all that comes first.
    command
        .args(["inspect", "--network", "eip155:1", "-"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut running = command.spawn().unwrap();
    let proc = format!("/proc/{}", running.id());
    let core = || {
        let limits = std::fs::read_to_string(format!("{proc}/limits")).unwrap();
        let line = limits.lines().find(|l| l.starts_with("Max core file size"));
        line.unwrap().split_whitespace().skip(4).collect::<Vec<_>>()[..2].join(" ")
    };
    let owner = || std::fs::metadata(format!("{proc}/environ")).unwrap().uid();
    for _ in 0..500 {
        if core() == "0 0" && owner() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(core(), "0 0");
    // The kernel gives the files that show an undumpable process to root, whoever runs it.
    let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
    let user = status.lines().find(|l| l.starts_with("Uid:")).unwrap();
    assert!(!user.contains("\t0\t"), "{user}");
    assert_eq!(owner(), 0);
    let pid = running.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-ABRT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ended = running.wait().unwrap();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
}
