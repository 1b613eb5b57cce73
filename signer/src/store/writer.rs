//! The one writer: group commit.
//!
//! Operations queue; the writer takes what is there, decides each in memory, writes all their rows in one transaction,
//! commits (one fsync), and only then answers (I5). While it commits, the next group gathers. If anything fails, nobody of the
//! group is told of success, and the store refuses everything until it is opened again (I6).

use std::sync::{Arc, RwLock};
use std::time::Duration;

use countersign_policy::{KeyId, MemberId};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::rekey::SealedHeader;
use super::rows::{self, SealedShare, Write};
use super::state::{Published, State};
use super::{Record, StoreError};

/// How long a row may wait for a durable operation to share its commit.
pub const LAZY_WRITE: Duration = Duration::from_millis(100);

/// The greatest number of operations in one commit.
const GROUP: usize = 256;
/// Rows waiting for a commit before one is made for them.
const MAX_WAITING_ROWS: usize = 2048;

/// Sends an answer. Dropped instead of called, it tells the caller to look up why the store failed.
pub(super) type Answer = Box<dyn FnOnce() + Send>;
/// Decides in memory, queues rows, and says how to answer. An error is a fault of the store, not a refusal.
pub(super) type Decision =
    Box<dyn FnOnce(&mut State, &mut Vec<Write>) -> Result<Answer, StoreError> + Send>;
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(super) enum Op {
    /// Answered after the commit of its rows and all before.
    Durable(Decision),
    /// Looks at the state: answered when what the same group decided is durable.
    Observe(Decision),
    /// Answered at once; its rows go with the next commit.
    Lazy(Decision),
    Read(Query),
    Close(oneshot::Sender<()>),
}

/// Reads of what is not kept in memory.
pub(super) enum Query {
    Share(KeyId, u32, Reply<Option<SealedShare>>),
    Entries {
        after: u64,
        limit: usize,
        reply: Reply<Vec<Vec<u8>>>,
    },
    PeerEntry {
        peer: MemberId,
        sequence: u64,
        reply: Reply<Option<Vec<u8>>>,
    },
    Bundles(Reply<Vec<Vec<u8>>>),
    Header(Reply<SealedHeader>),
    /// Ledger rows after this one, of all authors, this node's first.
    Page {
        after: i64,
        reply: Reply<Vec<(i64, Vec<u8>)>>,
    },
    Observations(Reply<Vec<Vec<u8>>>),
    Records(usize, Reply<Vec<Record>>),
    #[cfg(test)]
    Script(String, Reply<()>),
}

/// Where tests make the process die.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CrashPoint {
    BeforeRows,
    BeforeCommit,
    AfterCommit,
}

pub(super) struct Writer {
    pub db: Connection,
    pub state: State,
    pub published: Arc<RwLock<Published>>,
    pub ops: mpsc::Receiver<Op>,
    /// Rows of lazy operations.
    pub waiting: Vec<Write>,
    #[cfg(test)]
    pub crash: Option<(CrashPoint, u64)>,
}

impl Writer {
    /// Starts the writer on a thread of its own: SQLite and the disk never keep the network waiting.
    pub fn start(self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || runtime.block_on(self.run()))
            .map(|_| ())
    }

    /// Runs until every handle is gone, a close is asked for, or something fails.
    pub async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP);
        let mut flush_at: Option<Instant> = None;
        let mut closing = None;
        while closing.is_none() {
            let open = self.receive(&mut group, flush_at).await;
            if open == Received::Closed {
                break;
            }
            let due = flush_at.is_some_and(|at| at <= Instant::now());
            match self.serve(&mut group, due) {
                Ok(close) => closing = close,
                Err(failure) => {
                    tracing::error!(error = %failure, "the store failed and refuses to work until it is opened again");
                    self.fail(failure);
                    return self.refuse_everything().await;
                }
            }
            flush_at = match self.waiting.is_empty() {
                true => None,
                false => flush_at.or_else(|| Instant::now().checked_add(LAZY_WRITE)),
            };
        }
        if let Err(failure) = self.commit() {
            tracing::error!(error = %failure, "rows that were no promise could not be written at the end");
        }
        self.fail(StoreError::Closed);
        if let Err((_, error)) = self.db.close() {
            tracing::error!(%error, "the store did not close cleanly");
        }
        // The file is free once this is answered.
        if let Some(done) = closing {
            let _ = done.send(());
        }
    }

    async fn receive(&mut self, group: &mut Vec<Op>, flush_at: Option<Instant>) -> Received {
        let receive = self.ops.recv_many(group, GROUP);
        let received = match flush_at {
            None => receive.await,
            Some(at) => match tokio::time::timeout_at(at, receive).await {
                Ok(received) => received,
                Err(_) => return Received::FlushDue,
            },
        };
        if received == 0 {
            return Received::Closed;
        }
        Received::Group
    }

    /// Decides and writes one group.
    fn serve(
        &mut self,
        group: &mut Vec<Op>,
        flush: bool,
    ) -> Result<Option<oneshot::Sender<()>>, StoreError> {
        let mut answers: Vec<Answer> = Vec::new();
        let mut reads = Vec::new();
        let mut closing = None;
        let mut flush = flush;
        for op in group.drain(..) {
            match op {
                Op::Durable(decide) => {
                    answers.push(decide(&mut self.state, &mut self.waiting)?);
                    flush = true;
                }
                Op::Observe(decide) => answers.push(decide(&mut self.state, &mut self.waiting)?),
                Op::Lazy(decide) => decide(&mut self.state, &mut self.waiting)?(),
                Op::Read(query) => reads.push(query),
                Op::Close(done) => closing = Some(done),
            }
        }
        if flush || self.waiting.len() >= MAX_WAITING_ROWS {
            self.commit()?;
        }
        for answer in answers {
            answer();
        }
        for query in reads {
            self.read(query);
        }
        Ok(closing)
    }

    /// Writes all waiting rows in one transaction, then publishes what they say.
    fn commit(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        self.transact(&rows)?;
        if let Some((ours, seen)) = self.state.rolled_back {
            return Err(StoreError::RolledBack { ours, seen });
        }
        self.write_published(|published, state| {
            published.update(state);
            published.work.add(rows.len());
        });
        Ok(())
    }

    fn transact(&mut self, rows: &[Write]) -> Result<(), StoreError> {
        let failed = |error| StoreError::failed("commit", error);
        #[cfg(test)]
        self.crash_at(CrashPoint::BeforeRows);
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        for row in rows {
            row.execute(&transaction)?;
        }
        #[cfg(test)]
        crash_if(&mut self.crash, CrashPoint::BeforeCommit);
        transaction.commit().map_err(failed)?;
        #[cfg(test)]
        self.crash_at(CrashPoint::AfterCommit);
        Ok(())
    }

    fn read(&self, query: Query) {
        fn answer<T>(reply: Reply<T>, found: rusqlite::Result<T>) {
            // A caller that no longer waits is no fault.
            let _ = reply.send(found.map_err(|error| StoreError::failed("read", error)));
        }
        let db = &self.db;
        match query {
            Query::Share(key, generation, reply) => {
                answer(reply, rows::share(db, &key, generation))
            }
            Query::Entries {
                after,
                limit,
                reply,
            } => answer(reply, rows::own_entries(db, after, limit)),
            Query::PeerEntry {
                peer,
                sequence,
                reply,
            } => answer(reply, rows::peer_entry(db, &peer, sequence)),
            Query::Bundles(reply) => answer(reply, rows::bundles(db)),
            Query::Header(reply) => answer(reply, rows::header(db)),
            Query::Page { after, reply } => answer(reply, rows::page(db, after)),
            Query::Observations(reply) => answer(reply, rows::observations(db)),
            Query::Records(limit, reply) => answer(reply, rows::records(db, limit)),
            #[cfg(test)]
            Query::Script(sql, reply) => answer(reply, db.execute_batch(&sql)),
        }
    }

    fn fail(&mut self, failure: StoreError) {
        self.write_published(|published, _| {
            published.failure.get_or_insert(failure);
        });
    }

    fn write_published(&mut self, change: impl FnOnce(&mut Published, &mut State)) {
        let mut published = match self.published.write() {
            Ok(published) => published,
            // Published is only ever replaced whole parts at a time; a reader's panic leaves it sound.
            Err(poisoned) => poisoned.into_inner(),
        };
        change(&mut published, &mut self.state);
    }

    /// After a failure: drops the file and every operation that still comes, so that each caller learns of the failure.
    async fn refuse_everything(mut self) {
        self.ops.close();
        while self.ops.recv().await.is_some() {}
        let _ = self.db.close();
    }

    #[cfg(test)]
    fn crash_at(&mut self, point: CrashPoint) {
        crash_if(&mut self.crash, point);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Received {
    Group,
    FlushDue,
    Closed,
}

/// Dies like a machine without power when the countdown for the point is over.
#[cfg(test)]
fn crash_if(crash: &mut Option<(CrashPoint, u64)>, point: CrashPoint) {
    if let Some((at, countdown)) = crash
        && *at == point
    {
        if *countdown == 0 {
            std::process::abort();
        }
        *countdown -= 1;
    }
}
