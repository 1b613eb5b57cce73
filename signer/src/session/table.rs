//! The sessions in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use countersign_policy::{Hash, Timestamp};

use crate::gate::ReservedSpend;
use crate::threshold::BurntPresignature;
use crate::wire::{Problem, ProblemCode, Signed};

/// How a session ended.
pub type SessionResult = Result<Signed, Problem>;

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

    /// Ends the session, unless it ended before: the first end stands. False when it had ended.
    fn finish(&self, result: SessionResult) -> bool {
        self.outcome.send_if_modified(|outcome| {
            if outcome.is_some() {
                return false;
            }
            *outcome = Some(result);
            true
        })
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

/// All sessions in memory: so many that are open, and as many again that ended, whose results somebody may ask for again.
#[derive(Debug)]
pub struct SessionTable {
    sessions: Mutex<Sessions>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<Hash, Arc<Session>>,
    by_request: HashMap<Hash, Vec<Arc<Session>>>,
    /// Those of `by_id` that ended, the first one first.
    ended: VecDeque<Hash>,
}

impl Sessions {
    fn remove(&mut self, id: &Hash) -> Option<Arc<Session>> {
        let session = self.by_id.remove(id)?;
        let request = session.spend().terms().request;
        if let Some(attempts) = self.by_request.get_mut(&request) {
            attempts.retain(|s| !Arc::ptr_eq(s, &session));
            if attempts.is_empty() {
                self.by_request.remove(&request);
            }
        }
        Some(session)
    }
}

impl SessionTable {
    /// An empty table for at most `limit` open sessions.
    pub fn new(limit: usize) -> Self {
        Self {
            sessions: Mutex::default(),
            limit,
        }
    }

    /// The session of this id.
    pub fn get(&self, id: &Hash) -> Option<Arc<Session>> {
        self.lock().by_id.get(id).cloned()
    }

    /// Whether there is room for one more open session.
    pub fn has_room(&self) -> bool {
        let sessions = self.lock();
        sessions.by_id.len().saturating_sub(sessions.ended.len()) < self.limit
    }

    /// Adds a session.
    pub fn insert(&self, session: Arc<Session>) {
        let terms = session.spend().terms();
        let (id, request) = (terms.session, terms.request);
        let mut sessions = self.lock();
        sessions
            .by_request
            .entry(request)
            .or_default()
            .push(Arc::clone(&session));
        sessions.by_id.insert(id, session);
    }

    /// Ends a session, unless it ended before: the first end stands. Results stay until their authorization is over, so that
    /// a coordinator can ask again for one that got lost; the oldest go first when there are too many.
    pub fn finish(&self, session: &Session, result: SessionResult) {
        if !session.finish(result) {
            return;
        }
        let id = session.spend().terms().session;
        let mut sessions = self.lock();
        // A session that was taken out already, because its time was over, is not counted.
        if sessions.by_id.contains_key(&id) {
            sessions.ended.push_back(id);
        }
        while sessions.ended.len() > self.limit {
            if let Some(oldest) = sessions.ended.pop_front() {
                sessions.remove(&oldest);
            }
        }
    }

    /// The open sessions of one request.
    pub fn of_request(&self, request: &Hash) -> Vec<Arc<Session>> {
        let sessions = self.lock();
        let attempts = sessions.by_request.get(request);
        let attempts = attempts.into_iter().flatten();
        attempts.filter(|s| !s.is_finished()).cloned().collect()
    }

    /// All open sessions.
    pub fn open(&self) -> Vec<Arc<Session>> {
        let sessions = self.lock();
        let all = sessions.by_id.values();
        all.filter(|s| !s.is_finished()).cloned().collect()
    }

    /// Whether any session has started and not ended.
    pub fn any_running(&self) -> bool {
        let sessions = self.lock();
        let mut all = sessions.by_id.values();
        all.any(|s| s.is_started() && !s.is_finished())
    }

    /// Takes out every session whose authorization ended before `before`.
    pub fn remove_expired(&self, before: Timestamp) -> Vec<Arc<Session>> {
        let mut sessions = self.lock();
        let old: Vec<Hash> = sessions
            .by_id
            .iter()
            .filter(|(_, s)| s.spend().admitted().authorization().statement().expires_at < before)
            .map(|(id, _)| *id)
            .collect();
        let removed = old.iter().filter_map(|id| sessions.remove(id)).collect();
        let Sessions { by_id, ended, .. } = &mut *sessions;
        ended.retain(|id| by_id.contains_key(id));
        removed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sessions> {
        // No change panics half-way, so a panic elsewhere leaves it whole.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
