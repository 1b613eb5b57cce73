//! How far nonces may run ahead of what chain observers saw.

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::limits::NonceLead;
use countersign_policy::statement::{Fate, Observation, Reservation, UsedNonce, Verified};
use countersign_policy::testing::{OBSERVER, OTHER_OBSERVER, TestDeployment, WALLET};
use countersign_policy::{Lifetime, LimitId, WalletId};

use super::support::*;
use crate::store::{ReserveRefusal, Store};

/// At most two transactions of an account wait for those before them.
fn bounded() -> ActiveBundle {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    deployment.content_mut().nonce_leads.push(NonceLead {
        id: LimitId::new("nonces").unwrap(),
        network: reservation("any", 1).network,
        wallets: Vec::new(),
        max: 2,
        first: Vec::new(),
    });
    deployment.bundle()
}

async fn open_bounded(folder: &std::path::Path) -> Store {
    let store = open(folder, "node-1").await;
    store.set_limits(&bounded()).await.unwrap();
    store
}

fn payment(nonce: u64) -> Reservation {
    Reservation {
        wallet: WalletId::new(WALLET).unwrap(),
        lifetime: Lifetime::Evm {
            chain_id: 1,
            nonce,
            account: None,
        },
        ..reservation(&format!("nonce-{nonce}"), 1)
    }
}

fn confirmed(of: &Reservation, used: Option<u64>) -> Verified<Observation> {
    let said = Observation {
        network: of.network,
        digest: of.digests[0],
        fate: Fate::Confirmed {
            transaction: "0x01".into(),
            block: 1,
            depth: 64,
            used: used.map(|nonce| UsedNonce {
                account: of.source,
                nonce,
            }),
        },
    };
    let signed = DEPLOYMENT.quorum_signed(&[OBSERVER, OTHER_OBSERVER], said);
    CHAIN.active().open_observation(&signed).unwrap()
}

/// The greatest nonce that may be reserved next to `nonce`, which may not.
async fn highest(store: &Store, nonce: u64) -> (Option<u64>, u64) {
    match refused(store.reserve(payment(nonce), at(0)).await) {
        ReserveRefusal::NonceAhead(ahead) => (ahead.observed, ahead.highest),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_nonce_too_far_ahead_of_the_last_observed_one_is_refused_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_bounded(folder.path()).await;
    assert_eq!(highest(&store, 2).await, (None, 1));
    for nonce in [0, 1] {
        store.reserve(payment(nonce), at(0)).await.unwrap();
    }
    // Another transaction with a nonce that is near enough is another question.
    let observed = confirmed(&payment(0), Some(0));
    store.observe_chain(&observed, at(1)).await.unwrap();
    assert_eq!(highest(&store, 3).await, (Some(0), 2));
    store.close().await;
    let store = open_bounded(folder.path()).await;
    assert_eq!(highest(&store, 3).await, (Some(0), 2));
    store.reserve(payment(2), at(2)).await.unwrap();
    // A confirmation without the nonce moves nothing, and one with another nonce than the transaction's is no proof.
    let without = confirmed(&payment(1), None);
    store.observe_chain(&without, at(3)).await.unwrap();
    let lie = confirmed(&payment(2), Some(9));
    refused(store.observe_chain(&lie, at(3)).await);
    assert_eq!(highest(&store, 3).await, (Some(0), 2));
}

#[tokio::test]
async fn what_was_observed_of_a_transaction_that_nothing_counts_any_more_is_still_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_bounded(folder.path()).await;
    store.reserve(payment(1), at(0)).await.unwrap();
    let observed = confirmed(&payment(1), Some(1));
    store.observe_chain(&observed, at(1)).await.unwrap();
    // A year later the payment is forgotten.
    store.reserve(payment(2), at(366 * 86_400)).await.unwrap();
    assert_eq!(highest(&store, 4).await, (Some(1), 3));
    store.close().await;
    let store = open_bounded(folder.path()).await;
    assert_eq!(highest(&store, 4).await, (Some(1), 3));
}
