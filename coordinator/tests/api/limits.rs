//! Limits as far as the coordinator has to do with them: witnesses, and what is said about a limit that was hit.

use super::*;
use countersign_policy::limits::{Measure, Period};
use countersign_policy::testing::{USDT_LIMIT, usdt};

/// All three nodes have to reserve, two of them sign.
fn limited(database: &TestDatabase) -> World {
    World::with(database, |d| {
        let measure = Measure::Amount {
            asset: usdt(),
            max: countersign_policy::Amount::from(1_000_000_000_u64),
        };
        d.add_limit(USDT_LIMIT, measure, Period::Rolling { seconds: 86_400 });
        let group = &mut d.content_mut().ledger_groups[0];
        (group.quorum, group.max_faulty) = (3, 1);
    })
}

both!(
    a_spend_that_a_limit_counts_is_reserved_by_the_whole_quorum,
    async |database: &TestDatabase| {
        let world = limited(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&request, "k1", 10).await.json();
        assert_eq!(view.state, StateName::Signed, "{view:?}");
        assert_eq!(view.participants.len(), 2);
        assert_eq!(world.nodes.prepares(), 3, "one more bears witness");
        // What no limit counts needs none.
        let other = countersign_policy::testing::transaction::usdt_bep20(&EXCHANGE, 1, 0);
        let network = "eip155:56".parse().unwrap();
        let other = world
            .deployment
            .request("payment-2", WALLET, network, other);
        let view: RequestView = c.post(&other, "k2", 10).await.json();
        assert_eq!(view.state, StateName::Signed, "{view:?}");
        assert_eq!(world.nodes.prepares(), 5);
        running.shutdown().await;
    }
);

both!(
    what_was_reserved_for_nothing_is_aborted_on_the_participants,
    async |database: &TestDatabase| {
        let world = limited(database);
        // The witness or a participant says no, the others have reserved.
        world.nodes.fault("node-1", Some(Fault::OverLimit));
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&request, "k1", 10).await.json();
        assert_eq!(view.state, StateName::Blocked, "{view:?}");
        for _ in 0..100 {
            if world.nodes.aborts() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(world.nodes.aborts(), 2, "both participants");
        running.shutdown().await;
    }
);

both!(
    a_participant_that_does_not_answer_an_abort_is_asked_again,
    async |database: &TestDatabase| {
        let world = limited(database);
        world.nodes.fault("node-1", Some(Fault::OverLimit));
        for node in ["node-2", "node-3"] {
            world.nodes.fault(node, Some(Fault::DeafToAborts));
        }
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&request, "k1", 10).await.json();
        assert_eq!(view.state, StateName::Blocked, "{view:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(world.nodes.aborts() < 2, "somebody hears nothing");
        for node in ["node-2", "node-3"] {
            world.nodes.fault(node, None);
        }
        let until = tokio::time::Instant::now() + Duration::from_secs(15);
        while world.nodes.aborts() < 2 {
            assert!(tokio::time::Instant::now() < until, "nobody asks again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        running.shutdown().await;
    }
);

both!(
    without_enough_witnesses_nothing_is_sent,
    async |database: &TestDatabase| {
        let world = limited(database);
        world.nodes.fault("node-3", Some(Fault::Down));
        let running = world.start().await;
        let c = client(&world, &running);
        for _ in 0..100 {
            let nodes: NodeList = c.get_as(AUDITOR, "/v1/nodes", 0).await.json();
            if nodes.nodes[&member("node-3")].error.is_some() && nodes.nodes[&member("node-1")].up {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let request = world.short_request("payment-1", 3);
        let view: RequestView = c.post(&request, "k1", 1).await.json();
        assert_eq!(view.state, StateName::Received);
        assert_eq!(world.nodes.prepares(), 0);
        let view = c.read(request.digest(), 20).await;
        assert_eq!(view.state, StateName::Expired);
        let reason = view.reason.unwrap();
        assert!(reason.detail.contains("ledger group"), "{reason:?}");
        running.shutdown().await;
    }
);

both!(
    a_limit_that_signers_say_would_be_passed_is_blocked_and_its_numbers_are_not_for_everybody,
    async |database: &TestDatabase| {
        let world = limited(database);
        for node in ["node-1", "node-2", "node-3"] {
            world.nodes.fault(node, Some(Fault::OverLimit));
        }
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let reply = c.post(&request, "k1", 10).await;
        let view: RequestView = reply.json();
        assert_eq!(view.state, StateName::Blocked, "{view:?}");
        assert_eq!(view.reason.unwrap().code, "limit");
        assert_eq!(view.limits[0].as_str(), USDT_LIMIT);
        let path = format!("/v1/sign-requests/{}", request.digest());
        let numbers = ["777777", "555555", "333333", "2033-05-18"];
        let list = "/v1/sign-requests?state=BLOCKED".to_owned();
        for (who, path, sees) in [
            (PAYMENTS, &path, false),
            (PAYMENTS, &list, false),
            (countersign_policy::testing::OPERATOR, &path, false),
            (OFFICER, &path, true),
            (AUDITOR, &list, true),
            (APPROVERS[0], &path, true),
        ] {
            let reply = c.get_as(who, path, 0).await;
            assert_eq!(reply.status, StatusCode::OK);
            let text = String::from_utf8(reply.body).unwrap();
            assert!(text.contains(USDT_LIMIT));
            for number in numbers {
                assert_eq!(text.contains(number), sees, "{who} {path} {number}: {text}");
            }
        }
        let told = String::from_utf8(reply.body).unwrap();
        assert!(
            numbers.iter().all(|number| !told.contains(number)),
            "{told}"
        );
        running.shutdown().await;
    }
);
