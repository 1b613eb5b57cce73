//! The policy: proposals, signatures, vetoes, history.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use countersign_policy::access::Action;
use countersign_policy::bundle::{ActiveBundle, ChainError, PolicyBundle, Succession};
use countersign_policy::statement::{Statement, StatementError, Veto};
use countersign_policy::{Envelope, Hash, MemberId};
use countersign_signer::wire::SubmitBundle;
use http::StatusCode;
use serde::Deserialize;

use super::access::issuer_may;
use super::problem::{ApiProblem, ApiProblemCode};
use super::token::Reader;
use super::views::{
    PolicyLog, PolicyLogEntry, ProposalList, ProposalState, ProposalView, SignatureView, VetoView,
};
use super::{body, explain, notices};
use crate::core::{Core, now};
use crate::db::{NoticeKind, StoredProposal};
use crate::orchestrate::{self, BundleError};

/// A proposal: the envelope alone, or with the transcripts of new keys.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Proposed {
    Alone(Envelope),
    WithTranscripts(SubmitBundle),
}

/// Proposes the next policy bundle. The body is the DSSE envelope of a policy-bundle statement that its author signed, or
/// `{"bundle":ENVELOPE,"transcripts":[ENVELOPE...]}` when it pins new keys.
#[utoipa::path(post, path = "/v1/policy/proposals", tag = "policy", request_body = Object,
    responses((status = 200, description = "active", body = ProposalView), (status = 202, description = "waits for signatures, nodes or its delay", body = ProposalView),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn propose(
    State(core): State<Arc<Core>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let call = match body(bytes)? {
        Proposed::Alone(bundle) => SubmitBundle {
            bundle,
            transcripts: Vec::new(),
        },
        Proposed::WithTranscripts(call) => call,
    };
    let bundle = core.bundle.current();
    let subject = call.bundle.digest().to_hex();
    let opened = bundle.directory().open_quorum::<PolicyBundle>(&call.bundle);
    let opened = opened.map_err(|e| ApiProblemCode::Statement.problem(explain(&e)))?;
    issuer_may(
        &core,
        &bundle,
        opened.issuer(),
        Action::ProposePolicy,
        subject.clone(),
    )
    .await?;
    match orchestrate::propose(&core, &call).await {
        Ok((proposal, _)) => {
            let detail = format!("version {}", proposal.version);
            core.audit(
                "policy-proposal",
                subject,
                opened.issuer().as_str(),
                "taken",
                detail,
            )
            .await;
            answer(&core, &proposal).await
        }
        Err(error) => Err(refused(&core, "policy-proposal", subject, error).await),
    }
}

/// Adds signatures to a proposal. The body is its DSSE envelope with the signatures of one or more policy approvers on it.
/// With the last one that is needed it goes to the nodes.
#[utoipa::path(post, path = "/v1/policy/proposals/{digest}/signatures", tag = "policy", request_body = Object,
    params(("digest" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, description = "active", body = ProposalView), (status = 202, description = "waits for signatures, nodes or its delay", body = ProposalView),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn sign(
    State(core): State<Arc<Core>>,
    digest: Result<Path<String>, PathRejection>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let digest = digest_of(digest)?;
    let signers: Vec<&str> = envelope
        .signatures()
        .iter()
        .map(|s| s.keyid.as_str())
        .collect();
    let detail = signers.join(", ");
    match orchestrate::sign_proposal(&core, digest, &envelope).await {
        Ok((proposal, _)) => {
            core.audit("policy-signature", digest.to_hex(), "", "taken", detail)
                .await;
            answer(&core, &proposal).await
        }
        Err(error) => Err(refused(&core, "policy-signature", digest.to_hex(), error).await),
    }
}

/// Stops a proposed bundle before it counts. The body is the DSSE envelope of a veto statement by a policy approver.
#[utoipa::path(post, path = "/v1/policy/proposals/{digest}/veto", tag = "policy", request_body = Object,
    params(("digest" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, description = "every node took it", body = super::views::NoticeReport), (status = 202, description = "some nodes do not answer", body = super::views::NoticeReport),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn veto(
    State(core): State<Arc<Core>>,
    digest: Result<Path<String>, PathRejection>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let digest = digest_of(digest)?;
    let bundle = core.bundle.current();
    let veto = bundle.open_veto(&envelope).map_err(|error| match error {
        StatementError::Role { .. } => ApiProblemCode::Forbidden.problem(explain(&error)),
        error => ApiProblemCode::Statement.problem(explain(&error)),
    })?;
    let issuer = veto.issuer();
    issuer_may(&core, &bundle, issuer, Action::VetoPolicy, digest.to_hex()).await?;
    if veto.body().bundle != digest {
        return Err(
            ApiProblemCode::Statement.problem("the veto is for another bundle than the path names")
        );
    }
    let known = core
        .chain
        .lock()
        .await
        .links()
        .iter()
        .any(|l| l.digest() == digest);
    if known {
        return Err(ApiProblemCode::Bundle
            .problem("the bundle is followed already: only another one can take its place"));
    }
    let name = digest.to_hex();
    notices::take(&core, NoticeKind::Veto, &name, issuer, &envelope).await
}

fn digest_of(digest: Result<Path<String>, PathRejection>) -> Result<Hash, ApiProblem> {
    let unknown = || ApiProblemCode::NotFound.problem("there is no such proposal");
    digest
        .map_err(|_| unknown())?
        .0
        .parse()
        .map_err(|_| unknown())
}

async fn refused(core: &Core, operation: &str, subject: String, error: BundleError) -> ApiProblem {
    let code = match &error {
        BundleError::Db(_) => ApiProblemCode::Internal,
        BundleError::Unknown(_) => ApiProblemCode::NotFound,
        BundleError::Chain(ChainError::Approver(_) | ChainError::Author(_)) => {
            ApiProblemCode::Forbidden
        }
        BundleError::Chain(ChainError::Statement(_))
        | BundleError::OtherStatement { .. }
        | BundleError::Envelope(_) => ApiProblemCode::Statement,
        BundleError::Chain(_) | BundleError::Transcripts(_) | BundleError::Vetoed(_) => {
            ApiProblemCode::Bundle
        }
    };
    if let BundleError::Db(error) = error {
        return error.into();
    }
    let detail = explain(&error);
    core.audit(operation, subject, "", "refused", detail.clone())
        .await;
    code.problem(detail)
}

async fn answer(core: &Core, proposal: &StoredProposal) -> Result<Response, ApiProblem> {
    let view = History::read(core).await?.view(proposal);
    let status = if view.state == ProposalState::Active {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(view)).into_response())
}

/// Which proposals.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ProposalQuery {
    /// `true`: all that ever came; otherwise those that could follow the active bundle.
    all: Option<bool>,
}

/// Proposals with their signatures and vetoes.
#[utoipa::path(get, path = "/v1/policy/proposals", tag = "policy", params(ProposalQuery),
    responses((status = 200, body = ProposalList), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn proposals(
    State(core): State<Arc<Core>>,
    reader: Reader,
    query: Result<Query<ProposalQuery>, QueryRejection>,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadPolicy)?;
    let Query(query) = query.map_err(|e| ApiProblemCode::Malformed.problem(e.body_text()))?;
    let history = History::read(&core).await?;
    let active = core.bundle.current();
    let version = active.content().version;
    let above = if query.all == Some(true) { 0 } else { version };
    let stored = core.store.proposals_above(above, None).await?;
    let list = ProposalList {
        active: active.digest(),
        version,
        proposals: stored.iter().map(|p| history.view(p)).collect(),
    };
    Ok(Json(list).into_response())
}

/// Every version of the policy and every proposal, with who wrote, signed and vetoed it, and when it was followed.
#[utoipa::path(get, path = "/v1/policy/log", tag = "policy", responses((status = 200, body = PolicyLog)))]
pub(super) async fn log(
    State(core): State<Arc<Core>>,
    reader: Reader,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadPolicy)?;
    let history = History::read(&core).await?;
    let mut entries: Vec<PolicyLogEntry> = history
        .chain
        .iter()
        .filter_map(|link| history.entry(link.envelope()))
        .collect();
    for proposal in core.store.proposals_above(0, None).await? {
        if history.followed(&proposal.digest) {
            continue;
        }
        entries.extend(history.proposed(&proposal));
    }
    entries.sort_by_key(|e| (e.version, e.issued_at, e.digest));
    Ok(Json(PolicyLog { entries }).into_response())
}

/// What tells where each proposal stands.
struct History {
    chain: Vec<ActiveBundle>,
    times: BTreeMap<Hash, Option<countersign_policy::Timestamp>>,
    vetoes: BTreeMap<String, Vec<VetoView>>,
    succession: Succession,
}

impl History {
    async fn read(core: &Core) -> Result<Self, ApiProblem> {
        let chain = core.chain.lock().await.links().to_vec();
        let mut vetoes: BTreeMap<String, Vec<VetoView>> = BTreeMap::new();
        for veto in core.store.notices(NoticeKind::Veto).await? {
            let said = serde_json::from_slice::<Statement<Veto>>(veto.envelope.payload());
            vetoes.entry(veto.subject).or_default().push(VetoView {
                member: veto.member,
                reason: said.map(|s| s.body.reason).unwrap_or_default(),
                at: veto.created_at,
            });
        }
        Ok(Self {
            chain,
            times: core.store.activation_times().await?,
            vetoes,
            succession: orchestrate::succession(core).await?,
        })
    }

    fn followed(&self, digest: &Hash) -> bool {
        self.chain.iter().any(|link| link.digest() == *digest)
    }

    fn vetoes_of(&self, digest: &Hash) -> Vec<VetoView> {
        self.vetoes
            .get(&digest.to_hex())
            .cloned()
            .unwrap_or_default()
    }

    fn state(&self, proposal: &StoredProposal) -> ProposalState {
        let active = self.chain.last().map(ActiveBundle::digest);
        if self.followed(&proposal.digest) {
            ProposalState::Active
        } else if self.vetoes.contains_key(&proposal.digest.to_hex()) {
            ProposalState::Vetoed
        } else if active != Some(proposal.predecessor) {
            ProposalState::Overtaken
        } else if !self.times.contains_key(&proposal.digest) {
            ProposalState::Collecting
        } else {
            let standing = self.succession.standing(&proposal.digest, now());
            let delayed = standing
                .and_then(|s| s.activates_at)
                .is_some_and(|at| at > now());
            if delayed {
                ProposalState::Delayed
            } else {
                ProposalState::Acknowledging
            }
        }
    }

    fn view(&self, proposal: &StoredProposal) -> ProposalView {
        let state = self.state(proposal);
        let needed = self
            .chain
            .iter()
            .find(|l| l.digest() == proposal.predecessor);
        let needed = needed.map_or(0, |link| link.content().quorums.policy);
        let standing = self.succession.standing(&proposal.digest, now());
        let signed = proposal.signatures.len();
        let waits_for = match state {
            ProposalState::Collecting => {
                Some(format!("{signed} of {needed} policy approvers signed"))
            }
            ProposalState::Acknowledging | ProposalState::Delayed => standing
                .as_ref()
                .and_then(|s| s.waits_for.as_ref())
                .map(ToString::to_string),
            ProposalState::Active | ProposalState::Vetoed | ProposalState::Overtaken => None,
        };
        let by = |(member, (_, at)): (&MemberId, &(Envelope, _))| SignatureView {
            member: member.clone(),
            at: *at,
        };
        ProposalView {
            digest: proposal.digest,
            version: proposal.version,
            predecessor: proposal.predecessor,
            author: proposal.author.clone(),
            proposed_at: proposal.created_at,
            state,
            signatures: proposal.signatures.iter().map(by).collect(),
            needed,
            vetoes: self.vetoes_of(&proposal.digest),
            waits_for,
            activates_at: standing.and_then(|s| s.activates_at),
            bundle: orchestrate::merged(proposal),
        }
    }

    /// A version that was followed. Its signatures were verified when it was.
    fn entry(&self, envelope: &Envelope) -> Option<PolicyLogEntry> {
        let said = serde_json::from_slice::<Statement<PolicyBundle>>(envelope.payload()).ok()?;
        let digest = envelope.digest();
        let names = envelope.signatures().iter();
        let names = names.filter_map(|s| MemberId::new(s.keyid.as_str()).ok());
        Some(PolicyLogEntry {
            version: said.body.version,
            digest,
            state: ProposalState::Active,
            approvers: names.filter(|m| *m != said.issuer).collect(),
            author: said.issuer,
            issued_at: said.issued_at,
            activated_at: self.times.get(&digest).copied().flatten(),
            vetoes: self.vetoes_of(&digest),
        })
    }

    fn proposed(&self, proposal: &StoredProposal) -> Option<PolicyLogEntry> {
        let entry = self.entry(&proposal.envelope)?;
        Some(PolicyLogEntry {
            state: self.state(proposal),
            approvers: proposal.signatures.keys().cloned().collect(),
            ..entry
        })
    }
}
