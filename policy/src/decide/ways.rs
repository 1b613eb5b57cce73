//! The ways in which a transaction can be permitted, and the best of them.

use super::cedar::Verdict;
use super::{Case, Reason, people, transfers};
use crate::approvals::{ApprovalTally, MissingApprovals, Needs};
use crate::id::RuleId;

/// One way: by transfer rules, or by a Cedar rule. It permits when nothing is against it and nothing is missing.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    pub(super) rules: Vec<RuleId>,
    pub(super) reasons: Vec<Reason>,
    pub(super) missing: Vec<MissingApprovals>,
}

impl Way {
    pub(super) fn is_open(&self) -> bool {
        self.reasons.is_empty() && self.missing.is_empty()
    }

    /// What keeps the way shut, the worse first: objections, which nobody can lift, then people who are missing.
    pub(super) fn distance(&self) -> (usize, usize) {
        (self.reasons.len(), people(&self.missing))
    }
}

/// Whether a transaction is permitted with some approvals.
#[derive(Debug, Clone, Default)]
pub(super) struct Permission {
    /// The rules that decided it.
    pub(super) rules: Vec<RuleId>,
    /// Why not, whoever else approves.
    pub(super) reasons: Vec<Reason>,
    /// Who else has to approve.
    pub(super) missing: Vec<MissingApprovals>,
}

impl Permission {
    pub(super) fn of(case: &Case<'_>, tally: &ApprovalTally) -> Self {
        Self::with(case, tally, &Verdict::of(case, &case.counts(tally)))
    }

    /// With what the Cedar rules said already.
    pub(super) fn with(case: &Case<'_>, tally: &ApprovalTally, cedar: &Verdict<'_>) -> Self {
        let by_transfers = transfers::way(case, tally);
        let mut ways = vec![by_transfers];
        ways.extend(cedar.ways(case, tally));
        let mut best = Self::best(ways);
        if !cedar.against.is_empty() {
            // What forbids decides, not what would have permitted.
            best = Self {
                rules: cedar.deciding(),
                reasons: cedar.against.iter().cloned().chain(best.reasons).collect(),
                missing: best.missing,
            };
        }
        best
    }

    /// The open ways of one kind, the transfer rules first; otherwise the one that is closest to be open. When all have
    /// objections, those of all are told, because nobody knows which of them was meant.
    fn best(ways: Vec<Way>) -> Self {
        if let Some(open) = ways.iter().position(Way::is_open) {
            let (transfers, cedar) = ways.split_at(1.min(ways.len()));
            let deciding = if open == 0 { transfers } else { cedar };
            let rules = deciding.iter().filter(|way| way.is_open());
            return Self {
                rules: rules.flat_map(|way| way.rules.clone()).collect(),
                ..Self::default()
            };
        }
        let closest = ways.iter().min_by_key(|way| way.distance());
        if let Some(way) = closest.filter(|way| way.reasons.is_empty()) {
            return Self {
                rules: way.rules.clone(),
                reasons: Vec::new(),
                missing: way.missing.clone(),
            };
        }
        Self {
            rules: ways.iter().flat_map(|way| way.rules.clone()).collect(),
            reasons: ways.into_iter().flat_map(|way| way.reasons).collect(),
            missing: Vec::new(),
        }
    }

    pub(super) fn is_given(&self) -> bool {
        self.reasons.is_empty() && self.missing.is_empty()
    }
}

/// Who is missing for a rule, and the objection when it lets a cold wallet pay without anybody looking.
pub(super) fn needed(
    case: &Case<'_>,
    tally: &ApprovalTally,
    rule: &RuleId,
    needs: Option<&Needs>,
) -> Result<Vec<MissingApprovals>, Reason> {
    match needs {
        Some(needs) => Ok(tally.missing(needs, case.groups())),
        None if case.is_cold() => Err(Reason::ColdWithoutApprovals { rule: rule.clone() }),
        None => Ok(Vec::new()),
    }
}
