//! How much of a limit one spend takes.

use std::collections::BTreeMap;

use alloy_primitives::{U256, Uint};

use super::{Limit, LimitScope, Measure, Reference, Spend};
use crate::bundle::{AssetRecord, Wallet, WalletTier};
use crate::id::WalletId;
use crate::{Amount, AssetId};

/// A sum of amounts. 320 bits hold 2^64 of the greatest amounts, so that adding up cannot overflow.
pub(super) type Sum = Uint<320, 5>;

/// Room for the product of two amounts.
type Product = Uint<512, 8>;

/// What cannot be counted (no price, or beyond 2^256 - 1) takes more than any limit has: 2^256.
pub(super) const UNCOUNTABLE: Sum = Sum::from_limbs([0, 0, 0, 0, 1]);

/// The amount as a summand.
pub(super) fn widen(amount: Amount) -> Sum {
    Sum::from(U256::from_be_bytes(amount.to_be_bytes()))
}

/// The sum as an amount for people: [`Amount::MAX`] stands for everything above it.
pub(super) fn narrow(sum: Sum) -> Amount {
    if sum > Sum::from(U256::MAX) {
        return Amount::MAX;
    }
    Amount::from_u256(U256::saturating_from(sum))
}

/// What of a bundle says which limits a spend counts towards, and how much.
#[derive(Debug, Clone, Default)]
pub(super) struct Tariff {
    /// The tier of each wallet.
    tiers: BTreeMap<WalletId, WalletTier>,
    /// Price and decimals of each asset that has both.
    prices: BTreeMap<AssetId, (Amount, u8)>,
}

impl Tariff {
    pub fn new(reference: Option<&Reference>, wallets: &[Wallet], assets: &[AssetRecord]) -> Self {
        let decimals: BTreeMap<_, _> = assets.iter().map(|a| (a.asset, a.decimals)).collect();
        let prices = reference.map(|r| r.prices.as_slice()).unwrap_or_default();
        let priced = |price: &super::Price| {
            let decimals = decimals.get(&price.asset)?;
            Some((price.asset, (price.per_unit, *decimals)))
        };
        Self {
            tiers: wallets.iter().map(|w| (w.id.clone(), w.tier)).collect(),
            prices: prices.iter().filter_map(priced).collect(),
        }
    }

    /// The tier of the spend's wallet: as the bundle says, or as it was last known when the bundle has no such wallet any more.
    pub fn tier(&self, spend: &Spend) -> Option<WalletTier> {
        self.tiers.get(&spend.wallet).copied().or(spend.tier)
    }

    /// What `spend`, with `fee` as its greatest fee, takes of `limit`: `None` when that is nothing.
    pub fn charge(&self, limit: &Limit, spend: &Spend, fee: Amount) -> Option<Sum> {
        if !self.in_scope(&limit.scope, spend) {
            return None;
        }
        let scope = &limit.scope;
        let sum = match &limit.measure {
            Measure::Amount { asset, .. } => moved(scope, spend)
                .filter(|(moved, _)| moved == asset)
                .fold(Sum::ZERO, |sum, (_, amount)| {
                    sum.saturating_add(widen(amount))
                }),
            Measure::Count { .. } => Sum::ONE,
            Measure::Fee { network, .. } if spend.network == *network => widen(fee),
            Measure::Fee { .. } => Sum::ZERO,
            Measure::Value { .. } => moved(scope, spend).fold(Sum::ZERO, |sum, (asset, amount)| {
                sum.saturating_add(self.value(asset, amount))
            }),
        };
        Some(sum.min(UNCOUNTABLE)).filter(|sum| !sum.is_zero())
    }

    fn in_scope(&self, scope: &LimitScope, spend: &Spend) -> bool {
        // A tier that nobody knows could be the one that is limited.
        let tier = |tier| self.tier(spend).is_none_or(|known| known == tier);
        (scope.wallets.is_empty() || scope.wallets.contains(&spend.wallet))
            && scope.tier.is_none_or(tier)
            && (scope.initiators.is_empty() || scope.initiators.contains(&spend.initiator))
            && scope.network.is_none_or(|network| network == spend.network)
            && (scope.destination.is_none() || moved(scope, spend).next().is_some())
    }

    /// The value of a movement in the reference currency's smallest units, rounded up.
    fn value(&self, asset: AssetId, amount: Amount) -> Sum {
        if amount.is_zero() {
            return Sum::ZERO;
        }
        let exact = || {
            let (price, decimals) = self.prices.get(&asset)?;
            let unit = Product::from(10).checked_pow(Product::from(*decimals))?;
            let product = Product::from(widen(amount)).checked_mul(Product::from(widen(*price)))?;
            let rest = product.checked_rem(unit)?;
            let whole = product.checked_div(unit)?;
            let up = if rest.is_zero() {
                Product::ZERO
            } else {
                Product::ONE
            };
            Some(whole.saturating_add(up))
        };
        match exact() {
            Some(value) if value < Product::from(UNCOUNTABLE) => Sum::saturating_from(value),
            _ => UNCOUNTABLE,
        }
    }
}

/// What the spend moves, or allows to be moved, within the scope's destination. Whose it was before does not matter: what
/// `transferFrom` takes from another account was this wallet's to take.
fn moved<'a>(
    scope: &'a LimitScope,
    spend: &'a Spend,
) -> impl Iterator<Item = (AssetId, Amount)> + 'a {
    let transfers = spend.transfers.iter().map(|t| (t.asset, t.to, t.amount));
    let approvals = spend
        .approvals
        .iter()
        .map(|a| (a.asset, a.spender, a.amount));
    transfers
        .chain(approvals)
        .filter(|(_, to, _)| scope.destination.is_none_or(|only| only == *to))
        .map(|(asset, _, amount)| (asset, amount))
}
