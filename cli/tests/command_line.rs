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
    let commands: [&[&str]; 55] = [
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
        &["policy"],
        &["policy", "init"],
        &["policy", "validate"],
        &["policy", "test"],
        &["policy", "diff"],
        &["policy", "propose"],
        &["policy", "approve"],
        &["policy", "veto"],
        &["policy", "activate"],
        &["policy", "log"],
        &["policy", "explain"],
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
        &["approve"],
        &["reject"],
        &["freeze"],
        &["unfreeze"],
        &["freezes"],
        &["cold"],
        &["cold", "export"],
        &["cold", "inspect"],
        &["cold", "consent"],
        &["cold", "sign"],
        &["cold", "import"],
        &["cold", "journal"],
        &["cold", "qr"],
        &["cold", "scan"],
        &["cold", "order"],
        &["cold", "key"],
        &["cold", "pin"],
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

/// A policy directory without any deployment: made, looked at, tested, compared, and refused with its line.
#[test]
fn a_policy_is_written_and_tested_offline() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("policy");
    let dir = dir.to_str().unwrap();
    let made = countersign(&["policy", "init", dir, "--example"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(
        countersign(&["policy", "init", dir, "--example"])
            .status
            .code(),
        Some(6),
        "nothing is overwritten"
    );
    let validated = countersign(&["policy", "validate", dir, "--json"]);
    assert!(validated.status.success(), "{}", text(&validated.stdout));
    let tested = countersign(&["policy", "test", dir]);
    assert!(tested.status.success(), "{}", text(&tested.stdout));
    assert!(text(&tested.stdout).contains("10 cases, 0 failed"));
    let same = countersign(&["policy", "diff", dir, "--against", dir]);
    assert_eq!(text(&same.stdout).trim(), "nothing changes");

    let file = folder.path().join("policy/policy.toml");
    let policy = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, policy.replace("max = \"100000\"", "max = \"15000\"")).unwrap();
    let tested = countersign(&["policy", "test", dir, "--json"]);
    assert_eq!(tested.status.code(), Some(3));
    let said: serde_json::Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert_eq!(said["ok"], false);
    assert!(said["failed"].as_u64().unwrap() >= 3, "{said}");

    std::fs::write(&file, policy.replace("0x28C6c0", "0x28c6C0")).unwrap();
    let refused = countersign(&["policy", "validate", dir, "--json"]);
    assert_eq!(refused.status.code(), Some(2));
    let said: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(said["problems"][0]["file"], "policy.toml");
    assert!(
        said["problems"][0]["line"].as_u64().unwrap() > 100,
        "{said}"
    );
    let nothing = countersign(&["policy", "validate", folder.path().to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(4));
}

#[test]
fn completions_are_made_for_common_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let made = countersign(&["completions", shell]);
        assert!(made.status.success());
        assert!(text(&made.stdout).contains("ceremony"), "{shell}");
    }
}
