//! What a bundle must satisfy before anybody signs or follows it.

mod approvals;
mod credentials;
mod holdings;
mod hsm;
mod limits;
mod members;
mod money;

pub(crate) use approvals::needs_problems;
pub(super) use members::unfit_holders;

use super::model::PolicyBundle;
use crate::plain::plain_text;
use crate::rules::RuleSet;
use crate::statement::strictly_ascending;

/// One thing wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleProblem {
    /// Where, as a path into the bundle: `members[alice].keys`.
    pub at: String,
    /// What is wrong, and what to do about it.
    pub what: String,
}

/// Everything wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationError {
    /// At least one.
    pub problems: Vec<BundleProblem>,
}

impl std::fmt::Display for ValidationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the bundle has {} problem(s)", self.problems.len())?;
        for problem in &self.problems {
            write!(f, "; {}: {}", problem.at, problem.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ValidationError {}

#[derive(Default)]
struct Findings(Vec<BundleProblem>);

impl Findings {
    fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(BundleProblem {
            at: at.into(),
            what: what.into(),
        });
    }

    fn require(&mut self, ok: bool, at: impl Into<String>, what: impl Into<String>) {
        if !ok {
            self.add(at, what);
        }
    }

    fn text(&mut self, at: impl Into<String>, value: &str) {
        if let Err(what) = plain_text(value) {
            self.add(at, what);
        }
    }

    /// The compiled Cedar rules, or what is wrong with them.
    fn rules(&mut self, bundle: &PolicyBundle) -> Option<RuleSet> {
        let problems = match RuleSet::compile(bundle) {
            Ok(rules) => return Some(rules),
            Err(problems) => problems,
        };
        for problem in problems {
            let at = format!("rules/{}:{}", problem.file, problem.line);
            self.add(at, format!("{}; {}", problem.what, problem.mend));
        }
        None
    }

    fn ascending<T: Ord>(&mut self, at: impl Into<String>, items: &[T]) {
        if !items.is_empty()
            && let Err(what) = strictly_ascending("entries", items)
        {
            self.add(at, what);
        }
    }
}

/// Checks the whole content and reports everything that is wrong with it. Gives the compiled Cedar rules.
pub fn validate(bundle: &PolicyBundle) -> Result<RuleSet, ValidationError> {
    let mut findings = Findings::default();
    findings.text("organisation", &bundle.organisation);
    members::members(&mut findings, bundle);
    members::quorums(&mut findings, bundle);
    findings.ascending("supersedes", &bundle.supersedes);
    approvals::groups(&mut findings, bundle);
    credentials::webauthn(&mut findings, bundle);
    credentials::credentials(&mut findings, bundle);
    timing(&mut findings, bundle);
    holdings::keys(&mut findings, bundle);
    holdings::wallets(&mut findings, bundle);
    money::assets(&mut findings, bundle);
    money::address_book(&mut findings, bundle);
    money::fee_caps(&mut findings, bundle);
    money::rules(&mut findings, bundle);
    money::cedar(&mut findings, bundle);
    limits::ledger_groups(&mut findings, bundle);
    limits::limits(&mut findings, bundle);
    limits::nonce_leads(&mut findings, bundle);
    limits::reference(&mut findings, bundle);
    let rules = findings.rules(bundle);
    if let Some(rules) = &rules {
        money::used_wallets(&mut findings, bundle, rules);
    }
    match rules {
        Some(rules) if findings.0.is_empty() => Ok(rules),
        _ => Err(ValidationError {
            problems: findings.0,
        }),
    }
}

fn timing(findings: &mut Findings, bundle: &PolicyBundle) {
    let timing = &bundle.timing;
    findings.require(
        (1..=60).contains(&timing.max_clock_skew_seconds),
        "timing.max_clock_skew_seconds",
        "must be 1 to 60",
    );
    findings.require(
        (1..=86_400).contains(&timing.max_request_life_seconds),
        "timing.max_request_life_seconds",
        "must be 1 to 86400 (a day)",
    );
    findings.require(
        (1..=600).contains(&timing.max_authorization_life_seconds),
        "timing.max_authorization_life_seconds",
        "must be 1 to 600",
    );
    findings.require(
        timing
            .max_cold_authorization_life_seconds
            .is_none_or(|life| (60..=3 * 86_400).contains(&life)),
        "timing.max_cold_authorization_life_seconds",
        "must be 60 to 259200 (three days)",
    );
    findings.require(
        (60..=30 * 86_400).contains(&timing.max_approval_life_seconds),
        "timing.max_approval_life_seconds",
        "must be 60 to 2592000 (30 days)",
    );
    findings.require(
        timing.activation_delay_seconds <= 30 * 86_400,
        "timing.activation_delay_seconds",
        "must be at most 2592000 (30 days)",
    );
}
