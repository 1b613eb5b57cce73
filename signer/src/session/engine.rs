//! The signer's side of a session: prepare and sign. How one ends otherwise is in `endings`.

mod counters;
mod endings;
mod frozen;
mod refusals;
mod returns;
mod token;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_policy::bundle::KeyRecord;
use countersign_policy::statement::SessionTerms;
use countersign_policy::{IdentityKey, KeyId, MemberId, Protocol, Signature};

use super::auto_freeze::AutoFreeze;
use super::clocks;
use super::exchange::{self, Confirmed};
use super::ledgers::Questions;
use super::registration::Registration;
use super::shares::ShareCache;
use super::stages::{Stage, Stages};
use super::starts;
use super::table::{Session, SessionResult, SessionTable};
use crate::ceremony::PrimeMaker;
use crate::clock::{ClockWatch, now};
use crate::gate::{self, Admitted, AgreedReceipts, store_fault};
use crate::net::{BundleHandle, PeerNetwork};
use crate::node::{PresignatureConfig, ResourceConfig};
use crate::store::{Cause, NewRecord, Store};
use crate::threshold::{
    self, BurntPresignature, Fault, FaultReason, KeyShare, Lane, LoadedAux, LoadedShare, Material,
    PartyIndex, PoolKey, PresignatureId, PresignaturePool, SigningContext, Workers,
};
use crate::token::TokenKeys;
use crate::wire::{Prepare, Prepared, Problem, ProblemCode, Sign, Signed};

/// What the engine works with.
#[derive(Debug)]
pub struct EngineParts {
    /// This node.
    pub me: MemberId,
    /// Its statement key.
    pub identity: Arc<IdentityKey>,
    /// The active bundle.
    pub bundle: BundleHandle,
    /// The sealed store with the ledger.
    pub store: Store,
    /// The other nodes.
    pub peers: PeerNetwork,
    /// Those of them that know of this process's start.
    pub registration: Arc<Registration>,
    /// Those of them that are being asked to prove something.
    pub questions: Questions,
    /// Notices when the machine's clock is set.
    pub watch: ClockWatch,
    /// Threads for cryptography.
    pub workers: Arc<Workers>,
    /// Presignatures in memory.
    pub pool: Arc<PresignaturePool>,
    /// Safe primes for CGGMP24 groups to come.
    pub primes: PrimeMaker,
    /// Decoded shares.
    pub shares: ShareCache,
    /// The keys in this machine's HSM, when it has one.
    pub tokens: Option<TokenKeys>,
    /// Bounds.
    pub resources: ResourceConfig,
    /// Watermarks of the pools.
    pub presignatures: PresignatureConfig,
}

/// Runs sessions.
#[derive(Debug)]
pub struct Engine {
    parts: Arc<EngineParts>,
    table: SessionTable,
    auxiliary: Mutex<HashMap<String, Arc<LoadedAux>>>,
    auto_freeze: AutoFreeze,
    stages: Stages,
}

impl Engine {
    /// An engine without sessions. Sessions that an earlier process left open must have been aborted before.
    pub fn new(parts: EngineParts) -> Self {
        let table = SessionTable::new(parts.resources.max_sessions);
        let r = &parts.resources;
        let auto_freeze = AutoFreeze::new(r.auto_freeze_refusals, r.auto_freeze_window_seconds);
        Self {
            parts: Arc::new(parts),
            table,
            auxiliary: Mutex::default(),
            auto_freeze,
            stages: Stages::default(),
        }
    }

    /// How long the parts of a signature took since the start: see [`NodeFigures`](crate::wire::NodeFigures).
    pub fn stages(&self) -> BTreeMap<String, BTreeMap<u64, u64>> {
        self.stages.figures()
    }

    /// Whether a signature is being made right now.
    pub fn is_busy(&self) -> bool {
        self.table.any_running()
    }

    /// Auxiliary data that was loaded before; its precomputed tables are worth keeping.
    pub fn auxiliary(&self, name: &str) -> Option<Arc<LoadedAux>> {
        self.auxiliary
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// Keeps loaded auxiliary data.
    pub fn keep_auxiliary(&self, name: &str, loaded: Arc<LoadedAux>) -> Arc<LoadedAux> {
        let mut kept = self
            .auxiliary
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(kept.entry(name.to_owned()).or_insert(loaded))
    }

    /// What it works with.
    pub fn parts(&self) -> &Arc<EngineParts> {
        &self.parts
    }

    /// Checks everything, reserves, and answers with a receipt. Repeating the same call gives the same receipt.
    ///
    /// # Errors
    /// The refusal; nothing was reserved then.
    pub async fn prepare(self: &Arc<Self>, call: Prepare) -> Result<Prepared, Problem> {
        let engine = Arc::clone(self);
        // On a task of its own: if the caller went away between the reservation and the session's entry in the table, the
        // ledger would hold a session that nobody can go on with, and that keeps every later attempt out.
        let running = tokio::spawn(async move {
            let request = call.request.clone();
            let answer = engine.check_and_reserve(call).await;
            if let Err(problem) = &answer {
                engine.count_refusal(&request, problem, now()).await;
            }
            answer
        });
        running
            .await
            .unwrap_or_else(|_| Err(ProblemCode::Aborted.problem("the node is stopping")))
    }

    async fn check_and_reserve(&self, call: Prepare) -> Result<Prepared, Problem> {
        let session = SessionTerms::session_id(call.authorization.digest());
        if let Some(known) = self.table.get(&session) {
            return Ok(Prepared {
                receipt: known.spend().receipt().clone(),
            });
        }
        if !self.table.has_room() {
            return Err(ProblemCode::Busy
                .problem("too many sessions are open on this node; try again shortly"));
        }
        let (at, begun) = (now(), Instant::now());
        let bundle = self.parts.bundle.current();
        clocks::require_sound(&self.parts, at, bundle.skew_seconds())?;
        let freezes = self.parts.store.freezes().map_err(|e| store_fault(&e))?;
        let admitted = gate::admit(&bundle, &self.parts.me, &call, &freezes, at)?;
        self.refuse_banned(&admitted)?;
        let terms = admitted.terms();
        let reservers: Vec<MemberId> = terms.reservers().cloned().collect();
        starts::require_registered(&self.parts, &bundle, admitted.key(), &reservers).await?;
        self.parts
            .store
            .raise_time_floor(at)
            .await
            .map_err(|e| store_fault(&e))?;
        self.require_counters(admitted.counters(), ProblemCode::Approval)
            .await?;
        let signs = terms.participants.contains(&self.parts.me);
        if signs {
            // A share that is missing or does not open must show before anything is promised.
            let key = admitted.key().clone();
            match key.protocol.is_hsm() {
                true => self.token_key(&key).await?,
                false => drop(self.share(&key).await?),
            }
        }
        self.abort_stale(&admitted, at).await;
        let presignature = match signs {
            true => self.take_presignature(&admitted)?,
            false => None,
        };
        let begun = self.stages.ended(Stage::Admit, begun);
        let spend = gate::reserve(&self.parts.store, &self.parts.identity, admitted, at).await?;
        self.stages.ended(Stage::Reserve, begun);
        let receipt = spend.receipt().clone();
        let session = Arc::new(Session::new(spend, presignature));
        self.table.insert(Arc::clone(&session));
        // A freeze that came since the admission did not find the session in the table.
        self.abort_if_frozen(&session).await?;
        Ok(Prepared { receipt })
    }

    /// Takes all receipts, confirms with the peers, releases or aborts, and runs the protocol. Repeating the call waits
    /// for the same result. A witness confirms and is done: it has no signature to answer with.
    ///
    /// # Errors
    /// Why there is no signature, and who is to blame if that is known.
    pub async fn sign(self: &Arc<Self>, call: Sign) -> Result<Signed, Problem> {
        let session = self.table.get(&call.session).ok_or_else(|| {
            ProblemCode::NotFound
                .problem("this node has no such session in memory: prepare a new attempt")
        })?;
        if session.start() {
            let engine = Arc::clone(self);
            let running = Arc::clone(&session);
            // On a task of its own: the caller's connection may break, the session goes on to one of its two ends.
            tokio::spawn(async move {
                let result = engine.run(&running, call).await;
                if let Err(problem) = &result {
                    engine.end_without_signature(&running, problem).await;
                }
                engine.table.finish(&running, result);
            });
        }
        session.wait().await
    }

    async fn run(&self, session: &Session, call: Sign) -> SessionResult {
        let spend = session.spend();
        let bundle = Arc::clone(spend.admitted().bundle());
        let agreed = gate::agree(
            &bundle,
            spend.terms(),
            &self.parts.me,
            spend.receipt(),
            &call.receipts,
            now(),
        )?;
        let timeout = Duration::from_secs(self.parts.resources.sign_timeout_seconds);
        if spend.is_witness(&self.parts.me) {
            let confirm = match spend.terms().offline {
                true => Some(exchange::clear(&self.parts, session, &agreed, timeout).await?),
                false => {
                    exchange::bear_witness(&self.parts, session, &agreed, timeout).await?;
                    None
                }
            };
            return Ok(Signed {
                signatures: Vec::new(),
                confirm,
            });
        }
        let key = spend.admitted().key();
        if key.protocol.is_hsm() {
            return self.sign_in_token(session, &agreed, timeout).await;
        }
        let share = self.share(key).await?;
        let context = self.signing_context(session, &agreed, &share)?;
        let material = match session.take_presignature() {
            Some(presignature) => Material::Presignature(Box::new(presignature)),
            None => Material::Fresh,
        };
        let roster = key.nodes.clone();
        let opened = blocking(move || threshold::open(share, context, material)).await?;
        let (open, first) = opened.map_err(|fault| self.blame(&roster, &fault))?;
        let begun = Instant::now();
        let Confirmed { confirms, link } =
            exchange::confirm(&self.parts, session, &agreed, first, timeout).await?;
        let begun = self.stages.ended(Stage::Confirm, begun);
        // I5: `released` is on disk before the first irrevocable message leaves.
        let active = self.parts.bundle.current().digest();
        let released = spend
            .release(&self.parts.store, &agreed, &confirms, active, now())
            .await?;
        let begun = self.stages.ended(Stage::Release, begun);
        let (done, result) = tokio::sync::oneshot::channel();
        let mut link = link;
        let job = move || open.complete(released, &mut link);
        let deliver = move |outcome: Result<Result<Signature, Fault>, threshold::JobError>| {
            // The receiver is gone only when the node stops.
            let _ = done.send(outcome.unwrap_or_else(|error| Err(Fault::from(error))));
        };
        self.parts
            .workers
            .submit_then(Lane::Signing, job, deliver)
            .map_err(|e| ProblemCode::Busy.problem(e.to_string()))?;
        match result.await {
            Ok(Ok(signature)) => {
                self.stages.ended(Stage::Protocol, begun);
                Ok(signed(signature))
            }
            Ok(Err(fault)) => {
                self.remember_ban(&key.id, &roster, &fault).await?;
                Err(self.blame(&roster, &fault))
            }
            Err(_) => Err(ProblemCode::Aborted.problem("the node is stopping")),
        }
    }

    fn signing_context(
        &self,
        session: &Session,
        agreed: &AgreedReceipts,
        share: &LoadedShare,
    ) -> Result<SigningContext, Problem> {
        let spend = session.spend();
        let key = spend.admitted().key();
        let internal = |e: threshold::ParametersError| ProblemCode::Internal.problem(e.to_string());
        let indexes = indexes(&key.nodes, &spend.terms().participants);
        Ok(SigningContext {
            execution: agreed.execution(
                key.protocol,
                &key.id,
                key.transcript,
                spend.terms().attempt,
            ),
            signers: share.signers(&indexes).map_err(internal)?,
            path: spend.admitted().request().body().path.clone(),
            preimage: spend.preimage(),
        })
    }

    /// Puts a refusal or failure into the node's records. False when its caller caused too many, and it was only counted.
    /// A store fault is logged by the store itself.
    pub async fn record(
        &self,
        cause: Cause,
        (operation, subject): (&str, &str),
        outcome: &str,
        problem: &Problem,
    ) -> bool {
        let code = problem.code().map_or("unknown", ProblemCode::code);
        let detail = format!("{}: {}", problem.title, problem.detail);
        let record = NewRecord {
            at: now(),
            operation: operation.to_owned(),
            subject: subject.to_owned(),
            outcome: format!("{outcome}/{code}"),
            detail,
            cause,
        };
        matches!(self.parts.store.record(record).await, Ok(Some(_)))
    }

    /// A key's share, from memory or from the sealed store.
    ///
    /// # Errors
    /// When this node has no share of the key that the bundle pins, or it does not open.
    pub async fn share(&self, key: &KeyRecord) -> Result<Arc<LoadedShare>, Problem> {
        if let Some(share) = self.parts.shares.get(&key.id) {
            return Ok(share);
        }
        let unusable = |why: String| {
            ProblemCode::Internal.problem(format!(
                "this node has no usable share of key {}: {why}",
                key.id
            ))
        };
        let stored = self
            .parts
            .store
            .load_pinned_share(&key.id, key.group_key)
            .await
            .map_err(|e| store_fault(&e))?;
        let (record, secret) =
            stored.ok_or_else(|| unusable("none of the pinned group key is stored".to_owned()))?;
        let pinned = record.group_key == key.group_key
            && record.chain_code == key.chain_code
            && record.protocol == key.protocol
            && record.nodes == key.nodes
            && record.threshold == key.threshold;
        if !pinned {
            return Err(unusable(
                "the stored one belongs to another group key than the bundle pins".to_owned(),
            ));
        }
        let protocol = key.protocol;
        let loaded = blocking(move || {
            KeyShare::from_bytes(protocol, &secret).and_then(|share| share.load())
        })
        .await?;
        let loaded = Arc::new(loaded.map_err(|e| unusable(e.to_string()))?);
        if loaded.group_key().public_key != key.group_key {
            return Err(unusable("its content is for another group key".to_owned()));
        }
        self.parts.shares.put(&key.id, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn take_presignature(&self, admitted: &Admitted) -> Result<Option<BurntPresignature>, Problem> {
        let refuse = |detail: String| ProblemCode::Presignature.problem(detail);
        let named = admitted.authorization().body().presignature;
        let key = admitted.key();
        let Some(id) = named else {
            return match key.protocol {
                Protocol::Cggmp24 => Err(refuse(
                    "a cggmp24 key signs with a presignature; the authorization names none"
                        .to_owned(),
                )),
                Protocol::Dkls23
                | Protocol::FrostEd25519
                | Protocol::Pkcs11Secp256k1
                | Protocol::Pkcs11Ed25519 => Ok(None),
            };
        };
        if key.protocol != Protocol::Cggmp24 {
            return Err(refuse(format!(
                "{} keys use no presignatures",
                key.protocol
            )));
        }
        let pool_key = PoolKey {
            public_key: key.group_key,
            path: admitted.request().body().path.clone(),
            signers: threshold::Signers::new(
                threshold::Parameters::new(
                    key.threshold,
                    u16::try_from(key.nodes.len()).unwrap_or(u16::MAX),
                )
                .map_err(|e| ProblemCode::Internal.problem(e.to_string()))?,
                &indexes(&key.nodes, &admitted.authorization().body().participants),
            )
            .map_err(|e| ProblemCode::Internal.problem(e.to_string()))?,
        };
        let id = PresignatureId(*id.as_bytes());
        if !self.parts.pool.ready(&pool_key, usize::MAX).contains(&id) {
            return Err(refuse(format!(
                "presignature {id} is not in the pool of this key, path and signer set"
            )));
        }
        let digest = *admitted.facts().transaction().digest().as_bytes();
        self.parts
            .pool
            .reserve(id, digest)
            .map(Some)
            .map_err(|e| refuse(e.to_string()))
    }

    fn refuse_banned(&self, admitted: &Admitted) -> Result<(), Problem> {
        let key = admitted.key();
        for participant in admitted.terms().reservers() {
            let cheated = self
                .parts
                .store
                .is_banned(&key.id, participant)
                .map_err(|e| store_fault(&e))?;
            let forked = self
                .parts
                .store
                .peer_banned(participant)
                .map_err(|e| store_fault(&e))?;
            if cheated || forked {
                let mut problem = ProblemCode::Protocol.problem(format!(
                    "{participant} was caught cheating; this node signs no more with it"
                ));
                problem.culprits.push(participant.clone());
                return Err(problem);
            }
        }
        Ok(())
    }

    async fn remember_ban(
        &self,
        key: &KeyId,
        roster: &[MemberId],
        fault: &Fault,
    ) -> Result<(), Problem> {
        if !fault.ban {
            return Ok(());
        }
        for culprit in names(roster, &fault.culprits) {
            tracing::error!(%key, %culprit, %fault, "a peer cheated in DKLs23: banned for this key");
            self.parts
                .store
                .ban(key, &culprit, fault.to_string(), now())
                .await
                .map_err(|e| store_fault(&e))?;
        }
        Ok(())
    }

    fn blame(&self, roster: &[MemberId], fault: &Fault) -> Problem {
        let named = names(roster, &fault.culprits);
        let mut problem = match fault.reason {
            FaultReason::Timeout { .. } => ProblemCode::Timeout.problem(fault.reason.to_string()),
            _ => ProblemCode::Protocol.problem(fault.reason.to_string()),
        };
        match fault.reason {
            FaultReason::Timeout { .. } => problem.missing = named,
            _ => problem.culprits = named,
        }
        problem
    }
}

/// What a participant answers.
fn signed(signature: Signature) -> Signed {
    Signed {
        signatures: vec![signature],
        confirm: None,
    }
}

/// Runs CPU work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        ProblemCode::Internal.problem("a check failed unexpectedly; see the node's log")
    })
}

/// Positions of `members` in a key's node list.
pub(crate) fn indexes(nodes: &[MemberId], members: &[MemberId]) -> Vec<PartyIndex> {
    let position = |m| {
        nodes
            .iter()
            .position(|n| n == m)
            .and_then(|p| u16::try_from(p).ok())
    };
    members
        .iter()
        .filter_map(|m| position(m).map(PartyIndex))
        .collect()
}

/// The members at the given positions of a key's node list.
pub(crate) fn names(nodes: &[MemberId], parties: &BTreeSet<PartyIndex>) -> Vec<MemberId> {
    parties
        .iter()
        .filter_map(|p| nodes.get(p.position()).cloned())
        .collect()
}
