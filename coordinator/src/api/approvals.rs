//! Officers approve or reject requests.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use countersign_policy::access::Action;
use countersign_policy::approvals::ApprovalTally;
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{Approval, StatementError, Verdict, Verified};
use countersign_policy::{Envelope, Outcome};
use http::HeaderMap;
use std::time::Duration;

use super::access::issuer_may;
use super::body;
use super::exchange::{answer, preferred_wait};
use super::explain;
use super::problem::{ApiProblem, ApiProblemCode};
use super::requests::{final_or_late, find, id_of, unknown};
use super::sight::Sight;
use super::token::Reader;
use super::views::{ApprovalList, ApprovalView};
use crate::core::{Core, now};
use crate::db::{NewApproval, StoredRequest};
use crate::judge;
use crate::lifecycle::{Goal, State as RequestState, StateName, Why};
use crate::orchestrate;

/// Approves or rejects a request. The body is the DSSE envelope of an approval statement by a security officer. When
/// enough officers approved, the request goes on; one rejection stops it.
#[utoipa::path(post, path = "/v1/sign-requests/{id}/approvals", tag = "approvals", request_body = Object,
    params(("id" = String, Path, description = "64 hexadecimal digits"), ("Prefer" = Option<String>, Header, description = "`wait=N`")),
    responses((status = 200, description = "final", body = super::model::RequestView), (status = 202, description = "taken", body = super::model::RequestView),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn approve(
    State(core): State<Arc<Core>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let id = id_of(id)?;
    let bundle = core.bundle.current();
    let approval = open(&bundle, &envelope)?;
    let (issuer, subject) = (approval.issuer(), approval.digest().to_hex());
    issuer_may(&core, &bundle, issuer, Action::ApproveRequest, subject).await?;
    if approval.body().request.to_hex() != id {
        return Err(ApiProblemCode::Approval
            .problem("the approval is for another request than the path names"));
    }
    let request = find(&core, &id).await?;
    require_undecided(&request)?;
    require_counts(&core, &bundle, &request, &approval).await?;
    let new = NewApproval {
        request: request.id,
        digest: approval.digest(),
        member: issuer,
        approves: approval.body().verdict == Verdict::Approve,
        bundle: bundle.digest(),
        envelope: &envelope,
    };
    let added = core.store.add_approval(&new).await?;
    let (mut request, fresh) = added.ok_or_else(unknown)?;
    if let Verdict::Reject { reason } = &approval.body().verdict
        && !request.state.is_final()
    {
        let why = Why::new("rejected", format!("by {issuer}: {reason}"));
        let goal = Goal::Rejected;
        request = orchestrate::stop_statement(&core, request.id, &envelope, goal, why).await?;
    }
    if fresh {
        orchestrate::nudge(&core, request.id).await?;
    }
    let wait = preferred_wait(&headers)?;
    let patience = Duration::from_secs(wait.unwrap_or_default());
    let request = final_or_late(&core, request, patience).await?;
    Ok(answer(&request, wait, Sight::Numbers))
}

fn open(bundle: &ActiveBundle, envelope: &Envelope) -> Result<Verified<Approval>, ApiProblem> {
    bundle.open_approval(envelope).map_err(|error| match error {
        StatementError::Role { .. } => ApiProblemCode::Forbidden.problem(explain(&error)),
        error => ApiProblemCode::Statement.problem(explain(&error)),
    })
}

/// What is final, or about to be, takes no more approvals.
fn require_undecided(request: &StoredRequest) -> Result<(), ApiProblem> {
    let towards_an_end = matches!(request.state, RequestState::Stopping { .. });
    if request.state.is_final() || towards_an_end {
        let state = request.state.name().as_str();
        return Err(ApiProblemCode::Final
            .problem(format!(
                "the request is {state}: there is nothing to approve"
            ))
            .about(request.id));
    }
    Ok(())
}

/// An approval that would not count is refused with the reason, instead of being kept in silence.
async fn require_counts(
    core: &Core,
    bundle: &ActiveBundle,
    request: &StoredRequest,
    approval: &Verified<Approval>,
) -> Result<(), ApiProblem> {
    let reopened = orchestrate::reopen(core, request);
    let (verified, facts) = reopened.map_err(|why| ApiProblemCode::Approval.problem(why.detail))?;
    let freezes = core.freezes.current();
    let envelope = std::slice::from_ref(approval.envelope());
    let (_, refused) = ApprovalTally::count(bundle, &verified, &facts, envelope, &freezes, now());
    match refused.into_iter().next() {
        None => Ok(()),
        Some(refusal) => {
            let detail = explain(&refusal.why);
            let (subject, member) = (approval.digest().to_hex(), approval.issuer().as_str());
            core.audit("approval", subject, member, "refused", detail.clone())
                .await;
            Err(ApiProblemCode::Approval.problem(detail).about(request.id))
        }
    }
}

/// What officers said about a request, what of it counts now, and what is missing.
#[utoipa::path(get, path = "/v1/sign-requests/{id}/approvals", tag = "approvals",
    params(("id" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, body = ApprovalList), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn approvals(
    State(core): State<Arc<Core>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiProblem> {
    let request = find(&core, &id_of(id)?).await?;
    if !reader.may_read(&request.initiator) {
        return Err(unknown());
    }
    let stored = core.store.approvals(request.id).await?;
    let bundle = core.bundle.current();
    let opinion = orchestrate::reopen(&core, &request)
        .ok()
        .map(|(verified, facts)| judge::with(&core, &bundle, &verified, &facts, &stored));
    // What was decided is not decided again for those who look at it later.
    let over = request.state.is_final() || request.state.name() == StateName::Stopping;
    let views = stored.iter().map(|a| {
        let counted = opinion.as_ref().is_some_and(|o| o.counts(&a.digest));
        let why_not = opinion
            .as_ref()
            .and_then(|o| o.void.get(&a.member))
            .cloned();
        ApprovalView {
            digest: a.digest,
            member: a.member.clone(),
            approves: a.approves,
            bundle: a.bundle,
            at: a.created_at,
            counts: counted || !a.approves,
            why_not: why_not.filter(|_| a.approves && !counted),
            statement: a.envelope.clone(),
        }
    });
    let decision = opinion.as_ref().map(|o| &o.decision).filter(|_| !over);
    let waits = decision.filter(|d| d.outcome == Outcome::NeedsApprovals);
    let list = ApprovalList {
        request: request.id,
        approvals: views.collect(),
        missing: waits.map(|d| d.missing.clone()).unwrap_or_default(),
    };
    Ok(axum::Json(list).into_response())
}
