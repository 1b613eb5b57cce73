//! Ends a request without a signature, or finds that it is too late for that.
//!
//! Every node of the key is told to stop. When `n - t + 1 + f` of them durably said `stopped`, no signature can come into
//! being, and only then is the final state reported. When some said `released` instead, a signature may exist: the session
//! is driven on, and what is known is reported until one of the two is certain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign_policy::bundle::{ActiveBundle, KeyRecord};
use countersign_policy::statement::{Cancel, SignRequest, StopAck, StopOutcome, Verdict, Verified};
use countersign_policy::{Envelope, Facts, Hash, MemberId};
use countersign_signer::wire::Stop;
use tokio::task::JoinSet;

use super::attempt::{self, AttemptEnd, Session};
use super::{abort, authorize, changed_elsewhere, choose, offline};
use crate::core::{Core, Work, now};
use crate::db::{Change, DbError, StoredAck, StoredRequest};
use crate::judge;
use crate::lifecycle::{Goal, SignedData, State, StopStanding, Why};

/// Life of a coordinator's own cancel, in seconds; a new one is made when less than an hour is left.
const CANCEL_LIFE: u64 = 7 * 86_400;
const CANCEL_MARGIN: u64 = 3_600;

/// A cancel statement of this coordinator.
fn cancel_statement(
    core: &Core,
    request: Hash,
    goal: Goal,
    detail: &str,
) -> Result<Envelope, DbError> {
    let mut text = String::new();
    for c in detail.chars() {
        if text.len().saturating_add(c.len_utf8()) > 500 {
            break;
        }
        text.push(c);
    }
    let body = Cancel {
        request,
        reason: goal.cancel_reason(),
        detail: text,
    };
    let at = now();
    let cancel = core.state(at, at.plus_seconds(CANCEL_LIFE), body);
    cancel.map_err(|e| DbError::Corrupt(format!("a cancel cannot be written: {e}")))
}

/// Stores the decision to stop, whoever works on the request.
pub(crate) async fn begin(
    core: &Core,
    request: &StoredRequest,
    goal: Goal,
    why: Why,
) -> Result<StoredRequest, DbError> {
    let cancel = cancel_statement(core, request.id, goal, &why.detail)?;
    stop_statement(core, request.id, &cancel, goal, why).await
}

/// Stores somebody's cancel and turns the request to STOPPING.
pub(crate) async fn stop_statement(
    core: &Core,
    id: Hash,
    cancel: &Envelope,
    goal: Goal,
    why: Why,
) -> Result<StoredRequest, DbError> {
    let stopping = State::Stopping { goal, why };
    let stopped = core.store.begin_stop(id, cancel, &stopping).await?;
    stopped.ok_or_else(|| DbError::Corrupt(format!("request {id} vanished")))
}

/// Runs a stop to its end.
pub(super) async fn run(
    core: &Core,
    work: &Work,
    request: StoredRequest,
    established: Option<(&Verified<SignRequest>, &Facts)>,
) -> Result<StoredRequest, DbError> {
    let mut request = request;
    let mut rounds = 0_u32;
    loop {
        let State::Stopping { goal, why } = request.state.clone() else {
            return Ok(request);
        };
        let bundle = core.bundle.current();
        let Some(key) = bundle.key(&request.key) else {
            return Err(DbError::Corrupt(format!(
                "the bundle has no key {}",
                request.key
            )));
        };
        let (acks, silent) = ask(core, &bundle, key, &request, goal, &why).await?;
        let outcomes = acks
            .iter()
            .map(|(node, ack)| (node.clone(), ack.outcome))
            .collect();
        let mut standing = match bundle.is_offline(key) {
            // What witnesses say settles nothing: the machine was not asked.
            true => StopStanding::Waiting { missing: 1 },
            false => StopStanding::judge(&outcomes, key.stop_quorum()),
        };
        // Nobody can ask a machine with no network: what it holds counts until its authorization ends, or it answers.
        if bundle.is_offline(key) && offline::all_ended(core, &bundle, &request).await? {
            standing = StopStanding::Settled;
        }
        if standing == StopStanding::Settled {
            for stored in core.store.attempts(request.id).await? {
                if let Some(session) = Session::restore(&bundle, &stored.authorization) {
                    abort::in_background(core, &session, &request.envelope);
                }
            }
            let change = Change::default();
            let next = goal.reached(known(&why, &outcomes, &BTreeMap::new()));
            request = core
                .store
                .advance(&core.lease, &request, &next, &change)
                .await?;
            work.knows(&request);
            return Ok(request);
        }
        if let (StopStanding::MayBeSigned { released }, Some(established)) =
            (&standing, established)
            && let Some(signed) = complete(
                core,
                work,
                &mut request,
                &bundle,
                key,
                established,
                released,
            )
            .await?
        {
            let change = Change {
                outcome: Some("signed"),
                ..Change::default()
            };
            request = core
                .store
                .advance(&core.lease, &request, &State::Signed(signed), &change)
                .await?;
            work.knows(&request);
            return Ok(request);
        }
        let known = known(&why, &outcomes, &silent);
        if known != why {
            tracing::warn!(request = %request.id, ?standing, nodes = ?known.nodes, "a stop is not settled yet");
            let next = State::Stopping { goal, why: known };
            request = core
                .store
                .advance(&core.lease, &request, &next, &Change::default())
                .await?;
            work.knows(&request);
        }
        rounds = rounds.saturating_add(1);
        let pause = Duration::from_millis(150_u64.saturating_mul(1 << rounds.min(6)));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changed_elsewhere(core, work, request.id) => return Err(DbError::LostLease(request.id.to_hex())),
        }
    }
}

/// What the nodes said, written into the reason.
fn known(
    why: &Why,
    outcomes: &BTreeMap<MemberId, StopOutcome>,
    silent: &BTreeMap<MemberId, String>,
) -> Why {
    let mut nodes = silent.clone();
    for (node, outcome) in outcomes {
        let text = match outcome {
            StopOutcome::Stopped => "stopped",
            StopOutcome::Released => "released its share: the request may be signed",
        };
        nodes.insert(node.clone(), text.to_owned());
    }
    Why {
        nodes,
        ..why.clone()
    }
}

/// Tells every node that has not stopped yet, and stores what they answer before anything is concluded from it.
async fn ask(
    core: &Core,
    bundle: &ActiveBundle,
    key: &KeyRecord,
    request: &StoredRequest,
    goal: Goal,
    why: &Why,
) -> Result<(BTreeMap<MemberId, StoredAck>, BTreeMap<MemberId, String>), DbError> {
    let mut acks = core.store.acks(request.id).await?;
    let asked = asked(bundle, key, request);
    acks.retain(|node, _| asked.contains(node));
    let cancel = usable_cancel(core, bundle, request, goal, why).await?;
    // The witnesses of a cold wallet can only refuse to clear it from now on: all of them are told.
    let least = match bundle.is_offline(key) {
        true => asked.len(),
        false => 0,
    };
    let mut calls = JoinSet::new();
    for node in &asked {
        if acks
            .get(node)
            .is_some_and(|ack| ack.outcome == StopOutcome::Stopped)
        {
            continue;
        }
        let call = Stop {
            request: request.envelope.clone(),
            cancel: cancel.clone(),
        };
        let (node, answer) = (node.clone(), core.nodes.stop(node, call));
        calls.spawn(async move { (node, answer.await) });
    }
    let (mut fresh, mut silent) = (BTreeMap::new(), BTreeMap::new());
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        let checked = match answer {
            Ok(stopped) => check_ack(bundle, request.id, &node, &stopped.ack),
            Err(error) => Err(error.to_string()),
        };
        match checked {
            Ok(outcome) => {
                let envelope = outcome.1;
                fresh.insert(
                    node,
                    StoredAck {
                        outcome: outcome.0,
                        envelope,
                    },
                );
            }
            Err(text) => {
                silent.insert(node, text);
            }
        }
        // A node that hangs does not hold up what the others already settled.
        let stopped = acks
            .values()
            .chain(fresh.values())
            .filter(|a| a.outcome == StopOutcome::Stopped);
        if stopped.count() >= key.stop_quorum().max(least) {
            calls.detach_all();
            break;
        }
    }
    core.store.store_acks(request.id, &fresh).await?;
    acks.extend(fresh);
    Ok((acks, silent))
}

/// Who is told to stop: the nodes of the key; for a key in a machine with no network, those that clear its requests.
fn asked(bundle: &ActiveBundle, key: &KeyRecord, request: &StoredRequest) -> Vec<MemberId> {
    if !bundle.is_offline(key) {
        return key.nodes.clone();
    }
    let wallet = bundle.wallet(&request.wallet);
    let group = wallet.and_then(|w| bundle.ledger_group_of(w));
    group.map(|g| g.nodes.clone()).unwrap_or_default()
}

fn check_ack(
    bundle: &ActiveBundle,
    request: Hash,
    node: &MemberId,
    ack: &Envelope,
) -> Result<(StopOutcome, Envelope), String> {
    let opened = bundle.directory().open::<StopAck>(ack);
    let opened = opened.map_err(|e| format!("its acknowledgement is not acceptable: {e}"))?;
    if opened.issuer() != node || opened.body().request != request {
        return Err("its acknowledgement is for something else".to_owned());
    }
    Ok((opened.body().outcome, ack.clone()))
}

/// A stored cancel that nodes still accept, or a new one of this coordinator.
async fn usable_cancel(
    core: &Core,
    bundle: &ActiveBundle,
    request: &StoredRequest,
    goal: Goal,
    why: &Why,
) -> Result<Envelope, DbError> {
    let least = now().plus_seconds(CANCEL_MARGIN);
    for cancel in core.store.cancels(request.id).await? {
        let opened = bundle.directory().open::<Cancel>(&cancel);
        let current = opened.is_ok_and(|c| c.statement().expires_at > least);
        // An officer's rejection stops a request as well, and never expires.
        if current || is_rejection(bundle, request.id, &cancel) {
            return Ok(cancel);
        }
    }
    let cancel = cancel_statement(core, request.id, goal, &why.detail)?;
    core.store.add_cancel(request.id, &cancel).await?;
    Ok(cancel)
}

fn is_rejection(bundle: &ActiveBundle, request: Hash, statement: &Envelope) -> bool {
    let opened = bundle.open_approval(statement);
    opened.is_ok_and(|approval| {
        let body = approval.body();
        body.request == request && matches!(body.verdict, Verdict::Reject { .. })
    })
}

/// Some nodes released their shares: asks them for the signature of the sessions they know, and if enough of them are
/// left, makes one more attempt with them alone. The digest is the same, so this adds nothing to what may be spent.
async fn complete(
    core: &Core,
    work: &Work,
    request: &mut StoredRequest,
    bundle: &ActiveBundle,
    key: &KeyRecord,
    (verified, facts): (&Verified<SignRequest>, &Facts),
    released: &[MemberId],
) -> Result<Option<SignedData>, DbError> {
    for stored in core.store.attempts(request.id).await?.iter().rev() {
        let (Some(session), Some(receipts)) = (
            Session::restore(bundle, &stored.authorization),
            stored.receipts.as_ref(),
        ) else {
            continue;
        };
        let participants = &session.terms.participants;
        let ask: Vec<MemberId> = participants
            .iter()
            .filter(|p| released.contains(p))
            .cloned()
            .collect();
        if ask.is_empty() {
            continue;
        }
        if let AttemptEnd::Signed(data) = attempt::sign(core, &session, facts, receipts, &ask).await
        {
            return Ok(Some(*data));
        }
    }
    let enough = released.len() >= usize::from(key.threshold);
    if !enough || now() >= request.expires_at {
        return Ok(None);
    }
    let among: BTreeSet<MemberId> = released.iter().cloned().collect();
    let wanted = choose::Wanted {
        key,
        path: &verified.body().path,
        ledgers: &choose::ledgers(bundle, verified, facts),
    };
    let opinion = judge::as_it_stands(core, bundle, verified, facts).await?;
    let Ok(choice) = choose::choose(core, &wanted, &BTreeSet::new(), Some(&among)).await else {
        return Ok(None);
    };
    let number = request.attempt.saturating_add(1);
    let approvals = &opinion.approvals;
    let made = authorize(core, bundle, verified, facts, approvals, choice, number);
    let Some((new, session)) = made else {
        return Ok(None);
    };
    let change = Change {
        attempt: Some(&new),
        ..Change::default()
    };
    *request = core
        .store
        .advance(&core.lease, request, &request.state, &change)
        .await?;
    work.knows(request);
    let prepared = attempt::prepare(core, bundle, &session, &request.envelope, approvals).await;
    let Ok(receipts) = prepared else {
        return Ok(None);
    };
    core.store
        .record_attempt(
            request,
            &Change {
                receipts: Some(&receipts),
                ..Change::default()
            },
        )
        .await?;
    let ask: Vec<MemberId> = session.terms.reservers().cloned().collect();
    match attempt::sign(core, &session, facts, &receipts, &ask).await {
        AttemptEnd::Signed(data) => Ok(Some(*data)),
        AttemptEnd::Denied(_)
        | AttemptEnd::Stopped(_)
        | AttemptEnd::Cleared
        | AttemptEnd::Broke(_) => Ok(None),
    }
}
