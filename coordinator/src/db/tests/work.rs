//! Who works on a request, and how it may change.

use super::*;

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
