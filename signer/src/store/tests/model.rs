//! Random operations against a model written the naive way: lists that are searched from end to end.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use countersign_policy::Hash;
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::limits::{LimitScope, Measure, Period};
use countersign_policy::statement::{LedgerEvent, Reservation, StopOutcome};
use countersign_policy::testing::TestDeployment;
use proptest::prelude::*;

use super::support::*;
use crate::store::{OpError, Store};

/// How many different transactions the limit allows.
const MOST: usize = 3;
static LIMITED: LazyLock<ActiveBundle> = LazyLock::new(|| {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let (max, seconds) = (MOST as u64, 3600);
    deployment.add_limit("count", Measure::Count { max }, Period::Rolling { seconds });
    deployment.content_mut().limits[0].scope = LimitScope::default();
    deployment.bundle()
});

/// One operation. Small numbers, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    Reserve {
        payment: u8,
        attempt: u8,
        nonce: u8,
        external: u8,
        digest: u8,
        presignature: Option<u8>,
    },
    Release {
        payment: u8,
        attempt: u8,
    },
    Abort {
        payment: u8,
        attempt: u8,
    },
    Stop {
        payment: u8,
    },
    PeerReserves {
        payment: u8,
        attempt: u8,
        nonce: u8,
        external: u8,
    },
    PeerAborts {
        payment: u8,
        attempt: u8,
    },
    PeerStops {
        payment: u8,
    },
    /// Aborts a session, reserved or not.
    Exclude {
        payment: u8,
        attempt: u8,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (payment, attempt) = (|| 0u8..4, || 0u8..3);
    // Mostly the values that belong together, sometimes those of another.
    let other = || prop_oneof![9 => Just(255u8), 1 => 0u8..4];
    let step = prop_oneof![
        6 => (payment(), attempt(), other(), other(), other(), prop::option::weighted(0.3, 0u8..6)).prop_map(
            |(payment, attempt, nonce, external, digest, presignature)| Step::Reserve {
                payment, attempt, nonce, external, digest, presignature,
            }
        ),
        4 => (payment(), attempt()).prop_map(|(payment, attempt)| Step::Release { payment, attempt }),
        3 => (payment(), attempt()).prop_map(|(payment, attempt)| Step::Abort { payment, attempt }),
        1 => payment().prop_map(|payment| Step::Stop { payment }),
        2 => (payment(), attempt(), other(), other()).prop_map(
            |(payment, attempt, nonce, external)| Step::PeerReserves { payment, attempt, nonce, external }
        ),
        1 => (payment(), attempt()).prop_map(|(payment, attempt)| Step::PeerAborts { payment, attempt }),
        1 => payment().prop_map(|payment| Step::PeerStops { payment }),
        1 => (payment(), attempt()).prop_map(|(payment, attempt)| Step::Exclude { payment, attempt }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

fn build(
    payment: u8,
    attempt: u8,
    nonce: u8,
    external: u8,
    digest: u8,
    presignature: Option<u8>,
) -> Reservation {
    let mut this = reservation(&format!("p{payment}"), u32::from(attempt));
    if nonce != 255 {
        this.nonce = reservation(&format!("p{nonce}"), 0).nonce;
    }
    if external != 255 {
        this.external_id = reservation(&format!("p{external}"), 0).external_id;
    }
    if digest != 255 {
        this.digests = reservation(&format!("p{digest}"), 0).digests;
    }
    this.presignature = presignature.map(|p| hash(format!("presignature {p}")));
    this
}

fn session(payment: u8, attempt: u8) -> Hash {
    reservation(&format!("p{payment}"), u32::from(attempt)).session
}

fn request(payment: u8) -> Hash {
    reservation(&format!("p{payment}"), 0).request
}

/// Everything that happened, in order; `true` for this node's own.
#[derive(Default)]
struct Model {
    events: Vec<(bool, LedgerEvent)>,
}

impl Model {
    fn reservations(&self, own: bool) -> impl Iterator<Item = &Reservation> {
        self.events
            .iter()
            .filter_map(move |(by_us, event)| match event {
                LedgerEvent::Reserved(r) if *by_us == own => Some(r.as_ref()),
                _ => None,
            })
    }

    fn all(&self) -> impl Iterator<Item = &Reservation> {
        self.reservations(true).chain(self.reservations(false))
    }

    fn released(&self, id: Hash) -> bool {
        self.events
            .contains(&(true, LedgerEvent::Released { session: id }))
    }

    fn aborted(&self, own: bool, id: Hash) -> bool {
        self.events.iter().any(|(by_us, event)| {
            *by_us == own && matches!(event, LedgerEvent::Aborted { session, .. } if *session == id)
        })
    }

    fn stopped(&self, id: Hash) -> bool {
        self.events.iter().any(
            |(_, event)| matches!(event, LedgerEvent::Stopped { request, .. } if *request == id),
        )
    }

    /// The transactions that the limit counts: reserved by anybody, and not given up by all participants of all sessions.
    fn counted(&self) -> BTreeSet<Hash> {
        let given_up =
            |r: &Reservation| self.aborted(true, r.session) && self.aborted(false, r.session);
        let counts = |digest: &Hash| {
            let mut sessions = self.all().filter(|r| r.digests[0] == *digest);
            sessions.any(|r| !given_up(r))
        };
        let digests: BTreeSet<Hash> = self.all().map(|r| r.digests[0]).collect();
        digests.into_iter().filter(counts).collect()
    }

    fn fits(&self, r: &Reservation) -> bool {
        let mut counted = self.counted();
        counted.insert(r.digests[0]);
        counted.len() <= MOST
    }

    fn open(&self, id: Hash) -> bool {
        !self.released(id) && !self.aborted(true, id)
    }

    fn may_reserve(&self, r: &Reservation) -> bool {
        !self.stopped(r.request)
            && !self.aborted(true, r.session)
            && self.fits(r)
            && self.reservations(true).all(|o| {
                o.session != r.session
                    && (o.request != r.request || (o.digests == r.digests && !self.open(o.session)))
                    && (o.request == r.request || o.digests.iter().all(|d| !r.digests.contains(d)))
                    && (o.presignature.is_none() || o.presignature != r.presignature)
            })
            && self.all().all(|o| !contests(o, r))
    }

    fn may_release(&self, id: Hash) -> bool {
        let Some(r) = self.reservations(true).find(|r| r.session == id) else {
            return false;
        };
        self.open(id)
            && self.fits(r)
            && !self.stopped(r.request)
            && !self.aborted(false, id)
            && self.all().all(|o| !contests_nonce(o, r))
            && self
                .all()
                .all(|o| !contests_external_id(o, self.first_of(r)))
    }

    /// The request's first reservation here. A signed request has one external id; the ledger holds it to the first.
    fn first_of<'a>(&'a self, r: &'a Reservation) -> &'a Reservation {
        let first = self.reservations(true).find(|o| o.request == r.request);
        first.unwrap_or(r)
    }
}

fn contests(other: &Reservation, r: &Reservation) -> bool {
    contests_nonce(other, r) || contests_external_id(other, r)
}

fn contests_nonce(other: &Reservation, r: &Reservation) -> bool {
    other.nonce == r.nonce && other.session != r.session
}

fn contests_external_id(other: &Reservation, r: &Reservation) -> bool {
    other.external_id == r.external_id
        && other.initiator == r.initiator
        && other.request != r.request
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path(), "node-1").await;
    store.set_limits(&LIMITED).await.unwrap();
    let mut peer = TestPeer::new("node-2");
    let mut model = Model::default();
    for (number, step) in steps.into_iter().enumerate() {
        let text = format!("step {number}: {step:?}");
        if let Step::Reopen = step {
            store.close().await;
            store = open(folder.path(), "node-1").await;
            store.set_limits(&LIMITED).await.unwrap();
            continue;
        }
        take(&store, &mut peer, &mut model, step, &text).await;
        let own = model.events.iter().filter(|(own, _)| *own).count() as u64;
        assert_eq!(store.head().unwrap().sequence, own, "{text}");
    }
}

async fn take(store: &Store, peer: &mut TestPeer, model: &mut Model, step: Step, text: &str) {
    match step {
        Step::Reserve {
            payment,
            attempt,
            nonce,
            external,
            digest,
            presignature,
        } => {
            let this = build(payment, attempt, nonce, external, digest, presignature);
            let done = succeeded(store.reserve(this.clone(), at(0)).await);
            assert_eq!(done, model.may_reserve(&this), "{text}");
            if done {
                model.events.push((true, reserved(this)));
            }
        }
        Step::Release { payment, attempt } => {
            let session = session(payment, attempt);
            let done = succeeded(store.release(session, at(0)).await);
            assert_eq!(done, model.may_release(session), "{text}");
            if done {
                model.events.push((true, LedgerEvent::Released { session }));
            }
        }
        Step::Abort { payment, attempt } => {
            let session = session(payment, attempt);
            let done = succeeded(store.abort(session, "x", at(0)).await);
            let known = model.reservations(true).any(|r| r.session == session);
            assert_eq!(done, known && !model.released(session), "{text}");
            if done && !model.aborted(true, session) {
                model.events.push((
                    true,
                    LedgerEvent::Aborted {
                        session,
                        reason: "x".into(),
                    },
                ));
            }
        }
        Step::Stop { payment } => stop(store, model, request(payment), text).await,
        Step::PeerReserves {
            payment,
            attempt,
            nonce,
            external,
        } => {
            let event = reserved(build(payment, attempt, nonce, external, 255, None));
            tell(store, peer, model, event).await;
        }
        Step::PeerAborts { payment, attempt } => {
            let session = session(payment, attempt);
            tell(
                store,
                peer,
                model,
                LedgerEvent::Aborted {
                    session,
                    reason: "y".into(),
                },
            )
            .await;
        }
        Step::PeerStops { payment } => {
            let event = LedgerEvent::Stopped {
                request: request(payment),
                cancel: hash("c"),
            };
            tell(store, peer, model, event).await;
        }
        Step::Exclude { payment, attempt } => {
            let (session, request) = (session(payment, attempt), request(payment));
            let done = succeeded(store.exclude(session, request, "x", at(0)).await);
            assert_eq!(done, !model.released(session), "{text}");
            if done && !model.aborted(true, session) {
                let reason = "x".into();
                model
                    .events
                    .push((true, LedgerEvent::Aborted { session, reason }));
            }
        }
        Step::Reopen => {}
    }
}

async fn stop(store: &Store, model: &mut Model, request: Hash, text: &str) {
    let cancel = hash("cancel");
    let sessions: Vec<Hash> = model
        .reservations(true)
        .filter(|r| r.request == request)
        .map(|r| r.session)
        .collect();
    let outcome = store.stop(request, cancel, at(0)).await.unwrap();
    let before = (true, LedgerEvent::Stopped { request, cancel });
    if model.events.contains(&before) {
        assert_eq!(outcome, StopOutcome::Stopped, "{text}");
    } else if sessions.iter().any(|s| model.released(*s)) {
        assert_eq!(outcome, StopOutcome::Released, "{text}");
    } else {
        assert_eq!(outcome, StopOutcome::Stopped, "{text}");
        for session in sessions {
            if model.open(session) {
                model.events.push((
                    true,
                    LedgerEvent::Aborted {
                        session,
                        reason: "stop".into(),
                    },
                ));
            }
        }
        model.events.push(before);
    }
}

async fn tell(store: &Store, peer: &mut TestPeer, model: &mut Model, event: LedgerEvent) {
    let entry = peer.says(event.clone());
    ingest(store, "node-2", vec![entry]).await.unwrap();
    model.events.push((false, event));
}

fn succeeded<T, R: std::error::Error>(result: Result<T, OpError<R>>) -> bool {
    match result {
        Ok(_) => true,
        Err(OpError::Refused(_)) => false,
        Err(OpError::Failed(failure)) => panic!("{failure}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_agrees_with_a_naive_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
