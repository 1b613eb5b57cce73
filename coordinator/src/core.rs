//! What every part of a running coordinator shares.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use countersign_policy::bundle::BundleChain;
use countersign_policy::statement::{Body, Statement, StatementError};
use countersign_policy::{Envelope, Hash, IdentityKey, IdentityPublicKey, MemberId, Timestamp};
use countersign_signer::net::BundleHandle;
use rand_core::{OsRng, RngCore as _};
use tokio::sync::{Notify, watch};

use crate::config::{LimitsConfig, TimingConfig};
use crate::db::{AuditRecord, Datastore, Lease, StoredRequest};
use crate::freezes::Freezes;
use crate::nodes::{Health, NodeApi};
use crate::orchestrate::{Pauses, PresignaturePools};

/// Everything that outlives one request.
pub(crate) struct Core {
    pub(crate) me: MemberId,
    pub(crate) identity: IdentityKey,
    pub(crate) store: Datastore,
    pub(crate) lease: Lease,
    pub(crate) nodes: Arc<dyn NodeApi>,
    /// The bundle that everything is decided under.
    pub(crate) bundle: BundleHandle,
    /// The chain it stands in. Whoever appends holds the lock for the whole of it.
    pub(crate) chain: tokio::sync::Mutex<BundleChain>,
    pub(crate) health: Health,
    pub(crate) pools: PresignaturePools,
    pub(crate) freezes: Freezes,
    /// Nodes that refused what they were given.
    pub(crate) pauses: Pauses,
    pub(crate) works: Works,
    pub(crate) api_keys: BTreeMap<MemberId, Vec<IdentityPublicKey>>,
    pub(crate) timing: TimingConfig,
    pub(crate) limits: LimitsConfig,
    pub(crate) stopping: AtomicBool,
}

impl Core {
    /// A statement of this coordinator.
    pub(crate) fn state<B: Body>(
        &self,
        issued_at: Timestamp,
        expires_at: Timestamp,
        body: B,
    ) -> Result<Envelope, StatementError> {
        let genesis = self.bundle.current().directory().genesis();
        let me = self.me.clone();
        Statement::new(genesis, me, issued_at, expires_at, body, &mut OsRng).sign(&self.identity)
    }

    /// Appends a record of an operation that belongs to no request. A record that cannot be written is an error of its
    /// own in the log.
    pub(crate) async fn audit(
        &self,
        operation: &str,
        subject: String,
        member: &str,
        outcome: &str,
        detail: String,
    ) {
        let record = AuditRecord {
            at: now(),
            operation: operation.to_owned(),
            subject,
            member: member.to_owned(),
            outcome: outcome.to_owned(),
            detail,
        };
        if let Err(error) = self.store.audit(&random_hex(), &record).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                ?record,
                "an operation could not be recorded"
            );
        }
    }
}

/// The requests that this process works on.
#[derive(Debug, Default)]
pub(crate) struct Works(Mutex<HashMap<Hash, Arc<Work>>>);

/// One request that this process works on.
#[derive(Debug)]
pub(crate) struct Work {
    /// Somebody changed the request, or wants it to be looked at now.
    pub(crate) changed: Notify,
    /// The revision that the runner knows.
    pub(crate) revision: AtomicI64,
    /// Ends the work where it stands, as a crash would.
    pub(crate) abort: std::sync::OnceLock<tokio::task::AbortHandle>,
    /// The request at its end; `None` until then.
    pub(crate) done: watch::Sender<Option<Arc<StoredRequest>>>,
}

impl Works {
    /// Registers work on a request. `None` when it is going on already.
    pub(crate) fn begin(&self, request: &StoredRequest) -> Option<Arc<Work>> {
        let mut works = self.lock();
        if works.contains_key(&request.id) {
            return None;
        }
        let (done, _) = watch::channel(None);
        let work = Arc::new(Work {
            changed: Notify::new(),
            revision: AtomicI64::new(request.revision),
            abort: std::sync::OnceLock::new(),
            done,
        });
        works.insert(request.id, Arc::clone(&work));
        Some(work)
    }

    /// Takes a request off the list. Whoever waits for it looks into the database.
    fn remove(&self, id: &Hash) {
        self.lock().remove(id);
    }

    /// Ends all work where it stands.
    pub(crate) fn abort_all(&self) {
        for work in self.lock().values() {
            if let Some(abort) = work.abort.get() {
                abort.abort();
            }
        }
    }

    pub(crate) fn get(&self, id: &Hash) -> Option<Arc<Work>> {
        self.lock().get(id).cloned()
    }

    pub(crate) fn ids(&self) -> Vec<Hash> {
        self.lock().keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Hash, Arc<Work>>> {
        // Every change is one call on the map, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes its request off the list when it goes: at the end, and when the work is aborted or panics, so that the lease
/// runs out and another takes the request up.
pub(crate) struct Listed {
    pub(crate) core: Arc<Core>,
    pub(crate) id: Hash,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.core.works.remove(&self.id);
    }
}

impl Work {
    pub(crate) fn knows(&self, request: &StoredRequest) {
        self.revision.store(request.revision, Ordering::Relaxed);
    }
}

/// The clock of this machine.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    Timestamp::from_millis(millis)
}

/// 32 random hexadecimal digits.
pub(crate) fn random_hex() -> String {
    let mut bytes = [0_u8; 16];
    OsRng.fill_bytes(&mut bytes);
    hex::encode(bytes)
}
