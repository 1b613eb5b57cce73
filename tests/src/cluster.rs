//! A cluster of real signer nodes on loopback, over real TLS with sealed stores, and the test as its coordinator.
//!
//! Nodes run in this process, or each in a process of its own that can be killed: [`Place`]. A node process is this very
//! test executable started again, see [`child_entry`].

mod calls;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign_policy::bundle::{ActiveBundle, BundleChain, Environment, KeyRecord, KeyState};
use countersign_policy::statement::{CeremonyTranscript, KeyCeremony, Verified};
use countersign_policy::testing::{COORDINATOR, TestDeployment, member};
use countersign_policy::{Envelope, IdentityKey, KeyId, MemberId, Protocol};
use countersign_signer::clock::{SKEW_FOR_TESTS, now};
use countersign_signer::files::{write_identity_key, write_secret_file};
use countersign_signer::net::{
    BundleHandle, CallError, CertificateAuthority, CertificatePair, CertificateRequest,
    ClientLimits, EmergencyClient, NodeClient, TlsIdentity,
};
use countersign_signer::node::{
    Node, NodeConfig, PresignatureConfig, ResourceConfig, create_store,
};
use countersign_signer::wire::{
    ActivateBundle, BundleAck, CeremonyStatus, CeremonyStep, NodeStatus, StartCeremony,
    SubmitBundle, path,
};

/// Where the nodes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the test's process.
    Inside,
    /// Each in a process of its own.
    Processes,
}

/// The environment variable that turns a test executable into a node.
const CHILD: &str = "COUNTERSIGN_TEST_NODE";
/// The environment variable with a node's plan of network faults; see the signer's `net::fault`.
const FAULTS: &str = "COUNTERSIGN_NET_FAULTS";
/// How long a call may take.
const CALL: Duration = Duration::from_secs(30);

/// A running cluster. Dropping it kills its processes and removes its files.
pub struct Cluster {
    /// Members, keys and statements.
    pub deployment: TestDeployment,
    /// The chain as the test knows it.
    pub chain: BundleChain,
    folder: tempfile::TempDir,
    place: Place,
    nodes: BTreeMap<MemberId, Running>,
    clients: BTreeMap<MemberId, NodeClient>,
    bundle: BundleHandle,
    authority: CertificateAuthority,
    ports: BTreeMap<MemberId, u16>,
    emergency: BTreeMap<MemberId, u16>,
    faults: BTreeMap<MemberId, String>,
    skews: BTreeMap<MemberId, i64>,
}

enum Running {
    Inside(Box<Node>),
    Process(Child),
}

/// Runs a node or a coordinator in this process when the environment asks for it; to be called first in a test named
/// `child_entry` of every test file that uses [`Place::Processes`].
pub async fn child_entry() {
    crate::coordinators::child_entry().await;
    let Some(config) = std::env::var_os(CHILD) else {
        return;
    };
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .init();
    }
    countersign_signer::threshold::test_material::use_in_ceremonies();
    countersign_signer::node::run(Path::new(&config))
        .await
        .expect("the node runs");
    std::process::exit(0);
}

impl Cluster {
    /// Starts `nodes` nodes with keys of `threshold`.
    pub async fn start(nodes: usize, threshold: u16, place: Place) -> Self {
        let resources = ResourceConfig {
            sign_timeout_seconds: 5,
            ceremony_timeout_seconds: 300,
            spare_primes: 0,
            ..ResourceConfig::default()
        };
        Self::start_with(nodes, threshold, place, resources).await
    }

    /// The same with other bounds.
    pub async fn start_with(
        nodes: usize,
        threshold: u16,
        place: Place,
        resources: ResourceConfig,
    ) -> Self {
        // CGGMP ceremonies with primes of their own take minutes.
        countersign_signer::threshold::test_material::use_in_ceremonies();
        let deployment = TestDeployment::at(nodes, threshold, now());
        let chain = deployment.chain();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority =
            CertificateAuthority::create("test authority", now(), 30).expect("an authority");
        let free = free_ports(nodes * 2);
        let (main, emergency) = free.split_at(nodes);
        let by_node = |ports: &[u16]| -> BTreeMap<MemberId, u16> {
            let ports = ports.iter().copied();
            deployment.nodes().into_iter().zip(ports).collect()
        };
        let (ports, emergency) = (by_node(main), by_node(emergency));
        let bundle = BundleHandle::new(chain.active().clone());
        let mut cluster = Self {
            deployment,
            chain,
            folder,
            place,
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            bundle,
            authority,
            ports,
            emergency,
            faults: BTreeMap::new(),
            skews: BTreeMap::new(),
        };
        for node in cluster.deployment.nodes() {
            cluster.write_node(&node, resources).await;
        }
        let tls = cluster.tls(COORDINATOR);
        for node in cluster.deployment.nodes() {
            let url = cluster.url(&node);
            let client = NodeClient::new(
                node.clone(),
                &url,
                &tls,
                cluster.bundle.clone(),
                ClientLimits::default(),
            )
            .expect("a client");
            cluster.clients.insert(node.clone(), client);
            cluster.start_node(&node).await;
        }
        cluster
    }

    /// A TLS identity of any member, issued by the deployment's authority.
    pub fn tls(&self, id: &str) -> TlsIdentity {
        self.tls_vouched_by(id, id)
    }

    /// A TLS identity of `id` from the right authority, whose voucher is signed with the statement key of `signer`.
    pub fn tls_vouched_by(&self, id: &str, signer: &str) -> TlsIdentity {
        self.issue(id, self.deployment.identity(signer))
    }

    fn issue(&self, id: &str, identity: &IdentityKey) -> TlsIdentity {
        let pair = self.certify(id, identity);
        TlsIdentity::from_pem(
            &pair.cert_pem,
            &pair.key_pem,
            self.authority.certificate_pem(),
        )
        .expect("a TLS identity")
    }

    /// The certificate of the deployment's authority, as PEM.
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// A certificate of `id` with its key, whose voucher is signed with the statement key of `signer`.
    pub fn certificate(&self, id: &str, signer: &str) -> CertificatePair {
        self.certify(id, self.deployment.identity(signer))
    }

    fn certify(&self, id: &str, identity: &IdentityKey) -> CertificatePair {
        let request = CertificateRequest {
            member: &member(id),
            identity,
            genesis: self.deployment.genesis_hash(),
            names: &[],
            now: now(),
            valid_days: 30,
        };
        self.authority.issue(&request).expect("a certificate")
    }

    /// A TLS identity from the right authority for somebody whom the bundle does not name, vouched for with `key`.
    pub fn tls_of_a_stranger(&self, id: &str, key: &IdentityKey) -> TlsIdentity {
        self.issue(id, key)
    }

    /// A client to a node with another identity than the coordinator's.
    pub fn client_as(&self, id: &str, node: &MemberId) -> NodeClient {
        self.client_with(&self.tls(id), node)
    }

    /// A client to a node with any TLS identity.
    pub fn client_with(&self, tls: &TlsIdentity, node: &MemberId) -> NodeClient {
        NodeClient::new(
            node.clone(),
            &self.url(node),
            tls,
            self.bundle.clone(),
            ClientLimits::default(),
        )
        .expect("a client")
    }

    /// A node's address.
    pub fn url(&self, node: &MemberId) -> String {
        format!("https://127.0.0.1:{}", self.ports[node])
    }

    /// A node's folder.
    pub fn node_folder(&self, node: &MemberId) -> PathBuf {
        self.folder.path().join(node.as_str())
    }

    async fn write_node(&self, node: &MemberId, resources: ResourceConfig) {
        let folder = self.node_folder(node);
        std::fs::create_dir_all(&folder).expect("a folder");
        let pair = self.certificate(node.as_str(), node.as_str());
        write_identity_key(
            &folder.join("identity.key"),
            self.deployment.identity(node.as_str()),
        )
        .expect("a key file");
        write_secret_file(&folder.join("tls.key"), pair.key_pem.as_bytes()).expect("a key file");
        write_secret_file(&folder.join("passphrase"), b"a passphrase for tests only")
            .expect("a passphrase");
        std::fs::write(folder.join("tls.crt"), &pair.cert_pem).expect("a certificate");
        std::fs::write(folder.join("ca.crt"), self.authority.certificate_pem())
            .expect("a certificate");
        let genesis = serde_json::to_vec(&self.deployment.genesis()).expect("JSON");
        std::fs::write(folder.join("genesis.json"), genesis).expect("a genesis");
        let peers = self
            .ports
            .keys()
            .filter(|n| *n != node)
            .map(|n| (n.clone(), self.url(n)))
            .collect();
        let config = NodeConfig {
            node: node.clone(),
            listen: ([127, 0, 0, 1], self.ports[node]).into(),
            emergency_listen: Some(([127, 0, 0, 1], self.emergency[node]).into()),
            data_dir: "data".into(),
            identity_key_file: "identity.key".into(),
            tls_certificate_file: "tls.crt".into(),
            tls_key_file: "tls.key".into(),
            tls_ca_file: "ca.crt".into(),
            passphrase_file: Some("passphrase".into()),
            kek: None,
            kek_before: None,
            hsm: None,
            genesis_file: "genesis.json".into(),
            genesis_hash: self.deployment.genesis_hash(),
            peers,
            presignatures: PresignatureConfig {
                low: 2,
                high: 2,
                capacity: 64,
            },
            resources,
        };
        let file = folder.join("node.toml");
        std::fs::write(&file, toml::to_string(&config).expect("TOML")).expect("a configuration");
        create_store(&NodeConfig::load(&file).expect("a configuration"))
            .await
            .expect("a store");
    }

    /// What the network does to everything that a node process sends to its peers, from its next start on: a plan of the
    /// signer's `net::fault`, or nothing.
    pub fn set_faults(&mut self, node: &MemberId, plan: &str) {
        self.faults.insert(node.clone(), plan.to_owned());
    }

    /// By how much the clock of a node process is wrong, from its next start on.
    pub fn set_clock(&mut self, node: &MemberId, milliseconds: i64) {
        self.skews.insert(node.clone(), milliseconds);
    }

    /// What an officer without a machine certificate reaches of a node.
    pub fn emergency(&self, node: &MemberId) -> EmergencyClient {
        let url = format!("https://127.0.0.1:{}", self.emergency[node]);
        EmergencyClient::new(&url, self.authority.certificate_pem()).expect("a client")
    }

    /// Ends all nodes and starts them again.
    pub async fn restart(&mut self) {
        for node in self.members() {
            self.kill(&node).await;
        }
        for node in self.members() {
            self.start_node(&node).await;
        }
    }

    /// What a node's process says on its way out.
    fn said(&self, node: &MemberId) -> PathBuf {
        self.node_folder(node).join("stderr")
    }

    /// Starts a node that does not run, and waits until it answers.
    pub async fn start_node(&mut self, node: &MemberId) {
        if let Err(reason) = self.try_start_node(node).await {
            panic!("{node} does not start: {reason}");
        }
    }

    /// The same, for a node that may refuse to start.
    pub async fn try_start_node(&mut self, node: &MemberId) -> Result<(), String> {
        let file = self.node_folder(node).join("node.toml");
        let running = match self.place {
            Place::Inside => {
                let config = NodeConfig::load(&file).expect("a configuration");
                let started = Node::start(config).await.map_err(|e| e.to_string())?;
                Running::Inside(Box::new(started))
            }
            Place::Processes => {
                let test = std::env::current_exe().expect("this executable");
                let mut command = Command::new(test);
                command
                    .args(["child_entry", "--exact", "--nocapture", "--test-threads=1"])
                    .env(CHILD, &file)
                    // CGGMP's auxiliary primes take minutes; these are fixed, and everybody knows them.
                    .stdout(Stdio::null());
                match self.faults.get(node).filter(|plan| !plan.is_empty()) {
                    Some(plan) => command.env(FAULTS, plan),
                    None => command.env_remove(FAULTS),
                };
                match self.skews.get(node) {
                    Some(millis) => command.env(SKEW_FOR_TESTS, millis.to_string()),
                    None => command.env_remove(SKEW_FOR_TESTS),
                };
                if std::env::var_os("RUST_LOG").is_none() {
                    let said = std::fs::File::create(self.said(node)).expect("a file");
                    command.stderr(said);
                }
                Running::Process(command.spawn().expect("a process"))
            }
        };
        self.nodes.insert(node.clone(), running);
        let until = Instant::now() + CALL;
        loop {
            let answer: Result<NodeStatus, CallError> = self.clients[node]
                .get_json(path::STATUS, Duration::from_secs(2))
                .await;
            if answer.is_ok() {
                return Ok(());
            }
            if let Some(Running::Process(child)) = self.nodes.get_mut(node)
                && let Some(status) = child.try_wait().expect("the process is ours")
            {
                let said = std::fs::read_to_string(self.said(node)).unwrap_or_default();
                return Err(format!("the process ended with {status}: {said}"));
            }
            if Instant::now() > until {
                return Err(format!("no answer: {answer:?}"));
            }
            self.clients[node].wake();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends a node: `kill -9` for a process, an orderly stop inside.
    pub async fn kill(&mut self, node: &MemberId) {
        match self.nodes.remove(node) {
            Some(Running::Process(mut child)) => {
                child.kill().expect("the process is ours");
                child.wait().expect("the process ends");
            }
            Some(Running::Inside(node)) => node.stop().await,
            None => {}
        }
    }

    /// Sends a signal to a node's process: `STOP` makes it hang with all its connections open, `CONT` lets it go on.
    pub fn signal(&self, node: &MemberId, signal: &str) {
        let Some(Running::Process(child)) = self.nodes.get(node) else {
            panic!("{node} is no process of its own");
        };
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(sent.expect("the kill command").success());
    }

    /// The process of a node.
    pub fn process(&mut self, node: &MemberId) -> Option<&mut Child> {
        match self.nodes.get_mut(node) {
            Some(Running::Process(child)) => Some(child),
            _ => None,
        }
    }

    /// All nodes in ascending order.
    pub fn members(&self) -> Vec<MemberId> {
        self.deployment.nodes()
    }

    /// A client to a node, as the coordinator.
    pub fn client(&self, node: &MemberId) -> &NodeClient {
        &self.clients[node]
    }

    /// The active bundle as the test knows it.
    pub fn active(&self) -> &ActiveBundle {
        self.chain.active()
    }

    /// Makes a key with all nodes and pins it with its wallet. Returns its record.
    pub async fn make_key(&mut self, key: &str, protocol: Protocol, threshold: u16) -> KeyRecord {
        let order = self.order(key, protocol, threshold);
        let transcripts = self.run_ceremony(&order).await;
        let record = self.record(&order, &transcripts);
        let pinned = record.clone();
        let bundle = self.deployment.successor(self.chain.active(), |content| {
            TestDeployment::add_key_to(content, pinned);
        });
        self.follow(bundle, transcripts).await;
        record
    }

    /// A signed order for a key held by all nodes.
    pub fn order(&mut self, key: &str, protocol: Protocol, threshold: u16) -> Envelope {
        self.deployment.set_now(now());
        self.deployment.ceremony(KeyCeremony {
            key: KeyId::new(key).expect("a key id"),
            protocol,
            threshold,
            max_faulty: 0,
            nodes: self.members(),
            purpose: "tests".to_owned(),
            environment: Environment::Test,
        })
    }

    /// Runs a ceremony on all nodes and collects the transcripts.
    pub async fn run_ceremony(&self, order: &Envelope) -> Vec<Envelope> {
        let call = StartCeremony {
            order: order.clone(),
        };
        for (node, client) in &self.clients {
            let started: Result<CeremonyStatus, CallError> =
                client.post_json(path::CEREMONIES, &call, CALL).await;
            started.unwrap_or_else(|e| panic!("{node} does not start the ceremony: {e:?}"));
        }
        let mut transcripts = Vec::new();
        for (node, client) in &self.clients {
            let until = Instant::now() + Duration::from_secs(240);
            loop {
                let at = format!("{}/{}", path::CEREMONIES, order.digest());
                let status: CeremonyStatus = client.get_json(&at, CALL).await.expect("a status");
                match status.step {
                    CeremonyStep::Complete => {
                        transcripts.push(status.transcript.expect("a transcript"));
                        break;
                    }
                    CeremonyStep::Failed { reason } => {
                        panic!("the ceremony failed on {node}: {reason}")
                    }
                    step => assert!(Instant::now() < until, "{node} is still at {step:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        transcripts
    }

    /// The record that pins a key.
    pub fn record(&self, order: &Envelope, transcripts: &[Envelope]) -> KeyRecord {
        let directory = self.active().directory();
        let order = directory
            .open_quorum::<KeyCeremony>(order)
            .expect("an order");
        let opened: Vec<Verified<CeremonyTranscript>> = transcripts
            .iter()
            .map(|t| directory.open(t).expect("a transcript"))
            .collect();
        let content = opened[0].body();
        let body = order.body();
        KeyRecord {
            id: body.key.clone(),
            protocol: body.protocol,
            threshold: body.threshold,
            max_faulty: body.max_faulty,
            nodes: body.nodes.clone(),
            purpose: body.purpose.clone(),
            environment: body.environment,
            state: KeyState::Active,
            group_key: content.group_key,
            chain_code: content.chain_code,
            transcript: content.content_hash().expect("a hash"),
        }
    }

    /// Leads all nodes that run to the next bundle: proposed to each, then activated with all acknowledgements.
    pub async fn follow(&mut self, bundle: Envelope, transcripts: Vec<Envelope>) {
        let mut acks = Vec::new();
        for (node, client) in self.running() {
            let call = SubmitBundle {
                bundle: bundle.clone(),
                transcripts: transcripts.clone(),
            };
            let ack: BundleAck = client
                .post_json(path::BUNDLES, &call, CALL)
                .await
                .unwrap_or_else(|e| panic!("{node}: {e:?}"));
            assert_eq!(ack.bundle, bundle.digest());
            acks.extend(ack.ack);
        }
        for (node, client) in self.running() {
            let call = ActivateBundle {
                bundle: bundle.clone(),
                transcripts: transcripts.clone(),
                acks: acks.clone(),
            };
            let ack: BundleAck = client
                .post_json(path::ACTIVATE, &call, CALL)
                .await
                .unwrap_or_else(|e| panic!("{node}: {e:?}"));
            assert!(ack.active, "{node}");
        }
        self.note_successor(&bundle);
    }

    /// The nodes follow this bundle by now: the test and its clients do so too.
    pub fn note_successor(&mut self, bundle: &Envelope) {
        let active = self.chain.append(bundle, now()).expect("a successor");
        self.bundle.replace(active.clone());
    }

    fn running(&self) -> impl Iterator<Item = (&MemberId, &NodeClient)> {
        self.clients
            .iter()
            .filter(|(node, _)| self.nodes.contains_key(*node))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for running in self.nodes.values_mut() {
            if let Running::Process(child) = running {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Ports that were free a moment ago, from below the range that systems give to outgoing connections: no such connection
/// takes one before its node listens.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u16 = 10_000;
    const PORTS: u16 = 22_000;
    // Tests run beside each other, each begins somewhere else.
    let begin = RandomState::new().hash_one(count) % u64::from(PORTS);
    let begin = u16::try_from(begin).expect("below the number of ports");
    let ports = (0..PORTS).map(|i| FIRST + (begin + i) % PORTS);
    let free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let free: Vec<u16> = free.take(count).collect();
    assert_eq!(free.len(), count, "too few free ports");
    free
}
