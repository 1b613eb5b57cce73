//! The entries of a node's ledger.

use serde::{Deserialize, Serialize};

use super::{Body, Kind};
use crate::hash::Hash;
use crate::id::{ExternalId, KeyId, MemberId, WalletId};
use crate::time::Timestamp;
use crate::{Address, Allowance, Amount, Lifetime, Network, Transfer};

/// One entry of a node's append-only ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// From 1, without gaps.
    pub sequence: u64,
    /// Digest of the entry before; [`Hash::ZERO`] for the first.
    pub previous: Hash,
    /// What happened.
    pub event: LedgerEvent,
}

impl Body for LedgerEntry {
    const KIND: Kind = Kind::LedgerEntry;

    fn check(&self) -> Result<(), String> {
        if (self.sequence == 1) == (self.previous == Hash::ZERO) && self.sequence > 0 {
            return Ok(());
        }
        Err("ledger entries count from 1, and only the first has no predecessor".into())
    }
}

/// A spend that a node set aside before it agreed to anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// The session.
    pub session: Hash,
    /// Digest of the authorization.
    pub authorization: Hash,
    /// The authorization's nonce.
    pub nonce: Hash,
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// Who asked.
    pub initiator: MemberId,
    /// The payment layer's name for the payment.
    pub external_id: ExternalId,
    /// The wallet that pays.
    pub wallet: WalletId,
    /// Its key.
    pub key: KeyId,
    /// The exact signing digests.
    pub digests: Vec<Hash>,
    /// The network.
    pub network: Network,
    /// The address that pays.
    pub source: Address,
    /// The value that moves.
    pub transfers: Vec<Transfer>,
    /// The allowances given: they count as if they moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Allowance>,
    /// The greatest fee.
    pub max_fee: Amount,
    /// How long a signature could be used on chain.
    pub lifetime: Lifetime,
    /// The nodes that sign, in ascending order.
    pub participants: Vec<MemberId>,
    /// When the authorization ends: an unreleased session is aborted after it.
    pub expires_at: Timestamp,
    /// The presignature burnt for it.
    pub presignature: Option<Hash>,
}

/// What a ledger records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LedgerEvent {
    /// A spend is reserved, its nonce used, its external id taken.
    Reserved(Box<Reservation>),
    /// The node may send its share for this session from now on.
    Released {
        /// The session.
        session: Hash,
    },
    /// The node will never send its share for this session.
    Aborted {
        /// The session.
        session: Hash,
        /// Why.
        reason: String,
    },
    /// The node will never sign this request.
    Stopped {
        /// Digest of the sign-request statement.
        request: Hash,
        /// Digest of the cancel statement.
        cancel: Hash,
    },
    /// The node holds a freeze in force.
    Frozen {
        /// Digest of the freeze statement.
        freeze: Hash,
    },
    /// The node took an unfreeze.
    Unfrozen {
        /// Digest of the unfreeze statement.
        unfreeze: Hash,
        /// Digests of the freezes that ended with it.
        freezes: Vec<Hash>,
    },
    /// The node acknowledged a successor of its active bundle.
    BundleAcknowledged {
        /// Digest of the successor.
        bundle: Hash,
        /// Its version.
        version: u64,
    },
    /// The node took what chain observers say about a transaction.
    Observed {
        /// The signing digest.
        digest: Hash,
        /// Digest of the observation statement.
        observation: Hash,
        /// Whether the transaction can never be in a block: what it reserved returns.
        dead: bool,
    },
    /// The node started, and enough peers remember it.
    Started {
        /// The incarnation.
        incarnation: u64,
    },
    /// The node accepted a policy bundle as the active one.
    BundleAccepted {
        /// Digest of the bundle.
        bundle: Hash,
        /// Its version.
        version: u64,
    },
    /// The node stored its share of a new key.
    KeyStored {
        /// The key.
        key: KeyId,
        /// Digest of the ceremony order.
        ceremony: Hash,
    },
}
