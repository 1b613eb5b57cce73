//! A request with everything that is known about it, and what stands against it whatever rules say.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::agreement::agreement;
use super::bounds::{cost_and_life, validity};
use super::{Facts, Reason, Standing};
use crate::approvals::ApprovalTally;
use crate::bundle::{ActiveBundle, Group, WalletTier};
use crate::freeze::Touched;
use crate::id::{GroupId, RuleId};
use crate::rules::{Answer, Question, SigningFacts};
use crate::statement::{SignRequest, Verified};
use crate::{Intent, Timestamp};

pub(super) struct Case<'a> {
    pub(super) bundle: &'a ActiveBundle,
    pub(super) request: &'a Verified<SignRequest>,
    pub(super) facts: &'a Facts,
    pub(super) standing: &'a Standing,
    pub(super) now: Timestamp,
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
        reasons.extend(self.standing.limits().iter().cloned().map(Reason::Limit));
        reasons
    }

    /// What rules are told, computed once.
    pub(super) fn signing(&self) -> &SigningFacts {
        self.signing
            .get_or_init(|| SigningFacts::of(self.bundle, self.request, self.facts, self.now))
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
