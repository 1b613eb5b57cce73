//! What limits count: every spend that any ledger reserved, and what became of it (DESIGN section 5).
//!
//! A spend counts from the first entry that reserves it, whoever wrote it. It returns only when every session that
//! reserved it was aborted by all of its participants, or when chain observers proved that it is dead. All of it follows
//! from the entries and the observations, in whatever order they come: two nodes with the same entries count the same.
//!
//! Peers may lie. What an entry says of a transaction is a version of its own, named by everything in it that matters for
//! counting or for returning, so that a lie is counted besides the truth and never in its place.

use std::collections::{BTreeSet, HashMap};

use countersign_policy::limits::protocol::{Entry, given_up};
use countersign_policy::limits::{
    Evidence, LimitHit, NonceAhead, NonceBook, Spend, Subject, evidence,
};
use countersign_policy::statement::{LedgerEvent, Observation, Reservation};
use countersign_policy::{
    Address, FreezeSet, Hash, Lifetime, LimitId, MemberId, Network, Timestamp,
};

use super::rules::{Rules, TooFew};

/// How long a spend can count in a window: 31 days and twice the greatest skew, in seconds.
const KEEP_SECONDS: u64 = 31 * 86_400 + 2 * 60;

/// A member's number here.
type Name = u32;
/// This node.
const ME: Name = 0;

/// All spends that a limit may still count, and the book that counts them.
pub(in crate::store) struct Spends {
    rules: Option<Rules>,
    names: HashMap<MemberId, Name>,
    versions: HashMap<Hash, Version>,
    /// Versions by what all versions of a payment share.
    payments: HashMap<Hash, Vec<Hash>>,
    /// Versions by signing digest: one, unless somebody lies.
    digests: HashMap<Hash, Vec<Hash>>,
    sessions: HashMap<Hash, Session>,
    /// Who will never send a share for a session.
    aborts: HashMap<Hash, Vec<Name>>,
    /// What chain observers said, verified, by digest.
    observed: HashMap<Hash, Vec<Observation>>,
    /// The nonces that they saw used, for ever.
    nonces: NonceBook,
    ages: BTreeSet<(Timestamp, Hash)>,
    /// Versions past their age that are outstanding.
    held: BTreeSet<Hash>,
    /// Whether outstanding ones are held, while no rules say so.
    hold: bool,
    /// Sessions in which this node would have signed and did not reserve, by the end of their authorization.
    owed: BTreeSet<(Timestamp, Hash)>,
}

/// One transaction as an entry describes it.
struct Version {
    spend: Spend,
    digest: Hash,
    network: Network,
    source: Address,
    lifetime: Lifetime,
    sessions: Vec<Hash>,
    authors: Vec<Name>,
    counted: bool,
}

/// A session as its reservations describe it.
#[derive(Default)]
struct Session {
    /// What this node reserved for it.
    own: Option<Hash>,
    versions: Vec<Hash>,
    /// Everybody whom some entry names as a participant.
    participants: Vec<Name>,
    owed_from: Option<Timestamp>,
}

/// What became of a version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Counts,
    Confirmed,
    Gone,
}

impl Spends {
    pub fn new(me: MemberId) -> Self {
        Self {
            rules: None,
            names: HashMap::from([(me, ME)]),
            versions: HashMap::new(),
            payments: HashMap::new(),
            digests: HashMap::new(),
            sessions: HashMap::new(),
            aborts: HashMap::new(),
            observed: HashMap::new(),
            nonces: NonceBook::default(),
            ages: BTreeSet::new(),
            held: BTreeSet::new(),
            hold: true,
            owed: BTreeSet::new(),
        }
    }

    /// Whether outstanding spends are kept beyond their age, until rules say so. Says whether they were until now.
    pub fn hold_outstanding(&mut self, hold: bool) -> bool {
        std::mem::replace(&mut self.hold, hold)
    }

    /// Counts everything that is remembered by other rules from here on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.hold = rules.holds_outstanding;
        self.rules = Some(rules);
        let mut all: Vec<(Timestamp, Hash)> = Vec::with_capacity(self.versions.len());
        for (name, version) in &mut self.versions {
            version.counted = false;
            all.push((version.spend.at(), *name));
        }
        all.sort_unstable();
        for (_, name) in all {
            self.refresh(&name, true);
        }
    }

    /// How many versions are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether the limits are known; nothing is reserved before.
    pub fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// The limits that a reservation would pass.
    pub fn hits(
        &self,
        reservation: &Reservation,
        freezes: &FreezeSet,
        now: Timestamp,
    ) -> Vec<LimitHit> {
        let (_, spend) = version_of(reservation, now);
        self.hits_of(&spend, freezes, now)
    }

    /// The limits that this node's reservation for a session passes, over everything that is known. `None` when the node
    /// remembers no such spend.
    pub fn session_hits(
        &self,
        session: &Hash,
        freezes: &FreezeSet,
        now: Timestamp,
    ) -> Option<Vec<LimitHit>> {
        let own = self.sessions.get(session)?.own?;
        let version = self.versions.get(&own)?;
        Some(self.hits_of(&version.spend, freezes, now))
    }

    fn hits_of(&self, spend: &Spend, freezes: &FreezeSet, now: Timestamp) -> Vec<LimitHit> {
        // A freeze may have lowered a cap.
        let lower = |limit: &LimitId| freezes.lower(limit);
        let rules = self.rules.as_ref();
        rules.map_or_else(Vec::new, |rules| rules.book.hits(spend, now, &lower))
    }

    /// Whether too few nodes of some limit's ledger group reserve the spend.
    pub fn too_few(&self, reservation: &Reservation, reservers: &[&MemberId]) -> Option<TooFew> {
        let (_, spend) = version_of(reservation, reservation.expires_at);
        self.rules.as_ref()?.too_few(&spend, reservers)
    }

    /// Whether the transaction's nonce is too far ahead of what observers saw used.
    pub fn nonce_ahead(&self, reservation: &Reservation) -> Option<NonceAhead> {
        self.nonces.ahead(&self.rules.as_ref()?.leads, reservation)
    }

    /// Whether observers proved that the reserved transaction can never be in a block: what no longer counts is not
    /// signed either.
    pub fn is_dead(&self, reservation: &Reservation) -> bool {
        let (_, spend) = version_of(reservation, reservation.expires_at);
        let subject = Subject {
            network: reservation.network,
            source: reservation.source,
            digest: Spend::digest_of(&reservation.digests),
            lifetime: &reservation.lifetime,
        };
        self.proved(spend.id(), &subject) == Fate::Gone
    }

    /// The same for what this node reserved for a session.
    pub fn session_is_dead(&self, session: &Hash) -> bool {
        let own = self.sessions.get(session).and_then(|s| s.own);
        let own = own.and_then(|name| self.versions.get(&name));
        own.is_some_and(|v| self.proved(v.spend.id(), &v.subject()) == Fate::Gone)
    }

    /// What a verified observation proves about what is reserved here; by the reservation that it fits best.
    pub fn weigh(&self, observation: &Observation) -> Evidence {
        let mut weighed = Evidence::Nothing("no ledger reserved such a transaction");
        for name in self.digests.get(&observation.digest).into_iter().flatten() {
            let Some(version) = self.versions.get(name) else {
                continue;
            };
            let same = |digest: &Hash| self.is_same_payment(version.spend.id(), digest);
            match evidence(observation, &version.subject(), &same) {
                Evidence::Nothing(why) => weighed = Evidence::Nothing(why),
                proof => return proof,
            }
        }
        weighed
    }

    /// Whether this very thing was said before.
    pub fn knows(&self, observation: &Observation) -> bool {
        let said = self.observed.get(&observation.digest);
        said.is_some_and(|said| said.contains(observation))
    }

    /// Sessions that this node never reserved, in which it was to sign, and whose authorization ended before `before`.
    pub fn owed(&self, before: Timestamp, limit: usize) -> Vec<Hash> {
        let due = self.owed.iter().take_while(|(ended, _)| *ended < before);
        due.take(limit).map(|(_, session)| *session).collect()
    }

    /// Whether this node wrote that it will never send a share for the session.
    pub fn is_aborted_here(&self, session: &Hash) -> bool {
        self.aborts.get(session).is_some_and(|by| by.contains(&ME))
    }
}

impl Spends {
    /// Takes an entry of any ledger.
    pub fn heard(&mut self, author: &MemberId, at: Timestamp, event: &LedgerEvent) {
        match event {
            LedgerEvent::Reserved(reservation) => self.reserved(author, reservation, at),
            LedgerEvent::Aborted { session, .. } => self.aborted(author, session),
            // An observation counts when this node verified it: then its statement is stored.
            _ => {}
        }
    }

    /// Takes a reservation of any ledger.
    pub fn reserved(&mut self, author: &MemberId, r: &Reservation, at: Timestamp) {
        let (name, spend) = version_of(r, at);
        let author = self.name_of(author);
        let participants: Vec<Name> = r.participants.iter().map(|p| self.name_of(p)).collect();
        self.remember_session(r, name, author, &participants);
        if !self.versions.contains_key(&name) {
            self.remember_version(name, r, spend.clone());
        }
        let Some(version) = self.versions.get_mut(&name) else {
            return;
        };
        push_new(&mut version.sessions, r.session);
        push_new(&mut version.authors, author);
        if version.spend.at() < at {
            self.ages.remove(&(version.spend.at(), name));
            version.spend = spend;
            self.held.remove(&name);
            self.ages.insert((at, name));
        }
        self.refresh(&name, true);
        self.refresh_siblings(&name);
    }

    /// Takes an abort of any ledger, whether or not the session is known yet.
    pub fn aborted(&mut self, author: &MemberId, session: &Hash) {
        let author = self.name_of(author);
        push_new(self.aborts.entry(*session).or_default(), author);
        let Some(known) = self.sessions.get_mut(session) else {
            return;
        };
        if author == ME
            && let Some(from) = known.owed_from.take()
        {
            self.owed.remove(&(from, *session));
        }
        for name in known.versions.clone() {
            self.refresh(&name, false);
        }
    }

    /// Takes what a quorum of chain observers said; it was verified before.
    pub fn observed(&mut self, observation: Observation) {
        // Also of a transaction that nothing counts any more: its account's next nonce stays what it is.
        self.nonces.observe(&observation);
        let Some(names) = self.digests.get(&observation.digest).cloned() else {
            return;
        };
        push_new(
            self.observed.entry(observation.digest).or_default(),
            observation,
        );
        for name in names {
            self.refresh(&name, false);
        }
    }

    /// Forgets what no limit can count any more.
    pub fn prune(&mut self, now: Timestamp) {
        let horizon = now.minus_seconds(KEEP_SECONDS);
        while let Some((at, name)) = self.ages.first().copied() {
            if at >= horizon {
                break;
            }
            self.ages.remove(&(at, name));
            self.held.insert(name);
            self.release_held(&name);
        }
        if let Some(rules) = &mut self.rules {
            rules.book.prune(now);
        }
    }

    fn remember_session(
        &mut self,
        r: &Reservation,
        version: Hash,
        author: Name,
        participants: &[Name],
    ) {
        let aborted_here = self.is_aborted_here(&r.session);
        let session = self.sessions.entry(r.session).or_default();
        push_new(&mut session.versions, version);
        for participant in participants {
            push_new(&mut session.participants, *participant);
        }
        if author == ME {
            session.own = Some(version);
            if let Some(from) = session.owed_from.take() {
                self.owed.remove(&(from, r.session));
            }
        } else if participants.contains(&ME)
            && session.own.is_none()
            && session.owed_from.is_none()
            && !aborted_here
        {
            session.owed_from = Some(r.expires_at);
            self.owed.insert((r.expires_at, r.session));
        }
    }

    fn remember_version(&mut self, name: Hash, r: &Reservation, spend: Spend) {
        let digest = Spend::digest_of(&r.digests);
        self.payments.entry(spend.id()).or_default().push(name);
        self.digests.entry(digest).or_default().push(name);
        self.ages.insert((spend.at(), name));
        let version = Version {
            spend,
            digest,
            network: r.network,
            source: r.source,
            lifetime: r.lifetime.clone(),
            sessions: Vec::new(),
            authors: Vec::new(),
            counted: false,
        };
        self.versions.insert(name, version);
    }

    /// Brings the book in line with what is known of a version. `again` when an entry reserved it just now.
    fn refresh(&mut self, name: &Hash, again: bool) {
        let fate = self.fate(name);
        let Some(version) = self.versions.get_mut(name) else {
            return;
        };
        let counted = std::mem::replace(&mut version.counted, fate != Fate::Gone);
        if let Some(rules) = &mut self.rules {
            match fate {
                Fate::Gone if counted => rules.book.give_back(name),
                Fate::Counts | Fate::Confirmed if again || !counted => {
                    rules.book.record(&version.spend);
                }
                _ => {}
            }
            if fate == Fate::Confirmed {
                rules.book.settle(name);
            }
        }
        self.release_held(name);
    }

    /// A new version may be the one that used the nonce of another.
    fn refresh_siblings(&mut self, name: &Hash) {
        let Some(payment) = self.versions.get(name).map(|v| v.spend.id()) else {
            return;
        };
        let siblings = self.payments.get(&payment);
        let siblings: Vec<Hash> = siblings
            .into_iter()
            .flatten()
            .filter(|sibling| *sibling != name && self.is_observed(sibling))
            .copied()
            .collect();
        for sibling in siblings {
            self.refresh(&sibling, false);
        }
    }

    fn is_observed(&self, name: &Hash) -> bool {
        let version = self.versions.get(name);
        version.is_some_and(|version| self.observed.contains_key(&version.digest))
    }

    fn fate(&self, name: &Hash) -> Fate {
        let Some(version) = self.versions.get(name) else {
            return Fate::Gone;
        };
        match self.proved(version.spend.id(), &version.subject()) {
            // What is in a block never returns.
            Fate::Confirmed if self.is_believed(version) => Fate::Confirmed,
            Fate::Confirmed => Fate::Counts,
            Fate::Gone => Fate::Gone,
            Fate::Counts if self.is_refused(version) => Fate::Gone,
            Fate::Counts => Fate::Counts,
        }
    }

    /// What observations prove about a transaction.
    fn proved(&self, payment: Hash, subject: &Subject<'_>) -> Fate {
        let same = |digest: &Hash| self.is_same_payment(payment, digest);
        let mut fate = Fate::Counts;
        for observation in self.observed.get(&subject.digest).into_iter().flatten() {
            match evidence(observation, subject, &same) {
                Evidence::Confirmed => return Fate::Confirmed,
                Evidence::Dead => fate = Fate::Gone,
                Evidence::Nothing(_) => {}
            }
        }
        fate
    }

    /// Whether all participants of every session that reserved it will never send a share.
    fn is_refused(&self, version: &Version) -> bool {
        let refused = |id: &Hash| {
            let (Some(session), Some(aborted)) = (self.sessions.get(id), self.aborts.get(id))
            else {
                return false;
            };
            let says = |p: &Name| aborted.contains(p).then_some(Entry::Aborted);
            !session.participants.is_empty() && given_up(&session.participants, says)
        };
        !version.sessions.is_empty() && version.sessions.iter().all(refused)
    }

    /// Whether somebody honest describes the transaction so: this node, or more nodes than may lie. Only then may its end
    /// be the end of others that compete with it.
    fn is_believed(&self, version: &Version) -> bool {
        let max_faulty = self.rules.as_ref().map_or(0, |rules| rules.max_faulty);
        version.authors.contains(&ME) || version.authors.len() > max_faulty
    }

    fn is_same_payment(&self, payment: Hash, digest: &Hash) -> bool {
        let versions = self.payments.get(&payment).into_iter().flatten();
        let mut versions = versions.filter_map(|name| self.versions.get(name));
        versions.any(|version| version.digest == *digest)
    }

    fn release_held(&mut self, name: &Hash) {
        if !self.held.contains(name) {
            return;
        }
        if self.hold && self.fate(name) == Fate::Counts {
            return;
        }
        self.held.remove(name);
        self.forget(name);
    }

    fn forget(&mut self, name: &Hash) {
        let Some(version) = self.versions.remove(name) else {
            return;
        };
        take_from(&mut self.payments, &version.spend.id(), name);
        take_from(&mut self.digests, &version.digest, name);
        if !self.digests.contains_key(&version.digest) {
            self.observed.remove(&version.digest);
        }
        for id in &version.sessions {
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            session.versions.retain(|other| other != name);
            if session.versions.is_empty()
                && let Some(session) = self.sessions.remove(id)
            {
                self.aborts.remove(id);
                if let Some(from) = session.owed_from {
                    self.owed.remove(&(from, *id));
                }
            }
        }
        if let Some(rules) = &mut self.rules {
            rules.book.give_back(name);
        }
    }

    fn name_of(&mut self, member: &MemberId) -> Name {
        if let Some(name) = self.names.get(member) {
            return *name;
        }
        let name = Name::try_from(self.names.len()).unwrap_or(Name::MAX);
        self.names.insert(member.clone(), name);
        name
    }
}

impl Version {
    fn subject(&self) -> Subject<'_> {
        Subject {
            network: self.network,
            source: self.source,
            digest: self.digest,
            lifetime: &self.lifetime,
        }
    }
}

/// The name of what an entry describes, and the spend under that name. Everything that decides what is counted, and when
/// it returns, is in the name.
fn version_of(reservation: &Reservation, at: Timestamp) -> (Hash, Spend) {
    let described = Spend::of(reservation, at);
    // A lifetime always has a JSON form.
    let lifetime = serde_json::to_vec(&reservation.lifetime).unwrap_or_default();
    let (payment, digest) = (described.id(), described.digest());
    let fee = reservation.max_fee.to_be_bytes();
    let parts: [&[u8]; 4] = [payment.as_bytes(), digest.as_bytes(), &fee, &lifetime];
    let name = Hash::derive("countersign/store/spend/v1", &parts);
    let renamed = Reservation {
        digests: vec![name],
        ..reservation.clone()
    };
    (name, Spend::of(&renamed, at))
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn take_from(lists: &mut HashMap<Hash, Vec<Hash>>, key: &Hash, item: &Hash) {
    if let Some(list) = lists.get_mut(key) {
        list.retain(|other| other != item);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}
