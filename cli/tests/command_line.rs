//! The command as its users meet it: help, exit codes, JSON errors, completions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::process::{Command, Output};

fn countersign(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(arguments)
        .env_remove("COUNTERSIGN_PROFILE")
        .env("COLUMNS", "120")
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The help of every command, reviewed as a snapshot: it is an interface.
#[test]
fn help_teaches() {
    let commands: [&[&str]; 27] = [
        &[],
        &["inspect"],
        &["init"],
        &["up"],
        &["ceremony"],
        &["wallet"],
        &["wallet", "list"],
        &["wallet", "show"],
        &["wallet", "create"],
        &["address"],
        &["address", "show"],
        &["address", "check"],
        &["bundle"],
        &["bundle", "show"],
        &["bundle", "verify"],
        &["bundle", "propose"],
        &["bundle", "sign"],
        &["bundle", "submit"],
        &["request"],
        &["request", "transfer"],
        &["request", "raw"],
        &["status"],
        &["cancel"],
        &["demo"],
        &["token"],
        &["node"],
        &["coordinator"],
    ];
    for command in commands {
        let shown = countersign(&[command, &["--help"]].concat());
        assert!(shown.status.success(), "{command:?}");
        let name = format!("help-{}", command.join("-"));
        insta::assert_snapshot!(name.trim_end_matches('-'), text(&shown.stdout));
    }
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let nowhere = tempfile::tempdir().unwrap();
    let occupied = nowhere.path().join("file");
    std::fs::write(&occupied, b"x").unwrap();
    let folder = nowhere.path().to_str().unwrap();
    for (arguments, code) in [
        (vec!["inspect", "--network", "eip155:1", "00"], 3),
        (vec!["frobnicate"], 2),
        (
            vec!["wallet", "list", "--profile", "/nonexistent/client.toml"],
            2,
        ),
        (vec!["init", folder], 6),
        (vec!["up", "/nonexistent"], 4),
        (vec!["init", "/dev/null/x"], 1),
    ] {
        let ended = countersign(&arguments);
        assert_eq!(
            ended.status.code(),
            Some(code),
            "{arguments:?}: {}",
            text(&ended.stderr)
        );
    }
}

#[test]
fn with_json_a_failure_is_an_object_too() {
    let ended = countersign(&["status", "--json", "--profile", "/nonexistent/client.toml"]);
    assert_eq!(ended.status.code(), Some(2));
    let said: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(said["ok"], false);
    assert!(said["error"].as_str().unwrap().contains("profile"));
    assert!(ended.stderr.is_empty());
    // Also one of the command line itself.
    let ended = countersign(&["status", "no-digest", "--json"]);
    assert_eq!(ended.status.code(), Some(2));
    let said: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert!(said["error"].as_str().unwrap().contains("64 lower-case"));
    assert!(ended.stderr.is_empty());
}

#[test]
fn a_coordinator_that_is_not_there_is_told_apart_from_one_that_says_no() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cluster");
    let made = countersign(&["init", dir.to_str().unwrap(), "--json"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let profile = made["profile"].as_str().unwrap();
    let ended = countersign(&["wallet", "list", "--profile", profile]);
    assert_eq!(ended.status.code(), Some(5), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("countersign up"));
    // The genesis alone is a chain that can be verified offline, with the right hash only.
    let genesis = dir.join("genesis.json");
    let genesis = genesis.to_str().unwrap();
    let hash = made["genesis_hash"].as_str().unwrap();
    let verified = countersign(&["bundle", "verify", "--genesis-hash", hash, genesis]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let other = "00".repeat(32);
    let refused = countersign(&["bundle", "verify", "--genesis-hash", &other, genesis]);
    assert_eq!(refused.status.code(), Some(3));
}

#[test]
fn completions_are_made_for_common_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let made = countersign(&["completions", shell]);
        assert!(made.status.success());
        assert!(text(&made.stdout).contains("ceremony"), "{shell}");
    }
}
