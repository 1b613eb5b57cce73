//! What the rules say to a request.

use std::collections::BTreeMap;

use cedar_policy::{Authorizer, Context, Request, RestrictedExpression};

use super::{Rule, RuleEffect, RuleSet, SigningFacts};
use crate::bundle::ActiveBundle;
use crate::id::{GroupId, MemberId, WalletId};

/// What is asked of the rules.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Who asks for the signature.
    pub initiator: &'a MemberId,
    /// The wallet that pays.
    pub wallet: &'a WalletId,
    /// What is known about the request.
    pub facts: &'a SigningFacts,
    /// How many approvals of each group there are; a group that is not named has none.
    pub approvals: &'a BTreeMap<GroupId, u16>,
}

/// What the rules say. With an error nothing is permitted, whatever else is in here.
#[derive(Debug, Clone, Default)]
pub struct Answer<'a> {
    /// The permits that apply, in the order of the files.
    pub permits: Vec<&'a Rule>,
    /// The forbids that apply.
    pub forbids: Vec<&'a Rule>,
    /// Rules that could not be evaluated, and why; no rule when the question as such could not be asked.
    pub errors: Vec<(Option<&'a Rule>, String)>,
    /// Rules whose scope the request is in and whose conditions do not hold.
    pub silent: Vec<&'a Rule>,
}

/// More stack than one level of a condition takes, in bytes. Without optimisation frames are many times as large.
const LEVEL: usize = if cfg!(debug_assertions) {
    256 * 1024
} else {
    32 * 1024
};
/// What Cedar wants to see left, and more, in bytes.
const RESERVE: usize = 256 * 1024;

impl RuleSet {
    /// Asks every rule that can be about the request.
    pub fn ask<'a>(&'a self, bundle: &ActiveBundle, question: Question<'_>) -> Answer<'a> {
        let rules = self.about(bundle, question.initiator, question.wallet);
        if rules.is_empty() {
            return Answer::default();
        }
        // Cedar gives up on a rule when the stack runs short. Nothing that was accepted may fail for that: where the thread
        // has too little left, the evaluation gets a stack of its own.
        let needed = self.depth.saturating_mul(LEVEL).saturating_add(RESERVE);
        stacker::maybe_grow(needed, needed, || self.evaluate(rules, question))
    }

    fn evaluate<'a>(&'a self, rules: Vec<&'a Rule>, question: Question<'_>) -> Answer<'a> {
        let request = match self.request(question) {
            Ok(request) => request,
            Err(what) => {
                return Answer {
                    errors: vec![(None, what)],
                    ..Answer::default()
                };
            }
        };
        let authorizer = Authorizer::new();
        let mut answer = Answer::default();
        for rule in rules {
            let response = authorizer.is_authorized(&request, &rule.alone, &self.entities);
            let diagnostics = response.diagnostics();
            if let Some(error) = diagnostics.errors().next() {
                answer.errors.push((Some(rule), error.to_string()));
            } else if diagnostics.reason().next().is_none() {
                answer.silent.push(rule);
            } else {
                match rule.effect {
                    RuleEffect::Permit => answer.permits.push(rule),
                    RuleEffect::Forbid => answer.forbids.push(rule),
                }
            }
        }
        answer
    }

    pub(super) fn request(&self, question: Question<'_>) -> Result<Request, String> {
        let counts = self.groups.iter().map(|group| {
            let count = question.approvals.get(group).copied().unwrap_or(0);
            (
                group.to_string(),
                RestrictedExpression::new_long(i64::from(count)),
            )
        });
        let approvals = RestrictedExpression::new_record(counts).map_err(|e| e.to_string())?;
        let mut attributes = question.facts.attributes();
        attributes.push(("approvals".to_owned(), approvals));
        let context = Context::from_pairs(attributes).map_err(|e| e.to_string())?;
        Request::new(
            self.types.member(question.initiator),
            self.types.sign(),
            self.types.wallet(question.wallet),
            context,
            Some(&self.schema),
        )
        .map_err(|e| e.to_string())
    }
}
