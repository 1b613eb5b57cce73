//! The signer's memory: one SQLite file, private to the process, written by one thread with group commit.
//!
//! It holds the sealed shares, the ledger of what this node promised and what its peers say they promised, the bundle chain,
//! ceremonies, bans and records. What an operation answers is durable (I5); what it refuses is a type of its own, apart
//! from faults (I9); after a fault it refuses everything until it is opened again (I6).
//!
//! Operations are decided one after another, in memory, in the order in which they were asked for; many share one commit.

mod counters;
mod history;
mod kek;
mod ledger;
mod load;
mod open;
mod recorded;
mod records;
mod rekey;
mod rows;
mod seal;
mod secrets;
mod starts;
mod state;
mod statements;
#[cfg(test)]
mod tests;
mod time_floor;
mod token_kek;
mod writer;

pub use crate::wire::Record;
pub use counters::SeenCounter;
pub use history::{CeremonyProgress, KeyBan};
pub use kek::{Argon2Cost, DataKey, KekError, KeyEncryptionKey, MIN_PASSPHRASE, PassphraseKek};
pub use ledger::{
    AbortRefusal, Aborted, IngestRefusal, LedgerPosition, ObserveRefusal, OwnEntryRefusal,
    PeerPosition, ReleaseRefusal, Released, ReserveRefusal, Reserved, SessionState, SessionStatus,
};
pub use open::{OpenError, OpenMode, StoreOptions};
pub use records::{Cause, NewRecord, RECORD_BURST};
pub use seal::SealError;
pub use secrets::{PutRefusal, SecretKind, ShareRecord};
pub use starts::{OwnStart, StartRefusal};
pub use statements::{Effect, KeptStatement, NewStatement};
pub use token_kek::TokenKek;
pub use writer::LAZY_WRITE;

use std::sync::{Arc, RwLock};

use countersign_policy::{IdentityKey, MemberId};
use tokio::sync::{mpsc, oneshot};

use ledger::taken::Taken;
use rows::Write;
use seal::Sealer;
use state::{Published, State};
use writer::{Answer, Decision, Op, Writer};

/// How many operations may queue before callers wait for room.
const QUEUE: usize = 1024;

/// A fault of the store: nothing is known to be durable, and after most of them nothing works until it is opened again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database refused: disk full, an I/O error, a damaged file.
    #[error("the store cannot {during}: {reason}")]
    Failed {
        /// What was attempted.
        during: &'static str,
        /// What SQLite or the system says.
        reason: String,
    },
    /// What is in the file contradicts itself.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// Somebody has an entry that this node signed and this file does not contain: the file is an old copy, or another
    /// process signs with the same identity.
    #[error(
        "the store is an old copy: it ends at ledger entry {ours} and somebody has another entry {seen} signed by this node"
    )]
    RolledBack {
        /// The last entry here.
        ours: u64,
        /// The entry that somebody has.
        seen: u64,
    },
    /// A ciphertext that does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A state that cannot be.
    #[error("a fault in the store: {0}")]
    Internal(&'static str),
}

impl StoreError {
    fn failed(during: &'static str, error: rusqlite::Error) -> Self {
        Self::Failed {
            during,
            reason: error.to_string(),
        }
    }
}

/// Why an operation did not happen: it was refused, or the store has a fault. Denied is not failed (I9).
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpError<R: std::error::Error> {
    /// The operation is not allowed; the store works on.
    #[error(transparent)]
    Refused(R),
    /// The store has a fault.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// A handle to the store. Clones share the one writer.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    node: MemberId,
    ops: mpsc::Sender<Op>,
    published: Arc<RwLock<Published>>,
    sealer: Sealer,
    budgets: records::Budgets,
    taken: Taken,
    rekeying: tokio::sync::Mutex<()>,
}

impl Store {
    /// Opens the file, checks it, rebuilds the indexes, and starts the writer's thread.
    ///
    /// `identity` signs the ledger; `kek` unlocks the secrets. Loading takes time in proportion to the ledger.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do about it.
    pub async fn open(
        options: &StoreOptions,
        identity: Arc<IdentityKey>,
        kek: &dyn KeyEncryptionKey,
    ) -> Result<Self, OpenError> {
        let (writer, shared) = Self::prepare(options, identity, kek)?;
        writer.start().map_err(|error| OpenError::Io {
            path: options.path.clone(),
            reason: format!("no thread for the store: {error}"),
        })?;
        Ok(Self { shared })
    }

    fn prepare(
        options: &StoreOptions,
        identity: Arc<IdentityKey>,
        kek: &dyn KeyEncryptionKey,
    ) -> Result<(Writer, Arc<Shared>), OpenError> {
        let opened = open::open(options, kek)?;
        let (node, genesis) = (options.node.clone(), options.genesis);
        let mut state = load::load(&opened.db, node.clone(), genesis, identity)?;
        let published = Arc::new(RwLock::new(Published::new(&mut state)));
        let (ops, receiver) = mpsc::channel(QUEUE);
        let writer = Writer {
            db: opened.db,
            state,
            published: Arc::clone(&published),
            ops: receiver,
            waiting: Vec::new(),
            #[cfg(test)]
            crash: None,
        };
        let shared = Shared {
            node,
            ops,
            published,
            sealer: opened.sealer,
            budgets: records::Budgets::default(),
            taken: Taken::default(),
            rekeying: tokio::sync::Mutex::default(),
        };
        Ok((writer, Arc::new(shared)))
    }

    /// Commits what waits, closes the file and frees it. Every later operation fails with [`StoreError::Closed`].
    pub async fn close(&self) {
        // A store that failed cannot keep them.
        let _ = self.summarise_all_records(crate::clock::now()).await;
        let (done, closed) = oneshot::channel();
        if self.send(Op::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }

    /// Whether the store still works; the fault that stopped it otherwise.
    ///
    /// # Errors
    /// The [`StoreError`] that stopped it.
    pub fn health(&self) -> Result<(), StoreError> {
        self.published(|_| ())
    }

    /// This node.
    pub fn node(&self) -> &MemberId {
        &self.shared.node
    }

    fn taken(&self) -> &Taken {
        &self.shared.taken
    }

    fn sealer(&self) -> &Sealer {
        &self.shared.sealer
    }

    fn budgets(&self) -> &records::Budgets {
        &self.shared.budgets
    }

    /// Decides in memory and answers after the commit of what it wrote, and of all that was written before.
    async fn durably<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut State, &mut Vec<Write>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (decision, answer) = decision(decide);
        self.send(Op::Durable(decision)).await?;
        self.answered(answer).await
    }

    /// Decides in memory and answers at once; what it wrote is committed with the next durable operation.
    async fn lazily<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut State, &mut Vec<Write>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (decision, answer) = decision(decide);
        self.send(Op::Lazy(decision)).await?;
        self.answered(answer).await
    }

    /// Looks at the writer's state; what is seen is durable, but for what is durable late anyhow.
    async fn observe<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (decision, answer) = decision(move |state, _| Ok(look(state)));
        self.send(Op::Observe(decision)).await?;
        self.answered(answer).await
    }

    async fn send(&self, op: Op) -> Result<(), StoreError> {
        match self.shared.ops.send(op).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Reads what is durable without waiting for the writer.
    fn published<T>(&self, read: impl FnOnce(&Published) -> T) -> Result<T, StoreError> {
        let published = match self.shared.published.read() {
            Ok(published) => published,
            // The writer changes it by assignments that do not panic.
            Err(poisoned) => poisoned.into_inner(),
        };
        match &published.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(read(&published)),
        }
    }

    /// Makes freezes count that come from no commit: see [`Store::restore_freezes`].
    fn publish_freezes(&self, freezes: countersign_policy::FreezeSet) {
        let mut published = match self.shared.published.write() {
            Ok(published) => published,
            Err(poisoned) => poisoned.into_inner(),
        };
        published.freezes = freezes;
    }

    async fn answered<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, StoreError> {
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.failure().await),
        }
    }

    /// Why the writer dropped an operation: it says so before it closes its queue.
    async fn failure(&self) -> StoreError {
        self.shared.ops.closed().await;
        self.health().err().unwrap_or(StoreError::Closed)
    }
}

fn decision<T: Send + 'static>(
    decide: impl FnOnce(&mut State, &mut Vec<Write>) -> Result<T, StoreError> + Send + 'static,
) -> (Decision, oneshot::Receiver<T>) {
    let (reply, answer) = oneshot::channel();
    let decision: Decision = Box::new(move |state, writes| {
        let decided = decide(state, writes)?;
        // A caller that no longer waits is no fault: what it asked for happened.
        let answer: Answer = Box::new(move || drop(reply.send(decided)));
        Ok(answer)
    });
    (decision, answer)
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("node", &self.shared.node)
            .finish_non_exhaustive()
    }
}
