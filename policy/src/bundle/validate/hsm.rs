//! Wallets whose key lies in an HSM: one machine signs alone, so nodes besides it must count, confirm and be able to stop.

use super::super::chain::is_offline;
use super::super::model::{KeyRecord, PolicyBundle, Role, Wallet, WalletTier};
use super::Findings;
use crate::limits::LedgerGroup;

/// A wallet's tier and its key belong together, and the tier has what it needs.
pub(super) fn wallet_tier(
    findings: &mut Findings,
    bundle: &PolicyBundle,
    at: &str,
    wallet: &Wallet,
    key: &KeyRecord,
) {
    let hsm = key.protocol.is_hsm();
    if hsm != (wallet.tier != WalletTier::Hot) {
        let what = match hsm {
            true => "its key lies in an HSM, where one machine signs alone: it is warm or cold",
            false => {
                "a warm or cold wallet has a key in an HSM: its key is of a threshold protocol, so it is hot"
            }
        };
        findings.add(format!("{at}.tier"), what);
        return;
    }
    let cold = wallet.tier == WalletTier::Cold;
    operators(findings, bundle, at, wallet);
    if !hsm {
        findings.require(
            wallet.ledger_group.is_none(),
            format!("{at}.ledger_group"),
            "only a warm or cold wallet names its ledger group: limits name those of hot wallets",
        );
        return;
    }
    // The key of a wallet that ended may be anywhere.
    if key.state.is_final() {
        return;
    }
    if is_offline(bundle, key) != cold {
        let what = match cold {
            true => {
                "a cold wallet's key lies in machines with no network: give them the role offline-node, or call it warm"
            }
            false => {
                "a warm wallet's key lies in machines that are online: its machines are offline-nodes, so it is cold"
            }
        };
        findings.add(format!("{at}.tier"), what);
    }
    findings.require(
        !cold || bundle.timing.max_cold_authorization_life_seconds.is_some(),
        "timing.max_cold_authorization_life_seconds",
        format!(
            "wallet {} is cold: say how long its authorizations may live",
            wallet.id
        ),
    );
    let named = wallet.ledger_group.as_ref();
    let Some(name) = named else {
        findings.add(
            format!("{at}.ledger_group"),
            "a warm or cold wallet names the ledger group of which a quorum reserves its spends",
        );
        return;
    };
    match bundle.ledger_groups.iter().find(|g| g.id == *name) {
        None => findings.add(
            format!("{at}.ledger_group"),
            format!("there is no ledger group {name}; add it to ledger_groups"),
        ),
        Some(group) => witnesses(findings, at, key, group, cold),
    }
}

/// A quorum of the group can reserve, and it is more than the machine itself.
fn witnesses(findings: &mut Findings, at: &str, key: &KeyRecord, group: &LedgerGroup, cold: bool) {
    let here = format!("{at}.ledger_group");
    if cold {
        // That offline nodes are in no group is said where groups are checked.
        return;
    }
    let outside: Vec<&str> = key
        .nodes
        .iter()
        .filter(|n| !group.nodes.contains(n))
        .map(|n| n.as_str())
        .collect();
    findings.require(
        outside.is_empty(),
        &here,
        format!(
            "{} holds the key and is not in ledger group {}: what it signs would not be counted",
            outside.join(", "),
            group.id
        ),
    );
    findings.require(
        group.quorum >= 2,
        &here,
        format!(
            "the quorum of ledger group {} is the machine with the HSM alone: ask for at least 2",
            group.id
        ),
    );
}

fn operators(findings: &mut Findings, bundle: &PolicyBundle, at: &str, wallet: &Wallet) {
    let Some(needed) = wallet.offline_operators else {
        return;
    };
    let here = format!("{at}.offline_operators");
    findings.require(
        wallet.tier == WalletTier::Cold,
        &here,
        "only a cold wallet has people at an offline machine",
    );
    let members = bundle.members.iter();
    let operators = members
        .filter(|m| m.roles.contains(&Role::Operator))
        .count();
    findings.require(
        needed >= 1 && usize::from(needed) <= operators,
        &here,
        format!(
            "{needed} operators must agree and {operators} exist: name at least that many, or leave it out"
        ),
    );
}
