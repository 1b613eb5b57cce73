//! One node's side of a ceremony.

mod test_signature;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use countersign_policy::statement::{
    CeremonyTranscript, KeyCeremony, Statement, TestSignature, Verified,
};
use countersign_policy::{Envelope, Hash, MemberId, Protocol, Signature};
use rand_core::OsRng;

use super::phases::{Phase, covering_sets, gather, link};
use super::{auxiliary, in_token};
use crate::clock::now;
use crate::gate::{TestSpend, store_fault};
use crate::net::Channel;
use crate::session::{Engine, EngineParts, indexes, names};
use crate::store::{Cause, CeremonyProgress, ShareRecord};
use crate::threshold::{
    self, Fault, GroupKey, KeyShare, Lane, LoadedShare, Parameters, PartyIndex,
};
use crate::wire::{CeremonyStatus, CeremonyStep, Problem, ProblemCode, StartCeremony};

/// The ceremonies of this node.
#[derive(Debug)]
pub struct Ceremonies {
    engine: Arc<Engine>,
    live: Arc<Mutex<HashMap<Hash, CeremonyStep>>>,
}

/// Where a running ceremony reports to.
#[derive(Debug, Clone)]
pub struct Progress {
    parts: CeremonyProgress,
    store: crate::store::Store,
    live: Arc<Mutex<HashMap<Hash, CeremonyStep>>>,
}

impl Progress {
    /// Shows a step without storing it: progress within a step.
    pub fn show(&self, step: CeremonyStep) {
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.parts.ceremony, step);
    }

    /// Enters a step, durably.
    pub async fn set(&self, step: CeremonyStep) -> Result<(), String> {
        self.show(step.clone());
        self.store
            .put_ceremony(CeremonyProgress {
                step,
                ..self.parts.clone()
            })
            .await
            .map_err(|e| e.to_string())
    }

    async fn complete(&self, transcript: Envelope) -> Result<(), String> {
        let done = CeremonyProgress {
            step: CeremonyStep::Complete,
            transcript: Some(transcript),
            ..self.parts.clone()
        };
        self.store
            .put_ceremony(done)
            .await
            .map_err(|e| e.to_string())?;
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.parts.ceremony);
        Ok(())
    }
}

impl Ceremonies {
    /// Ceremonies that an earlier process left unfinished are marked as failed: their secrets were in its memory.
    ///
    /// # Errors
    /// A store fault.
    pub async fn start_up(engine: Arc<Engine>) -> Result<Arc<Self>, Problem> {
        let store = &engine.parts().store;
        for old in store.ceremonies().await.map_err(|e| store_fault(&e))? {
            if !matches!(
                old.step,
                CeremonyStep::Complete | CeremonyStep::Failed { .. }
            ) {
                let step = CeremonyStep::Failed {
                    reason: "the node restarted during the ceremony".to_owned(),
                };
                store
                    .put_ceremony(CeremonyProgress { step, ..old })
                    .await
                    .map_err(|e| store_fault(&e))?;
            }
        }
        Ok(Arc::new(Self {
            engine,
            live: Arc::default(),
        }))
    }

    /// Starts a ceremony, or tells where it stands when it was started before.
    ///
    /// # Errors
    /// When the order is not signed by the quorum, is expired, or does not name this node.
    pub async fn start(self: &Arc<Self>, call: StartCeremony) -> Result<CeremonyStatus, Problem> {
        let parts = self.engine.parts();
        let bundle = parts.bundle.current();
        let order = bundle
            .open_ceremony(&call.order)
            .map_err(|e| ProblemCode::Statement.problem(chain(&e)))?;
        if let Some(known) = self.status(order.digest()).await? {
            return Ok(known);
        }
        order
            .require_current(now(), bundle.skew_seconds())
            .map_err(|e| ProblemCode::Statement.problem(e.to_string()))?;
        let body = order.body();
        let Some(me) = indexes(&body.nodes, std::slice::from_ref(&parts.me))
            .first()
            .copied()
        else {
            return Err(ProblemCode::Statement
                .problem(format!("{} is not among the ceremony's nodes", parts.me)));
        };
        let first = CeremonyProgress {
            ceremony: order.digest(),
            key: body.key.clone(),
            order: call.order,
            step: CeremonyStep::KeyGeneration,
            transcript: None,
        };
        let progress = Progress {
            parts: first,
            store: parts.store.clone(),
            live: Arc::clone(&self.live),
        };
        progress
            .set(CeremonyStep::KeyGeneration)
            .await
            .map_err(|e| ProblemCode::Internal.problem(e))?;
        let ceremonies = Arc::clone(self);
        let status = CeremonyStatus {
            ceremony: order.digest(),
            key: body.key.clone(),
            step: CeremonyStep::KeyGeneration,
            transcript: None,
        };
        tokio::spawn(async move { ceremonies.run(order, me, progress).await });
        Ok(status)
    }

    /// Where a ceremony stands.
    ///
    /// # Errors
    /// A store fault.
    pub async fn status(&self, ceremony: Hash) -> Result<Option<CeremonyStatus>, Problem> {
        let all = self
            .engine
            .parts()
            .store
            .ceremonies()
            .await
            .map_err(|e| store_fault(&e))?;
        let Some(stored) = all.into_iter().find(|c| c.ceremony == ceremony) else {
            return Ok(None);
        };
        let live = self
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&ceremony)
            .cloned();
        let step = match stored.step {
            CeremonyStep::Complete | CeremonyStep::Failed { .. } => stored.step,
            step => live.unwrap_or(step),
        };
        Ok(Some(CeremonyStatus {
            ceremony,
            key: stored.key,
            step,
            transcript: stored.transcript,
        }))
    }

    async fn run(&self, order: Verified<KeyCeremony>, me: PartyIndex, progress: Progress) {
        let key = order.body().key.clone();
        if let Err(reason) = self.make(&order, me, &progress).await {
            tracing::error!(ceremony = %order.digest(), %key, %reason, "the ceremony failed");
            let problem = ProblemCode::Protocol.problem(&reason);
            let subject = order.digest().to_string();
            self.engine
                .record(Cause::Happened, ("ceremony", &subject), "failed", &problem)
                .await;
            if let Err(error) = progress.set(CeremonyStep::Failed { reason }).await {
                tracing::error!(%error, "the failure could not be stored");
            }
        }
    }

    async fn make(
        &self,
        order: &Verified<KeyCeremony>,
        me: PartyIndex,
        progress: &Progress,
    ) -> Result<(), String> {
        let parts = self.engine.parts();
        let (body, ceremony) = (order.body(), order.digest());
        if body.protocol.is_hsm() {
            return self.make_in_token(order, progress).await;
        }
        let parameters = Parameters::new(
            body.threshold,
            u16::try_from(body.nodes.len()).unwrap_or(u16::MAX),
        )
        .map_err(|e| e.to_string())?;
        let timeout = Duration::from_secs(parts.resources.ceremony_timeout_seconds);
        let deadline = Instant::now()
            .checked_add(timeout)
            .unwrap_or_else(Instant::now);
        // All channels first: a faster node's messages must find their place.
        let keygen = Phase {
            ceremony,
            name: "key-generation",
            index: 0,
        };
        let keygen_channel = keygen.open(&parts.peers, &parts.me, &body.nodes, deadline)?;
        let results = Phase {
            ceremony,
            name: "test-results",
            index: 0,
        }
        .open(&parts.peers, &parts.me, &body.nodes, deadline)?;
        let transcripts = Phase {
            ceremony,
            name: "transcript",
            index: 0,
        }
        .open(&parts.peers, &parts.me, &body.nodes, deadline)?;
        let tests = self.open_tests(order, deadline)?;
        let mut aux = String::new();
        if body.protocol == Protocol::Cggmp24 {
            aux = auxiliary::ensure(
                &self.engine,
                ceremony,
                &body.nodes,
                parameters,
                me,
                deadline,
                progress,
            )
            .await?;
            progress.set(CeremonyStep::KeyGeneration).await?;
        }
        let (protocol, execution) = (body.protocol, keygen.execution());
        let mut keygen_link = link(keygen_channel, &body.nodes);
        let generated = on_worker(parts, Lane::Background, move || {
            threshold::keygen(protocol, parameters, me, execution, &mut keygen_link)
        });
        let generated = generated
            .await?
            .map_err(|fault| blame(&body.nodes, &fault))?;
        let public = generated.public.clone();
        self.store_share(order, me, &public, &generated.share)
            .await?;
        drop(generated);
        progress.set(CeremonyStep::TestSignatures).await?;
        // From the store, not from memory: what is tested is what will be there after a restart.
        let share = self.stored_share(order, &public).await?;
        let mut own = BTreeMap::new();
        for test in tests {
            if test.signers.contains(&parts.me) {
                let index = test.index;
                own.insert(index, self.test_signature(order, &share, &aux, test).await?);
            }
        }
        let all = collect_tests(order, &public, own, &results).await?;
        let transcript = CeremonyTranscript {
            ceremony,
            order: body.clone(),
            group_key: public.public_key,
            chain_code: public.chain_code,
            tests: all,
        };
        let envelope = self.exchange_transcripts(transcript, &transcripts).await?;
        progress.complete(envelope).await
    }

    /// The key of one machine: nobody else has a part in it.
    async fn make_in_token(
        &self,
        order: &Verified<KeyCeremony>,
        progress: &Progress,
    ) -> Result<(), String> {
        let parts = self.engine.parts();
        let tokens = parts.tokens.clone();
        let tokens = tokens.ok_or("this node has no HSM: configure one in [hsm]")?;
        let (order, me) = (order.clone(), parts.me.clone());
        let made =
            tokio::task::spawn_blocking(move || in_token::make_in_token(&tokens, &order, &me));
        let made = made
            .await
            .map_err(|_| "the HSM's backend stopped".to_owned())?;
        let transcript = made.map_err(|e| chain(&e))?;
        progress.set(CeremonyStep::TestSignatures).await?;
        let bundle = parts.bundle.current();
        let statement = Statement::new(
            bundle.directory().genesis(),
            parts.me.clone(),
            now(),
            crate::clock::end_of_time(),
            transcript,
            &mut OsRng,
        );
        let own = statement.sign(&parts.identity).map_err(|e| e.to_string())?;
        progress.complete(own).await
    }

    fn open_tests(
        &self,
        order: &Verified<KeyCeremony>,
        deadline: Instant,
    ) -> Result<Vec<Test>, String> {
        let parts = self.engine.parts();
        let body = order.body();
        let mut tests = Vec::new();
        for (index, signers) in covering_sets(&body.nodes, body.threshold)
            .into_iter()
            .enumerate()
        {
            let index = u16::try_from(index).map_err(|_| "too many test sets".to_owned())?;
            let open = |name| {
                let phase = Phase {
                    ceremony: order.digest(),
                    name,
                    index,
                };
                phase.open(&parts.peers, &parts.me, &signers, deadline)
            };
            let (presign, sign) = match signers.contains(&parts.me) {
                false => (None, None),
                true if body.protocol == Protocol::Cggmp24 => {
                    (Some(open("test-presign")?), Some(open("test-sign")?))
                }
                true => (None, Some(open("test-sign")?)),
            };
            tests.push(Test {
                index,
                signers,
                presign,
                sign,
            });
        }
        Ok(tests)
    }

    async fn store_share(
        &self,
        order: &Verified<KeyCeremony>,
        me: PartyIndex,
        public: &GroupKey,
        share: &KeyShare,
    ) -> Result<(), String> {
        let store = &self.engine.parts().store;
        let body = order.body();
        let held = store.shares().await.map_err(|e| e.to_string())?;
        // Shares that an earlier, failed ceremony for this key left behind are never used: the newest generation is.
        let newest = held
            .iter()
            .filter(|s| s.key == body.key)
            .map(|s| s.generation)
            .max();
        let record = ShareRecord {
            key: body.key.clone(),
            generation: newest.map_or(0, |g| g.saturating_add(1)),
            protocol: body.protocol,
            ceremony: order.digest(),
            threshold: body.threshold,
            index: me.0,
            nodes: body.nodes.clone(),
            group_key: public.public_key,
            chain_code: public.chain_code,
        };
        store
            .put_share(&record, share.to_sealed_bytes(), now())
            .await
            .map_err(|e| e.to_string())?;
        Ok(())
    }

    async fn stored_share(
        &self,
        order: &Verified<KeyCeremony>,
        public: &GroupKey,
    ) -> Result<Arc<LoadedShare>, String> {
        let parts = self.engine.parts();
        let protocol = order.body().protocol;
        let stored = parts
            .store
            .load_share(&order.body().key)
            .await
            .map_err(|e| e.to_string())?;
        let (record, secret) = stored.ok_or("the share that was just stored is not there")?;
        if record.ceremony != order.digest() {
            return Err("another ceremony for the same key ran at the same time".to_owned());
        }
        let loaded = on_worker(parts, Lane::Background, move || {
            KeyShare::from_bytes(protocol, &secret).and_then(|s| s.load())
        })
        .await?;
        let loaded = loaded.map_err(|e| e.to_string())?;
        if loaded.group_key() != public {
            return Err("the stored share is for another group key".to_owned());
        }
        Ok(Arc::new(loaded))
    }

    async fn exchange_transcripts(
        &self,
        transcript: CeremonyTranscript,
        channel: &Channel,
    ) -> Result<Envelope, String> {
        let parts = self.engine.parts();
        let bundle = parts.bundle.current();
        let content = transcript.content_hash().map_err(|e| e.to_string())?;
        let statement = Statement::new(
            bundle.directory().genesis(),
            parts.me.clone(),
            now(),
            crate::clock::end_of_time(),
            transcript,
            &mut OsRng,
        );
        let own = statement.sign(&parts.identity).map_err(|e| e.to_string())?;
        let heard = gather(
            channel,
            serde_json::to_vec(&own).map_err(|e| e.to_string())?,
        )
        .await?;
        for (peer, bytes) in heard {
            let envelope: Envelope = serde_json::from_slice(&bytes)
                .map_err(|e| format!("the transcript of {peer}: {e}"))?;
            let theirs: Verified<CeremonyTranscript> = bundle
                .directory()
                .open(&envelope)
                .map_err(|e| format!("the transcript of {peer}: {e}"))?;
            let hash = theirs.body().content_hash().map_err(|e| e.to_string())?;
            if *theirs.issuer() != peer || hash != content {
                return Err(format!("{peer} signed another transcript"));
            }
        }
        Ok(own)
    }
}

/// One test signature of a ceremony.
struct Test {
    index: u16,
    signers: Vec<MemberId>,
    presign: Option<Channel>,
    sign: Option<Channel>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestResults {
    signatures: BTreeMap<u16, Signature>,
}

/// Tells everybody this node's test signatures, hears theirs, and verifies one for each set.
async fn collect_tests(
    order: &Verified<KeyCeremony>,
    public: &GroupKey,
    own: BTreeMap<u16, Signature>,
    channel: &Channel,
) -> Result<Vec<TestSignature>, String> {
    let message = serde_json::to_vec(&TestResults {
        signatures: own.clone(),
    })
    .map_err(|e| e.to_string())?;
    let mut all = own;
    for (peer, bytes) in gather(channel, message).await? {
        let theirs: TestResults = serde_json::from_slice(&bytes)
            .map_err(|e| format!("the test results of {peer}: {e}"))?;
        for (index, signature) in theirs.signatures {
            if *all.entry(index).or_insert(signature) != signature {
                return Err(format!("{peer} reports another signature for test {index}"));
            }
        }
    }
    let body = order.body();
    let mut tests = Vec::new();
    for (index, signers) in covering_sets(&body.nodes, body.threshold)
        .into_iter()
        .enumerate()
    {
        let index = u16::try_from(index).map_err(|_| "too many test sets".to_owned())?;
        let signature = *all
            .get(&index)
            .ok_or_else(|| format!("nobody reports test {index}"))?;
        let spend = TestSpend::new(body.protocol, order.digest(), &body.key, &signers);
        if !threshold::verifies(&public.public_key, spend.preimage(), &signature) {
            return Err(format!("test signature {index} does not verify"));
        }
        tests.push(TestSignature { signers, signature });
    }
    Ok(tests)
}

/// Runs blocking protocol code on a crypto thread.
pub(crate) async fn on_worker<T: Send + 'static>(
    parts: &EngineParts,
    lane: Lane,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (done, result) = tokio::sync::oneshot::channel();
    let deliver = move |outcome| {
        // The receiver is gone only when the node stops.
        let _ = done.send(outcome);
    };
    parts
        .workers
        .submit_then(lane, job, deliver)
        .map_err(|e| e.to_string())?;
    result
        .await
        .map_err(|_| "the node is stopping".to_owned())?
        .map_err(|e| e.to_string())
}

/// A protocol fault with names instead of numbers.
pub(crate) fn blame(nodes: &[MemberId], fault: &Fault) -> String {
    let culprits: Vec<String> = names(nodes, &fault.culprits)
        .iter()
        .map(ToString::to_string)
        .collect();
    if culprits.is_empty() {
        fault.reason.to_string()
    } else {
        format!("{} ({})", fault.reason, culprits.join(", "))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
