//! Tells the participants of a session that led to nothing never to sign in it: what they reserved for it returns once all of
//! them said so. It is a courtesy to the next payment. Nodes end such sessions by themselves some time after the
//! authorization expired, and nothing here waits for them.

use countersign_policy::Envelope;
use countersign_signer::wire::{Abort, SessionOutcome};
use tokio::task::JoinSet;

use super::attempt::Session;
use crate::core::Core;

/// Asks every participant in the background. Without limits nothing would return, and nobody is asked.
pub(super) fn in_background(core: &Core, session: &Session, request: &Envelope) {
    if core.bundle.current().content().limits.is_empty() {
        return;
    }
    let mut calls = JoinSet::new();
    for node in &session.terms.participants {
        let call = Abort {
            authorization: session.authorization.clone(),
            request: request.clone(),
        };
        let (node, answer) = (node.clone(), core.nodes.abort(node, call));
        calls.spawn(async move { (node, answer.await) });
    }
    let (session, request) = (session.terms.session, session.terms.request);
    tokio::spawn(async move {
        while let Some(answer) = calls.join_next().await {
            match answer {
                Ok((node, Ok(ended))) if ended.outcome == SessionOutcome::Released => {
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
