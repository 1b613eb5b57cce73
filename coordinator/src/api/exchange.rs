//! What a call's headers ask for, and how its answer says what was done.

use axum::response::{IntoResponse as _, Response};
use countersign_policy::Hash;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::location;
use super::model::RequestView;
use super::problem::{ApiProblem, ApiProblemCode};
use super::sight::Sight;
use crate::db::{StoredAnswer, StoredRequest};

/// The longest that a call waits for a final state, in seconds.
pub(super) const MAX_WAIT: u64 = 60;

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<String, ApiProblem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Err(ApiProblemCode::IdempotencyKeyMissing
            .problem("send Idempotency-Key with a value of your own for this payment, and the same one when you repeat the call"));
    };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > 128 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ApiProblemCode::Malformed
            .problem("an idempotency key has 1 to 128 printable characters"));
    }
    Ok(text.to_owned())
}

/// `Prefer: wait=N` (RFC 7240).
pub(super) fn preferred_wait(headers: &HeaderMap) -> Result<Option<u64>, ApiProblem> {
    for value in headers.get_all("prefer") {
        for preference in value.to_str().unwrap_or_default().split([',', ';']) {
            if let Some(seconds) = preference.trim().strip_prefix("wait=") {
                let seconds = seconds.trim_matches('"').parse::<u64>();
                let seconds = seconds.map_err(|_| {
                    ApiProblemCode::Malformed.problem("Prefer: wait=N takes whole seconds")
                })?;
                return Ok(Some(seconds.min(MAX_WAIT)));
            }
        }
    }
    Ok(None)
}

/// The answer to the call of an initiator whose request is not final.
pub(super) fn accepted(request: &StoredRequest) -> StoredAnswer {
    let view = RequestView::of(request, Sight::NamesOnly);
    let body = serde_json::to_string(&view).unwrap_or_default();
    (StatusCode::ACCEPTED.as_u16(), body)
}

pub(super) fn answer(request: &StoredRequest, waited: Option<u64>, sight: Sight) -> Response {
    let status = if request.state.is_final() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let mut response = (status, axum::Json(RequestView::of(request, sight))).into_response();
    if let Some(location) = location(request.id) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    applied(response, waited)
}

pub(super) fn applied(mut response: Response, waited: Option<u64>) -> Response {
    let applied = waited.and_then(|wait| HeaderValue::from_str(&format!("wait={wait}")).ok());
    if let Some(applied) = applied {
        response.headers_mut().insert("preference-applied", applied);
    }
    response
}

pub(super) fn replay(status: u16, text: String, id: Hash) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::ACCEPTED);
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    if let Some(location) = location(id) {
        headers.insert(header::LOCATION, location);
    }
    response
}
