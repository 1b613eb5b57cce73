use countersign_policy::bundle::{ActiveBundle, CedarFile};
use countersign_policy::canonical;
use countersign_policy::limits::{FirstNonce, Measure, NonceLead, Period};
use countersign_policy::testing::{TestDeployment, WALLET, wallet_id};
use countersign_policy::{Address, Network};

use super::*;
use crate::policy::init::write_active;

/// A deployment with something in most sections.
fn deployment() -> TestDeployment {
    let mut deployment = TestDeployment::with_approvals(3, 2, "treasury:2|security:1");
    deployment.add_limit(
        "spends-hour",
        Measure::Count { max: 20 },
        Period::Rolling { seconds: 3_600 },
    );
    deployment.content_mut().nonce_leads = vec![NonceLead {
        id: "nonces".parse().unwrap(),
        network: Network::ETHEREUM,
        wallets: vec![wallet_id(WALLET)],
        max: 8,
        first: vec![FirstNonce {
            account: Address::Evm([7; 20]),
            nonce: 120,
        }],
    }];
    deployment.content_mut().cedar.push(CedarFile {
        name: "night.cedar".to_owned(),
        text: "@id(\"night\")\n@reason(\"closed\")\nforbid (principal, action, resource) when { context.hour < 6 };\n"
            .to_owned(),
    });
    deployment
}

fn written(deployment: &TestDeployment) -> (tempfile::TempDir, PolicyDirectory, ActiveBundle) {
    let folder = tempfile::tempdir().unwrap();
    let chain = deployment.chain();
    write_active(folder.path(), &chain).unwrap();
    let directory = PolicyDirectory::read(folder.path()).unwrap();
    (folder, directory, chain.active().clone())
}

fn bytes(bundle: &PolicyBundle) -> Vec<u8> {
    canonical::to_vec(bundle).unwrap()
}

#[test]
fn the_active_policy_written_and_packed_again_says_the_same() {
    let (_folder, directory, active) = written(&deployment());
    let packed = directory.pack(&Basis::after(&active)).unwrap();
    let mut expected = active.content().clone();
    expected.version += 1;
    expected.predecessor = Some(active.digest());
    // Entries without order are packed in one.
    expected
        .address_book
        .sort_by_key(|e| (e.label.clone(), e.network));
    expected.fee_caps.sort_by_key(|cap| cap.network);
    assert_eq!(packed, expected);
}

#[test]
fn the_same_directory_after_the_same_version_gives_the_same_bytes() {
    let (_folder, mut directory, active) = written(&deployment());
    let basis = Basis::after(&active);
    let first = bytes(&directory.pack(&basis).unwrap());
    assert_eq!(bytes(&directory.pack(&basis).unwrap()), first);
    // The order of entries says nothing, but for rules.
    let text = std::mem::take(&mut directory.text);
    let mut blocks: Vec<&str> = text.split("\n[[").collect();
    let head = blocks.remove(0);
    let (rules, others): (Vec<&str>, Vec<&str>) = blocks
        .into_iter()
        .filter(|block| !block.contains("\n# [["))
        .partition(|block| block.starts_with("rules]]"));
    assert!(others.len() > 10);
    let last = text.split("\n[[").filter(|b| b.contains("\n# [["));
    directory.text = std::iter::once(head)
        .chain(others.into_iter().rev())
        .chain(last.filter(|b| !b.starts_with("organisation") && *b != head))
        .chain(rules)
        .collect::<Vec<_>>()
        .join("\n[[");
    let again = directory.pack(&basis).unwrap();
    let sorted = |mut bundle: PolicyBundle| {
        bundle.rules.sort_by(|a, b| a.id.cmp(&b.id));
        bytes(&bundle)
    };
    directory.text = text;
    let before = directory.pack(&basis).unwrap();
    assert_eq!(sorted(again), sorted(before));
}

#[test]
fn keys_are_those_of_the_version_before_and_only_their_state_is_written() {
    let (_folder, mut directory, active) = written(&deployment());
    directory
        .text
        .push_str("\n[[keys]]\nid = \"hot-ecdsa\"\nstate = \"suspended\"\n");
    let packed = directory.pack(&Basis::after(&active)).unwrap();
    let (old, new) = (&active.content().keys[0], &packed.keys[0]);
    assert_eq!(old.group_key, new.group_key);
    assert_ne!(old.state, new.state);
    directory
        .text
        .push_str("\n[[keys]]\nid = \"unknown\"\nstate = \"active\"\n");
    let problems = directory.pack(&Basis::after(&active)).unwrap_err();
    assert_eq!(problems.0[0].at, "keys[unknown].id");
    // Without a version before, keys are made up so that everything else can be looked at.
    directory.pack(&Basis::unknown()).unwrap();
}

/// The example with one thing replaced, and what is said about it.
fn broken(from: &str, to: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let example = include_str!("../example/policy.toml");
    let mut number = 0_u8;
    let with_keys: String = example
        .split('@')
        .enumerate()
        .map(|(index, part)| {
            number += 1;
            let key = countersign_policy::IdentityKey::from_seed(&[number; 32]).public();
            if index == 0 {
                part.to_owned()
            } else {
                format!("{key}{part}")
            }
        })
        .collect();
    assert!(with_keys.contains(from), "{from}");
    let text = with_keys.replace(from, to);
    std::fs::write(folder.path().join(FILE), text).unwrap();
    std::fs::create_dir(folder.path().join(RULES)).unwrap();
    let cedar = include_str!("../example/hours.cedar");
    let cedar = if cedar.contains(from) {
        cedar.replace(from, to)
    } else {
        cedar.to_owned()
    };
    std::fs::write(folder.path().join(RULES).join("hours.cedar"), cedar).unwrap();
    let directory = PolicyDirectory::read(folder.path()).unwrap();
    match directory.pack(&Basis::unknown()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_example_has_no_problem() {
    assert_eq!(broken("policy = 2", "policy = 2"), Vec::<String>::new());
}

#[test]
fn every_problem_names_its_line() {
    for (from, to, line, says) in [
        (
            "id = \"usdt-tron\"",
            "id = \"usdt tron\"",
            170,
            "not an identifier",
        ),
        ("max = \"100000\"", "max = 0.5", 166, "in quotes"),
        (
            "asset = \"USDT\"\nmax = \"150000\"",
            "asset = \"USDX\"\nmax = \"150000\"",
            200,
            "not known",
        ),
        ("0x28C6c0", "0x28c6C0", 141, "checksum"),
        (
            "members = [\"chris\"]",
            "members = [\"nobody\"]",
            123,
            "nobody",
        ),
        ("quorum = 2\nmax", "quorum = 1\nmax", 192, "share an honest"),
        ("max = 16", "max = 0", 217, "allow no transaction"),
        (
            "network = \"eip155:1\"\nmax = 16",
            "network = \"tron:0x2b6653dc\"\nmax = 16",
            216,
            "no nonces",
        ),
    ] {
        let problems = broken(from, to);
        let expected = format!("policy.toml:{line}:");
        assert!(
            problems
                .iter()
                .any(|p| p.starts_with(&expected) && p.contains(says)),
            "{to}: {problems:#?}"
        );
    }
}

#[test]
fn all_problems_come_at_once() {
    let problems = broken("USDT", "USDX");
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn a_section_that_there_is_not_is_refused() {
    let problems = broken("[[fee_caps]]", "[[feecaps]]");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("no section \"feecaps\"")),
        "{problems:#?}"
    );
    let problems = broken("organisation = \"Example Payments\"", "");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("organisation is missing")),
        "{problems:#?}"
    );
    let problems = broken("[quorums]\n", "[quorums\n");
    assert!(problems[0].starts_with("policy.toml:10"), "{problems:#?}");
}
