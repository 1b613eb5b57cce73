//! Statements travel by themselves: what this node holds, each peer gets, without a coordinator.
//!
//! A node gives a peer what the peer lacks when something new is here, at its start, and when it follows another bundle (which
//! may make acceptable what was not). It repeats that until the peer has answered. Taking one from a peer makes it new here,
//! so it goes on from node to node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_policy::bundle::PolicyBundle;
use countersign_policy::statement::{Kind, Statement};
use countersign_policy::{Envelope, Hash, MemberId};
use tokio::sync::watch;

use super::service::Service;
use super::stops::{self, Way};
use crate::gate::store_fault;
use crate::store::KeptStatement;
use crate::wire::{
    ExchangeStatements, Problem, ProblemCode, RefusedStatement, StatementsExchanged, SubmitBundle,
    path,
};

/// For one call.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a peer is tried that could not be reached.
const RETRY: Duration = Duration::from_millis(500);
/// Statements in one message, in bytes of their payloads: what they are as text must fit into a body.
const MAX_BYTES: usize = 2 << 20;
/// Names in one message.
const MAX_NAMES: usize = 40_000;

/// What was given to whom.
#[derive(Debug)]
pub struct Spread {
    /// By peer: how many statements there were, under which bundle, when the peer was given all that it lacked.
    synced: Mutex<BTreeMap<MemberId, (u64, Hash)>>,
    /// What this node did not accept under the bundle named: it is not asked for again.
    declined: Mutex<(Hash, BTreeSet<Hash>)>,
    news: watch::Sender<u64>,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            synced: Mutex::default(),
            declined: Mutex::new((Hash::ZERO, BTreeSet::new())),
            news: watch::Sender::new(0),
        }
    }
}

impl Spread {
    /// Something new is here: the peers are told at once.
    pub(super) fn changed(&self) {
        self.news.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn is_synced(&self, peer: &MemberId, state: (u64, Hash)) -> bool {
        let synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.get(peer) == Some(&state)
    }

    fn set_synced(&self, peer: &MemberId, state: (u64, Hash)) {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.insert(peer.clone(), state);
    }

    fn declined(&self, bundle: Hash) -> BTreeSet<Hash> {
        let declined = self.declined.lock().unwrap_or_else(PoisonError::into_inner);
        match declined.0 == bundle {
            true => declined.1.clone(),
            false => BTreeSet::new(),
        }
    }

    fn decline(&self, bundle: Hash, statement: Hash) {
        let mut declined = self.declined.lock().unwrap_or_else(PoisonError::into_inner);
        if declined.0 != bundle {
            *declined = (bundle, BTreeSet::new());
        }
        if declined.1.len() < MAX_NAMES {
            declined.1.insert(statement);
        }
    }
}

/// Gives a peer what it lacks, for ever.
pub(super) async fn keep_giving(service: &Service, peer: &MemberId) {
    let mut news = service.spread.news.subscribe();
    loop {
        if let Err(error) = give(service, peer).await {
            tracing::debug!(%peer, error, "statements were not exchanged");
        }
        // Whichever comes first; a sender that is gone ends with the node.
        let _ = tokio::time::timeout(RETRY, news.changed()).await;
    }
}

/// One exchange, if there is anything new since the last.
async fn give(service: &Service, peer: &MemberId) -> Result<(), String> {
    let parts = service.engine.parts();
    let client = parts.peers.client(peer).ok_or("no address")?;
    let bundle = parts.bundle.current().digest();
    // First how many, then which: what comes in between is given once more.
    let count = parts.store.statement_count().map_err(|e| e.to_string())?;
    if service.spread.is_synced(peer, (count, bundle)) {
        return Ok(());
    }
    let kept = parts.store.statements().await.map_err(|e| e.to_string())?;
    let mut held: BTreeSet<Hash> = kept
        .iter()
        .rev()
        .take(MAX_NAMES)
        .map(|s| s.digest)
        .collect();
    held.extend(service.spread.declined(bundle));
    let call = ExchangeStatements {
        held: Some(held.into_iter().collect()),
        statements: Vec::new(),
    };
    let answer: StatementsExchanged = client
        .post_json(path::STATEMENTS, &call, TIMEOUT)
        .await
        .map_err(|e| e.to_string())?;
    take_all(service, answer.statements).await;
    let wanted: BTreeSet<Hash> = answer.wanted.into_iter().collect();
    for statements in portions(kept.iter().filter(|s| wanted.contains(&s.digest))) {
        let call = ExchangeStatements {
            held: None,
            statements,
        };
        let answer: StatementsExchanged = client
            .post_json(path::STATEMENTS, &call, TIMEOUT)
            .await
            .map_err(|e| e.to_string())?;
        for RefusedStatement { digest, reason } in answer.refused {
            tracing::info!(%peer, %digest, reason = crate::plain::plain(&reason), "the peer does not accept a statement");
        }
    }
    service.spread.set_synced(peer, (count, bundle));
    Ok(())
}

fn portions<'a>(statements: impl Iterator<Item = &'a KeptStatement>) -> Vec<Vec<Envelope>> {
    let mut portions: Vec<Vec<Envelope>> = Vec::new();
    let mut room = 0usize;
    for statement in statements {
        let size = statement.envelope.payload().len().saturating_add(1024);
        match (portions.last_mut(), room.checked_sub(size)) {
            (Some(last), Some(left)) => {
                last.push(statement.envelope.clone());
                room = left;
            }
            _ => {
                portions.push(vec![statement.envelope.clone()]);
                room = MAX_BYTES.saturating_sub(size);
            }
        }
    }
    portions
}

/// A peer's half of an exchange.
///
/// # Errors
/// A store fault, or more names than there can be.
pub(super) async fn answer(
    service: &Service,
    call: ExchangeStatements,
) -> Result<StatementsExchanged, Problem> {
    let parts = service.engine.parts();
    let refused = take_all(service, call.statements).await;
    let Some(held) = call.held else {
        return Ok(StatementsExchanged {
            wanted: Vec::new(),
            statements: Vec::new(),
            refused,
        });
    };
    if held.len() > MAX_NAMES.saturating_mul(2) {
        return Err(ProblemCode::Malformed.problem("more statements than anybody holds"));
    }
    let held: BTreeSet<Hash> = held.into_iter().collect();
    let kept = parts
        .store
        .statements()
        .await
        .map_err(|e| store_fault(&e))?;
    let ours: BTreeSet<Hash> = kept.iter().map(|s| s.digest).collect();
    let declined = service.spread.declined(parts.bundle.current().digest());
    let lacking = kept.iter().filter(|s| !held.contains(&s.digest));
    Ok(StatementsExchanged {
        wanted: held
            .iter()
            .filter(|d| !ours.contains(d) && !declined.contains(d))
            .copied()
            .collect(),
        // The rest comes when this node gives.
        statements: portions(lacking).into_iter().next().unwrap_or_default(),
        refused,
    })
}

/// How many other successors a bundle names that it takes the place of.
fn superseded(statement: &Envelope) -> usize {
    if statement.payload_type() != Kind::PolicyBundle.payload_type() {
        return 0;
    }
    serde_json::from_slice::<Statement<PolicyBundle>>(statement.payload())
        .map_or(0, |bundle| bundle.body.supersedes.len())
}

/// Takes what a peer passes on, one by one in its order, but what resolves a fork before what made it: this node stands
/// behind the first successor that it hears of. What is not acceptable here is declined, and named.
async fn take_all(service: &Service, mut statements: Vec<Envelope>) -> Vec<RefusedStatement> {
    statements.sort_by_cached_key(|s| std::cmp::Reverse(superseded(s)));
    let of_ceremonies = Kind::CeremonyTranscript.payload_type();
    let transcripts: Vec<Envelope> = statements
        .iter()
        .filter(|s| s.payload_type() == of_ceremonies)
        .cloned()
        .collect();
    let mut refused = Vec::new();
    for statement in statements {
        let digest = statement.digest();
        let bundle = service.engine.parts().bundle.current().digest();
        if let Err(problem) = take(service, &statement, &transcripts).await {
            service.spread.decline(bundle, digest);
            refused.push(RefusedStatement {
                digest,
                reason: problem.detail,
            });
        }
    }
    refused
}

async fn take(
    service: &Service,
    statement: &Envelope,
    transcripts: &[Envelope],
) -> Result<(), Problem> {
    let parts = service.engine.parts();
    let known = parts.store.statement(statement.digest()).await;
    if known.map_err(|e| store_fault(&e))?.is_some() {
        return Ok(());
    }
    let kind = Kind::ALL
        .into_iter()
        .find(|k| k.payload_type() == statement.payload_type());
    match kind {
        Some(Kind::Freeze) => stops::freeze(service, statement, Way::PassedOn)
            .await
            .map(drop),
        Some(Kind::Unfreeze) => stops::unfreeze(service, statement, Way::PassedOn)
            .await
            .map(drop),
        Some(Kind::Veto) => stops::veto(service, statement, Way::PassedOn)
            .await
            .map(drop),
        Some(Kind::BundleAck) => {
            service.chain.take_ack(parts, statement).await?;
            service.spread.changed();
            Ok(())
        }
        Some(Kind::PolicyBundle) => {
            let call = SubmitBundle {
                bundle: statement.clone(),
                transcripts: transcripts.to_vec(),
            };
            service.chain.propose(parts, call).await?;
            service.spread.changed();
            Ok(())
        }
        // Kept with the bundle that needs it.
        Some(Kind::CeremonyTranscript) => Ok(()),
        _ => Err(ProblemCode::Statement.problem("statements of this kind do not travel this way")),
    }
}
