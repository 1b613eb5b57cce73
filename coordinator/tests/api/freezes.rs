//! One officer stops, a quorum lets go again.

use super::*;

const SECOND: &str = OTHER_OFFICERS[0];
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

fn wallet() -> FreezeTarget {
    FreezeTarget::Wallet {
        wallet: countersign_policy::testing::wallet_id(WALLET),
    }
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}");
}

both!(
    a_freeze_stops_at_once_and_ends_by_a_quorum_alone,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let d = &world.deployment;
        let freeze = d.freeze(OFFICER, wallet());
        let reply = c.write("/v1/freezes", &freeze, 0).await;
        assert_eq!(reply.status, StatusCode::OK);
        let report: NoticeReport = reply.json();
        assert!(report.held_by_all && report.nodes.len() == 3);
        let stopped = d.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&stopped, "k1", 10).await.json();
        assert_eq!(view.state, StateName::Blocked);
        let reason = serde_json::to_string(&view.reason).unwrap();
        assert!(reason.contains("frozen"), "{reason}");
        assert_eq!(world.nodes.prepares(), 0, "the coordinator says no itself");
        let list: FreezeList = c.get_as(PAYMENTS, "/v1/freezes", 0).await.json();
        assert_eq!(list.in_force.len(), 1);
        assert_eq!(list.in_force[0].statement, freeze);
        assert_eq!(list.in_force[0].held_by.len(), 3);
        let alone = d.unfreeze(&[OFFICER], &[freeze.digest()]);
        let refused = c.write("/v1/unfreezes", &alone, 0).await;
        assert_eq!(refused.problem(), "statement", "one officer is no quorum");
        let unfreeze = d.unfreeze(&[OFFICER, SECOND], &[freeze.digest()]);
        let reply = c.write("/v1/unfreezes", &unfreeze, 0).await;
        assert_eq!(reply.status, StatusCode::OK);
        // Replaying the freeze does nothing: it ended.
        let reply = c.write("/v1/freezes", &freeze, 0).await;
        assert_eq!(reply.status, StatusCode::OK);
        let next = d.usdt_request("payment-2", 1_000_000);
        let view: RequestView = c.post(&next, "k2", 10).await.json();
        assert_eq!(view.state, StateName::Signed, "{view:?}");
        running.shutdown().await;
    }
);

both!(
    who_is_no_officer_freezes_nothing,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let d = &world.deployment;
        for who in [PAYMENTS, AUDITOR, AUTHOR] {
            let body = countersign_policy::statement::Freeze {
                target: wallet(),
                reason: "x".to_owned(),
            };
            let reply = c.write("/v1/freezes", &d.sign(who, 60, body), 0).await;
            assert_eq!(reply.problem(), "forbidden", "{who}");
        }
        // A node may freeze a payment service by itself, and nothing else.
        let node = d.freeze("node-1", wallet());
        let reply = c.write("/v1/freezes", &node, 0).await;
        assert_eq!(reply.problem(), "forbidden");
        let unfreeze = d.unfreeze(&[OFFICER, PAYMENTS], &[countersign_policy::Hash::ZERO]);
        let reply = c.write("/v1/unfreezes", &unfreeze, 0).await;
        assert_eq!(reply.problem(), "forbidden");
        assert!(
            c.get_as(AUDITOR, "/v1/freezes", 0)
                .await
                .json::<FreezeList>()
                .in_force
                .is_empty()
        );
        running.shutdown().await;
    }
);

both!(
    a_freeze_reaches_the_node_that_was_away_and_survives_a_restart,
    async |database: &TestDatabase| {
        let world = World::new(database);
        world.nodes.fault("node-2", Some(Fault::Down));
        let running = world.start().await;
        let c = client(&world, &running);
        let freeze = world.deployment.freeze(OFFICER, wallet());
        let reply = c.write("/v1/freezes", &freeze, 0).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        let report: NoticeReport = reply.json();
        assert!(!report.held_by_all && !report.nodes[&member("node-2")].ok);
        drop(running);
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&request, "k1", 10).await.json();
        assert_eq!(view.state, StateName::Blocked);
        world.nodes.fault("node-2", None);
        eventually("node-2 is given the freeze", || {
            world.nodes.was_given("node-2", freeze.digest())
        })
        .await;
        running.shutdown().await;
    }
);

both!(
    another_coordinator_follows_a_freeze,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let (one, two) = (
            world.start_as(COORDINATOR).await,
            world.start_as(OTHER_COORDINATOR).await,
        );
        let freeze = world.deployment.freeze(OFFICER, wallet());
        client(&world, &one).write("/v1/freezes", &freeze, 0).await;
        let c = client(&world, &two);
        for _ in 0..100 {
            let list: FreezeList = c.get_as(AUDITOR, "/v1/freezes", 0).await.json();
            if !list.in_force.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&request, "k1", 10).await.json();
        assert_eq!(view.state, StateName::Blocked);
        assert_eq!(world.nodes.prepares(), 0);
        two.shutdown().await;
        one.shutdown().await;
    }
);

both!(
    nodes_that_hold_different_freezes_do_not_sign_together,
    async |database: &TestDatabase| {
        let world = World::new(database);
        // Something that the request does not touch, known to one node alone.
        let target = FreezeTarget::Member {
            member: member(OTHER_PAYMENTS),
        };
        let freeze = world.deployment.freeze(OFFICER, target);
        world.nodes.freeze("node-1", &freeze);
        world.nodes.fault("node-2", Some(Fault::Down));
        // Neither does the coordinator hear of it, nor node-3 through the coordinator.
        world.nodes.keep_silent(true);
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&request, "k1", 2).await.json();
        assert!(!view.state.is_final(), "{view:?}");
        assert!(world.nodes.signatures.lock().unwrap().is_empty());
        let read = c.read(request.digest(), 0).await;
        let outcomes: Vec<String> = read
            .attempts
            .iter()
            .filter_map(|a| a.outcome.clone())
            .collect();
        assert!(
            outcomes.iter().any(|o| o.contains("freezes-differ")),
            "{outcomes:?}"
        );
        // The coordinator need not know it: that the nodes agree is enough.
        for node in NODES {
            world.nodes.freeze(node, &freeze);
        }
        let view = c.read(request.digest(), 20).await;
        assert_eq!(view.state, StateName::Signed, "{view:?}");
        running.shutdown().await;
    }
);

both!(
    a_freeze_given_to_a_node_is_learnt_and_reaches_all,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let freeze = world.deployment.freeze(OFFICER, wallet());
        world.nodes.freeze("node-1", &freeze);
        let running = world.start().await;
        let c = client(&world, &running);
        eventually("node-3 is given the freeze", || {
            world.nodes.was_given("node-3", freeze.digest())
        })
        .await;
        let list: FreezeList = c.get_as(AUDITOR, "/v1/freezes", 0).await.json();
        assert_eq!(list.in_force.len(), 1);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&request, "k1", 10).await.json();
        assert_eq!(view.state, StateName::Blocked);
        running.shutdown().await;
    }
);

both!(
    observers_together_say_what_became_of_a_transaction,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let d = &world.deployment;
        let request = d.usdt_request("payment-1", 1_000_000);
        let fate = || countersign_policy::statement::Fate::Confirmed {
            transaction: "0x01".to_owned(),
            block: 10,
            depth: 64,
            used: None,
        };
        let observer = countersign_policy::testing::OBSERVER;
        let alone = d.observation_by(&[observer], &request, fate());
        let refused = c.write("/v1/observations", &alone, 0).await;
        assert_eq!(refused.problem(), "statement");
        let both = d.observation(&request, fate());
        world.nodes.fault("node-3", Some(Fault::Down));
        let reply = c.write("/v1/observations", &both, 0).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        world.nodes.fault("node-3", None);
        eventually("node-3 is given the observation", || {
            world.nodes.was_given("node-3", both.digest())
        })
        .await;
        running.shutdown().await;
    }
);
