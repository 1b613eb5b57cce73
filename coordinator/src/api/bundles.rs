//! Complete policy bundles: the chain, and the next one.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse as _, Response};
use countersign_policy::access::Action;
use countersign_policy::bundle::ChainError;
use countersign_signer::wire::SubmitBundle;
use http::StatusCode;

use super::model::{BundleList, BundleReport, NodeReport};
use super::problem::{ApiProblem, ApiProblemCode};
use super::token::Reader;
use super::{body, explain};
use crate::core::Core;
use crate::orchestrate::{self, BundleError, NodeAnswer};

/// The chain of policy bundles.
#[utoipa::path(get, path = "/v1/bundles", tag = "bundles", responses((status = 200, body = BundleList)))]
pub(super) async fn bundles(
    State(core): State<Arc<Core>>,
    reader: Reader,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadPolicy)?;
    let chain = core.chain.lock().await;
    let (active, version) = (chain.active().digest(), chain.active().content().version);
    let envelopes = chain
        .links()
        .iter()
        .map(|link| link.envelope().clone())
        .collect();
    drop(chain);
    let waiting = core.store.bundles_above(version).await?;
    let waiting = waiting
        .into_iter()
        .filter(|b| !b.activated)
        .map(|b| b.digest)
        .collect();
    Ok(Json(BundleList {
        active,
        version,
        chain: envelopes,
        waiting,
    })
    .into_response())
}

/// Submits the next policy bundle: verified, given to every node, active when enough of them follow.
#[utoipa::path(post, path = "/v1/bundles", tag = "bundles", request_body = Object,
    responses((status = 200, description = "active", body = BundleReport), (status = 202, description = "waits for more nodes", body = BundleReport),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn submit_bundle(
    State(core): State<Arc<Core>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let call: SubmitBundle = body(bytes)?;
    let subject = call.bundle.digest().to_hex();
    let outcome = match orchestrate::submit_bundle(&core, &call).await {
        Ok(outcome) => outcome,
        Err(BundleError::Db(error)) => return Err(error.into()),
        Err(error @ BundleError::Chain(ChainError::Author(_) | ChainError::Approver(_))) => {
            let detail = explain(&error);
            core.audit("bundle", subject, "", "forbidden", detail.clone())
                .await;
            return Err(ApiProblemCode::Forbidden.problem(detail));
        }
        Err(error) => {
            core.audit("bundle", subject, "", "refused", explain(&error))
                .await;
            return Err(ApiProblemCode::Bundle.problem(explain(&error)));
        }
    };
    let result = if outcome.active { "active" } else { "waits" };
    core.audit(
        "bundle",
        subject,
        "",
        result,
        format!("version {}", outcome.version),
    )
    .await;
    let nodes = outcome.nodes.into_iter().map(|(node, answer)| {
        let report = match answer {
            NodeAnswer::Follows | NodeAnswer::Keeps => NodeReport {
                ok: true,
                error: None,
            },
            NodeAnswer::Error(error) => NodeReport {
                ok: false,
                error: Some(error.to_string()),
            },
        };
        (node, report)
    });
    let report = BundleReport {
        bundle: outcome.digest,
        version: outcome.version,
        active: outcome.active,
        waits_for: outcome.waits_for.as_ref().map(ToString::to_string),
        activates_at: outcome.activates_at,
        nodes: nodes.collect(),
    };
    let status = if report.active {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(report)).into_response())
}
