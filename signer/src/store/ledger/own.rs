//! This node's own entries: made, signed, chained.

use countersign_policy::limits::protocol::{Entry, WrongOrder};
use countersign_policy::statement::{
    LedgerEntry, LedgerEvent, Reservation, Statement, StopOutcome,
};
use countersign_policy::{Envelope, Hash, MemberId, StatementId, Timestamp};

use super::index::{Author, NoRelease, NoReserve, StopPlan};
use super::{
    AbortRefusal, Fallible, LedgerPosition, ReleaseRefusal, Released, ReserveRefusal, Reserved,
    SessionState, SessionStatus, clipped,
};
use crate::store::rows::Write;
use crate::store::state::State;
use crate::store::{Aborted, OpError, Store, StoreError};

/// Ledger entries never expire: 9999-12-31T23:59:59.999Z.
fn never() -> Timestamp {
    Timestamp::from_millis(i64::MAX)
}

/// Sessions that are excluded in one commit.
const MAX_MISSED: usize = 100;
/// The longest reason of an abort, in bytes.
const MAX_REASON: usize = 200;

impl Store {
    /// Reserves a spend: takes its nonce and external id, burns its presignature, and remembers its digests, for ever.
    /// Durable when this returns.
    ///
    /// A further attempt (another authorization and nonce) at the same request with the same digests is allowed once every
    /// earlier session of the request on this node is aborted or released.
    ///
    /// # Errors
    /// [`ReserveRefusal`], or a [`StoreError`]: then nothing was reserved, as far as anybody will ever be told.
    pub async fn reserve(&self, reservation: Reservation, now: Timestamp) -> Reserved {
        self.reserve_with(reservation, Vec::new(), now).await
    }

    /// The same with witnesses: nodes that reserve it too and do not sign. This node may be one of them.
    ///
    /// # Errors
    /// The same.
    pub async fn reserve_with(
        &self,
        reservation: Reservation,
        witnesses: Vec<MemberId>,
        now: Timestamp,
    ) -> Reserved {
        self.durably(move |state, writes| state.reserve(reservation, &witnesses, now, writes))
            .await?
            .map_err(OpError::Refused)
    }

    /// Allows this node to send its share for a session, over the union of its own ledger and all that peers told.
    /// Durable when this returns, and so is the union it was decided over.
    ///
    /// # Errors
    /// [`ReleaseRefusal`] or a [`StoreError`].
    pub async fn release(&self, session: Hash, now: Timestamp) -> Released {
        self.durably(move |state, writes| state.release(session, now, writes))
            .await?
            .map_err(OpError::Refused)
    }

    /// Whether this node, as a witness, finds nothing in the way of a session, over the union of its own ledger and all that
    /// peers told. What it looked at is durable when this returns; the session stays as it is.
    ///
    /// # Errors
    /// [`ReleaseRefusal`] or a [`StoreError`].
    pub async fn clear(
        &self,
        session: Hash,
        now: Timestamp,
    ) -> Result<(), OpError<ReleaseRefusal>> {
        self.durably(move |state, _| {
            let looked = state.index.check_clear(&session, (&state.freezes, now));
            Ok(looked.map_err(|refusal| state.release_refusal(refusal, &session)))
        })
        .await?
        .map_err(OpError::Refused)
    }

    /// Excludes a release of the session for ever. Repeating it changes nothing and gives the same answer.
    /// `reason` is for people and cut to 200 bytes.
    ///
    /// # Errors
    /// [`AbortRefusal`] or a [`StoreError`].
    pub async fn abort(&self, session: Hash, reason: impl Into<String>, now: Timestamp) -> Aborted {
        let reason = clipped(reason.into(), MAX_REASON);
        self.durably(move |state, writes| state.abort(session, reason, now, writes))
            .await?
            .map_err(OpError::Refused)
    }

    /// The same, also for a session that this node never reserved: then it is refused here for ever, and what it reserved
    /// elsewhere can return. `request` is the session's; it has a bounded number of them.
    ///
    /// # Errors
    /// [`AbortRefusal`] or a [`StoreError`].
    pub async fn exclude(
        &self,
        session: Hash,
        request: Hash,
        reason: impl Into<String>,
        now: Timestamp,
    ) -> Aborted {
        let reason = clipped(reason.into(), MAX_REASON);
        self.durably(move |state, writes| {
            if !state.index.may_exclude(&session, &request) {
                return Ok(Err(AbortRefusal::TooMany));
            }
            state.exclude(session, reason, now, writes)
        })
        .await?
        .map_err(OpError::Refused)
    }

    /// Excludes the sessions that peers reserved, in which this node was to sign, that it never reserved itself, and whose
    /// authorization ended before `ended_before`; at most 100 at once. Says how many.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub async fn exclude_missed(
        &self,
        ended_before: Timestamp,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let due = self
            .observe(move |state| !state.index.spends.owed(ended_before, 1).is_empty())
            .await?;
        if !due {
            return Ok(0);
        }
        self.durably(move |state, writes| {
            let missed = state.index.spends.owed(ended_before, MAX_MISSED);
            for session in &missed {
                let reason = "it ended before this node took part".to_owned();
                // A refusal means that it is decided already.
                let _ = state.exclude(*session, reason, now, writes)?;
            }
            Ok(missed.len())
        })
        .await
    }

    /// Stops a request for ever, reserved or not: aborts its open session and refuses every later one. Durable when
    /// this returns. Repeating it gives the same answer.
    ///
    /// # Errors
    /// A [`StoreError`]: then nothing is known, and nothing may be reported.
    pub async fn stop(
        &self,
        request: Hash,
        cancel: Hash,
        now: Timestamp,
    ) -> Result<StopOutcome, StoreError> {
        self.durably(move |state, writes| state.stop(request, cancel, now, writes))
            .await
    }

    /// A session of this node, as it durably stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn session(&self, session: Hash) -> Result<Option<SessionStatus>, StoreError> {
        self.observe(move |state| state.index.session(&session))
            .await
    }

    /// The sessions that are neither released nor aborted, oldest first: at start all of them are to be aborted (I10).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_sessions(&self) -> Result<Vec<SessionStatus>, StoreError> {
        self.observe(|state| state.index.open_sessions()).await
    }

    /// The newest durable entry of this node's ledger.
    ///
    /// # Errors
    /// [`StoreError`] once the store refuses to work.
    pub fn head(&self) -> Result<LedgerPosition, StoreError> {
        self.published(|p| p.head)
    }

    /// Own durable entries with sequence numbers above `sequence`, at most `limit` (and at most 1,000), oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entries_after(
        &self,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<Envelope>, StoreError> {
        let limit = limit.min(MAX_ENTRIES);
        if let Some(recent) = self.published(|p| p.entries_after(sequence, limit))? {
            return Ok(recent);
        }
        self.read_entries(sequence, limit).await
    }

    /// Checks an entry that somebody says this node signed. One that this file does not have proves that the file is an old
    /// copy: the store refuses to work from then on, also after a restart.
    ///
    /// # Errors
    /// [`OwnEntryRefusal::Foreign`] when this node did not sign it; [`StoreError::RolledBack`].
    pub async fn check_own(&self, entry: &Envelope) -> Result<(), OpError<OwnEntryRefusal>> {
        let envelope = entry.clone();
        self.durably(move |state, writes| state.check_own(&envelope, writes))
            .await?
            .map_err(OpError::Refused)
    }
}

/// The greatest number of entries in one answer or one ingestion.
pub(super) const MAX_ENTRIES: usize = 1000;

/// An entry that proves nothing about this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OwnEntryRefusal {
    /// Not signed by this node, or no ledger entry of this deployment.
    #[error("the entry is not one that this node signed")]
    Foreign,
}

impl State {
    fn reserve(
        &mut self,
        reservation: Reservation,
        witnesses: &[MemberId],
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Fallible<Result<LedgerPosition, ReserveRefusal>> {
        if let Err(refusal) =
            self.index
                .check_reserve(&reservation, witnesses, (&self.freezes, now))
        {
            return Ok(Err(self.reserve_refusal(refusal, &reservation.session)));
        }
        let event = LedgerEvent::Reserved(Box::new(reservation));
        self.append(event, now, writes).map(Ok)
    }

    fn release(
        &mut self,
        session: Hash,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Fallible<Result<LedgerPosition, ReleaseRefusal>> {
        if let Err(refusal) = self.index.check_release(&session, (&self.freezes, now)) {
            return Ok(Err(self.release_refusal(refusal, &session)));
        }
        self.append(LedgerEvent::Released { session }, now, writes)
            .map(Ok)
    }

    fn abort(
        &mut self,
        session: Hash,
        reason: String,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Fallible<Result<LedgerPosition, AbortRefusal>> {
        match self.index.session(&session).map(|known| known.state) {
            None => Ok(Err(AbortRefusal::Unknown)),
            Some(SessionState::Witnessed) => Ok(Err(AbortRefusal::Witness)),
            Some(_) => self.never_release(session, reason, now, writes),
        }
    }

    /// Excludes a release, reserved or not; what is excluded already stays where it is.
    fn never_release(
        &mut self,
        session: Hash,
        reason: String,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Fallible<Result<LedgerPosition, AbortRefusal>> {
        match Entry::abort_after(self.index.entry(&session)) {
            Ok(_) => {
                let event = LedgerEvent::Aborted { session, reason };
                self.append(event, now, writes).map(Ok)
            }
            Err(WrongOrder { old: Some(old), .. }) if old.aborted() => {
                let ended = self.index.session(&session).and_then(|known| known.ended);
                let ended = ended.or_else(|| self.index.tombstone(&session));
                Ok(Ok(self.position(ended)))
            }
            Err(_) => Ok(Err(AbortRefusal::Released)),
        }
    }

    fn exclude(
        &mut self,
        session: Hash,
        reason: String,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Fallible<Result<LedgerPosition, AbortRefusal>> {
        if self.index.session(&session).is_some() {
            return self.abort(session, reason, now, writes);
        }
        self.never_release(session, reason, now, writes)
    }

    fn stop(
        &mut self,
        request: Hash,
        cancel: Hash,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Fallible<StopOutcome> {
        match self.index.plan_stop(&request) {
            StopPlan::TooLate => return Ok(StopOutcome::Released),
            StopPlan::Done => return Ok(StopOutcome::Stopped),
            StopPlan::Stop { abort } => {
                if let Some(session) = abort {
                    let reason = "the request was stopped".to_owned();
                    self.append(LedgerEvent::Aborted { session, reason }, now, writes)?;
                }
            }
        }
        self.append(LedgerEvent::Stopped { request, cancel }, now, writes)?;
        Ok(StopOutcome::Stopped)
    }

    /// Signs the next entry, queues its row and makes it count for the operations that follow.
    pub(in crate::store) fn append(
        &mut self,
        event: LedgerEvent,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Fallible<LedgerPosition> {
        self.index
            .permits(&event)
            .map_err(|_| StoreError::Internal("an entry that may not follow the one before"))?;
        let previous = self.head();
        let sequence = previous
            .sequence
            .checked_add(1)
            .ok_or(StoreError::Internal("the ledger is full"))?;
        let statement = Statement {
            kind: <LedgerEntry as countersign_policy::statement::Body>::KIND,
            genesis: self.genesis,
            id: StatementId::new(format!("entry-{sequence}"))
                .map_err(|_| StoreError::Internal("no statement id"))?,
            issuer: self.node.clone(),
            issued_at: now,
            expires_at: never(),
            body: LedgerEntry {
                sequence,
                previous: previous.head,
                event,
            },
        };
        let envelope = statement
            .sign(&self.identity)
            .map_err(|_| StoreError::Internal("a ledger entry could not be written"))?;
        let position = LedgerPosition {
            sequence,
            head: envelope.digest(),
        };
        writes.push(Write::entry(Author::SELF, sequence, &envelope)?);
        let event = &statement.body.event;
        self.index
            .apply((Author::SELF, &self.node), sequence, now, event);
        self.own.push(position.head);
        self.fresh.push(envelope);
        Ok(position)
    }

    /// The head of the own ledger, with what this batch added.
    pub(in crate::store) fn head(&self) -> LedgerPosition {
        self.own
            .last()
            .map_or(LedgerPosition::EMPTY, |head| LedgerPosition {
                sequence: self.own.len() as u64,
                head: *head,
            })
    }

    fn check_own(
        &mut self,
        envelope: &Envelope,
        writes: &mut Vec<Write>,
    ) -> Fallible<Result<(), OwnEntryRefusal>> {
        let Some(entry) = self.open_own(envelope) else {
            return Ok(Err(OwnEntryRefusal::Foreign));
        };
        let seen = entry.sequence;
        if self.position(Some(seen)).head == envelope.digest() {
            return Ok(Ok(()));
        }
        let ours = self.head().sequence;
        writes.push(Write::rolled_back(ours, seen, envelope)?);
        self.rolled_back = Some((ours, seen));
        Ok(Ok(()))
    }

    /// The entry in an envelope that this node's own identity key signed.
    fn open_own(&self, envelope: &Envelope) -> Option<LedgerEntry> {
        let [signature] = envelope.signatures() else {
            return None;
        };
        let message = envelope.pre_authentication_encoding();
        let key = self.identity.public();
        let statement = super::peers::parse_entry(envelope)?;
        let ours = statement.issuer == self.node
            && statement.genesis == self.genesis
            && envelope.payload_type() == statement.kind.payload_type()
            && key.verify(&message, &signature.sig);
        ours.then_some(statement.body)
    }

    fn reserve_refusal(&self, refusal: NoReserve, session: &Hash) -> ReserveRefusal {
        match refusal {
            NoReserve::SessionExists => {
                let known = self.index.session(session);
                ReserveRefusal::SessionExists {
                    state: known.map_or(SessionState::Aborted, |known| known.state),
                    reserved: self.position(known.map(|known| known.sequence)),
                }
            }
            NoReserve::NoRules => ReserveRefusal::NoRules,
            NoReserve::Aborted => ReserveRefusal::Aborted,
            NoReserve::Dead => ReserveRefusal::Dead,
            NoReserve::TooFew(few) => ReserveRefusal::TooFew {
                limit: few.limit,
                group: few.group,
                needed: few.needed,
                found: few.found,
            },
            NoReserve::Limit(hit) => ReserveRefusal::Limit(hit),
            NoReserve::NonceAhead(ahead) => ReserveRefusal::NonceAhead(ahead),
            NoReserve::NonceUsed => ReserveRefusal::NonceUsed,
            NoReserve::Stopped(by) => ReserveRefusal::Stopped {
                by: self.peer_name(by),
            },
            NoReserve::ExternalId { request, by } => ReserveRefusal::ExternalIdBound {
                request,
                by: self.peer_name(by),
            },
            NoReserve::DigestsChanged => ReserveRefusal::DigestsChanged,
            NoReserve::DigestReserved { digest, request } => {
                ReserveRefusal::DigestReserved { digest, request }
            }
            NoReserve::PresignatureBurnt => ReserveRefusal::PresignatureBurnt,
            NoReserve::TooManyAttempts => ReserveRefusal::TooManyAttempts,
            NoReserve::SessionOpen(session) => ReserveRefusal::SessionOpen { session },
        }
    }

    fn release_refusal(&self, refusal: NoRelease, session: &Hash) -> ReleaseRefusal {
        match refusal {
            NoRelease::Unknown => ReleaseRefusal::Unknown,
            NoRelease::Witness => ReleaseRefusal::Witness,
            NoRelease::Dead => ReleaseRefusal::Dead,
            NoRelease::Limit(hit) => ReleaseRefusal::Limit(hit),
            NoRelease::Released => {
                let ended = self.index.session(session).and_then(|known| known.ended);
                ReleaseRefusal::AlreadyReleased {
                    released: self.position(ended),
                }
            }
            NoRelease::Aborted => ReleaseRefusal::Aborted,
            NoRelease::Stopped(by) => ReleaseRefusal::Stopped {
                by: self.peer_name(by),
            },
            NoRelease::PeerAborted(by) => match self.peer_name(by) {
                Some(peer) => ReleaseRefusal::PeerAborted { peer },
                None => ReleaseRefusal::Aborted,
            },
            NoRelease::ExternalId(by) => ReleaseRefusal::ExternalIdContested {
                by: self.peer_name(by),
            },
            NoRelease::Nonce(by) => ReleaseRefusal::NonceContested {
                by: self.peer_name(by),
            },
        }
    }

    /// The own entry with a sequence number.
    fn position(&self, sequence: Option<u64>) -> LedgerPosition {
        let position = sequence.and_then(|sequence| {
            let index = usize::try_from(sequence.checked_sub(1)?).ok()?;
            let head = *self.own.get(index)?;
            Some(LedgerPosition { sequence, head })
        });
        position.unwrap_or(LedgerPosition::EMPTY)
    }

    fn peer_name(&self, author: Author) -> Option<MemberId> {
        if author == Author::SELF {
            return None;
        }
        self.authors.get(usize::from(author.0)).cloned()
    }
}
