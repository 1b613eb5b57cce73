//! Every call is authorized here, by the one table of roles and actions ([`countersign_policy::access`]): reads by who holds
//! the token, writes by who issued the statement, and by who brings it when a token comes with it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use countersign_policy::MemberId;
use countersign_policy::access::{Action, member_may};
use countersign_policy::bundle::ActiveBundle;
use http::{Method, header};

use super::problem::{ApiProblem, ApiProblemCode};
use super::token::Reader;
use crate::core::Core;

/// The one path whose POST changes nothing.
pub(super) const SIMULATE: &str = "/v1/simulate";

/// A write needs no token: its statements prove themselves. One that comes with it must be good, and its member must be
/// one who may bring statements; an auditor may not, whatever is in the body.
pub(super) async fn carriers(
    State(core): State<Arc<Core>>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if reads || !request.headers().contains_key(header::AUTHORIZATION) {
        return next.run(request).await;
    }
    let action = if request.uri().path() == SIMULATE {
        Action::Simulate
    } else {
        Action::Carry
    };
    let allowed = Reader::of(request.headers(), &core).and_then(|reader| reader.require(action));
    match allowed {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Whoever issued a statement must have a role that may do what it says.
pub(super) async fn issuer_may(
    core: &Core,
    bundle: &ActiveBundle,
    issuer: &MemberId,
    action: Action,
    subject: String,
) -> Result<(), ApiProblem> {
    if member_may(bundle, issuer, action) {
        return Ok(());
    }
    let detail = refusal(issuer, action);
    core.audit(
        action.as_str(),
        subject,
        issuer.as_str(),
        "forbidden",
        detail.clone(),
    )
    .await;
    Err(ApiProblemCode::Forbidden.problem(detail))
}

pub(super) fn refusal(member: &MemberId, action: Action) -> String {
    format!(
        "{member} has no role that may {}",
        action.as_str().replace('-', " ")
    )
}
