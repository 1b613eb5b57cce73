//! What rules are told about a request: computed from the bytes, the bundle and the clock.

use std::collections::BTreeSet;

use cedar_policy::RestrictedExpression;
use serde::{Deserialize, Serialize};

use crate::bundle::{ActiveBundle, AddressBookEntry};
use crate::decide::Facts;
use crate::limits::Reference;
use crate::statement::{SignRequest, Verified};
use crate::{Address, Amount, AssetId, Intent, IntentKind, Timestamp, Warning, assets};

/// The facts of a request as rules see them: the attributes of `SigningFacts` in the schema, without the approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningFacts {
    /// What the transaction does.
    pub kind: String,
    /// The network.
    pub network: String,
    /// The paying address.
    pub source: String,
    /// Everything that moves or may be moved.
    pub assets: BTreeSet<String>,
    /// Whether all destinations are active entries of the address book.
    pub destination_listed: bool,
    /// Labels of those that are.
    pub destination_labels: BTreeSet<String>,
    /// The latest time from which one of them is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_active_since: Option<Timestamp>,
    /// Whether value goes where nobody can get it back.
    pub lost: bool,
    /// The sum of the one asset that moves, in 10^-6 of its whole unit, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_micro: Option<i64>,
    /// The greatest fee, in 10^-6 of the coin, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_micro: Option<i64>,
    /// Everything that moves, in 10^-6 of the reference currency, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_micro: Option<i64>,
    /// Whether an allowance has no limit.
    pub unlimited_approval: bool,
    /// The contract that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// The first four bytes of the call's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The hash of the call's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_hash: Option<String>,
    /// Tron's name of a contract type that is not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract_type: Option<String>,
    /// Tron's account permission.
    pub permission: i64,
    /// What is published with the transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
    /// The present.
    pub now: Timestamp,
    /// Its day of the week in UTC, from Monday, 1.
    pub weekday: i64,
    /// Its hour in UTC.
    pub hour: i64,
    /// Its minute.
    pub minute: i64,
    /// When the request was issued.
    pub request_issued_at: Timestamp,
    /// When it ends.
    pub request_expires_at: Timestamp,
}

impl SigningFacts {
    /// Computes them.
    pub fn of(
        bundle: &ActiveBundle,
        request: &Verified<SignRequest>,
        facts: &Facts,
        now: Timestamp,
    ) -> Self {
        let intent = facts.transaction().intent();
        let listed = Listed::of(bundle, intent, now);
        let (contract, selector, data_hash, contract_type) = match &intent.kind {
            IntentKind::ContractCall(call) => (
                Some(call.contract.to_string()),
                call.selector.map(|s| s.to_string()),
                Some(call.data_hash.to_string()),
                None,
            ),
            IntentKind::OtherContract {
                name, data_hash, ..
            } => (None, None, Some(data_hash.to_string()), Some(name.clone())),
            _ => (None, None, None, None),
        };
        let (weekday, hour, minute) = clock(now);
        let statement = request.statement();
        Self {
            kind: intent.kind.name().to_owned(),
            network: intent.network.to_string(),
            source: facts.source().to_string(),
            assets: intent.assets().iter().map(AssetId::to_string).collect(),
            destination_listed: listed.all_active,
            destination_labels: listed.labels,
            destination_active_since: listed.since,
            lost: is_lost(intent),
            amount_micro: amount_micro(bundle, intent),
            fee_micro: fee_micro(bundle, intent),
            value_micro: bundle
                .content()
                .reference
                .as_ref()
                .and_then(|reference| value_micro(bundle, reference, intent)),
            unlimited_approval: intent.approvals.iter().any(|a| a.amount == Amount::MAX),
            contract,
            selector,
            data_hash,
            contract_type,
            permission: i64::from(intent.permission_id.unwrap_or(0)),
            memo: intent.memo.as_ref().map(ToString::to_string),
            now,
            weekday,
            hour,
            minute,
            request_issued_at: statement.issued_at,
            request_expires_at: statement.expires_at,
        }
    }

    /// The same, as if all destinations had been active entries of the address book for ever.
    pub(crate) fn if_listed(mut self) -> Self {
        self.destination_listed = true;
        self.destination_active_since = Some(Timestamp::from_millis(0));
        self
    }

    /// The attributes of the context, without the approvals.
    pub(super) fn attributes(&self) -> Vec<(String, RestrictedExpression)> {
        // Everything that there is. A field added here must be given to the rules below.
        let Self {
            kind,
            network,
            source,
            assets,
            destination_listed,
            destination_labels,
            destination_active_since,
            lost,
            amount_micro,
            fee_micro,
            value_micro,
            unlimited_approval,
            contract,
            selector,
            data_hash,
            contract_type,
            permission,
            memo,
            now,
            weekday,
            hour,
            minute,
            request_issued_at,
            request_expires_at,
        } = self;
        let time = |t: &Timestamp| RestrictedExpression::new_datetime(t.to_string());
        let present = [
            ("kind", text(kind)),
            ("network", text(network)),
            ("source", text(source)),
            ("assets", texts(assets)),
            (
                "destinationListed",
                RestrictedExpression::new_bool(*destination_listed),
            ),
            ("destinationLabels", texts(destination_labels)),
            ("lost", RestrictedExpression::new_bool(*lost)),
            (
                "unlimitedApproval",
                RestrictedExpression::new_bool(*unlimited_approval),
            ),
            ("permission", RestrictedExpression::new_long(*permission)),
            ("now", time(now)),
            ("weekday", RestrictedExpression::new_long(*weekday)),
            ("hour", RestrictedExpression::new_long(*hour)),
            ("minute", RestrictedExpression::new_long(*minute)),
            ("requestIssuedAt", time(request_issued_at)),
            ("requestExpiresAt", time(request_expires_at)),
        ];
        let number = |n: &Option<i64>| n.map(RestrictedExpression::new_long);
        let word = |t: &Option<String>| t.as_deref().map(text);
        let optional = [
            (
                "destinationActiveSince",
                destination_active_since.as_ref().map(time),
            ),
            ("amountMicro", number(amount_micro)),
            ("feeMicro", number(fee_micro)),
            ("valueMicro", number(value_micro)),
            ("contract", word(contract)),
            ("selector", word(selector)),
            ("dataHash", word(data_hash)),
            ("contractType", word(contract_type)),
            ("memo", word(memo)),
        ];
        let optional = optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        present
            .into_iter()
            .chain(optional)
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn texts(texts: &BTreeSet<String>) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.iter().map(|t| text(t)))
}

/// Whether value goes where nobody can get it back: "anywhere" does not mean there.
pub(crate) fn is_lost(intent: &Intent) -> bool {
    intent
        .warnings
        .iter()
        .any(|w| matches!(w, Warning::ZeroAddress | Warning::TokenToItsContract(_)))
}

/// What the address book says of everybody whom the transaction gives something, or a say in something.
struct Listed {
    all_active: bool,
    labels: BTreeSet<String>,
    since: Option<Timestamp>,
}

impl Listed {
    fn of(bundle: &ActiveBundle, intent: &Intent, now: Timestamp) -> Self {
        let entries: Vec<Option<&AddressBookEntry>> = destinations(intent)
            .into_iter()
            .map(|address| bundle.destination(&intent.network, &address))
            .collect();
        let known: Option<Vec<&AddressBookEntry>> = entries.iter().copied().collect();
        // No destination, or one that is not known (a type that is not interpreted), is none that is listed.
        let known = known.filter(|all| !all.is_empty());
        let active = |entry: &&AddressBookEntry| entry.active_from <= now;
        Self {
            all_active: known.as_ref().is_some_and(|all| all.iter().all(active)),
            labels: entries
                .into_iter()
                .flatten()
                .filter(active)
                .map(|entry| entry.label.clone())
                .collect(),
            since: known.and_then(|all| all.iter().map(|entry| entry.active_from).max()),
        }
    }
}

/// Receivers, spenders and the contract called.
fn destinations(intent: &Intent) -> BTreeSet<Address> {
    let receivers = intent.transfers.iter().map(|t| t.to);
    let spenders = intent.approvals.iter().map(|a| a.spender);
    let called = match &intent.kind {
        IntentKind::ContractCall(call) => Some(call.contract),
        _ => None,
    };
    receivers.chain(spenders).chain(called).collect()
}

/// The decimals of an asset that the bundle lists.
fn decimals(bundle: &ActiveBundle, asset: &AssetId) -> Option<u8> {
    let listed = bundle.content().assets.iter().find(|a| a.asset == *asset);
    listed.map(|record| record.decimals)
}

/// All amounts of one asset, or `None` when there are several, none, or one that the bundle does not know.
fn amount_micro(bundle: &ActiveBundle, intent: &Intent) -> Option<i64> {
    let assets = intent.assets();
    let [asset] = &assets[..] else { return None };
    let decimals = decimals(bundle, asset)?;
    micro(
        Amount::checked_sum(movements(intent).map(|(_, amount)| amount))?,
        decimals,
    )
}

fn movements(intent: &Intent) -> impl Iterator<Item = (AssetId, Amount)> + '_ {
    let moved = intent.transfers.iter().map(|t| (t.asset, t.amount));
    moved.chain(intent.approvals.iter().map(|a| (a.asset, a.amount)))
}

fn fee_micro(bundle: &ActiveBundle, intent: &Intent) -> Option<i64> {
    let asset = &intent.max_fee.asset;
    let known = decimals(bundle, asset).or_else(|| assets::lookup(asset).map(|a| a.decimals))?;
    micro(intent.max_fee.amount, known)
}

/// All movements at their reference prices, each rounded up; `None` when an asset has no price or nothing moves.
fn value_micro(bundle: &ActiveBundle, reference: &Reference, intent: &Intent) -> Option<i64> {
    if intent.transfers.is_empty() && intent.approvals.is_empty() {
        return None;
    }
    let values = movements(intent).map(|(asset, amount)| {
        let price = reference.prices.iter().find(|p| p.asset == asset)?;
        let unit = power_of_ten(decimals(bundle, &asset)?)?;
        amount.checked_mul(price.per_unit)?.checked_div_ceil(unit)
    });
    let values: Option<Vec<Amount>> = values.collect();
    micro(Amount::checked_sum(values?)?, reference.decimals)
}

/// An amount in 10^-6 of the whole unit, rounded up; `None` when it does not fit.
fn micro(amount: Amount, decimals: u8) -> Option<i64> {
    let scaled = match decimals.checked_sub(6) {
        Some(more) => amount.checked_div_ceil(power_of_ten(more)?)?,
        None => amount.checked_mul(power_of_ten(6_u8.saturating_sub(decimals))?)?,
    };
    i64::try_from(scaled.to_u128()?).ok()
}

fn power_of_ten(exponent: u8) -> Option<Amount> {
    (0..exponent).try_fold(Amount::from(1_u64), |power, _| {
        power.checked_mul(Amount::from(10_u64))
    })
}

/// Day of the week (Monday is 1), hour and minute in UTC.
fn clock(now: Timestamp) -> (i64, i64, i64) {
    const MINUTE: i64 = 60_000;
    let minutes = now.as_millis().div_euclid(MINUTE);
    let hours = minutes.div_euclid(60);
    let days = hours.div_euclid(24);
    // 1970-01-01 was a Thursday, 4.
    let weekday = days.saturating_add(3).rem_euclid(7).saturating_add(1);
    (weekday, hours.rem_euclid(24), minutes.rem_euclid(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_units_are_rounded_up_and_never_wrap() {
        let amount = |text: &str| text.parse::<Amount>().unwrap();
        for (base, decimals, expected) in [
            ("25000000000", 6, Some(25_000_000_000)),
            ("1", 18, Some(1)),
            ("1000000000000", 18, Some(1)),
            ("1000000000001", 18, Some(2)),
            ("0", 18, Some(0)),
            ("7", 0, Some(7_000_000)),
            ("7", 2, Some(70_000)),
            ("9223372036854775807", 6, Some(i64::MAX)),
            ("9223372036854775808", 6, None),
        ] {
            assert_eq!(micro(amount(base), decimals), expected, "{base} {decimals}");
        }
        assert_eq!(micro(Amount::MAX, 6), None);
        assert_eq!(micro(Amount::MAX, 0), None);
        assert_eq!(
            micro(Amount::MAX, 255),
            None,
            "10^249 does not fit in 256 bits"
        );
    }

    #[test]
    fn the_clock_is_utc() {
        let at = |text: &str| clock(text.parse().unwrap());
        assert_eq!(at("1970-01-01T00:00:00.000Z"), (4, 0, 0));
        assert_eq!(at("2026-01-01T00:00:00.000Z"), (4, 0, 0));
        assert_eq!(at("2026-11-22T23:59:59.999Z"), (7, 23, 59));
        assert_eq!(at("2026-11-23T09:05:00.000Z"), (1, 9, 5));
        assert_eq!(at("2028-02-29T12:30:00.000Z"), (2, 12, 30));
    }
}
