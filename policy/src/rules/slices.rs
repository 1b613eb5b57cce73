//! Rules by scope: what cannot be about a request is not evaluated for it.

use std::collections::BTreeMap;

use super::compile::Resource;
use super::schema::tier_name;
use super::{Rule, RuleSet};
use crate::bundle::{ActiveBundle, Member, Wallet};
use crate::id::{GroupId, MemberId, WalletId};

/// Who a rule is about, by its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    Any,
    Member(MemberId),
    Role(String),
    Group(GroupId),
}

/// The places of rules in the rule set, by the resource of their scope. Each list is in ascending order.
#[derive(Debug, Default)]
pub(super) struct Slices {
    everywhere: Vec<usize>,
    tiers: BTreeMap<String, Vec<usize>>,
    wallets: BTreeMap<WalletId, Vec<usize>>,
}

impl Slices {
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut slices = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            let list = match &rule.resource {
                Resource::Any => &mut slices.everywhere,
                Resource::Tier(tier) => slices.tiers.entry(tier.clone()).or_default(),
                Resource::Wallet(wallet) => slices.wallets.entry(wallet.clone()).or_default(),
            };
            list.push(place);
        }
        slices
    }
}

impl RuleSet {
    /// The rules whose scope this initiator and wallet are in, in the order of the files.
    pub(super) fn about<'a>(
        &'a self,
        bundle: &ActiveBundle,
        initiator: &MemberId,
        wallet: &WalletId,
    ) -> Vec<&'a Rule> {
        let tier = bundle.wallet(wallet).map(|w: &Wallet| tier_name(w.tier));
        let lists = [
            Some(&self.slices.everywhere),
            tier.and_then(|tier| self.slices.tiers.get(tier)),
            self.slices.wallets.get(wallet),
        ];
        let mut places: Vec<usize> = lists.into_iter().flatten().flatten().copied().collect();
        places.sort_unstable();
        let member = bundle.member(initiator);
        places
            .into_iter()
            .filter_map(|place| self.rules.get(place))
            .filter(|rule| rule.principal.includes(bundle, initiator, member))
            .collect()
    }
}

impl Who {
    fn includes(&self, bundle: &ActiveBundle, id: &MemberId, member: Option<&Member>) -> bool {
        match self {
            Self::Any => true,
            Self::Member(only) => only == id,
            Self::Role(role) => {
                member.is_some_and(|m| m.roles.iter().any(|has| has.as_str() == role))
            }
            Self::Group(group) => bundle
                .content()
                .groups
                .iter()
                .any(|g| g.id == *group && g.members.contains(id)),
        }
    }
}
