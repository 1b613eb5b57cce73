//! The node's HTTPS API: which caller may use which path, and who answers.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use countersign_policy::Hash;
use countersign_policy::bundle::Role;

use super::bundles::FollowedChain;
use super::status;
use crate::ceremony::Ceremonies;
use crate::net::PeerIdentity;
use crate::session::{Engine, PoolFiller, ledgers};
use crate::wire::{
    Bundles, CeremonyStatus, EntriesKnown, NodeStatus, Pools, PresignInvitation, Problem,
    ProblemCode, PushEntries, Records, path,
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
}

/// The largest JSON body, in bytes: a sign request with its transaction, or a batch of ledger entries.
const MAX_JSON: usize = 4 << 20;

/// The API's routes.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route(path::PREPARE, post(prepare))
        .route(path::SIGN, post(sign))
        .route(path::STOP, post(stop))
        .route(path::BUNDLES, post(submit_bundle).get(bundles))
        .route(path::CEREMONIES, post(start_ceremony))
        .route(&format!("{}/{{digest}}", path::CEREMONIES), get(ceremony))
        .route(path::STATUS, get(node_status))
        .route(path::POOLS, get(pools))
        .route(path::RECORDS, get(records))
        .route(path::PRESIGN, post(presign))
        .route(path::ENTRIES, post(entries))
        .layer(DefaultBodyLimit::max(MAX_JSON))
        .fallback(async || Refusal(ProblemCode::NotFound.problem("this node has no such path")))
        .with_state(service)
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
        tracing::warn!(operation, caller = %caller.member, %problem, "refused");
        service
            .engine
            .record(operation, caller.member.as_str(), "refused", problem)
            .await;
    }
    taken
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
    operation: &str,
    subject: String,
    result: Result<T, Problem>,
) -> Answer<T> {
    match result {
        Ok(answer) => Ok(Json(answer)),
        Err(problem) => {
            tracing::warn!(operation, subject, %problem, "refused");
            service
                .engine
                .record(operation, &subject, "refused", &problem)
                .await;
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
    recorded(&s, "prepare", subject, result).await
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
            recorded(&s, "sign", session.to_string(), result).await
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
    recorded(&s, "stop", subject, result).await
}

async fn submit_bundle(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<crate::wire::BundleAck> {
    let call: crate::wire::SubmitBundle =
        take(&s, "bundle", &caller, Role::Coordinator, &body).await?;
    let subject = call.bundle.digest().to_string();
    let result = s.chain.submit(s.engine.parts(), call).await;
    recorded(&s, "bundle", subject, result).await
}

async fn bundles(State(s): Shared) -> Json<Bundles> {
    Json(s.chain.show().await)
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
    recorded(&s, "ceremony", subject, result).await
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
    s.filler
        .join(&caller.member, call)
        .await
        .map(Json)
        .map_err(Refusal)
}

async fn entries(
    State(s): Shared,
    Extension(caller): Caller,
    body: axum::body::Bytes,
) -> Answer<EntriesKnown> {
    let call: PushEntries = take(&s, "peer", &caller, Role::Node, &body).await?;
    let result = ledgers::take(s.engine.parts(), &caller.member, call).await;
    recorded(&s, "peer", caller.member.to_string(), result).await
}
