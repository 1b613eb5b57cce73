//! Sign requests.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use countersign_policy::access::Action;
use countersign_policy::bundle::Role;
use countersign_policy::statement::{Cancel, CancelReason, SignRequest, Verified};
use countersign_policy::{Envelope, Facts, Hash, Outcome, Protocol, Timestamp};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use tokio::time::Instant;

use super::access::issuer_may;
use super::body;
use super::exchange::{accepted, answer, applied, idempotency_key, preferred_wait, replay};
use super::explain;
use super::model::{RequestList, RequestView, Simulation};
use super::problem::{ApiProblem, ApiProblemCode};
use super::sight::Sight;
use super::token::Reader;
use crate::core::{Core, now};
use crate::db::{
    Created, Decided, Filter, IdempotencyKey, NewRequest, NoCursor, PageCursor, RequestFacts,
    StoredRequest,
};
use crate::judge as opinions;
use crate::lifecycle::{Goal, StateName, Why};
use crate::orchestrate::{self, Judged};

/// Asks for a signature. The body is the DSSE envelope of a sign-request statement.
#[utoipa::path(post, path = "/v1/sign-requests", tag = "sign requests", request_body = Object,
    params(("Idempotency-Key" = String, Header, description = "1 to 128 printable characters; the same call has the same key"),
           ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the request is final, or after N (at most 60) seconds")),
    responses((status = 200, description = "final", body = RequestView), (status = 202, description = "under way; see Location", body = RequestView),
              (status = "4XX", description = "a problem", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn create(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let judged = judge(&core, &envelope).await?;
    let idempotency = idempotency_key(&headers)?;
    let wait = preferred_wait(&headers)?;
    let (facts, expires_at) = (facts_of(&judged), judged.verified.statement().expires_at);
    let (decided, session) = decision(&core, &judged, &envelope).await?;
    let sign_request = judged.verified.body();
    let new = NewRequest {
        id: judged.verified.digest(),
        initiator: judged.verified.issuer(),
        external_id: &sign_request.external_id,
        wallet: &sign_request.wallet,
        key: &sign_request.key,
        network: sign_request.network,
        envelope: &envelope,
        facts: &facts,
        expires_at,
        decided,
    };
    let seconds = i64::try_from(wait.unwrap_or_default().saturating_add(5)).unwrap_or(65);
    let key = IdempotencyKey {
        key: &idempotency,
        answer_within: seconds.saturating_mul(1000),
        at_once: wait.is_none(),
    };
    let created = core
        .store
        .create_request(&core.lease, &new, &key, &accepted)
        .await?;
    let initiator = new.initiator.clone();
    let request = match created {
        Created::New(request) => {
            if !request.state.is_final() {
                orchestrate::start(&core, (*request).clone(), Some(judged), session);
            }
            *request
        }
        Created::Known {
            answer: Some((status, text)),
            request,
        } => {
            return Ok(replay(status, text, request.id));
        }
        Created::Known {
            request,
            answer: None,
        } => *request,
        Created::InFlight(id) => {
            return Err(ApiProblemCode::InFlight
                .problem("the first call with this idempotency key is being answered; repeat it in a moment or read the request")
                .about(id));
        }
        Created::KeyReused(id) => {
            return Err(ApiProblemCode::IdempotencyKeyReused
                .problem(format!(
                    "this idempotency key belongs to request {id}; a new statement needs a new key"
                ))
                .about(id));
        }
        Created::ExternalIdTaken(id) => {
            return Err(ApiProblemCode::ExternalId
                .problem(format!("the external id belongs to request {id} for ever; another payment needs another one"))
                .about(id));
        }
    };
    let Some(wait) = wait else {
        return Ok(answer(&request, None, Sight::NamesOnly));
    };
    let request = final_or_late(&core, request, Duration::from_secs(wait)).await?;
    if !request.state.is_final() {
        core.store
            .store_answer(&initiator, &idempotency, &accepted(&request))
            .await?;
    }
    Ok(answer(&request, Some(wait), Sight::NamesOnly))
}

/// What follows from the decision; an allowed request is authorized in the same breath.
async fn decision(
    core: &Core,
    judged: &Judged,
    envelope: &Envelope,
) -> Result<(Decided, Option<crate::orchestrate::Session>), ApiProblem> {
    let decision = &judged.opinion.decision;
    match decision.outcome {
        Outcome::Blocked => {
            let why = Why::policy(decision.reasons.clone(), "policy");
            return Ok((Decided::Blocked(why), None));
        }
        Outcome::NeedsApprovals => {
            let waiting = judged.opinion.waiting(&judged.bundle);
            return Ok((Decided::PendingApproval(waiting), None));
        }
        Outcome::Allow => {}
    }
    if core.works.len() >= core.limits.max_running {
        return Err(ApiProblemCode::Busy
            .problem("too many requests are being worked on; repeat the call in a moment"));
    }
    // A repeated call must not cost a presignature.
    let key = judged.bundle.key(&judged.verified.body().key);
    if key.is_some_and(|k| k.protocol == Protocol::Cggmp24)
        && core.store.request(envelope.digest()).await?.is_some()
    {
        return Ok((Decided::Received, None));
    }
    Ok(match orchestrate::first_attempt(core, judged).await {
        Some((attempt, session)) => (Decided::Authorized(attempt), Some(session)),
        None => (Decided::Received, None),
    })
}

/// Opens and decodes a request, and decides. What is refused here is recorded, but is no request.
async fn judge(core: &Core, envelope: &Envelope) -> Result<Judged, ApiProblem> {
    let bundle = core.bundle.current();
    let verified: Verified<SignRequest> = match bundle.directory().open(envelope) {
        Ok(verified) => verified,
        // Nobody vouches for it, so it leaves no more than a line in the log.
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a sign request was refused"
            );
            return Err(ApiProblemCode::Statement.problem(explain(&error)));
        }
    };
    let subject = verified.digest().to_hex();
    let issuer = verified.issuer();
    issuer_may(core, &bundle, issuer, Action::RequestSignature, subject).await?;
    match Facts::establish(&bundle, verified.body()) {
        Ok(facts) => {
            let opinion = opinions::at_first(core, &bundle, &verified, &facts);
            Ok(Judged {
                bundle,
                verified,
                facts,
                opinion,
            })
        }
        Err(error) => {
            let (subject, issuer) = (verified.digest().to_hex(), verified.issuer().as_str());
            let detail = explain(&error);
            core.audit(
                "sign-request",
                subject,
                issuer,
                "refused/transaction",
                detail.clone(),
            )
            .await;
            Err(ApiProblemCode::Transaction.problem(detail))
        }
    }
}

fn facts_of(judged: &Judged) -> RequestFacts {
    let transaction = judged.facts.transaction();
    let mut intent = transaction.intent().clone();
    intent.from = Some(*judged.facts.source());
    RequestFacts {
        intent,
        from: *judged.facts.source(),
        path: judged.verified.body().path.clone(),
        unsigned: judged.verified.body().transaction.clone(),
        digest: transaction.digest(),
        decision: judged.opinion.decision.clone(),
        bundle: judged.bundle.digest(),
    }
}

/// Says what would be decided, which approvals would be missing and which rules were looked at, without any effect. The body
/// is that of a sign request.
#[utoipa::path(post, path = "/v1/simulate", tag = "sign requests", request_body = Object,
    responses((status = 200, body = Simulation), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn simulate(
    State(core): State<Arc<Core>>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let judged = judge(&core, &envelope).await?;
    let facts = facts_of(&judged);
    let limits = orchestrate::limits_of(&judged.bundle, &judged.verified, &judged.facts);
    let reader = match headers.contains_key(AUTHORIZATION) {
        true => Some(Reader::of(&headers, &core)?),
        false => None,
    };
    let sight = reader.as_ref().map_or(Sight::NamesOnly, Reader::sight);
    let explains = reader.is_some_and(|reader| reader.may(Action::ExplainDecision));
    let explanation = explains.then(|| {
        let Judged {
            bundle,
            verified,
            facts,
            ..
        } = &judged;
        opinions::explained(&core, bundle, verified, facts, &[])
    });
    let simulation = Simulation {
        explanation,
        limits: limits.into_iter().collect(),
        decision: sight.decision(&facts.decision).0,
        intent: facts.intent,
        from: facts.from,
        digest: facts.digest,
        bundle: facts.bundle,
    };
    Ok(axum::Json(simulation).into_response())
}

/// One request with its history.
#[utoipa::path(get, path = "/v1/sign-requests/{id}", tag = "sign requests",
    params(("id" = String, Path, description = "64 hexadecimal digits"), ("Prefer" = Option<String>, Header, description = "`wait=N`")),
    responses((status = 200, body = RequestView), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn read(
    State(core): State<Arc<Core>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let mut request = find(&core, &id_of(id)?).await?;
    if !reader.may_read(&request.initiator) {
        return Err(unknown());
    }
    let wait = preferred_wait(&headers)?;
    if let Some(wait) = wait {
        request = final_or_late(&core, request, Duration::from_secs(wait)).await?;
    }
    let events = core.store.events(request.id).await?;
    let attempts = core.store.attempts(request.id).await?;
    let view = RequestView::of(&request, reader.sight()).with_history(
        request.envelope.clone(),
        events,
        &attempts,
    );
    Ok(applied(axum::Json(view).into_response(), wait))
}

/// How the decision about a request comes about as it stands now: every rule that was looked at, and what would change it.
#[utoipa::path(get, path = "/v1/sign-requests/{id}/explanation", tag = "sign requests",
    params(("id" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, description = "decision, facts, rules and what would change it", body = Object), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn explanation(
    State(core): State<Arc<Core>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ExplainDecision)?;
    let request = find(&core, &id_of(id)?).await?;
    let reopened = orchestrate::reopen(&core, &request);
    let (verified, facts) =
        reopened.map_err(|why| ApiProblemCode::Transaction.problem(why.detail))?;
    let stored = core.store.approvals(request.id).await?;
    let bundle = core.bundle.current();
    let explanation = opinions::explained(&core, &bundle, &verified, &facts, &stored);
    Ok(axum::Json(explanation).into_response())
}

/// What a list can be narrowed to.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// A state's name.
    state: Option<String>,
    /// A wallet id.
    wallet: Option<String>,
    /// CAIP-2.
    network: Option<String>,
    /// The payment layer's name.
    external_id: Option<String>,
    /// A member id.
    initiator: Option<String>,
    /// RFC 3339 with milliseconds: requests that came at or after it.
    created_after: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// At most this many, up to 1000; 100 unless told.
    limit: Option<u32>,
}

/// Requests from the newest to the oldest. A payment service sees its own.
#[utoipa::path(get, path = "/v1/sign-requests", tag = "sign requests", params(ListQuery),
    responses((status = 200, body = RequestList), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(core): State<Arc<Core>>,
    reader: Reader,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiProblem> {
    let malformed = |what: String| ApiProblemCode::Malformed.problem(what);
    let Query(query) = query.map_err(|e| malformed(e.body_text()))?;
    let state = match query.state {
        Some(name) => Some(
            StateName::parse(&name).ok_or_else(|| malformed(format!("{name:?} is no state")))?,
        ),
        None => None,
    };
    let created_after = query
        .created_after
        .map(|t| t.parse::<Timestamp>())
        .transpose();
    let own = (!reader.reads_all()).then(|| reader.member.to_string());
    if own.is_some() && query.initiator.is_some() && query.initiator != own {
        return Err(ApiProblemCode::Forbidden.problem("a payment service reads its own requests"));
    }
    let filter = Filter {
        state,
        wallet: query.wallet,
        network: query.network,
        external_id: query.external_id,
        initiator: query.initiator.or(own),
        created_after: created_after.map_err(|e| malformed(e.to_string()))?,
    };
    let cursor = query.cursor.as_deref().map(str::parse).transpose();
    let cursor: Option<PageCursor> =
        cursor.map_err(|e: NoCursor| ApiProblemCode::Malformed.problem(e.to_string()))?;
    let limit = query.limit.unwrap_or(100);
    if limit == 0 || limit > 1000 {
        return Err(malformed("limit must be 1 to 1000".to_owned()));
    }
    let page = core.store.list(&filter, cursor.as_ref(), limit).await?;
    let list = RequestList {
        requests: page
            .requests
            .iter()
            .map(|request| RequestView::of(request, reader.sight()))
            .collect(),
        next_cursor: page.next.map(|c| c.to_string()),
    };
    Ok(axum::Json(list).into_response())
}

/// Ends a request that is not signed yet. The body is the DSSE envelope of a cancel statement by the initiator or a
/// security officer.
#[utoipa::path(post, path = "/v1/sign-requests/{id}/cancel", tag = "sign requests", request_body = Object,
    params(("id" = String, Path, description = "64 hexadecimal digits"), ("Prefer" = Option<String>, Header, description = "`wait=N`")),
    responses((status = 200, description = "final", body = RequestView), (status = 202, description = "stopping", body = RequestView),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    State(core): State<Arc<Core>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let bundle = core.bundle.current();
    let id = id_of(id)?;
    let cancel: Verified<Cancel> = bundle
        .directory()
        .open(&envelope)
        .map_err(|e| ApiProblemCode::Statement.problem(explain(&e)))?;
    cancel
        .require_current(now(), bundle.skew_seconds())
        .map_err(|e| ApiProblemCode::Statement.problem(e.to_string()))?;
    if cancel.body().request.to_hex() != id {
        return Err(ApiProblemCode::Statement
            .problem("the cancel is for another request than the path names"));
    }
    let request = find(&core, &id).await?;
    let who = cancel.issuer();
    issuer_may(&core, &bundle, who, Action::CancelRequest, id.clone()).await?;
    let reason = cancel.body().reason;
    let may = match reason {
        CancelReason::Initiator => *who == request.initiator,
        CancelReason::Officer => bundle.has_role(who, Role::SecurityOfficer),
        CancelReason::Expired | CancelReason::Failed => false,
    };
    if !may {
        return Err(ApiProblemCode::Forbidden.problem(format!(
            "{who} may not cancel this request with reason {reason:?}"
        )));
    }
    let why = Why::new("cancelled", format!("by {who}: {}", cancel.body().detail));
    let request = if request.state.is_final() {
        request
    } else {
        orchestrate::stop_statement(&core, request.id, &envelope, Goal::Cancelled, why).await?
    };
    if matches!(request.state.name(), StateName::Signed) {
        return Err(ApiProblemCode::Final
            .problem("the request is signed: too late to cancel")
            .about(request.id));
    }
    orchestrate::nudge(&core, request.id).await?;
    let wait = preferred_wait(&headers)?;
    let request = final_or_late(
        &core,
        request,
        Duration::from_secs(wait.unwrap_or_default()),
    )
    .await?;
    Ok(answer(&request, wait, Sight::NamesOnly))
}

pub(super) async fn find(core: &Core, id: &str) -> Result<StoredRequest, ApiProblem> {
    let id: Hash = id.parse().map_err(|_| unknown())?;
    core.store.request(id).await?.ok_or_else(unknown)
}

pub(super) fn id_of(id: Result<Path<String>, PathRejection>) -> Result<String, ApiProblem> {
    id.map(|Path(id)| id).map_err(|_| unknown())
}

pub(super) fn unknown() -> ApiProblem {
    ApiProblemCode::NotFound.problem("there is no such sign request, or it is not yours")
}

/// Waits for the end of a request, here or (by looking) at another coordinator.
pub(super) async fn final_or_late(
    core: &Core,
    request: StoredRequest,
    wait: Duration,
) -> Result<StoredRequest, ApiProblem> {
    let deadline = Instant::now()
        .checked_add(wait)
        .unwrap_or_else(Instant::now);
    let mut request = request;
    while !request.state.is_final() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match core.works.get(&request.id) {
            Some(work) => {
                let mut done = work.done.subscribe();
                drop(work);
                let ended = tokio::time::timeout(left, done.wait_for(Option::is_some)).await;
                if let Ok(Ok(ended)) = ended
                    && let Some(ended) = ended.as_ref()
                {
                    return Ok((**ended).clone());
                }
            }
            None => tokio::time::sleep(left.min(Duration::from_millis(200))).await,
        }
        request = find(core, &request.id.to_hex()).await?;
    }
    Ok(request)
}
