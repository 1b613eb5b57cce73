//! Cedar rules: what they may say, how they are checked, and how they are evaluated.
//!
//! Rules are written in files that people review, against the schema in `schema.cedarschema`. [`RuleSet::compile`] refuses
//! everything that could surprise: what strict validation refuses, what could fail while it is evaluated (Cedar skips a
//! rule that fails, also a `forbid`), and names that nothing has. What remains is kept parsed and sorted by scope, so that
//! a request is only asked of the rules that are about its wallet and its initiator.
//!
//! ```
//! use countersign_policy::bundle::CedarFile;
//! use countersign_policy::rules::RuleSet;
//! use countersign_policy::testing::TestDeployment;
//!
//! let mut deployment = TestDeployment::with_single_keys(3, 2);
//! deployment.content_mut().cedar.push(CedarFile {
//!     name: "night.cedar".into(),
//!     text: r#"
//!         @id("closed-at-night")
//!         @reason("payments are made from 6 to 22 UTC")
//!         forbid (principal, action, resource) when { context.hour < 6 || context.hour >= 22 };
//!     "#.into(),
//! });
//! let rules = RuleSet::compile(deployment.content()).expect("valid rules");
//! assert_eq!(rules.rules().len(), 1);
//!
//! deployment.content_mut().cedar[0].text = "permit (principal, action, resource);".into();
//! let problems = RuleSet::compile(deployment.content()).expect_err("a rule without @id");
//! assert_eq!(problems[0].line, 1);
//! ```

mod compile;
mod evaluate;
mod facts;
mod lint;
mod problem;
mod schema;
mod slices;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cedar_policy::{Entities, Policy, PolicySet, Schema};

pub use evaluate::{Answer, Question};
pub use facts::SigningFacts;
pub(crate) use facts::is_lost;
pub use problem::RuleProblem;

use crate::approvals::Needs;
use crate::bundle::Wallet;
use crate::id::{GroupId, RuleId};
use compile::Resource;
use schema::Types;
use slices::{Slices, Who};

/// The rules of a bundle, checked and parsed.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    slices: Slices,
    entities: Entities,
    schema: Schema,
    types: Types,
    /// The groups of which approvals are counted.
    groups: Vec<GroupId>,
    /// The most levels that a condition has.
    depth: usize,
}

/// What a rule does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleEffect {
    /// It permits, unless another rule forbids.
    Permit,
    /// It forbids, whatever permits.
    Forbid,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    id: RuleId,
    effect: RuleEffect,
    reason: Option<String>,
    needs: Option<Needs>,
    file: String,
    line: usize,
    mentions: BTreeSet<String>,
    depth: usize,
    principal: Who,
    resource: Resource,
    policy: Policy,
    /// The rule as a set of its own, as which it is evaluated.
    alone: PolicySet,
}

impl RuleSet {
    /// All rules, in the order of the files.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The groups of which a question counts approvals.
    pub fn groups(&self) -> &[GroupId] {
        &self.groups
    }
}

impl Rule {
    /// The rule's `@id`.
    pub fn id(&self) -> &RuleId {
        &self.id
    }

    /// Whether it permits or forbids.
    pub fn effect(&self) -> RuleEffect {
        self.effect
    }

    /// Its `@reason`.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Its `@needs`.
    pub fn needs(&self) -> Option<&Needs> {
        self.needs.as_ref()
    }

    /// Whether its scope lets a wallet in; its conditions may still keep it out.
    pub fn reaches(&self, wallet: &Wallet) -> bool {
        self.resource.reaches(wallet)
    }

    /// The file it stands in, and the line.
    pub fn place(&self) -> (&str, usize) {
        (&self.file, self.line)
    }

    /// Whether its conditions mention an attribute of the context.
    pub fn mentions(&self, attribute: &str) -> bool {
        self.mentions.contains(attribute)
    }

    /// The rule as Cedar text.
    pub fn text(&self) -> String {
        self.policy.to_string()
    }
}
