//! Three stores and the ledger protocol's pure state machine, driven by the same events: they answer alike.
//!
//! The pure machine is the one that is explored exhaustively (`countersign_policy::limits::protocol`), so what was shown of
//! it holds for the ledgers of signers, as far as random sequences of reservations, exchanges, releases, aborts, resends and
//! restarts can tell.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::limits::protocol::{Entry, Ledger, Node, Plan, Plans};
use countersign_policy::limits::{LimitScope, Measure, Period};
use countersign_policy::statement::{FreezeTarget, Reservation};
use countersign_policy::testing::{OFFICER, TestDeployment};
use countersign_policy::{Amount, FreezeSet, LimitId};
use proptest::prelude::*;

use super::support::*;
use crate::store::{AbortRefusal, OpError, ReleaseRefusal, ReserveRefusal, Store};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const PAYMENTS: u8 = 4;
/// How many payments the limit allows.
const MOST: usize = 2;
/// Who takes part in the sessions of each payment, and who only witnesses.
const SETS: [(&[u8], &[u8]); 4] = [
    (&[0, 1], &[]),
    (&[1, 2], &[]),
    (&[0, 2], &[]),
    (&[0, 1], &[2]),
];

type Machine = Node<u8, u8>;

struct Limited {
    bundle: ActiveBundle,
    /// Lowers the limit to nothing, so that it says how much is used.
    nothing: FreezeSet,
}

static LIMITED: LazyLock<Limited> = LazyLock::new(|| {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let (max, seconds) = (MOST as u64, 3600);
    deployment.add_limit("count", Measure::Count { max }, Period::Rolling { seconds });
    deployment.content_mut().limits[0].scope = LimitScope::default();
    let bundle = deployment.bundle();
    let target = FreezeTarget::LowerLimit {
        limit: LimitId::new("count").unwrap(),
        max: Amount::ZERO,
    };
    let freeze = deployment.freeze(OFFICER, target);
    let mut nothing = FreezeSet::default();
    nothing.insert(&bundle.open_freeze(&freeze).unwrap());
    Limited { bundle, nothing }
});

#[derive(Debug, Clone)]
enum Step {
    Reserve {
        node: u8,
        session: u8,
    },
    /// Ledger entries up to a share of all, once more or for the first time.
    Tell {
        from: u8,
        to: u8,
        part: u8,
    },
    /// With the confirms of everybody who reserved it.
    Release {
        node: u8,
        session: u8,
    },
    Abort {
        node: u8,
        session: u8,
    },
    Restart {
        node: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES.len() as u8;
    let session = || 0..PAYMENTS * SETS.len() as u8;
    let step = prop_oneof![
        8 => (node(), session()).prop_map(|(node, session)| Step::Reserve { node, session }),
        5 => (node(), node(), 0u8..=4).prop_map(|(from, to, part)| Step::Tell { from, to, part }),
        6 => (node(), session()).prop_map(|(node, session)| Step::Release { node, session }),
        3 => (node(), session()).prop_map(|(node, session)| Step::Abort { node, session }),
        1 => node().prop_map(|node| Step::Restart { node }),
    ];
    // A reservation at everybody, and its release at everybody, more often than chance has it.
    let whole = session().prop_map(|session| {
        let all = || 0..NODES.len() as u8;
        let reserve = all().map(|node| Step::Reserve { node, session });
        let release = all().map(|node| Step::Release { node, session });
        reserve.chain(release).collect()
    });
    let some = prop_oneof![4 => step.prop_map(|step| vec![step]), 1 => whole];
    prop::collection::vec(some, 1..30).prop_map(|steps| steps.concat())
}

fn plans() -> Plans<u8, u8, u8> {
    let sessions = 0..PAYMENTS * SETS.len() as u8;
    let plan = |session: u8| {
        let (participants, witnesses) = SETS[usize::from(session) % SETS.len()];
        let plan = Plan {
            payment: session / SETS.len() as u8,
            participants: participants.to_vec(),
            witnesses: witnesses.to_vec(),
        };
        (session, plan)
    };
    sessions.map(plan).collect::<BTreeMap<_, _>>()
}

fn fits(_: u8, others: &[u8]) -> bool {
    others.len() < MOST
}

struct World {
    folder: tempfile::TempDir,
    plans: Plans<u8, u8, u8>,
    stores: Vec<Store>,
    machines: Vec<Machine>,
    /// Each machine's ledger as it was after each of its entries.
    past: Vec<Vec<Ledger<u8>>>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stores = Vec::new();
        for node in NODES {
            stores.push(open_limited(folder.path(), node).await);
        }
        Self {
            folder,
            plans: plans(),
            stores,
            machines: (0..NODES.len() as u8).map(Node::new).collect(),
            past: vec![vec![Ledger::default()]; NODES.len()],
        }
    }

    fn reservation(&self, session: u8) -> Reservation {
        let plan = &self.plans[&session];
        let participants = plan.participants.iter();
        Reservation {
            participants: participants
                .map(|node| member(NODES[usize::from(*node)]))
                .collect(),
            ..reservation(&format!("p{}", plan.payment), u32::from(session))
        }
    }

    /// Whether the node has a share to send in another session of the payment. Stores are stricter than the machine there:
    /// one attempt at a request after the other.
    fn is_open_elsewhere(&self, node: u8, session: u8) -> bool {
        let ledger = self.machines[usize::from(node)].ledger();
        let mut others = self.plans.iter().filter(|(other, plan)| {
            **other != session && plan.payment == self.plans[&session].payment
        });
        others.any(|(other, plan)| {
            plan.participants.contains(&node) && ledger.entry(*other) == Some(Entry::Reserved)
        })
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Reserve { node, session } => self.reserve(node, session).await,
            Step::Tell { from, to, part } if from != to => {
                let all = self.past[usize::from(from)].len() - 1;
                self.tell(from, to, all * usize::from(part) / 4).await;
            }
            Step::Tell { .. } => {}
            Step::Release { node, session } => self.release(node, session).await,
            Step::Abort { node, session } => self.abort(node, session).await,
            Step::Restart { node } => self.restart(node).await,
        }
    }

    async fn reserve(&mut self, node: u8, session: u8) {
        let plan = &self.plans[&session];
        if !plan.reservers().any(|n| *n == node) {
            return;
        }
        let witnesses = plan.witnesses.iter();
        let witnesses = witnesses.map(|n| member(NODES[usize::from(*n)])).collect();
        let (this, at_node) = (self.reservation(session), usize::from(node));
        let stored = self.stores[at_node]
            .reserve_with(this, witnesses, at(0))
            .await;
        let stored = answer(stored);
        if self.is_open_elsewhere(node, session) {
            let other = matches!(
                stored,
                Err(ReserveRefusal::SessionOpen { .. } | ReserveRefusal::SessionExists { .. })
                    | Err(ReserveRefusal::Aborted)
            );
            assert!(other, "{stored:?}");
            return;
        }
        let machine = self.machines[at_node].reserve(session, &self.plans, &fits);
        assert_eq!(stored.is_ok(), machine.is_ok(), "{stored:?} {machine:?}");
        self.note(node);
    }

    async fn tell(&mut self, from: u8, to: u8, entries: usize) {
        let source = &self.stores[usize::from(from)];
        let told = source.entries_after(0, entries).await.unwrap();
        assert_eq!(told.len(), entries);
        let name = NODES[usize::from(from)];
        ingest(&self.stores[usize::from(to)], name, told)
            .await
            .unwrap();
        let copy = &self.past[usize::from(from)][entries];
        self.machines[usize::from(to)].learn(from, copy);
    }

    async fn release(&mut self, node: u8, session: u8) {
        let plan = self.plans[&session].clone();
        if !plan.participants.contains(&node) {
            return;
        }
        let reserved = |n: &&u8| {
            let ledger = self.machines[usize::from(**n)].ledger();
            ledger.entry(session).is_some_and(Entry::reserved)
        };
        let receipts: Vec<u8> = plan.reservers().filter(reserved).copied().collect();
        let mut confirms = Vec::new();
        for other in plan.reservers().filter(|n| **n != node) {
            let machine = &self.machines[usize::from(*other)];
            match machine.confirm(session, &self.plans, &receipts) {
                Ok(ledger) => confirms.push((*other, ledger)),
                // Without all confirms nobody asks a ledger.
                Err(_) => return,
            }
        }
        for (other, _) in &confirms {
            let all = self.past[usize::from(*other)].len() - 1;
            self.tell(*other, node, all).await;
        }
        let store = &self.stores[usize::from(node)];
        let id = self.reservation(session).session;
        let stored = answer(store.release(id, at(0)).await);
        let machine = &mut self.machines[usize::from(node)];
        match machine.release(session, &self.plans, &confirms, &fits) {
            Ok(Entry::Released) => assert!(stored.is_ok(), "{stored:?}"),
            Ok(_) => {
                let why = stored.unwrap_err();
                let decided = matches!(
                    why,
                    ReleaseRefusal::Limit(_) | ReleaseRefusal::PeerAborted { .. }
                );
                assert!(decided, "{why:?}");
                // The gate answers every refusal with an abort.
                store.abort(id, "refused", at(0)).await.unwrap();
            }
            Err(why) => assert!(
                matches!(
                    stored,
                    Err(ReleaseRefusal::Unknown
                        | ReleaseRefusal::Aborted
                        | ReleaseRefusal::AlreadyReleased { .. })
                ),
                "{stored:?} {why:?}"
            ),
        }
        self.note(node);
    }

    async fn abort(&mut self, node: u8, session: u8) {
        if !self.plans[&session].participants.contains(&node) {
            return;
        }
        let this = self.reservation(session);
        let store = &self.stores[usize::from(node)];
        let stored = answer(store.exclude(this.session, this.request, "x", at(0)).await);
        match self.machines[usize::from(node)].abort(session) {
            Ok(()) => assert!(stored.is_ok(), "{stored:?}"),
            Err(wrong) if wrong.old.unwrap().aborted() => assert!(stored.is_ok(), "{stored:?}"),
            Err(_) => assert_eq!(stored, Err(AbortRefusal::Released)),
        }
        self.note(node);
    }

    /// What a node does when it starts: everything that is open is aborted.
    async fn restart(&mut self, node: u8) {
        let at_node = usize::from(node);
        let mut started = self.machines[at_node].clone();
        started.restart(&self.plans);
        self.stores[at_node].close().await;
        let store = open_limited(self.folder.path(), NODES[at_node]).await;
        for open in store.open_sessions().await.unwrap() {
            store.abort(open.session, "restart", at(0)).await.unwrap();
            let mut sessions = self.plans.keys();
            let session = sessions.find(|s| self.reservation(**s).session == open.session);
            self.machines[at_node].abort(*session.unwrap()).unwrap();
            self.note(node);
        }
        assert_eq!(self.machines[at_node], started);
        self.stores[at_node] = store;
    }

    /// Remembers the machine's ledger when it has one entry more.
    fn note(&mut self, node: u8) {
        let at_node = usize::from(node);
        let ledger = self.machines[at_node].ledger().clone();
        if self.past[at_node].last() != Some(&ledger) {
            self.past[at_node].push(ledger);
        }
    }

    /// Stores and machines say the same of every session, and of how much the limit counts.
    async fn compare(&self, text: &str) {
        for (number, (store, machine)) in self.stores.iter().zip(&self.machines).enumerate() {
            let head = store.head().unwrap().sequence;
            let entries = self.past[number].len() as u64 - 1;
            assert_eq!(head, entries, "{text}: {}", NODES[number]);
            let sessions: Vec<_> = self.plans.keys().copied().collect();
            let ids: Vec<_> = sessions
                .iter()
                .map(|s| self.reservation(*s).session)
                .collect();
            let probe = reservation("probe", 1);
            let seen = store.observe(move |state| {
                let entries: Vec<_> = ids.iter().map(|id| state.index.entry(id)).collect();
                let hits = state.index.spends.hits(&probe, &LIMITED.nothing, at(0));
                (entries, hits)
            });
            let (entries, hits) = seen.await.unwrap();
            let expected: Vec<_> = sessions
                .iter()
                .map(|s| machine.ledger().entry(*s))
                .collect();
            assert_eq!(entries, expected, "{text}: {}", NODES[number]);
            let counted = Amount::from(machine.counted(&self.plans).len() as u64);
            assert_eq!(hits[0].used, counted, "{text}: {}", NODES[number]);
        }
    }
}

async fn open_limited(folder: &std::path::Path, node: &str) -> Store {
    let store = open(folder, node).await;
    store.set_limits(&LIMITED.bundle).await.unwrap();
    store
}

fn answer<T, R: std::error::Error>(result: Result<T, OpError<R>>) -> Result<T, R> {
    match result {
        Ok(done) => Ok(done),
        Err(OpError::Refused(refusal)) => Err(refusal),
        Err(OpError::Failed(failure)) => panic!("{failure}"),
    }
}

async fn run(steps: Vec<Step>) {
    let mut world = World::new().await;
    for (number, step) in steps.iter().enumerate() {
        world.take(step).await;
        world.compare(&format!("step {number} of {steps:?}")).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn stores_answer_as_the_machine_that_was_explored(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
