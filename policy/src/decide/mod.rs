//! The one place where "may this be signed?" is answered.
//!
//! [`decide`] is pure and total: the same bundle, request, facts, standing and time give the same [`Decision`], on every
//! machine. Whatever is not allowed by a rule is blocked.
//!
//! A transaction is permitted when a transfer rule permits each of its transfers, or a Cedar rule permits it whole, and no
//! Cedar rule forbids it or fails. The permitting rule may ask for approvals. When they are missing, the question is asked
//! again as if everybody had approved: what is denied even then is blocked, and only the rest waits for approvals.

mod agreement;
mod answer;
mod bounds;
mod case;
mod cedar;
mod explain;
mod facts;
mod missing;
mod standing;
#[cfg(test)]
mod tests;
mod transfers;
mod ways;

pub use answer::{Decision, Outcome, Reason};
pub use explain::{Change, Considered, Explanation, Finding, RuleKind, WhatIf, explain};
pub use facts::{Facts, FactsError};
pub use standing::Standing;

use crate::bundle::ActiveBundle;
use crate::statement::{SignRequest, Verified};
use crate::{Timestamp, approvals::MissingApprovals};
use case::Case;
use ways::{Permission, Way};

/// Decides whether `request` may be signed under `bundle` at time `now`.
///
/// Limits per transaction are looked at here; the others are in `standing`, because only ledgers know them.
pub fn decide(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    facts: &Facts,
    standing: &Standing,
    now: Timestamp,
) -> Decision {
    decide_case(&Case::new(bundle, request, facts, standing, now))
}

fn decide_case(case: &Case<'_>) -> Decision {
    let mut reasons = case.objections();
    let real = Permission::of(case, case.standing.approvals());
    if real.is_given() {
        return Decision::of(real, reasons);
    }
    let saturated = Permission::of(case, case.everybody());
    if !saturated.is_given() {
        // Nobody's approval helps, so what is missing is told only where there are not even enough people to ask.
        reasons.extend(saturated.reasons);
        let too_few = saturated.missing.into_iter().map(Reason::MissingApprovals);
        reasons.extend(too_few);
        return Decision {
            outcome: Outcome::Blocked,
            rules: saturated.rules,
            reasons,
            missing: Vec::new(),
        };
    }
    if !reasons.is_empty() {
        return Decision::of(saturated, reasons);
    }
    let missing = missing::missing(case, real);
    Decision {
        outcome: Outcome::NeedsApprovals,
        rules: saturated.rules,
        reasons: missing
            .iter()
            .cloned()
            .map(Reason::MissingApprovals)
            .collect(),
        missing,
    }
}

impl Decision {
    /// What a permission comes to, given what else stands against it.
    fn of(permission: Permission, reasons: Vec<Reason>) -> Self {
        Self {
            outcome: if reasons.is_empty() {
                Outcome::Allow
            } else {
                Outcome::Blocked
            },
            rules: permission.rules,
            reasons,
            missing: Vec::new(),
        }
    }
}

/// How many people a list of missing approvals asks for.
fn people(missing: &[MissingApprovals]) -> usize {
    missing
        .iter()
        .map(|m| usize::from(m.needed.saturating_sub(m.have)))
        .fold(0, usize::saturating_add)
}
