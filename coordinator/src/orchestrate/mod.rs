//! Brings each request to its end: authorize, attempt, attempt again with other nodes, or stop.
//!
//! A request is worked on by one task of one process at a time (its lease). Every step first stores what it is about to
//! do, so that another process can go on from the database alone. Safety does not rest on any of it: signers check
//! everything themselves and sign a request at most once.

mod abort;
mod attempt;
mod bundles;
mod choose;
mod notices;
mod offline;
mod proposals;
mod stop;
mod task;
mod upkeep;

pub(crate) use attempt::Session;
pub(crate) use bundles::{BundleError, NodeAnswer, nodes_of, restore, submit_bundle, succession};
pub(crate) use choose::{PresignaturePools, limits_of};
pub(crate) use notices::{Delivery, Pauses, spread};
pub(crate) use offline::{ColdError, chain, import, package};
pub(crate) use proposals::{merged, propose, sign as sign_proposal};
pub(crate) use stop::stop_statement;
pub(crate) use upkeep::upkeep;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{Authorization, SignRequest, Verified};
use countersign_policy::{Envelope, Facts, Hash};
use rand_core::{OsRng, RngCore as _};

use self::choose::Choice;
use self::task::Task;
use crate::core::{Core, Listed, Work, now};
use crate::db::{DbError, NewAttempt, StoredRequest};
use crate::judge::Opinion;
use crate::lifecycle::{Goal, Why};

/// What was verified and decided about a new request.
pub(crate) struct Judged {
    pub(crate) bundle: Arc<ActiveBundle>,
    pub(crate) verified: Verified<SignRequest>,
    pub(crate) facts: Facts,
    pub(crate) opinion: Opinion,
}

/// Makes the first authorization of a request that was decided to be allowed. `None` when no nodes can be chosen now.
pub(crate) async fn first_attempt(core: &Core, judged: &Judged) -> Option<(NewAttempt, Session)> {
    let request = judged.verified.body();
    let key = judged.bundle.key(&request.key)?;
    let wanted = choose::Wanted {
        key,
        path: &request.path,
        ledgers: &choose::ledgers(&judged.bundle, &judged.verified, &judged.facts),
    };
    let choice = choose::choose(core, &wanted, &BTreeSet::new(), None)
        .await
        .ok()?;
    authorize(
        core,
        &judged.bundle,
        &judged.verified,
        &judged.facts,
        &judged.opinion.approvals,
        choice,
        1,
    )
}

fn authorize(
    core: &Core,
    bundle: &ActiveBundle,
    verified: &Verified<SignRequest>,
    facts: &Facts,
    approvals: &[Envelope],
    choice: Choice,
    attempt: u32,
) -> Option<(NewAttempt, Session)> {
    let mut nonce = [0_u8; 32];
    OsRng.fill_bytes(&mut nonce);
    let body = Authorization {
        request: verified.digest(),
        approvals: approvals.iter().map(Envelope::digest).collect(),
        witnesses: choice.witnesses,
        bundle: bundle.digest(),
        digests: vec![Hash::from_bytes(*facts.transaction().digest().as_bytes())],
        participants: choice.participants,
        attempt,
        nonce: Hash::from_bytes(nonce),
        presignature: choice.presignature,
    };
    let issued_at = now();
    let life = authorization_life(core, bundle, verified);
    let expires_at = issued_at.plus_seconds(life);
    match core.state(issued_at, expires_at, body.clone()) {
        Ok(authorization) => Some((
            NewAttempt {
                attempt,
                authorization: authorization.clone(),
            },
            Session::new(authorization, &body, expires_at, bundle),
        )),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "an authorization cannot be written"
            );
            None
        }
    }
}

/// Seconds. People carry a package to a cold wallet's machine: its authorizations live for as long as the bundle allows, and no
/// longer than the request.
fn authorization_life(core: &Core, bundle: &ActiveBundle, verified: &Verified<SignRequest>) -> u64 {
    let timing = &bundle.content().timing;
    let key = bundle.key(&verified.body().key);
    if !key.is_some_and(|key| bundle.is_offline(key)) {
        let bound = timing.max_authorization_life_seconds;
        return core.timing.authorization_seconds.min(bound);
    }
    let left = verified.statement().expires_at.as_millis();
    let left = left.saturating_sub(now().as_millis()) / 1000;
    let bound = timing.max_cold_authorization_life_seconds.unwrap_or(0);
    bound.min(u64::try_from(left).unwrap_or(0)).max(1)
}

/// Somebody changed a request: whoever works on it here looks at it now, and if nobody does anywhere, this process does.
pub(crate) async fn nudge(core: &Arc<Core>, id: Hash) -> Result<(), DbError> {
    match core.works.get(&id) {
        Some(work) => work.changed.notify_one(),
        None => {
            if let Some(claimed) = core.store.claim(&core.lease, id).await? {
                start(core, claimed, None, None);
            }
        }
    }
    Ok(())
}

/// Starts work on a request that this process holds the lease of.
pub(crate) fn start(
    core: &Arc<Core>,
    request: StoredRequest,
    judged: Option<Judged>,
    session: Option<Session>,
) {
    let Some(work) = core.works.begin(&request) else {
        return;
    };
    let listed = Listed {
        core: Arc::clone(core),
        id: request.id,
    };
    let running = Arc::clone(&work);
    let task = tokio::spawn(async move {
        let ended = run(&listed.core, &running, request, judged, session).await;
        drop(listed);
        if let Some(ended) = ended {
            running.done.send_replace(Some(Arc::new(ended)));
        }
    });
    // Set once: each work is started by whoever listed it.
    let _ = work.abort.set(task.abort_handle());
}

/// Runs a request to its end; `None` when another process goes on with it.
async fn run(
    core: &Core,
    work: &Work,
    request: StoredRequest,
    judged: Option<Judged>,
    session: Option<Session>,
) -> Option<StoredRequest> {
    let mut request = request;
    let mut parts = judged.map(|j| (j.verified, j.facts));
    let mut session = session;
    let mut avoid = BTreeSet::new();
    loop {
        if request.state.is_final() {
            return Some(request);
        }
        let established = match parts.take() {
            Some(parts) => Ok(parts),
            None => reopen(core, &request),
        };
        let step = match established {
            Ok((verified, facts)) => {
                let mut task = Task::new(
                    request.clone(),
                    verified,
                    facts,
                    session.take(),
                    std::mem::take(&mut avoid),
                );
                let result = task.proceed(core, work).await;
                avoid = task.avoid;
                result
            }
            // The bundle no longer knows its issuer, wallet or key: no signer would sign it.
            Err(why) => give_up(core, work, &request, Goal::Blocked, why).await,
        };
        match step {
            Ok(ended) => return Some(ended),
            Err(error) => {
                let lost = matches!(error, DbError::LostLease(_));
                if !lost {
                    tracing::error!(request = %request.id, error = &error as &dyn std::error::Error, "work on a request is interrupted");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                request = reload(core, work, request.id).await?;
            }
        }
        if core.stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
    }
}

/// Reads a request again after something changed under this process. `None` when it is another one's now.
async fn reload(core: &Core, work: &Work, id: Hash) -> Option<StoredRequest> {
    loop {
        match core.store.claim(&core.lease, id).await {
            Ok(Some(request)) => {
                work.knows(&request);
                return Some(request);
            }
            Ok(None) => {
                let request = core.store.request(id).await.ok().flatten()?;
                return request.state.is_final().then_some(request);
            }
            Err(error) => {
                tracing::error!(request = %id, error = &error as &dyn std::error::Error, "a request cannot be read");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        if core.stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
    }
}

pub(crate) fn reopen(
    core: &Core,
    request: &StoredRequest,
) -> Result<(Verified<SignRequest>, Facts), Why> {
    let bundle = core.bundle.current();
    let opened = bundle.directory().open::<SignRequest>(&request.envelope);
    let verified = opened.map_err(|e| Why::new("statement", e.to_string()))?;
    let facts = Facts::establish(&bundle, verified.body());
    let facts = facts.map_err(|e| Why::new("transaction", e.to_string()))?;
    Ok((verified, facts))
}

/// Turns a request to STOPPING and runs the stop, without anything but the statement's bytes.
async fn give_up(
    core: &Core,
    work: &Work,
    request: &StoredRequest,
    goal: Goal,
    why: Why,
) -> Result<StoredRequest, DbError> {
    let request = stop::begin(core, request, goal, why).await?;
    work.knows(&request);
    if request.state.is_final() {
        return Ok(request);
    }
    stop::run(core, work, request, None).await
}

/// Returns when the request is not what this process stored any more: somebody cancelled it, or took it over.
async fn changed_elsewhere(core: &Core, work: &Work, id: Hash) {
    loop {
        tokio::select! {
            () = work.changed.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        let known = work.revision.load(std::sync::atomic::Ordering::Relaxed);
        if core
            .store
            .revision(id)
            .await
            .is_ok_and(|revision| revision != known)
        {
            return;
        }
    }
}
