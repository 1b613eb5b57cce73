//! Calls that come twice, late or at once.

use super::*;

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
