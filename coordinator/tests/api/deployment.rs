//! Bundles, ceremonies, identities.

use super::*;

both!(
    a_new_database_learns_every_bundle_that_the_nodes_follow,
    async |database: &TestDatabase| {
        let world = World::new(database);
        // The nodes are three versions ahead of the genesis, which is all that this coordinator has.
        let mut chain = world.deployment.chain();
        for _ in 0..3 {
            let bundle = world.deployment.successor(chain.active(), |_| {});
            let call = SubmitBundle {
                bundle: bundle.clone(),
                transcripts: Vec::new(),
            };
            let nodes = support::ScriptedNodes(std::sync::Arc::clone(&world.nodes));
            for node in world.deployment.nodes() {
                nodes.submit_bundle(&node, call.clone()).await.unwrap();
            }
            for node in world.deployment.nodes() {
                let call = ActivateBundle {
                    bundle: bundle.clone(),
                    transcripts: Vec::new(),
                    acks: Vec::new(),
                };
                assert!(nodes.activate_bundle(&node, call).await.unwrap().active);
            }
            chain.append(&bundle, clock()).unwrap();
        }
        let running = world.start().await;
        let c = client(&world, &running);
        let until = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let list: BundleList = c.get_as(AUDITOR, "/v1/bundles", 0).await.json();
            if list.active == chain.active().digest() {
                break;
            }
            assert!(
                std::time::Instant::now() < until,
                "the coordinator stays at version {}",
                list.version
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let envelope = world.deployment.usdt_request("payment-1", 1_000_000);
        let reply = c.post(&envelope, "k1", 10).await;
        assert_eq!(reply.json::<RequestView>().state, StateName::Signed);
    }
);

both!(
    the_next_bundle_is_active_when_enough_nodes_follow,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let active = world.deployment.bundle();
        let bundle = world
            .deployment
            .successor(&active, |b| b.organisation = "Next".to_owned());
        world.nodes.fault("node-1", Some(Fault::RefusesBundles));
        world.nodes.fault("node-2", Some(Fault::RefusesBundles));
        let body = serde_json::to_vec(&SubmitBundle {
            bundle: bundle.clone(),
            transcripts: vec![],
        })
        .unwrap();
        let waits = c.send(Method::POST, "/v1/bundles", &[], body.clone()).await;
        assert_eq!(waits.status, StatusCode::ACCEPTED);
        let report: BundleReport = waits.json();
        assert!(
            !report.active
                && report.nodes[&member("node-3")].ok
                && !report.nodes[&member("node-1")].ok
        );
        world.nodes.fault("node-1", None);
        world.nodes.fault("node-2", None);
        for _ in 0..100 {
            let list: BundleList = c.get_as(AUDITOR, "/v1/bundles", 0).await.json();
            if list.version == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let list: BundleList = c.get_as(AUDITOR, "/v1/bundles", 0).await.json();
        assert_eq!(
            (list.active, list.chain.len(), list.waiting.len()),
            (bundle.digest(), 2, 0)
        );
        assert_eq!(
            c.send(Method::POST, "/v1/bundles", &[], body).await.status,
            StatusCode::OK,
            "repeating is harmless"
        );
        let fork = world
            .deployment
            .successor(&active, |b| b.organisation = "Fork".to_owned());
        let body = serde_json::to_vec(&SubmitBundle {
            bundle: fork,
            transcripts: vec![],
        })
        .unwrap();
        let refused = c.send(Method::POST, "/v1/bundles", &[], body).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (StatusCode::CONFLICT, "bundle")
        );
        // It signs under the new bundle, and a restart remembers it.
        drop(running);
        let running = world.start().await;
        let view: RequestView = client(&world, &running)
            .post(&world.deployment.usdt_request("p", 1), "k", 10)
            .await
            .json();
        assert_eq!(view.state, StateName::Signed);
        running.shutdown().await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ceremony_goes_to_every_node_of_the_key() {
    use countersign_policy::statement::KeyCeremony;
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = World::new(&database);
    let running = world.start().await;
    let c = client(&world, &running);
    let order = world.deployment.ceremony(KeyCeremony {
        key: countersign_policy::testing::key_id("new"),
        protocol: countersign_policy::Protocol::Dkls23,
        threshold: 2,
        max_faulty: 0,
        nodes: world.deployment.nodes(),
        purpose: "tests".to_owned(),
        environment: countersign_policy::bundle::Environment::Test,
    });
    let body = serde_json::to_vec(&StartCeremony {
        order: order.clone(),
    })
    .unwrap();
    let reply = c.send(Method::POST, "/v1/ceremonies", &[], body).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert_eq!(reply.json::<CeremonyReport>().nodes.len(), 3);
    world.nodes.fault("node-1", Some(Fault::Down));
    let report: CeremonyReport = c
        .get_as(AUDITOR, &format!("/v1/ceremonies/{}", order.digest()), 0)
        .await
        .json();
    assert!(
        report.nodes[&member("node-1")].error.is_some()
            && report.nodes[&member("node-2")].status.is_some()
    );
    assert_eq!(
        c.get_as(AUDITOR, "/v1/ceremonies/00", 0).await.problem(),
        "not-found"
    );
    running.shutdown().await;
}

#[tokio::test]
async fn a_coordinator_does_not_start_with_another_identity() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = World::new(&database);
    let mut config = world.config(COORDINATOR);
    config.member = member(OTHER_COORDINATOR);
    assert!(matches!(
        Coordinator::start(config).await,
        Err(StartError::Member(_))
    ));
    let mut config = world.config(COORDINATOR);
    config.genesis_hash = countersign_policy::Hash::ZERO;
    assert!(matches!(
        Coordinator::start(config).await,
        Err(StartError::GenesisBundle(_))
    ));
}
