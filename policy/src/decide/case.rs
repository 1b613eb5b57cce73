//! A request with everything that is known about it, and what stands against it whatever rules say.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::agreement::agreement;
use super::bounds::{cost_and_life, validity};
use super::{Facts, Reason, Standing};
use crate::approvals::ApprovalTally;
use crate::bundle::{ActiveBundle, Group, WalletTier};
use crate::freeze::Touched;
use crate::hash::Hash;
use crate::id::{GroupId, LimitId, RuleId};
use crate::limits::Spend;
use crate::rules::{Answer, Question, SigningFacts};
use crate::statement::{SignRequest, Verified};
use crate::{Intent, Timestamp};

/// What is taken to be otherwise than it is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pretend {
    /// All destinations are active entries of the address book.
    pub(super) listed: bool,
    /// No limit would be passed.
    pub(super) unlimited: bool,
}

pub(super) struct Case<'a> {
    pub(super) bundle: &'a ActiveBundle,
    pub(super) request: &'a Verified<SignRequest>,
    pub(super) facts: &'a Facts,
    pub(super) standing: &'a Standing,
    pub(super) now: Timestamp,
    /// What is taken to be otherwise, to tell what would change the decision.
    pub(super) pretend: Pretend,
    signing: OnceLock<SigningFacts>,
    everybody: OnceLock<ApprovalTally>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        bundle: &'a ActiveBundle,
        request: &'a Verified<SignRequest>,
        facts: &'a Facts,
        standing: &'a Standing,
        now: Timestamp,
    ) -> Self {
        Self {
            bundle,
            request,
            facts,
            standing,
            now,
            pretend: Pretend::default(),
            signing: OnceLock::new(),
            everybody: OnceLock::new(),
        }
    }

    pub(super) fn intent(&self) -> &Intent {
        self.facts.transaction().intent()
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.bundle.content().groups
    }

    /// Whether the wallet's key is on a machine with no network: nothing leaves it without approvals.
    pub(super) fn is_cold(&self) -> bool {
        let wallet = self.bundle.wallet(&self.request.body().wallet);
        wallet.is_none_or(|wallet| wallet.tier == WalletTier::Cold)
    }

    /// A freeze of a rule, which then permits nothing.
    pub(super) fn frozen(&self, rule: &RuleId) -> Option<Reason> {
        let hit = self.standing.freezes().blocks_rule(rule)?;
        Some(Reason::Frozen(hit.clone()))
    }

    /// What stands against the request, whatever rules and approvals say.
    pub(super) fn objections(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let intent = self.intent();
        if !self.facts.are_about(self.bundle, self.request.body()) {
            reasons.push(Reason::OtherFacts);
        }
        validity(self.bundle, self.request, self.now, &mut reasons);
        agreement(&self.request.body().intent, intent, &mut reasons);
        cost_and_life(self.bundle, intent, self.now, &mut reasons);
        let touched = Touched::by_request(self.request, intent, &[]);
        let frozen = self.standing.freezes().blocks(&touched);
        reasons.extend(frozen.into_iter().map(Reason::Frozen));
        let rejections = self.standing.approvals().rejections();
        reasons.extend(rejections.cloned().map(Reason::Rejected));
        self.limits(&mut reasons);
        reasons
    }

    /// The limits that ledgers say would be passed, and those that the transaction passes by itself.
    fn limits(&self, reasons: &mut Vec<Reason>) {
        if self.pretend.unlimited {
            return;
        }
        let told = self.standing.limits();
        reasons.extend(told.iter().cloned().map(Reason::Limit));
        let body = self.request.body();
        let digest = Hash::from_bytes(*self.facts.transaction().digest().as_bytes());
        let spend = Spend::asked(
            self.facts,
            &body.wallet,
            self.request.issuer(),
            &[digest],
            self.now,
        );
        let lower = |limit: &LimitId| self.standing.freezes().lower(limit);
        let by_itself = self
            .bundle
            .per_transaction_limits()
            .hits(&spend, self.now, &lower)
            .into_iter()
            .filter(|hit| told.iter().all(|other| other.limit != hit.limit));
        reasons.extend(by_itself.map(Reason::Limit));
    }

    /// What rules are told, computed once.
    pub(super) fn signing(&self) -> &SigningFacts {
        self.signing.get_or_init(|| {
            let facts = SigningFacts::of(self.bundle, self.request, self.facts, self.now);
            if self.pretend.listed {
                facts.if_listed()
            } else {
                facts
            }
        })
    }

    /// Everybody whose approval could count.
    pub(super) fn everybody(&self) -> &ApprovalTally {
        self.everybody.get_or_init(|| {
            let freezes = self.standing.freezes();
            let free = |group: &Group| Group {
                id: group.id.clone(),
                members: group
                    .members
                    .iter()
                    .filter(|member| freezes.blocks_member(member, None).is_empty())
                    .cloned()
                    .collect(),
            };
            let groups: Vec<Group> = self.groups().iter().map(free).collect();
            ApprovalTally::saturated(&groups, self.request.issuer())
        })
    }

    /// How many of each group are in a tally.
    pub(super) fn counts(&self, tally: &ApprovalTally) -> BTreeMap<GroupId, u16> {
        let count = |group: &Group| u16::try_from(tally.count_in(group)).unwrap_or(u16::MAX);
        self.groups()
            .iter()
            .map(|group| (group.id.clone(), count(group)))
            .collect()
    }

    /// What the Cedar rules say with these approvals.
    pub(super) fn ask(&self, approvals: &BTreeMap<GroupId, u16>) -> Answer<'a> {
        let rules = self.bundle.rule_set();
        if rules.rules().is_empty() {
            return Answer::default();
        }
        rules.ask(
            self.bundle,
            Question {
                initiator: self.request.issuer(),
                wallet: &self.request.body().wallet,
                facts: self.signing(),
                approvals,
            },
        )
    }
}
