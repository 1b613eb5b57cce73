//! What a bundle must satisfy before anybody signs or follows it.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Domains, KeyRecord, Member, PolicyBundle, Role, TransferRule, Wallet};
use crate::statement::{check_group, strictly_ascending};
use crate::{Network, PublicKey, assets};

/// One thing wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleProblem {
    /// Where, as a path into the bundle: `members[alice].keys`.
    pub at: String,
    /// What is wrong, and what to do about it.
    pub what: String,
}

/// Everything wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationError {
    /// At least one.
    pub problems: Vec<BundleProblem>,
}

impl std::fmt::Display for ValidationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the bundle has {} problem(s)", self.problems.len())?;
        for problem in &self.problems {
            write!(f, "; {}: {}", problem.at, problem.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ValidationError {}

#[derive(Default)]
struct Findings(Vec<BundleProblem>);

impl Findings {
    fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(BundleProblem {
            at: at.into(),
            what: what.into(),
        });
    }

    fn require(&mut self, ok: bool, at: impl Into<String>, what: impl Into<String>) {
        if !ok {
            self.add(at, what);
        }
    }

    fn ascending<T: Ord>(&mut self, at: impl Into<String>, items: &[T]) {
        if !items.is_empty()
            && let Err(what) = strictly_ascending("entries", items)
        {
            self.add(at, what);
        }
    }
}

/// Checks the whole content and reports everything that is wrong with it.
pub(crate) fn validate(bundle: &PolicyBundle) -> Result<(), ValidationError> {
    let mut findings = Findings::default();
    text(&mut findings, "organisation", &bundle.organisation);
    members(&mut findings, bundle);
    quorums(&mut findings, bundle);
    timing(&mut findings, bundle);
    keys(&mut findings, bundle);
    wallets(&mut findings, bundle);
    registry(&mut findings, bundle);
    rules(&mut findings, bundle);
    if findings.0.is_empty() {
        Ok(())
    } else {
        Err(ValidationError {
            problems: findings.0,
        })
    }
}

fn text(findings: &mut Findings, at: &str, value: &str) {
    let ok = !value.trim().is_empty() && value.len() <= 128 && !value.chars().any(char::is_control);
    findings.require(ok, at, "must have 1 to 128 bytes and no control characters");
}

/// Pairs of roles that nobody holds together.
const CONFLICTS: [(Role, Role, &str); 8] = [
    (
        Role::PolicyAuthor,
        Role::PolicyApprover,
        "writes and approves the rules",
    ),
    (
        Role::PaymentService,
        Role::SecurityOfficer,
        "initiates and approves payments",
    ),
    (
        Role::PaymentService,
        Role::PolicyAuthor,
        "initiates payments and writes the rules",
    ),
    (
        Role::PaymentService,
        Role::PolicyApprover,
        "initiates payments and approves the rules",
    ),
    (
        Role::PaymentService,
        Role::ChainObserver,
        "initiates payments and observes their fate",
    ),
    (Role::Operator, Role::Auditor, "operates and audits"),
    (
        Role::Operator,
        Role::SecurityOfficer,
        "operates nodes and approves payments",
    ),
    (
        Role::PaymentService,
        Role::Auditor,
        "initiates payments and audits",
    ),
];

fn members(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "members",
        &bundle.members.iter().map(|m| &m.id).collect::<Vec<_>>(),
    );
    let mut owners = BTreeMap::new();
    for member in &bundle.members {
        let at = format!("members[{}]", member.id);
        text(findings, &format!("{at}.name"), &member.name);
        findings.require(
            !member.roles.is_empty(),
            format!("{at}.roles"),
            "a member without a role does nothing; leave it out",
        );
        findings.require(
            !member.keys.is_empty(),
            format!("{at}.keys"),
            "a member needs at least one key",
        );
        for (a, b, does) in CONFLICTS {
            let both = member.roles.contains(&a) && member.roles.contains(&b);
            findings.require(
                !both,
                format!("{at}.roles"),
                format!("nobody {does}: give one of the roles to somebody else"),
            );
        }
        for alone in [Role::Node, Role::Coordinator] {
            let mixed = member.roles.contains(&alone) && member.roles.len() > 1;
            findings.require(
                !mixed,
                format!("{at}.roles"),
                "a machine's role stands alone",
            );
        }
        for key in &member.keys {
            findings.require(
                key.public_key.is_usable(),
                format!("{at}.keys"),
                format!("{} is no usable Ed25519 key", key.public_key),
            );
            if let Some(other) = owners.insert(key.public_key, &member.id) {
                findings.add(
                    format!("{at}.keys"),
                    format!(
                        "{} is also a key of {other}: one key, one use",
                        key.public_key
                    ),
                );
            }
        }
        domains(findings, &at, member);
    }
}

fn domains(findings: &mut Findings, at: &str, member: &Member) {
    match (&member.domains, member.roles.contains(&Role::Node)) {
        (
            Some(Domains {
                administration,
                hosting,
            }),
            true,
        ) => {
            text(
                findings,
                &format!("{at}.domains.administration"),
                administration,
            );
            text(findings, &format!("{at}.domains.hosting"), hosting);
        }
        (None, false) => {}
        (None, true) => findings.add(
            format!("{at}.domains"),
            "a node declares who administers and who hosts it",
        ),
        (Some(_), false) => findings.add(format!("{at}.domains"), "only nodes declare domains"),
    }
}

fn quorums(findings: &mut Findings, bundle: &PolicyBundle) {
    let approvers = bundle
        .members
        .iter()
        .filter(|m| m.roles.contains(&Role::PolicyApprover))
        .count();
    for (name, needed) in [
        ("policy", bundle.quorums.policy),
        ("ceremony", bundle.quorums.ceremony),
    ] {
        let at = format!("quorums.{name}");
        findings.require(needed >= 1, &at, "at least one approver besides the author");
        findings.require(
            usize::from(needed) <= approvers,
            &at,
            format!("{needed} approvers are needed and {approvers} exist: it could never be met"),
        );
    }
    let authors = bundle
        .members
        .iter()
        .any(|m| m.roles.contains(&Role::PolicyAuthor));
    findings.require(
        authors,
        "members",
        "without a policy author no later bundle could be proposed",
    );
}

fn timing(findings: &mut Findings, bundle: &PolicyBundle) {
    let timing = &bundle.timing;
    findings.require(
        (1..=60).contains(&timing.max_clock_skew_seconds),
        "timing.max_clock_skew_seconds",
        "must be 1 to 60",
    );
    findings.require(
        (1..=86_400).contains(&timing.max_request_life_seconds),
        "timing.max_request_life_seconds",
        "must be 1 to 86400 (a day)",
    );
    findings.require(
        (1..=600).contains(&timing.max_authorization_life_seconds),
        "timing.max_authorization_life_seconds",
        "must be 1 to 600",
    );
}

fn keys(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "keys",
        &bundle.keys.iter().map(|k| &k.id).collect::<Vec<_>>(),
    );
    let mut seen = BTreeSet::new();
    for key in &bundle.keys {
        let at = format!("keys[{}]", key.id);
        findings.ascending(format!("{at}.nodes"), &key.nodes);
        text(findings, &format!("{at}.purpose"), &key.purpose);
        if let Err(what) = check_group(key.threshold, key.max_faulty, key.nodes.len()) {
            findings.add(format!("{at}.threshold"), what);
        }
        findings.require(
            seen.insert(key.group_key.to_string()),
            format!("{at}.group_key"),
            "another key has the same public key",
        );
        let matches =
            matches!(key.group_key, PublicKey::Secp256k1(_)) == key.protocol.is_secp256k1();
        findings.require(
            matches,
            format!("{at}.group_key"),
            "the public key's curve is not the protocol's",
        );
        let chain = key.chain_code.is_some() == key.protocol.is_secp256k1();
        findings.require(
            chain,
            format!("{at}.chain_code"),
            "secp256k1 keys have a chain code, Ed25519 keys have none",
        );
        shared_domains(findings, bundle, key, &at);
    }
}

/// No administrator and no host may control a threshold of a key's nodes.
fn shared_domains(findings: &mut Findings, bundle: &PolicyBundle, key: &KeyRecord, at: &str) {
    let mut administrators: BTreeMap<&str, usize> = BTreeMap::new();
    let mut hosts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &key.nodes {
        let Some(member) = bundle
            .members
            .iter()
            .find(|m| m.id == *node && m.roles.contains(&Role::Node))
        else {
            findings.add(
                format!("{at}.nodes"),
                format!("{node} is no member with the role node"),
            );
            continue;
        };
        if let Some(domains) = &member.domains {
            let count = administrators.entry(&domains.administration).or_default();
            *count = count.saturating_add(1);
            let count = hosts.entry(&domains.hosting).or_default();
            *count = count.saturating_add(1);
        }
    }
    for (what, counts) in [("administration", administrators), ("hosting", hosts)] {
        for (name, count) in counts {
            let ok = count < usize::from(key.threshold);
            findings.require(
                ok,
                format!("{at}.nodes"),
                format!("{count} nodes share the {what} domain {name:?} and could sign together"),
            );
        }
    }
}

fn wallets(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "wallets",
        &bundle.wallets.iter().map(|w| &w.id).collect::<Vec<_>>(),
    );
    for (i, wallet) in bundle.wallets.iter().enumerate() {
        let at = format!("wallets[{}]", wallet.id);
        text(findings, &format!("{at}.name"), &wallet.name);
        findings.require(
            !wallet.networks.is_empty(),
            format!("{at}.networks"),
            "a wallet names at least one network",
        );
        findings.ascending(format!("{at}.networks"), &wallet.networks);
        match bundle.keys.iter().find(|k| k.id == wallet.key) {
            None => findings.add(
                format!("{at}.key"),
                format!("there is no key {}", wallet.key),
            ),
            Some(key) => wallet_key(findings, &at, wallet, key),
        }
        for other in bundle
            .wallets
            .iter()
            .skip(i.saturating_add(1))
            .filter(|w| w.key == wallet.key)
        {
            let overlap =
                wallet.path.starts_with(&other.path) || other.path.starts_with(&wallet.path);
            findings.require(
                !overlap,
                format!("{at}.path"),
                format!(
                    "overlaps with wallet {}: an address would belong to both",
                    other.id
                ),
            );
        }
    }
}

fn wallet_key(findings: &mut Findings, at: &str, wallet: &Wallet, key: &KeyRecord) {
    for network in &wallet.networks {
        let secp256k1 = matches!(network, Network::Evm { .. } | Network::Tron(_));
        findings.require(
            secp256k1 == key.protocol.is_secp256k1(),
            format!("{at}.networks"),
            format!(
                "{network} does not use the curve of protocol {}",
                key.protocol
            ),
        );
    }
    let children = key.protocol.is_secp256k1() || wallet.path.is_master();
    findings.require(
        children,
        format!("{at}.path"),
        "Ed25519 keys have no children: use the path \"m\"",
    );
}

fn registry(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "assets",
        &bundle.assets.iter().map(|a| &a.asset).collect::<Vec<_>>(),
    );
    for record in &bundle.assets {
        let at = format!("assets[{}]", record.asset);
        text(findings, &format!("{at}.symbol"), &record.symbol);
        if let Some(known) = assets::lookup(&record.asset) {
            let same = known.decimals == record.decimals && known.symbol == record.symbol;
            findings.require(
                same,
                at,
                format!(
                    "the registry knows it as {} with {} decimals",
                    known.symbol, known.decimals
                ),
            );
        }
    }
    let mut seen = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for entry in &bundle.address_book {
        let at = format!("address_book[{}]", entry.label);
        text(findings, &at, &entry.label);
        findings.require(
            entry.address.matches(&entry.network),
            &at,
            format!("{} is no address of {}", entry.address, entry.network),
        );
        findings.require(
            seen.insert((&entry.network, &entry.address)),
            &at,
            "the same address twice",
        );
        findings.require(
            labels.insert((&entry.network, &entry.label)),
            &at,
            "the same label twice on one network",
        );
    }
    let mut networks = BTreeSet::new();
    for cap in &bundle.fee_caps {
        findings.require(
            networks.insert(&cap.network),
            format!("fee_caps[{}]", cap.network),
            "one fee cap per network",
        );
    }
}

fn rules(findings: &mut Findings, bundle: &PolicyBundle) {
    let mut ids = BTreeSet::new();
    for rule in &bundle.rules {
        let at = format!("rules[{}]", rule.id);
        findings.require(ids.insert(&rule.id), &at, "the same rule id twice");
        rule_references(findings, bundle, rule, &at);
        findings.require(
            !rule.kinds.is_empty(),
            format!("{at}.kinds"),
            "a rule names the kinds of transaction it allows",
        );
        findings.ascending(format!("{at}.initiators"), &rule.initiators);
        findings.require(
            !rule.initiators.is_empty(),
            format!("{at}.initiators"),
            "a rule names who may ask",
        );
    }
}

fn rule_references(findings: &mut Findings, bundle: &PolicyBundle, rule: &TransferRule, at: &str) {
    for initiator in &rule.initiators {
        let ok = bundle
            .members
            .iter()
            .any(|m| m.id == *initiator && m.roles.contains(&Role::PaymentService));
        findings.require(
            ok,
            format!("{at}.initiators"),
            format!("{initiator} is no payment service"),
        );
    }
    let asset = bundle.assets.iter().any(|a| a.asset == rule.asset);
    findings.require(
        asset,
        format!("{at}.asset"),
        format!("{} is not in assets", rule.asset),
    );
    let network = *rule.asset.network();
    match bundle.wallets.iter().find(|w| w.id == rule.wallet) {
        None => findings.add(
            format!("{at}.wallet"),
            format!("there is no wallet {}", rule.wallet),
        ),
        Some(wallet) => {
            let on = wallet.networks.contains(&network);
            findings.require(
                on,
                format!("{at}.asset"),
                format!("wallet {} is not used on {network}", wallet.id),
            );
        }
    }
    let capped = bundle.fee_caps.iter().any(|c| c.network == network);
    findings.require(
        capped,
        format!("{at}.asset"),
        format!("{network} has no fee cap; add one to fee_caps"),
    );
    if let super::model::Destinations::Labels { labels } = &rule.destinations {
        for label in labels {
            let ok = bundle
                .address_book
                .iter()
                .any(|e| e.label == *label && e.network == network);
            findings.require(
                ok,
                format!("{at}.destinations"),
                format!("the address book has no {label:?} on {network}"),
            );
        }
        findings.require(
            !labels.is_empty(),
            format!("{at}.destinations"),
            "no labels: nothing would be allowed",
        );
    }
}
