//! Shares, secrets, ceremonies, bans, bundles, records.

use countersign_policy::statement::{KeyCeremony, LedgerEvent};
use countersign_policy::{KeyId, Protocol, PublicKey, bundle::Environment};
use zeroize::Zeroizing;

use super::support::*;
use crate::store::{
    Cause, CeremonyProgress, NewRecord, PutRefusal, RECORD_BURST, SecretKind, ShareRecord,
};
use crate::wire::CeremonyStep;

pub fn share_record(key: &str, generation: u32) -> ShareRecord {
    ShareRecord {
        key: KeyId::new(key).unwrap(),
        generation,
        protocol: Protocol::Dkls23,
        ceremony: hash(format!("ceremony of {key}")),
        threshold: 2,
        index: 0,
        nodes: DEPLOYMENT.nodes(),
        group_key: PublicKey::ed25519(ed25519_base_point()).unwrap(),
        chain_code: None,
    }
}

/// RFC 8032, section 5.1: the base point.
fn ed25519_base_point() -> [u8; 32] {
    let mut bytes = [0x66; 32];
    bytes[0] = 0x58;
    bytes
}

pub fn secret(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

#[tokio::test]
async fn a_share_is_stored_once_with_its_ledger_entry_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let record = share_record("key-1", 0);
    let stored = store
        .put_share(&record, secret("share"), at(0))
        .await
        .unwrap();
    let again = store
        .put_share(&record, secret("share"), at(1))
        .await
        .unwrap();
    assert_eq!(again, stored);
    let refusal = refused(store.put_share(&record, secret("other"), at(1)).await);
    assert_eq!(refusal, PutRefusal::Exists("key-1/0".into()));
    let mut other = record.clone();
    other.threshold = 3;
    refused(store.put_share(&other, secret("share"), at(1)).await);
    assert!(store.script("UPDATE shares SET tag = x'00'").await.is_err());
    store.close().await;

    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.shares().await.unwrap(), std::slice::from_ref(&record));
    let (found, share) = store.load_share(&record.key).await.unwrap().unwrap();
    assert_eq!((&found, share.as_slice()), (&record, b"share".as_slice()));
    let unknown = KeyId::new("key-2").unwrap();
    assert!(store.load_share(&unknown).await.unwrap().is_none());
    let again = store
        .put_share(&record, secret("share"), at(2))
        .await
        .unwrap();
    assert_eq!(again, stored);
    let entry = &store.entries_after(0, 2).await.unwrap()[0];
    let opened = CHAIN.active().directory().open(entry).unwrap();
    let body: &countersign_policy::statement::LedgerEntry = opened.body();
    let (key, ceremony) = (record.key.clone(), record.ceremony);
    assert_eq!(body.event, LedgerEvent::KeyStored { key, ceremony });
}

#[tokio::test]
async fn the_newest_generation_of_a_share_is_the_one_that_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    for (generation, text) in [(1, "new"), (0, "old")] {
        let record = share_record("key-1", generation);
        store.put_share(&record, secret(text), at(0)).await.unwrap();
    }
    let (record, share) = store
        .load_share(&share_record("key-1", 0).key)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (record.generation, share.as_slice()),
        (1, b"new".as_slice())
    );
}

#[tokio::test]
async fn primes_are_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    assert!(store.take_primes().await.unwrap().is_none());
    for name in ["b", "a"] {
        let put = store.put_secret(SecretKind::CggmpPrimes, name, secret(name));
        put.await.unwrap();
    }
    assert_eq!(
        store.secret_names(SecretKind::CggmpPrimes).await.unwrap(),
        ["a", "b"]
    );
    let (first, second) = tokio::join!(store.take_primes(), store.take_primes());
    assert_eq!(first.unwrap().unwrap().1.as_slice(), b"a");
    assert_eq!(second.unwrap().unwrap().1.as_slice(), b"b");
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert!(store.take_primes().await.unwrap().is_none());
}

#[tokio::test]
async fn auxiliary_data_is_kept_by_group() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let put = |text| store.put_secret(SecretKind::CggmpAux, "group", secret(text));
    put("aux").await.unwrap();
    put("aux").await.unwrap();
    assert_eq!(
        refused(put("other").await),
        PutRefusal::Exists("group".into())
    );
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert_eq!(
        store.load_aux("group").await.unwrap().unwrap().as_slice(),
        b"aux"
    );
    assert!(store.load_aux("another").await.unwrap().is_none());
}

#[tokio::test]
async fn ceremonies_and_bans_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let key = KeyId::new("key-1").unwrap();
    let order = DEPLOYMENT.ceremony(KeyCeremony {
        key: key.clone(),
        protocol: Protocol::Dkls23,
        threshold: 2,
        max_faulty: 0,
        nodes: DEPLOYMENT.nodes(),
        purpose: "test".into(),
        environment: Environment::Test,
    });
    let mut progress = CeremonyProgress {
        ceremony: order.digest(),
        key: key.clone(),
        order,
        step: CeremonyStep::KeyGeneration,
        transcript: None,
    };
    store.put_ceremony(progress.clone()).await.unwrap();
    progress.step = CeremonyStep::Complete;
    store.put_ceremony(progress.clone()).await.unwrap();
    let peer = member("node-2");
    assert!(!store.is_banned(&key, &peer).unwrap());
    store
        .ban(&key, &peer, "wrong consistency check", at(0))
        .await
        .unwrap();
    store.ban(&key, &peer, "once more", at(9)).await.unwrap();
    assert!(store.is_banned(&key, &peer).unwrap());
    assert!(store.script("DELETE FROM key_bans").await.is_err());
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.ceremonies().await.unwrap(), [progress]);
    assert!(store.is_banned(&key, &peer).unwrap());
    let bans = store.bans().await.unwrap();
    assert_eq!(bans.len(), 1);
    assert_eq!(
        (bans[0].at, bans[0].evidence.as_str()),
        (at(0), "wrong consistency check")
    );
}

#[tokio::test]
async fn one_successor_per_bundle_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let chain = DEPLOYMENT.chain();
    let genesis = chain.active();
    let successor = |text: &str| {
        let text = text.to_owned();
        let envelope = DEPLOYMENT.successor(genesis, move |content| content.organisation = text);
        let mut chain = DEPLOYMENT.chain();
        chain.append(&envelope, DEPLOYMENT.now()).unwrap().clone()
    };
    let (second, fork) = (successor("A"), successor("B"));
    let refusal = refused(store.append_bundle(&second, at(0)).await);
    assert_eq!(
        refusal,
        PutRefusal::Version {
            found: 2,
            newest: 0
        }
    );
    store.append_bundle(genesis, at(0)).await.unwrap();
    let accepted = store.append_bundle(&second, at(0)).await.unwrap();
    assert_eq!(store.append_bundle(&second, at(1)).await.unwrap(), accepted);
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert_eq!(
        refused(store.append_bundle(&fork, at(2)).await),
        PutRefusal::Fork {
            version: 2,
            stored: second.digest()
        }
    );
    let stored = store.bundles().await.unwrap();
    assert_eq!(
        stored,
        [genesis.envelope().clone(), second.envelope().clone()]
    );
}

#[tokio::test]
async fn records_are_numbered_bounded_and_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let new = |outcome: &str| NewRecord {
        at: at(0),
        operation: "prepare".into(),
        subject: hash("request").to_hex(),
        outcome: outcome.into(),
        detail: "d".repeat(5000),
        cause: Cause::Happened,
    };
    assert_eq!(store.note(new("refused/policy")).await.unwrap(), 1);
    // Whoever waits for a reservation waits for the note before it as well.
    store.reserve(reservation("a", 1), at(0)).await.unwrap();
    let kept = store.records(10).await.unwrap();
    assert_eq!((kept.len(), kept[0].detail.len()), (1, 2000));
    assert_eq!(store.record(new("signed")).await.unwrap(), Some(2));
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    assert_eq!(store.record(new("again")).await.unwrap(), Some(3));
    let newest = store.records(2).await.unwrap();
    let outcomes: Vec<_> = newest
        .iter()
        .map(|r| (r.sequence, r.outcome.as_str()))
        .collect();
    assert_eq!(outcomes, [(3, "again"), (2, "signed")]);
}

fn refusal(caller: &str, seconds: u64) -> NewRecord {
    NewRecord {
        at: at(seconds),
        operation: "prepare".into(),
        subject: caller.into(),
        outcome: "refused/policy".into(),
        detail: "a refusal".into(),
        cause: Cause::Refused(caller.into()),
    }
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_and_hides_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    let flood = RECORD_BURST + 1_000;
    let mut made = 0;
    for _ in 0..flood {
        made += u32::from(store.record(refusal("stolen", 0)).await.unwrap().is_some());
    }
    assert_eq!(made, RECORD_BURST);
    // Whoever else is refused, and whatever happens, is recorded as if there were no flood.
    let other = store.record(refusal("other", 0)).await.unwrap();
    assert_eq!(other, Some(u64::from(RECORD_BURST) + 1));
    let happened = NewRecord {
        outcome: "failed after release/protocol".into(),
        cause: Cause::Happened,
        ..refusal("stolen", 0)
    };
    for _ in 0..20 {
        assert!(store.record(happened.clone()).await.unwrap().is_some());
    }
    // Nothing is due before the caller has earned a record; then one summary counts all that was left out.
    store.summarise_records(at(9)).await.unwrap();
    store.summarise_records(at(10)).await.unwrap();
    store.summarise_records(at(10)).await.unwrap();
    assert_eq!(store.record(refusal("stolen", 19)).await.unwrap(), None);
    store.record(refusal("stolen", 20)).await.unwrap().unwrap();
    let records = store.records(10_000).await.unwrap();
    let summaries: Vec<&str> = records
        .iter()
        .rev()
        .filter(|r| r.operation == "records" && r.subject == "stolen")
        .map(|r| r.detail.split(" more ").next().unwrap())
        .collect();
    assert_eq!(summaries, ["1000", "1"]);
    assert_eq!(records.len(), 500 + 1 + 20 + 2 + 1);
}

#[tokio::test]
async fn what_was_only_counted_is_told_before_the_store_closes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    for _ in 0..RECORD_BURST + 7 {
        store.record(refusal("stolen", 0)).await.unwrap();
    }
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    let newest = store.records(1).await.unwrap().remove(0);
    assert_eq!(newest.operation, "records");
    assert!(newest.detail.starts_with("7 more refusals of stolen"));
}

#[tokio::test]
async fn the_oldest_refusals_go_and_what_happened_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "node-1").await;
    store.keep_refusals(1_200).await;
    let happened = NewRecord {
        outcome: "failed after release/protocol".into(),
        cause: Cause::Happened,
        ..refusal("a", 0)
    };
    store.note(happened).await.unwrap();
    for number in 0..1_201 {
        store.note(refusal(&format!("c{number}"), 0)).await.unwrap();
    }
    store.close().await;
    // The count is taken from the file again.
    let store = open(folder.path(), "node-1").await;
    let records = store.records(10_000).await.unwrap();
    assert_eq!(records.len(), 1 + 201);
    assert_eq!(records.last().unwrap().sequence, 1);
    assert_eq!(records[0].subject, "c1200");
    store.keep_refusals(201).await;
    store.note(refusal("one-more", 0)).await.unwrap();
    store.close().await;
    let store = open(folder.path(), "node-1").await;
    let left = store.records(10).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].outcome, "failed after release/protocol");
}
