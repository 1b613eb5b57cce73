//! Nodes, messages and a coordinator that does what it likes, around the protocol's state machine.
//!
//! Messages are signed and never taken back: a receipt, or the confirm that a node sent last, can be delivered at any later
//! time, in any order, or never. The coordinator chooses which step comes next, so that every order is explored.

use countersign_policy::limits::protocol::{Entry, Ledger, Node, Plan, Plans};

use super::explorer::Model;
use super::judge::Judge;

pub type Name = u8;
pub type Session = u8;
pub type Payment = u8;

/// How nodes come to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// As designed: reserve at the quorum, read from the quorum, release.
    Confirmed,
    /// Wrong: exchange ledgers, reserve what fits, release when all reserved.
    ExchangedBefore,
    /// Wrong: release over the union of the ledgers as they were when each reserved.
    AsOfReservation,
}

/// What is explored.
pub struct Setting {
    pub variant: Variant,
    pub nodes: Name,
    /// This node says and signs whatever helps.
    pub liar: Option<Name>,
    /// The amount of each payment.
    pub amounts: Vec<u64>,
    pub plans: Plans<Session, Name, Payment>,
    /// How often a node may restart, or abort, or refuse a session, all nodes together.
    pub failures: u8,
    /// Whether confirms are sent again with a newer ledger.
    pub resends: bool,
    /// Nodes release as soon as they can. One that waits sees more reservations, never less, as long as nothing returns;
    /// waiting is explored where the state is small enough.
    pub eager: bool,
    /// How often a node's ledger is pushed to another besides, all nodes together.
    pub pushes: u8,
    /// The most that shall be signed.
    pub bound: u64,
    /// Something that must be possible.
    pub goal: fn(&State) -> bool,
    pub judge: Judge,
}

/// A session of a payment over participants and witnesses.
pub fn plan(payment: Payment, participants: &[Name], witnesses: &[Name]) -> Plan<Name, Payment> {
    Plan {
        payment,
        participants: participants.to_vec(),
        witnesses: witnesses.to_vec(),
    }
}

impl Setting {
    pub fn new(nodes: Name, amounts: &[u64], plans: &[Plan<Name, Payment>]) -> Self {
        let cap = 100;
        Self {
            variant: Variant::Confirmed,
            nodes,
            liar: None,
            amounts: amounts.to_vec(),
            plans: (0..).zip(plans.iter().cloned()).collect(),
            failures: 0,
            resends: false,
            eager: false,
            pushes: 0,
            goal: |_| false,
            bound: cap,
            judge: Judge::new(amounts, cap),
        }
    }

    fn is_liar(&self, node: Name) -> bool {
        self.liar == Some(node)
    }

    /// What the liar shows: its ledger has nothing that counts, and promises whatever gives amounts back.
    fn lie(&self, lie: Lie) -> Ledger<Session> {
        let mut ledger = Ledger::default();
        if lie == Lie::AbortsAll {
            for session in self.plans.keys() {
                ledger
                    .append(*session, Entry::Refused)
                    .expect("an empty ledger");
            }
        }
        ledger
    }

    /// The payments that are signed, or could be with shares that were sent.
    pub fn signed(&self, state: &State) -> Vec<Payment> {
        let mut payments: Vec<Payment> = Vec::new();
        for (session, plan) in &self.plans {
            let sent = |node: &Name| {
                self.is_liar(*node) || state.entry(*node, *session) == Some(Entry::Released)
            };
            if plan.participants.iter().all(sent) {
                payments.push(plan.payment);
            }
        }
        payments.sort_unstable();
        payments.dedup();
        payments
    }

    fn fits(&self) -> impl Fn(Payment, &[Payment]) -> bool + '_ {
        |payment, others| self.judge.fits(payment, others)
    }
}

/// The state of everything.
#[derive(Debug, Clone, Hash)]
pub struct State {
    nodes: Vec<Node<Name, Session>>,
    /// Receipts that were sent.
    receipts: Vec<(Session, Name)>,
    /// The last confirm that each node sent for each session.
    confirms: Vec<((Session, Name), Ledger<Session>)>,
    failures: u8,
    pushes: u8,
}

impl State {
    pub fn entry(&self, node: Name, session: Session) -> Option<Entry> {
        self.nodes[usize::from(node)].ledger().entry(session)
    }

    fn confirm(&mut self, session: Session, node: Name, ledger: Ledger<Session>) {
        let key = (session, node);
        match self.confirms.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(place) => self.confirms[place].1 = ledger,
            Err(place) => self.confirms.insert(place, (key, ledger)),
        }
    }
}

/// A step that the coordinator, the network or a fault brings about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Reserve(Name, Session),
    Confirm(Name, Session),
    /// With what the liar shows, if it is a part of the session.
    Release(Name, Session, Lie),
    Abort(Name, Session),
    Restart(Name),
    /// A node gets another's ledger as it is now.
    Push {
        to: Name,
        from: Name,
        lie: Lie,
    },
    /// Before a reservation in the wrong variant: a node gets the ledgers of all reservers.
    Exchange(Name, Session),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    ShowsNothing,
    AbortsAll,
}

impl Model for Setting {
    type State = State;
    type Action = Step;

    fn start(&self) -> State {
        let mut receipts = Vec::new();
        if let Some(liar) = self.liar {
            receipts.extend(self.plans.keys().map(|session| (*session, liar)));
        }
        State {
            nodes: (0..self.nodes).map(Node::new).collect(),
            receipts,
            confirms: Vec::new(),
            failures: self.failures,
            pushes: self.pushes,
        }
    }

    fn actions(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        let lies = |involved: bool| {
            let lies: &[Lie] = if involved && self.liar.is_some() {
                &[Lie::ShowsNothing, Lie::AbortsAll]
            } else {
                &[Lie::ShowsNothing]
            };
            lies
        };
        for (session, plan) in &self.plans {
            for node in plan.reservers().filter(|node| !self.is_liar(**node)) {
                if self.variant == Variant::ExchangedBefore {
                    steps.push(Step::Exchange(*node, *session));
                }
                steps.push(Step::Reserve(*node, *session));
                if self.variant == Variant::Confirmed {
                    steps.push(Step::Confirm(*node, *session));
                }
                if plan.participants.contains(node) && !self.eager {
                    let involved = plan.reservers().any(|other| self.is_liar(*other));
                    let lies = lies(involved).iter();
                    steps.extend(lies.map(|lie| Step::Release(*node, *session, *lie)));
                }
                if state.failures > 0 {
                    steps.push(Step::Abort(*node, *session));
                }
            }
        }
        for to in (0..self.nodes).filter(|node| !self.is_liar(*node)) {
            if state.failures > 0 {
                steps.push(Step::Restart(to));
            }
            for from in (0..self.nodes).filter(|from| state.pushes > 0 && *from != to) {
                let lies = lies(self.is_liar(from)).iter();
                steps.extend(lies.map(|lie| Step::Push {
                    to,
                    from,
                    lie: *lie,
                }));
            }
        }
        steps
    }

    fn step(&self, state: &State, step: Step) -> Option<State> {
        if !self.may(state, step) {
            return None;
        }
        let mut next = state.clone();
        match step {
            Step::Exchange(node, session) => self.exchange(&mut next, node, session)?,
            Step::Reserve(node, session) => self.reserve(&mut next, node, session)?,
            Step::Confirm(node, session) => {
                self.confirm(&mut next, node, session)?;
                if self.eager {
                    self.release_all(&mut next);
                }
            }
            Step::Release(node, session, lie) => self.release(&mut next, node, session, lie)?,
            Step::Abort(node, session) => {
                next.nodes[usize::from(node)].abort(session).ok()?;
                next.failures -= 1;
            }
            Step::Restart(node) => {
                let node = &mut next.nodes[usize::from(node)];
                let before = node.clone();
                node.restart(&self.plans);
                if *node == before {
                    return None;
                }
                next.failures -= 1;
            }
            Step::Push { to, from, lie } => {
                let ledger = if self.is_liar(from) {
                    self.lie(lie)
                } else {
                    state.nodes[usize::from(from)].ledger().clone()
                };
                if ledger == Ledger::default() {
                    return None;
                }
                let to = &mut next.nodes[usize::from(to)];
                let before = to.clone();
                to.learn(from, &ledger);
                if *to == before {
                    return None;
                }
                next.pushes -= 1;
            }
        }
        Some(next)
    }

    fn violation(&self, state: &State) -> Option<String> {
        let signed = self.signed(state);
        let sum = self.measure(state);
        if sum > self.bound {
            return Some(format!(
                "payments {signed:?} are signed: {sum} of {}",
                self.bound
            ));
        }
        // What returned in the eyes of an honest node is not signed, now or ever: what a node knows it does not forget.
        let honest = (0..self.nodes).filter(|node| !self.is_liar(*node));
        for node in honest {
            for (session, plan) in &self.plans {
                let over = state.nodes[usize::from(node)].is_over(*session, plan);
                let sent = |other: &Name| {
                    self.is_liar(*other) || state.entry(*other, *session) == Some(Entry::Released)
                };
                if over && plan.participants.iter().all(sent) {
                    return Some(format!(
                        "node {node} gave back session {session}, which is signed"
                    ));
                }
            }
        }
        None
    }

    fn goal(&self, state: &State) -> bool {
        (self.goal)(state)
    }

    fn measure(&self, state: &State) -> u64 {
        let signed = self.signed(state);
        signed
            .iter()
            .map(|payment| self.amounts[usize::from(*payment)])
            .sum()
    }
}

impl Setting {
    /// Whether a step is worth a copy of the state: what this refuses, the machine would refuse or find already done.
    fn may(&self, state: &State, step: Step) -> bool {
        match step {
            Step::Reserve(node, session) | Step::Exchange(node, session) => {
                state.entry(node, session).is_none()
            }
            Step::Confirm(node, session) => {
                let reserved = [Some(Entry::Reserved), Some(Entry::Released)];
                let sent = || {
                    state
                        .confirms
                        .iter()
                        .any(|(key, _)| *key == (session, node))
                };
                let receipt = |other: &Name| state.receipts.contains(&(session, *other));
                self.plans[&session].reservers().all(receipt)
                    && reserved.contains(&state.entry(node, session))
                    && (self.resends || !sent())
            }
            Step::Release(node, session, _) => {
                state.entry(node, session) == Some(Entry::Reserved)
                    && (self.variant == Variant::ExchangedBefore || self.confirmed(state, session))
            }
            Step::Abort(node, session) => {
                matches!(state.entry(node, session), None | Some(Entry::Reserved))
            }
            Step::Restart(_) | Step::Push { .. } => true,
        }
    }

    fn confirmed(&self, state: &State, session: Session) -> bool {
        let sent = |node: &Name| {
            state
                .confirms
                .iter()
                .any(|(key, _)| *key == (session, *node))
        };
        let mut reservers = self.plans[&session].reservers();
        reservers.all(|node| self.is_liar(*node) || sent(node))
    }

    /// Releases at once whatever can be released.
    fn release_all(&self, next: &mut State) {
        for (session, plan) in &self.plans {
            for node in &plan.participants {
                if self.may(next, Step::Release(*node, *session, Lie::ShowsNothing)) {
                    // A refusal leaves the state as it is.
                    let _ = self.release(next, *node, *session, Lie::ShowsNothing);
                }
            }
        }
    }

    fn exchange(&self, next: &mut State, node: Name, session: Session) -> Option<()> {
        if next.entry(node, session).is_some() {
            return None;
        }
        let before = next.nodes[usize::from(node)].clone();
        for other in self.plans[&session]
            .reservers()
            .filter(|other| **other != node)
        {
            let ledger = next.nodes[usize::from(*other)].ledger().clone();
            next.nodes[usize::from(node)].learn(*other, &ledger);
        }
        (next.nodes[usize::from(node)] != before).then_some(())
    }

    fn reserve(&self, next: &mut State, node: Name, session: Session) -> Option<()> {
        let reserver = &mut next.nodes[usize::from(node)];
        reserver.reserve(session, &self.plans, &self.fits()).ok()?;
        if self.variant == Variant::AsOfReservation {
            let ledger = reserver.ledger().clone();
            next.confirm(session, node, ledger);
        }
        let place = next
            .receipts
            .partition_point(|sent| *sent < (session, node));
        next.receipts.insert(place, (session, node));
        Some(())
    }

    fn receipts(&self, state: &State, session: Session) -> Vec<Name> {
        let of = state.receipts.iter().filter(|(of, _)| *of == session);
        of.map(|(_, node)| *node).collect()
    }

    fn confirm(&self, next: &mut State, node: Name, session: Session) -> Option<()> {
        let receipts = self.receipts(next, session);
        let ledger = next.nodes[usize::from(node)]
            .confirm(session, &self.plans, &receipts)
            .ok()?;
        let known = next
            .confirms
            .iter()
            .find(|(key, _)| *key == (session, node));
        match known {
            Some((_, known)) if !self.resends || *known == ledger => None,
            _ => {
                next.confirm(session, node, ledger);
                Some(())
            }
        }
    }

    fn release(&self, next: &mut State, node: Name, session: Session, lie: Lie) -> Option<()> {
        if self.variant == Variant::ExchangedBefore {
            return self.release_unread(next, node, session);
        }
        let sent = next.confirms.iter().filter(|((of, _), _)| *of == session);
        let mut confirms: Vec<_> = sent.map(|((_, from), l)| (*from, l.clone())).collect();
        if let Some(liar) = self.liar
            && self.plans[&session].reservers().any(|other| *other == liar)
        {
            confirms.push((liar, self.lie(lie)));
        }
        let releaser = &mut next.nodes[usize::from(node)];
        let plans = &self.plans;
        if self.variant == Variant::AsOfReservation {
            let verdict = self.verdict_as_of_reservation(node, session, &confirms)?;
            let told = |_: Payment, _: &[Payment]| verdict == Entry::Released;
            releaser.release(session, plans, &confirms, &told).ok()?;
        } else {
            let fits = self.fits();
            releaser.release(session, plans, &confirms, &fits).ok()?;
        }
        Some(())
    }

    /// What a node would decide that knows nothing but the ledgers as they were when each reserved, its own as well.
    fn verdict_as_of_reservation(
        &self,
        node: Name,
        session: Session,
        confirms: &[(Name, Ledger<Session>)],
    ) -> Option<Entry> {
        let mut then = Node::new(node);
        let (_, own) = confirms.iter().find(|(from, _)| *from == node)?;
        let any = |_: Payment, _: &[Payment]| true;
        for (reserved, _) in own.entries() {
            then.reserve(reserved, &self.plans, &any).ok()?;
        }
        then.release(session, &self.plans, confirms, &self.fits())
            .ok()
    }

    /// The wrong variant's release: everybody reserved, so it is released.
    fn release_unread(&self, next: &mut State, node: Name, session: Session) -> Option<()> {
        let receipts = self.receipts(next, session);
        let mut reservers = self.plans[&session].reservers();
        if next.entry(node, session) != Some(Entry::Reserved)
            || !reservers.all(|other| receipts.contains(other))
        {
            return None;
        }
        let empty = self.plans[&session]
            .reservers()
            .map(|other| (*other, Ledger::default()));
        let anything: &dyn Fn(Payment, &[Payment]) -> bool = &|_, _| true;
        let releaser = &mut next.nodes[usize::from(node)];
        releaser
            .release(session, &self.plans, &empty.collect::<Vec<_>>(), anything)
            .ok()?;
        Some(())
    }
}
