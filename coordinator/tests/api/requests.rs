//! Requests from the first call to the signature, and calls that come twice.

use super::*;

both!(
    a_request_is_signed_and_its_history_read,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let envelope = world.deployment.usdt_request("payment-1", 1_000_000);
        let reply = c.post(&envelope, "k1", 10).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers["preference-applied"], "wait=10");
        assert!(reply.headers.contains_key("x-request-id"));
        let view: RequestView = reply.json();
        assert_eq!(view.state, StateName::Signed);
        assert_eq!(view.id, envelope.digest());
        assert!(view.signed.as_ref().unwrap().starts_with("0x02"));
        assert_eq!(view.tx_id.as_ref().unwrap().len(), 66);
        assert_eq!(view.participants.len(), 2);
        let read = c.read(view.id, 0).await;
        assert_eq!(
            states(&read),
            ["RECEIVED", "AUTHORIZED", "SIGNING", "SIGNED"]
        );
        assert_eq!(read.attempts[0].outcome.as_deref(), Some("signed"));
        let list: RequestList = c
            .get_as(
                PAYMENTS,
                "/v1/sign-requests?state=SIGNED&external_id=payment-1",
                0,
            )
            .await
            .json();
        assert_eq!(list.requests.len(), 1);
        running.shutdown().await;
    }
);

both!(
    the_same_call_has_the_same_answer,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let one = world.deployment.usdt_request("payment-1", 1_000_000);
        let first = c.post(&one, "k1", 10).await;
        let again = c.post(&one, "k1", 10).await;
        assert_eq!((first.status, &first.body), (again.status, &again.body));
        let other = world.deployment.usdt_request("payment-2", 1_000_000);
        let reused = c.post(&other, "k1", 0).await;
        assert_eq!(
            (reused.status, reused.problem().as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused")
        );
        let at_once = c.post(&other, "k2", 0).await;
        assert_eq!(at_once.status, StatusCode::ACCEPTED);
        assert_eq!(
            at_once.headers["location"],
            format!("/v1/sign-requests/{}", other.digest())
        );
        c.read(other.digest(), 10).await;
        let replayed = c.post(&other, "k2", 0).await;
        assert_eq!(
            (at_once.status, &at_once.body),
            (replayed.status, &replayed.body)
        );
        assert_eq!(replayed.headers["idempotency-replayed"], "true");
        let clash = world.deployment.usdt_request("payment-1", 2_000_000);
        let clash = c.post(&clash, "k3", 0).await;
        assert_eq!(
            (clash.status, clash.problem().as_str()),
            (StatusCode::CONFLICT, "external-id")
        );
        assert_eq!(clash.json::<ApiProblem>().sign_request, Some(one.digest()));
        assert_eq!(
            world.nodes.signatures.lock().unwrap().len(),
            4,
            "two requests, two participants each"
        );
        running.shutdown().await;
    }
);

both!(
    a_call_in_flight_is_a_conflict,
    async |database: &TestDatabase| {
        let world = World::new(database);
        for node in ["node-1", "node-2", "node-3"] {
            world.nodes.fault(node, Some(Fault::SlowSign(3000)));
        }
        let running = world.start().await;
        let c = client(&world, &running);
        let envelope = world.deployment.usdt_request("payment-1", 1_000_000);
        let (first, second) = tokio::join!(c.post(&envelope, "k1", 10), async {
            // Slow signatures show.
            let mut state = StateName::Authorized;
            while state != StateName::Signing {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let reply = c
                    .get_as(
                        PAYMENTS,
                        &format!("/v1/sign-requests/{}", envelope.digest()),
                        0,
                    )
                    .await;
                if reply.status == StatusCode::OK {
                    state = reply.json::<RequestView>().state;
                }
                assert!(!state.is_final(), "{state:?}");
            }
            c.post(&envelope, "k1", 10).await
        });
        assert_eq!(first.json::<RequestView>().state, StateName::Signed);
        assert_eq!(
            (second.status, second.problem().as_str()),
            (StatusCode::CONFLICT, "in-flight")
        );
        assert_eq!(second.headers["retry-after"], "1");
        running.shutdown().await;
    }
);

both!(
    policy_blocks_before_any_node_is_asked,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let d = &world.deployment;
        let dear = d.usdt_request("payment-1", 1_001_000_000);
        let strange = d.request(
            "payment-2",
            WALLET,
            Network::ETHEREUM,
            usdt_erc20(&[0x55; 20], 1, 0),
        );
        let wallet = d.wallet(WALLET);
        let mut body = d.sign_request(
            "payment-3",
            wallet,
            &wallet.path,
            Network::ETHEREUM,
            usdt_erc20(&EXCHANGE, 5, 0),
        );
        body.intent.transfers[0].amount = countersign_policy::Amount::from(4_u64);
        let differs = d.sign(PAYMENTS, 600, body.clone());
        body.external_id = countersign_policy::ExternalId::new("payment-4").unwrap();
        body.intent.transfers[0].amount = countersign_policy::Amount::from(5_u64);
        let unnamed = d.sign(OTHER_PAYMENTS, 600, body);
        for (i, (envelope, says)) in [
            (dear, "amount-cap"),
            (strange, "destination-not-allowed"),
            (differs, "intent-mismatch"),
            (unnamed, "no-rule"),
        ]
        .into_iter()
        .enumerate()
        {
            let reply = c.post(&envelope, &format!("k{i}"), 0).await;
            assert_eq!(reply.status, StatusCode::OK, "BLOCKED is final");
            let view: RequestView = reply.json();
            assert_eq!(view.state, StateName::Blocked);
            assert!(
                serde_json::to_string(&view.reason).unwrap().contains(says),
                "{:?}",
                view.reason
            );
        }
        assert_eq!(world.nodes.prepares(), 0);
        running.shutdown().await;
    }
);
