//! Parts of a policy in one line each.

use std::fmt::Display;

use countersign_policy::bundle::{Destinations, PolicyBundle, TransferRule};
use countersign_policy::limits::{Limit, LimitScope, Measure};
use countersign_policy::{Amount, AssetId, Network, assets};
use serde::Serialize;

use crate::policy::entries::write_period;

pub(super) fn rule(policy: &PolicyBundle, rule: &TransferRule) -> String {
    let needs = match &rule.needs {
        Some(needs) => format!(", with approvals of {needs}"),
        None => String::new(),
    };
    format!(
        "{} pays at most {} to {}, asked for by {}{needs}",
        rule.wallet,
        amount(policy, &rule.asset, rule.max_amount),
        destinations(&rule.destinations),
        join(&rule.initiators)
    )
}

pub(super) fn limit(policy: &PolicyBundle, limit: &Limit) -> String {
    let most = match &limit.measure {
        Measure::Amount { asset, max } => amount(policy, asset, *max),
        Measure::Count { max } => format!("{max} transactions"),
        Measure::Fee { network, max } => format!("{} of fees", native(network, *max)),
        Measure::Value { max } => match &policy.reference {
            Some(reference) => format!(
                "{} {}",
                max.to_units(reference.decimals),
                reference.currency
            ),
            None => format!("{max} of the reference currency"),
        },
    };
    format!(
        "at most {most} over {}{}",
        write_period(&limit.period),
        scope(&limit.scope)
    )
}

pub(super) fn scope(scope: &LimitScope) -> String {
    if *scope == LimitScope::default() {
        String::new()
    } else {
        format!(" of {}", json(scope))
    }
}

pub(super) fn destinations(destinations: &Destinations) -> String {
    match destinations {
        Destinations::AddressBook => "the address book".to_owned(),
        Destinations::Labels { labels } => labels.join(", "),
        Destinations::Any => "ANYWHERE".to_owned(),
    }
}

pub(super) fn breadth(destinations: &Destinations) -> u8 {
    match destinations {
        Destinations::Labels { .. } => 0,
        Destinations::AddressBook => 1,
        Destinations::Any => 2,
    }
}

pub(super) fn amount(policy: &PolicyBundle, asset: &AssetId, amount: Amount) -> String {
    match policy.assets.iter().find(|known| known.asset == *asset) {
        Some(known) => format!(
            "{} {} on {}",
            amount.to_units(known.decimals),
            known.symbol,
            asset.network()
        ),
        None => format!("{amount} base units of {asset}"),
    }
}

pub(super) fn native(network: &Network, amount: Amount) -> String {
    match assets::lookup(&network.native_asset()) {
        Some(known) => format!("{} {}", amount.to_units(known.decimals), known.symbol),
        None => format!("{amount} base units"),
    }
}

pub(super) fn join<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
