//! Freezes, unfreezes and vetoes: taken from anybody, because they prove themselves, and passed on to every peer.

use countersign_policy::statement::{Body, Kind, Verified};
use countersign_policy::{Envelope, Hash};

use super::service::Service;
use crate::clock::now;
use crate::gate::store_fault;
use crate::plain::explained;
use crate::store::{Effect, KeptStatement, NewStatement, SeenCounter};
use crate::wire::{Freezes, Problem, ProblemCode, StatementTaken};

/// How a statement came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From whoever says it, or for them: it must be current.
    Given,
    /// From a peer that took it when it was current.
    PassedOn,
}

fn refused(error: &dyn std::error::Error) -> Problem {
    ProblemCode::Statement.problem(explained(error))
}

/// What is given must be current; what is passed on was current when a peer took it, and is not of the future.
fn require_time<B: Body>(service: &Service, said: &Verified<B>, way: Way) -> Result<(), Problem> {
    let skew = service.engine.parts().bundle.current().skew_seconds();
    let at = match way {
        Way::Given => now(),
        // As if it had come at once, unless it comes from the future.
        Way::PassedOn => now().min(said.statement().issued_at),
    };
    said.require_current(at, skew).map_err(|e| refused(&e))
}

/// What is given in a browser comes from an authenticator that was not copied, as far as its counter tells.
async fn require_counters<B: Body>(
    service: &Service,
    said: &Verified<B>,
    way: Way,
) -> Result<(), Problem> {
    let seen = SeenCounter::of(said);
    match way {
        Way::Given => {
            let code = ProblemCode::Statement;
            service.engine.require_counters(seen, code).await
        }
        Way::PassedOn => service.engine.learn_counters(seen).await,
    }
}

/// Takes a freeze. From the moment this returns, nothing that it stops is released here.
///
/// A freeze that a peer passes on may be by somebody who was an officer under an earlier bundle: it was in force then, and
/// only a quorum ends it.
///
/// # Errors
/// When it is no acceptable freeze.
pub(super) async fn freeze(
    service: &Service,
    envelope: &Envelope,
    way: Way,
) -> Result<StatementTaken, Problem> {
    let bundle = service.engine.parts().bundle.current();
    let mut opened = bundle.open_freeze(envelope).map(|f| (bundle.digest(), f));
    if opened.is_err() && way == Way::PassedOn {
        for earlier in service.chain.newest_first().await {
            if let Ok(freeze) = earlier.open_freeze(envelope) {
                opened = Ok((earlier.digest(), freeze));
                break;
            }
        }
    }
    let (under, freeze) = opened.map_err(|e| refused(&e))?;
    require_time(service, &freeze, way)?;
    require_counters(service, &freeze, way).await?;
    let kept = keep(
        service,
        NewStatement {
            kind: Kind::Freeze,
            bundle: under,
            envelope: envelope.clone(),
            effect: Effect::Freeze(Box::new(freeze)),
        },
    )
    .await?;
    service.engine.abort_frozen().await?;
    taken(service, kept).await
}

/// Takes an unfreeze: the freezes that it names end.
///
/// # Errors
/// When it is no acceptable unfreeze under the active bundle: who could unfreeze once cannot for ever.
pub(super) async fn unfreeze(
    service: &Service,
    envelope: &Envelope,
    way: Way,
) -> Result<StatementTaken, Problem> {
    let bundle = service.engine.parts().bundle.current();
    let unfreeze = bundle.open_unfreeze(envelope).map_err(|e| refused(&e))?;
    require_time(service, &unfreeze, way)?;
    require_counters(service, &unfreeze, way).await?;
    let kept = keep(
        service,
        NewStatement {
            kind: Kind::Unfreeze,
            bundle: bundle.digest(),
            envelope: envelope.clone(),
            effect: Effect::Unfreeze(Box::new(unfreeze)),
        },
    )
    .await?;
    taken(service, kept).await
}

/// Takes a veto against a successor bundle.
///
/// # Errors
/// When it is no acceptable veto.
pub(super) async fn veto(
    service: &Service,
    envelope: &Envelope,
    way: Way,
) -> Result<StatementTaken, Problem> {
    let parts = service.engine.parts();
    if way == Way::Given {
        let veto = parts.bundle.current().open_veto(envelope);
        require_time(service, &veto.map_err(|e| refused(&e))?, way)?;
    }
    service.chain.take_veto(parts, envelope).await?;
    service.spread.changed();
    let fault = |e| store_fault(&e);
    Ok(StatementTaken {
        node: parts.me.clone(),
        digest: envelope.digest(),
        entry: None,
        freeze_head: parts.store.freezes().map_err(fault)?.head(),
    })
}

/// The freezes in force.
///
/// # Errors
/// A store fault.
pub(super) async fn freezes(service: &Service) -> Result<Freezes, Problem> {
    let store = &service.engine.parts().store;
    let fault = |e| store_fault(&e);
    let set = store.freezes().map_err(fault)?;
    let mut in_force = Vec::new();
    for hit in set.in_force() {
        let kept = store.statement(hit.freeze).await.map_err(fault)?;
        in_force.extend(kept.map(|kept| kept.envelope));
    }
    Ok(Freezes {
        head: set.head(),
        in_force,
    })
}

async fn keep(service: &Service, statement: NewStatement) -> Result<KeptStatement, Problem> {
    let parts = service.engine.parts();
    let digest: Hash = statement.envelope.digest();
    let kept = parts
        .store
        .keep(vec![statement], now())
        .await
        .map_err(|e| store_fault(&e))?;
    service.spread.changed();
    kept.into_iter()
        .next()
        .ok_or_else(|| ProblemCode::Internal.problem(format!("statement {digest} was not kept")))
}

async fn taken(service: &Service, kept: KeptStatement) -> Result<StatementTaken, Problem> {
    let parts = service.engine.parts();
    let fault = |e| store_fault(&e);
    let entry = match kept.entry.checked_sub(1) {
        Some(before) => parts.store.entries_after(before, 1).await.map_err(fault)?,
        None => Vec::new(),
    };
    Ok(StatementTaken {
        node: parts.me.clone(),
        digest: kept.digest,
        entry: entry.into_iter().next(),
        freeze_head: parts.store.freezes().map_err(fault)?.head(),
    })
}
