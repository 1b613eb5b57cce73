//! Every path, every problem, both HTTP versions.

use super::*;

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
