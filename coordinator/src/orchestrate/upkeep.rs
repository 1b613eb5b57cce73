//! What goes on without a request: leases, requests that nobody works on, node status, bundles, pools.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use countersign_policy::MemberId;
use countersign_policy::bundle::Role;
use tokio::task::JoinSet;

use super::{bundles, choose, notices, start};
use crate::core::Core;
use crate::db::DbError;
use crate::freezes;

/// How often the nodes are asked for their status.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Runs until the coordinator stops.
pub(crate) async fn upkeep(core: Arc<Core>) {
    // Dropping the set ends them together with this task.
    let mut others = JoinSet::new();
    others.spawn(keep_leases(Arc::clone(&core)));
    others.spawn(watch_nodes(Arc::clone(&core)));
    let every = Duration::from_millis(core.timing.sweep_ms);
    while !core.stopping.load(Ordering::Relaxed) {
        if let Err(error) = freezes::follow(&core).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "freezes cannot be read"
            );
        }
        if let Err(error) = take_up(&core).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "unfinished requests cannot be taken up"
            );
        }
        tokio::time::sleep(every).await;
    }
}

/// Takes over unfinished requests that nobody works on: after a crash, of this process or another.
async fn take_up(core: &Arc<Core>) -> Result<(), DbError> {
    let room = core.limits.max_running.saturating_sub(core.works.len());
    if room == 0 {
        return Ok(());
    }
    let limit = i64::try_from(room.min(64)).unwrap_or(64);
    for request in core.store.claim_due(&core.lease, limit).await? {
        tracing::info!(request = %request.id, state = request.state.name().as_str(), "a request is taken up");
        start(core, request, None, None);
    }
    Ok(())
}

async fn keep_leases(core: Arc<Core>) {
    let every = Duration::from_millis(core.timing.lease_ms.checked_div(3).unwrap_or(1).max(1));
    loop {
        tokio::time::sleep(every).await;
        let ids = core.works.ids();
        if ids.is_empty() {
            continue;
        }
        match core.store.renew(&core.lease, &ids).await {
            Ok(lost) => {
                for id in lost {
                    if let Some(work) = core.works.get(&id) {
                        work.changed.notify_one();
                    }
                }
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "leases cannot be renewed"
                );
            }
        }
    }
}

async fn watch_nodes(core: Arc<Core>) {
    loop {
        let started = Instant::now();
        ask_status(&core).await;
        if let Err(error) = bundles::follow(&core).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "bundles cannot be followed"
            );
        }
        if let Err(error) = freezes::learn(&core).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "freezes cannot be learnt from nodes"
            );
        }
        if let Err(error) = notices::deliver(&core).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "notices cannot be delivered"
            );
        }
        choose::refresh_pools(&core).await;
        tokio::time::sleep(
            STATUS_EVERY
                .saturating_sub(started.elapsed())
                .max(Duration::from_millis(50)),
        )
        .await;
    }
}

/// Asks every node how it is.
pub(crate) async fn ask_status(core: &Core) {
    let bundle = core.bundle.current();
    let members = bundle
        .content()
        .members
        .iter()
        .filter(|m| m.roles.contains(&Role::Node));
    let mut calls = JoinSet::new();
    for node in members.map(|m| m.id.clone()).collect::<Vec<MemberId>>() {
        let answer = core.nodes.status(&node);
        calls.spawn(async move { (node, answer.await) });
    }
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        match answer {
            Ok(status) if status.node == node => core.health.answered(&node, status),
            Ok(status) => core
                .health
                .silent(&node, &format!("answers as {}", status.node)),
            Err(error) => core.health.silent(&node, &error.to_string()),
        }
    }
}
