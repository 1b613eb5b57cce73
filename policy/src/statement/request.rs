//! Sign requests, and what ends them.

use serde::{Deserialize, Serialize};

use super::{Body, Kind};
use crate::hash::Hash;
use crate::id::{ExternalId, KeyId, WalletId};
use crate::{Allowance, Amount, DerivationPath, Intent, IntentKind, Network, Transfer};

/// The greatest unsigned transaction in a sign request, in bytes.
pub const MAX_TRANSACTION: usize = 128 * 1024;
/// The greatest detail of a cancel, in bytes.
const MAX_DETAIL: usize = 500;

/// The bytes of an unsigned transaction, not decoded yet; text form is `0x` and lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TransactionHex(Vec<u8>);

impl TransactionHex {
    /// Wraps the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, unchecked.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for TransactionHex {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let digits = text
            .strip_prefix("0x")
            .ok_or("a transaction is hexadecimal with 0x in front")?;
        if digits.len() > MAX_TRANSACTION.saturating_mul(2) {
            return Err(format!("a transaction has at most {MAX_TRANSACTION} bytes"));
        }
        hex::decode(digits)
            .map(Self)
            .map_err(|e| format!("a transaction is hexadecimal with 0x in front: {e}"))
    }
}

impl From<TransactionHex> for String {
    fn from(bytes: TransactionHex) -> String {
        format!("0x{}", hex::encode(bytes.0))
    }
}

impl std::fmt::Debug for TransactionHex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TransactionHex({} bytes)", self.0.len())
    }
}

/// What the initiator says the transaction means. Bytes and meaning must agree, or the request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatedIntent {
    /// The kind of transaction.
    pub kind: IntentKind,
    /// Every transfer of value, in the transaction's order.
    pub transfers: Vec<Transfer>,
    /// Every allowance given to somebody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Allowance>,
    /// The greatest fee the transaction can cost, in base units of the network's native coin.
    pub max_fee: Amount,
}

impl StatedIntent {
    /// The statement that agrees with a decoded intent.
    pub fn of(intent: &Intent) -> Self {
        Self {
            kind: intent.kind.clone(),
            transfers: intent.transfers.clone(),
            approvals: intent.approvals.clone(),
            max_fee: intent.max_fee.amount,
        }
    }
}

/// A payment service asks for a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    /// The wallet that pays.
    pub wallet: WalletId,
    /// The wallet's key.
    pub key: KeyId,
    /// Which child key signs, from the key's root.
    pub path: DerivationPath,
    /// The chain (CAIP-2).
    pub network: Network,
    /// The payment layer's permanent name for this payment.
    pub external_id: ExternalId,
    /// The unsigned transaction.
    pub transaction: TransactionHex,
    /// What it means.
    pub intent: StatedIntent,
}

impl Body for SignRequest {
    const KIND: Kind = Kind::SignRequest;
}

/// Why a request is to end without a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelReason {
    /// The initiator no longer wants it.
    Initiator,
    /// A security officer stopped it.
    Officer,
    /// Its time is over.
    Expired,
    /// It could not be completed.
    Failed,
}

/// The initiator, a security officer or a coordinator ends a request. Stopping is always safe, so a coordinator may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// Why.
    pub reason: CancelReason,
    /// For people; at most 500 bytes.
    pub detail: String,
}

impl Cancel {
    /// A cancel whose detail is made to fit: control characters become spaces, and what is too long is cut. What ends a
    /// request must not fail for the sake of its explanation.
    pub fn new(request: Hash, reason: CancelReason, detail: &str) -> Self {
        let mut text = String::new();
        for c in detail.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if text.len().saturating_add(c.len_utf8()) > MAX_DETAIL {
                break;
            }
            text.push(c);
        }
        Self {
            request,
            reason,
            detail: text,
        }
    }
}

impl Body for Cancel {
    const KIND: Kind = Kind::Cancel;

    fn check(&self) -> Result<(), String> {
        if self.detail.len() > MAX_DETAIL {
            return Err(format!(
                "the detail of a cancel has at most {MAX_DETAIL} bytes"
            ));
        }
        if self.detail.chars().any(char::is_control) {
            return Err("the detail of a cancel has no control characters".into());
        }
        Ok(())
    }
}

/// What a node answers to a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopOutcome {
    /// The node has not released a share for the request and never will.
    Stopped,
    /// Too late: the node has released a share; the request may be signed.
    Released,
}

/// A node's durable answer to a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopAck {
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// Digest of the cancel statement.
    pub cancel: Hash,
    /// What the node did.
    pub outcome: StopOutcome,
}

impl Body for StopAck {
    const KIND: Kind = Kind::StopAck;
}
