//! Roles at the API. The matrix itself is reviewed in the policy crate.

use super::*;

/// The method, and the path with something in the place of its parameters, of every route of the OpenAPI document.
fn routes() -> Vec<(Method, String)> {
    let document = serde_json::to_value(openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase().parse().unwrap();
            let path = path
                .replace("{id}", &"0".repeat(64))
                .replace("{digest}", &"0".repeat(64));
            routes.push((method, path));
        }
    }
    routes
}

fn token(world: &World, who: &str) -> String {
    let genesis = world.deployment.genesis_hash();
    let token = support::api_secret(who).token(&member(who), genesis, clock());
    format!("Bearer {token}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditors_token_changes_nothing_on_any_route() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = World::new(&database);
    let running = world.start().await;
    let c = client(&world, &running);
    let token = token(&world, AUDITOR);
    let (mut writes, mut reads) = (0, 0);
    let good = serde_json::to_vec(&world.deployment.usdt_request("p", 1)).unwrap();
    for (method, path) in routes() {
        let headers = [("authorization", token.as_str()), ("idempotency-key", "k")];
        for body in [good.clone(), b"{}".to_vec()] {
            let body = if method == Method::GET { vec![] } else { body };
            let reply = c.send(method.clone(), &path, &headers, body).await;
            if method == Method::GET {
                assert_ne!(reply.status, StatusCode::FORBIDDEN, "{path}");
                reads += 1;
            } else if path == "/v1/simulate" {
                assert_ne!(reply.status, StatusCode::FORBIDDEN, "it changes nothing");
            } else {
                assert_eq!(reply.problem(), "forbidden", "{method} {path}");
                writes += 1;
            }
        }
    }
    assert!(writes >= 2 * 11 && reads >= 2 * 14, "{writes} {reads}");
    assert_eq!(world.nodes.prepares(), 0);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_proves_itself_and_a_token_that_comes_with_it_must_be_good() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = World::new(&database);
    let running = world.start().await;
    let c = client(&world, &running);
    let send = async |name: &str, token: Option<&str>| {
        let body = serde_json::to_vec(&world.deployment.usdt_request(name, 1)).unwrap();
        let mut headers = vec![("idempotency-key", name)];
        headers.extend(token.map(|t| ("authorization", t)));
        c.send(Method::POST, "/v1/sign-requests", &headers, body)
            .await
    };
    assert_eq!(send("alone", None).await.status, StatusCode::ACCEPTED);
    let carried = send("carried", Some(&token(&world, OFFICER))).await;
    assert_eq!(carried.status, StatusCode::ACCEPTED);
    let bad = send("bad", Some("Bearer x.y.z")).await;
    assert_eq!(bad.problem(), "unauthenticated");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_payment_service_asks_for_signatures() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = World::new(&database);
    let running = world.start().await;
    let c = client(&world, &running);
    let d = &world.deployment;
    let wallet = d.wallet(WALLET);
    let transaction = usdt_erc20(&EXCHANGE, 1, 0);
    for who in [OFFICER, AUTHOR, AUDITOR, COORDINATOR, "node-1"] {
        let network = Network::ETHEREUM;
        let body = d.sign_request(who, wallet, &wallet.path, network, transaction.clone());
        let envelope = d.sign(who, 60, body);
        assert_eq!(c.post(&envelope, who, 0).await.problem(), "forbidden");
        let body = serde_json::to_vec(&envelope).unwrap();
        let simulated = c.send(Method::POST, "/v1/simulate", &[], body).await;
        assert_eq!(simulated.problem(), "forbidden", "as the real path says");
    }
    running.shutdown().await;
}
