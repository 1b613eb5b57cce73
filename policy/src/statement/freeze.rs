//! The emergency brake: one officer freezes, a quorum unfreezes.

use serde::{Deserialize, Serialize};

use super::{Body, Kind, strictly_ascending};
use crate::envelope::IdentityPublicKey;
use crate::hash::Hash;
use crate::id::{KeyId, LimitId, MemberId, RuleId, WalletId};
use crate::plain::plain_text;
use crate::{Address, Amount, AssetId, HexBytes, Network};

/// What stands still. Every freeze only denies: what is no longer allowed, or allowed for less.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "freeze", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FreezeTarget {
    /// Nothing is signed.
    Everything,
    /// Nothing is signed for a wallet.
    Wallet {
        /// The wallet.
        wallet: WalletId,
    },
    /// Nothing is signed with a key.
    Key {
        /// The key.
        key: KeyId,
    },
    /// An asset does not move and is not allowed to move.
    Asset {
        /// The asset.
        asset: AssetId,
    },
    /// A member's requests and approvals do not count. An unfreeze that the member signs does.
    Member {
        /// The member.
        member: MemberId,
    },
    /// What one statement key signs does not count, as for a member.
    MemberKey {
        /// The key.
        public_key: IdentityPublicKey,
    },
    /// What is signed with one WebAuthn credential does not count, as for a member.
    Credential {
        /// The credential id.
        id: HexBytes,
    },
    /// Nothing goes to an address.
    Address {
        /// The network.
        network: Network,
        /// The address.
        address: Address,
    },
    /// A rule (a transfer rule or a Cedar permit) permits nothing.
    Rule {
        /// The rule.
        rule: RuleId,
    },
    /// A limit is lower than the bundle says. A greater value than the bundle's changes nothing.
    LowerLimit {
        /// The limit.
        limit: LimitId,
        /// The most, in the measure of the limit.
        max: Amount,
    },
}

impl std::fmt::Display for FreezeTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everything => f.write_str("everything is frozen"),
            Self::Wallet { wallet } => write!(f, "wallet {wallet} is frozen"),
            Self::Key { key } => write!(f, "key {key} is frozen"),
            Self::Asset { asset } => write!(f, "asset {asset} is frozen"),
            Self::Member { member } => write!(f, "member {member} is frozen"),
            Self::MemberKey { public_key } => write!(f, "statement key {public_key} is frozen"),
            Self::Credential { id } => write!(f, "credential {id} is frozen"),
            Self::Address { network, address } => {
                write!(f, "address {address} on {network} is frozen")
            }
            Self::Rule { rule } => write!(f, "rule {rule} is frozen"),
            Self::LowerLimit { limit, max } => write!(f, "limit {limit} is lowered to {max}"),
        }
    }
}

/// One security officer stops something at once. Nodes may freeze payment services by themselves, and nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// What stands still.
    pub target: FreezeTarget,
    /// Why, for people; 1 to 128 bytes.
    pub reason: String,
}

impl Body for Freeze {
    const KIND: Kind = Kind::Freeze;

    fn check(&self) -> Result<(), String> {
        plain_text(&self.reason).map_err(|what| format!("the reason of a freeze {what}"))
    }
}

/// A quorum of security officers ends freezes, by name: a freeze that came meanwhile stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unfreeze {
    /// Digests of the freeze statements that end, in ascending order.
    pub freezes: Vec<Hash>,
    /// Why, for people; 1 to 128 bytes.
    pub reason: String,
}

/// Freezes that one statement ends.
const MAX_FREEZES: usize = 100;

impl Body for Unfreeze {
    const KIND: Kind = Kind::Unfreeze;

    fn check(&self) -> Result<(), String> {
        strictly_ascending("freezes", &self.freezes)?;
        if self.freezes.len() > MAX_FREEZES {
            return Err(format!("at most {MAX_FREEZES} freezes are ended at once"));
        }
        plain_text(&self.reason).map_err(|what| format!("the reason of an unfreeze {what}"))
    }
}
