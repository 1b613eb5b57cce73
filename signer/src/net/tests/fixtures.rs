//! A deployment on loopback, and a wire that can be cut.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use rcgen::{KeyPair, PublicKeyData as _};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use countersign_policy::testing::{TestDeployment, member};
use countersign_policy::{Envelope, Hash, IdentityKey, MemberId};

use crate::net::fault::FaultPlan;
use crate::net::identity::vouch;
use crate::net::tls::present;
use crate::net::*;

pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) fn soon() -> Instant {
    Instant::now() + SOON
}

/// Members, their certificates, and the bundle they share.
pub(super) struct Deployment {
    pub test: TestDeployment,
    pub bundle: BundleHandle,
    pub authority: CertificateAuthority,
}

/// What a certificate claims; the default is the truth.
pub(super) struct Claim<'a> {
    pub member: &'a str,
    pub vouched_by: &'a str,
    pub genesis: Option<Hash>,
    pub expired: bool,
    pub other_key: bool,
    pub vouchers: usize,
}

impl Default for Claim<'_> {
    fn default() -> Self {
        Self {
            member: "node-2",
            vouched_by: "node-2",
            genesis: None,
            expired: false,
            other_key: false,
            vouchers: 1,
        }
    }
}

impl Deployment {
    pub(super) fn new(nodes: usize) -> Self {
        let threshold = u16::try_from(nodes / 2 + 1).unwrap();
        let test = TestDeployment::at(nodes.max(3), threshold.max(2), present());
        Self {
            bundle: BundleHandle::new(test.bundle()),
            authority: CertificateAuthority::create("Test CA", present(), 30).unwrap(),
            test,
        }
    }

    pub(super) fn identity(&self, id: &str) -> TlsIdentity {
        let claim = Claim {
            member: id,
            vouched_by: id,
            ..Claim::default()
        };
        self.claimed(&claim, &self.authority)
    }

    /// A certificate from `authority` that claims what it likes.
    pub(super) fn claimed(
        &self,
        claim: &Claim<'_>,
        authority: &CertificateAuthority,
    ) -> TlsIdentity {
        let now = present();
        let claimed = member(claim.member);
        let request = CertificateRequest {
            member: &claimed,
            identity: self.test.identity(claim.vouched_by),
            genesis: claim.genesis.unwrap_or(self.test.genesis_hash()),
            names: &[],
            now,
            valid_days: 30,
        };
        let key = KeyPair::generate().unwrap();
        let vouched_key = if claim.other_key {
            KeyPair::generate().unwrap()
        } else {
            KeyPair::from_pem(&key.serialize_pem()).unwrap()
        };
        let then = CertificateRequest {
            now: if claim.expired {
                now.minus_seconds(40 * 86_400)
            } else {
                now
            },
            ..request.clone()
        };
        let voucher = vouch(&then, &vouched_key.subject_public_key_info()).unwrap();
        let vouchers: Vec<Envelope> = vec![voucher; claim.vouchers];
        let pair = authority.issue_with(&request, &key, &vouchers).unwrap();
        let trusted = self.authority.certificate_pem();
        TlsIdentity::from_pem(&pair.cert_pem, &pair.key_pem, trusted).unwrap()
    }

    pub(super) fn client(&self, from: &str, to: &str, port: u16) -> NodeClient {
        self.client_of(&self.identity(from), to, port)
    }

    pub(super) fn client_of(&self, identity: &TlsIdentity, to: &str, port: u16) -> NodeClient {
        self.client_with(identity, to, port, ClientLimits::default())
    }

    pub(super) fn client_with(
        &self,
        identity: &TlsIdentity,
        to: &str,
        port: u16,
        limits: ClientLimits,
    ) -> NodeClient {
        let url = format!("https://127.0.0.1:{port}");
        NodeClient::new(member(to), &url, identity, self.bundle.clone(), limits).unwrap()
    }

    pub(super) async fn server(&self, id: &str, router: Router, limits: ServerLimits) -> Server {
        let address = "127.0.0.1:0".parse().unwrap();
        let identity = self.identity(id);
        Server::bind(address, &identity, self.bundle.clone(), router, limits)
            .await
            .unwrap()
    }

    /// Nodes `node-1` to `node-n`, each connected to each through a wire.
    pub(super) async fn cluster(&self, nodes: usize, options: Options) -> Vec<TestNode> {
        let ids: Vec<String> = (1..=nodes).map(|i| format!("node-{i}")).collect();
        let mut listeners = Vec::new();
        for _ in &ids {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listeners.push(listener);
        }
        let ports: Vec<u16> = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        let mut cluster = Vec::new();
        for (id, listener) in ids.iter().zip(listeners) {
            let identity = self.identity(id);
            let mut wires = Vec::new();
            let mut clients = Vec::new();
            for (peer, port) in ids.iter().zip(&ports).filter(|(peer, _)| *peer != id) {
                let wire = Wire::to(*port).await;
                clients.push(self.client_of(&identity, peer, wire.port));
                wires.push(wire);
            }
            let plan = options.faults.map(|text| {
                let seeded = format!("{text},seed={}", cluster.len());
                seeded.parse::<FaultPlan>().unwrap()
            });
            let network = PeerNetwork::start_with(
                member(id),
                clients,
                options.limits.clone(),
                crate::net::Refusals::default(),
                plan,
            );
            let server = Server::serve(
                listener,
                &identity,
                self.bundle.clone(),
                network.router(),
                ServerLimits::default(),
            )
            .unwrap();
            cluster.push(TestNode {
                id: member(id),
                network,
                server,
                wires,
            });
        }
        cluster
    }
}

#[derive(Default)]
pub(super) struct Options {
    pub limits: PeerLimits,
    pub faults: Option<&'static str>,
}

pub(super) struct TestNode {
    pub id: MemberId,
    pub network: PeerNetwork,
    pub server: Server,
    /// To each other node, in their order.
    pub wires: Vec<Wire>,
}

impl TestNode {
    pub(super) fn open(&self, channel: Hash, execution: Hash, peers: &[&TestNode]) -> Channel {
        let terms = ChannelTerms {
            channel,
            execution,
            peers: peers.iter().map(|peer| peer.id.clone()).collect(),
            deadline: soon(),
        };
        self.network.open_channel(terms).unwrap()
    }
}

pub(super) fn frame(from: &str, to: &str, channel: Hash, body: &[u8]) -> Frame {
    Frame {
        channel,
        execution: hash("execution"),
        round: 1,
        kind: FrameKind::Broadcast,
        from: member(from),
        to: member(to),
        body: body.to_vec(),
    }
}

pub(super) fn hash(text: &str) -> Hash {
    Hash::sha256(text.as_bytes())
}

pub(super) fn members(ids: &[&str]) -> BTreeSet<MemberId> {
    ids.iter().map(|id| member(id)).collect()
}

pub(super) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(super) fn stranger_key() -> IdentityKey {
    IdentityKey::from_seed(&[0x5a; 32])
}

/// Waits until something holds, at most [`SOON`].
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = soon();
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A TCP connection that can be cut, or go silent.
pub(super) struct Wire {
    pub port: u16,
    cuts: watch::Sender<u64>,
    down: Arc<AtomicBool>,
    silent: watch::Sender<bool>,
}

impl Wire {
    pub(super) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, cut) = watch::channel(0u64);
        let (silent, silenced) = watch::channel(false);
        let down = Arc::new(AtomicBool::new(false));
        let refusing = Arc::clone(&down);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (mut cut, mut silenced) = (cut.clone(), silenced.clone());
                if refusing.load(Ordering::Relaxed) {
                    continue;
                }
                tokio::spawn(async move {
                    cut.mark_unchanged();
                    let mut far = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                    near.set_nodelay(true).unwrap();
                    far.set_nodelay(true).unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                        _ = cut.changed() => return,
                        _ = silenced.wait_for(|silent| *silent) => {}
                    }
                    // Silence: both ends stay open, and nothing moves.
                    let _ = cut.changed().await;
                });
            }
        });
        Self {
            port,
            cuts,
            down,
            silent,
        }
    }

    /// Ends every connection.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends every connection and takes no new one, or takes them again.
    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
        if down {
            self.cut();
        }
    }

    /// Keeps connections open and moves nothing more.
    pub(super) fn silence(&self) {
        self.silent.send_replace(true);
    }
}
