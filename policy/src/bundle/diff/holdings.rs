//! Keys, wallets and ledger groups.

use super::super::model::{KeyRecord, KeyState, PolicyBundle, Wallet, WalletTier};
use super::{Changes, Direction, listed, paired};
use crate::id::LedgerGroupId;
use crate::limits::LedgerGroup;

pub(super) fn keys(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (id, pair) in paired(&before.keys, &after.keys, |k| &k.id) {
        let at = format!("keys[{id}]");
        match pair {
            (None, Some(new)) => changes.loosens(
                at,
                format!(
                    "a key of {} of {} ({}), {}",
                    new.threshold,
                    listed(&new.nodes),
                    new.protocol,
                    state(new.state)
                ),
            ),
            // A chain refuses that; two bundles that are merely compared may differ so.
            (Some(_), None) => changes.tightens(at, "the key is left out"),
            (Some(old), Some(new)) => key(changes, &at, old, new),
            (None, None) => {}
        }
    }
}

fn key(changes: &mut Changes, at: &str, old: &KeyRecord, new: &KeyRecord) {
    if old.state != new.state {
        let direction = match new.state {
            KeyState::Active => Direction::Loosens,
            _ if old.state == KeyState::Active => Direction::Tightens,
            _ => Direction::Neutral,
        };
        let what = format!("was {}, becomes {}", state(old.state), state(new.state));
        changes.add(direction, format!("{at}.state"), what);
    }
    let same = KeyRecord {
        state: old.state,
        ..new.clone()
    };
    if same != *old {
        changes.loosens(at, "the key itself differs: no chain allows that");
    }
}

const fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::PreActive => "pre-active",
        KeyState::Active => "active",
        KeyState::Suspended => "suspended",
        KeyState::Deactivated => "deactivated",
        KeyState::Compromised => "compromised",
        KeyState::Destroyed => "destroyed",
    }
}

pub(super) fn wallets(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    for (id, pair) in paired(&before.wallets, &after.wallets, |w| &w.id) {
        let at = format!("wallets[{id}]");
        match pair {
            (None, Some(new)) => changes.loosens(
                at,
                format!(
                    "a {} wallet of key {} at {} on {}",
                    tier(new.tier),
                    new.key,
                    new.path,
                    listed(&new.networks)
                ),
            ),
            (Some(_), None) => changes.tightens(at, "the wallet is left out: nothing leaves it"),
            (Some(old), Some(new)) => wallet(changes, &at, old, new),
            (None, None) => {}
        }
    }
}

fn wallet(changes: &mut Changes, at: &str, old: &Wallet, new: &Wallet) {
    changes.text(format!("{at}.name"), &old.name, &new.name);
    if old.tier != new.tier {
        // The order of the enum is from hot to cold.
        let direction = match new.tier < old.tier {
            true => Direction::Loosens,
            false => Direction::Tightens,
        };
        let what = format!("was {}, becomes {}", tier(old.tier), tier(new.tier));
        changes.add(direction, format!("{at}.tier"), what);
    }
    if (&old.key, &old.path) != (&new.key, &new.path) {
        changes.loosens(
            at,
            format!(
                "was key {} at {}, becomes key {} at {}: other addresses",
                old.key, old.path, new.key, new.path
            ),
        );
    }
    changes.members(&format!("{at}.networks"), &old.networks, &new.networks);
    if old.ledger_group != new.ledger_group {
        let shown = |g: &Option<LedgerGroupId>| {
            g.as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string)
        };
        // Other nodes have other ledgers: what was counted may be missing there.
        changes.loosens(
            format!("{at}.ledger_group"),
            format!(
                "was {}, becomes {}",
                shown(&old.ledger_group),
                shown(&new.ledger_group)
            ),
        );
    }
    let (before, after) = (
        old.offline_operators.unwrap_or(0),
        new.offline_operators.unwrap_or(0),
    );
    changes.demand(format!("{at}.offline_operators"), &before, &after);
}

pub(super) const fn tier(tier: WalletTier) -> &'static str {
    match tier {
        WalletTier::Hot => "hot",
        WalletTier::Warm => "warm",
        WalletTier::Cold => "cold",
    }
}

pub(super) fn ledger_groups(changes: &mut Changes, before: &PolicyBundle, after: &PolicyBundle) {
    let shown = |g: &LedgerGroup| {
        format!(
            "{} of {}, {} may lie",
            g.quorum,
            listed(&g.nodes),
            g.max_faulty
        )
    };
    for (id, pair) in paired(&before.ledger_groups, &after.ledger_groups, |g| &g.id) {
        let at = format!("ledger_groups[{id}]");
        match pair {
            (None, Some(new)) => changes.add(Direction::Neutral, at, shown(new)),
            (Some(old), None) => {
                changes.add(
                    Direction::Neutral,
                    at,
                    format!("is left out; was {}", shown(old)),
                );
            }
            // Other nodes have other ledgers: what was counted may be missing there.
            (Some(old), Some(new)) if old.nodes != new.nodes => {
                changes.loosens(at, format!("was {}, becomes {}", shown(old), shown(new)))
            }
            (Some(old), Some(new)) => {
                changes.demand(format!("{at}.quorum"), &old.quorum, &new.quorum);
                changes.demand(format!("{at}.max_faulty"), &old.max_faulty, &new.max_faulty);
            }
            (None, None) => {}
        }
    }
}
