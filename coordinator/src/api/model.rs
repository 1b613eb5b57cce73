//! What the API answers.

use std::collections::BTreeMap;

use countersign_policy::approvals::MissingApprovals;
use countersign_policy::bundle::{KeyRecord, Wallet};
use countersign_policy::statement::TransactionHex;
use countersign_policy::{
    Address, Decision, DerivationPath, Envelope, Explanation, ExternalId, Hash, Intent, KeyId,
    LimitId, MemberId, Network, PublicKey, Signature, SigningDigest, Timestamp, WalletId,
};
use countersign_signer::wire::{CeremonyStatus, NodeStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sight::Sight;
use crate::db::{Event, StoredAttempt, StoredRequest};
use crate::lifecycle::{Goal, State, StateName, Waiting, Why};

/// A sign request as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestView {
    /// Digest of the sign-request statement.
    #[schema(value_type = String)]
    pub id: Hash,
    /// Where it stands.
    pub state: StateName,
    /// Who asked.
    #[schema(value_type = String)]
    pub initiator: MemberId,
    /// The payment layer's name for the payment.
    #[schema(value_type = String)]
    pub external_id: ExternalId,
    /// The wallet that pays.
    #[schema(value_type = String)]
    pub wallet: WalletId,
    /// Its key.
    #[schema(value_type = String)]
    pub key: KeyId,
    /// The derivation path of the child key that signs.
    #[schema(value_type = String)]
    pub path: DerivationPath,
    /// The network (CAIP-2).
    #[schema(value_type = String)]
    pub network: Network,
    /// The paying address.
    #[schema(value_type = String)]
    pub from: Address,
    /// What the transaction means, as decoded from its bytes.
    #[schema(value_type = Object)]
    pub intent: Intent,
    /// The unsigned transaction, `0x` and hexadecimal.
    #[schema(value_type = String)]
    pub unsigned: TransactionHex,
    /// The signing digest.
    #[schema(value_type = String)]
    pub digest: SigningDigest,
    /// What policy said when it was last asked before anything was authorized: the rules that decided, and why not.
    #[schema(value_type = Object)]
    pub decision: Decision,
    /// The bundle under which it did.
    #[schema(value_type = String)]
    pub bundle: Hash,
    /// In PENDING_APPROVAL: the approvals that are missing, by group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub missing: Vec<MissingApprovals>,
    /// In PENDING_APPROVAL: approvals that were given and count no more, by officer, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>)]
    pub void_approvals: BTreeMap<MemberId, String>,
    /// The limits that stood in the way. Officers, policy approvers and auditors find the numbers among the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub limits: Vec<LimitId>,
    /// The newest attempt; 0 when there was none.
    pub attempt: u32,
    /// The signature, once SIGNED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub signature: Option<Signature>,
    /// The transaction as the network takes it: hexadecimal, with `0x` for EVM networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// The transaction's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_id: Option<String>,
    /// The nodes that signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub participants: Vec<MemberId>,
    /// In STOPPING: the state it is going to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_towards: Option<Goal>,
    /// Why there is no signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Why>,
    /// When it came, by the database's clock.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    /// The statement's expiry.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// The sign-request statement as received, to verify and decode oneself; only when one request is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub statement: Option<Envelope>,
    /// Every change, oldest first; only when one request is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventView>,
    /// Every attempt, oldest first; only when one request is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptView>,
}

/// One change of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Into which state.
    pub state: String,
    /// Why, and how.
    pub detail: String,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// From 1.
    pub attempt: u32,
    /// Digest of the authorization.
    #[schema(value_type = String)]
    pub authorization: Hash,
    /// How it ended: `signed`, a code, or JSON with what each node said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// One page of requests, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RequestList {
    /// The requests.
    pub requests: Vec<RequestView>,
    /// Give it as `cursor` for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What would happen.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Simulation {
    /// What policy says.
    #[schema(value_type = Object)]
    pub decision: Decision,
    /// What the transaction means.
    #[schema(value_type = Object)]
    pub intent: Intent,
    /// The paying address.
    #[schema(value_type = String)]
    pub from: Address,
    /// The signing digest.
    #[schema(value_type = String)]
    pub digest: SigningDigest,
    /// The bundle it was decided under.
    #[schema(value_type = String)]
    pub bundle: Hash,
    /// The limits that count it. Whether one would be passed is known to the nodes alone, who keep the ledgers: they say so
    /// when they are asked to sign. Only limits per transaction are in the decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub limits: Vec<LimitId>,
    /// Every rule that was looked at, and what would change the decision; for a call with the token of a security officer,
    /// policy author, policy approver or auditor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub explanation: Option<Explanation>,
}

/// A wallet with its own addresses.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WalletView {
    /// As the bundle has it.
    #[schema(value_type = Object)]
    pub wallet: Wallet,
    /// The wallet's own address on each of its networks.
    #[schema(value_type = BTreeMap<String, String>)]
    pub addresses: BTreeMap<String, Address>,
}

/// All wallets.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WalletList {
    /// By ascending id.
    pub wallets: Vec<WalletView>,
}

/// Addresses of a wallet, derived from the pinned key when asked for. Clients should derive them themselves: the
/// coordinator is not trusted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AddressList {
    /// The wallet.
    #[schema(value_type = String)]
    pub wallet: WalletId,
    /// The network.
    #[schema(value_type = String)]
    pub network: Network,
    /// The addresses.
    pub addresses: Vec<AddressView>,
}

/// One address.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AddressView {
    /// Its derivation path.
    #[schema(value_type = String)]
    pub path: DerivationPath,
    /// The address.
    #[schema(value_type = String)]
    pub address: Address,
    /// The child public key.
    #[schema(value_type = String)]
    pub public_key: PublicKey,
}

/// All keys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// By ascending id.
    #[schema(value_type = Vec<Object>)]
    pub keys: Vec<KeyRecord>,
}

/// One key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// As the bundle pins it.
    #[schema(value_type = Object)]
    pub key: KeyRecord,
    /// The transcripts that its nodes signed, as far as this coordinator was given them.
    #[schema(value_type = Vec<Object>)]
    pub transcripts: Vec<Envelope>,
}

/// The chain of bundles.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BundleList {
    /// Digest of the active bundle.
    #[schema(value_type = String)]
    pub active: Hash,
    /// Its version.
    pub version: u64,
    /// All bundles, oldest first. Verify them against the genesis hash you pinned.
    #[schema(value_type = Vec<Object>)]
    pub chain: Vec<Envelope>,
    /// Bundles that wait for more nodes.
    #[schema(value_type = Vec<String>)]
    pub waiting: Vec<Hash>,
}

/// What became of a submitted bundle.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BundleReport {
    /// Its digest.
    #[schema(value_type = String)]
    pub bundle: Hash,
    /// Its version.
    pub version: u64,
    /// Whether enough nodes follow it, so that this coordinator does.
    pub active: bool,
    /// What it waits for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// When its delay is over, once that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub activates_at: Option<Timestamp>,
    /// What each node said.
    #[schema(value_type = BTreeMap<String, NodeReport>)]
    pub nodes: BTreeMap<MemberId, NodeReport>,
}

/// What one node said.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeReport {
    /// Whether it did what it was asked.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A ceremony on every node of the key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CeremonyReport {
    /// Digest of the order.
    #[schema(value_type = String)]
    pub ceremony: Hash,
    /// Each node's answer.
    #[schema(value_type = BTreeMap<String, CeremonyNode>)]
    pub nodes: BTreeMap<MemberId, CeremonyNode>,
}

/// A ceremony on one node.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CeremonyNode {
    /// What the node says, if it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub status: Option<CeremonyStatus>,
    /// Why there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All nodes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeList {
    /// By node.
    #[schema(value_type = BTreeMap<String, NodeView>)]
    pub nodes: BTreeMap<MemberId, NodeView>,
}

/// One node as it last answered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Whether it answered the last status call.
    pub up: bool,
    /// What it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub status: Option<NodeStatus>,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether the coordinator can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` or `unready`.
    pub status: String,
    /// The software's version.
    pub version: String,
    /// What is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl RequestView {
    /// The request without its history.
    pub(crate) fn of(request: &StoredRequest, sight: Sight) -> Self {
        let facts = &request.facts;
        let (decision, mut limits) = sight.decision(&facts.decision);
        let reason = request.state.why().map(|why| {
            let (why, hit) = sight.why(why);
            limits.extend(hit);
            why
        });
        limits.sort();
        limits.dedup();
        let waiting = match &request.state {
            State::PendingApproval(waiting) => waiting.clone(),
            _ => Waiting::default(),
        };
        let signed = match &request.state {
            State::Signed(data) => Some(data.clone()),
            _ => None,
        };
        let stopping_towards = match &request.state {
            State::Stopping { goal, .. } => Some(*goal),
            _ => None,
        };
        Self {
            id: request.id,
            state: request.state.name(),
            initiator: request.initiator.clone(),
            external_id: request.external_id.clone(),
            wallet: request.wallet.clone(),
            key: request.key.clone(),
            path: facts.path.clone(),
            network: request.network,
            from: facts.from,
            intent: facts.intent.clone(),
            unsigned: facts.unsigned.clone(),
            digest: facts.digest,
            decision,
            bundle: facts.bundle,
            missing: waiting.missing,
            void_approvals: waiting.void,
            limits,
            attempt: request.attempt,
            signature: signed.as_ref().map(|d| d.signature),
            tx_id: signed.as_ref().map(|d| d.tx_id.clone()),
            participants: signed
                .as_ref()
                .map(|d| d.participants.clone())
                .unwrap_or_default(),
            signed: signed.map(|d| d.signed),
            stopping_towards,
            reason,
            created_at: request.created_at,
            updated_at: request.updated_at,
            expires_at: request.expires_at,
            statement: None,
            events: Vec::new(),
            attempts: Vec::new(),
        }
    }

    /// The same with its history.
    pub(crate) fn with_history(
        self,
        statement: Envelope,
        events: Vec<Event>,
        attempts: &[StoredAttempt],
    ) -> Self {
        let event = |e: Event| EventView {
            at: e.at,
            state: e.state,
            detail: e.detail,
        };
        let attempt = |a: &StoredAttempt| AttemptView {
            attempt: a.attempt,
            authorization: a.authorization.digest(),
            outcome: a.outcome.clone(),
        };
        Self {
            statement: Some(statement),
            events: events.into_iter().map(event).collect(),
            attempts: attempts.iter().map(attempt).collect(),
            ..self
        }
    }
}
