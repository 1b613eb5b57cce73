//! What each kind of statement says.

use serde::{Deserialize, Serialize};

use super::{Body, Kind};
use crate::bundle::Environment;
use crate::hash::Hash;
use crate::id::{ExternalId, KeyId, MemberId, WalletId};
use crate::protocol::Protocol;
use crate::{
    Allowance, Amount, ChainCode, DerivationPath, Intent, IntentKind, Network, PublicKey,
    Signature, Transfer,
};

/// The greatest unsigned transaction in a sign request, in bytes.
pub const MAX_TRANSACTION: usize = 128 * 1024;

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

/// A coordinator's go-ahead: single use, short-lived. It can start a signature, never justify one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// Digests of the approvals that count for it.
    pub approvals: Vec<Hash>,
    /// Digest of the policy bundle it was decided under.
    pub bundle: Hash,
    /// The exact signing digests.
    pub digests: Vec<Hash>,
    /// The nodes that sign, in ascending order.
    pub participants: Vec<MemberId>,
    /// Counts the attempts at this request, from 1.
    pub attempt: u32,
    /// 32 random bytes, never used again.
    pub nonce: Hash,
    /// The presignature to burn, if one is used.
    pub presignature: Option<Hash>,
}

impl Body for Authorization {
    const KIND: Kind = Kind::Authorization;

    fn check(&self) -> Result<(), String> {
        strictly_ascending("participants", &self.participants)?;
        if self.digests.is_empty() {
            return Err("an authorization names at least one signing digest".into());
        }
        if self.attempt == 0 {
            return Err("attempts count from 1".into());
        }
        Ok(())
    }
}

/// Everything about a session on which all participants must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionTerms {
    /// The session's id, derived from the authorization.
    pub session: Hash,
    /// Digest of the authorization statement.
    pub authorization: Hash,
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// The exact signing digests.
    pub digests: Vec<Hash>,
    /// Digest of the active policy bundle.
    pub bundle: Hash,
    /// Head of the freeze list; [`Hash::ZERO`] while there is none.
    pub freeze_head: Hash,
    /// The presignature bound to the digest, if one is used.
    pub presignature: Option<Hash>,
    /// The cosigned log checkpoint, once there is a log.
    pub checkpoint: Option<Hash>,
    /// The nodes that sign, in ascending order.
    pub participants: Vec<MemberId>,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl SessionTerms {
    /// The session id of an authorization.
    pub fn session_id(authorization: Hash) -> Hash {
        Hash::derive("countersign/session/v1", &[authorization.as_bytes()])
    }
}

/// A node checked everything itself and durably reserved the spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// What the node agreed to.
    pub terms: SessionTerms,
    /// Sequence number of the node's reservation in its ledger.
    pub ledger_sequence: u64,
    /// Digest of that ledger entry.
    pub ledger_head: Hash,
}

impl Body for Receipt {
    const KIND: Kind = Kind::Receipt;

    fn check(&self) -> Result<(), String> {
        strictly_ascending("participants", &self.terms.participants)
    }
}

/// A node saw all receipts of a session, and says where its ledger stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The session.
    pub session: Hash,
    /// Hash over all receipts in participants' order.
    pub receipts: Hash,
    /// The last sequence number of the node's ledger.
    pub ledger_sequence: u64,
    /// Digest of that entry.
    pub ledger_head: Hash,
}

impl Body for Confirm {
    const KIND: Kind = Kind::Confirm;
}

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
    /// The value that moves.
    pub transfers: Vec<Transfer>,
    /// The greatest fee.
    pub max_fee: Amount,
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

impl Body for Cancel {
    const KIND: Kind = Kind::Cancel;

    fn check(&self) -> Result<(), String> {
        if self.detail.len() > 500 {
            return Err("the detail of a cancel has at most 500 bytes".into());
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

/// A quorum of policy approvers orders a key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCeremony {
    /// The key's name, never used before.
    pub key: KeyId,
    /// The threshold protocol; it never changes for this key.
    pub protocol: Protocol,
    /// How many nodes sign together.
    pub threshold: u16,
    /// How many nodes may lie without a stop being reported wrongly.
    pub max_faulty: u16,
    /// The nodes that hold shares, in ascending order.
    pub nodes: Vec<MemberId>,
    /// What the key is for, for people and as domain separation; 1 to 128 bytes.
    pub purpose: String,
    /// Production and test keys never mix.
    pub environment: Environment,
}

impl Body for KeyCeremony {
    const KIND: Kind = Kind::KeyCeremony;

    fn check(&self) -> Result<(), String> {
        strictly_ascending("nodes", &self.nodes)?;
        check_group(self.threshold, self.max_faulty, self.nodes.len())?;
        if self.purpose.is_empty() || self.purpose.len() > 128 {
            return Err("a key's purpose has 1 to 128 bytes".into());
        }
        Ok(())
    }
}

/// A test signature made at the end of a ceremony, over a preimage that can be no transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSignature {
    /// The nodes that made it.
    pub signers: Vec<MemberId>,
    /// The signature; anybody can check it against the group key and [`KeyCeremony::test_message`].
    pub signature: Signature,
}

impl KeyCeremony {
    /// The preimage of a ceremony's test signatures: it starts with a byte that begins no transaction of any
    /// supported network, followed by text.
    ///
    /// `0xff` is no RLP list (EVM legacy), no EIP-2718 type (at most `0x7f`), no protobuf field of a Tron transaction
    /// (wire type 7 does not exist), and no Solana message (a version above 127 signatures is refused).
    pub fn test_message(ceremony: Hash, key: &KeyId, signers: &[MemberId]) -> Vec<u8> {
        let mut message = vec![0xff; 4];
        let names: Vec<&str> = signers.iter().map(MemberId::as_str).collect();
        let text = format!(
            "countersign key test, not a transaction: ceremony {ceremony}, key {key}, signers {}",
            names.join(",")
        );
        message.extend_from_slice(text.as_bytes());
        message
    }
}

/// What came out of a ceremony. Every node signs the same content, after it stored its share durably and took part in
/// a verified test signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeremonyTranscript {
    /// Digest of the ceremony order.
    pub ceremony: Hash,
    /// The order itself.
    pub order: KeyCeremony,
    /// The group public key.
    pub group_key: PublicKey,
    /// The BIP-32 chain code of the root, for secp256k1 keys.
    pub chain_code: Option<ChainCode>,
    /// Test signatures in which, together, every node took part.
    pub tests: Vec<TestSignature>,
}

impl CeremonyTranscript {
    /// The hash that a bundle pins: over the canonical JSON of the content, which is the same on every node.
    pub fn content_hash(&self) -> Result<Hash, crate::canonical::CanonicalError> {
        Ok(Hash::derive(
            "countersign/ceremony-transcript/v1",
            &[&crate::canonical::to_vec(self)?],
        ))
    }
}

impl Body for CeremonyTranscript {
    const KIND: Kind = Kind::CeremonyTranscript;
}

/// A node's identity key vouches for the TLS key its certificate carries: the CA alone proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTls {
    /// SHA-256 of the certificate's SubjectPublicKeyInfo (DER).
    pub public_key_sha256: Hash,
}

impl Body for NodeTls {
    const KIND: Kind = Kind::NodeTls;
}

/// Whether a threshold group is sound: 2 <= t <= n, 2t > n, so that any two signer sets share a node, and enough
/// honest nodes remain to stop a request: t - 1 >= f and n - t + 1 + f <= n.
pub(crate) fn check_group(threshold: u16, max_faulty: u16, nodes: usize) -> Result<(), String> {
    let (t, f, n) = (usize::from(threshold), usize::from(max_faulty), nodes);
    if n > 16 || t < 2 || t > n {
        return Err(format!(
            "a group has 2 to 16 nodes and a threshold from 2 to their number, not {t} of {n}"
        ));
    }
    if t.saturating_mul(2) <= n {
        return Err(format!(
            "{t} of {n}: two disjoint sets of nodes could sign; the threshold must exceed half"
        ));
    }
    if f >= t {
        return Err(format!("max_faulty {f} must be below the threshold {t}"));
    }
    Ok(())
}

pub(crate) fn strictly_ascending<T: Ord>(what: &str, items: &[T]) -> Result<(), String> {
    if items.is_empty() || items.iter().zip(items.iter().skip(1)).any(|(a, b)| a >= b) {
        return Err(format!(
            "{what} must be listed in ascending order, each once"
        ));
    }
    Ok(())
}
