//! Why a decision is what it is: every rule that was looked at, and what would change it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::case::Pretend;
use super::transfers::Movement;
use super::{Case, Decision, Facts, Outcome, Reason, Standing, Way, cedar, decide_case};
use crate::Timestamp;
use crate::approvals::{ApprovalTally, MissingApprovals};
use crate::bundle::{ActiveBundle, TransferKind, TransferRule};
use crate::freeze::FreezeSet;
use crate::id::{GroupId, RuleId};
use crate::rules::{Answer, Rule, RuleEffect, SigningFacts};
use crate::statement::{SignRequest, Verified};

/// A decision with everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The decision: what [`decide`](super::decide) says.
    pub decision: Decision,
    /// What Cedar rules were told.
    pub facts: SigningFacts,
    /// How many of each group approved.
    pub approvals: BTreeMap<GroupId, u16>,
    /// Every rule about the wallet, in the order of the bundle.
    pub rules: Vec<Considered>,
    /// What would lead to another outcome.
    pub what_if: Vec<WhatIf>,
}

/// A rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Considered {
    /// The rule.
    pub rule: RuleId,
    /// Which kind of rule it is.
    pub kind: RuleKind,
    /// For Cedar rules: file and line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What came of it.
    pub finding: Finding,
    /// What would turn whether its conditions hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turned_by: Vec<Change>,
}

/// Kinds of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// A transfer rule of the bundle.
    Transfer,
    /// A Cedar rule that permits.
    Permit,
    /// A Cedar rule that forbids.
    Forbid,
}

/// What came of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Finding {
    /// It permits, or forbids.
    Applies,
    /// It would permit with more approvals.
    Waits {
        /// Whose.
        missing: Vec<MissingApprovals>,
    },
    /// It is about such a transaction and does not permit this one.
    Objects {
        /// Why.
        reasons: Vec<Reason>,
    },
    /// It is about something else.
    NotAbout {
        /// In which part the request differs: the initiator, the asset, the kind.
        part: String,
    },
    /// Its conditions do not hold.
    ConditionsDoNotHold,
    /// It could not be evaluated.
    Fails {
        /// Why.
        detail: String,
    },
}

/// Something that could be otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Everybody in the groups approved, and nobody rejected.
    EverybodyApproved,
    /// All destinations were active entries of the address book.
    DestinationsListed,
    /// Both.
    ApprovedAndListed,
    /// Nothing was frozen.
    NothingFrozen,
    /// No limit would be passed.
    NoLimitPassed,
}

/// What a change would lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhatIf {
    /// The change.
    pub change: Change,
    /// The outcome then.
    pub outcome: Outcome,
    /// What would still stand against it.
    pub reasons: Vec<Reason>,
}

impl Change {
    const ALL: [Self; 5] = [
        Self::EverybodyApproved,
        Self::DestinationsListed,
        Self::ApprovedAndListed,
        Self::NothingFrozen,
        Self::NoLimitPassed,
    ];

    fn approved(self) -> bool {
        matches!(self, Self::EverybodyApproved | Self::ApprovedAndListed)
    }

    fn listed(self) -> bool {
        matches!(self, Self::DestinationsListed | Self::ApprovedAndListed)
    }

    /// The standing of a case after the change.
    fn standing(self, case: &Case<'_>) -> Standing {
        let standing = case.standing;
        let approvals = if self.approved() {
            case.everybody().clone()
        } else {
            standing.approvals().clone()
        };
        let freezes = match self {
            Self::NothingFrozen => FreezeSet::default(),
            _ => standing.freezes().clone(),
        };
        Standing::new(approvals, freezes, standing.limits().to_vec())
    }

    /// Decides, or whatever else is done with it, under the change.
    fn with<T>(self, case: &Case<'_>, what: impl FnOnce(&Case<'_>) -> T) -> T {
        let standing = self.standing(case);
        let mut changed = Case::new(case.bundle, case.request, case.facts, &standing, case.now);
        changed.pretend = Pretend {
            listed: self.listed(),
            unlimited: self == Self::NoLimitPassed,
        };
        what(&changed)
    }
}

/// Decides as [`decide`](super::decide) does, and tells how it came to that.
///
/// It is for people with the right to see rules and limits, not for initiators.
pub fn explain(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    facts: &Facts,
    standing: &Standing,
    now: Timestamp,
) -> Explanation {
    let case = Case::new(bundle, request, facts, standing, now);
    let decision = decide_case(&case);
    let mut rules = transfer_rules(&case);
    rules.extend(cedar_rules(&case));
    let what_if = Change::ALL.into_iter().filter_map(|change| {
        let then = change.with(&case, decide_case);
        (then.outcome != decision.outcome).then_some(WhatIf {
            change,
            outcome: then.outcome,
            reasons: then.reasons,
        })
    });
    Explanation {
        what_if: what_if.collect(),
        facts: case.signing().clone(),
        approvals: case.counts(standing.approvals()),
        rules,
        decision,
    }
}

fn transfer_rules(case: &Case<'_>) -> Vec<Considered> {
    let rules = case.bundle.content().rules.iter();
    rules
        .filter(|rule| rule.wallet == case.request.body().wallet)
        .map(|rule| Considered {
            rule: rule.id.clone(),
            kind: RuleKind::Transfer,
            place: None,
            finding: transfer_finding(case, rule),
            turned_by: Vec::new(),
        })
        .collect()
}

fn transfer_finding(case: &Case<'_>, rule: &TransferRule) -> Finding {
    let not_about = |part: &str| Finding::NotAbout {
        part: part.to_owned(),
    };
    let intent = case.intent();
    if !rule.initiators.contains(case.request.issuer()) {
        return not_about("initiator");
    }
    let kind = TransferKind::of(&intent.kind);
    if kind.is_none_or(|kind| !rule.kinds.contains(&kind)) {
        return not_about("kind");
    }
    let mut ways = intent
        .transfers
        .iter()
        .filter(|transfer| transfer.asset == rule.asset)
        .map(|transfer| Movement::of(case, transfer).by(case, case.standing.approvals(), rule))
        .peekable();
    if ways.peek().is_none() {
        return not_about("asset");
    }
    let all = ways.fold(Way::default(), |mut all, way| {
        all.reasons.extend(way.reasons);
        way.missing
            .into_iter()
            .for_each(|more| super::transfers::add(&mut all.missing, more));
        all
    });
    of_way(all)
}

fn of_way(way: Way) -> Finding {
    if !way.reasons.is_empty() {
        return Finding::Objects {
            reasons: way.reasons,
        };
    }
    if !way.missing.is_empty() {
        return Finding::Waits {
            missing: way.missing,
        };
    }
    Finding::Applies
}

fn cedar_rules(case: &Case<'_>) -> Vec<Considered> {
    let answer = case.ask(&case.counts(case.standing.approvals()));
    let holds = applying(&answer);
    let conditions = [
        Change::EverybodyApproved,
        Change::DestinationsListed,
        Change::ApprovedAndListed,
    ];
    let changed: Vec<(Change, BTreeSet<RuleId>)> = conditions
        .into_iter()
        .map(|change| {
            let applies = change.with(case, |then| {
                applying(&then.ask(&then.counts(then.standing.approvals())))
            });
            (change, applies)
        })
        .collect();
    let turned_by = |id: &RuleId| {
        let turned = changed
            .iter()
            .filter(|(_, then)| then.contains(id) != holds.contains(id));
        turned.map(|(change, _)| *change).collect()
    };
    let considered = |rule: &Rule, finding: Finding| {
        let (file, line) = rule.place();
        Considered {
            rule: rule.id().clone(),
            kind: match rule.effect() {
                RuleEffect::Permit => RuleKind::Permit,
                RuleEffect::Forbid => RuleKind::Forbid,
            },
            place: Some(format!("{file}:{line}")),
            finding,
            turned_by: turned_by(rule.id()),
        }
    };
    let tally = case.standing.approvals();
    let mut rules: Vec<((String, usize), Considered)> = Vec::new();
    let mut add = |rule: &Rule, finding| {
        let (file, line) = rule.place();
        rules.push(((file.to_owned(), line), considered(rule, finding)));
    };
    for rule in &answer.permits {
        add(rule, permit_finding(case, tally, rule));
    }
    for rule in &answer.forbids {
        add(rule, Finding::Applies);
    }
    for rule in &answer.silent {
        add(rule, Finding::ConditionsDoNotHold);
    }
    for (rule, detail) in &answer.errors {
        if let Some(rule) = rule {
            let detail = detail.clone();
            add(rule, Finding::Fails { detail });
        }
    }
    rules.sort_by(|a, b| a.0.cmp(&b.0));
    rules.into_iter().map(|(_, rule)| rule).collect()
}

fn permit_finding(case: &Case<'_>, tally: &ApprovalTally, rule: &Rule) -> Finding {
    of_way(cedar::way(case, tally, rule))
}

/// The rules whose conditions hold.
fn applying(answer: &Answer<'_>) -> BTreeSet<RuleId> {
    let rules = answer.permits.iter().chain(&answer.forbids);
    rules.map(|rule| rule.id().clone()).collect()
}
