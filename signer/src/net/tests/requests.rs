//! Requests and their limits.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get as on_get, post};
use axum::{Json, Router};
use tokio::net::TcpListener;

use countersign_policy::testing::member;

use super::fixtures::*;
use crate::net::*;
use crate::wire::{Problem, ProblemCode};

fn router() -> Router {
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        Json("slow")
    };
    let refuse = || async { ProblemCode::Policy.problem("not today") };
    Router::new()
        .route("/hello", on_get(|| async { Json("hello") }))
        .route("/slow", on_get(slow))
        .route("/refuse", on_get(refuse))
        .route("/text", on_get(|| async { "not JSON" }))
        .route("/long", on_get(|| async { vec![b'x'; 20_000] }))
        .route("/bytes", post(|body: Bytes| async move { body }))
        .route(
            "/big",
            post(|body: Bytes| async move { Json(body.len()) })
                .layer(DefaultBodyLimit::max(1 << 20)),
        )
}

fn small() -> ServerLimits {
    ServerLimits {
        max_body_bytes: 1000,
        max_header_bytes: 4096,
        request_timeout: Duration::from_millis(200),
        ..ServerLimits::default()
    }
}

#[tokio::test]
async fn answers_problems_and_nonsense_are_told_apart() {
    let deployment = Deployment::new(3);
    let server = deployment
        .server("node-1", router(), ServerLimits::default())
        .await;
    let port = server.local_address().port();
    let client = deployment.client("node-2", "node-1", port);
    let hello: String = client.get_json("/hello", SOON).await.unwrap();
    assert_eq!(hello, "hello");
    match client.get_json::<String>("/refuse", SOON).await {
        Err(CallError::Problem(problem)) => {
            assert_eq!(*problem, ProblemCode::Policy.problem("not today"));
        }
        other => panic!("{other:?}"),
    }
    for path in ["/text", "/nowhere"] {
        let answer = client.get_json::<String>(path, SOON).await;
        assert!(matches!(answer, Err(CallError::Protocol { .. })), "{path}");
    }
    let deadline = Duration::from_millis(50);
    let late = client.get_json::<String>("/slow", deadline).await;
    assert!(matches!(late, Err(CallError::Timeout { after, .. }) if after == deadline));
    let echoed = client
        .post_bytes("/bytes", vec![1, 2, 3], SOON)
        .await
        .unwrap();
    assert_eq!(&echoed[..], [1, 2, 3]);
    assert_eq!(
        get(&server.counters().accepted),
        1,
        "one connection for all"
    );
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read() {
    let deployment = Deployment::new(3);
    let server = deployment
        .server("node-1", router(), ServerLimits::default())
        .await;
    let limits = ClientLimits {
        max_response_bytes: 19_999,
        ..ClientLimits::default()
    };
    let port = server.local_address().port();
    let client = deployment.client_with(&deployment.identity("node-2"), "node-1", port, limits);
    let answer = client.post_bytes("/bytes", vec![7; 100], SOON).await;
    assert_eq!(answer.unwrap().len(), 100);
    let long = client.get_json::<String>("/long", SOON).await;
    assert!(matches!(long, Err(CallError::Protocol { .. })), "{long:?}");
}

#[tokio::test]
async fn bodies_headers_and_time_are_limited() {
    let deployment = Deployment::new(3);
    let server = deployment.server("node-1", router(), small()).await;
    let port = server.local_address().port();
    let client = deployment.client("node-2", "node-1", port);
    assert!(
        client
            .post_bytes("/bytes", vec![0; 1000], SOON)
            .await
            .is_ok()
    );
    let over = client.post_bytes("/bytes", vec![0; 1001], SOON).await;
    assert!(over.is_err());
    let size: usize = {
        let answer = client.post_bytes("/big", vec![0; 5000], SOON).await;
        serde_json::from_slice(&answer.unwrap()).unwrap()
    };
    assert_eq!(size, 5000, "a route can have a limit of its own");
    match client.get_json::<String>("/slow", SOON).await {
        Err(CallError::Problem(problem)) => {
            assert_eq!(problem.code(), Some(ProblemCode::Timeout));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(get(&server.counters().timed_out), 1);
    let path = format!("/hello?{}", "x".repeat(8000));
    assert!(client.get_json::<String>(&path, SOON).await.is_err());
    assert!(client.get_json::<String>("/hello", SOON).await.is_ok());
}

#[tokio::test]
async fn one_member_cannot_take_every_connection() {
    let deployment = Deployment::new(3);
    let limits = ServerLimits {
        max_connections_per_member: 2,
        ..ServerLimits::default()
    };
    let server = deployment.server("node-1", router(), limits).await;
    let port = server.local_address().port();
    let greedy: Vec<NodeClient> = (0..3)
        .map(|_| deployment.client("node-2", "node-1", port))
        .collect();
    let mut served = 0;
    for client in &greedy {
        let answer = client.get_json::<String>("/hello", SOON).await;
        served += usize::from(answer.is_ok());
    }
    assert_eq!(served, 2);
    let other = deployment.client("node-3", "node-1", port);
    other.get_json::<String>("/hello", SOON).await.unwrap();
    drop(greedy);
    let again = deployment.client("node-2", "node-1", port);
    let deadline = soon();
    while again.get_json::<String>("/hello", SOON).await.is_err() {
        assert!(Instant::now() < deadline, "the places are never given back");
        again.wake();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_shutdown_lets_running_requests_end_and_takes_no_new_ones() {
    let deployment = Deployment::new(3);
    let server = deployment
        .server("node-1", router(), ServerLimits::default())
        .await;
    let port = server.local_address().port();
    let client = deployment.client("node-2", "node-1", port);
    client.get_json::<String>("/hello", SOON).await.unwrap();
    let running = {
        let client = client.clone();
        tokio::spawn(async move { client.get_json::<String>("/slow", SOON).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown().await;
    assert_eq!(running.await.unwrap().unwrap(), "slow");
    let refused = client.get_json::<String>("/hello", SOON).await;
    assert!(matches!(refused, Err(CallError::Unreachable { .. })));
}

#[tokio::test]
async fn a_restarted_member_is_found_again_and_waiting_calls_fail_at_once() {
    let deployment = Deployment::new(3);
    let limits = ServerLimits::default();
    let server = deployment.server("node-1", router(), limits.clone()).await;
    let address = server.local_address();
    let client = deployment.client("node-2", "node-1", address.port());
    client.get_json::<String>("/hello", SOON).await.unwrap();
    server.shutdown().await;
    eventually("the loss is noticed", || !client.is_connected()).await;
    for _ in 0..20 {
        let begun = Instant::now();
        let answer = client.get_json::<String>("/hello", SOON).await;
        assert!(matches!(answer, Err(CallError::Unreachable { .. })));
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    let listener = TcpListener::bind(address).await.unwrap();
    let identity = deployment.identity("node-1");
    let bundle = deployment.bundle.clone();
    let _server = Server::serve(listener, &identity, bundle, router(), limits).unwrap();
    let deadline = soon();
    while client.get_json::<String>("/hello", SOON).await.is_err() {
        assert!(Instant::now() < deadline, "never found again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_peer_that_goes_silent_is_noticed_by_pings() {
    let deployment = Deployment::new(3);
    let server = deployment
        .server("node-1", router(), ServerLimits::default())
        .await;
    let wire = Wire::to(server.local_address().port()).await;
    let limits = ClientLimits {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(200),
        ..ClientLimits::default()
    };
    let identity = deployment.identity("node-2");
    let client = deployment.client_with(&identity, "node-1", wire.port, limits);
    client.get_json::<String>("/hello", SOON).await.unwrap();
    assert!(client.is_connected());
    wire.silence();
    eventually("the silence is noticed", || !client.is_connected()).await;
}

#[test]
fn an_address_must_be_https_with_host_and_nothing_else() {
    let deployment = Deployment::new(3);
    let identity = deployment.identity("node-2");
    for (url, good) in [
        ("https://127.0.0.1:8443", true),
        ("https://signer-1.example:8443/", true),
        ("https://[::1]:8443", true),
        ("http://127.0.0.1:8443", false),
        ("https://127.0.0.1:8443/path", false),
        ("https://127.0.0.1:8443?x", false),
        ("https://user@127.0.0.1", false),
        ("127.0.0.1:8443", false),
        ("", false),
    ] {
        let limits = ClientLimits::default();
        let bundle = deployment.bundle.clone();
        let client = NodeClient::new(member("node-1"), url, &identity, bundle, limits);
        assert_eq!(client.is_ok(), good, "{url}");
    }
}

#[tokio::test]
async fn a_problem_is_served_as_problem_json() {
    use axum::response::IntoResponse as _;
    let problem: Problem = ProblemCode::Busy.problem("later");
    let response = problem.clone().into_response();
    assert_eq!(response.status().as_u16(), problem.status);
    let kind = response.headers().get("content-type").unwrap();
    assert_eq!(kind, "application/problem+json");
}
