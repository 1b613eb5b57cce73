//! What transfer rules permit.

use super::ways::{Way, needed};
use super::{Case, Reason};
use crate::approvals::{ApprovalTally, MissingApprovals};
use crate::bundle::{AddressBookEntry, Destinations, TransferKind, TransferRule};
use crate::rules::is_lost;
use crate::{Address, Amount, AssetId, Intent, Timestamp, Transfer};

/// The way by transfer rules: each transfer needs one, and whatever is no transfer cannot have one.
pub(super) fn way(case: &Case<'_>, tally: &ApprovalTally) -> Way {
    let mut way = Way::default();
    let intent = case.intent();
    let kind = TransferKind::of(&intent.kind)
        .filter(|_| !intent.transfers.is_empty() && intent.approvals.is_empty());
    let Some(kind) = kind else {
        way.reasons.push(Reason::KindNotAllowed {
            kind: intent.kind.name().to_owned(),
        });
        return way;
    };
    if let Some(permission) = intent.permission_id.filter(|id| *id != 0) {
        way.reasons.push(Reason::Feature {
            feature: format!("Tron permission id {permission}"),
        });
    }
    for transfer in &intent.transfers {
        one(case, tally, kind, transfer, &mut way);
    }
    way
}

/// Adds the best rule for one transfer.
fn one(
    case: &Case<'_>,
    tally: &ApprovalTally,
    kind: TransferKind,
    transfer: &Transfer,
    way: &mut Way,
) {
    let movement = Movement::of(case, transfer);
    // The first rule without objection whose approvals are there decides; otherwise the one that came closest.
    let closest = applicable(case, kind, transfer)
        .map(|rule| movement.by(case, tally, rule))
        .min_by_key(Way::distance);
    let Some(closest) = closest else {
        way.reasons.push(Reason::NoRule {
            asset: transfer.asset.to_string(),
        });
        return;
    };
    for rule in closest.rules {
        if !way.rules.contains(&rule) {
            way.rules.push(rule);
        }
    }
    way.reasons.extend(closest.reasons);
    closest
        .missing
        .into_iter()
        .for_each(|m| add(&mut way.missing, m));
}

/// The rules that are about this initiator, wallet, asset and kind.
pub(super) fn applicable<'a>(
    case: &'a Case<'_>,
    kind: TransferKind,
    transfer: &'a Transfer,
) -> impl Iterator<Item = &'a TransferRule> {
    case.bundle.content().rules.iter().filter(move |rule| {
        rule.wallet == case.request.body().wallet
            && rule.asset == transfer.asset
            && rule.initiators.contains(case.request.issuer())
            && rule.kinds.contains(&kind)
    })
}

/// Adds what one more rule asks for: of each group the most that any of them needs.
pub(super) fn add(missing: &mut Vec<MissingApprovals>, more: MissingApprovals) {
    match missing.iter_mut().find(|m| m.group == more.group) {
        None => missing.push(more),
        Some(known) => {
            known.needed = known.needed.max(more.needed);
            known.have = known.have.min(more.have);
        }
    }
}

/// What every rule is asked about one transfer, looked up once for all of them.
pub(super) struct Movement<'a> {
    to: Address,
    amount: Amount,
    entry: Option<&'a AddressBookEntry>,
    lost: bool,
    /// Only to tell what would change the decision: the destination is taken to be listed.
    listed: bool,
}

impl<'a> Movement<'a> {
    pub(super) fn of(case: &Case<'a>, transfer: &Transfer) -> Self {
        let intent = case.intent();
        Self {
            to: transfer.to,
            amount: moved(intent, &transfer.asset),
            entry: case.bundle.destination(&intent.network, &transfer.to),
            lost: is_lost(intent),
            listed: case.pretend.listed,
        }
    }

    /// The way that one rule opens for this transfer.
    pub(super) fn by(&self, case: &Case<'_>, tally: &ApprovalTally, rule: &TransferRule) -> Way {
        let mut way = Way {
            rules: vec![rule.id.clone()],
            reasons: self.objections(rule, case.now),
            missing: Vec::new(),
        };
        way.reasons.extend(case.frozen(&rule.id));
        match needed(case, tally, &rule.id, rule.needs.as_ref()) {
            Ok(missing) => way.missing = missing,
            Err(reason) => way.reasons.push(reason),
        }
        way
    }

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
            Destinations::AddressBook if self.listed => return None,
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
pub(super) fn moved(intent: &Intent, asset: &AssetId) -> Amount {
    let parts = intent.transfers.iter().filter(|t| t.asset == *asset);
    Amount::checked_sum(parts.map(|t| t.amount)).unwrap_or(Amount::MAX)
}
