//! The one place where "may this be signed?" is answered.
//!
//! [`decide`] is pure and total: the same bundle, request, facts and time give the same [`Decision`], on every machine.
//! Whatever is not allowed by a rule is blocked.

mod answer;
mod facts;
#[cfg(test)]
mod tests;

pub use answer::{Decision, Outcome, Reason};
pub use facts::{Facts, FactsError};

use crate::bundle::{
    ActiveBundle, AddressBookEntry, Destinations, KeyState, Role, TransferKind, TransferRule,
};
use crate::id::RuleId;
use crate::statement::{SignRequest, StatedIntent, Verified};
use crate::{
    Address, Allowance, Amount, AssetId, Intent, IntentKind, Lifetime, Timestamp, Transfer, Warning,
};

/// Decides whether `request` may be signed under `bundle` at time `now`.
pub fn decide(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    facts: &Facts,
    now: Timestamp,
) -> Decision {
    let mut reasons = Vec::new();
    let intent = facts.transaction().intent();
    if !facts.are_about(bundle, request.body()) {
        reasons.push(Reason::OtherFacts);
    }
    standing(bundle, request, now, &mut reasons);
    agreement(&request.body().intent, intent, &mut reasons);
    cost_and_life(bundle, intent, now, &mut reasons);
    let rules = transfers(bundle, request, intent, now, &mut reasons);
    let outcome = if reasons.is_empty() {
        Outcome::Allow
    } else {
        Outcome::Blocked
    };
    Decision {
        outcome,
        rules,
        reasons,
    }
}

/// Who asks, under which bundle, with which key, and when.
fn standing(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) {
    if now >= bundle.expires_at() {
        reasons.push(Reason::BundleExpired {
            expired_at: bundle.expires_at(),
        });
    }
    let timing = &bundle.content().timing;
    if let Err(error) = request.require_current(now, timing.max_clock_skew_seconds) {
        reasons.push(Reason::RequestTime {
            detail: error.to_string(),
        });
    }
    let statement = request.statement();
    if statement.expires_at
        > statement
            .issued_at
            .plus_seconds(timing.max_request_life_seconds)
    {
        reasons.push(Reason::RequestLife {
            max_seconds: timing.max_request_life_seconds,
        });
    }
    if !bundle.has_role(request.issuer(), Role::PaymentService) {
        reasons.push(Reason::InitiatorRole {
            initiator: request.issuer().clone(),
        });
    }
    match bundle.key(&request.body().key) {
        Some(key) if key.state == KeyState::Active => {}
        Some(key) => reasons.push(Reason::KeyState { state: key.state }),
        None => reasons.push(Reason::KeyState {
            state: KeyState::PreActive,
        }),
    }
}

/// Bytes and stated meaning must say the same, field by field.
fn agreement(stated: &StatedIntent, decoded: &Intent, reasons: &mut Vec<Reason>) {
    // Everything that is stated. A field added to `StatedIntent` must be compared below.
    let StatedIntent {
        kind,
        transfers,
        approvals,
        max_fee,
    } = stated;
    let mut mismatches = Mismatches(reasons);
    mismatches.compare("kind", kind, &decoded.kind, describe);
    mismatches.compare(
        "max_fee",
        max_fee,
        &decoded.max_fee.amount,
        Amount::to_string,
    );
    let count = |all: &usize| all.to_string();
    mismatches.compare(
        "transfers",
        &transfers.len(),
        &decoded.transfers.len(),
        count,
    );
    for (i, (s, d)) in transfers.iter().zip(&decoded.transfers).enumerate() {
        let Transfer {
            asset,
            from,
            to,
            amount,
        } = s;
        let part = |name: &str| format!("transfers[{i}].{name}");
        mismatches.compare(&part("asset"), asset, &d.asset, ToString::to_string);
        mismatches.compare(&part("from"), from, &d.from, |from| optional(from.as_ref()));
        mismatches.compare(&part("to"), to, &d.to, ToString::to_string);
        mismatches.compare(&part("amount"), amount, &d.amount, ToString::to_string);
    }
    mismatches.compare(
        "approvals",
        &approvals.len(),
        &decoded.approvals.len(),
        count,
    );
    for (i, (s, d)) in approvals.iter().zip(&decoded.approvals).enumerate() {
        let Allowance {
            asset,
            spender,
            amount,
        } = s;
        let part = |name: &str| format!("approvals[{i}].{name}");
        mismatches.compare(&part("asset"), asset, &d.asset, ToString::to_string);
        mismatches.compare(&part("spender"), spender, &d.spender, ToString::to_string);
        mismatches.compare(&part("amount"), amount, &d.amount, ToString::to_string);
    }
}

struct Mismatches<'a>(&'a mut Vec<Reason>);

impl Mismatches<'_> {
    /// Compares values, and shows them only when they differ.
    fn compare<T: PartialEq>(
        &mut self,
        field: &str,
        stated: &T,
        decoded: &T,
        show: impl Fn(&T) -> String,
    ) {
        if stated != decoded {
            self.0.push(Reason::IntentMismatch {
                field: field.to_owned(),
                stated: clip(show(stated)),
                decoded: clip(show(decoded)),
            });
        }
    }
}

fn optional(address: Option<&Address>) -> String {
    address.map_or_else(|| "the signer".to_owned(), Address::to_string)
}

/// A kind with its data, so that two different contract calls are shown as different.
fn describe(kind: &IntentKind) -> String {
    match kind {
        IntentKind::ContractCall(_) | IntentKind::OtherContract { .. } => format!("{kind:?}"),
        _ => kind.name().to_owned(),
    }
}

/// What comes from a request is repeated in answers and records only up to a length.
fn clip(text: String) -> String {
    const MAX_CHARS: usize = 400;
    match text.char_indices().nth(MAX_CHARS) {
        None => text,
        Some(_) => text.chars().take(MAX_CHARS).chain("...".chars()).collect(),
    }
}

fn cost_and_life(
    bundle: &ActiveBundle,
    intent: &Intent,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) {
    let cap = bundle.fee_cap(&intent.network);
    if cap.is_none_or(|cap| intent.max_fee.amount > cap.max_fee) {
        reasons.push(Reason::FeeCap {
            max_fee: intent.max_fee.amount,
            cap: cap.map(|c| c.max_fee),
        });
    }
    if let Lifetime::Tron { expires_at_ms, .. } = intent.lifetime {
        let left = i64::try_from(expires_at_ms)
            .unwrap_or(i64::MAX)
            .saturating_sub(now.as_millis());
        if left <= 0 {
            reasons.push(Reason::TransactionExpired);
        }
        let cap_seconds = cap.and_then(|c| c.max_lifetime_seconds).unwrap_or(0);
        let cap_millis = i64::try_from(cap_seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        if left > cap_millis {
            reasons.push(Reason::LifetimeCap {
                lifetime_millis: left,
                cap_seconds,
            });
        }
    }
    if let Some(permission) = intent.permission_id
        && permission != 0
    {
        reasons.push(Reason::Feature {
            feature: format!("Tron permission id {permission}"),
        });
    }
}

/// Every transfer needs a rule, and a transaction that is none needs one that no bundle of this version can give.
fn transfers(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    intent: &Intent,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) -> Vec<RuleId> {
    let mut used = Vec::new();
    let kind = TransferKind::of(&intent.kind)
        .filter(|_| !intent.transfers.is_empty() && intent.approvals.is_empty());
    let Some(kind) = kind else {
        reasons.push(Reason::KindNotAllowed {
            kind: intent.kind.name().to_owned(),
        });
        return used;
    };
    for transfer in &intent.transfers {
        let applicable: Vec<&TransferRule> = bundle
            .content()
            .rules
            .iter()
            .filter(|rule| {
                rule.wallet == request.body().wallet
                    && rule.asset == transfer.asset
                    && rule.initiators.contains(request.issuer())
                    && rule.kinds.contains(&kind)
            })
            .collect();
        if applicable.is_empty() {
            reasons.push(Reason::NoRule {
                asset: transfer.asset.to_string(),
            });
            continue;
        }
        let movement = Movement {
            to: transfer.to,
            amount: moved(intent, &transfer.asset),
            entry: bundle.destination(&intent.network, &transfer.to),
            lost: is_lost(intent),
        };
        // The first rule without objection decides; otherwise the objections of the rule that came closest are told.
        let objections = applicable
            .into_iter()
            .map(|rule| (rule, movement.objections(rule, now)));
        if let Some((rule, closest)) = objections.min_by_key(|(_, found)| found.len()) {
            if !used.contains(&rule.id) {
                used.push(rule.id.clone());
            }
            reasons.extend(closest);
        }
    }
    used
}

/// What every rule is asked about one transfer, looked up once for all of them.
struct Movement<'a> {
    to: Address,
    amount: Amount,
    entry: Option<&'a AddressBookEntry>,
    lost: bool,
}

impl Movement<'_> {
    fn objections(&self, rule: &TransferRule, now: Timestamp) -> Vec<Reason> {
        let mut found = Vec::new();
        if self.amount > rule.max_amount {
            found.push(Reason::AmountCap {
                amount: self.amount,
                cap: rule.max_amount,
            });
        }
        found.extend(self.destination_objection(&rule.destinations, now));
        found
    }

    fn destination_objection(&self, allowed: &Destinations, now: Timestamp) -> Option<Reason> {
        let address = self.to;
        let listed = match allowed {
            Destinations::Any if self.lost => None,
            Destinations::Any => return None,
            Destinations::AddressBook => self.entry,
            Destinations::Labels { labels } => self.entry.filter(|e| labels.contains(&e.label)),
        };
        match listed {
            None => Some(Reason::DestinationNotAllowed { address }),
            Some(entry) if entry.active_from > now => Some(Reason::DestinationNotActive {
                address,
                active_from: entry.active_from,
            }),
            Some(_) => None,
        }
    }
}

/// What the whole transaction moves of one asset: the cap is per transaction, however many transfers it makes.
fn moved(intent: &Intent, asset: &AssetId) -> Amount {
    let parts = intent.transfers.iter().filter(|t| t.asset == *asset);
    Amount::checked_sum(parts.map(|t| t.amount)).unwrap_or(Amount::MAX)
}

/// Whether value goes where nobody can get it back: "anywhere" does not mean there.
fn is_lost(intent: &Intent) -> bool {
    intent
        .warnings
        .iter()
        .any(|w| matches!(w, Warning::ZeroAddress | Warning::TokenToItsContract(_)))
}
