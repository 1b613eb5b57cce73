//! What officers, approvers, observers and nodes say in tests, and the bundle parts that make it count.

use std::collections::BTreeSet;

use super::{
    OBSERVER, OFFICER, OTHER_OBSERVER, OTHER_OFFICERS, OTHER_PAYMENTS, TestDeployment, WALLET,
    member, wallet_id,
};
use crate::approvals::Needs;
use crate::bundle::{ActiveBundle, AssetRecord, Destinations, Group, TransferKind, TransferRule};
use crate::limits::{LedgerGroup, Limit, LimitScope, Measure, Period};
use crate::statement::{
    AckStage, Approval, BundleAck, Fate, Freeze, FreezeTarget, Observation, SignRequest, Unfreeze,
    Verdict, Veto,
};
use crate::{
    Amount, AssetId, Envelope, Facts, GroupId, Hash, LedgerGroupId, LimitId, MemberId, RuleId,
    StatementId, WalletId,
};

/// The group of [`OFFICER`] and the first of [`OTHER_OFFICERS`].
pub const TREASURY: &str = "treasury";
/// The group of the second of [`OTHER_OFFICERS`].
pub const SECURITY: &str = "security";
/// The ledger group of [`TestDeployment::add_limit`]: all nodes.
pub const LEDGERS: &str = "ledgers";
/// The limit of [`TestDeployment::with_limit`].
pub const USDT_LIMIT: &str = "usdt-daily";
/// USDT on Ethereum.
pub const USDT: &str = "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7";

impl TestDeployment {
    /// [`TestDeployment::with_single_keys`] with the groups [`TREASURY`] and [`SECURITY`], where every rule of [`WALLET`]
    /// needs `needs`, such as `treasury:2,security:1`.
    ///
    /// # Panics
    /// When the text is no [`Needs`].
    pub fn with_approvals(nodes: usize, threshold: u16, needs: &str) -> Self {
        let mut deployment = Self::with_single_keys(nodes, threshold);
        deployment.add_approvals(needs);
        deployment
    }

    /// What [`TestDeployment::with_approvals`] adds.
    ///
    /// # Panics
    /// When the text is no [`Needs`].
    pub fn add_approvals(&mut self, needs: &str) {
        let needs: Needs = needs.parse().expect("needs of the form group:number");
        self.add_groups();
        let rules = self.content_mut().rules.iter_mut();
        for rule in rules.filter(|r| r.wallet == wallet_id(WALLET)) {
            rule.needs = Some(needs.clone());
        }
    }

    /// The groups [`TREASURY`] and [`SECURITY`], without any rule that asks for them.
    pub fn add_groups(&mut self) {
        Self::add_groups_to(self.content_mut());
    }

    /// The same for a successor's content.
    pub fn add_groups_to(content: &mut crate::bundle::PolicyBundle) {
        let group = |id: &str, members: Vec<MemberId>| Group {
            id: GroupId::new(id).expect("a group id"),
            members,
        };
        let [second, third] = OTHER_OFFICERS;
        content.groups = vec![
            group(SECURITY, vec![member(third)]),
            group(TREASURY, vec![member(OFFICER), member(second)]),
        ];
    }

    /// [`TestDeployment::with_single_keys`] with [`USDT_LIMIT`]: at most `max` base units of USDT on Ethereum out of
    /// [`WALLET`] in any `seconds`, counted by all nodes (Q as the bundle's validation demands).
    pub fn with_limit(nodes: usize, threshold: u16, max: u64, seconds: u64) -> Self {
        let mut deployment = Self::with_single_keys(nodes, threshold);
        let measure = Measure::Amount {
            asset: usdt(),
            max: Amount::from(max),
        };
        deployment.add_limit(USDT_LIMIT, measure, Period::Rolling { seconds });
        deployment
    }

    /// A limit on [`WALLET`] in the ledger group [`LEDGERS`], which is made when it is not there yet.
    pub fn add_limit(&mut self, id: &str, measure: Measure, period: Period) {
        self.add_ledger_group();
        let limit = Limit {
            id: LimitId::new(id).expect("a limit id"),
            ledger_group: LedgerGroupId::new(LEDGERS).expect("a ledger group id"),
            scope: LimitScope {
                wallets: vec![wallet_id(WALLET)],
                ..LimitScope::default()
            },
            measure,
            period,
        };
        let limits = &mut self.content_mut().limits;
        limits.push(limit);
        limits.sort_by(|a, b| a.id.cmp(&b.id));
    }

    /// The ledger group [`LEDGERS`] of all nodes with the smallest quorum that is exact without a liar and no smaller than
    /// the threshold.
    pub fn add_ledger_group(&mut self) {
        let nodes = self.nodes();
        let majority = u16::try_from(nodes.len() / 2).expect("few nodes");
        let quorum = self.threshold.max(majority.saturating_add(1));
        let id = LedgerGroupId::new(LEDGERS).expect("a ledger group id");
        let groups = &mut self.content_mut().ledger_groups;
        if groups.iter().any(|g| g.id == id) {
            return;
        }
        groups.push(LedgerGroup {
            id,
            nodes,
            quorum,
            max_faulty: 0,
        });
        groups.sort_by(|a, b| a.id.cmp(&b.id));
    }

    /// An officer's word on `request` under the genesis, for an hour.
    pub fn approval(&self, officer: &str, request: &Envelope, verdict: Verdict) -> Envelope {
        self.approval_under(&self.bundle(), officer, request, verdict)
    }

    /// An officer's word on `request` under `bundle`, for an hour.
    pub fn approval_under(
        &self,
        bundle: &ActiveBundle,
        officer: &str,
        request: &Envelope,
        verdict: Verdict,
    ) -> Envelope {
        self.sign(officer, 3_600, self.approval_body(bundle, request, verdict))
    }

    /// What [`TestDeployment::approval_under`] says, to change before it is signed.
    ///
    /// # Panics
    /// When the request is none that could be decided.
    pub fn approval_body(
        &self,
        bundle: &ActiveBundle,
        request: &Envelope,
        verdict: Verdict,
    ) -> Approval {
        let opened = bundle.directory().open::<SignRequest>(request);
        let opened = opened.expect("a sign request");
        let facts = Facts::establish(bundle, opened.body()).expect("facts");
        let intent = facts.transaction().intent().clone();
        Approval {
            request: request.digest(),
            digests: vec![Hash::from_bytes(*facts.transaction().digest().as_bytes())],
            intent: intent.with_sender(facts.source()).expect("the payer"),
            bundle: bundle.digest(),
            verdict,
        }
    }

    /// A freeze by `issuer`, for a day.
    pub fn freeze(&self, issuer: &str, target: FreezeTarget) -> Envelope {
        let reason = "unknown withdrawals".to_owned();
        self.sign(issuer, 86_400, Freeze { target, reason })
    }

    /// An unfreeze of these freezes, issued by the first officer and signed by all.
    ///
    /// # Panics
    /// Without officers.
    pub fn unfreeze(&self, officers: &[&str], freezes: &[Hash]) -> Envelope {
        let mut freezes = freezes.to_vec();
        freezes.sort_unstable();
        let reason = "they were ours".to_owned();
        self.quorum_signed(officers, Unfreeze { freezes, reason })
    }

    /// A veto of a successor by `approver`.
    pub fn veto(&self, approver: &str, successor: &Envelope) -> Envelope {
        let bundle = successor.digest();
        let reason = "not what was agreed".to_owned();
        self.sign(approver, 86_400, Veto { bundle, reason })
    }

    /// A node's acknowledgement of a successor of `active` that replaces nothing.
    pub fn ack(
        &self,
        node: &str,
        active: &ActiveBundle,
        successor: &Envelope,
        stage: AckStage,
    ) -> Envelope {
        let body = BundleAck {
            bundle: successor.digest(),
            version: active.content().version.saturating_add(1),
            predecessor: active.digest(),
            stage,
            replaces: Vec::new(),
        };
        self.sign(node, 86_400, body)
    }

    /// What both observers say became of the transaction of `request`.
    ///
    /// # Panics
    /// When the request is none that could be decided.
    pub fn observation(&self, request: &Envelope, fate: Fate) -> Envelope {
        self.observation_by(&[OBSERVER, OTHER_OBSERVER], request, fate)
    }

    /// The same by these observers.
    ///
    /// # Panics
    /// Without observers, or when the request is none that could be decided.
    pub fn observation_by(&self, observers: &[&str], request: &Envelope, fate: Fate) -> Envelope {
        let body = self.approval_body(&self.bundle(), request, Verdict::Approve);
        let observation = Observation {
            network: body.intent.network,
            digest: *body.digests.first().expect("one digest"),
            fate,
        };
        self.quorum_signed(observers, observation)
    }

    /// A statement issued by the first of these members and signed by all.
    ///
    /// # Panics
    /// Without members.
    pub fn quorum_signed<B: crate::statement::Body>(&self, members: &[&str], body: B) -> Envelope {
        let (issuer, others) = members.split_first().expect("at least one member");
        let id = StatementId::random(&mut rand_core::OsRng);
        self.sign_by(&self.statement(issuer, id.as_str(), 86_400, body), others)
    }

    /// Gives each wallet without a rule one that permits nothing: a bundle says something about each of its wallets.
    ///
    /// # Panics
    /// When no asset of the bundle is on a network of the wallet.
    pub fn close_wallets_without_rules(&mut self) {
        let content = self.content_mut();
        let ruled = |id: &WalletId| content.rules.iter().any(|r| r.wallet == *id);
        let open: Vec<_> = content.wallets.iter().filter(|w| !ruled(&w.id)).collect();
        let closed = open.into_iter().map(|wallet| {
            let here = |a: &&AssetRecord| wallet.networks.contains(a.asset.network());
            TransferRule {
                id: RuleId::new(format!("closed-{}", wallet.id)).expect("a rule id"),
                wallet: wallet.id.clone(),
                initiators: vec![member(OTHER_PAYMENTS)],
                asset: content.assets.iter().find(here).expect("an asset").asset,
                kinds: BTreeSet::from([TransferKind::NativeTransfer]),
                destinations: Destinations::AddressBook,
                max_amount: Amount::ZERO,
                needs: None,
            }
        });
        let closed: Vec<_> = closed.collect();
        content.rules.extend(closed);
    }

    /// Up to `max_faulty` nodes of each key may lie.
    pub fn set_max_faulty(&mut self, max_faulty: u16) {
        for key in &mut self.content_mut().keys {
            key.max_faulty = max_faulty;
        }
    }
}

/// USDT on Ethereum.
pub fn usdt() -> AssetId {
    USDT.parse().expect("a CAIP-19 asset")
}
