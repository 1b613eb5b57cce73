//! New keys enter a bundle with their transcripts.

use std::collections::BTreeSet;

use countersign_policy::Envelope;
use countersign_policy::bundle::{ActiveBundle, KeyRecord};
use countersign_policy::statement::{CeremonyTranscript, Kind, Verified};

use crate::gate::store_fault;
use crate::session::EngineParts;
use crate::wire::{Problem, ProblemCode};

/// Checks the transcripts of all keys that `next` adds, with those that were kept before. Returns those that count.
///
/// # Errors
/// A new key whose transcripts are incomplete or differ from what this node itself signed.
pub(super) async fn check_new_keys(
    parts: &EngineParts,
    active: &ActiveBundle,
    next: &ActiveBundle,
    given: &[Envelope],
) -> Result<Vec<Envelope>, Problem> {
    let keys = &next.content().keys;
    let new: Vec<&KeyRecord> = keys
        .iter()
        .filter(|k| active.key(&k.id).is_none())
        .collect();
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let kept = parts
        .store
        .statements()
        .await
        .map_err(|e| store_fault(&e))?;
    let kept = kept
        .into_iter()
        .filter(|s| s.kind == Kind::CeremonyTranscript)
        .map(|s| s.envelope);
    let all: Vec<Envelope> = given.iter().cloned().chain(kept).collect();
    let mut counting = Vec::new();
    for key in new {
        counting.extend(check_new_key(parts, active, key, &all).await?);
    }
    Ok(counting)
}

/// A key enters with the same transcript signed by every one of its nodes; this node's own is compared with what it
/// stored at the ceremony.
async fn check_new_key(
    parts: &EngineParts,
    active: &ActiveBundle,
    key: &KeyRecord,
    envelopes: &[Envelope],
) -> Result<Vec<Envelope>, Problem> {
    let refuse = |what: String| ProblemCode::Bundle.problem(format!("new key {}: {what}", key.id));
    let mut signed = BTreeSet::new();
    let mut counting = Vec::new();
    for envelope in envelopes {
        let Ok(transcript) = active.directory().open::<CeremonyTranscript>(envelope) else {
            continue;
        };
        let hash = transcript
            .body()
            .content_hash()
            .map_err(|e| refuse(e.to_string()))?;
        let counts = hash == key.transcript && agrees(&transcript, key);
        if counts && signed.insert(transcript.issuer().clone()) {
            counting.push(envelope.clone());
        }
    }
    if let Some(absent) = key.nodes.iter().find(|n| !signed.contains(n)) {
        return Err(refuse(format!(
            "there is no transcript signed by {absent} that agrees with the bundle"
        )));
    }
    if key.nodes.contains(&parts.me) && !took_part(parts, active, key).await? {
        return Err(refuse("this node took part in no such ceremony".to_owned()));
    }
    Ok(counting)
}

async fn took_part(
    parts: &EngineParts,
    active: &ActiveBundle,
    key: &KeyRecord,
) -> Result<bool, Problem> {
    let own = parts
        .store
        .ceremonies()
        .await
        .map_err(|e| store_fault(&e))?;
    let mut transcripts = own.iter().filter_map(|c| c.transcript.as_ref());
    Ok(transcripts.any(|envelope| {
        let opened = active.directory().open::<CeremonyTranscript>(envelope);
        opened.is_ok_and(|t| {
            *t.issuer() == parts.me && t.body().content_hash().is_ok_and(|h| h == key.transcript)
        })
    }))
}

fn agrees(transcript: &Verified<CeremonyTranscript>, key: &KeyRecord) -> bool {
    let body = transcript.body();
    body.order.key == key.id
        && body.order.protocol == key.protocol
        && body.order.threshold == key.threshold
        && body.order.max_faulty == key.max_faulty
        && body.order.nodes == key.nodes
        && body.order.purpose == key.purpose
        && body.order.environment == key.environment
        && body.group_key == key.group_key
        && body.chain_code == key.chain_code
}
