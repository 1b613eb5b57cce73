//! The freezes in force.
//!
//! A set of freeze and unfreeze statements has one effect, whatever the order in which they came and however often: a
//! freeze that was ended by name stays ended, also when its unfreeze came first or the freeze comes again. So nodes that
//! exchange what they know agree, and nobody brings a freeze back by replaying it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::id::{KeyId, LimitId, MemberId, RuleId, WalletId};
use crate::statement::{
    Freeze, FreezeTarget, Reservation, SignRequest, SignerKey, Unfreeze, Verified,
};
use crate::{Address, Allowance, Amount, AssetId, Intent, IntentKind, Network, Transfer};

/// The freezes in force, and the names of those that ended. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreezeSet(Arc<Known>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    in_force: BTreeMap<Hash, FreezeHit>,
    ended: BTreeSet<Hash>,
}

/// A freeze in force that stands in the way of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeHit {
    /// Digest of the freeze statement: what an unfreeze names.
    pub freeze: Hash,
    /// What stands still.
    pub target: FreezeTarget,
    /// Why, in the words of whoever froze it.
    pub reason: String,
    /// Who froze it.
    pub by: MemberId,
}

/// What a request touches, so far as freezes go.
#[derive(Debug, Clone)]
pub struct Touched<'a> {
    /// The wallet that pays.
    pub wallet: &'a WalletId,
    /// The key that would sign.
    pub key: &'a KeyId,
    /// Who asks.
    pub initiator: &'a MemberId,
    /// With which key the initiator asks; none where only a record of the request is at hand.
    pub initiator_key: Option<&'a SignerKey>,
    /// The network.
    pub network: Network,
    /// What moves.
    pub transfers: &'a [Transfer],
    /// What others are allowed to move.
    pub allowances: &'a [Allowance],
    /// What the transaction does; none where only a record of the request is at hand.
    pub kind: Option<&'a IntentKind>,
    /// The rules that permit it.
    pub rules: &'a [RuleId],
}

impl<'a> Touched<'a> {
    /// What a request touches. The rules that permit it are given where they are known.
    pub fn by_request(
        request: &'a Verified<SignRequest>,
        intent: &'a Intent,
        rules: &'a [RuleId],
    ) -> Self {
        Self {
            wallet: &request.body().wallet,
            key: &request.body().key,
            initiator: request.issuer(),
            initiator_key: request.key_of(request.issuer()),
            network: intent.network,
            transfers: &intent.transfers,
            allowances: &intent.approvals,
            kind: Some(&intent.kind),
            rules,
        }
    }

    /// What a reservation in a ledger touches. It records neither rules nor the initiator's key nor the kind: whoever still
    /// has the request asks with [`Touched::by_request`].
    pub fn by_reservation(reservation: &'a Reservation) -> Self {
        Self {
            wallet: &reservation.wallet,
            key: &reservation.key,
            initiator: &reservation.initiator,
            initiator_key: None,
            network: reservation.network,
            transfers: &reservation.transfers,
            allowances: &reservation.approvals,
            kind: None,
            rules: &[],
        }
    }

    fn goes_to(&self, address: &Address) -> bool {
        self.transfers.iter().any(|t| t.to == *address)
            || self.allowances.iter().any(|a| a.spender == *address)
    }

    fn moves(&self, asset: &AssetId) -> bool {
        self.transfers.iter().any(|t| t.asset == *asset)
            || self.allowances.iter().any(|a| a.asset == *asset)
    }

    /// A call that nobody interpreted can move any asset of its network to anywhere on it.
    fn may_do_anything(&self) -> bool {
        matches!(
            self.kind,
            Some(IntentKind::ContractCall(_) | IntentKind::OtherContract { .. })
        )
    }
}

impl FreezeSet {
    /// Takes a freeze in. It is in force unless it was ended already.
    pub fn insert(&mut self, freeze: &Verified<Freeze>) {
        let digest = freeze.digest();
        if self.0.ended.contains(&digest) || self.0.in_force.contains_key(&digest) {
            return;
        }
        let hit = FreezeHit {
            freeze: digest,
            target: freeze.body().target.clone(),
            reason: freeze.body().reason.clone(),
            by: freeze.issuer().clone(),
        };
        Arc::make_mut(&mut self.0).in_force.insert(digest, hit);
    }

    /// Ends the freezes that an unfreeze names, also those that are not known yet. Whether a quorum signed it was checked
    /// by [`ActiveBundle::open_unfreeze`](crate::bundle::ActiveBundle::open_unfreeze).
    pub fn end(&mut self, unfreeze: &Verified<Unfreeze>) {
        let freezes = &unfreeze.body().freezes;
        if freezes.iter().all(|f| self.0.ended.contains(f)) {
            return;
        }
        let known = Arc::make_mut(&mut self.0);
        for freeze in freezes {
            known.in_force.remove(freeze);
            known.ended.insert(*freeze);
        }
    }

    /// Whether a freeze is in force.
    pub fn contains(&self, freeze: &Hash) -> bool {
        self.0.in_force.contains_key(freeze)
    }

    /// Whether a freeze was ended.
    pub fn has_ended(&self, freeze: &Hash) -> bool {
        self.0.ended.contains(freeze)
    }

    /// Whether nothing is frozen.
    pub fn is_empty(&self) -> bool {
        self.0.in_force.is_empty()
    }

    /// The freezes in force, by digest.
    pub fn in_force(&self) -> impl Iterator<Item = &FreezeHit> {
        self.0.in_force.values()
    }

    /// The name of the freezes in force, which all participants of a session must agree on: [`Hash::ZERO`] when there are
    /// none, otherwise a hash of their digests in ascending order.
    pub fn head(&self) -> Hash {
        if self.is_empty() {
            return Hash::ZERO;
        }
        let digests: Vec<&[u8]> = self
            .0
            .in_force
            .keys()
            .map(|digest| digest.as_bytes().as_slice())
            .collect();
        Hash::derive("countersign/freeze-head/v1", &digests)
    }

    /// The freezes that stand in the way of a request, by digest. Lowered limits are asked for with
    /// [`FreezeSet::lower`].
    ///
    /// A transaction that the decoder does not interpret could move any asset of its network to any address of it, so a
    /// freeze of either stops it. Fees are no movement: a frozen coin still pays them.
    pub fn blocks(&self, touched: &Touched<'_>) -> Vec<FreezeHit> {
        self.hits(|target| match target {
            FreezeTarget::Everything => true,
            FreezeTarget::Wallet { wallet } => wallet == touched.wallet,
            FreezeTarget::Key { key } => key == touched.key,
            FreezeTarget::Asset { asset } => {
                touched.moves(asset)
                    || (touched.may_do_anything() && asset.network() == &touched.network)
            }
            FreezeTarget::Address { network, address } => {
                *network == touched.network
                    && (touched.goes_to(address) || touched.may_do_anything())
            }
            FreezeTarget::Rule { rule } => touched.rules.contains(rule),
            FreezeTarget::Member { .. }
            | FreezeTarget::MemberKey { .. }
            | FreezeTarget::Credential { .. } => {
                names_member(target, touched.initiator, touched.initiator_key)
            }
            FreezeTarget::LowerLimit { .. } => false,
        })
    }

    /// The freezes of a member, or of the key with which the member signed. Requests and approvals of such a member do not
    /// count; a signature on an unfreeze does, and nobody asks here about one.
    pub fn blocks_member(&self, member: &MemberId, key: Option<&SignerKey>) -> Vec<FreezeHit> {
        self.hits(|target| names_member(target, member, key))
    }

    /// A freeze of a rule: the rule permits nothing while there is one.
    pub fn blocks_rule(&self, rule: &RuleId) -> Option<&FreezeHit> {
        self.in_force().find(
            |hit| matches!(&hit.target, FreezeTarget::Rule { rule: frozen } if frozen == rule),
        )
    }

    /// The lowest value to which freezes lowered a limit; none when none did. The bundle's own value may be lower still.
    pub fn lower(&self, limit: &LimitId) -> Option<Amount> {
        self.in_force()
            .filter_map(|hit| match &hit.target {
                FreezeTarget::LowerLimit {
                    limit: lowered,
                    max,
                } if lowered == limit => Some(*max),
                _ => None,
            })
            .min()
    }

    fn hits(&self, stops: impl Fn(&FreezeTarget) -> bool) -> Vec<FreezeHit> {
        self.in_force()
            .filter(|hit| stops(&hit.target))
            .cloned()
            .collect()
    }
}

fn names_member(target: &FreezeTarget, member: &MemberId, key: Option<&SignerKey>) -> bool {
    match (target, key) {
        (FreezeTarget::Member { member: frozen }, _) => frozen == member,
        (FreezeTarget::MemberKey { public_key }, Some(SignerKey::Statement(used))) => {
            public_key == used
        }
        (FreezeTarget::Credential { id }, Some(SignerKey::Credential { id: used, .. })) => {
            id == used
        }
        _ => false,
    }
}

impl std::fmt::Display for FreezeHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}: {}", self.target, self.by, self.reason)
    }
}

#[cfg(test)]
mod tests;
