//! The coordinator over real TLS, on both databases, with nodes that run the real gate and fail as scripted.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "tests"
)]

mod support;
#[path = "support/http.rs"]
mod web;

use std::net::SocketAddr;
use std::time::Duration;

use countersign_coordinator::*;
use countersign_policy::statement::CancelReason;
use countersign_policy::testing::transaction::{EXCHANGE, usdt_erc20};
use countersign_policy::testing::{
    AUDITOR, COORDINATOR, OFFICER, OTHER_COORDINATOR, OTHER_PAYMENTS, PAYMENTS, WALLET, member,
};
use countersign_policy::{Envelope, Network, Outcome};
use countersign_signer::wire::{ProblemCode, StartCeremony, SubmitBundle};
use http::{Method, Request, StatusCode};
use support::database::{Kind, TestDatabase, both};
use support::{API_SEED, Fault, World, clock};
use web::Reply;

struct Client<'a> {
    world: &'a World,
    address: SocketAddr,
}

impl Client<'_> {
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        web::call(
            &self.world.authority_pem,
            self.address,
            true,
            request.body(body).unwrap(),
        )
        .await
        .unwrap()
    }

    async fn post(&self, envelope: &Envelope, key: &str, wait: u64) -> Reply {
        let prefer = format!("wait={wait}");
        let mut headers = vec![("idempotency-key", key)];
        if wait > 0 {
            headers.push(("prefer", &prefer));
        }
        self.send(
            Method::POST,
            "/v1/sign-requests",
            &headers,
            serde_json::to_vec(envelope).unwrap(),
        )
        .await
    }

    async fn get_as(&self, who: &str, path: &str, wait: u64) -> Reply {
        let seed = if who == AUDITOR { [43; 32] } else { API_SEED };
        let token = ApiSecret::from_seed(&seed).token(
            &member(who),
            self.world.deployment.genesis_hash(),
            clock(),
        );
        let (token, wait) = (format!("Bearer {token}"), format!("wait={wait}"));
        self.send(
            Method::GET,
            path,
            &[("authorization", &token), ("prefer", &wait)],
            vec![],
        )
        .await
    }

    async fn read(&self, id: impl std::fmt::Display, wait: u64) -> RequestView {
        self.get_as(PAYMENTS, &format!("/v1/sign-requests/{id}"), wait)
            .await
            .json()
    }

    async fn cancel(
        &self,
        request: &Envelope,
        who: &str,
        reason: CancelReason,
        wait: u64,
    ) -> Reply {
        let cancel = self.world.deployment.cancel(who, request, reason);
        let path = format!("/v1/sign-requests/{}/cancel", request.digest());
        let prefer = format!("wait={wait}");
        self.send(
            Method::POST,
            &path,
            &[("prefer", &prefer)],
            serde_json::to_vec(&cancel).unwrap(),
        )
        .await
    }
}

fn client<'a>(world: &'a World, running: &Running) -> Client<'a> {
    Client {
        world,
        address: running.address(),
    }
}

fn states(view: &RequestView) -> Vec<&str> {
    view.events.iter().map(|e| e.state.as_str()).collect()
}

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

both!(every_other_path_answers, async |database: &TestDatabase| {
    let world = World::new(database);
    let running = world.start().await;
    let c = client(&world, &running);
    let wallets: WalletList = c.get_as(PAYMENTS, "/v1/wallets", 0).await.json();
    assert_eq!(wallets.wallets.len(), 2);
    let own = wallets.wallets[0].addresses["eip155:1"];
    let list: AddressList = c
        .get_as(PAYMENTS, "/v1/wallets/hot/addresses?network=eip155:1", 0)
        .await
        .json();
    assert_eq!(list.addresses[0].address, own);
    let list: AddressList = c
        .get_as(
            PAYMENTS,
            "/v1/wallets/hot/addresses?network=tron:0x2b6653dc&from=5&count=3",
            0,
        )
        .await
        .json();
    let paths: Vec<String> = list.addresses.iter().map(|a| a.path.to_string()).collect();
    assert_eq!(paths, ["m/5", "m/6", "m/7"]);
    let key = countersign_policy::testing::SingleKey::ecdsa();
    assert_eq!(
        list.addresses[1].public_key,
        key.public_key_at(&"m/6".parse().unwrap())
    );
    for bad in [
        "network=eip155:1&count=0",
        "network=eip155:1&count=1001",
        "network=solana:x",
        "",
        "network=eip155:1&from=2147483647&count=2",
    ] {
        let reply = c
            .get_as(PAYMENTS, &format!("/v1/wallets/hot/addresses?{bad}"), 0)
            .await;
        assert_eq!(reply.problem(), "malformed", "{bad}");
    }
    assert_eq!(
        c.get_as(PAYMENTS, "/v1/wallets/none", 0).await.problem(),
        "not-found"
    );
    assert_eq!(
        c.get_as(PAYMENTS, "/v1/keys", 0)
            .await
            .json::<KeyList>()
            .keys
            .len(),
        2
    );
    assert_eq!(
        c.get_as(PAYMENTS, "/v1/keys/hot-ecdsa", 0)
            .await
            .json::<KeyView>()
            .key
            .threshold,
        2
    );
    assert_eq!(
        c.get_as(PAYMENTS, "/v1/keys/none", 0).await.problem(),
        "not-found"
    );
    let simulated = world.deployment.usdt_request("payment-1", 1_000_000);
    let reply = c
        .send(
            Method::POST,
            "/v1/simulate",
            &[],
            serde_json::to_vec(&simulated).unwrap(),
        )
        .await;
    assert_eq!(reply.json::<Simulation>().decision.outcome, Outcome::Allow);
    let missing = c
        .get_as(
            PAYMENTS,
            &format!("/v1/sign-requests/{}", simulated.digest()),
            0,
        )
        .await;
    assert_eq!(missing.problem(), "not-found", "simulating has no effect");
    let mut ready = c.send(Method::GET, "/readyz", &[], vec![]).await;
    for _ in 0..50 {
        if ready.status == StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        ready = c.send(Method::GET, "/readyz", &[], vec![]).await;
    }
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(
        c.get_as(PAYMENTS, "/v1/nodes", 0)
            .await
            .json::<NodeList>()
            .nodes
            .len(),
        3
    );
    for node in ["node-1", "node-2"] {
        world.nodes.fault(node, Some(Fault::Down));
    }
    for _ in 0..50 {
        ready = c.send(Method::GET, "/readyz", &[], vec![]).await;
        if ready.status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        ready.json::<Health>().missing.len(),
        2,
        "both keys lack nodes"
    );
    assert_eq!(
        c.send(Method::GET, "/healthz", &[], vec![]).await.status,
        StatusCode::OK
    );
    running.shutdown().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_problem_of_a_caller_is_told_by_its_type() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = World::new(&database);
    let running = world.start().await;
    let c = client(&world, &running);
    let good = world.deployment.usdt_request("payment-1", 1_000_000);
    let good_json = serde_json::to_vec(&good).unwrap();
    let path = "/v1/sign-requests";
    let key: &[(&str, &str)] = &[("idempotency-key", "k")];
    let other = world.deployment.identity(OFFICER);
    let forged = {
        let d = &world.deployment;
        let wallet = d.wallet(WALLET);
        let body = d.sign_request(
            "x",
            wallet,
            &wallet.path,
            Network::ETHEREUM,
            usdt_erc20(&EXCHANGE, 1, 0),
        );
        serde_json::to_vec(&d.statement(PAYMENTS, "x", 60, body).sign(other).unwrap()).unwrap()
    };
    let broken = {
        let d = &world.deployment;
        let wallet = d.wallet(WALLET);
        let mut body = d.sign_request(
            "x",
            wallet,
            &wallet.path,
            Network::ETHEREUM,
            usdt_erc20(&EXCHANGE, 1, 0),
        );
        body.transaction = countersign_policy::statement::TransactionHex::new(vec![1, 2, 3]);
        serde_json::to_vec(&d.sign(PAYMENTS, 60, body)).unwrap()
    };
    let large = vec![b' '; (2 << 20) + 1];
    for (method, path, headers, body, status, problem) in [
        (Method::POST, path, key, b"{}".to_vec(), 400, "malformed"),
        (
            Method::POST,
            path,
            &[][..],
            good_json.clone(),
            400,
            "idempotency-key-missing",
        ),
        (
            Method::POST,
            path,
            &[("idempotency-key", "a b")][..],
            good_json.clone(),
            400,
            "malformed",
        ),
        (
            Method::POST,
            path,
            &[("idempotency-key", "k"), ("prefer", "wait=x")][..],
            good_json.clone(),
            400,
            "malformed",
        ),
        (Method::POST, path, key, forged, 422, "statement"),
        (Method::POST, path, key, broken, 422, "transaction"),
        (Method::POST, path, key, large, 413, "too-large"),
        (Method::DELETE, path, key, vec![], 405, "method-not-allowed"),
        (Method::GET, "/v2/x", key, vec![], 404, "not-found"),
        (Method::GET, path, key, vec![], 401, "unauthenticated"),
        (
            Method::GET,
            "/v1/nodes",
            &[("authorization", "Bearer a.b.c")][..],
            vec![],
            401,
            "unauthenticated",
        ),
        (
            Method::POST,
            "/v1/ceremonies",
            key,
            serde_json::to_vec(&StartCeremony {
                order: good.clone(),
            })
            .unwrap(),
            422,
            "statement",
        ),
        (
            Method::POST,
            "/v1/bundles",
            key,
            serde_json::to_vec(&SubmitBundle {
                bundle: good.clone(),
                transcripts: vec![],
            })
            .unwrap(),
            409,
            "bundle",
        ),
    ] {
        let reply = c.send(method, path, headers, body).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem().as_str()),
            (status, problem),
            "{path}"
        );
    }
    for query in [
        "state=NONE",
        "limit=0",
        "limit=1001",
        "cursor=x",
        "created_after=yesterday",
        "unknown=1",
    ] {
        let reply = c.get_as(PAYMENTS, &format!("{path}?{query}"), 0).await;
        assert_eq!(reply.problem(), "malformed", "{query}");
    }
    // A payment service sees nothing of others.
    let theirs = {
        let d = &world.deployment;
        let wallet = d.wallet(WALLET);
        let body = d.sign_request(
            "theirs",
            wallet,
            &wallet.path,
            Network::ETHEREUM,
            usdt_erc20(&EXCHANGE, 1, 0),
        );
        d.sign(OTHER_PAYMENTS, 60, body)
    };
    c.post(&theirs, "k-theirs", 0).await;
    let one = format!("{path}/{}", theirs.digest());
    assert_eq!(c.get_as(PAYMENTS, &one, 0).await.problem(), "not-found");
    assert_eq!(c.get_as(AUDITOR, &one, 0).await.status, StatusCode::OK);
    assert_eq!(
        c.get_as(PAYMENTS, &format!("{path}?initiator={OTHER_PAYMENTS}"), 0)
            .await
            .problem(),
        "forbidden"
    );
    assert!(
        c.get_as(PAYMENTS, path, 0)
            .await
            .json::<RequestList>()
            .requests
            .is_empty()
    );
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_http_versions_are_served_and_the_document_is_openapi_3_1() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = World::new(&database);
    let running = world.start().await;
    for h2 in [true, false] {
        let uri = if h2 {
            "https://localhost/openapi.json"
        } else {
            "/openapi.json"
        };
        let request = Request::get(uri)
            .header("host", "localhost")
            .body(vec![])
            .unwrap();
        let reply = web::call(&world.authority_pem, running.address(), h2, request)
            .await
            .unwrap();
        let document: serde_json::Value = reply.json();
        assert_eq!(document["openapi"], "3.1.0");
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&openapi()).unwrap());
    running.shutdown().await;
}

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
