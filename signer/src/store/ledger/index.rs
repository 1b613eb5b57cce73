//! What the ledgers say, as a pure state machine: checks first, then applies. It does no I/O and is rebuilt at start.
//!
//! What may follow what in a session, and how it ends, is decided by the functions of `countersign_policy::limits::protocol`,
//! which is the machine that is explored exhaustively; here are the maps that make it fast for long ledgers, and what is
//! said once for ever (nonces, external ids, digests, stops).
//!
//! Every map is keyed by 32-byte digests. A reservation costs about 900 bytes here, a peer's reservation of the same
//! session 32 bytes more (its digest), because claims on nonces and external ids are shared by all authors.

use std::collections::{HashMap, HashSet};

use countersign_policy::limits::protocol::{Entry, WrongOrder, decide};
use countersign_policy::limits::{LimitHit, NonceAhead};
use countersign_policy::statement::{LedgerEvent, Reservation};
use countersign_policy::{ExternalId, FreezeSet, Hash, MemberId, Timestamp};

use super::rules::TooFew;
use super::spends::Spends;
use super::{MAX_ATTEMPTS, SessionState, SessionStatus};

/// Whose entry: an index into the list of authors; 0 is this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Author(pub u16);

impl Author {
    pub const SELF: Author = Author(0);
}

/// A single-use name and who holds it. It never becomes free.
struct Claim {
    holder: Hash,
    by: Author,
    /// Somebody claimed the same name for something else.
    contested_by: Option<Author>,
}

struct Session {
    request: Hash,
    nonce: Hash,
    state: SessionState,
    sequence: u64,
    /// Sequence number of the release or abort; 0 before.
    ended: u64,
    reserved_at: Timestamp,
}

struct Request {
    /// Hash of the list of signing digests.
    digests: Hash,
    external: Hash,
    open: Option<Hash>,
    released: bool,
    attempts: u16,
}

/// This node's sessions, and the claims and spends of all authors.
pub(in crate::store) struct Index {
    me: MemberId,
    /// What limits count.
    pub spends: Spends,
    /// Aborts of sessions that this node never reserved, with their sequence numbers.
    tombstones: HashMap<Hash, u64>,
    /// How many of them a coordinator asked for since the start, by request.
    excluded: HashMap<Hash, u16>,
    /// The time of this node's newest entry.
    clock: Timestamp,
    sessions: HashMap<Hash, Session>,
    requests: HashMap<Hash, Request>,
    nonces: HashMap<Hash, Claim>,
    external_ids: HashMap<Hash, Claim>,
    digests: HashMap<Hash, Hash>,
    presignatures: HashSet<Hash>,
    stops: HashSet<Hash>,
    peer_stops: HashMap<Hash, Author>,
    peer_aborts: HashMap<Hash, Author>,
}

/// Why a reservation is refused; the store turns authors into names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum NoReserve {
    NoRules,
    SessionExists,
    Aborted,
    Dead,
    TooFew(TooFew),
    Limit(LimitHit),
    NonceAhead(NonceAhead),
    NonceUsed,
    Stopped(Author),
    ExternalId { request: Option<Hash>, by: Author },
    DigestsChanged,
    DigestReserved { digest: Hash, request: Hash },
    PresignatureBurnt,
    TooManyAttempts,
    SessionOpen(Hash),
}

/// Why a release is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum NoRelease {
    Unknown,
    Witness,
    Dead,
    Limit(LimitHit),
    Released,
    Aborted,
    Stopped(Author),
    PeerAborted(Author),
    ExternalId(Author),
    Nonce(Author),
}

/// What a stop has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum StopPlan {
    /// A session of the request was released.
    TooLate,
    /// Nothing: it was stopped before.
    Done,
    /// Record the stop, after aborting this session if there is one.
    Stop { abort: Option<Hash> },
}

impl Index {
    pub fn new(me: MemberId) -> Self {
        Self {
            spends: Spends::new(me.clone()),
            me,
            tombstones: HashMap::new(),
            excluded: HashMap::new(),
            clock: Timestamp::from_millis(i64::MIN),
            sessions: HashMap::new(),
            requests: HashMap::new(),
            nonces: HashMap::new(),
            external_ids: HashMap::new(),
            digests: HashMap::new(),
            presignatures: HashSet::new(),
            stops: HashSet::new(),
            peer_stops: HashMap::new(),
            peer_aborts: HashMap::new(),
        }
    }

    /// Whether this node may set the spend aside, by what it knows. `witnesses` reserve without signing.
    pub fn check_reserve(
        &self,
        r: &Reservation,
        witnesses: &[MemberId],
        (freezes, now): (&FreezeSet, Timestamp),
    ) -> Result<(), NoReserve> {
        self.check_names(r)?;
        self.check_request(r)?;
        self.check_limits(r, witnesses, (freezes, now))
    }

    /// Its single-use names are free, and it was neither stopped nor aborted.
    fn check_names(&self, r: &Reservation) -> Result<(), NoReserve> {
        match Entry::Reserved.after(self.entry(&r.session)) {
            Ok(_) => {}
            Err(WrongOrder {
                old: Some(Entry::Refused),
                ..
            }) => return Err(NoReserve::Aborted),
            Err(_) => return Err(NoReserve::SessionExists),
        }
        if let Some(by) = self.stopped(&r.request) {
            return Err(NoReserve::Stopped(by));
        }
        if conflict(self.nonces.get(&r.nonce), &r.session).is_some() {
            return Err(NoReserve::NonceUsed);
        }
        let external = self.external_ids.get(&external_key(r));
        if let Some((holder, by)) = conflict(external, &r.request) {
            let request = Some(holder).filter(|holder| *holder != r.request);
            return Err(NoReserve::ExternalId { request, by });
        }
        if r.presignature
            .is_some_and(|id| self.presignatures.contains(&id))
        {
            return Err(NoReserve::PresignatureBurnt);
        }
        Ok(())
    }

    /// It is what its request was before, and no other attempt is open.
    fn check_request(&self, r: &Reservation) -> Result<(), NoReserve> {
        if let Some(request) = self.requests.get(&r.request) {
            if request.digests != digests_key(&r.digests) {
                return Err(NoReserve::DigestsChanged);
            }
            if let Some(open) = request.open {
                return Err(NoReserve::SessionOpen(open));
            }
            if request.attempts >= MAX_ATTEMPTS {
                return Err(NoReserve::TooManyAttempts);
            }
        }
        for digest in &r.digests {
            if let Some(request) = self.digests.get(digest)
                && *request != r.request
            {
                let (digest, request) = (*digest, *request);
                return Err(NoReserve::DigestReserved { digest, request });
            }
        }
        Ok(())
    }

    /// Enough nodes of each limit's ledger group reserve it, and it fits into what is left.
    fn check_limits(
        &self,
        r: &Reservation,
        witnesses: &[MemberId],
        (freezes, now): (&FreezeSet, Timestamp),
    ) -> Result<(), NoReserve> {
        if !self.spends.has_rules() {
            return Err(NoReserve::NoRules);
        }
        if self.spends.is_dead(r) {
            return Err(NoReserve::Dead);
        }
        let reservers: Vec<&MemberId> = r.participants.iter().chain(witnesses).collect();
        if let Some(too_few) = self.spends.too_few(r, &reservers) {
            return Err(NoReserve::TooFew(too_few));
        }
        // Nothing to look at again at the release: what observers saw never becomes less.
        if let Some(ahead) = self.spends.nonce_ahead(r) {
            return Err(NoReserve::NonceAhead(ahead));
        }
        match self.spends.hits(r, freezes, now).into_iter().next() {
            Some(hit) => Err(NoReserve::Limit(hit)),
            None => Ok(()),
        }
    }

    /// Whether this node may send its share, over the union of its own ledger and all that it has of its peers'.
    pub fn check_release(
        &self,
        id: &Hash,
        (freezes, now): (&FreezeSet, Timestamp),
    ) -> Result<(), NoRelease> {
        let session = self.sessions.get(id).ok_or(NoRelease::Unknown)?;
        if session.state == SessionState::Witnessed {
            return Err(NoRelease::Witness);
        }
        match Entry::Released.after(self.entry(id)) {
            Ok(_) => {}
            Err(WrongOrder {
                old: Some(Entry::Released),
                ..
            }) => return Err(NoRelease::Released),
            Err(_) => return Err(NoRelease::Aborted),
        }
        self.check_union(id, session, (freezes, now))
    }

    /// Whether anything stands in the way of a session that this node witnesses, over the same union.
    pub fn check_clear(
        &self,
        id: &Hash,
        (freezes, now): (&FreezeSet, Timestamp),
    ) -> Result<(), NoRelease> {
        let session = self.sessions.get(id).ok_or(NoRelease::Unknown)?;
        match session.state {
            SessionState::Witnessed => self.check_union(id, session, (freezes, now)),
            SessionState::Reserved => Err(NoRelease::Unknown),
            SessionState::Released => Err(NoRelease::Released),
            SessionState::Aborted => Err(NoRelease::Aborted),
        }
    }

    fn check_union(
        &self,
        id: &Hash,
        session: &Session,
        (freezes, now): (&FreezeSet, Timestamp),
    ) -> Result<(), NoRelease> {
        if let Some(by) = self.stopped(&session.request) {
            return Err(NoRelease::Stopped(by));
        }
        let request = self
            .requests
            .get(&session.request)
            .ok_or(NoRelease::Unknown)?;
        let external = self.external_ids.get(&request.external);
        if let Some((_, by)) = conflict(external, &session.request) {
            return Err(NoRelease::ExternalId(by));
        }
        if let Some((_, by)) = conflict(self.nonces.get(&session.nonce), id) {
            return Err(NoRelease::Nonce(by));
        }
        if self.spends.session_is_dead(id) {
            return Err(NoRelease::Dead);
        }
        // Reserved first and read now: of all sessions that share a limit, the one whose receipts were complete last sees
        // every other one here (DESIGN section 5).
        let hits = self.spends.session_hits(id, freezes, now);
        let hit = hits.ok_or(NoRelease::Unknown)?.into_iter().next();
        let aborted = self.peer_aborts.get(id);
        match (decide(aborted.is_some(), hit.is_none()), aborted, hit) {
            (Entry::Released, _, _) => Ok(()),
            (_, Some(by), _) => Err(NoRelease::PeerAborted(*by)),
            (_, None, Some(hit)) => Err(NoRelease::Limit(hit)),
            (_, None, None) => Err(NoRelease::Aborted),
        }
    }

    /// What this node's ledger says of a session.
    pub fn entry(&self, session: &Hash) -> Option<Entry> {
        match self.sessions.get(session).map(|known| known.state) {
            Some(SessionState::Reserved | SessionState::Witnessed) => Some(Entry::Reserved),
            Some(SessionState::Released) => Some(Entry::Released),
            Some(SessionState::Aborted) => Some(Entry::Aborted),
            None => self
                .tombstones
                .contains_key(session)
                .then_some(Entry::Refused),
        }
    }

    /// Whether this node may sign such an entry now: the last look before it does, whatever led there.
    ///
    /// # Errors
    /// [`WrongOrder`].
    pub fn permits(&self, event: &LedgerEvent) -> Result<(), WrongOrder> {
        let (session, new) = match event {
            LedgerEvent::Reserved(r) => (&r.session, Entry::Reserved),
            LedgerEvent::Released { session } => (session, Entry::Released),
            LedgerEvent::Aborted { session, .. } => {
                return Entry::abort_after(self.entry(session)).map(|_| ());
            }
            _ => return Ok(()),
        };
        new.after(self.entry(session)).map(|_| ())
    }

    /// The time of this node's newest entry.
    pub fn clock(&self) -> Timestamp {
        self.clock
    }

    pub fn plan_stop(&self, request: &Hash) -> StopPlan {
        if self.stops.contains(request) {
            return StopPlan::Done;
        }
        match self.requests.get(request) {
            Some(known) if known.released => StopPlan::TooLate,
            Some(known) => StopPlan::Stop { abort: known.open },
            None => StopPlan::Stop { abort: None },
        }
    }

    /// Applies an entry of the author, who is called `name`. Own entries were checked before they were made; peers' entries
    /// are taken as they are.
    pub fn apply(
        &mut self,
        (author, name): (Author, &MemberId),
        sequence: u64,
        at: Timestamp,
        event: &LedgerEvent,
    ) {
        let own = author == Author::SELF;
        if own {
            self.clock = self.clock.max(at);
        }
        self.count(name, at, event);
        match event {
            LedgerEvent::Reserved(reservation) => {
                claim(
                    &mut self.nonces,
                    reservation.nonce,
                    reservation.session,
                    author,
                );
                let external = external_key(reservation);
                claim(
                    &mut self.external_ids,
                    external,
                    reservation.request,
                    author,
                );
                if own {
                    self.reserve(reservation, sequence, at);
                }
            }
            LedgerEvent::Released { session } if own => {
                self.end(session, SessionState::Released, sequence);
            }
            LedgerEvent::Aborted { session, .. } if own => {
                if self.sessions.contains_key(session) {
                    self.end(session, SessionState::Aborted, sequence);
                } else {
                    self.tombstones.insert(*session, sequence);
                }
            }
            LedgerEvent::Aborted { session, .. } => {
                self.peer_aborts.entry(*session).or_insert(author);
            }
            LedgerEvent::Stopped { request, .. } if own => {
                self.stops.insert(*request);
            }
            LedgerEvent::Stopped { request, .. } => {
                self.peer_stops.entry(*request).or_insert(author);
            }
            LedgerEvent::Released { .. }
            | LedgerEvent::BundleAccepted { .. }
            | LedgerEvent::KeyStored { .. }
            | LedgerEvent::Frozen { .. }
            | LedgerEvent::Unfrozen { .. }
            | LedgerEvent::BundleAcknowledged { .. }
            | LedgerEvent::Observed { .. }
            | LedgerEvent::Started { .. } => {}
        }
    }

    /// What limits count follows from what any ledger says.
    fn count(&mut self, author: &MemberId, at: Timestamp, event: &LedgerEvent) {
        self.spends.heard(author, at, event);
        self.spends.prune(self.clock);
    }

    fn reserve(&mut self, r: &Reservation, sequence: u64, at: Timestamp) {
        let signs = r.participants.contains(&self.me);
        let session = Session {
            request: r.request,
            nonce: r.nonce,
            state: match signs {
                true => SessionState::Reserved,
                false => SessionState::Witnessed,
            },
            sequence,
            ended: 0,
            reserved_at: at,
        };
        self.sessions.insert(r.session, session);
        let request = self.requests.entry(r.request).or_insert_with(|| Request {
            digests: digests_key(&r.digests),
            external: external_key(r),
            open: None,
            released: false,
            attempts: 0,
        });
        // A witness sends no share, so nothing of its session stays open.
        if signs {
            request.open = Some(r.session);
        }
        request.attempts = request.attempts.saturating_add(1);
        for digest in &r.digests {
            self.digests.entry(*digest).or_insert(r.request);
        }
        self.presignatures.extend(r.presignature);
    }

    fn end(&mut self, id: &Hash, state: SessionState, sequence: u64) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.state = state;
        session.ended = sequence;
        if let Some(request) = self.requests.get_mut(&session.request) {
            request.released |= state == SessionState::Released;
            if request.open == Some(*id) {
                request.open = None;
            }
        }
    }

    fn stopped(&self, request: &Hash) -> Option<Author> {
        if self.stops.contains(request) {
            return Some(Author::SELF);
        }
        self.peer_stops.get(request).copied()
    }

    /// The sessions that are neither released nor aborted, oldest first.
    pub fn open_sessions(&self) -> Vec<SessionStatus> {
        let open = self
            .sessions
            .iter()
            .filter(|(_, s)| s.state == SessionState::Reserved);
        let mut open: Vec<_> = open.map(|(id, s)| s.status(*id)).collect();
        open.sort_by_key(|s| s.sequence);
        open
    }

    /// Whether a session may be excluded that was perhaps never reserved: coordinators make authorizations for free, and
    /// each costs an entry for ever.
    pub fn may_exclude(&mut self, session: &Hash, request: &Hash) -> bool {
        if self.sessions.contains_key(session) || self.tombstones.contains_key(session) {
            return true;
        }
        let asked = self.excluded.entry(*request).or_default();
        *asked = asked.saturating_add(1);
        *asked <= MAX_ATTEMPTS
    }

    /// The sequence number of the abort of a session that this node never reserved.
    pub fn tombstone(&self, session: &Hash) -> Option<u64> {
        self.tombstones.get(session).copied()
    }

    pub fn session(&self, id: &Hash) -> Option<SessionStatus> {
        self.sessions.get(id).map(|s| s.status(*id))
    }
}

impl Session {
    fn status(&self, session: Hash) -> SessionStatus {
        SessionStatus {
            session,
            request: self.request,
            state: self.state,
            sequence: self.sequence,
            ended: Some(self.ended).filter(|ended| *ended > 0),
            reserved_at: self.reserved_at,
        }
    }
}

/// Who claims the name for something other than `mine`. The answer does not depend on who came first.
fn conflict(claim: Option<&Claim>, mine: &Hash) -> Option<(Hash, Author)> {
    let claim = claim?;
    if claim.holder != *mine {
        return Some((claim.holder, claim.by));
    }
    claim.contested_by.map(|by| (claim.holder, by))
}

fn claim(claims: &mut HashMap<Hash, Claim>, name: Hash, holder: Hash, by: Author) {
    let held = claims.entry(name).or_insert(Claim {
        holder,
        by,
        contested_by: None,
    });
    if held.holder != holder && held.contested_by.is_none() {
        held.contested_by = Some(by);
    }
}

fn external_key(r: &Reservation) -> Hash {
    external_id_key(&r.initiator, &r.external_id)
}

fn external_id_key(initiator: &MemberId, external_id: &ExternalId) -> Hash {
    let parts = [
        initiator.as_str().as_bytes(),
        external_id.as_str().as_bytes(),
    ];
    Hash::derive("countersign/store/external-id/v1", &parts)
}

fn digests_key(digests: &[Hash]) -> Hash {
    let parts: Vec<&[u8]> = digests.iter().map(|d| d.as_bytes().as_slice()).collect();
    Hash::derive("countersign/store/digests/v1", &parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ledger::rules::Rules;
    use crate::store::tests::support::{CHAIN, at, member, reservation};

    #[test]
    fn one_request_cannot_fill_the_ledger_with_attempts() {
        let node = member("node-1");
        let mut index = Index::new(node.clone());
        index.spends.set_rules(Rules::of(CHAIN.active().content()));
        let mut sequence = 0;
        for attempt in 1..=u32::from(MAX_ATTEMPTS) {
            let reservation = reservation("a", attempt);
            let session = reservation.session;
            index
                .check_reserve(&reservation, &[], (&FreezeSet::default(), at(0)))
                .unwrap();
            let aborted = LedgerEvent::Aborted {
                session,
                reason: String::new(),
            };
            for event in [LedgerEvent::Reserved(Box::new(reservation)), aborted] {
                sequence += 1;
                index.apply((Author::SELF, &node), sequence, at(0), &event);
            }
        }
        let more = reservation("a", u32::from(MAX_ATTEMPTS) + 1);
        let refused = index.check_reserve(&more, &[], (&FreezeSet::default(), at(0)));
        assert_eq!(refused, Err(NoReserve::TooManyAttempts));
        // Another request is another budget.
        index
            .check_reserve(&reservation("b", 1), &[], (&FreezeSet::default(), at(0)))
            .unwrap();
    }
}
