//! Freezes, unfreezes and observations: kept, effective here at once, and given to every node until each holds them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse as _, Response};
use countersign_policy::access::Action;
use countersign_policy::bundle::{OpenError, Role};
use countersign_policy::statement::StatementError;
use countersign_policy::{Envelope, MemberId};
use http::StatusCode;

use super::access::issuer_may;
use super::model::NodeReport;
use super::problem::{ApiProblem, ApiProblemCode};
use super::token::Reader;
use super::views::{FreezeList, FreezeView, NoticeReport};
use super::{body, explain};
use crate::core::{Core, now};
use crate::db::{Notice, NoticeKind};
use crate::freezes as known;
use crate::orchestrate::{self, Delivery};

/// Stops something at once. The body is the DSSE envelope of a freeze statement by one security officer. The same can be
/// given to any node directly.
#[utoipa::path(post, path = "/v1/freezes", tag = "freezes", request_body = Object,
    responses((status = 200, description = "in force on every node", body = NoticeReport), (status = 202, description = "in force here; some nodes do not answer", body = NoticeReport),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn freeze(
    State(core): State<Arc<Core>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let bundle = core.bundle.current();
    let freeze = bundle.open_freeze(&envelope).map_err(refused)?;
    let subject = freeze.digest().to_hex();
    issuer_may(&core, &bundle, freeze.issuer(), Action::Freeze, subject).await?;
    let about = freeze.body().target.to_string();
    take(
        &core,
        NoticeKind::Freeze,
        &about,
        freeze.issuer(),
        &envelope,
    )
    .await
}

/// Ends freezes by name. The body is the DSSE envelope of an unfreeze statement that a quorum of security officers signed.
#[utoipa::path(post, path = "/v1/unfreezes", tag = "freezes", request_body = Object,
    responses((status = 200, description = "every node took it", body = NoticeReport), (status = 202, description = "some nodes do not answer", body = NoticeReport),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn unfreeze(
    State(core): State<Arc<Core>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let bundle = core.bundle.current();
    let unfreeze = bundle.open_unfreeze(&envelope).map_err(refused)?;
    let subject = unfreeze.digest().to_hex();
    issuer_may(&core, &bundle, unfreeze.issuer(), Action::Unfreeze, subject).await?;
    let about = format!("{} freezes", unfreeze.body().freezes.len());
    take(
        &core,
        NoticeKind::Unfreeze,
        &about,
        unfreeze.issuer(),
        &envelope,
    )
    .await
}

/// Says what became of a transaction on its chain. The body is the DSSE envelope of an observation statement that a quorum
/// of chain observers signed. What it means for limits is decided by each node.
#[utoipa::path(post, path = "/v1/observations", tag = "observations", request_body = Object,
    responses((status = 200, description = "every node took it", body = NoticeReport), (status = 202, description = "some nodes do not answer", body = NoticeReport),
              (status = "4XX", body = ApiProblem, content_type = "application/problem+json")))]
pub(super) async fn observe(
    State(core): State<Arc<Core>>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiProblem> {
    let envelope: Envelope = body(bytes)?;
    let bundle = core.bundle.current();
    let observation = bundle.open_observation(&envelope).map_err(refused)?;
    let subject = observation.digest().to_hex();
    issuer_may(
        &core,
        &bundle,
        observation.issuer(),
        Action::Observe,
        subject,
    )
    .await?;
    let about = observation.body().digest.to_hex();
    let issuer = observation.issuer();
    take(&core, NoticeKind::Observation, &about, issuer, &envelope).await
}

pub(super) fn refused(error: OpenError) -> ApiProblem {
    match &error {
        OpenError::Statement(StatementError::Role { .. })
        | OpenError::Signer { .. }
        | OpenError::NodeFreeze { .. } => ApiProblemCode::Forbidden.problem(explain(&error)),
        OpenError::Statement(_) | OpenError::Quorum { .. } | OpenError::NoQuorum(_) => {
            ApiProblemCode::Statement.problem(explain(&error))
        }
    }
}

/// Keeps a verified statement, acts on it here, and gives it to the nodes.
pub(super) async fn take(
    core: &Core,
    kind: NoticeKind,
    about: &str,
    issuer: &MemberId,
    envelope: &Envelope,
) -> Result<Response, ApiProblem> {
    let digest = envelope.digest();
    let nodes = orchestrate::nodes_of(&core.bundle.current());
    let added = core.store.add_notice(kind, about, issuer, envelope, &nodes);
    let fresh = added.await?;
    if fresh {
        let (subject, member) = (digest.to_hex(), issuer.as_str());
        core.audit(kind.as_str(), subject, member, "taken", about.to_owned())
            .await;
    }
    // Before anybody else is asked: from here on nothing is authorized against it.
    known::follow(core).await?;
    let notice = Notice {
        digest,
        kind,
        subject: about.to_owned(),
        member: issuer.clone(),
        envelope: envelope.clone(),
        created_at: now(),
    };
    let delivery = orchestrate::spread(core, &notice).await?;
    let report = report(&notice, delivery);
    let status = if report.held_by_all {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(report)).into_response())
}

fn report(notice: &Notice, delivery: Delivery) -> NoticeReport {
    let held = delivery.held_by.into_iter().map(|node| {
        let said = NodeReport {
            ok: true,
            error: None,
        };
        (node, said)
    });
    let failed = delivery.errors.into_iter().map(|(node, error)| {
        let said = NodeReport {
            ok: false,
            error: Some(error),
        };
        (node, said)
    });
    let nodes: std::collections::BTreeMap<_, _> = held.chain(failed).collect();
    NoticeReport {
        digest: notice.digest,
        held_by_all: nodes.values().all(|said| said.ok),
        nodes,
    }
}

/// What stands still, and which freezes each node holds.
#[utoipa::path(get, path = "/v1/freezes", tag = "freezes", responses((status = 200, body = FreezeList)))]
pub(super) async fn freezes(
    State(core): State<Arc<Core>>,
    reader: Reader,
) -> Result<Response, ApiProblem> {
    reader.require(Action::ReadFreezes)?;
    let set = core.freezes.current();
    let stored = core.store.notices(NoticeKind::Freeze).await?;
    let mut in_force = Vec::new();
    for hit in set.in_force() {
        let Some(notice) = stored.iter().find(|n| n.digest == hit.freeze) else {
            continue;
        };
        in_force.push(FreezeView {
            digest: hit.freeze,
            target: hit.target.clone(),
            reason: hit.reason.clone(),
            by: hit.by.clone(),
            held_by: core
                .store
                .deliveries(hit.freeze)
                .await?
                .into_iter()
                .collect(),
            statement: notice.envelope.clone(),
        });
    }
    let bundle = core.bundle.current();
    let members = bundle.content().members.iter();
    let nodes = members
        .filter(|m| m.roles.contains(&Role::Node))
        .filter_map(|m| Some((m.id.clone(), core.health.status(&m.id).0?.freeze_head)));
    let list = FreezeList {
        head: set.head(),
        in_force,
        nodes: nodes.collect(),
    };
    Ok(Json(list).into_response())
}
