//! The sessions in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use countersign_policy::{Hash, Signature, Timestamp};

use crate::gate::ReservedSpend;
use crate::threshold::BurntPresignature;
use crate::wire::{Problem, ProblemCode};

/// How a session ended.
pub type SessionResult = Result<Vec<Signature>, Problem>;

/// One session from its reservation to its end.
#[derive(Debug)]
pub struct Session {
    spend: ReservedSpend,
    presignature: Mutex<Option<BurntPresignature>>,
    started: Mutex<bool>,
    outcome: watch::Sender<Option<SessionResult>>,
}

impl Session {
    /// A session that was just reserved.
    pub fn new(spend: ReservedSpend, presignature: Option<BurntPresignature>) -> Self {
        let (outcome, _) = watch::channel(None);
        Self {
            spend,
            presignature: Mutex::new(presignature),
            started: Mutex::new(false),
            outcome,
        }
    }

    /// The reservation.
    pub fn spend(&self) -> &ReservedSpend {
        &self.spend
    }

    /// True for the first caller alone, who then runs the session.
    pub fn start(&self) -> bool {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *started, true)
    }

    /// Whether somebody runs it, or ran it.
    pub fn is_started(&self) -> bool {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The presignature, once: it is moved out for good.
    pub fn take_presignature(&self) -> Option<BurntPresignature> {
        self.presignature
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Ends the session, unless it ended before: the first end stands.
    pub fn finish(&self, result: SessionResult) {
        self.outcome.send_if_modified(|outcome| {
            if outcome.is_some() {
                return false;
            }
            *outcome = Some(result);
            true
        });
    }

    /// Whether it ended.
    pub fn is_finished(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    /// Waits for the end.
    pub async fn wait(&self) -> SessionResult {
        let mut outcome = self.outcome.subscribe();
        match outcome.wait_for(Option::is_some).await {
            Ok(result) => result
                .clone()
                .unwrap_or_else(|| Err(ProblemCode::Internal.problem("the session has no result"))),
            Err(_) => Err(ProblemCode::Aborted.problem("the session ended with the node")),
        }
    }
}

/// All sessions in memory, bounded.
#[derive(Debug)]
pub struct SessionTable {
    sessions: Mutex<HashMap<Hash, Arc<Session>>>,
    limit: usize,
}

impl SessionTable {
    /// An empty table for at most `limit` sessions.
    pub fn new(limit: usize) -> Self {
        Self {
            sessions: Mutex::default(),
            limit,
        }
    }

    /// The session of this id.
    pub fn get(&self, id: &Hash) -> Option<Arc<Session>> {
        self.lock().get(id).cloned()
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.lock().len() < self.limit
    }

    /// Adds a session.
    pub fn insert(&self, session: Arc<Session>) {
        self.lock().insert(session.spend().terms().session, session);
    }

    /// The open sessions of one request.
    pub fn of_request(&self, request: &Hash) -> Vec<Arc<Session>> {
        self.lock()
            .values()
            .filter(|s| s.spend().terms().request == *request && !s.is_finished())
            .cloned()
            .collect()
    }

    /// Whether any session has started and not ended.
    pub fn any_running(&self) -> bool {
        self.lock()
            .values()
            .any(|s| s.is_started() && !s.is_finished())
    }

    /// Takes out every session whose authorization ended before `before`; finished ones stay that long so that a
    /// coordinator can ask again for a result that got lost.
    pub fn remove_expired(&self, before: Timestamp) -> Vec<Arc<Session>> {
        let mut sessions = self.lock();
        let old: Vec<Hash> = sessions
            .iter()
            .filter(|(_, s)| s.spend().admitted().authorization().statement().expires_at < before)
            .map(|(id, _)| *id)
            .collect();
        old.iter().filter_map(|id| sessions.remove(id)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Hash, Arc<Session>>> {
        // Every change is one call on the map, so a panic elsewhere leaves it whole.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
