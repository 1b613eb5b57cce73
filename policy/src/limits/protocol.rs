//! The ledger protocol as a state machine without I/O: *reserve at a quorum, then read from a quorum, then release*
//! (DESIGN section 5).
//!
//! It says which entries a node may append, when it may release, and which payments count in what it knows of all ledgers.
//! Names are type parameters, so that the machine that is explained here can be explored exhaustively with small ones
//! (`policy/tests/ledger_protocol.rs`). What fits under the limits is the caller's question to a
//! [`LimitBook`](super::LimitBook).
//!
//! Signers keep the same state in maps, because their ledgers are long. What decides is one function each, and they call
//! it: [`Entry::after`] (what may follow what), [`decide`] (release or abort), [`given_up`] (what no longer counts).

use std::collections::BTreeMap;

/// The last thing that a ledger says of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// Never reserved, and never will be: an abort that stands alone.
    Refused,
    /// Set aside. The node has sent nothing yet that could lead to a signature.
    Reserved,
    /// Reserved, and never released.
    Aborted,
    /// The share may have been sent.
    Released,
}

impl Entry {
    /// Whether the ledger ever reserved the session.
    pub const fn reserved(self) -> bool {
        !matches!(self, Entry::Refused)
    }

    /// Whether this entry may follow what the ledger says of its session: a session is reserved or refused first, and then
    /// released or aborted, each once and never both.
    ///
    /// # Errors
    /// [`WrongOrder`] otherwise.
    pub const fn after(self, old: Option<Self>) -> Result<Self, WrongOrder> {
        match (old, self) {
            (None, Entry::Reserved | Entry::Refused)
            | (Some(Entry::Reserved), Entry::Released | Entry::Aborted) => Ok(self),
            _ => Err(WrongOrder { old, new: self }),
        }
    }

    /// The promise never to send a share, where the ledger says `old` of the session.
    ///
    /// # Errors
    /// [`WrongOrder`] when the session is over.
    pub const fn abort_after(old: Option<Self>) -> Result<Self, WrongOrder> {
        match old {
            None => Self::Refused.after(old),
            Some(_) => Self::Aborted.after(old),
        }
    }

    /// Whether the node says that it will never send its share.
    pub const fn aborted(self) -> bool {
        matches!(self, Entry::Refused | Entry::Aborted)
    }
}

/// How a session ends at a node that reserved it, once everybody has reserved and confirmed: released, unless somebody who
/// reserves it gave it up, or it does not fit under the limits next to all others that are known.
pub const fn decide(somebody_aborted: bool, fits: bool) -> Entry {
    if !somebody_aborted && fits {
        Entry::Released
    } else {
        Entry::Aborted
    }
}

/// Whether a session no longer counts: each of its participants promised never to send a share. `says` tells what a
/// participant's ledger says of it, as far as that is known.
pub fn given_up<N>(
    participants: impl IntoIterator<Item = N>,
    says: impl Fn(N) -> Option<Entry>,
) -> bool {
    let mut participants = participants.into_iter();
    participants.all(|participant| says(participant).is_some_and(Entry::aborted))
}

/// The entry may not follow what the ledger says of the session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{new:?} cannot follow {old:?}")]
pub struct WrongOrder {
    /// The last entry.
    pub old: Option<Entry>,
    /// The entry that was to be appended.
    pub new: Entry,
}

/// One author's ledger: the last entry of each session, in ascending order of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ledger<S>(Vec<(S, Entry)>);

impl<S> Default for Ledger<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Copy + Ord> Ledger<S> {
    /// What it says of a session.
    pub fn entry(&self, session: S) -> Option<Entry> {
        let place = self.0.binary_search_by_key(&session, |(s, _)| *s).ok()?;
        self.0.get(place).map(|(_, entry)| *entry)
    }

    /// All sessions that it speaks of.
    pub fn entries(&self) -> impl Iterator<Item = (S, Entry)> + '_ {
        self.0.iter().copied()
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// [`WrongOrder`] unless a session is reserved or refused first, and then released or aborted, each once and never both.
    pub fn append(&mut self, session: S, new: Entry) -> Result<(), WrongOrder> {
        let new = new.after(self.entry(session))?;
        self.set(session, new);
        Ok(())
    }

    /// Adds what a copy of the same ledger says. Of an author who says both, the release is believed.
    pub fn absorb(&mut self, copy: &Self) {
        for (session, entry) in copy.entries() {
            if self.entry(session) < Some(entry) {
                self.set(session, entry);
            }
        }
    }

    fn set(&mut self, session: S, entry: Entry) {
        match self.0.binary_search_by_key(&session, |(s, _)| *s) {
            Ok(place) => {
                if let Some(known) = self.0.get_mut(place) {
                    known.1 = entry;
                }
            }
            Err(place) => self.0.insert(place, (session, entry)),
        }
    }
}

/// Who takes part in a session, and what it would sign.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan<N, P> {
    /// The payment: sessions that try it again share it.
    pub payment: P,
    /// Who signs: only all of them together can.
    pub participants: Vec<N>,
    /// Who reserves and confirms besides, without signing.
    pub witnesses: Vec<N>,
}

impl<N: PartialEq, P> Plan<N, P> {
    /// Everybody who must reserve and confirm: the quorum.
    pub fn reservers(&self) -> impl Iterator<Item = &N> {
        self.participants.iter().chain(&self.witnesses)
    }
}

/// Sessions by name.
pub type Plans<S, N, P> = BTreeMap<S, Plan<N, P>>;

/// Whether `payment` fits under all limits when these others count.
pub type Fits<'a, P> = &'a dyn Fn(P, &[P]) -> bool;

/// Why a node does not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is known about the session.
    #[error("the session is unknown")]
    Unknown,
    /// The node is no part of the session.
    #[error("the node does not reserve this session")]
    NotMine,
    /// A limit would be passed, as far as this node knows.
    #[error("a limit would be passed")]
    Limit,
    /// Not every reserver has reserved and said so.
    #[error("a receipt or a confirm is missing")]
    Missing,
    /// The session is over here, or was never reserved.
    #[error(transparent)]
    Order(#[from] WrongOrder),
}

/// What one node knows: its own ledger, and its copies of others'.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node<N, S> {
    me: N,
    own: Ledger<S>,
    peers: Vec<(N, Ledger<S>)>,
}

impl<N: Copy + Ord, S: Copy + Ord> Node<N, S> {
    /// A node with an empty ledger.
    pub const fn new(me: N) -> Self {
        Self {
            me,
            own: Ledger(Vec::new()),
            peers: Vec::new(),
        }
    }

    /// Its own ledger.
    pub const fn ledger(&self) -> &Ledger<S> {
        &self.own
    }

    /// Takes a copy of a peer's ledger.
    pub fn learn(&mut self, author: N, copy: &Ledger<S>) {
        match self.peers.binary_search_by_key(&author, |(n, _)| *n) {
            Ok(place) => {
                if let Some((_, known)) = self.peers.get_mut(place) {
                    known.absorb(copy);
                }
            }
            Err(place) => self.peers.insert(place, (author, copy.clone())),
        }
    }

    /// Reserves a session, if it fits as far as this node knows. Its receipt says so to everybody.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn reserve<P: Copy + Ord>(
        &mut self,
        session: S,
        plans: &Plans<S, N, P>,
        fits: Fits<'_, P>,
    ) -> Result<(), Refusal> {
        let plan = self.plan(session, plans)?;
        if !fits(plan.payment, &self.others(plan.payment, plans)) {
            return Err(Refusal::Limit);
        }
        Ok(self.own.append(session, Entry::Reserved)?)
    }

    /// Confirms a session once everybody has reserved it: the ledger as it is *now*, not as it was at the reservation.
    ///
    /// # Errors
    /// [`Refusal`] when a reserver is not among `receipts`, or the session is not reserved here.
    pub fn confirm<P: Copy + Ord>(
        &self,
        session: S,
        plans: &Plans<S, N, P>,
        receipts: &[N],
    ) -> Result<Ledger<S>, Refusal> {
        let plan = self.plan(session, plans)?;
        if !plan.reservers().all(|node| receipts.contains(node)) {
            return Err(Refusal::Missing);
        }
        match self.own.entry(session) {
            Some(Entry::Reserved | Entry::Released) => Ok(self.own.clone()),
            old => Err(WrongOrder {
                old,
                new: Entry::Released,
            }
            .into()),
        }
    }

    /// Decides over everything that is known and confirmed: releases the session, or aborts it. Says which.
    ///
    /// # Errors
    /// [`Refusal`] when a confirm is missing, or the session is not reserved here, or over.
    pub fn release<P: Copy + Ord>(
        &mut self,
        session: S,
        plans: &Plans<S, N, P>,
        confirms: &[(N, Ledger<S>)],
        fits: Fits<'_, P>,
    ) -> Result<Entry, Refusal> {
        let plan = self.plan(session, plans)?;
        let confirmed = |node: &N| confirms.iter().any(|(from, _)| from == node);
        if !plan
            .reservers()
            .all(|node| *node == self.me || confirmed(node))
        {
            return Err(Refusal::Missing);
        }
        for (author, ledger) in confirms {
            if *author != self.me {
                self.learn(*author, ledger);
            }
        }
        let others = self.others(plan.payment, plans);
        let aborted = self.known().any(|(node, ledger)| {
            let aborts = ledger.entry(session).is_some_and(Entry::aborted);
            aborts && plan.reservers().any(|reserver| *reserver == node)
        });
        let entry = decide(aborted, fits(plan.payment, &others));
        self.own.append(session, entry)?;
        Ok(entry)
    }

    /// Promises never to send a share for a session, whether it was reserved here or not.
    ///
    /// # Errors
    /// [`WrongOrder`] when it is over.
    pub fn abort(&mut self, session: S) -> Result<(), WrongOrder> {
        let entry = Entry::abort_after(self.own.entry(session))?;
        self.own.append(session, entry)
    }

    /// Aborts everything in which this node would sign and has not released: what a node does when it starts. What it only
    /// witnesses stays reserved: it has no share to send.
    pub fn restart<P>(&mut self, plans: &Plans<S, N, P>) {
        for (session, entry) in &mut self.own.0 {
            let plan = plans.get(session);
            let signs = plan.is_none_or(|plan| plan.participants.contains(&self.me));
            if *entry == Entry::Reserved && signs {
                *entry = Entry::Aborted;
            }
        }
    }

    /// The payments that count, as far as this node knows.
    pub fn counted<P: Copy + Ord>(&self, plans: &Plans<S, N, P>) -> Vec<P> {
        let mut payments: Vec<P> = Vec::new();
        for (session, plan) in plans {
            let reserved =
                |(_, ledger): (N, &Ledger<S>)| ledger.entry(*session).is_some_and(Entry::reserved);
            if self.known().any(reserved) && !self.is_over(*session, plan) {
                payments.push(plan.payment);
            }
        }
        payments.sort_unstable();
        payments.dedup();
        payments
    }

    /// Whether all participants of a session promise never to send a share. A witness has none to send.
    pub fn is_over<P>(&self, session: S, plan: &Plan<N, P>) -> bool {
        given_up(&plan.participants, |participant| {
            let mut known = self.known();
            let (_, ledger) = known.find(|(node, _)| node == participant)?;
            ledger.entry(session)
        })
    }

    fn others<P: Copy + Ord>(&self, payment: P, plans: &Plans<S, N, P>) -> Vec<P> {
        let mut others = self.counted(plans);
        others.retain(|other| *other != payment);
        others
    }

    fn plan<'p, P>(
        &self,
        session: S,
        plans: &'p Plans<S, N, P>,
    ) -> Result<&'p Plan<N, P>, Refusal> {
        let plan = plans.get(&session).ok_or(Refusal::Unknown)?;
        if plan.reservers().any(|node| *node == self.me) {
            return Ok(plan);
        }
        Err(Refusal::NotMine)
    }

    fn known(&self) -> impl Iterator<Item = (N, &Ledger<S>)> {
        let peers = self.peers.iter().map(|(node, ledger)| (*node, ledger));
        std::iter::once((self.me, &self.own)).chain(peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_released_or_aborted_and_never_both() {
        use Entry::{Aborted, Refused, Released, Reserved};
        let all = [Refused, Reserved, Aborted, Released];
        let allowed = |old, new| {
            matches!(
                (old, new),
                (None, Reserved | Refused) | (Some(Reserved), Released | Aborted)
            )
        };
        for old in [
            None,
            Some(Refused),
            Some(Reserved),
            Some(Aborted),
            Some(Released),
        ] {
            for new in all {
                let mut ledger = Ledger(old.map(|old| (1_u8, old)).into_iter().collect());
                let appended = ledger.append(1, new);
                assert_eq!(appended.is_ok(), allowed(old, new), "{old:?} {new:?}");
                let now = if appended.is_ok() { Some(new) } else { old };
                assert_eq!(ledger.entry(1), now);
            }
        }
    }

    #[test]
    fn of_a_ledger_that_says_both_the_release_is_believed() {
        let (mut known, mut copy) = (Ledger::default(), Ledger::default());
        for (ledger, end) in [(&mut known, Entry::Released), (&mut copy, Entry::Aborted)] {
            ledger.append(1_u8, Entry::Reserved).unwrap();
            ledger.append(1, end).unwrap();
        }
        let mut forth = known.clone();
        forth.absorb(&copy);
        copy.absorb(&known);
        assert_eq!(forth.entry(1), Some(Entry::Released));
        assert_eq!(copy.entry(1), Some(Entry::Released));
    }

    #[test]
    fn a_release_needs_the_confirm_of_every_reserver() {
        let plan = Plan {
            payment: 0_u8,
            participants: vec![0_u8, 1],
            witnesses: vec![2],
        };
        let plans = Plans::from([(7_u8, plan)]);
        let fits: Fits<'_, u8> = &|_, _| true;
        let mut node = Node::new(0);
        let nothing = Ledger::default();
        let order = |old| {
            Refusal::Order(WrongOrder {
                old,
                new: Entry::Released,
            })
        };
        assert_eq!(node.confirm(7, &plans, &[0, 1, 2]), Err(order(None)));
        node.reserve(7, &plans, fits).unwrap();
        assert_eq!(node.confirm(7, &plans, &[0, 1]), Err(Refusal::Missing));
        let both = [(1, nothing.clone()), (2, nothing)];
        assert_eq!(
            node.release(7, &plans, &both[..1], fits),
            Err(Refusal::Missing)
        );
        assert_eq!(node.release(7, &plans, &both, fits), Ok(Entry::Released));
        assert_eq!(node.release(8, &plans, &both, fits), Err(Refusal::Unknown));
        assert_eq!(Node::new(3).reserve(7, &plans, fits), Err(Refusal::NotMine));
    }
}
