//! Nodes that fail, coordinators that crash.

use super::*;

both!(
    another_signer_set_signs_when_a_node_fails,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let faults = [
            Fault::Down,
            Fault::WrongReceipt,
            Fault::WrongSignature,
            Fault::Refuses(ProblemCode::Internal),
            Fault::Blames(member("node-2")),
            Fault::Refuses(ProblemCode::Busy),
        ];
        let running = world.start().await;
        let c = client(&world, &running);
        for (i, fault) in faults.into_iter().enumerate() {
            world.nodes.fault("node-1", Some(fault.clone()));
            for j in 0..2 {
                let envelope = world
                    .deployment
                    .usdt_request(&format!("payment-{i}-{j}"), 1_000_000);
                let view: RequestView = c.post(&envelope, &format!("k{i}-{j}"), 20).await.json();
                assert_eq!(view.state, StateName::Signed, "{fault:?}");
            }
        }
        running.shutdown().await;
    }
);

both!(
    a_node_with_a_wrong_message_is_named,
    async |database: &TestDatabase| {
        let world = World::new(database);
        // Two liars of three: nothing can be signed, and the reason says who.
        world.nodes.fault("node-1", Some(Fault::WrongReceipt));
        world.nodes.fault("node-2", Some(Fault::WrongReceipt));
        let running = world.start().await;
        let c = client(&world, &running);
        let envelope = world.short_request("payment-1", 2);
        let view: RequestView = c.post(&envelope, "k1", 20).await.json();
        assert_eq!(view.state, StateName::Expired, "{view:?}");
        let read = c.read(view.id, 0).await;
        let outcomes: String = read
            .attempts
            .iter()
            .filter_map(|a| a.outcome.clone())
            .collect();
        assert!(
            outcomes.contains("node-1")
                && outcomes.contains("node-2")
                && outcomes.contains("culprits"),
            "{outcomes}"
        );
        running.shutdown().await;
    }
);

both!(
    a_signers_no_is_blocked_and_not_failed,
    async |database: &TestDatabase| {
        let world = World::new(database);
        for node in ["node-1", "node-2", "node-3"] {
            world
                .nodes
                .fault(node, Some(Fault::Refuses(ProblemCode::Policy)));
        }
        let running = world.start().await;
        let c = client(&world, &running);
        let view: RequestView = c
            .post(&world.deployment.usdt_request("payment-1", 1), "k", 10)
            .await
            .json();
        assert_eq!(view.state, StateName::Blocked);
        let reason = view.reason.unwrap();
        assert_eq!((reason.code.as_str(), reason.reasons.len()), ("policy", 1));
        assert_eq!(
            states(&c.read(view.id, 0).await),
            ["RECEIVED", "AUTHORIZED", "STOPPING", "BLOCKED"]
        );
        running.shutdown().await;
    }
);

both!(
    after_a_crash_every_request_goes_on,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let nodes = ["node-1", "node-2", "node-3"];
        let all = |fault: Option<Fault>| {
            nodes
                .iter()
                .for_each(|n| world.nodes.fault(n, fault.clone()))
        };
        for (i, (fault, restart)) in [
            (Fault::SlowPrepare(60_000), false),
            (Fault::SlowSign(60_000), false),
            (Fault::SlowSign(60_000), true),
            (Fault::LostSign, false),
            (Fault::Down, false),
        ]
        .into_iter()
        .enumerate()
        {
            all(Some(fault.clone()));
            let running = world.start().await;
            let envelope = world
                .deployment
                .usdt_request(&format!("payment-{i}"), 1_000_000);
            let c = client(&world, &running);
            assert_eq!(
                c.post(&envelope, &format!("k{i}"), 0).await.status,
                StatusCode::ACCEPTED
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
            drop(running);
            if restart {
                nodes.iter().for_each(|n| world.nodes.restart(n));
            }
            all(None);
            let running = world.start().await;
            let view = client(&world, &running).read(envelope.digest(), 20).await;
            assert_eq!(view.state, StateName::Signed, "{fault:?} {view:?}");
            running.shutdown().await;
        }
        // While stopping.
        all(Some(Fault::SlowPrepare(60_000)));
        let running = world.start().await;
        let envelope = world.deployment.usdt_request("payment-stop", 1_000_000);
        let c = client(&world, &running);
        c.post(&envelope, "k-stop", 0).await;
        all(Some(Fault::Down));
        c.cancel(&envelope, PAYMENTS, CancelReason::Initiator, 0)
            .await;
        drop(running);
        all(None);
        let running = world.start().await;
        let view = client(&world, &running).read(envelope.digest(), 20).await;
        assert_eq!(view.state, StateName::Cancelled);
        running.shutdown().await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_coordinators_share_one_postgres_and_killing_one_loses_nothing() {
    let Some(database) = TestDatabase::new(Kind::Postgres).await else {
        return;
    };
    let world = World::new(&database);
    for node in ["node-1", "node-2", "node-3"] {
        world.nodes.fault(node, Some(Fault::SlowSign(700)));
    }
    let (one, two) = (
        world.start_as(COORDINATOR).await,
        world.start_as(OTHER_COORDINATOR).await,
    );
    let requests: Vec<Envelope> = (0..10)
        .map(|i| {
            world
                .deployment
                .usdt_request(&format!("payment-{i}"), 1_000_000 + i)
        })
        .collect();
    for (i, envelope) in requests.iter().enumerate() {
        // Each call goes to both: one of them makes the request, the other joins.
        let key = format!("k{i}");
        let (a, b) = (client(&world, &one), client(&world, &two));
        let (a, b) = tokio::join!(a.post(envelope, &key, 0), b.post(envelope, &key, 0));
        assert_eq!((a.status, &a.body), (b.status, &b.body));
    }
    drop(one);
    let c = client(&world, &two);
    for envelope in &requests {
        let view = c.read(envelope.digest(), 30).await;
        assert_eq!(view.state, StateName::Signed, "{view:?}");
    }
    let mut digests = std::collections::BTreeMap::new();
    for (request, digest) in world.nodes.signatures.lock().unwrap().iter() {
        assert_eq!(*digests.entry(*request).or_insert(*digest), *digest);
    }
    assert_eq!(digests.len(), 10);
    two.shutdown().await;
    database.drop().await;
}
