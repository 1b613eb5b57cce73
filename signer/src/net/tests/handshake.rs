//! Who gets in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::routing::get as on_get;
use axum::{Extension, Json, Router};
use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use countersign_policy::bundle::Role;
use countersign_policy::testing::{AUDITOR, COORDINATOR, PAYMENTS, TestDeployment, member};
use countersign_policy::{Hash, Timestamp};

use super::fixtures::*;
use crate::net::tls::{client_config, present};
use crate::net::*;
use crate::wire::ProblemCode;

/// Says who calls, and counts the calls.
fn whoami(calls: &Arc<AtomicU64>) -> Router {
    let calls = Arc::clone(calls);
    let answer = move |Extension(peer): Extension<PeerIdentity>| async move {
        calls.fetch_add(1, Ordering::Relaxed);
        let roles: Vec<Role> = peer.roles.into_iter().collect();
        Json((peer.member, roles))
    };
    Router::new().route("/whoami", on_get(answer))
}

async fn ask(client: &NodeClient) -> Result<(String, Vec<Role>), CallError> {
    client.get_json("/whoami", SOON).await
}

#[tokio::test]
async fn nodes_and_coordinators_are_served_by_name_and_role() {
    let deployment = Deployment::new(3);
    let calls = Arc::default();
    let server = deployment
        .server("node-1", whoami(&calls), ServerLimits::default())
        .await;
    let port = server.local_address().port();
    let node = deployment.client("node-2", "node-1", port);
    assert!(!node.is_connected());
    let (name, roles) = ask(&node).await.unwrap();
    assert_eq!((name.as_str(), roles), ("node-2", vec![Role::Node]));
    assert!(node.is_connected() && node.last_seen().is_some());
    let coordinator = deployment.client(COORDINATOR, "node-1", port);
    let (name, roles) = ask(&coordinator).await.unwrap();
    assert_eq!(
        (name.as_str(), roles),
        (COORDINATOR, vec![Role::Coordinator])
    );
    assert_eq!(get(&server.counters().accepted), 2);
}

/// The right CA proves nothing; each line is one way not to get in.
fn impostors(deployment: &Deployment) -> Vec<(&'static str, TlsIdentity)> {
    let other_authority = CertificateAuthority::create("Other CA", present(), 30).unwrap();
    let claim = |claim: Claim<'_>| deployment.claimed(&claim, &deployment.authority);
    vec![
        (
            "no voucher",
            claim(Claim {
                vouchers: 0,
                ..Claim::default()
            }),
        ),
        (
            "two vouchers",
            claim(Claim {
                vouchers: 2,
                ..Claim::default()
            }),
        ),
        (
            "a voucher that another member signed in this one's name",
            claim(Claim {
                vouched_by: "node-3",
                ..Claim::default()
            }),
        ),
        (
            "a genuine voucher, stolen from another certificate",
            claim(Claim {
                other_key: true,
                ..Claim::default()
            }),
        ),
        (
            "a voucher for another deployment",
            claim(Claim {
                genesis: Some(Hash::sha256(b"elsewhere")),
                ..Claim::default()
            }),
        ),
        (
            "a voucher that expired",
            claim(Claim {
                expired: true,
                ..Claim::default()
            }),
        ),
        (
            "a member that is no machine",
            claim(Claim {
                member: PAYMENTS,
                vouched_by: PAYMENTS,
                ..Claim::default()
            }),
        ),
        (
            "an auditor",
            claim(Claim {
                member: AUDITOR,
                vouched_by: AUDITOR,
                ..Claim::default()
            }),
        ),
        (
            "another CA",
            deployment.claimed(&Claim::default(), &other_authority),
        ),
    ]
}

#[tokio::test]
async fn an_impostor_is_dropped_at_the_handshake_of_a_server() {
    let deployment = Deployment::new(3);
    let calls: Arc<AtomicU64> = Arc::default();
    let server = deployment
        .server("node-1", whoami(&calls), ServerLimits::default())
        .await;
    let port = server.local_address().port();
    for (what, identity) in impostors(&deployment) {
        let before = get(&server.counters().strangers);
        let refused = ask(&deployment.client_of(&identity, "node-1", port)).await;
        assert!(
            matches!(refused, Err(CallError::Unreachable { .. })),
            "{what}: {refused:?}"
        );
        eventually(what, || get(&server.counters().strangers) > before).await;
    }
    assert_eq!(get(&calls), 0);
    assert_eq!(get(&server.counters().accepted), 0);
}

#[tokio::test]
async fn an_impostor_is_not_believed_when_it_answers() {
    let deployment = Deployment::new(3);
    let calls: Arc<AtomicU64> = Arc::default();
    let other_member = deployment.identity("node-3");
    let mut impostors = impostors(&deployment);
    impostors.push(("another member of the deployment", other_member));
    for (what, identity) in impostors {
        let address = "127.0.0.1:0".parse().unwrap();
        let limits = ServerLimits::default();
        let router = whoami(&calls);
        let server = Server::bind(
            address,
            &identity,
            deployment.bundle.clone(),
            router,
            limits,
        )
        .await
        .unwrap();
        let port = server.local_address().port();
        let refused = ask(&deployment.client("node-1", "node-2", port)).await;
        assert!(
            matches!(refused, Err(CallError::Unreachable { .. })),
            "{what}: {refused:?}"
        );
    }
    assert_eq!(get(&calls), 0);
}

#[test]
fn the_reason_of_a_refusal_is_precise() {
    let deployment = Deployment::new(3);
    let bundle = deployment.bundle.current();
    let refusal = |claim: Claim<'_>| {
        let identity = deployment.claimed(&claim, &deployment.authority);
        identity.member(&bundle, present()).unwrap_err()
    };
    let none = refusal(Claim {
        vouchers: 0,
        ..Claim::default()
    });
    assert!(matches!(none, IdentityError::Vouchers(0)), "{none}");
    let stolen = refusal(Claim {
        other_key: true,
        ..Claim::default()
    });
    assert!(matches!(stolen, IdentityError::OtherKey { .. }), "{stolen}");
    let service = refusal(Claim {
        member: PAYMENTS,
        vouched_by: PAYMENTS,
        ..Claim::default()
    });
    assert!(
        matches!(service, IdentityError::NoMachine { .. }),
        "{service}"
    );
    let truth = deployment.claimed(&Claim::default(), &deployment.authority);
    let peer = truth.member(&bundle, present()).unwrap();
    assert_eq!(peer.member, member("node-2"));
    let late = Timestamp::from_millis(present().as_millis() + 31 * 86_400_000);
    assert!(truth.member(&bundle, late).is_err());
}

#[test]
fn the_authority_survives_its_files() {
    let deployment = Deployment::new(3);
    let authority = &deployment.authority;
    let loaded =
        CertificateAuthority::load(authority.certificate_pem(), &authority.key_pem()).unwrap();
    let node = member("node-1");
    let pair = loaded
        .issue(&CertificateRequest {
            member: &node,
            identity: deployment.test.identity("node-1"),
            genesis: deployment.test.genesis_hash(),
            names: &["signer.example".to_owned(), "10.0.0.7".to_owned()],
            now: present(),
            valid_days: 30,
        })
        .unwrap();
    let identity =
        TlsIdentity::from_pem(&pair.cert_pem, &pair.key_pem, authority.certificate_pem()).unwrap();
    let peer = identity.member(&deployment.bundle.current(), present());
    assert_eq!(peer.unwrap().member, node);
    assert!(!format!("{pair:?} {identity:?} {loaded:?}").contains("PRIVATE"));
    assert!(TlsIdentity::from_pem("", &pair.key_pem, "").is_err());
    assert!(TlsIdentity::from_pem(&pair.cert_pem, "", authority.certificate_pem()).is_err());
}

async fn raw_handshake(
    deployment: &Deployment,
    port: u16,
    alpn: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let identity = deployment.identity("node-2");
    let clock = Arc::new(DefaultTimeProvider);
    let mut config = client_config(
        &identity,
        deployment.bundle.clone(),
        member("node-1"),
        clock,
    )
    .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

#[tokio::test]
async fn the_handshake_is_tls_1_3_post_quantum_http_2_and_never_resumed() {
    let deployment = Deployment::new(3);
    let server = deployment
        .server("node-1", Router::new(), ServerLimits::default())
        .await;
    let port = server.local_address().port();
    let tls = raw_handshake(&deployment, port, b"h2").await.unwrap();
    let session = tls.get_ref().1;
    assert_eq!(
        session.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(session.tls13_tickets_received(), 0);
    drop(tls);
    assert!(raw_handshake(&deployment, port, b"http/1.1").await.is_err());
}

#[tokio::test]
async fn slow_and_senseless_handshakes_are_dropped_and_do_not_keep_members_out() {
    let deployment = Deployment::new(3);
    let limits = ServerLimits {
        handshake_timeout: Duration::from_millis(300),
        max_handshakes_per_address: 4,
        ..ServerLimits::default()
    };
    let calls: Arc<AtomicU64> = Arc::default();
    let server = deployment.server("node-1", whoami(&calls), limits).await;
    let port = server.local_address().port();
    let mut slow = Vec::new();
    for _ in 0..6 {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // The first bytes of a TLS record, and then nothing.
        let _ = tcp.write_all(&[0x16, 0x03, 0x01]).await;
        slow.push(tcp);
    }
    eventually("over the limit", || get(&server.counters().over_limit) >= 2).await;
    for tcp in &mut slow {
        let mut rest = [0u8; 16];
        let ended = tokio::time::timeout(SOON, tcp.read(&mut rest))
            .await
            .unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
    assert_eq!(get(&server.counters().strangers), 4);
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    eventually("plain text dropped", || {
        get(&server.counters().strangers) == 5
    })
    .await;
    let client = deployment.client("node-2", "node-1", port);
    ask(&client).await.unwrap();
}

/// The bundle in which `id` has another statement key.
fn with_new_key(deployment: &Deployment, id: &str) -> BundleHandle {
    let active = deployment.bundle.current();
    let successor = deployment.test.successor(&active, |content| {
        let record = content.members.iter_mut().find(|m| m.id == member(id));
        record.unwrap().keys[0].public_key = stranger_key().public();
    });
    let mut chain = deployment.test.chain();
    BundleHandle::new(chain.append(&successor, present()).unwrap().clone())
}

#[tokio::test]
async fn a_new_bundle_ends_the_trust_in_connections_that_stand() {
    let deployment = Deployment::new(3);
    let calls: Arc<AtomicU64> = Arc::default();
    let server = deployment
        .server("node-1", whoami(&calls), ServerLimits::default())
        .await;
    let port = server.local_address().port();
    let client_bundle = BundleHandle::new(deployment.test.bundle());
    let url = format!("https://127.0.0.1:{port}");
    let client = NodeClient::new(
        member("node-1"),
        &url,
        &deployment.identity(COORDINATOR),
        client_bundle.clone(),
        ClientLimits::default(),
    )
    .unwrap();
    ask(&client).await.unwrap();
    // The server learns that the caller's key is gone.
    let replaced = with_new_key(&deployment, COORDINATOR).current();
    deployment.bundle.replace((*replaced).clone());
    match ask(&client).await {
        Err(CallError::Problem(problem)) => {
            assert_eq!(problem.code(), Some(ProblemCode::Forbidden));
        }
        Err(CallError::Unreachable { .. }) => {}
        other => panic!("still served: {other:?}"),
    }
    assert_eq!(get(&server.counters().revoked), 1);
    eventually("the connection ends", || !client.is_connected()).await;
    assert!(matches!(
        ask(&client).await,
        Err(CallError::Unreachable { .. })
    ));
    // The other way round: the caller learns that the server's key is gone.
    deployment.bundle.replace(deployment.test.bundle());
    let other = deployment.client("node-2", "node-1", port);
    ask(&other).await.unwrap();
    let before = get(&calls);
    let elsewhere = TestDeployment::at(3, 2, present().plus_seconds(1));
    deployment.bundle.replace(elsewhere.bundle());
    assert!(ask(&other).await.is_err());
    assert_eq!(get(&calls), before);
}
