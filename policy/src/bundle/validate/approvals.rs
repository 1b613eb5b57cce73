//! Who approves: groups, and needs that distinct people can meet.

use std::collections::BTreeSet;

use super::super::model::{PolicyBundle, Role, TransferRule, WalletTier};
use super::Findings;
use crate::approvals::{Need, Needs};
use crate::id::MemberId;

/// The people whose approval a withdrawal from an HSM needs at the least, whatever its rule says.
const HSM_APPROVERS: usize = 2;

pub(super) fn groups(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "groups",
        &bundle.groups.iter().map(|g| &g.id).collect::<Vec<_>>(),
    );
    for group in &bundle.groups {
        let at = format!("groups[{}].members", group.id);
        findings.ascending(&at, &group.members);
        findings.require(
            !group.members.is_empty(),
            &at,
            "a group without members approves nothing: name its officers or leave it out",
        );
        for id in &group.members {
            let Some(member) = bundle.members.iter().find(|m| m.id == *id) else {
                findings.add(&at, format!("there is no member {id}"));
                continue;
            };
            findings.require(
                member.roles.contains(&Role::SecurityOfficer),
                &at,
                format!("{id} is no security officer, and nobody else approves"),
            );
        }
    }
}

/// The needs of a transfer rule.
pub(super) fn rule_needs(
    findings: &mut Findings,
    bundle: &PolicyBundle,
    rule: &TransferRule,
    at: &str,
) {
    let tier = bundle.wallets.iter().find(|w| w.id == rule.wallet);
    let tier = tier.map(|w| w.tier);
    for what in needs_problems(bundle, tier, rule.needs.as_ref()) {
        findings.add(format!("{at}.needs"), what);
    }
}

/// What is wrong with the needs of a rule that permits something from a wallet of this tier: of a transfer rule or of a
/// Cedar permit. Without a tier, only what is wrong for any wallet.
pub(crate) fn needs_problems(
    bundle: &PolicyBundle,
    tier: Option<WalletTier>,
    needs: Option<&Needs>,
) -> Vec<String> {
    let Some(needs) = needs else {
        return match tier {
            Some(WalletTier::Cold) => {
                vec!["a cold wallet could be signed without approvals: name whose it needs".into()]
            }
            _ => Vec::new(),
        };
    };
    let mut problems = Vec::new();
    for alternative in needs.alternatives() {
        let missing = alternative
            .iter()
            .filter(|need| !bundle.groups.iter().any(|g| g.id == need.group));
        let missing: Vec<_> = missing.map(|n| n.group.as_str()).collect();
        if !missing.is_empty() {
            problems.push(format!(
                "there is no group {}; add it to groups",
                missing.join(", ")
            ));
            continue;
        }
        if !can_be_met(bundle, alternative) {
            problems.push(format!(
                "{} needs more different people than these groups have: it could never be met",
                shown(alternative)
            ));
        }
        let hsm = matches!(tier, Some(WalletTier::Cold | WalletTier::Warm));
        if hsm && people(alternative) < HSM_APPROVERS {
            problems.push(format!(
                "{} is met by one person: a warm or cold wallet needs at least {HSM_APPROVERS}",
                shown(alternative)
            ));
        }
    }
    problems
}

/// Whether different people of the groups can fill all places at once.
fn can_be_met(bundle: &PolicyBundle, alternative: &[Need]) -> bool {
    let everybody: BTreeSet<&MemberId> = bundle.groups.iter().flat_map(|g| &g.members).collect();
    let filled = crate::approvals::filled(alternative, &bundle.groups, everybody.into_iter());
    alternative
        .iter()
        .zip(filled)
        .all(|(need, filled)| filled >= usize::from(need.count))
}

fn people(alternative: &[Need]) -> usize {
    alternative
        .iter()
        .fold(0, |sum, need| sum.saturating_add(usize::from(need.count)))
}

fn shown(alternative: &[Need]) -> String {
    let parts: Vec<_> = alternative
        .iter()
        .map(|need| format!("{}:{}", need.group, need.count))
        .collect();
    parts.join(",")
}
