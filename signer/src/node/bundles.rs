//! The chain of policy bundles that this node follows.

use std::collections::BTreeSet;

use tokio::sync::Mutex;

use countersign_policy::bundle::{ActiveBundle, BundleChain, KeyRecord};
use countersign_policy::statement::{CeremonyTranscript, Verified};
use countersign_policy::{Envelope, Hash};

use crate::clock::now;
use crate::gate::store_fault;
use crate::net::BundleHandle;
use crate::session::EngineParts;
use crate::store::{OpError, Store};
use crate::wire::{BundleAck, Bundles, Problem, ProblemCode, SubmitBundle};

/// The chain, and the handle everybody reads the newest bundle from.
#[derive(Debug)]
pub struct FollowedChain {
    chain: Mutex<BundleChain>,
    handle: BundleHandle,
}

impl FollowedChain {
    /// Verifies the stored chain anew from the pinned genesis; a store without one begins there.
    ///
    /// # Errors
    /// When a stored bundle does not verify: the store was changed, or the genesis hash is another.
    pub async fn open(store: &Store, genesis: &Envelope, pinned: Hash) -> Result<Self, Problem> {
        let refuse =
            |e: countersign_policy::bundle::ChainError| ProblemCode::Bundle.problem(e.to_string());
        let mut chain = BundleChain::from_genesis(genesis, pinned).map_err(refuse)?;
        let stored = store.bundles().await.map_err(|e| store_fault(&e))?;
        if stored.is_empty() {
            accept(store, chain.active()).await?;
        }
        for (i, envelope) in stored.iter().enumerate() {
            if i == 0 && envelope.digest() != pinned {
                return Err(ProblemCode::Bundle
                    .problem("the store follows another genesis than the configuration pins"));
            }
            if i > 0 {
                chain.append(envelope, now()).map_err(refuse)?;
            }
        }
        count_by(store, chain.active()).await?;
        let handle = BundleHandle::new(chain.active().clone());
        Ok(Self {
            chain: Mutex::new(chain),
            handle,
        })
    }

    /// Where to read the newest bundle.
    pub fn handle(&self) -> BundleHandle {
        self.handle.clone()
    }

    /// The chain as it stands.
    pub async fn show(&self) -> Bundles {
        let chain = self.chain.lock().await;
        let active = chain.active();
        Bundles {
            active: active.digest(),
            version: active.content().version,
            chain: chain
                .links()
                .iter()
                .map(|link| link.envelope().clone())
                .collect(),
        }
    }

    /// Follows the next bundle, durably, or refuses it. The active one is acknowledged again.
    ///
    /// # Errors
    /// A fork, gap or rollback; missing signatures; a new key whose transcripts are incomplete or differ from what this
    /// node itself signed.
    pub async fn submit(
        &self,
        parts: &EngineParts,
        call: SubmitBundle,
    ) -> Result<BundleAck, Problem> {
        let mut chain = self.chain.lock().await;
        let digest = call.bundle.digest();
        if chain.active().digest() == digest {
            return Ok(acknowledge(parts, chain.active()));
        }
        let refuse =
            |e: countersign_policy::bundle::ChainError| ProblemCode::Bundle.problem(e.to_string());
        let next = chain
            .verify_successor(&call.bundle, now())
            .map_err(refuse)?;
        for key in &next.content().keys {
            if chain.active().key(&key.id).is_none() {
                check_new_key(parts, chain.active(), key, &call.transcripts).await?;
            }
        }
        accept(&parts.store, &next).await?;
        chain.append(&call.bundle, now()).map_err(refuse)?;
        // What is reserved from here on is counted by the new limits, also if its bundle was still the old one.
        count_by(&parts.store, &next).await?;
        // Presignatures were made under another policy: any doubt costs only the work.
        parts.pool.drain_on_doubt(|_| true);
        self.handle.replace(next);
        Ok(acknowledge(parts, chain.active()))
    }
}

async fn count_by(store: &Store, bundle: &ActiveBundle) -> Result<(), Problem> {
    store.set_limits(bundle).await.map_err(|e| store_fault(&e))
}

fn acknowledge(parts: &EngineParts, bundle: &ActiveBundle) -> BundleAck {
    BundleAck {
        node: parts.me.clone(),
        bundle: bundle.digest(),
        version: bundle.content().version,
    }
}

async fn accept(store: &Store, bundle: &ActiveBundle) -> Result<(), Problem> {
    match store.append_bundle(bundle, now()).await {
        Ok(_) => Ok(()),
        Err(OpError::Failed(fault)) => Err(store_fault(&fault)),
        Err(OpError::Refused(refusal)) => Err(ProblemCode::Bundle.problem(refusal.to_string())),
    }
}

/// A key enters with the same transcript signed by every one of its nodes; this node's own is compared with what it
/// stored at the ceremony.
async fn check_new_key(
    parts: &EngineParts,
    active: &ActiveBundle,
    key: &KeyRecord,
    envelopes: &[Envelope],
) -> Result<(), Problem> {
    let refuse = |what: String| ProblemCode::Bundle.problem(format!("new key {}: {what}", key.id));
    let mut signed = BTreeSet::new();
    for envelope in envelopes {
        let Ok(transcript) = active.directory().open::<CeremonyTranscript>(envelope) else {
            continue;
        };
        let hash = transcript
            .body()
            .content_hash()
            .map_err(|e| refuse(e.to_string()))?;
        if hash == key.transcript && agrees(&transcript, key) {
            signed.insert(transcript.issuer().clone());
        }
    }
    if let Some(absent) = key.nodes.iter().find(|n| !signed.contains(n)) {
        return Err(refuse(format!(
            "there is no transcript signed by {absent} that agrees with the bundle"
        )));
    }
    if !key.nodes.contains(&parts.me) {
        return Ok(());
    }
    let own = parts
        .store
        .ceremonies()
        .await
        .map_err(|e| store_fault(&e))?;
    let mine = own
        .iter()
        .filter_map(|c| c.transcript.as_ref())
        .any(|envelope| {
            let opened = active.directory().open::<CeremonyTranscript>(envelope);
            opened.is_ok_and(|t| {
                *t.issuer() == parts.me
                    && t.body().content_hash().is_ok_and(|h| h == key.transcript)
            })
        });
    if mine {
        Ok(())
    } else {
        Err(refuse("this node took part in no such ceremony".to_owned()))
    }
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
