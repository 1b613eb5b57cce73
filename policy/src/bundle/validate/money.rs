//! Where money may go, and how much: assets, address book, fee caps, rules.

use std::collections::BTreeSet;

use super::super::model::{AssetRecord, Destinations, PolicyBundle, Role, TransferRule};
use super::Findings;
use super::approvals::rule_needs;
use crate::rules::{Rule, RuleEffect, RuleSet};
use crate::{Network, assets};

pub(super) fn assets(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "assets",
        &bundle.assets.iter().map(|a| &a.asset).collect::<Vec<_>>(),
    );
    let mut symbols = BTreeSet::new();
    for record in &bundle.assets {
        let at = format!("assets[{}]", record.asset);
        findings.text(format!("{at}.symbol"), &record.symbol);
        let symbol = record.symbol.to_lowercase();
        findings.require(
            symbols.insert((record.asset.network(), symbol.clone())),
            format!("{at}.symbol"),
            "another asset on this network has the same symbol",
        );
        match assets::lookup(&record.asset) {
            Some(known) => findings.require(
                known.decimals == record.decimals && known.symbol == record.symbol,
                at,
                format!(
                    "the registry knows it as {} with {} decimals",
                    known.symbol, known.decimals
                ),
            ),
            None => impersonation(findings, &at, record, &symbol),
        }
    }
}

/// A token that nobody knows must not be called what a known one is called.
fn impersonation(findings: &mut Findings, at: &str, record: &AssetRecord, symbol: &str) {
    let network = record.asset.network();
    let known = assets::registry()
        .iter()
        .find(|a| a.id.network() == network && a.symbol.to_lowercase() == symbol);
    if let Some(known) = known {
        findings.add(
            format!("{at}.symbol"),
            format!(
                "on this network {} is {}: call this asset something else",
                known.symbol, known.id
            ),
        );
    }
}

pub(super) fn address_book(findings: &mut Findings, bundle: &PolicyBundle) {
    let mut seen = BTreeSet::new();
    let mut labels = BTreeSet::new();
    for entry in &bundle.address_book {
        let at = format!("address_book[{}]", entry.label);
        findings.text(&at, &entry.label);
        findings.require(
            entry.address.matches(&entry.network),
            &at,
            format!("{} is no address of {}", entry.address, entry.network),
        );
        findings.require(
            entry.address.as_bytes().iter().any(|b| *b != 0),
            &at,
            "value sent to the zero address is lost",
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
}

/// The longest lifetime cap: a day, after which no Tron node accepts an expiration anyway.
const MAX_LIFETIME_SECONDS: u64 = 86_400;

pub(super) fn fee_caps(findings: &mut Findings, bundle: &PolicyBundle) {
    let mut networks = BTreeSet::new();
    for cap in &bundle.fee_caps {
        let at = format!("fee_caps[{}]", cap.network);
        findings.require(
            networks.insert(&cap.network),
            &at,
            "one fee cap per network",
        );
        match (&cap.network, cap.max_lifetime_seconds) {
            (Network::Tron(_), Some(1..=MAX_LIFETIME_SECONDS))
            | (Network::Evm { .. } | Network::Solana(_), None) => {}
            (Network::Tron(_), _) => findings.add(
                format!("{at}.max_lifetime_seconds"),
                "must be 1 to 86400: Tron transactions carry an expiration",
            ),
            (_, Some(_)) => findings.add(
                format!("{at}.max_lifetime_seconds"),
                "transactions of this network carry no expiration; leave it null",
            ),
        }
    }
}

pub(super) fn rules(findings: &mut Findings, bundle: &PolicyBundle) {
    let mut ids = BTreeSet::new();
    for rule in &bundle.rules {
        let at = format!("rules[{}]", rule.id);
        findings.require(ids.insert(&rule.id), &at, "the same rule id twice");
        rule_references(findings, bundle, rule, &at);
        rule_needs(findings, bundle, rule, &at);
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

/// The longest text of one file of Cedar policies: 256 KiB.
const MAX_CEDAR: usize = 256 * 1024;

/// The files as such. What they say is checked where they are compiled.
pub(super) fn cedar(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "cedar",
        &bundle.cedar.iter().map(|f| &f.name).collect::<Vec<_>>(),
    );
    for file in &bundle.cedar {
        let at = format!("cedar[{}]", file.name);
        findings.text(format!("{at}.name"), &file.name);
        let plain = file.name.ends_with(".cedar") && !file.name.contains(['/', '\\']);
        findings.require(
            plain && !file.name.starts_with('.'),
            format!("{at}.name"),
            "must be the name of a file below rules/, like hot.cedar",
        );
        findings.require(
            file.text.len() <= MAX_CEDAR,
            at,
            format!("is longer than {MAX_CEDAR} bytes: split it"),
        );
    }
}

/// A wallet that nothing permits anything from is a mistake: its money could not be moved.
pub(super) fn used_wallets(findings: &mut Findings, bundle: &PolicyBundle, cedar: &RuleSet) {
    for wallet in &bundle.wallets {
        let key = bundle.keys.iter().find(|k| k.id == wallet.key);
        let ended = key.is_some_and(|k| k.state.is_final());
        let permits = |r: &Rule| r.effect() == RuleEffect::Permit && r.reaches(wallet);
        let used =
            bundle.rules.iter().any(|r| r.wallet == wallet.id) || cedar.rules().iter().any(permits);
        findings.require(
            ended || used,
            format!("wallets[{}]", wallet.id),
            "no rule permits anything from it: add one, or leave the wallet out",
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
    if let Destinations::Labels { labels } = &rule.destinations {
        findings.ascending(format!("{at}.destinations"), labels);
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
