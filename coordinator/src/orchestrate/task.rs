//! One request on its way: attempt after attempt, until it is signed or is to stop.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{SignRequest, Verified};
use countersign_policy::{Envelope, Facts, MemberId, Outcome, Timestamp};

use super::attempt::{self, AttemptEnd, Broken, Session};
use super::choose::{self, Choice, NoChoice, Wanted};
use super::{abort, authorize, changed_elsewhere, offline, reload, stop};
use crate::core::{Core, Work, now};
use crate::db::{Change, DbError, Event, RequestFacts, StoredRequest};
use crate::judge::{self, Opinion};
use crate::lifecycle::{Goal, State, Why};

/// When nothing was heard for this long, SIGNING is stored while the nodes still work. Faster signatures store it together
/// with their result and save a disk write.
const SLOW: Duration = Duration::from_millis(250);

/// A request with what was established about it.
pub(super) struct Task {
    request: StoredRequest,
    verified: Verified<SignRequest>,
    facts: Facts,
    /// The newest attempt, when it was made or read by this process.
    session: Option<Session>,
    receipts: Option<Vec<Envelope>>,
    signing_since: Option<Timestamp>,
    pub(super) avoid: BTreeSet<MemberId>,
    failed: u32,
    last: Option<Why>,
}

impl Task {
    /// A request that this process works on.
    pub(super) fn new(
        request: StoredRequest,
        verified: Verified<SignRequest>,
        facts: Facts,
        session: Option<Session>,
        avoid: BTreeSet<MemberId>,
    ) -> Self {
        Self {
            request,
            verified,
            facts,
            session,
            receipts: None,
            signing_since: None,
            avoid,
            failed: 0,
            last: None,
        }
    }

    /// Goes on until the request is final. Errors of the database end it; whoever called reads the request again.
    pub(super) async fn proceed(
        &mut self,
        core: &Core,
        work: &Work,
    ) -> Result<StoredRequest, DbError> {
        loop {
            match &self.request.state {
                State::Received | State::PendingApproval(_) => {
                    self.next_attempt(core, work, None).await?
                }
                State::Authorized { .. } | State::Signing { .. } => self.go_on(core, work).await?,
                State::Stopping { .. } => {
                    let request = self.request.clone();
                    return stop::run(core, work, request, Some((&self.verified, &self.facts)))
                        .await;
                }
                State::Signed(_)
                | State::Blocked(_)
                | State::Rejected(_)
                | State::Expired(_)
                | State::Cancelled(_)
                | State::Failed(_) => return Ok(self.request.clone()),
            }
        }
    }

    /// Runs the newest attempt, and decides what follows from its end.
    async fn go_on(&mut self, core: &Core, work: &Work) -> Result<(), DbError> {
        let bundle = core.bundle.current();
        if self.session.is_none() {
            let attempts = core.store.attempts(self.request.id).await?;
            let newest = attempts.last();
            self.session = newest.and_then(|a| Session::restore(&bundle, &a.authorization));
            self.receipts = newest.and_then(|a| a.receipts.clone());
        }
        let current = self
            .session
            .clone()
            .filter(|s| attempt::has_time(s) && s.terms.bundle == bundle.digest());
        let Some(session) = current else {
            return self.next_attempt(core, work, Some(Broken::default())).await;
        };
        core.health.started(&session.terms.participants);
        let id = self.request.id;
        let end = tokio::select! {
            end = self.attempt(core, work, &bundle, &session) => end,
            () = changed_elsewhere(core, work, id) => {
                core.health.ended(&session.terms.participants);
                self.keep_receipts(core).await?;
                return Err(DbError::LostLease(self.request.id.to_hex()));
            }
        };
        core.health.ended(&session.terms.participants);
        let end = end?;
        if !matches!(end, AttemptEnd::Signed(_) | AttemptEnd::Cleared) {
            abort::in_background(core, &session, &self.request.envelope);
        }
        match end {
            AttemptEnd::Signed(data) => {
                self.finish(core, work, State::Signed(*data), "signed")
                    .await
            }
            AttemptEnd::Denied(why) => self.stop_with(core, work, Goal::Blocked, why).await,
            AttemptEnd::Stopped(why) => self.stop_with(core, work, Goal::Cancelled, why).await,
            AttemptEnd::Broke(broken) => self.next_attempt(core, work, Some(broken)).await,
            AttemptEnd::Cleared => self.wait_for_machine(core, work, &session).await,
        }
    }

    /// The approvals that the session's authorization names, in its order.
    async fn approvals_of(&self, core: &Core, session: &Session) -> Result<Vec<Envelope>, DbError> {
        if session.approvals.is_empty() {
            return Ok(Vec::new());
        }
        let stored = core.store.approvals(self.request.id).await?;
        let named = session.approvals.iter().map(|digest| {
            let found = stored.iter().find(|a| a.digest == *digest);
            found
                .map(|a| a.envelope.clone())
                .ok_or_else(|| DbError::Corrupt(format!("approval {digest} vanished")))
        });
        named.collect()
    }

    async fn attempt(
        &mut self,
        core: &Core,
        work: &Work,
        bundle: &ActiveBundle,
        session: &Session,
    ) -> Result<AttemptEnd, DbError> {
        let receipts = match self.receipts.clone() {
            Some(receipts) => receipts,
            None => {
                let approvals = self.approvals_of(core, session).await?;
                let request = &self.request.envelope;
                match attempt::prepare(core, bundle, session, request, &approvals).await {
                    Ok(receipts) => receipts,
                    Err(end) => return Ok(end),
                }
            }
        };
        self.receipts = Some(receipts.clone());
        if session.terms.offline {
            let (receipts, confirms) = offline::parts(&receipts);
            let head = core.freezes.current().head();
            if !confirms.is_empty() && !offline::held(bundle, &receipts, head) {
                let why = Why::new("freezes-differ", "the freezes changed since it was cleared");
                let broken = Broken {
                    why,
                    ..Broken::default()
                };
                return Ok(AttemptEnd::Broke(broken));
            }
            if confirms.is_empty() {
                let confirms = match offline::clear(core, bundle, session, &receipts).await {
                    Ok(confirms) => confirms,
                    Err(end) => return Ok(end),
                };
                self.receipts = Some([receipts, confirms].concat());
            }
            return Ok(AttemptEnd::Cleared);
        }
        self.signing_since = Some(now());
        let ask: Vec<MemberId> = session.terms.reservers().cloned().collect();
        let facts = self.facts.clone();
        let mut signing = std::pin::pin!(attempt::sign(core, session, &facts, &receipts, &ask));
        tokio::select! {
            end = &mut signing => return Ok(end),
            () = tokio::time::sleep(SLOW) => {}
        }
        if let State::Authorized { attempt } = self.request.state {
            let change = Change {
                receipts: Some(&receipts),
                ..Change::default()
            };
            let next = State::Signing { attempt };
            self.request = core
                .store
                .advance(&core.lease, &self.request, &next, &change)
                .await?;
            work.knows(&self.request);
        }
        Ok(signing.await)
    }

    /// The package can be fetched from here on: a signature may come to exist. Lets go of the request until an answer is
    /// imported, somebody stops it, or the authorization ends.
    async fn wait_for_machine(
        &mut self,
        core: &Core,
        work: &Work,
        session: &Session,
    ) -> Result<(), DbError> {
        let attempt = session.terms.attempt;
        let next = State::Signing { attempt };
        if self.request.state != next {
            let change = Change {
                receipts: self.receipts.as_deref(),
                ..Change::default()
            };
            self.request = core
                .store
                .advance(&core.lease, &self.request, &next, &change)
                .await?;
            work.knows(&self.request);
        }
        let instance = core.lease.instance();
        core.store
            .park(&self.request, instance, session.expires_at)
            .await?;
        Err(DbError::LostLease(self.request.id.to_hex()))
    }

    /// The event of a SIGNING that was not stored while it lasted.
    fn passed(&self) -> Vec<Event> {
        match (&self.request.state, self.signing_since) {
            (State::Authorized { attempt }, Some(at)) => vec![Event {
                at,
                state: "SIGNING".to_owned(),
                detail: format!("attempt {attempt}"),
            }],
            _ => Vec::new(),
        }
    }

    async fn finish(
        &mut self,
        core: &Core,
        work: &Work,
        next: State,
        outcome: &str,
    ) -> Result<(), DbError> {
        let passed = self.passed();
        let receipts = self.receipts.take();
        loop {
            let change = Change {
                passed: &passed,
                receipts: receipts.as_deref(),
                outcome: Some(outcome),
                ..Change::default()
            };
            match core
                .store
                .advance(&core.lease, &self.request, &next, &change)
                .await
            {
                Ok(request) => {
                    work.knows(&request);
                    self.request = request;
                    return Ok(());
                }
                // A cancel came between: a signature that exists is still reported.
                Err(DbError::LostLease(id)) => match reload(core, work, self.request.id).await {
                    Some(request) if request.state.is_final() => {
                        tracing::error!(request = %id, state = request.state.name().as_str(), "a signature came for a request that is final");
                        self.request = request;
                        return Ok(());
                    }
                    Some(request) => self.request = request,
                    None => return Err(DbError::LostLease(id)),
                },
                Err(error) => return Err(error),
            }
        }
    }

    async fn keep_receipts(&self, core: &Core) -> Result<(), DbError> {
        let change = Change {
            receipts: self.receipts.as_deref(),
            ..Change::default()
        };
        core.store.record_attempt(&self.request, &change).await
    }

    async fn stop_with(
        &mut self,
        core: &Core,
        work: &Work,
        goal: Goal,
        why: Why,
    ) -> Result<(), DbError> {
        let change = Change {
            receipts: self.receipts.as_deref(),
            outcome: Some(why.code.as_str()),
            ..Change::default()
        };
        core.store.record_attempt(&self.request, &change).await?;
        self.request = stop::begin(core, &self.request, goal, why).await?;
        work.knows(&self.request);
        Ok(())
    }

    /// Authorizes the next attempt, as soon as nodes can be chosen and while the request lives.
    async fn next_attempt(
        &mut self,
        core: &Core,
        work: &Work,
        broken: Option<Broken>,
    ) -> Result<(), DbError> {
        let mut outcome = None;
        if let Some(broken) = broken {
            self.failed = self.failed.saturating_add(1);
            if !broken.why.code.is_empty() {
                outcome = serde_json::to_string(&broken.why).ok();
                self.last = Some(broken.why);
            }
            self.avoid.extend(broken.avoid);
            if broken.presignature {
                core.pools.doubt(&self.verified.body().key);
            }
            let change = Change {
                receipts: self.receipts.as_deref(),
                outcome: outcome.as_deref(),
                ..Change::default()
            };
            let pause = attempt::pause(self.failed, broken.wait);
            if !pause.is_zero() {
                core.store.record_attempt(&self.request, &change).await?;
                self.rest(core, work, pause).await?;
            }
        }
        loop {
            if now() >= self.request.expires_at {
                return self.expire(core, work).await;
            }
            let bundle = core.bundle.current();
            let opinion = judge::as_it_stands(core, &bundle, &self.verified, &self.facts).await?;
            match opinion.decision.outcome {
                Outcome::Allow => {}
                Outcome::Blocked => {
                    let why = Why::policy(opinion.decision.reasons, "the coordinator's bundle");
                    return self.stop_with(core, work, Goal::Blocked, why).await;
                }
                Outcome::NeedsApprovals => {
                    return self.wait_for_approval(core, work, &bundle, &opinion).await;
                }
            }
            match self.choose(core, &bundle).await {
                Ok(choice) => {
                    let approvals = &opinion.approvals;
                    let outcome = outcome.as_deref();
                    return self
                        .store_attempt(core, work, &bundle, approvals, choice, outcome)
                        .await;
                }
                Err(reason) => {
                    self.last = Some(Why::new("nodes-unavailable", reason.to_string()));
                    // Everybody failed once: the blame starts anew.
                    self.avoid.clear();
                    self.rest(core, work, Duration::from_millis(300)).await?;
                }
            }
        }
    }

    async fn choose(&self, core: &Core, bundle: &ActiveBundle) -> Result<Choice, NoChoice> {
        let body = self.verified.body();
        match bundle.key(&body.key) {
            Some(key) => {
                let wanted = Wanted {
                    key,
                    path: &body.path,
                    ledgers: &choose::ledgers(bundle, &self.verified, &self.facts),
                };
                choose::choose(core, &wanted, &self.avoid, None).await
            }
            None => Err(NoChoice::Banned),
        }
    }

    async fn store_attempt(
        &mut self,
        core: &Core,
        work: &Work,
        bundle: &ActiveBundle,
        approvals: &[Envelope],
        choice: Choice,
        outcome: Option<&str>,
    ) -> Result<(), DbError> {
        let number = self.request.attempt.saturating_add(1);
        let (verified, facts) = (&self.verified, &self.facts);
        let made = authorize(core, bundle, verified, facts, approvals, choice, number);
        let Some((attempt, session)) = made else {
            return self
                .stop_with(
                    core,
                    work,
                    Goal::Failed,
                    Why::new("internal", "an authorization cannot be written"),
                )
                .await;
        };
        let passed = self.passed();
        let change = Change {
            attempt: Some(&attempt),
            passed: &passed,
            receipts: self.receipts.as_deref(),
            outcome,
            facts: None,
        };
        let next = State::Authorized { attempt: number };
        self.request = core
            .store
            .advance(&core.lease, &self.request, &next, &change)
            .await?;
        work.knows(&self.request);
        self.session = Some(session);
        self.receipts = None;
        self.signing_since = None;
        Ok(())
    }

    async fn expire(&mut self, core: &Core, work: &Work) -> Result<(), DbError> {
        let mut why = Why::new(
            "expired",
            format!("the request expired at {}", self.request.expires_at),
        );
        if let Some(last) = self.last.take() {
            why.detail = format!("{}; before that: {}", why.detail, last.detail);
            why.culprits = last.culprits;
            why.nodes = last.nodes;
        }
        self.stop_with(core, work, Goal::Expired, why).await
    }

    /// Says what is missing, and lets go of the request until somebody approves it, the bundle or the freezes change, or it
    /// expires. Coming back here, it is decided again: an approval that came between is not overlooked.
    async fn wait_for_approval(
        &mut self,
        core: &Core,
        work: &Work,
        bundle: &ActiveBundle,
        opinion: &Opinion,
    ) -> Result<(), DbError> {
        let next = State::PendingApproval(opinion.waiting(bundle));
        if self.request.state != next {
            // What was decided first stays readable in the events; the request shows the newest.
            let facts = RequestFacts {
                decision: opinion.decision.clone(),
                bundle: bundle.digest(),
                ..self.request.facts.clone()
            };
            let change = Change {
                receipts: self.receipts.as_deref(),
                facts: Some(&facts),
                ..Change::default()
            };
            self.request = core
                .store
                .advance(&core.lease, &self.request, &next, &change)
                .await?;
            work.knows(&self.request);
            self.session = None;
            self.receipts = None;
            return Ok(());
        }
        let (instance, until) = (core.lease.instance(), self.request.expires_at);
        core.store.park(&self.request, instance, until).await?;
        // Nobody's now, or changed meanwhile: whoever reads it next knows.
        Err(DbError::LostLease(self.request.id.to_hex()))
    }

    /// Waits, unless somebody changes the request.
    async fn rest(&self, core: &Core, work: &Work, pause: Duration) -> Result<(), DbError> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = changed_elsewhere(core, work, self.request.id) => Err(DbError::LostLease(self.request.id.to_hex())),
        }
    }
}
