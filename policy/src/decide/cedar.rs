//! What Cedar rules permit and forbid.

use std::collections::BTreeMap;

use super::ways::{Way, needed};
use super::{Case, Reason};
use crate::approvals::ApprovalTally;
use crate::id::{GroupId, RuleId};
use crate::rules::{Answer, Rule, SigningFacts};
use crate::{Intent, IntentKind};

/// What the Cedar rules say with some approvals.
pub(super) struct Verdict<'a> {
    answer: Answer<'a>,
    /// Forbids and failures: each is enough to deny.
    pub(super) against: Vec<Reason>,
}

impl<'a> Verdict<'a> {
    pub(super) fn of(case: &Case<'a>, approvals: &BTreeMap<GroupId, u16>) -> Self {
        let answer = case.ask(approvals);
        let errors = answer
            .errors
            .iter()
            .map(|(rule, detail)| Reason::RuleError {
                rule: rule.map(|rule| rule.id().clone()),
                detail: detail.clone(),
            });
        let forbids = answer.forbids.iter().map(|rule| Reason::Forbidden {
            rule: rule.id().clone(),
            reason: rule.reason().map(str::to_owned),
        });
        Self {
            against: errors.chain(forbids).collect(),
            answer,
        }
    }

    /// The rules that fail or forbid.
    pub(super) fn deciding(&self) -> Vec<RuleId> {
        let errors = self.answer.errors.iter().filter_map(|(rule, _)| *rule);
        let forbids = self.answer.forbids.iter().copied();
        errors
            .chain(forbids)
            .map(|rule| rule.id().clone())
            .collect()
    }

    /// One way for each permit that applies.
    pub(super) fn ways(&self, case: &Case<'_>, tally: &ApprovalTally) -> Vec<Way> {
        let permits = self.answer.permits.iter();
        permits.map(|rule| way(case, tally, rule)).collect()
    }
}

/// The way that a permit opens when its conditions hold.
pub(super) fn way(case: &Case<'_>, tally: &ApprovalTally, rule: &Rule) -> Way {
    let mut way = Way {
        rules: vec![rule.id().clone()],
        ..Way::default()
    };
    way.reasons.extend(case.frozen(rule.id()));
    for attribute in to_be_named(case.intent(), case.signing()) {
        if !rule.mentions(attribute) {
            way.reasons.push(Reason::NotNamed {
                rule: rule.id().clone(),
                attribute: attribute.to_owned(),
            });
        }
    }
    match needed(case, tally, rule.id(), rule.needs()) {
        Ok(missing) => way.missing = missing,
        Err(reason) => way.reasons.push(reason),
    }
    way
}

/// What is dangerous about a transaction: a rule that does not mention it was not written for it, however wide its words.
fn to_be_named(intent: &Intent, facts: &SigningFacts) -> Vec<&'static str> {
    let mut attributes = Vec::new();
    let plain = matches!(
        intent.kind,
        IntentKind::NativeTransfer | IntentKind::TokenTransfer
    );
    for (is_so, attribute) in [
        (!plain, "kind"),
        (facts.contract.is_some(), "contract"),
        (facts.contract_type.is_some(), "contractType"),
        (facts.unlimited_approval, "unlimitedApproval"),
        (facts.permission != 0, "permission"),
        (facts.lost, "lost"),
    ] {
        if is_so {
            attributes.push(attribute);
        }
    }
    attributes
}
