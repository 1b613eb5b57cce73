//! The node's HTTPS API: which caller may use which path, and who answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use tokio::sync::Semaphore;

use countersign_policy::bundle::Role;
use countersign_policy::{Hash, MemberId};

use super::bundles::FollowedChain;
use super::spread::{self, Spread};
use super::status;
use super::stops::{self, Way};
use crate::ceremony::Ceremonies;
use crate::net::PeerIdentity;
use crate::session::{Engine, PoolFiller, ledgers, starts};
use crate::store::Cause;
use crate::wire::{
    Bundles, CeremonyStatus, EntriesKnown, ExchangeStatements, Freezes, GiveStatement, NodeStatus,
    Pools, PresignInvitation, Problem, ProblemCode, PushEntries, Records, RegisterStart,
    StartRegistered, StatementTaken, StatementsExchanged, path,
};

/// Everything the API answers from.
#[derive(Debug)]
pub struct Service {
    /// Sessions.
    pub engine: Arc<Engine>,
    /// Key ceremonies.
    pub ceremonies: Arc<Ceremonies>,
    /// Presignature pools.
    pub filler: Arc<PoolFiller>,
    /// The bundle chain.
    pub chain: FollowedChain,
    /// What goes from node to node by itself.
    pub spread: Spread,
    /// Room for bodies.
    pub intake: Intake,
}

/// The largest JSON body, in bytes: a sign request with its transaction, or a batch of ledger entries.
const MAX_JSON: usize = 4 << 20;

/// The API's routes.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route(path::PREPARE, post(prepare))
        .route(path::SIGN, post(sign))
        .route(path::STOP, post(stop))
        .route(path::ABORT, post(abort))
        .route(path::OBSERVATIONS, post(observation))
        .route(path::BUNDLES, post(submit_bundle).get(bundles))
        .route(path::ACTIVATE, post(activate_bundle))
        .route(path::CEREMONIES, post(start_ceremony))
        .route(&format!("{}/{{digest}}", path::CEREMONIES), get(ceremony))
        .route(path::STATUS, get(node_status))
        .route(path::POOLS, get(pools))
        .route(path::RECORDS, get(records))
        .route(path::PRESIGN, post(presign))
        .route(path::ENTRIES, post(entries))
        .route(path::START, post(register_start))
        .route(path::STATEMENTS, post(statements))
        .route(path::VETO, post(veto))
        .route(path::FREEZE, post(freeze))
        .route(path::UNFREEZE, post(unfreeze))
        .route(path::FREEZES, get(freezes))
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .route_layer(from_fn_with_state(Arc::clone(&service), intake))
        .fallback(async || Refusal(ProblemCode::NotFound.problem("this node has no such path")))
        .with_state(service)
}

/// Bodies of one caller that are held at once, in KiB.
const CALLER_KIB: usize = 32 << 10;

/// How much of each caller's budget for bodies is free. Callers are members, so there are few.
#[derive(Debug, Default)]
pub struct Intake(Mutex<BTreeMap<MemberId, Arc<Semaphore>>>);

impl Intake {
    fn of(&self, member: &MemberId) -> Arc<Semaphore> {
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Semaphore::new(CALLER_KIB));
        Arc::clone(members.entry(member.clone()).or_insert_with(fresh))
    }
}

/// Reads the body within the caller's budget, before any handler: connections times streams times the largest body would be
/// more than a machine has.
async fn intake(
    State(s): Shared,
    Extension(caller): Caller,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let operation = operation_of(parts.uri.path());
    let stated = body.size_hint().upper().unwrap_or(MAX_JSON as u64);
    let kib = u32::try_from(stated.min(MAX_JSON as u64).div_ceil(1024)).unwrap_or(u32::MAX);
    let refuse = async |problem: Problem| {
        let subject = (operation, caller.member.as_str());
        record_refusal(&s, &caller, subject, &problem).await;
        Refusal(problem).into_response()
    };
    let Ok(_held) = s.intake.of(&caller.member).try_acquire_many_owned(kib) else {
        let detail = "this caller's bodies fill the room that each caller has; try again";
        return refuse(ProblemCode::Busy.problem(detail)).await;
    };
    let read = match stated > MAX_JSON as u64 && body.size_hint().exact().is_some() {
        true => None,
        false => to_bytes(body, MAX_JSON).await.ok(),
    };
    let Some(bytes) = read else {
        let detail = format!("the body breaks off or exceeds {MAX_JSON} bytes");
        return refuse(ProblemCode::Malformed.problem(detail)).await;
    };
    next.run(Request::from_parts(parts, Body::from(bytes)))
        .await
}

/// The name of a path's operation in the records.
fn operation_of(at: &str) -> &'static str {
    match at {
        path::PREPARE => "prepare",
        path::SIGN => "sign",
        path::STOP => "stop",
        path::ABORT => "abort",
        path::OBSERVATIONS => "observation",
        path::BUNDLES | path::ACTIVATE => "bundle",
        path::VETO => "veto",
        path::FREEZE | path::UNFREEZE => "freeze",
        path::PRESIGN => "presign",
        path::ENTRIES | path::START | path::STATEMENTS => "peer",
        at if at.starts_with(path::CEREMONIES) => "ceremony",
        _ => "read",
    }
}

struct Refusal(Problem);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body,
        )
            .into_response()
    }
}

type Answer<T> = Result<Json<T>, Refusal>;

/// Reads a body strictly and lets only callers with the role in; whoever is turned away stands in the node's records.
async fn take<T: DeserializeOwned>(
    service: &Service,
    operation: &str,
    caller: &PeerIdentity,
    role: Role,
    body: &[u8],
) -> Result<T, Refusal> {
    let taken = require(caller, role).and_then(|()| {
        serde_json::from_slice(body)
            .map_err(|e| Refusal(ProblemCode::Malformed.problem(e.to_string())))
    });
    if let Err(Refusal(problem)) = &taken {
        record_refusal(
            service,
            caller,
            (operation, caller.member.as_str()),
            problem,
        )
        .await;
    }
    taken
}

/// Records a refusal within the caller's budget; what is not recorded is not logged either.
async fn record_refusal(
    service: &Service,
    caller: &PeerIdentity,
    (operation, subject): (&str, &str),
    problem: &Problem,
) {
    let cause = Cause::Refused(caller.member.to_string());
    let engine = &service.engine;
    if engine
        .record(cause, (operation, subject), "refused", problem)
        .await
    {
        tracing::warn!(operation, subject, caller = %caller.member, %problem, "refused");
    }
}

fn require(caller: &PeerIdentity, role: Role) -> Result<(), Refusal> {
    if caller.has_role(role) {
        return Ok(());
    }
    Err(Refusal(ProblemCode::Forbidden.problem(format!(
        "{} does not have the role this path demands",
        &caller.member
    ))))
}

/// Runs an operation and records a refusal with its reason.
async fn recorded<T: Serialize>(
    service: &Service,
    caller: &PeerIdentity,
    (operation, subject): (&str, String),
    result: Result<T, Problem>,
) -> Answer<T> {
    match result {
        Ok(answer) => Ok(Json(answer)),
        Err(problem) => {
            record_refusal(service, caller, (operation, &subject), &problem).await;
            Err(Refusal(problem))
        }
    }
}

type Caller = Extension<PeerIdentity>;
type Shared = State<Arc<Service>>;

async fn prepare(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<crate::wire::Prepared> {
    let call: crate::wire::Prepare = take(&s, "prepare", &caller, Role::Coordinator, &body).await?;
    let subject = call.request.digest().to_string();
    let result = s.engine.prepare(call).await;
    recorded(&s, &caller, ("prepare", subject), result).await
}

async fn sign(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<crate::wire::Signed> {
    let call: crate::wire::Sign = take(&s, "sign", &caller, Role::Coordinator, &body).await?;
    let session = call.session;
    let result = s.engine.sign(call).await;
    match &result {
        // No session ends here, so the engine has recorded nothing: a session replayed after a restart, or made up.
        Err(problem) if problem.code() == Some(ProblemCode::NotFound) => {
            recorded(&s, &caller, ("sign", session.to_string()), result).await
        }
        _ => result.map(Json).map_err(Refusal),
    }
}

async fn stop(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<crate::wire::Stopped> {
    let call: crate::wire::Stop = take(&s, "stop", &caller, Role::Coordinator, &body).await?;
    let subject = call.request.digest().to_string();
    let result = s.engine.stop(call).await;
    recorded(&s, &caller, ("stop", subject), result).await
}

async fn abort(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<crate::wire::SessionEnded> {
    let call: crate::wire::Abort = take(&s, "abort", &caller, Role::Coordinator, &body).await?;
    let subject = call.request.digest().to_string();
    let result = s.engine.abort(call).await;
    recorded(&s, &caller, ("abort", subject), result).await
}

async fn observation(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<StatementTaken> {
    let call = given(&s, &caller, "observation", &body).await?;
    let subject = call.statement.digest().to_string();
    let result = s.engine.observe(&call.statement).await;
    recorded(&s, &caller, ("observation", subject), result).await
}

async fn submit_bundle(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<crate::wire::BundleAck> {
    let call: crate::wire::SubmitBundle =
        take(&s, "bundle", &caller, Role::Coordinator, &body).await?;
    let subject = call.bundle.digest().to_string();
    let result = s.chain.propose(s.engine.parts(), call).await;
    s.spread.changed();
    recorded(&s, &caller, ("bundle", subject), result).await
}

async fn activate_bundle(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<crate::wire::BundleAck> {
    let call: crate::wire::ActivateBundle =
        take(&s, "bundle", &caller, Role::Coordinator, &body).await?;
    let subject = call.bundle.digest().to_string();
    let result = s.chain.activate(s.engine.parts(), call).await;
    s.spread.changed();
    recorded(&s, &caller, ("bundle", subject), result).await
}

async fn bundles(State(s): Shared) -> Answer<Bundles> {
    let shown = s.chain.show(&s.engine.parts().store).await;
    shown.map(Json).map_err(Refusal)
}

/// Whoever connects may bring what proves itself.
async fn given(
    s: &Service,
    caller: &PeerIdentity,
    operation: &str,
    body: &[u8],
) -> Result<GiveStatement, Refusal> {
    match serde_json::from_slice(body) {
        Ok(call) => Ok(call),
        Err(error) => {
            let problem = ProblemCode::Malformed.problem(error.to_string());
            record_refusal(s, caller, (operation, caller.member.as_str()), &problem).await;
            Err(Refusal(problem))
        }
    }
}

async fn freeze(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<StatementTaken> {
    let call = given(&s, &caller, "freeze", &body).await?;
    let subject = call.statement.digest().to_string();
    let result = stops::freeze(&s, &call.statement, Way::Given).await;
    recorded(&s, &caller, ("freeze", subject), result).await
}

async fn unfreeze(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<StatementTaken> {
    let call = given(&s, &caller, "freeze", &body).await?;
    let subject = call.statement.digest().to_string();
    let result = stops::unfreeze(&s, &call.statement, Way::Given).await;
    recorded(&s, &caller, ("freeze", subject), result).await
}

async fn veto(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<StatementTaken> {
    let call = given(&s, &caller, "veto", &body).await?;
    let subject = call.statement.digest().to_string();
    let result = stops::veto(&s, &call.statement, Way::Given).await;
    recorded(&s, &caller, ("veto", subject), result).await
}

async fn freezes(State(s): Shared) -> Answer<Freezes> {
    stops::freezes(&s).await.map(Json).map_err(Refusal)
}

async fn statements(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<StatementsExchanged> {
    let call: ExchangeStatements = take(&s, "peer", &caller, Role::Node, &body).await?;
    let result = spread::answer(&s, call).await;
    let subject = caller.member.to_string();
    recorded(&s, &caller, ("peer", subject), result).await
}

async fn start_ceremony(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<CeremonyStatus> {
    let call: crate::wire::StartCeremony =
        take(&s, "ceremony", &caller, Role::Coordinator, &body).await?;
    let subject = call.order.digest().to_string();
    let result = s.ceremonies.start(call).await;
    recorded(&s, &caller, ("ceremony", subject), result).await
}

async fn ceremony(State(s): Shared, Path(digest): Path<String>) -> Answer<CeremonyStatus> {
    let digest: Hash = digest.parse().map_err(|_| {
        Refusal(ProblemCode::Malformed.problem("a ceremony is named by its order's digest"))
    })?;
    let found = s.ceremonies.status(digest).await.map_err(Refusal)?;
    found
        .map(Json)
        .ok_or_else(|| Refusal(ProblemCode::NotFound.problem("this node knows no such ceremony")))
}

async fn node_status(State(s): Shared) -> Answer<NodeStatus> {
    status::of(&s).await.map(Json).map_err(Refusal)
}

async fn pools(State(s): Shared) -> Json<Pools> {
    Json(s.filler.pools())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordsQuery {
    limit: Option<usize>,
}

async fn records(State(s): Shared, Query(query): Query<RecordsQuery>) -> Answer<Records> {
    let limit = query.limit.unwrap_or(100).min(1000);
    let records = s
        .engine
        .parts()
        .store
        .records(limit)
        .await
        .map_err(|e| Refusal(crate::gate::store_fault(&e)))?;
    Ok(Json(Records { records }))
}

async fn presign(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<crate::wire::PresignAccepted> {
    let call: PresignInvitation = take(&s, "presign", &caller, Role::Node, &body).await?;
    let result = s.filler.join(&caller.member, call).await;
    match &result {
        // Every day between honest nodes: no time for another presignature just now.
        Err(problem) if problem.code() == Some(ProblemCode::Busy) => {
            result.map(Json).map_err(Refusal)
        }
        _ => {
            let subject = caller.member.to_string();
            recorded(&s, &caller, ("presign", subject), result).await
        }
    }
}

async fn entries(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<EntriesKnown> {
    let call: PushEntries = take(&s, "peer", &caller, Role::Node, &body).await?;
    let result = ledgers::take(s.engine.parts(), &caller.member, call).await;
    let subject = caller.member.to_string();
    recorded(&s, &caller, ("peer", subject), result).await
}

async fn register_start(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<StartRegistered> {
    let call: RegisterStart = take(&s, "peer", &caller, Role::Node, &body).await?;
    let result = starts::answer(s.engine.parts(), &caller.member, call).await;
    if let Ok(StartRegistered {
        refusal: Some(refusal),
        ..
    }) = &result
    {
        let problem = ProblemCode::Unregistered.problem(refusal.clone());
        record_refusal(&s, &caller, ("peer", caller.member.as_str()), &problem).await;
    }
    let subject = caller.member.to_string();
    recorded(&s, &caller, ("peer", subject), result).await
}
