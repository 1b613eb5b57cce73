//! The policy of a live deployment, as its people change, stop and tighten it with the command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use serde_json::Value;
use support::with_keys;

const EXCHANGE: &str = "0x28C6c06298d514Db089934071355E5743bf21d60";

/// A request for USDT on BNB Smart Chain, of which the demonstration's limit allows 100 a day.
fn ask<'a>(amount: &'a str, nonce: &'a str, id: &'a str) -> Vec<&'a str> {
    [
        "request",
        "transfer",
        "--wallet",
        "treasury",
        "--network",
        "eip155:56",
        "--asset",
        "USDT",
        "--to",
        EXCHANGE,
        "--amount",
        amount,
        "--nonce",
        nonce,
        "--max-fee-per-gas",
        "1000000000",
        "--external-id",
        id,
        "--wait",
        "30",
    ]
    .to_vec()
}

fn entry<'a>(log: &'a Value, digest: &str) -> &'a Value {
    let entries = log["entries"].as_array().unwrap();
    let found = entries.iter().find(|e| e["digest"] == digest);
    found.unwrap_or_else(|| panic!("{digest} in {log}"))
}

#[test]
fn a_proposal_is_vetoed_and_the_log_says_by_whom_and_why() {
    let live = with_keys();
    live.json(&["policy", "init", "policy"], 0);
    let file = live.dir.join("policy/policy.toml");
    let written = std::fs::read_to_string(&file).unwrap();
    let more = "\n[[nonce_leads]]\nid = \"eth-nonces\"\nnetwork = \"eip155:1\"\nmax = 1\n";
    std::fs::write(&file, written.clone() + more).unwrap();
    let diff = live.text(&["policy", "diff", "policy"], 0);
    assert!(
        diff.contains("lead the last observed one by at most 1"),
        "{diff}"
    );
    let propose = ["policy", "propose", "policy", "--yes"];
    live.as_member("approver-1", &propose, 3);
    let proposed = live.as_member("author", &propose, 0);
    let digest = proposed["digest"].as_str().unwrap().to_owned();
    live.as_member("approver-1", &["policy", "approve", &digest, "--yes"], 0);

    // Any one approver stops it; nobody else does.
    let veto = [
        "policy",
        "veto",
        &digest,
        "--reason",
        "nobody asked us",
        "--yes",
    ];
    live.as_member("officer-1", &veto, 3);
    live.as_member("author", &veto, 3);
    let vetoed = live.as_member("approver-2", &veto, 0);
    assert_eq!(vetoed["bundle"], digest.as_str(), "{vetoed}");
    assert_eq!(vetoed["nodes"].as_object().unwrap().len(), 3, "{vetoed}");
    live.as_member("approver-2", &["policy", "approve", &digest, "--yes"], 6);
    let log = live.as_member("auditor-1", &["policy", "log"], 0);
    let row = entry(&log, &digest);
    assert_eq!(
        (&row["state"], &row["verified"]),
        (&Value::from("vetoed"), &Value::from(false))
    );
    assert_eq!(row["author"], "author");
    assert_eq!(row["vetoes"][0], "approver-2: nobody asked us");
    let active = entry(&log, log["active"].as_str().unwrap());
    assert_eq!(
        (&active["version"], &active["verified"]),
        (&Value::from(3), &Value::from(true))
    );
    let said = live.text(&["policy", "log"], 0);
    assert!(said.contains("nobody asked us"), "{said}");

    // Another proposal takes its place, is signed and followed, and stands in the log with everybody who signed it.
    std::fs::write(&file, written + &more.replace("max = 1", "max = 2")).unwrap();
    let proposed = live.as_member("author", &propose, 0);
    let next = proposed["digest"].as_str().unwrap().to_owned();
    live.as_member("approver-1", &["policy", "approve", &next, "--yes"], 0);
    live.as_member("approver-2", &["policy", "approve", &next, "--yes"], 0);
    live.json(&["policy", "activate"], 0);
    let log = live.as_member("auditor-1", &["policy", "log"], 0);
    assert_eq!(log["active"], next.as_str());
    let row = entry(&log, &next);
    assert_eq!(
        (&row["version"], &row["verified"]),
        (&Value::from(4), &Value::from(true))
    );
    assert_eq!(row["approvers"].as_array().unwrap().len(), 2, "{row}");
    assert_eq!(entry(&log, &digest)["state"], "vetoed");
}

#[test]
fn one_officer_lowers_a_limit_at_once_and_nobody_raises_it_alone() {
    let live = with_keys();
    let lower = [
        "freeze",
        "limit",
        "usdt-bsc-day",
        "--max",
        "10",
        "--reason",
        "until the audit is done",
        "--yes",
    ];
    live.json(&lower, 3);
    let frozen = live.as_member("officer-1", &lower, 0);
    let digest = frozen["digest"].as_str().unwrap().to_owned();
    let signed = live.json(&ask("7", "0", "small-1"), 0);
    assert_eq!(signed["state"], "SIGNED", "{signed}");
    let blocked = live.json(&ask("4", "1", "small-2"), 3);
    assert_eq!(blocked["state"], "BLOCKED", "{blocked}");
    assert!(blocked.to_string().contains("usdt-bsc-day"), "{blocked}");
    let listed = live.as_member("officer-2", &["freezes"], 0);
    assert_eq!(listed["freezes"][0]["digest"], digest.as_str());
    // Naming a higher value lowers nothing and raises nothing: the lowest counts.
    let mut raise = lower;
    (raise[4], raise[6]) = ("1000", "back to normal");
    live.as_member("officer-2", &raise, 0);
    let blocked = live.json(&ask("4", "1", "small-3"), 3);
    assert_eq!(blocked["state"], "BLOCKED", "{blocked}");
    // A quorum ends it by name, and the bundle's own limit counts again.
    let end = [
        "unfreeze", &digest, "--reason", "over", "--sign", "end.json", "--yes",
    ];
    live.as_member("officer-1", &end, 0);
    let send = ["unfreeze", "--sign", "end.json", "--send", "--yes"];
    live.as_member("officer-2", &send, 0);
    let signed = live.json(&ask("4", "1", "small-4"), 0);
    assert_eq!(signed["state"], "SIGNED", "{signed}");
}
