//! What the store kept about successors, as it is shown to others.

use countersign_policy::bundle::Succession;
use countersign_policy::statement::{self, AckStage, Kind, Statement};
use countersign_policy::{Envelope, Hash, MemberId};

use crate::clock::now;
use crate::gate::store_fault;
use crate::session::EngineParts;
use crate::store::{KeptStatement, Store};
use crate::wire::{Candidate, Problem};

/// What this node's store kept as its own acknowledgement of a bundle.
pub(super) async fn own_ack(
    parts: &EngineParts,
    bundle: &Hash,
    stage: AckStage,
) -> Result<Option<Envelope>, Problem> {
    let kept = parts
        .store
        .statements()
        .await
        .map_err(|e| store_fault(&e))?;
    let ours = |kept: &KeptStatement| {
        parsed_ack(kept).is_some_and(|(issuer, ack)| {
            issuer == parts.me && ack.bundle == *bundle && ack.stage == stage
        })
    };
    Ok(kept.into_iter().find(ours).map(|kept| kept.envelope))
}

/// Kept acknowledgements were verified before they were kept.
fn parsed_ack(kept: &KeptStatement) -> Option<(MemberId, statement::BundleAck)> {
    if kept.kind != Kind::BundleAck {
        return None;
    }
    let statement: Statement<statement::BundleAck> =
        serde_json::from_slice(kept.envelope.payload()).ok()?;
    Some((statement.issuer, statement.body))
}

/// The successor that the node stands behind, with all that is said about it.
pub(super) async fn candidate(
    store: &Store,
    succession: &Succession,
    digest: Hash,
) -> Result<Option<Candidate>, Problem> {
    let Some(standing) = succession.standing(&digest, now()) else {
        return Ok(None);
    };
    let kept = store.statements().await.map_err(|e| store_fault(&e))?;
    let about = |kind: Kind| {
        let of_kind = kept.iter().filter(move |s| s.kind == kind);
        of_kind.map(|s| &s.envelope)
    };
    let says = |envelope: &Envelope, veto: bool| {
        let payload = envelope.payload();
        let subject = match veto {
            true => {
                serde_json::from_slice::<Statement<statement::Veto>>(payload).map(|s| s.body.bundle)
            }
            false => serde_json::from_slice::<Statement<statement::BundleAck>>(payload)
                .map(|s| s.body.bundle),
        };
        subject.is_ok_and(|subject| subject == digest)
    };
    let bundle = succession.proposals().find(|p| p.digest() == digest);
    Ok(bundle.map(|bundle| Candidate {
        bundle: bundle.envelope().clone(),
        acks: about(Kind::BundleAck)
            .filter(|e| says(e, false))
            .cloned()
            .collect(),
        vetoes: about(Kind::Veto)
            .filter(|e| says(e, true))
            .cloned()
            .collect(),
        activates_at: standing.activates_at,
    }))
}
