//! Every test runs on both databases.

#[path = "../../tests/support/database.rs"]
mod database;

use std::collections::BTreeMap;

use countersign_policy::statement::{SignRequest, StopAck, StopOutcome};
use countersign_policy::testing::{PAYMENTS, TestDeployment, member};
use countersign_policy::{Envelope, Facts, Hash, decide};
use database::{Kind, TestDatabase, both};

use super::tx::Value;
use super::*;
use crate::lifecycle::{Goal, SignedData, State, Why};

struct Fixture {
    deployment: TestDeployment,
    store: Datastore,
    lease: Lease,
}

impl Fixture {
    async fn new(database: &TestDatabase) -> Self {
        Self {
            deployment: TestDeployment::with_single_keys(3, 2),
            store: Datastore::open(&database.url).await.unwrap(),
            lease: Lease::new("one".into(), 60_000),
        }
    }

    async fn create(&self, envelope: &Envelope, key: &str) -> Created {
        self.create_by(&self.lease, envelope, key, true).await
    }

    async fn create_by(
        &self,
        lease: &Lease,
        envelope: &Envelope,
        key: &str,
        at_once: bool,
    ) -> Created {
        let bundle = self.deployment.bundle();
        let verified = bundle.directory().open::<SignRequest>(envelope).unwrap();
        let facts = Facts::establish(&bundle, verified.body()).unwrap();
        let body = verified.body();
        let stored = RequestFacts {
            intent: facts.transaction().intent().clone(),
            from: *facts.source(),
            path: body.path.clone(),
            unsigned: body.transaction.clone(),
            digest: facts.transaction().digest(),
            decision: decide(&bundle, &verified, &facts, self.deployment.now()),
            bundle: bundle.digest(),
        };
        let nodes = &self.deployment.nodes()[..2];
        let authorization = self.deployment.authorization(&bundle, envelope, nodes, 1);
        let new = NewRequest {
            id: verified.digest(),
            initiator: verified.issuer(),
            external_id: &body.external_id,
            wallet: &body.wallet,
            key: &body.key,
            network: body.network,
            envelope,
            facts: &stored,
            expires_at: verified.statement().expires_at,
            decided: Decided::Authorized(NewAttempt {
                attempt: 1,
                authorization,
            }),
        };
        let key = IdempotencyKey {
            key,
            answer_within: 60_000,
            at_once,
        };
        let answer = |request: &StoredRequest| (202, format!("first answer to {}", request.id));
        self.store
            .create_request(lease, &new, &key, &answer)
            .await
            .unwrap()
    }

    async fn stored(&self, external_id: &str) -> StoredRequest {
        let envelope = self.deployment.usdt_request(external_id, 1_000_000);
        match self.create(&envelope, external_id).await {
            Created::New(request) => *request,
            other => panic!("{other:?}"),
        }
    }
}

fn signed() -> State {
    State::Signed(SignedData {
        signature: countersign_policy::Signature::Ed25519([7; 64]),
        signed: "0x".into(),
        tx_id: "0x".into(),
        attempt: 1,
        participants: vec![],
    })
}

fn stopping() -> State {
    State::Stopping {
        goal: Goal::Cancelled,
        why: Why::new("cancelled", "x"),
    }
}

both!(the_idempotency_matrix, async |database: &TestDatabase| {
    let f = Fixture::new(database).await;
    let one = f.deployment.usdt_request("payment-1", 1_000_000);
    let other = f.deployment.usdt_request("payment-2", 1_000_000);
    let same_external_id = f.deployment.usdt_request("payment-1", 2_000_000);
    assert!(matches!(f.create(&one, "k1").await, Created::New(_)));
    // Same key, same body: the first answer again.
    let again = f.create(&one, "k1").await;
    let expected = format!("first answer to {}", one.digest());
    assert!(matches!(again, Created::Known { answer: Some((202, text)), .. } if text == expected));
    // Same key, other body.
    assert!(matches!(f.create(&other, "k1").await, Created::KeyReused(id) if id == one.digest()));
    // Other key, same body: the same request.
    let joined = f.create(&one, "k2").await;
    assert!(
        matches!(joined, Created::Known { answer: None, request } if request.id == one.digest())
    );
    // Other body, same external id.
    let taken = f.create(&same_external_id, "k3").await;
    assert!(matches!(taken, Created::ExternalIdTaken(id) if id == one.digest()));
    // Nothing was bound to the refused call's key.
    assert!(matches!(f.create(&other, "k3").await, Created::New(_)));
});

both!(
    a_call_that_waits_is_in_flight_until_its_request_is_final,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let envelope = f.deployment.usdt_request("payment-1", 1_000_000);
        let Created::New(request) = f.create_by(&f.lease, &envelope, "k", false).await else {
            panic!()
        };
        let again = f.create_by(&f.lease, &envelope, "k", false).await;
        assert!(matches!(again, Created::InFlight(id) if id == request.id));
        f.store
            .advance(&f.lease, &request, &signed(), &Change::default())
            .await
            .unwrap();
        let after = f.create_by(&f.lease, &envelope, "k", false).await;
        assert!(
            matches!(after, Created::Known { request, answer: None } if request.state == signed())
        );
    }
);

both!(
    a_late_answer_is_kept_and_the_first_one_stands,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let envelope = f.deployment.usdt_request("payment-1", 1_000_000);
        f.create_by(&f.lease, &envelope, "k", false).await;
        for text in ["first", "second"] {
            f.store
                .store_answer(&member(PAYMENTS), "k", &(202, text.to_owned()))
                .await
                .unwrap();
        }
        let again = f.create(&envelope, "k").await;
        assert!(
            matches!(again, Created::Known { answer: Some((202, text)), .. } if text == "first")
        );
    }
);

both!(
    of_many_concurrent_calls_one_makes_the_request,
    async |database: &TestDatabase| {
        let f = std::sync::Arc::new(Fixture::new(database).await);
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..16_u64 {
            let f = std::sync::Arc::clone(&f);
            calls.spawn(async move {
                let envelope = f.deployment.usdt_request("payment-1", 1_000_000 + i % 2);
                f.create(&envelope, &format!("k{i}")).await
            });
        }
        let (mut new, mut known, mut taken) = (0, 0, 0);
        while let Some(created) = calls.join_next().await {
            match created.unwrap() {
                Created::New(_) => new += 1,
                Created::Known { .. } => known += 1,
                Created::ExternalIdTaken(_) => taken += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((new, known, taken), (1, 7, 8));
    }
);

both!(
    a_change_needs_the_row_that_was_read_and_the_lease,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let request = f.stored("payment-1").await;
        let stranger = Lease::new("two".into(), 60_000);
        let next = State::Signing { attempt: 1 };
        let refused = f
            .store
            .advance(&stranger, &request, &next, &Change::default())
            .await;
        assert!(matches!(refused, Err(DbError::LostLease(_))));
        let changed = f
            .store
            .advance(&f.lease, &request, &next, &Change::default())
            .await
            .unwrap();
        let stale = f
            .store
            .advance(&f.lease, &request, &signed(), &Change::default())
            .await;
        assert!(matches!(stale, Err(DbError::LostLease(_))));
        let wrong = f
            .store
            .advance(
                &f.lease,
                &changed,
                &State::Cancelled(Why::default()),
                &Change::default(),
            )
            .await;
        assert!(matches!(wrong, Err(DbError::Transition { .. })));
        f.store
            .advance(
                &f.lease,
                &changed,
                &signed(),
                &Change {
                    outcome: Some("signed"),
                    ..Change::default()
                },
            )
            .await
            .unwrap();
        let events: Vec<String> = f
            .store
            .events(request.id)
            .await
            .unwrap()
            .into_iter()
            .map(|e| e.state)
            .collect();
        assert_eq!(events, ["RECEIVED", "AUTHORIZED", "SIGNING", "SIGNED"]);
        let attempts = f.store.attempts(request.id).await.unwrap();
        assert_eq!(attempts[0].outcome.as_deref(), Some("signed"));
    }
);

both!(
    two_processes_share_the_work_and_nothing_is_taken_twice,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let mut expected = std::collections::BTreeSet::new();
        for i in 0..20 {
            expected.insert(f.stored(&format!("payment-{i}")).await.id);
        }
        // Nothing is due while the lease holds.
        let (a, b) = (
            Lease::new("a".into(), 60_000),
            Lease::new("b".into(), 60_000),
        );
        assert!(f.store.claim_due(&a, 64).await.unwrap().is_empty());
        assert_eq!(f.store.release_all(&f.lease).await.unwrap(), 20);
        let other = Datastore::open(&database.url).await.unwrap();
        let mut taken = Vec::new();
        for _ in 0..20 {
            let (x, y) = tokio::join!(f.store.claim_due(&a, 3), other.claim_due(&b, 3));
            taken.extend(x.unwrap().into_iter().chain(y.unwrap()).map(|r| r.id));
        }
        assert_eq!(taken.len(), 20);
        assert_eq!(
            taken.into_iter().collect::<std::collections::BTreeSet<_>>(),
            expected
        );
    }
);

both!(
    a_lease_that_ran_out_is_taken_over_and_the_old_holder_notices,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let short = Lease::new("short".into(), 1);
        let envelope = f.deployment.usdt_request("payment-1", 1_000_000);
        let Created::New(request) = f.create_by(&short, &envelope, "k", true).await else {
            panic!()
        };
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(f.store.claim_due(&f.lease, 10).await.unwrap().len(), 1);
        assert_eq!(
            f.store.renew(&short, &[request.id]).await.unwrap(),
            [request.id]
        );
        assert!(
            f.store
                .renew(&f.lease, &[request.id])
                .await
                .unwrap()
                .is_empty()
        );
        assert!(f.store.claim(&short, request.id).await.unwrap().is_none());
        assert!(f.store.claim(&f.lease, request.id).await.unwrap().is_some());
    }
);

both!(
    history_cannot_be_changed,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        f.stored("payment-1").await;
        f.store
            .audit(
                "1",
                &AuditRecord {
                    at: f.deployment.now(),
                    operation: "x".into(),
                    subject: "x".into(),
                    member: String::new(),
                    outcome: "x".into(),
                    detail: "x".repeat(5000),
                },
            )
            .await
            .unwrap();
        assert_eq!(
            f.store.audit_records(5).await.unwrap()[0].detail.len(),
            2000
        );
        for sql in [
            "UPDATE request_events SET detail = 'nothing happened'",
            "DELETE FROM request_events",
            "UPDATE audit_records SET detail = 'nothing happened'",
            "DELETE FROM audit_records",
        ] {
            let done = f
                .store
                .run_tx("tamper", &(sql,), |tx, &(sql,)| {
                    Box::pin(tx.execute(sql, &[]))
                })
                .await;
            assert!(done.is_err(), "{sql}");
        }
    }
);

both!(
    pages_neither_repeat_nor_skip_while_requests_come,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let mut before = std::collections::BTreeSet::new();
        for i in 0..11 {
            before.insert(f.stored(&format!("payment-{i}")).await.id);
        }
        let (mut cursor, mut seen) = (None, Vec::new());
        for round in 0.. {
            let page = f
                .store
                .list(&Filter::default(), cursor.as_ref(), 3)
                .await
                .unwrap();
            seen.extend(page.requests.into_iter().map(|r| r.id));
            f.stored(&format!("later-{round}")).await;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 11);
        assert_eq!(
            seen.into_iter().collect::<std::collections::BTreeSet<_>>(),
            before
        );
    }
);

both!(filters_narrow_the_list, async |database: &TestDatabase| {
    let f = Fixture::new(database).await;
    let one = f.stored("payment-1").await;
    f.stored("payment-2").await;
    let count = async |filter: Filter| {
        f.store
            .list(&filter, None, 100)
            .await
            .unwrap()
            .requests
            .len()
    };
    assert_eq!(count(Filter::default()).await, 2);
    assert_eq!(
        count(Filter {
            external_id: Some("payment-1".into()),
            ..Filter::default()
        })
        .await,
        1
    );
    assert_eq!(
        count(Filter {
            state: Some(crate::lifecycle::StateName::Signed),
            ..Filter::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            wallet: Some("hot".into()),
            network: Some("eip155:1".into()),
            ..Filter::default()
        })
        .await,
        2
    );
    assert_eq!(
        count(Filter {
            initiator: Some("nobody".into()),
            ..Filter::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            created_after: Some(one.created_at.plus_seconds(60)),
            ..Filter::default()
        })
        .await,
        0
    );
});

both!(
    a_stop_begins_whoever_works_on_it_and_acks_only_grow,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let request = f.stored("payment-1").await;
        let cancel = f.deployment.cancel(
            PAYMENTS,
            &request.envelope,
            countersign_policy::statement::CancelReason::Initiator,
        );
        let stopped = f
            .store
            .begin_stop(request.id, &cancel, &stopping())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(stopped.revision, request.revision + 1);
        let again = f
            .store
            .begin_stop(request.id, &cancel, &stopping())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(again.revision, stopped.revision);
        assert_eq!(
            f.store.cancels(request.id).await.unwrap(),
            vec![cancel.clone()]
        );
        let node = f.deployment.nodes()[0].clone();
        let ack = |outcome| {
            let body = StopAck {
                request: request.id,
                cancel: cancel.digest(),
                outcome,
            };
            let envelope = f.deployment.sign(node.as_str(), 60, body);
            BTreeMap::from([(node.clone(), StoredAck { outcome, envelope })])
        };
        for (given, kept) in [
            (StopOutcome::Released, StopOutcome::Released),
            (StopOutcome::Stopped, StopOutcome::Stopped),
            (StopOutcome::Released, StopOutcome::Stopped),
        ] {
            f.store.store_acks(request.id, &ack(given)).await.unwrap();
            assert_eq!(f.store.acks(request.id).await.unwrap()[&node].outcome, kept);
        }
        // A signature that came all the same is stored; what is final stays.
        f.store
            .advance(&f.lease, &stopped, &signed(), &Change::default())
            .await
            .unwrap();
        let last = f
            .store
            .begin_stop(request.id, &cancel, &stopping())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(last.state, signed());
        assert!(
            f.store
                .begin_stop(Hash::ZERO, &cancel, &stopping())
                .await
                .unwrap()
                .is_none()
        );
    }
);

both!(
    one_bundle_is_active_per_version,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let active = f.deployment.bundle();
        let bundle = |organisation: &str| {
            let envelope = f
                .deployment
                .successor(&active, |b| b.organisation = organisation.to_owned());
            StoredBundle {
                digest: envelope.digest(),
                version: 2,
                envelope,
                transcripts: vec![],
                activated: false,
            }
        };
        let (a, b) = (bundle("a"), bundle("b"));
        for bundle in [&a, &b, &a] {
            f.store.store_bundle(bundle).await.unwrap();
        }
        f.store.activate_bundle(a.digest).await.unwrap();
        f.store.activate_bundle(a.digest).await.unwrap();
        assert!(f.store.activate_bundle(b.digest).await.is_err());
        let stored = f.store.bundles_above(1).await.unwrap();
        let states: Vec<(Hash, bool)> = stored
            .into_iter()
            .map(|b| (b.digest, b.activated))
            .collect();
        assert!(states.contains(&(a.digest, true)) && states.contains(&(b.digest, false)));
        assert!(f.store.bundles_above(2).await.unwrap().is_empty());
    }
);

both!(
    the_schema_is_made_once_and_everything_survives_reopening,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let request = f.stored("payment-1").await;
        let key = countersign_policy::KeyId::new("k").unwrap();
        f.store
            .store_ceremony(&key, &request.envelope)
            .await
            .unwrap();
        f.store.close().await;
        let store = Datastore::open(&database.url).await.unwrap();
        let again = store.request(request.id).await.unwrap().unwrap();
        assert_eq!(again.envelope, request.envelope);
        assert_eq!(again.facts, request.facts);
        assert_eq!(again.state, request.state);
        assert_eq!(
            store.ceremony(request.id).await.unwrap(),
            Some(request.envelope)
        );
        assert_eq!(store.ceremony(Hash::ZERO).await.unwrap(), None);
        store.ping().await.unwrap();
    }
);

both!(
    a_transaction_that_fails_leaves_nothing,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let request = f.stored("payment-1").await;
        let id = request.id.to_hex();
        let done: Result<(), DbError> = f
            .store
            .run_tx("fails", &(id.as_str(),), |tx, &(id,)| {
                Box::pin(async move {
                    tx.execute(
                        "UPDATE requests SET attempt = 99 WHERE id = $1",
                        &[Value::Text(id)],
                    )
                    .await?;
                    Err(DbError::corrupt("on purpose"))
                })
            })
            .await;
        assert!(done.is_err());
        assert_eq!(
            f.store.request(request.id).await.unwrap().unwrap().attempt,
            1
        );
    }
);

#[tokio::test]
async fn other_databases_are_refused() {
    assert!(matches!(
        Datastore::open("mysql://x/y").await,
        Err(DbError::Url)
    ));
}
