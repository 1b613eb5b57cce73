//! What is carried to a machine with no network, and what comes back.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use countersign_policy::access::Action;
use countersign_policy::cold::ResponsePackage;
use http::{StatusCode, header};
use serde::Deserialize;

use super::exchange::answer;
use super::explain;
use super::problem::{ApiProblem, ApiProblemCode};
use super::requests::{find, id_of, unknown};
use super::token::Reader;
use crate::core::Core;
use crate::orchestrate::{self, ColdError};

/// Which part of the chain to leave out.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PackageQuery {
    /// The policy version that the machine follows already, as its last answer said; 0: the whole chain.
    after: Option<u64>,
}

/// The package for the machine, once a quorum of nodes cleared the request. The same bytes each time.
#[utoipa::path(get, path = "/v1/sign-requests/{id}/cold-package", tag = "cold wallets",
    params(("id" = String, Path, description = "64 hexadecimal digits"), PackageQuery),
    responses((status = 200, description = "a request package, canonical JSON", body = Object), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn package(
    State(core): State<Arc<Core>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<PackageQuery>, QueryRejection>,
) -> Result<Response, ApiProblem> {
    let request = find(&core, &id_of(id)?).await?;
    if !reader.may_read(&request.initiator) {
        return Err(unknown());
    }
    let Query(query) = query.map_err(|e| ApiProblemCode::Malformed.problem(e.to_string()))?;
    let package = orchestrate::package(&core, &request, query.after.unwrap_or(0));
    let package = package.await.map_err(|e| problem(&e))?;
    let bytes = package.to_bytes().map_err(|e| problem(&e.into()))?;
    let json = (header::CONTENT_TYPE, "application/json");
    Ok((StatusCode::OK, [json], bytes).into_response())
}

/// The bundles with the acknowledgements that made each count, oldest first: what a machine with no network needs to follow
/// them.
#[utoipa::path(get, path = "/v1/bundles/evidence", tag = "cold wallets", params(PackageQuery),
    responses((status = 200, description = "bundles and acknowledgements", body = Vec<Object>), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn evidence(
    State(core): State<Arc<Core>>,
    reader: Reader,
    query: Result<Query<PackageQuery>, QueryRejection>,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadPolicy)?;
    let Query(query) = query.map_err(|e| ApiProblemCode::Malformed.problem(e.to_string()))?;
    let nodes = orchestrate::nodes_of(&core.bundle.current());
    let links = orchestrate::chain(&core, &nodes, query.after.unwrap_or(0)).await;
    Ok(axum::Json(links).into_response())
}

/// What the machine answered. The body is its response package; the signature in it is verified against the pinned key and the
/// bytes that were asked for, so who brings it does not matter.
#[utoipa::path(post, path = "/v1/sign-requests/{id}/cold-response", tag = "cold wallets", request_body = Object,
    params(("id" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, description = "signed", body = super::model::RequestView), (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn response(
    State(core): State<Arc<Core>>,
    reader: Reader,
    id: Result<Path<String>, PathRejection>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    reader.require(Action::Carry)?;
    let request = find(&core, &id_of(id)?).await?;
    let bytes = bytes.map_err(|e| ApiProblemCode::Malformed.problem(e.to_string()))?;
    let package = ResponsePackage::from_bytes(&bytes).map_err(|e| problem(&e.into()))?;
    let signed = orchestrate::import(&core, request, &package);
    let signed = signed.await.map_err(|e| problem(&e))?;
    Ok(answer(&signed, None, reader.sight()))
}

fn problem(error: &ColdError) -> ApiProblem {
    let code = match error {
        ColdError::NotWaiting(_) => ApiProblemCode::NotFound,
        ColdError::Incomplete(_) => ApiProblemCode::Busy,
        ColdError::Package(_) => ApiProblemCode::Malformed,
        ColdError::Answer(_) => ApiProblemCode::Statement,
        ColdError::Db(_) => ApiProblemCode::Internal,
    };
    code.problem(explain(error))
}
