//! What anybody can ask of the emergency port: to stop something, with a statement that proves itself, and to see what is
//! stopped.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::service::Service;
use super::stops::{self, Way};
use crate::store::Cause;
use crate::wire::{
    Freezes, GiveStatement, Problem, ProblemCode, StatementTaken, Stop, Stopped, path,
};

/// The largest body: a stop carries a whole sign request.
const MAX_BODY: usize = 1 << 20;

/// The routes of the emergency port. Nothing here starts anything.
pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route(path::FREEZE, post(freeze))
        .route(path::UNFREEZE, post(unfreeze))
        .route(path::FREEZES, get(freezes))
        .route(path::VETO, post(veto))
        .route(path::STOP, post(stop))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(async || ProblemCode::NotFound.problem("the emergency port has no such path"))
        .with_state(service)
}

type Shared = State<Arc<Service>>;

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|e| ProblemCode::Malformed.problem(e.to_string()))
}

/// Records a refusal. All who have no certificate share one budget: they have no names.
async fn answered<T: Serialize>(
    service: &Service,
    operation: &str,
    result: Result<T, Problem>,
) -> Result<Json<T>, Problem> {
    if let Err(problem) = &result {
        let cause = Cause::Refused("strangers".to_owned());
        let subject = (operation, "emergency port");
        let engine = &service.engine;
        if engine.record(cause, subject, "refused", problem).await {
            tracing::warn!(operation, %problem, "refused at the emergency port");
        }
    }
    result.map(Json)
}

async fn freeze(State(s): Shared, body: Bytes) -> Result<Json<StatementTaken>, Problem> {
    let result = match read::<GiveStatement>(&body) {
        Ok(call) => stops::freeze(&s, &call.statement, Way::Given).await,
        Err(problem) => Err(problem),
    };
    answered(&s, "freeze", result).await
}

async fn unfreeze(State(s): Shared, body: Bytes) -> Result<Json<StatementTaken>, Problem> {
    let result = match read::<GiveStatement>(&body) {
        Ok(call) => stops::unfreeze(&s, &call.statement, Way::Given).await,
        Err(problem) => Err(problem),
    };
    answered(&s, "freeze", result).await
}

async fn veto(State(s): Shared, body: Bytes) -> Result<Json<StatementTaken>, Problem> {
    let result = match read::<GiveStatement>(&body) {
        Ok(call) => stops::veto(&s, &call.statement, Way::Given).await,
        Err(problem) => Err(problem),
    };
    answered(&s, "veto", result).await
}

async fn stop(State(s): Shared, body: Bytes) -> Result<Json<Stopped>, Problem> {
    let result = match read::<Stop>(&body) {
        Ok(call) => s.engine.stop(call).await,
        Err(problem) => Err(problem),
    };
    answered(&s, "stop", result).await
}

async fn freezes(State(s): Shared) -> Result<Json<Freezes>, Problem> {
    stops::freezes(&s).await.map(Json)
}
