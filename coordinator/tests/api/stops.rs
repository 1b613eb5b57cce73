//! Requests that end without a signature.

use super::*;

both!(
    a_cancel_is_final_only_with_enough_acknowledgements,
    async |database: &TestDatabase| {
        let world = World::new(database);
        for node in ["node-1", "node-2", "node-3"] {
            world.nodes.fault(node, Some(Fault::SlowPrepare(60_000)));
        }
        let running = world.start().await;
        let c = client(&world, &running);
        let envelope = world.deployment.usdt_request("payment-1", 1_000_000);
        assert_eq!(c.post(&envelope, "k", 0).await.status, StatusCode::ACCEPTED);
        let forbidden = c
            .cancel(&envelope, OTHER_PAYMENTS, CancelReason::Initiator, 0)
            .await;
        assert_eq!(
            (forbidden.status, forbidden.problem().as_str()),
            (StatusCode::FORBIDDEN, "forbidden")
        );
        let forbidden = c
            .cancel(&envelope, PAYMENTS, CancelReason::Officer, 0)
            .await;
        assert_eq!(forbidden.problem(), "forbidden");
        world.nodes.fault("node-1", Some(Fault::Down));
        world.nodes.fault("node-2", Some(Fault::DeafToStops));
        let stopping = c
            .cancel(&envelope, PAYMENTS, CancelReason::Initiator, 2)
            .await;
        assert_eq!(stopping.status, StatusCode::ACCEPTED);
        let view: RequestView = stopping.json();
        assert_eq!(
            (view.state, view.stopping_towards),
            (StateName::Stopping, Some(Goal::Cancelled))
        );
        assert_eq!(
            c.read(envelope.digest(), 0)
                .await
                .reason
                .unwrap()
                .nodes
                .len(),
            3,
            "what is known is told"
        );
        world.nodes.fault("node-2", None);
        let done = c.read(envelope.digest(), 20).await;
        assert_eq!(done.state, StateName::Cancelled);
        assert!(world.nodes.signatures.lock().unwrap().is_empty());
        running.shutdown().await;
    }
);

both!(
    too_late_to_cancel_means_signed,
    async |database: &TestDatabase| {
        let world = World::new(database);
        for node in ["node-1", "node-2", "node-3"] {
            world.nodes.fault(node, Some(Fault::LostSign));
        }
        let running = world.start().await;
        let c = client(&world, &running);
        let envelope = world.short_request("payment-1", 60);
        assert_eq!(c.post(&envelope, "k", 0).await.status, StatusCode::ACCEPTED);
        while world.nodes.signatures.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The nodes released and the answers were lost: a cancel must not be believed.
        let view: RequestView = c
            .cancel(&envelope, OFFICER, CancelReason::Officer, 1)
            .await
            .json();
        assert_ne!(view.state, StateName::Cancelled);
        for node in ["node-1", "node-2", "node-3"] {
            world.nodes.fault(node, None);
        }
        let done = c.read(envelope.digest(), 20).await;
        assert_eq!(done.state, StateName::Signed, "{done:?}");
        let digests: std::collections::BTreeSet<_> = world
            .nodes
            .signatures
            .lock()
            .unwrap()
            .iter()
            .copied()
            .collect();
        assert_eq!(digests.len(), 1, "one digest, however often");
        let late = c.cancel(&envelope, OFFICER, CancelReason::Officer, 0).await;
        assert_eq!(
            (late.status, late.problem().as_str()),
            (StatusCode::CONFLICT, "final")
        );
        running.shutdown().await;
    }
);

both!(
    an_expired_request_is_stopped_first,
    async |database: &TestDatabase| {
        let world = World::new(database);
        for node in ["node-1", "node-2", "node-3"] {
            world.nodes.fault(node, Some(Fault::Down));
        }
        let running = world.start().await;
        let c = client(&world, &running);
        let envelope = world.short_request("payment-1", 2);
        assert_eq!(c.post(&envelope, "k", 0).await.status, StatusCode::ACCEPTED);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(
            c.read(envelope.digest(), 0).await.state,
            StateName::Stopping,
            "no node said that it stopped"
        );
        for node in ["node-1", "node-2"] {
            world.nodes.fault(node, None);
        }
        let view = c.read(envelope.digest(), 20).await;
        assert_eq!(view.state, StateName::Expired);
        assert_eq!(view.reason.unwrap().code, "expired");
        running.shutdown().await;
    }
);
