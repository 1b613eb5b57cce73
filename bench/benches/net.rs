//! The transport between two nodes in one process, over TLS on loopback: what a protocol round costs besides its mathematics.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::post;
use countersign_policy::testing::{TestDeployment, member};
use countersign_policy::{Hash, Timestamp};
use countersign_signer::net::{
    BundleHandle, CertificateAuthority, CertificateRequest, Channel, ChannelEvent, ChannelTerms,
    ClientLimits, FrameKind, Lane, NodeClient, PeerLimits, PeerNetwork, Server, ServerLimits,
    TlsIdentity,
};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

struct Pair {
    networks: Vec<PeerNetwork>,
    client: NodeClient,
    _servers: Vec<Server>,
}

fn identity(test: &TestDeployment, authority: &CertificateAuthority, id: &str) -> TlsIdentity {
    let pair = authority
        .issue(&CertificateRequest {
            member: &member(id),
            identity: test.identity(id),
            genesis: test.genesis_hash(),
            names: &[],
            now: now(),
            valid_days: 1,
        })
        .unwrap();
    TlsIdentity::from_pem(&pair.cert_pem, &pair.key_pem, authority.certificate_pem()).unwrap()
}

/// Two nodes, and a route that answers with what it was sent.
async fn pair() -> Pair {
    let test = TestDeployment::at(3, 2, now());
    let bundle = BundleHandle::new(test.bundle());
    let authority = CertificateAuthority::create("Bench CA", now(), 1).unwrap();
    let ids = ["node-1", "node-2"];
    let mut listeners = Vec::new();
    for _ in ids {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let urls: Vec<String> = listeners
        .iter()
        .map(|listener| format!("https://{}", listener.local_addr().unwrap()))
        .collect();
    let (mut networks, mut servers, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    for (i, listener) in listeners.into_iter().enumerate() {
        let other = 1 - i;
        let identity = identity(&test, &authority, ids[i]);
        let client = NodeClient::new(
            member(ids[other]),
            &urls[other],
            &identity,
            bundle.clone(),
            ClientLimits::default(),
        )
        .unwrap();
        let network =
            PeerNetwork::start(member(ids[i]), vec![client.clone()], PeerLimits::default());
        let echo = post(|body: axum::body::Bytes| async move { body });
        let router = network.router().merge(Router::new().route("/echo", echo));
        let limits = ServerLimits::default();
        servers.push(Server::serve(listener, &identity, bundle.clone(), router, limits).unwrap());
        networks.push(network);
        clients.push(client);
    }
    Pair {
        networks,
        client: clients.remove(0),
        _servers: servers,
    }
}

fn open(pair: &Pair, channel: Hash) -> Vec<Channel> {
    let names = ["node-1", "node-2"];
    (0..2)
        .map(|i| {
            let terms = ChannelTerms {
                channel,
                execution: Hash::ZERO,
                peers: [member(names[1 - i])].into(),
                deadline: Instant::now() + Duration::from_secs(60),
            };
            pair.networks[i].open_channel(terms).unwrap()
        })
        .collect()
}

async fn hop(from: &Channel, to: &Channel, round: u16, body: &[u8]) {
    let peer = from.terms().peers.first().unwrap();
    from.send(peer, round, FrameKind::Broadcast, body.to_vec())
        .await
        .unwrap();
    match to.recv(Lane::Protocol).await.unwrap() {
        ChannelEvent::Frame(received) => assert_eq!(received.body.len(), body.len()),
        other => panic!("{other:?}"),
    }
}

fn net(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let pair = runtime.block_on(pair());
    let mut group = criterion.benchmark_group("net");
    for (name, size) in [("1KiB", 1024), ("64KiB", 65_536)] {
        let body = vec![7u8; size];
        group.bench_function(format!("frame-round-trip/{name}"), |bencher| {
            bencher.iter_custom(|rounds| {
                runtime.block_on(async {
                    let mut spent = Duration::ZERO;
                    for i in 0..rounds {
                        // A channel takes each round once, so each round trip has a channel of its own.
                        let stamp = format!("{:?}", Instant::now());
                        let id = Hash::derive(name, &[&i.to_be_bytes(), stamp.as_bytes()]);
                        let channels = open(&pair, id);
                        let begun = Instant::now();
                        hop(&channels[0], &channels[1], 0, &body).await;
                        hop(&channels[1], &channels[0], 1, &body).await;
                        spent += begun.elapsed();
                    }
                    spent
                })
            });
        });
    }
    let body = vec![7u8; 1024];
    group.bench_function("request/1KiB", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let deadline = Duration::from_secs(5);
                let answer = pair.client.post_bytes("/echo", body.clone(), deadline);
                black_box(answer.await.unwrap())
            })
        });
    });
    group.finish();
}

criterion_group!(benches, net);
criterion_main!(benches);
