//! What peers say counts, and lies are found out.

use std::time::{Duration, Instant};

use countersign_policy::statement::{LedgerEntry, LedgerEvent};
use countersign_policy::{Envelope, Hash};

use super::support::*;
use crate::store::{IngestRefusal, LAZY_WRITE, LedgerPosition, ReleaseRefusal, ReserveRefusal};

fn stopped(payment: &str) -> LedgerEvent {
    LedgerEvent::Stopped {
        request: reservation(payment, 1).request,
        cancel: hash("cancel"),
    }
}

#[tokio::test]
async fn entries_count_at_once_and_overlaps_are_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let mut peer = TestPeer::new("node-2");
    let entries: Vec<_> = (0..5)
        .map(|i| peer.says(stopped(&format!("p{i}"))))
        .collect();
    let taken = ingest(&store, "node-2", entries[..3].to_vec())
        .await
        .unwrap();
    assert_eq!(taken.sequence, 3);
    let refusal = refused(store.reserve(reservation("p2", 1), at(0)).await);
    assert_eq!(
        refusal,
        ReserveRefusal::Stopped {
            by: Some(member("node-2"))
        }
    );
    let taken = ingest(&store, "node-2", entries[1..].to_vec())
        .await
        .unwrap();
    assert_eq!(taken, peer.head);
    assert_eq!(ingest(&store, "node-2", entries).await.unwrap(), peer.head);
    assert_eq!(
        ingest(&store, "node-2", Vec::new()).await.unwrap(),
        peer.head
    );
}

#[tokio::test]
async fn a_position_is_reported_when_it_is_durable_and_that_is_soon() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let mut peer = TestPeer::new("node-2");
    let entry = peer.says(stopped("a"));
    let asked = Instant::now();
    ingest(&store, "node-2", vec![entry.clone()]).await.unwrap();
    let known = |store: &crate::store::Store| store.peer_position(&member("node-2")).unwrap().known;
    let early = known(&store);
    // On a machine that stalls for that long it may be durable already.
    if asked.elapsed() < LAZY_WRITE {
        assert_eq!(early, LedgerPosition::EMPTY);
    }
    while known(&store) != peer.head && asked.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(LAZY_WRITE / 4).await;
    }
    assert_eq!(known(&store), peer.head);
    store.acknowledged(&member("node-2"), 7).await.unwrap();
    ingest(&store, "node-2", vec![peer.says(stopped("b"))])
        .await
        .unwrap();
    // The next durable operation carries both.
    store.reserve(reservation("c", 1), at(0)).await.unwrap();
    assert_eq!(known(&store), peer.head);
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert_eq!(known(&store), peer.head);
    for payment in ["a", "b"] {
        let refusal = refused(store.reserve(reservation(payment, 1), at(0)).await);
        assert_eq!(
            refusal,
            ReserveRefusal::Stopped {
                by: Some(member("node-2"))
            }
        );
    }
}

#[tokio::test]
async fn a_peer_gets_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let peer = member("node-2");
    for payment in ["a", "b", "c"] {
        store.reserve(reservation(payment, 1), at(0)).await.unwrap();
    }
    assert_eq!(store.entries_for(&peer, 10).await.unwrap().len(), 3);
    store.acknowledged(&peer, 2).await.unwrap();
    store.reserve(reservation("d", 1), at(0)).await.unwrap();
    assert_eq!(store.entries_for(&peer, 10).await.unwrap().len(), 2);
    // Nobody has more than there is, and a peer that lost some says so.
    store.acknowledged(&peer, 99).await.unwrap();
    store.record(note("x")).await.unwrap();
    assert_eq!(store.peer_position(&peer).unwrap().acknowledged, 4);
    store.acknowledged(&peer, 1).await.unwrap();
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.entries_for(&peer, 10).await.unwrap().len(), 3);
}

fn note(operation: &str) -> crate::store::NewRecord {
    crate::store::NewRecord {
        at: at(0),
        operation: operation.to_owned(),
        subject: String::new(),
        outcome: String::new(),
        detail: String::new(),
        cause: crate::store::Cause::Happened,
    }
}

#[tokio::test]
async fn a_release_sees_what_any_peer_stopped_aborted_or_took() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let by = Some(member("node-3"));
    let mut peer = TestPeer::new("node-3");
    let ours = |payment| reservation(payment, 1);
    let mut same_external_id = reservation("x", 1);
    same_external_id.external_id = ours("external").external_id;
    let mut same_nonce = reservation("y", 1);
    same_nonce.nonce = ours("nonce").nonce;
    let cases = [
        (
            "stop",
            stopped("stop"),
            Some(ReleaseRefusal::Stopped { by: by.clone() }),
        ),
        (
            "abort",
            LedgerEvent::Aborted {
                session: ours("abort").session,
                reason: "x".into(),
            },
            Some(ReleaseRefusal::PeerAborted {
                peer: member("node-3"),
            }),
        ),
        (
            "external",
            reserved(same_external_id),
            Some(ReleaseRefusal::ExternalIdContested { by: by.clone() }),
        ),
        (
            "nonce",
            reserved(same_nonce),
            Some(ReleaseRefusal::NonceContested { by: by.clone() }),
        ),
        // What participants of one session promise alike is no contest, and another's release changes nothing.
        ("same", reserved(ours("same")), None),
        (
            "released",
            LedgerEvent::Released {
                session: ours("released").session,
            },
            None,
        ),
    ];
    for (payment, event, expected) in cases {
        store.reserve(ours(payment), at(0)).await.unwrap();
        ingest(&store, "node-3", vec![peer.says(event)])
            .await
            .unwrap();
        let released = store.release(ours(payment).session, at(1)).await;
        match expected {
            Some(expected) => assert_eq!(refused(released), expected, "{payment}"),
            None => assert!(released.is_ok(), "{payment}: {released:?}"),
        }
    }
}

#[tokio::test]
async fn claims_of_peers_are_respected_before_a_reservation_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let theirs = reservation("theirs", 1);
    let entry = TestPeer::new("node-2").says(reserved(theirs.clone()));
    ingest(&store, "node-2", vec![entry]).await.unwrap();
    let mut other = reservation("ours", 1);
    other.external_id = theirs.external_id.clone();
    assert_eq!(
        refused(store.reserve(other.clone(), at(0)).await),
        ReserveRefusal::ExternalIdBound {
            request: Some(theirs.request),
            by: Some(member("node-2"))
        }
    );
    other = reservation("ours", 1);
    other.nonce = theirs.nonce;
    assert_eq!(
        refused(store.reserve(other, at(0)).await),
        ReserveRefusal::NonceUsed
    );
    // A third node contests the claim: now neither side may go on, in whatever order they came.
    let mut contested = reservation("third", 1);
    contested.external_id = theirs.external_id.clone();
    let entry = TestPeer::new("node-3").says(reserved(contested));
    ingest(&store, "node-3", vec![entry]).await.unwrap();
    assert_eq!(
        refused(store.reserve(theirs.clone(), at(0)).await),
        ReserveRefusal::ExternalIdBound {
            request: None,
            by: Some(member("node-3"))
        }
    );
    let own = reservation("own", 1);
    store.reserve(own, at(0)).await.unwrap();
}

#[tokio::test]
async fn gaps_strangers_forgeries_and_floods_are_refused_without_a_ban() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let mut peer = TestPeer::new("node-2");
    let entries: Vec<_> = (0..3)
        .map(|i| peer.says(stopped(&format!("p{i}"))))
        .collect();
    let gap = |refusal: &IngestRefusal| {
        matches!(
            refusal,
            IngestRefusal::Gap {
                have: 0,
                found: 2,
                ..
            }
        )
    };
    let refusal = refused(ingest(&store, "node-2", entries[1..].to_vec()).await);
    assert!(gap(&refusal), "{refusal}");
    let refusal = refused(ingest(&store, "node-3", entries.clone()).await);
    assert!(matches!(refusal, IngestRefusal::Issuer { .. }), "{refusal}");
    let refusal = refused(ingest(&store, "node-1", entries.clone()).await);
    assert!(matches!(refusal, IngestRefusal::Own), "{refusal}");
    let forged = Envelope::sign(
        entries[0].payload_type(),
        entries[0].payload().to_vec(),
        "node-2",
        &identity("node-3"),
    );
    let refusal = refused(ingest(&store, "node-2", vec![forged]).await);
    assert!(
        matches!(refusal, IngestRefusal::Statement { index: 0, .. }),
        "{refusal}"
    );
    let flood = vec![entries[0].clone(); 1001];
    let refusal = refused(ingest(&store, "node-2", flood).await);
    assert!(matches!(refusal, IngestRefusal::TooMany(1001)), "{refusal}");
    assert!(!store.peer_banned(&member("node-2")).unwrap());
    assert_eq!(ingest(&store, "node-2", entries).await.unwrap(), peer.head);
}

/// Two entries at one place, and a successor of an entry that was never shown.
fn lies(peer: &TestPeer) -> [Envelope; 2] {
    let here = signed_entry(
        peer.name,
        LedgerEntry {
            sequence: 1,
            previous: Hash::ZERO,
            event: stopped("another"),
        },
    );
    let next = signed_entry(
        peer.name,
        LedgerEntry {
            sequence: peer.head.sequence + 1,
            previous: here.digest(),
            event: stopped("b"),
        },
    );
    [here, next]
}

#[tokio::test]
async fn a_peer_with_two_histories_is_banned_for_ever() {
    for lie in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), "node-1").await;
        let mut peer = TestPeer::new("node-2");
        let first = peer.says(stopped("a"));
        ingest(&store, "node-2", vec![first]).await.unwrap();
        let [here, next] = lies(&peer);
        let told = if lie == 0 { here } else { next };
        let refusal = refused(ingest(&store, "node-2", vec![told]).await);
        let expected =
            |r: &IngestRefusal| matches!(r, IngestRefusal::Equivocation { sequence: 1, .. });
        assert!(expected(&refusal), "{refusal}");
        assert!(
            store.peer_banned(&member("node-2")).unwrap(),
            "durable when reported"
        );
        store.close().await;
        let store = open(folder.path(), "node-1").await;
        assert!(store.peer_banned(&member("node-2")).unwrap());
        let honest_again = peer.says(stopped("c"));
        let refusal = refused(ingest(&store, "node-2", vec![honest_again]).await);
        assert!(matches!(refusal, IngestRefusal::Banned { .. }), "{refusal}");
        // What it promised before still counts.
        let refusal = refused(store.reserve(reservation("a", 1), at(0)).await);
        assert_eq!(
            refusal,
            ReserveRefusal::Stopped {
                by: Some(member("node-2"))
            }
        );
    }
}

#[tokio::test]
async fn a_taken_entry_is_recognised_only_with_its_own_signature_and_not_from_a_banned_peer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let mut peer = TestPeer::new("node-2");
    let mut liar = TestPeer::new("node-2");
    let entry = peer.says(stopped("a"));
    ingest(&store, "node-2", vec![entry.clone()]).await.unwrap();
    let mut forged = serde_json::to_value(&entry).unwrap();
    forged["signatures"][0]["sig"] =
        serde_json::to_value(peer.says(stopped("b"))).unwrap()["signatures"][0]["sig"].clone();
    let forged: Envelope = serde_json::from_value(forged).unwrap();
    assert_eq!(forged.digest(), entry.digest());
    let refusal = refused(ingest(&store, "node-2", vec![forged]).await);
    assert!(
        matches!(refusal, IngestRefusal::Statement { .. }),
        "{refusal}"
    );

    let other = liar.says(stopped("c"));
    let refusal = refused(ingest(&store, "node-2", vec![other]).await);
    assert!(
        matches!(refusal, IngestRefusal::Equivocation { .. }),
        "{refusal}"
    );
    let refusal = refused(ingest(&store, "node-2", vec![entry]).await);
    assert!(matches!(refusal, IngestRefusal::Banned { .. }), "{refusal}");
}

/// An entry whose signature is another one's.
fn forged(entry: &Envelope, other: &Envelope) -> Envelope {
    let mut json = serde_json::to_value(entry).unwrap();
    json["signatures"] = serde_json::to_value(other).unwrap()["signatures"].clone();
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn the_last_signature_vouches_for_a_chain_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let mut peer = TestPeer::new("node-2");
    let e: Vec<_> = ["a", "b", "c", "d"].map(|p| peer.says(stopped(p))).into();
    // The last one vouches for nobody when it is forged, and then the first at fault is named, nothing is taken.
    let refusal = refused(ingest(&store, "node-2", vec![e[0].clone(), forged(&e[1], &e[0])]).await);
    assert!(
        matches!(refusal, IngestRefusal::Statement { index: 1, .. }),
        "{refusal}"
    );
    // A chain with a hole is none: every entry is held against its own signature.
    let refusal = refused(ingest(&store, "node-2", vec![forged(&e[0], &e[1]), e[2].clone()]).await);
    assert!(
        matches!(refusal, IngestRefusal::Statement { index: 0, .. }),
        "{refusal}"
    );
    let whole = vec![forged(&e[0], &e[1]), e[1].clone(), e[2].clone()];
    let taken = ingest(&store, "node-2", whole).await.unwrap();
    assert_eq!(taken.sequence, 3);
    assert_eq!(ingest(&store, "node-2", e).await.unwrap(), peer.head);
}

#[tokio::test]
async fn a_ban_needs_an_entry_with_a_signature_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let mut peer = TestPeer::new("node-2");
    ingest(&store, "node-2", vec![peer.says(stopped("a"))])
        .await
        .unwrap();
    let mut twin = TestPeer::new("node-2");
    let other: Vec<_> = ["x", "y"].map(|p| twin.says(stopped(p))).into();
    // Vouched for by its successor, but without a signature of its own: refused, and nobody is banned for it.
    let unsigned = vec![forged(&other[0], &other[1]), other[1].clone()];
    let refusal = refused(ingest(&store, "node-2", unsigned).await);
    assert!(
        matches!(refusal, IngestRefusal::Statement { index: 0, .. }),
        "{refusal}"
    );
    assert!(!store.peer_banned(&member("node-2")).unwrap());
    let refusal = refused(ingest(&store, "node-2", other).await);
    assert!(
        matches!(refusal, IngestRefusal::Equivocation { sequence: 1, .. }),
        "{refusal}"
    );
    assert!(store.peer_banned(&member("node-2")).unwrap());
}
