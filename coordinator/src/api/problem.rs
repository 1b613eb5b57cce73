//! Errors of the API: RFC 9457 problem+json with stable types.

use axum::response::{IntoResponse, Response};
use countersign_policy::{Hash, MemberId, Reason};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::db::DbError;

/// An error. The fields are those of a node's problem, and two more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct ApiProblem {
    /// A stable name, `urn:countersign:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text that is the same for every problem of the type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do about it.
    pub detail: String,
    /// Nodes whose messages were wrong, if that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub culprits: Vec<MemberId>,
    /// Nodes that did not answer in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub missing: Vec<MemberId>,
    /// Policy's reasons, when policy said no.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub reasons: Vec<Reason>,
    /// The sign request that the problem is about, when it is another than the one sent, or is known already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sign_request: Option<Hash>,
}

/// The problems of the API. The code is the end of the problem's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiProblemCode {
    /// The request is not what the path takes.
    Malformed,
    /// A write without an idempotency key.
    IdempotencyKeyMissing,
    /// No acceptable token.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// Nothing is known by this name.
    NotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The same call is being answered.
    InFlight,
    /// The external id belongs to another request.
    ExternalId,
    /// The request is final.
    Final,
    /// The bundle does not continue the chain.
    Bundle,
    /// The body is too large.
    TooLarge,
    /// The idempotency key was used with another body.
    IdempotencyKeyReused,
    /// A statement is not acceptable.
    Statement,
    /// The transaction is refused.
    Transaction,
    /// An approval does not count.
    Approval,
    /// The coordinator has a fault.
    Internal,
    /// Too much at once.
    Busy,
    /// It took too long.
    Timeout,
}

impl ApiProblemCode {
    /// All problems: code, status, title.
    pub const TABLE: [(ApiProblemCode, &'static str, u16, &'static str); 18] = [
        (
            Self::Malformed,
            "malformed",
            400,
            "the request is not what this path takes",
        ),
        (
            Self::IdempotencyKeyMissing,
            "idempotency-key-missing",
            400,
            "an Idempotency-Key header is needed",
        ),
        (
            Self::Unauthenticated,
            "unauthenticated",
            401,
            "no acceptable token",
        ),
        (
            Self::Forbidden,
            "forbidden",
            403,
            "the caller may not do this",
        ),
        (
            Self::NotFound,
            "not-found",
            404,
            "nothing is known by this name",
        ),
        (
            Self::MethodNotAllowed,
            "method-not-allowed",
            405,
            "the path does not take this method",
        ),
        (
            Self::InFlight,
            "in-flight",
            409,
            "the same call is being answered",
        ),
        (
            Self::ExternalId,
            "external-id",
            409,
            "the external id belongs to another request",
        ),
        (Self::Final, "final", 409, "the request is final"),
        (Self::Bundle, "bundle", 409, "the bundle is not acceptable"),
        (Self::TooLarge, "too-large", 413, "the body is too large"),
        (
            Self::IdempotencyKeyReused,
            "idempotency-key-reused",
            422,
            "the idempotency key was used with another body",
        ),
        (
            Self::Statement,
            "statement",
            422,
            "a statement is not acceptable",
        ),
        (
            Self::Transaction,
            "transaction",
            422,
            "the transaction is refused",
        ),
        (
            Self::Approval,
            "approval",
            422,
            "the approval does not count",
        ),
        (
            Self::Internal,
            "internal",
            500,
            "the coordinator has a fault",
        ),
        (Self::Busy, "busy", 503, "too much at once"),
        (Self::Timeout, "timeout", 504, "it took too long"),
    ];

    fn row(self) -> (&'static str, u16, &'static str) {
        let found = Self::TABLE.iter().find(|row| row.0 == self);
        found.map_or(("internal", 500, "the coordinator has a fault"), |row| {
            (row.1, row.2, row.3)
        })
    }

    /// The last part of the problem's type.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// A problem of this type.
    pub fn problem(self, detail: impl Into<String>) -> ApiProblem {
        let (code, status, title) = self.row();
        ApiProblem {
            kind: format!("urn:countersign:problem:{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            culprits: Vec::new(),
            missing: Vec::new(),
            reasons: Vec::new(),
            sign_request: None,
        }
    }
}

impl ApiProblem {
    /// The code that made it.
    pub fn code(&self) -> Option<ApiProblemCode> {
        let code = self.kind.strip_prefix("urn:countersign:problem:")?;
        ApiProblemCode::TABLE
            .iter()
            .find(|row| row.1 == code)
            .map(|row| row.0)
    }

    pub(super) fn about(self, request: Hash) -> Self {
        Self {
            sign_request: Some(request),
            ..self
        }
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if matches!(
            self.code(),
            Some(ApiProblemCode::InFlight | ApiProblemCode::Busy)
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.code() == Some(ApiProblemCode::Unauthenticated) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(location) = self.sign_request.and_then(super::location) {
            headers.insert(header::LOCATION, location);
        }
        response
    }
}

/// The outside learns that the database failed, the log learns how.
impl From<DbError> for ApiProblem {
    fn from(error: DbError) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the database failed"
        );
        ApiProblemCode::Internal.problem(
            "the coordinator's database failed; repeat the call with the same idempotency key",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_in_the_documentation_with_its_status() {
        let docs = include_str!("../../../docs/api.md");
        for (code, name, status, title) in ApiProblemCode::TABLE {
            let row = format!("| `{name}` | {status} | {title}");
            assert!(docs.contains(&row), "docs/api.md lacks: {row}");
            assert_eq!(code.problem("x").code(), Some(code));
            assert_eq!(code.problem("x").status, status);
        }
    }
}
