//! Where money may go, and how much: assets, addresses, rules, limits, prices, fees.

use std::collections::BTreeSet;

use super::super::model::{
    AddressBookEntry, Destinations, FeeCap, PolicyBundle, TransferKind, TransferRule,
};
use super::holdings::tier;
use super::{Changes, Direction, listed, paired};
use crate::approvals::Needs;
use crate::limits::{FirstNonce, Limit, LimitScope, Measure, NonceLead, Period, Price};

pub(super) fn assets(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (id, pair) in paired(&before.assets, &after.assets, |a| &a.asset) {
        let at = format!("assets[{id}]");
        match pair {
            (None, Some(new)) => changes.add(
                Direction::Neutral,
                at,
                format!("{} with {} decimals is known", new.symbol, new.decimals),
            ),
            (Some(old), None) => {
                changes.tightens(at, format!("{} is no longer known", old.symbol));
            }
            (Some(old), Some(new)) => {
                changes.text(format!("{at}.symbol"), &old.symbol, &new.symbol);
                if old.decimals != new.decimals {
                    let what = format!("{} become {}", old.decimals, new.decimals);
                    changes.loosens(format!("{at}.decimals"), what);
                }
            }
            (None, None) => {}
        }
    }
}

pub(super) fn address_book(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    let key = |e: &AddressBookEntry| (e.network, e.address);
    for ((network, address), pair) in paired(&before.address_book, &after.address_book, key) {
        match pair {
            (None, Some(new)) => changes.loosens(
                format!("address_book[{}]", new.label),
                format!(
                    "{address} on {network} becomes a destination from {}",
                    new.active_from
                ),
            ),
            (Some(old), None) => changes.tightens(
                format!("address_book[{}]", old.label),
                format!("{address} on {network} is no destination any more"),
            ),
            (Some(old), Some(new)) => {
                let at = format!("address_book[{}]", new.label);
                if old.label != new.label {
                    // Rules name labels: it may be reached by others.
                    let what = format!("{address} on {network} was called {:?}", old.label);
                    changes.loosens(&at, what);
                }
                changes.demand(
                    format!("{at}.active_from"),
                    &old.active_from,
                    &new.active_from,
                );
            }
            (None, None) => {}
        }
    }
}

pub(super) fn rules(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (id, pair) in paired(&before.rules, &after.rules, |r| &r.id) {
        let at = format!("rules[{id}]");
        match pair {
            (None, Some(new)) => changes.loosens(at, sentence(new)),
            (Some(old), None) => {
                changes.tightens(at, format!("no longer: {}", sentence(old)));
            }
            (Some(old), Some(new)) if (&old.wallet, old.asset) != (&new.wallet, new.asset) => {
                changes.loosens(at, format!("{}; was: {}", sentence(new), sentence(old)));
            }
            (Some(old), Some(new)) => rule(changes, &at, old, new),
            (None, None) => {}
        }
    }
}

/// What a rule allows, as a sentence.
fn sentence(rule: &TransferRule) -> String {
    format!(
        "{} may move up to {} of {} from {} to {}{}",
        listed(&rule.initiators),
        rule.max_amount,
        rule.asset,
        rule.wallet,
        destinations(&rule.destinations),
        match &rule.needs {
            Some(needs) => format!(" with approvals of {needs}"),
            None => " without anybody's approval".to_owned(),
        }
    )
}

fn destinations(destinations: &Destinations) -> String {
    match destinations {
        Destinations::AddressBook => "the address book".to_owned(),
        Destinations::Labels { labels } => listed(labels),
        Destinations::Any => "anywhere".to_owned(),
    }
}

fn rule(changes: &mut Changes, at: &str, old: &TransferRule, new: &TransferRule) {
    changes.members(
        &format!("{at}.initiators"),
        &old.initiators,
        &new.initiators,
    );
    let kinds = |r: &TransferRule| -> Vec<&'static str> {
        let kinds = r.kinds.iter();
        kinds
            .map(|k| match k {
                TransferKind::NativeTransfer => "native-transfer",
                TransferKind::TokenTransfer => "token-transfer",
            })
            .collect()
    };
    changes.members(&format!("{at}.kinds"), kinds(old), kinds(new));
    changes.cap(format!("{at}.max_amount"), &old.max_amount, &new.max_amount);
    if old.destinations != new.destinations {
        let what = format!(
            "was {}, becomes {}",
            destinations(&old.destinations),
            destinations(&new.destinations)
        );
        let direction = match reaches_more(&old.destinations, &new.destinations) {
            true => Direction::Loosens,
            false => Direction::Tightens,
        };
        changes.add(direction, format!("{at}.destinations"), what);
    }
    if old.needs != new.needs {
        let shown = |needs: &Option<Needs>| match needs {
            Some(needs) => needs.to_string(),
            None => "nobody's approval".to_owned(),
        };
        let direction = match asks_no_less(old.needs.as_ref(), new.needs.as_ref()) {
            true => Direction::Tightens,
            false => Direction::Loosens,
        };
        let what = format!("was {}, becomes {}", shown(&old.needs), shown(&new.needs));
        changes.add(direction, format!("{at}.needs"), what);
    }
}

fn reaches_more(old: &Destinations, new: &Destinations) -> bool {
    match (old, new) {
        (Destinations::Any, _) => false,
        (_, Destinations::Any) => true,
        (Destinations::AddressBook, _) => false,
        (Destinations::Labels { .. }, Destinations::AddressBook) => true,
        (Destinations::Labels { labels: old }, Destinations::Labels { labels: new }) => {
            new.iter().any(|label| !old.contains(label))
        }
    }
}

/// Every alternative of the new needs asks at least what some alternative of the old ones asked.
fn asks_no_less(old: Option<&Needs>, new: Option<&Needs>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return new.is_some();
    };
    new.alternatives().iter().all(|now| {
        old.alternatives().iter().any(|then| {
            then.iter().all(|need| {
                let same = now.iter().find(|n| n.group == need.group);
                same.is_some_and(|n| n.count >= need.count)
            })
        })
    })
}

pub(super) fn cedar(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (name, pair) in paired(&before.cedar, &after.cedar, |f| &f.name) {
        let at = format!("rules/{name}");
        let lines = |text: &str| -> BTreeSet<String> {
            let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
            lines.map(str::to_owned).collect()
        };
        let (old, new) = match pair {
            (Some(old), Some(new)) if old.text == new.text => continue,
            (old, new) => (
                old.map(|f| lines(&f.text)).unwrap_or_default(),
                new.map(|f| lines(&f.text)).unwrap_or_default(),
            ),
        };
        let what = match pair {
            (None, _) => "a new file",
            (_, None) => "the file is left out, with everything that it forbade",
            _ => "changed",
        };
        changes.loosens(
            at,
            format!(
                "{what}: read it ({} lines are new, {} are gone)",
                new.difference(&old).count(),
                old.difference(&new).count()
            ),
        );
    }
}

pub(super) fn limits(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (id, pair) in paired(&before.limits, &after.limits, |l| &l.id) {
        let at = format!("limits[{id}]");
        match pair {
            (None, Some(new)) => changes.tightens(at, format!("a new limit: {}", limit(new))),
            (Some(old), None) => {
                changes.loosens(at, format!("the limit is left out: {}", limit(old)));
            }
            (Some(old), Some(new)) if old != new => one_limit(changes, at, old, new),
            _ => {}
        }
    }
}

fn one_limit(changes: &mut Changes, at: String, old: &Limit, new: &Limit) {
    let elsewhere = Limit {
        measure: old.measure.clone(),
        ..new.clone()
    };
    let direction = match (elsewhere == *old, more(&old.measure, &new.measure)) {
        // Only the greatest value differs.
        (true, Some(false)) => Direction::Tightens,
        // Another scope, span, ledger or measure counts other things: something may be counted less.
        _ => Direction::Loosens,
    };
    let what = format!("was: {}; becomes: {}", limit(old), limit(new));
    changes.add(direction, at, what);
}

/// Whether the new measure allows more than the old one of the same kind.
fn more(old: &Measure, new: &Measure) -> Option<bool> {
    match (old, new) {
        (Measure::Amount { asset: a, max: old }, Measure::Amount { asset: b, max: new }) => {
            (a == b).then_some(new > old)
        }
        (Measure::Count { max: old }, Measure::Count { max: new }) => Some(new > old),
        (
            Measure::Fee {
                network: a,
                max: old,
            },
            Measure::Fee {
                network: b,
                max: new,
            },
        ) => (a == b).then_some(new > old),
        (Measure::Value { max: old }, Measure::Value { max: new }) => Some(new > old),
        _ => None,
    }
}

/// A limit, as a sentence.
fn limit(limit: &Limit) -> String {
    let what = match &limit.measure {
        Measure::Amount { asset, max } => format!("at most {max} of {asset}"),
        Measure::Count { max } => format!("at most {max} spends"),
        Measure::Fee { network, max } => format!("at most {max} in fees on {network}"),
        Measure::Value { max } => format!("at most {max} in reference units"),
    };
    let over = match &limit.period {
        Period::Transaction => "in one transaction".to_owned(),
        Period::Rolling { seconds } => format!("in any {seconds} seconds"),
        Period::Outstanding => "outstanding".to_owned(),
    };
    let scope = scope(&limit.scope);
    format!(
        "{what} {over}, of {scope}, by ledgers {}",
        limit.ledger_group
    )
}

fn scope(scope: &LimitScope) -> String {
    let mut parts = Vec::new();
    if !scope.wallets.is_empty() {
        parts.push(listed(&scope.wallets));
    }
    parts.extend(scope.tier.map(|t| format!("{} wallets", tier(t))));
    if !scope.initiators.is_empty() {
        parts.push(format!("for {}", listed(&scope.initiators)));
    }
    parts.extend(scope.destination.map(|d| format!("to {d}")));
    parts.extend(scope.network.map(|n| format!("on {n}")));
    match parts.is_empty() {
        true => "everything".to_owned(),
        false => parts.join(" "),
    }
}

pub(super) fn nonce_leads(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (id, pair) in paired(&before.nonce_leads, &after.nonce_leads, |l| &l.id) {
        let at = format!("nonce_leads[{id}]");
        match pair {
            (None, Some(new)) => changes.tightens(at, format!("a new bound: {}", lead(new))),
            (Some(old), None) => {
                changes.loosens(at, format!("the bound is left out: {}", lead(old)));
            }
            (Some(old), Some(new)) => one_lead(changes, &at, old, new),
            (None, None) => {}
        }
    }
}

fn one_lead(changes: &mut Changes, at: &str, old: &NonceLead, new: &NonceLead) {
    if (&old.network, &old.wallets) != (&new.network, &new.wallets) {
        // It is about other transactions: something may be bound no longer.
        let what = format!("was: {}; becomes: {}", lead(old), lead(new));
        changes.loosens(at, what);
        return;
    }
    changes.cap(format!("{at}.max"), &old.max, &new.max);
    for (account, pair) in paired(&old.first, &new.first, |f| f.account) {
        let nonce = |first: Option<&FirstNonce>| first.map_or(0, |f| f.nonce);
        let at = format!("{at}.first[{account}]");
        changes.cap(at, &nonce(pair.0), &nonce(pair.1));
    }
}

/// A bound on nonces, as a sentence.
fn lead(lead: &NonceLead) -> String {
    let of = match lead.wallets.is_empty() {
        true => "all wallets".to_owned(),
        false => listed(&lead.wallets),
    };
    format!(
        "nonces of {of} on {} lead the last observed one by at most {}",
        lead.network, lead.max
    )
}

pub(super) fn reference(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    let shape = |b: &PolicyBundle| {
        b.reference
            .as_ref()
            .map(|r| (r.currency.clone(), r.decimals))
    };
    let (old, new) = (shape(before), shape(after));
    if old != new {
        let shown = |shape: Option<(String, u8)>| match shape {
            Some((currency, decimals)) => format!("{currency} with {decimals} decimals"),
            None => "none".to_owned(),
        };
        changes.loosens(
            "reference",
            format!("was {}, becomes {}", shown(old), shown(new)),
        );
    }
    let prices = |b: &PolicyBundle| -> Vec<Price> {
        let reference = b.reference.iter();
        reference.flat_map(|r| r.prices.clone()).collect()
    };
    let (old, new) = (prices(before), prices(after));
    for (asset, pair) in paired(&old, &new, |p| p.asset) {
        let at = format!("reference.prices[{asset}]");
        match pair {
            (Some(old), Some(new)) => changes.demand(at, &old.per_unit, &new.per_unit),
            (None, Some(new)) => changes.loosens(
                at,
                format!(
                    "counts as {} a unit, and may move under limits by value",
                    new.per_unit
                ),
            ),
            (Some(_), None) => {
                changes.tightens(at, "has no price: it may not move under limits by value");
            }
            (None, None) => {}
        }
    }
}

pub(super) fn fee_caps(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (network, pair) in paired(&before.fee_caps, &after.fee_caps, |c: &FeeCap| c.network) {
        let at = format!("fee_caps[{network}]");
        match pair {
            (None, Some(new)) => {
                changes.loosens(at, format!("fees of up to {} are allowed", new.max_fee));
            }
            (Some(_), None) => changes.tightens(at, "no fee is allowed, and with that nothing"),
            (Some(old), Some(new)) => {
                changes.cap(format!("{at}.max_fee"), &old.max_fee, &new.max_fee);
                let life = |c: &FeeCap| c.max_lifetime_seconds.unwrap_or(0);
                changes.cap(format!("{at}.max_lifetime_seconds"), &life(old), &life(new));
            }
            (None, None) => {}
        }
    }
}
