//! What the API answers about approvals, freezes, observations and policy.

use std::collections::BTreeMap;

use countersign_policy::approvals::MissingApprovals;
use countersign_policy::statement::FreezeTarget;
use countersign_policy::{Envelope, Hash, MemberId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::model::NodeReport;

/// What officers said about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalList {
    /// The request.
    #[schema(value_type = String)]
    pub request: Hash,
    /// All approvals and rejections, oldest first.
    pub approvals: Vec<ApprovalView>,
    /// Approvals that are missing now, by group; empty when there are enough, and when the request needs none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub missing: Vec<MissingApprovals>,
}

/// One approval or rejection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalView {
    /// Digest of the statement.
    #[schema(value_type = String)]
    pub digest: Hash,
    /// The officer.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// Whether it approves; otherwise it rejects.
    pub approves: bool,
    /// The bundle it was given under.
    #[schema(value_type = String)]
    pub bundle: Hash,
    /// When it came.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Whether it counts now.
    pub counts: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// The statement, to verify.
    #[schema(value_type = Object)]
    pub statement: Envelope,
}

/// The freezes in force.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FreezeList {
    /// The name of the set; zeros when nothing is frozen.
    #[schema(value_type = String)]
    pub head: Hash,
    /// The freezes, by digest. An unfreeze names these digests.
    pub in_force: Vec<FreezeView>,
    /// The name of the set that each node last said it holds.
    #[schema(value_type = BTreeMap<String, String>)]
    pub nodes: BTreeMap<MemberId, Hash>,
}

/// One freeze.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FreezeView {
    /// Digest of the statement.
    #[schema(value_type = String)]
    pub digest: Hash,
    /// What stands still.
    #[schema(value_type = Object)]
    pub target: FreezeTarget,
    /// Why.
    pub reason: String,
    /// Who froze it.
    #[schema(value_type = String)]
    pub by: MemberId,
    /// The nodes that said that they hold it.
    #[schema(value_type = Vec<String>)]
    pub held_by: Vec<MemberId>,
    /// The statement, to verify before an unfreeze is signed.
    #[schema(value_type = Object)]
    pub statement: Envelope,
}

/// What became of a statement that every node has to know.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NoticeReport {
    /// Its digest.
    #[schema(value_type = String)]
    pub digest: Hash,
    /// Whether every node holds it; the others are given it again until they do.
    pub held_by_all: bool,
    /// What each node said.
    #[schema(value_type = BTreeMap<String, NodeReport>)]
    pub nodes: BTreeMap<MemberId, NodeReport>,
}

/// Where a proposed bundle stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProposalState {
    /// Approvers have to sign it.
    Collecting,
    /// Its quorum signed it; nodes have to acknowledge it.
    Acknowledging,
    /// Enough nodes keep it; its delay runs, and any approver may veto it.
    Delayed,
    /// It is, or was, the active bundle.
    Active,
    /// An approver stopped it.
    Vetoed,
    /// Another bundle took its place.
    Overtaken,
}

/// Somebody's signature on a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignatureView {
    /// Who.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// When it came.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// Somebody's veto.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VetoView {
    /// Who.
    #[schema(value_type = String)]
    pub member: MemberId,
    /// Why.
    pub reason: String,
    /// When it came.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// A proposed bundle.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProposalView {
    /// Its digest.
    #[schema(value_type = String)]
    pub digest: Hash,
    /// Its version.
    pub version: u64,
    /// The bundle it follows.
    #[schema(value_type = String)]
    pub predecessor: Hash,
    /// Who proposed it.
    #[schema(value_type = String)]
    pub author: MemberId,
    /// When it came.
    #[schema(value_type = String)]
    pub proposed_at: Timestamp,
    /// Where it stands.
    pub state: ProposalState,
    /// The approvers who signed.
    pub signatures: Vec<SignatureView>,
    /// How many must.
    pub needed: u16,
    /// Vetoes; one is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vetoes: Vec<VetoView>,
    /// What it waits for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// When its delay is over, once that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub activates_at: Option<Timestamp>,
    /// The statement with all signatures that came, to verify and to sign.
    #[schema(value_type = Object)]
    pub bundle: Envelope,
}

/// Proposals, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProposalList {
    /// Digest of the active bundle.
    #[schema(value_type = String)]
    pub active: Hash,
    /// Its version.
    pub version: u64,
    /// Those that could follow it; with `all=true`, all that ever came.
    pub proposals: Vec<ProposalView>,
}

/// The history of the policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyLog {
    /// Every version and every proposal, oldest first.
    pub entries: Vec<PolicyLogEntry>,
}

/// One version, or one proposal that became none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyLogEntry {
    /// The version.
    pub version: u64,
    /// Digest of the bundle.
    #[schema(value_type = String)]
    pub digest: Hash,
    /// What became of it.
    pub state: ProposalState,
    /// Who wrote it.
    #[schema(value_type = String)]
    pub author: MemberId,
    /// The approvers who signed it.
    #[schema(value_type = Vec<String>)]
    pub approvers: Vec<MemberId>,
    /// When its author issued it.
    #[schema(value_type = String)]
    pub issued_at: Timestamp,
    /// When this coordinator followed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub activated_at: Option<Timestamp>,
    /// Vetoes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vetoes: Vec<VetoView>,
}
