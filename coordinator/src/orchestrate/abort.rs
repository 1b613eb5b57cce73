//! Tells the participants of a session that led to nothing never to sign in it: what they reserved for it returns once all of
//! them said so. It is a courtesy to the next payment. Nodes end such sessions by themselves some time after the
//! authorization expired, and nothing here waits for them; until then, whoever does not answer is asked again.

use std::sync::Arc;
use std::time::Duration;

use countersign_policy::{Envelope, MemberId, Timestamp};
use countersign_signer::wire::{Abort, ProblemCode, SessionOutcome};
use tokio::task::JoinSet;

use super::attempt::Session;
use crate::core::{Core, now};
use crate::nodes::{NodeApi, NodeError};

/// The pause before a node is asked a second time; it doubles from then on.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Asks every participant in the background. Without limits nothing would return, and nobody is asked.
pub(super) fn in_background(core: &Core, session: &Session, request: &Envelope) {
    let bundle = core.bundle.current();
    if bundle.content().limits.is_empty() {
        return;
    }
    // From then on nodes end the session by themselves: twice the skew after its authorization.
    let until = session
        .expires_at
        .plus_seconds(bundle.skew_seconds().saturating_mul(2));
    let mut calls = JoinSet::new();
    for node in &session.terms.participants {
        let call = Abort {
            authorization: session.authorization.clone(),
            request: request.clone(),
        };
        let (nodes, node) = (Arc::clone(&core.nodes), node.clone());
        calls.spawn(async move {
            let answer = ask(nodes.as_ref(), &node, &call, until).await;
            (node, answer)
        });
    }
    let (session, request) = (session.terms.session, session.terms.request);
    tokio::spawn(async move {
        while let Some(answer) = calls.join_next().await {
            match answer {
                Ok((node, Ok(SessionOutcome::Released))) => {
                    tracing::warn!(%node, %session, %request, "a session that was given up was released by a node");
                }
                Ok((_, Ok(_))) | Err(_) => {}
                Ok((node, Err(error))) => {
                    tracing::debug!(%node, %session, %request, %error, "a session was not aborted");
                }
            }
        }
    });
}

/// Asks one node, and again while it does not answer.
async fn ask(
    nodes: &dyn NodeApi,
    node: &MemberId,
    call: &Abort,
    until: Timestamp,
) -> Result<SessionOutcome, NodeError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match nodes.abort(node, call.clone()).await {
            Ok(ended) => return Ok(ended.outcome),
            Err(error) if is_passing(&error) && now() < until => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Whether the same question may be answered another time.
fn is_passing(error: &NodeError) -> bool {
    match error {
        NodeError::Unreachable(_) | NodeError::Timeout => true,
        NodeError::Problem(_) => error.code() == Some(ProblemCode::Busy),
        NodeError::Protocol(_) => false,
    }
}
