//! A relay in the place of a node: it holds the keys of both ends, passes everything on, and lies where it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Json, Response};
use countersign_policy::MemberId;
use countersign_policy::testing::COORDINATOR;
use countersign_signer::net::{
    BundleHandle, CallError, FrameKind, NodeClient, Server, ServerLimits, decode_batch,
    encode_batch,
};
use countersign_signer::wire::{ProblemCode, path};
use countersign_tests::cluster::Cluster;
use http::{Method, Uri};
use serde_json::Value;

const CALL: Duration = Duration::from_secs(20);

/// Listens as one member and passes on to it what another one says.
struct Relay {
    server: Server,
}

struct Wire {
    client: NodeClient,
    /// Whether the results of sessions are kept back.
    mute: Arc<AtomicBool>,
}

async fn pass(State(wire): State<Arc<Wire>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let at = uri.path_and_query().map_or("", |p| p.as_str());
    if at == path::FRAMES {
        return match wire.client.post_bytes(at, lie(&body), CALL).await {
            Ok(answer) => answer.into_response(),
            Err(error) => refused(error),
        };
    }
    let answer: Result<Value, CallError> = if method == Method::GET {
        wire.client.get_json(at, CALL).await
    } else {
        let body: Value = serde_json::from_slice(&body).unwrap();
        wire.client.post_json(at, &body, CALL).await
    };
    if at == path::SIGN && wire.mute.load(Ordering::Relaxed) {
        let refusal = ProblemCode::Aborted.problem("I would rather not say");
        return refusal.into_response();
    }
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => refused(error),
    }
}

fn refused(error: CallError) -> Response {
    match error {
        CallError::Problem(problem) => (*problem).into_response(),
        other => ProblemCode::Busy.problem(other.to_string()).into_response(),
    }
}

/// Changes each share of a FROST signature into another scalar that can be read.
fn lie(batch: &[u8]) -> Vec<u8> {
    let mut frames = decode_batch(batch).unwrap();
    for frame in &mut frames {
        let session = matches!(frame.kind, FrameKind::Confirm | FrameKind::Control);
        if !session && frame.round > 0 {
            let share = frame.body.len() - 32;
            frame.body[share] ^= 1;
        }
    }
    encode_batch(frames.iter()).unwrap()
}

impl Relay {
    async fn start(cluster: &Cluster, from: &str, to: &MemberId, mute: &Arc<AtomicBool>) -> Self {
        let wire = Wire {
            client: cluster.client_as(from, to),
            mute: Arc::clone(mute),
        };
        let routes = Router::new().fallback(pass).with_state(Arc::new(wire));
        let bundle = BundleHandle::new(cluster.active().clone());
        let tls = cluster.tls(to.as_str());
        let address = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(address, &tls, bundle, routes, ServerLimits::default()).await;
        Self {
            server: server.unwrap(),
        }
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.local_address())
    }
}

/// A node whose shares of FROST signatures are wrong.
pub struct Liar {
    _relays: Vec<Relay>,
    /// Where the coordinator has to look for the node.
    pub urls: BTreeMap<MemberId, String>,
    /// Whether it keeps its own results, which are right, from the coordinator.
    pub mute: Arc<AtomicBool>,
}

impl Liar {
    /// Makes a liar of a node that was honest until now.
    pub async fn make(cluster: &mut Cluster, liar: &MemberId) -> Self {
        let mut relays = Vec::new();
        let mute = Arc::new(AtomicBool::new(false));
        let file = cluster.node_folder(liar).join("node.toml");
        let mut config = std::fs::read_to_string(&file).unwrap();
        for peer in cluster.members().iter().filter(|p| *p != liar) {
            let relay = Relay::start(cluster, liar.as_str(), peer, &mute).await;
            assert!(config.contains(&cluster.url(peer)));
            config = config.replace(&cluster.url(peer), &relay.url());
            relays.push(relay);
        }
        std::fs::write(&file, config).unwrap();
        cluster.kill(liar).await;
        cluster.start_node(liar).await;
        let front = Relay::start(cluster, COORDINATOR, liar, &mute).await;
        let urls = BTreeMap::from([(liar.clone(), front.url())]);
        relays.push(front);
        Self {
            _relays: relays,
            urls,
            mute,
        }
    }
}
