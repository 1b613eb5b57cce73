//! What chain observers say became of a transaction.

use serde::{Deserialize, Serialize};

use super::{Body, Kind};
use crate::hash::Hash;
use crate::{Address, Network};

/// A quorum of chain observers says what became of a signed or signable transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The network.
    pub network: Network,
    /// The signing digest of the transaction.
    pub digest: Hash,
    /// What became of it.
    pub fate: Fate,
}

/// The fate of a transaction, final on its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fate {
    /// It is in a final block.
    Confirmed {
        /// The transaction's id on its chain.
        transaction: String,
        /// The block's height.
        block: u64,
        /// Blocks on top of it.
        depth: u64,
        /// EVM: the account's nonce that it used. Without it the transaction is confirmed, and nonces may lead no further.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used: Option<UsedNonce>,
    },
    /// EVM: another transaction of the account used its nonce, in a final block.
    NonceUsed {
        /// The account.
        account: Address,
        /// The nonce.
        nonce: u64,
        /// Id of the other transaction.
        by: String,
        /// Its signing digest, which is none that was reserved for this payment.
        by_digest: Hash,
        /// The block's height.
        block: u64,
        /// Blocks on top of it.
        depth: u64,
    },
    /// Tron: a final block is later than the transaction's expiration, and the transaction is in none before.
    Expired {
        /// Time of the final block in milliseconds since 1970.
        block_time_ms: u64,
        /// The block's height.
        block: u64,
        /// Blocks on top of it.
        depth: u64,
    },
    /// Solana: the final block height is beyond the last one at which the blockhash was valid, and the transaction is in none.
    BlockhashExpired {
        /// The blockhash, base58.
        blockhash: String,
        /// The last block height at which it was valid.
        last_valid_block_height: u64,
        /// The final block height.
        block: u64,
    },
    /// Solana with a durable nonce: the nonce account was advanced by another transaction.
    DurableNonceAdvanced {
        /// The nonce account.
        account: Address,
        /// Its stored blockhash now, base58.
        blockhash: String,
        /// The final block height.
        block: u64,
    },
    /// Bitcoin: an input was spent by another transaction.
    InputSpent {
        /// The input's transaction id.
        transaction: String,
        /// The input's index.
        index: u32,
        /// Id of the other transaction.
        by: String,
        /// The block's height.
        block: u64,
        /// Blocks on top of it.
        depth: u64,
    },
}

/// A nonce that a transaction in a final block used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedNonce {
    /// The account.
    pub account: Address,
    /// The nonce.
    pub nonce: u64,
}

impl Body for Observation {
    const KIND: Kind = Kind::Observation;

    fn check(&self) -> Result<(), String> {
        let texts: [&str; 2] = match &self.fate {
            Fate::Confirmed { transaction, .. } => [transaction, ""],
            Fate::NonceUsed { by, .. } => [by, ""],
            Fate::BlockhashExpired { blockhash, .. }
            | Fate::DurableNonceAdvanced { blockhash, .. } => [blockhash, ""],
            Fate::InputSpent {
                transaction, by, ..
            } => [transaction, by],
            Fate::Expired { .. } => ["", ""],
        };
        let plain = |text: &&str| text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        if !texts.iter().all(plain) {
            return Err(
                "ids of transactions and blocks are at most 128 printable characters".into(),
            );
        }
        Ok(())
    }
}
