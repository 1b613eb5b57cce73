//! Limits as they stand in a bundle.

use serde::{Deserialize, Serialize};

use crate::bundle::WalletTier;
use crate::id::{LedgerGroupId, LimitId, MemberId, WalletId};
use crate::{Address, Amount, AssetId, Network};

/// Nodes that keep one ledger together: what counts towards a limit is what a quorum of them reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerGroup {
    /// The group's id.
    pub id: LedgerGroupId,
    /// The N nodes, in ascending order.
    pub nodes: Vec<MemberId>,
    /// How many of them must reserve and confirm each spend, signing or not: Q, with 2Q > N + f and Q >= t.
    pub quorum: u16,
    /// How many of them may lie while limits stay exact: f.
    pub max_faulty: u16,
}

/// A bound on what may be signed. It counts every spend in its scope, whoever asked and whichever nodes sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The limit's id.
    pub id: LimitId,
    /// The ledgers that are added up.
    pub ledger_group: LedgerGroupId,
    /// What is counted.
    pub scope: LimitScope,
    /// How it is counted, and the most that is allowed.
    pub measure: Measure,
    /// Over which time.
    pub period: Period,
}

/// What a limit counts: a spend is in scope when every part that is given names it. Without any part, everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitScope {
    /// These wallets only, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wallets: Vec<WalletId>,
    /// Wallets of this tier only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<WalletTier>,
    /// Requests of these services only, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initiators: Vec<MemberId>,
    /// What goes to this address only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Address>,
    /// Transactions on this network only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// How a spend is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Measure {
    /// What moves of one asset, or is allowed to move by an ERC-20 approval, in base units.
    Amount {
        /// The asset.
        asset: AssetId,
        /// The most.
        max: Amount,
    },
    /// The number of spends.
    Count {
        /// The most.
        max: u64,
    },
    /// The greatest fees, in base units of a network's native coin.
    Fee {
        /// The network.
        network: Network,
        /// The most.
        max: Amount,
    },
    /// Everything that moves, in the bundle's reference currency, each movement rounded up. An asset without a price cannot
    /// be counted, so it may not move where such a limit applies.
    Value {
        /// The most, in the reference currency's smallest units.
        max: Amount,
    },
}

/// Over which time a limit adds up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "over", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Period {
    /// One transaction.
    Transaction,
    /// Any span of this many seconds. A spend counts until its reservation plus the span plus twice the clock skew.
    Rolling {
        /// 60 to 31 days.
        seconds: u64,
    },
    /// Until chain observers say that the transaction is confirmed, or can never be.
    Outstanding,
}

/// Reference prices, for limits across assets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// For people: "USD".
    pub currency: String,
    /// Decimals of the currency's smallest unit.
    pub decimals: u8,
    /// One price per asset, in ascending order of assets.
    pub prices: Vec<Price>,
}

/// What one whole unit of an asset (10^decimals base units) is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The asset.
    pub asset: AssetId,
    /// In the reference currency's smallest units.
    pub per_unit: Amount,
}
