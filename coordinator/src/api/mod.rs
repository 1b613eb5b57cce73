//! The HTTPS API. docs/api.md describes it; `/openapi.json` is its OpenAPI 3.1 document.

mod access;
mod approvals;
mod bundles;
mod cold;
mod deployment;
mod exchange;
mod model;
mod notices;
mod policy;
mod problem;
mod requests;
mod server;
mod sight;
mod token;
mod views;

pub use model::{
    AddressList, AddressView, AttemptView, BundleList, BundleReport, CeremonyNode, CeremonyReport,
    EventView, Health, KeyList, KeyView, NodeList, NodeReport, NodeView, RequestList, RequestView,
    Simulation, WalletList, WalletView,
};
pub use problem::{ApiProblem, ApiProblemCode};
pub(crate) use server::Server;
pub use server::ServerError;
pub(crate) use sight::limits;
pub use token::{ApiSecret, MAX_TOKEN_SECONDS, verify_token};
pub use views::{
    ApprovalList, ApprovalView, FreezeList, FreezeView, NoticeReport, PolicyLog, PolicyLogEntry,
    ProposalList, ProposalState, ProposalView, SignatureView, VetoView,
};

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use countersign_policy::Hash;
use http::{HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use tracing::Instrument as _;
use utoipa::OpenApi;

use crate::core::{Core, random_hex};

/// The longest that any call takes, in seconds: the longest wait and some more.
const MAX_SECONDS: u64 = exchange::MAX_WAIT + 15;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Countersign coordinator",
        description = "Asks signer nodes for signatures on behalf of payment services."
    ),
    paths(
        requests::create,
        requests::read,
        requests::list,
        requests::cancel,
        requests::simulate,
        requests::explanation,
        cold::evidence,
        cold::package,
        cold::response,
        approvals::approve,
        approvals::approvals,
        notices::freeze,
        notices::freezes,
        notices::unfreeze,
        notices::observe,
        policy::propose,
        policy::proposals,
        policy::sign,
        policy::veto,
        policy::log,
        deployment::wallets,
        deployment::wallet,
        deployment::addresses,
        deployment::keys,
        deployment::key,
        bundles::bundles,
        bundles::submit_bundle,
        deployment::start_ceremony,
        deployment::ceremony,
        deployment::nodes,
        deployment::healthz,
        deployment::readyz,
    ),
    components(schemas(ApiProblem))
)]
struct Document;

/// The OpenAPI 3.1 document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub(crate) fn router(core: Arc<Core>) -> Router {
    let limit = core.limits.max_body_bytes;
    Router::new()
        .route(
            "/v1/sign-requests",
            post(requests::create).get(requests::list),
        )
        .route("/v1/sign-requests/{id}", get(requests::read))
        .route("/v1/sign-requests/{id}/cancel", post(requests::cancel))
        .route(
            "/v1/sign-requests/{id}/approvals",
            post(approvals::approve).get(approvals::approvals),
        )
        .route(
            "/v1/sign-requests/{id}/explanation",
            get(requests::explanation),
        )
        .route("/v1/bundles/evidence", get(cold::evidence))
        .route("/v1/sign-requests/{id}/cold-package", get(cold::package))
        .route("/v1/sign-requests/{id}/cold-response", post(cold::response))
        .route(access::SIMULATE, post(requests::simulate))
        .route("/v1/freezes", post(notices::freeze).get(notices::freezes))
        .route("/v1/unfreezes", post(notices::unfreeze))
        .route("/v1/observations", post(notices::observe))
        .route(
            "/v1/policy/proposals",
            post(policy::propose).get(policy::proposals),
        )
        .route(
            "/v1/policy/proposals/{digest}/signatures",
            post(policy::sign),
        )
        .route("/v1/policy/proposals/{digest}/veto", post(policy::veto))
        .route("/v1/policy/log", get(policy::log))
        .route("/v1/wallets", get(deployment::wallets))
        .route("/v1/wallets/{id}", get(deployment::wallet))
        .route("/v1/wallets/{id}/addresses", get(deployment::addresses))
        .route("/v1/keys", get(deployment::keys))
        .route("/v1/keys/{id}", get(deployment::key))
        .route(
            "/v1/bundles",
            get(bundles::bundles).post(bundles::submit_bundle),
        )
        .route("/v1/ceremonies", post(deployment::start_ceremony))
        .route("/v1/ceremonies/{digest}", get(deployment::ceremony))
        .route("/v1/nodes", get(deployment::nodes))
        .route("/healthz", get(deployment::healthz))
        .route("/readyz", get(deployment::readyz))
        .route("/openapi.json", get(async || axum::Json(openapi())))
        .fallback(async || {
            ApiProblemCode::NotFound.problem("the API has no such path; see /openapi.json")
        })
        .method_not_allowed_fallback(async || {
            ApiProblemCode::MethodNotAllowed.problem("see /openapi.json for the path's methods")
        })
        .layer(DefaultBodyLimit::max(limit))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&core),
            access::carriers,
        ))
        .layer(middleware::from_fn(around))
        .with_state(core)
}

/// Gives every call an id, a span and an end.
async fn around(request: Request, next: Next) -> Response {
    let id = random_hex();
    let span =
        tracing::info_span!("api", %id, method = %request.method(), path = request.uri().path());
    let limit = Duration::from_secs(MAX_SECONDS);
    let mut response = match tokio::time::timeout(limit, next.run(request))
        .instrument(span.clone())
        .await
    {
        Ok(response) => response,
        Err(_) => ApiProblemCode::Timeout
            .problem("the call took too long; repeat it with the same idempotency key")
            .into_response(),
    };
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// Reads a JSON body.
fn body<T: DeserializeOwned>(bytes: Result<Bytes, BytesRejection>) -> Result<T, ApiProblem> {
    let bytes = bytes.map_err(|error| {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiProblemCode::TooLarge.problem("the body is larger than this coordinator takes")
        } else {
            ApiProblemCode::Malformed.problem(error.body_text())
        }
    })?;
    serde_json::from_slice(&bytes).map_err(|e| {
        ApiProblemCode::Malformed.problem(format!("the body is not the expected JSON: {e}"))
    })
}

/// An error with what caused it.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Where a request is read.
fn location(id: Hash) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("/v1/sign-requests/{id}")).ok()
}
