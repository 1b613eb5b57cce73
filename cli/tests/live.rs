//! The command against a live deployment: `countersign up` as a process, and everything a person would type next.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::Path;
use std::process::Command;

use support::{Live, PROGRAM, text, with_keys};

const EXCHANGE: &str = "0x28C6c06298d514Db089934071355E5743bf21d60";
const SOLANA: &str = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";
const TRON: &str = "tron:0x2b6653dc";

#[test]
fn keys_wallets_addresses_and_bundles() {
    let live = with_keys();
    let order = ["ceremony", "--key", "hot", "--protocol", "dkls23"];
    let (said, _) = live.both(&order, 6);
    assert!(said.contains("a key hot already"), "{said}");

    // Wallets.
    let (said, listed) = live.both(&["wallet", "list"], 0);
    assert_eq!(said.lines().count(), 4, "{said}");
    let rows = listed["wallets"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    let (said, shown) = live.both(&["wallet", "show", "solana"], 0);
    assert!(said.contains("frost-ed25519"), "{said}");
    assert_eq!(shown["wallets"].as_array().unwrap().len(), 1);
    live.both(&["wallet", "show", "nobody"], 4);
    let rules = "[[rules]]\nid = \"deposits\"\nwallet = \"deposits\"\ninitiators = [\"payments\"]\nnetwork = \"eip155:1\"\n\
        asset = \"USDT\"\ndestinations = { to = \"address-book\" }\nmax = \"1\"\n";
    std::fs::write(live.dir.join("deposits.toml"), rules).unwrap();
    let create = [
        "wallet",
        "create",
        "--id",
        "deposits",
        "--key",
        "hot",
        "--path",
        "m/1",
        "--network",
        "eip155:1",
        "--change",
        "deposits.toml",
    ];
    let made = live.json(&create, 0);
    let deposits = made["wallets"][0]["address"].as_str().unwrap().to_owned();
    live.both(&create, 6);
    let missing = [
        "wallet",
        "create",
        "--id",
        "x",
        "--key",
        "cold",
        "--path",
        "m",
        "--network",
        "eip155:1",
    ];
    let (said, _) = live.both(&missing, 4);
    assert!(said.contains("countersign ceremony"), "{said}");

    // Addresses.
    let of = |path: &'static str| {
        [
            "--wallet",
            "deposits",
            "--network",
            "eip155:1",
            "--path",
            path,
        ]
    };
    let show = |path| [&["address", "show"][..], &of(path)].concat();
    let (said, shown) = live.both(&show("m/1"), 0);
    assert_eq!(said.trim(), deposits);
    assert!(shown.to_string().contains(&deposits), "{shown}");
    let child = live.text(&show("m/1/7"), 0);
    let child = child.trim();
    assert_ne!(child, deposits);
    let check = |path, address: &str| -> Vec<String> {
        let words = [&["address", "check"][..], &of(path), &[address]].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    for (path, address, code) in [("m/1/7", child, 0), ("m/1/8", child, 3), ("m/1", child, 3)] {
        let words = check(path, address);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (said, object) = live.both(&words, code);
        assert_eq!(said.contains("NOT"), code == 3, "{said}");
        assert_eq!(object["ok"], code == 0, "{object}");
    }
    live.both(&show("m/0"), 2);
    live.both(
        &["address", "show", "--wallet", "deposits", "--network", TRON],
        2,
    );

    // A policy change with key files on different machines.
    let change = "[[rules]]\nid = \"eth\"\nwallet = \"treasury\"\ninitiators = [\"payments\"]\nnetwork = \"eip155:1\"\n\
        asset = \"ETH\"\ndestinations = { to = \"address-book\" }\nmax = \"1\"\n";
    std::fs::write(live.dir.join("change.toml"), change).unwrap();
    let author = format!("author={}", live.file("members/author/statement.key"));
    live.both(
        &[
            "bundle",
            "propose",
            "--change",
            "change.toml",
            "--sign",
            &author,
            "--out",
            "next.json",
        ],
        0,
    );
    let (said, _) = live.both(&["bundle", "submit", "next.json"], 3);
    assert!(said.contains("quorum") || said.contains("approv"), "{said}");
    let (said, _) = live.both(
        &[
            "bundle",
            "sign",
            "next.json",
            "--member",
            "approver-1",
            "--key",
            "no.key",
        ],
        2,
    );
    assert_eq!(said.matches("os error 2").count(), 1, "{said}");
    for approver in ["approver-1", "approver-2"] {
        let key = live.file(&format!("members/{approver}/statement.key"));
        live.json(
            &[
                "bundle",
                "sign",
                "next.json",
                "--member",
                approver,
                "--key",
                &key,
            ],
            0,
        );
    }
    live.json(&["bundle", "submit", "next.json"], 0);
    let (said, shown) = live.both(&["bundle", "show"], 0);
    assert!(
        said.contains("eth ") && shown.to_string().contains("\"eth\""),
        "{said}"
    );
    let (said, _) = live.both(&["bundle", "submit", "nothing.json"], 2);
    assert_eq!(said.matches("os error 2").count(), 1, "{said}");

    let (said, token) = live.both(&["token"], 0);
    assert_eq!(said.trim().split('.').count(), 3);
    assert!(token["token"].is_string());
}

#[test]
fn requests_on_every_network_and_what_becomes_of_them() {
    let live = with_keys();
    let usdt = |amount, nonce, id| {
        let words = [
            "request",
            "transfer",
            "--wallet",
            "treasury",
            "--network",
            "eip155:1",
            "--asset",
            "USDT",
            "--to",
            EXCHANGE,
        ];
        let rest = [
            "--amount",
            amount,
            "--nonce",
            nonce,
            "--max-fee-per-gas",
            "20000000000",
            "--external-id",
            id,
        ];
        [&words[..], &rest[..], &["--wait", "30"]].concat()
    };

    // Asking again for the same payment is safe, and gives the same request; another one needs another name.
    let first = live.json(&usdt("12.50", "0", "payout-1"), 0);
    assert_eq!(first["state"], "SIGNED");
    assert_eq!(first["intent"]["transfers"][0]["amount"], "12500000");
    let (said, again) = live.both(&usdt("12.50", "0", "payout-1"), 0);
    assert_eq!(
        (&again["id"], &again["signed"]),
        (&first["id"], &first["signed"])
    );
    assert!(said.contains(first["tx_id"].as_str().unwrap()), "{said}");
    let (said, object) = live.both(&usdt("13", "0", "payout-1"), 6);
    assert!(said.contains("countersign status"), "{said}");
    assert_eq!(object["problem"]["sign_request"], first["id"]);

    // Tron and Solana.
    let block = format!("{:064x}", 0x0000_0003_d6c3_a4f1_u64);
    let tron = [
        "request",
        "transfer",
        "--wallet",
        "treasury",
        "--network",
        TRON,
        "--asset",
        "USDT",
        "--to",
        "TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE",
        "--amount",
        "80",
        "--tron-ref-block",
        &block,
        "--external-id",
        "tron-1",
        "--wait",
        "30",
    ];
    let signed = live.json(&tron, 0);
    assert_eq!(signed["state"], "SIGNED");
    // Made again it has another time in it, so it is another transaction.
    let (said, _) = live.both(&tron, 6);
    assert!(said.contains("names another transaction already"), "{said}");
    let sol = [
        "request",
        "transfer",
        "--wallet",
        "solana",
        "--network",
        SOLANA,
        "--asset",
        "SOL",
        "--to",
        "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM",
        "--amount",
        "0.5",
        "--solana-blockhash",
        "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N",
        "--external-id",
        "sol-1",
        "--wait",
        "30",
    ];
    let signed = live.text(&sol, 0);
    assert!(signed.contains("SIGNED"), "{signed}");

    // Bytes made elsewhere: the same transaction as the first, under its own name.
    let bytes = first["unsigned"].as_str().unwrap();
    let raw = |bytes, id| {
        [
            "request",
            "raw",
            "--wallet",
            "treasury",
            "--network",
            "eip155:1",
            "--transaction",
            bytes,
            "--external-id",
            id,
            "--wait",
            "30",
        ]
    };
    let again = live.json(&raw(bytes, "payout-1"), 0);
    assert_eq!(again["id"], first["id"]);
    let other = live.json(&usdt("7", "1", "payout-2"), 0);
    assert_eq!(other["state"], "SIGNED");
    live.both(&raw("0x00", "payout-3"), 3);
    live.both(&raw("no hex", "payout-3"), 2);

    // Refused by policy, by the address book, and on the command line.
    let (said, blocked) = live.both(&usdt("60000", "2", "payout-4"), 3);
    assert!(
        said.contains("BLOCKED") && said.contains("above the cap"),
        "{said}"
    );
    assert_eq!(blocked["state"], "BLOCKED");
    let simulated = [&usdt("60000", "2", "payout-5")[..], &["--simulate"]].concat();
    live.both(&simulated, 3);
    let simulated = [&usdt("2", "2", "payout-5")[..], &["--simulate"]].concat();
    live.both(&simulated, 0);
    live.both(&usdt("much", "2", "payout-5"), 2);

    // Status and cancel.
    let id = first["id"].as_str().unwrap();
    let (said, view) = live.both(&["status", id], 0);
    assert!(
        said.contains("SIGNING") && view["events"].as_array().unwrap().len() >= 4,
        "{said}"
    );
    let (said, page) = live.both(&["status", "--state", "SIGNED"], 0);
    let listed = page["requests"].as_array().unwrap().len();
    assert_eq!((listed, said.lines().count()), (4, 4), "{said}");
    live.both(&["status", &"0".repeat(64)], 4);
    live.both(&["status", "x"], 2);
    live.both(&["status", "--state", "DONE"], 3);
    let (said, _) = live.both(&["cancel", id, "--detail", "too late"], 6);
    assert!(said.contains("signed"), "{said}");
    live.both(&["cancel", &"0".repeat(64), "--detail", "nothing"], 4);
}

/// Officers with profiles of their own, as on machines of their own.
#[test]
fn officers_approve_reject_freeze_and_end_a_freeze() {
    let live = with_keys();
    let as_member = |member: &str, words: &[&str]| -> Vec<String> {
        let profile = live.file(&format!("members/{member}/client.toml"));
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain(["--profile".to_owned(), profile]).collect()
    };
    let json = |member: &str, words: &[&str], code| {
        let words = as_member(member, words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        live.json(&words, code)
    };
    let text = |member: &str, words: &[&str], code| {
        let words = as_member(member, words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        live.text(&words, code)
    };
    let ask = |amount, nonce, id| {
        let words = [
            "request",
            "transfer",
            "--wallet",
            "treasury",
            "--network",
            "eip155:1",
            "--asset",
            "USDT",
            "--to",
            EXCHANGE,
            "--amount",
            amount,
            "--nonce",
            nonce,
            "--max-fee-per-gas",
            "20000000000",
            "--external-id",
            id,
        ];
        words.to_vec()
    };

    // Nobody signs what they were not shown, and nobody who is no officer.
    let asked = live.json(&ask("20000", "0", "large-1"), 0);
    let id = asked["id"].as_str().unwrap();
    let explained = live.text(&["policy", "explain", id], 7);
    assert!(explained.contains("2 of 2 from treasury"), "{explained}");
    json("officer-1", &["approve", id], 2);
    let refused = text("officer-1", &["approve", id], 3);
    assert!(
        refused.contains("= \"Exchange\" of the address book"),
        "{refused}"
    );
    live.json(&["approve", id, "--yes"], 3);
    json("officer-1", &["approve", id, "--yes"], 0);
    let signed = json("officer-2", &["approve", id, "--yes", "--wait", "30"], 0);
    assert_eq!(signed["state"], "SIGNED", "{signed}");
    json("officer-3", &["approve", id, "--yes"], 6);

    let asked = live.json(&ask("15000", "1", "large-2"), 0);
    let id = asked["id"].as_str().unwrap();
    json(
        "officer-3",
        &["reject", id, "--reason", "a forged invoice", "--yes"],
        0,
    );
    let (said, _) = live.both(&["policy", "explain", id], 3);
    assert!(said.contains("a forged invoice"), "{said}");

    // A freeze that goes to the signers directly, and the file that two officers sign to end it.
    let freeze = ["freeze", "wallet", "treasury", "--reason", "drill", "--yes"];
    live.json(&freeze, 3);
    json(
        "officer-3",
        &[&freeze[..], &["--signer", "all"]].concat(),
        0,
    );
    let frozen = live.json(
        &[&ask("5", "1", "small-1")[..], &["--wait", "30"]].concat(),
        3,
    );
    assert_eq!(frozen["state"], "BLOCKED", "{frozen}");
    let listed = json("officer-1", &["freezes", "--signer", "node-2"], 0);
    let digest = listed["freezes"][0]["digest"].as_str().unwrap();
    json(
        "officer-1",
        &[
            "freeze",
            "asset",
            "SOL",
            "--network",
            SOLANA,
            "--reason",
            "drill",
            "--yes",
        ],
        0,
    );
    let end = [
        "unfreeze", digest, "--reason", "over", "--sign", "end.json", "--yes",
    ];
    json("auditor-1", &end, 3);
    json("officer-1", &end, 0);
    json(
        "officer-1",
        &["unfreeze", "--sign", "end.json", "--send", "--yes"],
        3,
    );
    json(
        "officer-2",
        &["unfreeze", "--sign", "end.json", "--send", "--yes"],
        0,
    );
    let signed = live.json(
        &[&ask("6", "1", "small-2")[..], &["--wait", "30"]].concat(),
        0,
    );
    assert_eq!(signed["state"], "SIGNED");
    // What was frozen meanwhile stays so.
    let listed = json("officer-1", &["freezes"], 0);
    assert_eq!(listed["freezes"].as_array().unwrap().len(), 1, "{listed}");
}

/// The README's own commands, word for word.
#[test]
fn the_readme_works() {
    let readme = include_str!("../../README.md");
    let start = readme.find("## Explore it").unwrap();
    let blocks: Vec<&str> = readme[start..]
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [set_up, explore, officers, curl, inspect] = blocks[..] else {
        panic!("the README's blocks changed: {blocks:?}");
    };
    assert!(
        set_up.contains("countersign init cluster") && set_up.contains("countersign up cluster")
    );
    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(PROGRAM).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let bash = |script: &str| {
        let ended = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .env("PATH", &path)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let (out, err) = (text(&ended.stdout), text(&ended.stderr));
        assert!(ended.status.success(), "{script}\n{out}{err}");
        out
    };
    bash("countersign init cluster");
    let live = Live::start(&["cluster"], folder.path());
    let said = bash(explore);
    assert!(
        said.contains("SIGNED") && said.contains("tron:0x2b6653dc"),
        "{said}"
    );
    let profile = "export COUNTERSIGN_PROFILE=$PWD/cluster/client.toml\n";
    let said = bash(&format!("{profile}{officers}"));
    assert!(
        said.contains("needs approvals") && said.contains("SIGNED"),
        "{said}"
    );
    assert!(
        said.contains("no longer possible") && said.contains("active"),
        "{said}"
    );
    let said = bash(&format!("{profile}{curl}"));
    let answers: Vec<&str> = said.lines().filter(|line| line.contains('{')).collect();
    assert!(
        said.contains("\"state\":\"SIGNED\"") && said.contains("\"wallets\":["),
        "{answers:?}"
    );
    let said = bash(inspect);
    assert!(
        said.contains("USDT") || said.contains("dac17f958d2ee523a2206206994597c13d831ec7"),
        "{said}"
    );
    drop(live);
}
