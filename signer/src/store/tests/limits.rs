//! Limits over the ledgers of all: what counts, what is refused, what returns.

use std::sync::LazyLock;

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::limits::{Measure, Period};
use countersign_policy::statement::{
    Fate, LedgerEntry, LedgerEvent, Observation, Reservation, Verified,
};
use countersign_policy::testing::{
    OBSERVER, OTHER_OBSERVER, TestDeployment, USDT_LIMIT, WALLET, usdt,
};
use countersign_policy::{Amount, Hash, Lifetime, MemberId, Network, Transfer, WalletId};

use super::support::*;
use crate::store::{
    AbortRefusal, LedgerPosition, OpError, ReleaseRefusal, ReserveRefusal, SessionState, Store,
};

/// At most 100 USDT an hour out of the hot wallet.
static LIMITED: LazyLock<ActiveBundle> =
    LazyLock::new(|| TestDeployment::with_limit(3, 2, 100, 3600).bundle());
/// The same, and at most 100 of it outstanding.
static OUTSTANDING: LazyLock<ActiveBundle> = LazyLock::new(|| {
    let mut deployment = TestDeployment::with_limit(3, 2, 1_000_000, 3600);
    let measure = Measure::Amount {
        asset: usdt(),
        max: Amount::from(100_u64),
    };
    deployment.add_limit("usdt-open", measure, Period::Outstanding);
    deployment.bundle()
});
/// Five nodes, of which three sign and four must reserve.
static FOUR_OF_FIVE: LazyLock<ActiveBundle> = LazyLock::new(|| {
    let mut deployment = TestDeployment::with_limit(5, 3, 100, 3600);
    let group = &mut deployment.content_mut().ledger_groups[0];
    (group.quorum, group.max_faulty) = (4, 2);
    deployment.bundle()
});

/// Attempt `attempt` at a payment of USDT by `signers`; its nonce on chain follows from its name.
fn payment(name: &str, attempt: u32, amount: u64, signers: [usize; 2]) -> Reservation {
    let nonce = hash(name).as_bytes()[..4]
        .iter()
        .fold(0, |n, b| n << 8 | u64::from(*b));
    let to = "0x28c6c06298d514db089934071355e5743bf21d60";
    Reservation {
        session: hash(format!("session {name}/{attempt} {signers:?}")),
        nonce: hash(format!("nonce {name}/{attempt} {signers:?}")),
        wallet: WalletId::new(WALLET).unwrap(),
        transfers: vec![Transfer {
            asset: usdt(),
            from: None,
            to: to.parse().unwrap(),
            amount: Amount::from(amount),
        }],
        lifetime: Lifetime::Evm {
            chain_id: 1,
            nonce,
            account: None,
        },
        participants: signers.map(|i| member(&format!("node-{i}"))).to_vec(),
        ..reservation(name, attempt)
    }
}

async fn limited(folder: &std::path::Path, node: &str) -> Store {
    let store = reopen(folder, node).await;
    store.set_limits(&LIMITED).await.unwrap();
    store
}

fn aborted(session: Hash) -> LedgerEvent {
    LedgerEvent::Aborted {
        session,
        reason: "x".into(),
    }
}

/// What a reservation is refused for, as used and requested; none when it is made.
async fn used(store: &Store, payment: Reservation) -> Option<(u64, u64)> {
    match store.reserve(payment, at(0)).await {
        Ok(_) => None,
        Err(OpError::Refused(ReserveRefusal::Limit(hit))) => {
            assert_eq!(hit.limit.as_str(), USDT_LIMIT);
            let number = |amount: Amount| u64::try_from(amount.to_u128().unwrap()).unwrap();
            Some((number(hit.used), number(hit.requested)))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_reserved_before_the_limits_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path(), "node-1");
    let store = Store::open(&options, identity("node-1"), &kek(PASSPHRASE))
        .await
        .unwrap();
    let refusal = refused(store.reserve(payment("a", 1, 1, [1, 2]), at(0)).await);
    assert_eq!(refusal, ReserveRefusal::NoRules);
}

#[tokio::test]
async fn what_any_ledger_reserved_counts_at_a_reservation_and_at_a_release() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let (mut second, mut third) = (TestPeer::new("node-2"), TestPeer::new("node-3"));
    let theirs = second.says(reserved(payment("theirs", 1, 60, [2, 3])));
    ingest(&store, "node-2", vec![theirs]).await.unwrap();
    assert_eq!(
        used(&store, payment("big", 1, 50, [1, 2])).await,
        Some((60, 50))
    );
    let ours = payment("ours", 1, 40, [1, 2]);
    assert_eq!(used(&store, ours.clone()).await, None);
    // What the peers reserved alike is one spend.
    for (name, peer) in [("node-2", &mut second), ("node-3", &mut third)] {
        let same = peer.says(reserved(ours.clone()));
        ingest(&store, name, vec![same]).await.unwrap();
    }
    // One that this node hears of only now was reserved somewhere before its own receipts were complete.
    let late = third.says(reserved(payment("late", 1, 1, [2, 3])));
    ingest(&store, "node-3", vec![late]).await.unwrap();
    match refused(store.release(ours.session, at(1)).await) {
        ReleaseRefusal::Limit(hit) => {
            assert_eq!(hit.used, Amount::from(61_u64));
            assert_eq!(hit.requested, Amount::from(40_u64));
        }
        other => panic!("{other:?}"),
    }
    store.abort(ours.session, "limit", at(1)).await.unwrap();
}

#[tokio::test]
async fn a_spend_leaves_its_window_after_the_window_and_twice_the_skew() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let first = payment("first", 1, 100, [1, 2]);
    store.reserve(first.clone(), at(0)).await.unwrap();
    store.release(first.session, at(1)).await.unwrap();
    let skew = LIMITED.skew_seconds();
    let second = payment("second", 1, 1, [1, 2]);
    for early in [1, 3600, 3600 + 2 * skew] {
        let refusal = refused(store.reserve(second.clone(), at(early)).await);
        assert!(
            matches!(refusal, ReserveRefusal::Limit(_)),
            "{early}: {refusal}"
        );
    }
    let late = at(3600 + 2 * skew + 1);
    store.reserve(second, late).await.unwrap();
}

/// Three nodes with stores of their own.
struct Three {
    _folder: tempfile::TempDir,
    stores: Vec<Store>,
}

impl Three {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut stores = Vec::new();
        for node in ["node-1", "node-2", "node-3"] {
            stores.push(limited(folder.path(), node).await);
        }
        Self {
            _folder: folder,
            stores,
        }
    }

    fn store(&self, node: usize) -> &Store {
        &self.stores[node - 1]
    }

    /// What a confirm carries: everything that `from` has written until now.
    async fn confirm(&self, from: usize, to: usize) {
        let sender = self.store(from).node().clone();
        let known = self.store(to).settled().await;
        known.unwrap();
        let position: LedgerPosition = self.store(to).peer_position(&sender).unwrap().known;
        let entries = self.store(from).entries_after(position.sequence, 1000);
        let entries = entries.await.unwrap();
        ingest(self.store(to), sender.as_str(), entries)
            .await
            .unwrap();
    }

    /// Receipts are complete: both confirm to each other, then each decides. How many released.
    async fn decide(&self, payment: &Reservation, [a, b]: [usize; 2]) -> usize {
        self.confirm(a, b).await;
        self.confirm(b, a).await;
        let mut released = 0;
        for node in [a, b] {
            let store = self.store(node);
            match store.release(payment.session, at(2)).await {
                Ok(_) => released += 1,
                Err(OpError::Refused(_)) => {
                    let _ = store.abort(payment.session, "refused", at(2)).await;
                }
                Err(OpError::Failed(fault)) => panic!("{fault}"),
            }
        }
        released
    }
}

/// Every pair signs one payment of 50 under a cap of 100, in many orders of reservations and decisions.
#[tokio::test]
async fn of_three_sessions_over_the_three_pairs_at_most_two_are_signed() {
    const PAIRS: [[usize; 2]; 3] = [[1, 2], [1, 3], [2, 3]];
    let mut most = 0;
    for order in 0..36u32 {
        let three = Three::new().await;
        let payments = [0, 1, 2].map(|i| payment(&format!("p{i}"), 1, 50, PAIRS[i]));
        // Each session has two steps; their mixture is the base-3 reading of a rotating choice.
        let mut left = [2u8; 3];
        let (mut signed, mut choice) = (0, order);
        let mut reserved = [0usize; 3];
        while left.iter().any(|l| *l > 0) {
            let open: Vec<usize> = (0..3).filter(|i| left[*i] > 0).collect();
            let session = open[choice as usize % open.len()];
            choice = choice / open.len() as u32 + order % 7;
            left[session] -= 1;
            let (payment, pair) = (&payments[session], PAIRS[session]);
            if left[session] == 1 {
                for node in pair {
                    let done = three.store(node).reserve(payment.clone(), at(1)).await;
                    reserved[session] += usize::from(done.is_ok());
                }
            } else if reserved[session] == 2 && three.decide(payment, pair).await > 0 {
                // A share of one is counted as a signature: the other may be lying.
                signed += 1;
            }
        }
        assert!(signed <= 2, "order {order}: {signed} of 50 under 100");
        most = most.max(signed);
    }
    assert_eq!(most, 2, "the limit is reached in some order");
}

#[tokio::test]
async fn a_retry_adds_nothing_and_a_replacement_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    for attempt in 1..=3 {
        let this = payment("a", attempt, 60, [1, 2]);
        store.reserve(this.clone(), at(0)).await.unwrap();
        store.release(this.session, at(1)).await.unwrap();
    }
    // The same account, nonce and outputs with a higher fee: another request and other bytes.
    let mut bumped = payment("a", 9, 60, [1, 2]);
    bumped.request = hash("bumped");
    bumped.external_id = reservation("bumped", 1).external_id;
    bumped.digests = vec![hash("bumped")];
    bumped.max_fee = Amount::from(42_000_u64);
    assert_eq!(used(&store, bumped.clone()).await, None);
    store.release(bumped.session, at(1)).await.unwrap();
    assert_eq!(
        used(&store, payment("b", 1, 41, [1, 2])).await,
        Some((60, 41))
    );
    assert_eq!(used(&store, payment("b", 1, 40, [1, 2])).await, None);
}

#[tokio::test]
async fn a_spend_returns_when_all_participants_of_all_its_sessions_gave_up_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let (mut second, mut third) = (TestPeer::new("node-2"), TestPeer::new("node-3"));
    let (ours, other) = (payment("a", 1, 100, [1, 2]), payment("a", 2, 100, [2, 3]));
    let probe = |n: u32| payment("probe", n, 1, [1, 2]);
    store.reserve(ours.clone(), at(0)).await.unwrap();
    store.abort(ours.session, "timeout", at(1)).await.unwrap();
    assert_eq!(used(&store, probe(1)).await, Some((100, 1)), "one of two");
    let says = [
        ("node-2", reserved(other.clone())),
        ("node-2", aborted(ours.session)),
        ("node-3", aborted(other.session)),
        // By one that is no participant of it.
        ("node-3", aborted(ours.session)),
    ];
    for (name, event) in says {
        let peer = if name == "node-2" {
            &mut second
        } else {
            &mut third
        };
        let entry = peer.says(event);
        ingest(&store, name, vec![entry]).await.unwrap();
        assert_eq!(used(&store, probe(1)).await, Some((100, 1)));
    }
    let last = second.says(aborted(other.session));
    ingest(&store, "node-2", vec![last]).await.unwrap();
    assert_eq!(used(&store, probe(1)).await, None);
    store.abort(probe(1).session, "x", at(1)).await.unwrap();
    let entry = second.says(aborted(probe(1).session));
    ingest(&store, "node-2", vec![entry]).await.unwrap();

    // A further attempt counts again.
    store
        .reserve(payment("a", 3, 100, [1, 2]), at(2))
        .await
        .unwrap();
    assert_eq!(used(&store, probe(2)).await, Some((100, 1)));
    // And all of it is the same after a restart.
    store.close().await;
    let store = limited(folder.path(), "node-1").await;
    assert_eq!(used(&store, probe(2)).await, Some((100, 1)));
    let again = payment("a", 3, 100, [1, 2]);
    store.abort(again.session, "x", at(3)).await.unwrap();
    let entry = second.says(aborted(again.session));
    ingest(&store, "node-2", vec![entry]).await.unwrap();
    assert_eq!(used(&store, probe(2)).await, None);
}

#[tokio::test]
async fn a_session_that_was_never_reserved_is_excluded_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let ours = payment("a", 1, 100, [1, 2]);
    let excluded = store
        .exclude(ours.session, ours.request, "asked", at(0))
        .await
        .unwrap();
    store
        .reserve(payment("b", 1, 1, [1, 2]), at(0))
        .await
        .unwrap();
    let again = store.exclude(ours.session, ours.request, "again", at(1));
    assert_eq!(again.await.unwrap(), excluded);
    store.close().await;
    let store = limited(folder.path(), "node-1").await;
    let refusal = refused(store.reserve(ours.clone(), at(2)).await);
    assert_eq!(refusal, ReserveRefusal::Aborted);
    // The peer that did reserve it gives up too, in whatever order this is heard: nothing of it counts.
    let mut peer = TestPeer::new("node-2");
    let entries = vec![
        peer.says(aborted(ours.session)),
        peer.says(reserved(ours.clone())),
    ];
    ingest(&store, "node-2", entries).await.unwrap();
    assert_eq!(used(&store, payment("c", 1, 99, [1, 2])).await, None);
    let released = payment("b", 1, 1, [1, 2]);
    store.release(released.session, at(2)).await.unwrap();
    let late = store.exclude(released.session, released.request, "late", at(3));
    assert_eq!(refused(late.await), AbortRefusal::Released);
}

#[tokio::test]
async fn missed_sessions_are_excluded_once_their_authorization_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let mut peer = TestPeer::new("node-2");
    let (missed, foreign) = (payment("a", 1, 100, [1, 2]), payment("b", 1, 1, [2, 3]));
    let taken = payment("c", 1, 0, [1, 2]);
    store.reserve(taken.clone(), at(0)).await.unwrap();
    let entries = [&missed, &foreign, &taken].map(|p| peer.says(reserved(p.clone())));
    ingest(&store, "node-2", entries.to_vec()).await.unwrap();
    let head = store.head().unwrap().sequence;
    // The authorizations end at 60.
    assert_eq!(store.exclude_missed(at(60), at(70)).await.unwrap(), 0);
    assert_eq!(store.exclude_missed(at(61), at(71)).await.unwrap(), 1);
    assert_eq!(store.exclude_missed(at(99), at(99)).await.unwrap(), 0);
    assert_eq!(store.head().unwrap().sequence, head + 1);
    let refusal = refused(store.reserve(missed.clone(), at(72)).await);
    assert_eq!(refusal, ReserveRefusal::Aborted);
    store.close().await;
    let store = limited(folder.path(), "node-1").await;
    assert_eq!(store.exclude_missed(at(99), at(99)).await.unwrap(), 0);
    let state = store.session(taken.session).await.unwrap().unwrap().state;
    assert_eq!(state, SessionState::Reserved);
}

#[tokio::test]
async fn a_lie_about_a_transaction_is_counted_besides_the_truth_and_never_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let truth = payment("a", 1, 60, [1, 2]);
    let mut liar = TestPeer::new("node-3");
    let mut less = payment("a", 7, 1, [3, 3]);
    less.digests = truth.digests.clone();
    let mut mine_alone = truth.clone();
    mine_alone.session = hash("another session");
    mine_alone.nonce = hash("another nonce");
    mine_alone.participants = vec![member("node-3")];
    let entries = vec![
        liar.says(reserved(less.clone())),
        liar.says(reserved(mine_alone.clone())),
    ];
    ingest(&store, "node-3", entries).await.unwrap();
    store.reserve(truth.clone(), at(0)).await.unwrap();
    // The liar gives up what it made up.
    let entries = vec![
        liar.says(aborted(less.session)),
        liar.says(aborted(mine_alone.session)),
    ];
    ingest(&store, "node-3", entries).await.unwrap();
    assert_eq!(
        used(&store, payment("b", 1, 41, [1, 2])).await,
        Some((60, 41))
    );
}

#[tokio::test]
async fn too_few_nodes_of_the_ledger_group_are_refused_and_witnesses_make_them_enough() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    store.set_limits(&FOUR_OF_FIVE).await.unwrap();
    let mut this = payment("a", 1, 60, [1, 2]);
    this.participants = ["node-1", "node-2", "node-3"].map(member).to_vec();
    let refusal = refused(store.reserve(this.clone(), at(0)).await);
    let few = |r: &ReserveRefusal| {
        matches!(
            r,
            ReserveRefusal::TooFew {
                needed: 4,
                found: 3,
                ..
            }
        )
    };
    assert!(few(&refusal), "{refusal}");
    assert!(refusal.to_string().contains(USDT_LIMIT), "{refusal}");
    // Somebody outside of the group does not help.
    let stranger = vec![member("somebody")];
    let refusal = refused(store.reserve_with(this.clone(), stranger, at(0)).await);
    assert!(few(&refusal), "{refusal}");
    let witness = vec![member("node-4")];
    store.reserve_with(this, witness, at(0)).await.unwrap();
    // What no limit counts needs nobody.
    let mut free = payment("b", 1, 0, [1, 2]);
    free.transfers.clear();
    free.participants = ["node-1", "node-2", "node-3"].map(member).to_vec();
    store.reserve(free, at(0)).await.unwrap();
}

#[tokio::test]
async fn a_witness_reserves_and_has_nothing_to_release_or_abort() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-3").await;
    let this = payment("a", 1, 60, [1, 2]);
    let witness: Vec<MemberId> = vec![member("node-3")];
    store
        .reserve_with(this.clone(), witness.clone(), at(0))
        .await
        .unwrap();
    assert!(store.open_sessions().await.unwrap().is_empty());
    let state = store.session(this.session).await.unwrap().unwrap().state;
    assert_eq!(state, SessionState::Witnessed);
    assert_eq!(
        refused(store.release(this.session, at(1)).await),
        ReleaseRefusal::Witness
    );
    assert_eq!(
        refused(store.abort(this.session, "x", at(1)).await),
        AbortRefusal::Witness
    );
    // The next attempt does not wait for it, here or as a signer; and what it witnessed counts.
    let next = payment("a", 2, 60, [2, 3]);
    store.reserve(next, at(2)).await.unwrap();
    let refusal = refused(store.reserve(payment("b", 1, 41, [2, 3]), at(2)).await);
    assert!(matches!(refusal, ReserveRefusal::Limit(_)), "{refusal}");
}

fn observation(of: &Reservation, fate: Fate) -> Verified<Observation> {
    let said = Observation {
        network: Network::ETHEREUM,
        digest: of.digests[0],
        fate,
    };
    let signed = DEPLOYMENT.quorum_signed(&[OBSERVER, OTHER_OBSERVER], said);
    CHAIN.active().open_observation(&signed).unwrap()
}

fn nonce_used(of: &Reservation, by: Hash) -> Fate {
    let Lifetime::Evm { nonce, .. } = of.lifetime else {
        panic!("an EVM transaction");
    };
    Fate::NonceUsed {
        account: of.source,
        nonce,
        by: "0x01".into(),
        by_digest: by,
        block: 1,
        depth: 64,
    }
}

#[tokio::test]
async fn a_transaction_that_is_provably_dead_returns_and_is_never_signed_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let dead = payment("dead", 1, 100, [1, 2]);
    store.reserve(dead.clone(), at(0)).await.unwrap();
    store.release(dead.session, at(1)).await.unwrap();
    let probe = payment("probe", 1, 1, [1, 2]);
    let elsewhere = observation(&dead, nonce_used(&probe, hash("by")));
    let itself = observation(&dead, nonce_used(&dead, dead.digests[0]));
    let unknown = observation(&payment("x", 1, 1, [1, 2]), nonce_used(&dead, hash("by")));
    for unfit in [elsewhere, itself, unknown] {
        refused(store.observe_chain(&unfit, at(2)).await);
        assert_eq!(used(&store, probe.clone()).await, Some((100, 1)));
    }
    let proof = observation(&dead, nonce_used(&dead, hash("by")));
    let taken = store.observe_chain(&proof, at(2)).await.unwrap();
    assert_eq!(store.observe_chain(&proof, at(3)).await.unwrap(), taken);
    assert_eq!(used(&store, probe.clone()).await, None);
    let again = payment("dead", 2, 100, [1, 2]);
    store.close().await;
    let store = limited(folder.path(), "node-1").await;
    let refusal = refused(store.reserve(again, at(4)).await);
    assert_eq!(refusal, ReserveRefusal::Dead);
    assert_eq!(
        used(&store, payment("more", 1, 100, [1, 2])).await,
        Some((1, 100))
    );
    // A peer's word that it is dead is worth nothing without the statement.
    let other = payment("other", 1, 99, [1, 2]);
    store.reserve(other.clone(), at(5)).await.unwrap();
    let word = TestPeer::new("node-2").says(LedgerEvent::Observed {
        digest: other.digests[0],
        observation: hash("none"),
        dead: true,
    });
    ingest(&store, "node-2", vec![word]).await.unwrap();
    assert_eq!(
        used(&store, payment("more", 1, 100, [1, 2])).await,
        Some((100, 100))
    );
}

#[tokio::test]
async fn what_is_confirmed_is_no_longer_outstanding_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    store.set_limits(&OUTSTANDING).await.unwrap();
    let (first, second) = (payment("a", 1, 100, [1, 2]), payment("b", 1, 100, [1, 2]));
    store.reserve(first.clone(), at(0)).await.unwrap();
    store.release(first.session, at(1)).await.unwrap();
    // Time changes nothing.
    let much_later = at(90 * 86_400);
    let refusal = refused(store.reserve(second.clone(), much_later).await);
    assert!(matches!(refusal, ReserveRefusal::Limit(_)), "{refusal}");
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    store.set_limits(&OUTSTANDING).await.unwrap();
    let refusal = refused(store.reserve(second.clone(), at(2)).await);
    assert!(matches!(refusal, ReserveRefusal::Limit(_)), "{refusal}");
    let confirmed = observation(
        &first,
        Fate::Confirmed {
            transaction: "0x01".into(),
            block: 1,
            depth: 64,
            used: None,
        },
    );
    store.observe_chain(&confirmed, at(3)).await.unwrap();
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    store.set_limits(&OUTSTANDING).await.unwrap();
    store.reserve(second, at(4)).await.unwrap();
    let third = payment("c", 1, 1, [1, 2]);
    let refusal = refused(store.reserve(third, at(4)).await);
    assert!(matches!(refusal, ReserveRefusal::Limit(_)), "{refusal}");
}

#[tokio::test]
async fn a_new_bundle_counts_what_was_reserved_under_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let first = payment("a", 1, 70, [1, 2]);
    store.reserve(first, at(0)).await.unwrap();
    store.set_limits(&LIMITED).await.unwrap();
    assert_eq!(
        used(&store, payment("b", 1, 31, [1, 2])).await,
        Some((70, 31))
    );
    store.set_limits(CHAIN.active()).await.unwrap();
    assert_eq!(used(&store, payment("b", 1, 31, [1, 2])).await, None);
}

#[tokio::test]
async fn a_peer_that_dates_its_entries_ahead_does_not_hold_a_limit_for_longer_than_its_span() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let theirs = LedgerEntry {
        sequence: 1,
        previous: Hash::ZERO,
        event: reserved(payment("theirs", 1, 100, [2, 3])),
    };
    let years_ahead = at(20 * 366 * 86_400);
    let entry = signed_entry_at("node-2", theirs, years_ahead);
    ingest(&store, "node-2", vec![entry]).await.unwrap();
    let probe = payment("probe", 1, 1, [1, 2]);
    assert_eq!(used(&store, probe.clone()).await, Some((100, 1)));
    // The hour, a minute that its clock may be ahead, and twice the skew.
    let over = 3600 + 60 + 10;
    let refusal = refused(store.reserve(probe.clone(), at(over)).await);
    assert!(matches!(refusal, ReserveRefusal::Limit(_)), "{refusal}");
    store.reserve(probe, at(over + 1)).await.unwrap();
    // As read again at a start, also by a clock that was set back since.
    store.close().await;
    let store = limited(folder.path(), "node-1").await;
    let long_after = at(over + 1 + over + 1).max(crate::clock::now().plus_seconds(over + 1));
    let all = payment("all", 1, 99, [1, 2]);
    store.reserve(all, long_after).await.unwrap();
}

#[tokio::test]
async fn a_new_limit_on_what_is_outstanding_counts_spends_of_any_age() {
    let folder = tempfile::tempdir().unwrap();
    let store = limited(folder.path(), "node-1").await;
    let (old, dead) = (
        payment("old", 1, 60, [1, 2]),
        payment("dead", 1, 30, [1, 2]),
    );
    for this in [&old, &dead] {
        store.reserve(this.clone(), at(0)).await.unwrap();
        store.release(this.session, at(0)).await.unwrap();
    }
    let given_up = payment("given-up", 1, 10, [1, 3]);
    store.reserve(given_up.clone(), at(0)).await.unwrap();
    store.abort(given_up.session, "x", at(0)).await.unwrap();
    let theirs = TestPeer::new("node-3").says(aborted(given_up.session));
    ingest(&store, "node-3", vec![theirs]).await.unwrap();
    let proof = observation(&dead, nonce_used(&dead, hash("by")));
    store.observe_chain(&proof, at(1)).await.unwrap();
    // A hundred days later windows have forgotten all of it.
    let later = at(100 * 86_400);
    store
        .reserve(payment("new", 1, 1, [1, 2]), later)
        .await
        .unwrap();
    assert_eq!(
        store
            .observe(|state| state.index.spends.len())
            .await
            .unwrap(),
        1
    );
    store.set_limits(&OUTSTANDING).await.unwrap();
    let refusal = refused(store.reserve(payment("more", 1, 40, [1, 2]), later).await);
    let ReserveRefusal::Limit(hit) = refusal else {
        panic!("{refusal}");
    };
    assert_eq!(
        (hit.limit.as_str(), hit.used),
        ("usdt-open", Amount::from(61_u64))
    );
    store
        .reserve(payment("fits", 1, 39, [1, 2]), later)
        .await
        .unwrap();
}
