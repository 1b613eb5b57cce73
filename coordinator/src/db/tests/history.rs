//! What was stored: it stays, and is found.

use super::*;

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
