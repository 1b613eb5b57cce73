//! The parts of a policy as people write them, and the records they become: the same words in a policy directory and in a
//! change of the policy.

mod assets;
mod limits;
mod people;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
mod tests;
mod text;

use countersign_policy::approvals::Needs;
use countersign_policy::bundle::{
    AddressBookEntry, AssetRecord, Destinations, FeeCap, TransferKind, TransferRule, Wallet,
    WalletTier,
};
use countersign_policy::{
    Address, DerivationPath, KeyId, LedgerGroupId, MemberId, Network, RuleId, Timestamp, WalletId,
};
use serde::Deserialize;

pub use assets::resolve_asset;
pub use limits::{LimitEntry, Names, ReferenceEntry, destination, in_order, write_period};
pub use people::{KeyStateEntry, MemberEntry};
pub use text::Units;
pub(super) use text::moment;

use crate::amount::parse_units;
use crate::failure::chain;

/// What is wrong with one entry, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The entry's field.
    pub field: &'static str,
    /// What to mend.
    pub what: String,
}

pub(super) fn wrong(field: &'static str, what: impl Into<String>) -> Wrong {
    let what = what.into();
    Wrong { field, what }
}

/// A wallet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletEntry {
    /// Its id.
    pub id: WalletId,
    /// For people; without it, the id.
    pub name: Option<String>,
    /// What keeps the key.
    #[serde(default = "hot")]
    pub tier: WalletTier,
    /// Its key.
    pub key: KeyId,
    /// The path of its own address.
    #[serde(default = "DerivationPath::master")]
    pub path: DerivationPath,
    /// Where it is used.
    pub networks: Vec<Network>,
    /// For warm and cold wallets: the ledger group of which a quorum reserves and confirms each spend.
    pub ledger_group: Option<LedgerGroupId>,
    /// For cold wallets: how many operators must each agree at the offline machine.
    pub offline_operators: Option<u16>,
}

fn hot() -> WalletTier {
    WalletTier::Hot
}

impl WalletEntry {
    /// As a bundle has it.
    pub fn record(&self) -> Wallet {
        let name = self.name.clone().unwrap_or_else(|| self.id.to_string());
        Wallet {
            id: self.id.clone(),
            name,
            tier: self.tier,
            key: self.key.clone(),
            path: self.path.clone(),
            networks: sorted(&self.networks),
            ledger_group: self.ledger_group.clone(),
            offline_operators: self.offline_operators,
        }
    }
}

/// In ascending order, as bundles have lists. What stands twice stays, for the validation to find.
pub fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items
}

/// A destination.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressEntry {
    /// Its name.
    pub label: String,
    /// The network.
    pub network: Network,
    /// The address.
    pub address: String,
    /// Not before this time; without it: at once.
    #[serde(default, deserialize_with = "text::moment")]
    pub active_from: Option<Timestamp>,
}

impl AddressEntry {
    /// As a bundle has it; usable from `at_once` on when the entry names no time.
    pub fn record(&self, at_once: Timestamp) -> Result<AddressBookEntry, Wrong> {
        let address = Address::parse(&self.network, &self.address)
            .map_err(|e| wrong("address", format!("{:?}: {}", self.address, chain(&e))))?;
        Ok(AddressBookEntry {
            label: self.label.clone(),
            network: self.network,
            address,
            active_from: self.active_from.unwrap_or(at_once),
        })
    }
}

/// A rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// Its id.
    pub id: RuleId,
    /// The wallet that pays.
    pub wallet: WalletId,
    /// Who may ask.
    pub initiators: Vec<MemberId>,
    /// The network, when `asset` is a symbol.
    pub network: Option<Network>,
    /// A CAIP-19 id, or a symbol on `network`.
    pub asset: String,
    /// Where to.
    pub destinations: Destinations,
    /// The most that one transaction may move, in whole units of the asset.
    pub max: Units,
    /// Whose approvals it needs: `treasury:2,security:1`, alternatives after `|`.
    pub needs: Option<Needs>,
}

impl RuleEntry {
    /// As a bundle has it, and the asset that it names.
    pub fn record(&self, known: &[AssetRecord]) -> Result<(TransferRule, AssetRecord), Wrong> {
        let asset = resolve_asset(&self.asset, self.network.as_ref(), known)
            .map_err(|e| wrong("asset", e))?;
        let max_amount = parse_units(&self.max.0, asset.decimals).map_err(|e| wrong("max", e))?;
        let native = asset.asset == asset.asset.network().native_asset();
        let kind = if native {
            TransferKind::NativeTransfer
        } else {
            TransferKind::TokenTransfer
        };
        let destinations = match &self.destinations {
            Destinations::Labels { labels } => Destinations::Labels {
                labels: sorted(labels),
            },
            other => other.clone(),
        };
        let rule = TransferRule {
            id: self.id.clone(),
            wallet: self.wallet.clone(),
            initiators: sorted(&self.initiators),
            asset: asset.asset,
            kinds: [kind].into(),
            destinations,
            max_amount,
            needs: self.needs.clone(),
        };
        Ok((rule, asset))
    }
}

/// A fee cap.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeCapEntry {
    /// The network.
    pub network: Network,
    /// In whole units of its native coin.
    pub max_fee: Units,
    /// The longest time to a transaction's expiration (Tron), in seconds.
    pub max_lifetime_seconds: Option<u64>,
}

impl FeeCapEntry {
    /// As a bundle has it.
    pub fn record(&self) -> Result<FeeCap, Wrong> {
        Ok(FeeCap {
            network: self.network,
            max_fee: assets::native_units(&self.network, &self.max_fee)
                .map_err(|e| wrong("max_fee", e))?,
            max_lifetime_seconds: self.max_lifetime_seconds,
        })
    }
}
