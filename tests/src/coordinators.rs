//! Coordinators before a cluster of real nodes, each in a process of its own that can be killed: this very test executable
//! started again, see [`crate::cluster::child_entry`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use countersign_coordinator::{
    ApiKey, ApiSecret, Coordinator, CoordinatorConfig, LimitsConfig, TimingConfig,
};
use countersign_policy::MemberId;
use countersign_policy::testing::{AUDITOR, PAYMENTS, member};
use countersign_signer::files::{write_identity_key, write_secret_file};

use crate::cluster::{Cluster, free_ports};

/// The environment variable that turns a test executable into a coordinator.
const CHILD: &str = "COUNTERSIGN_TEST_COORDINATOR";

/// Runs a coordinator in this process when the environment asks for it, until it is killed.
pub(crate) async fn child_entry() {
    let Some(config) = std::env::var_os(CHILD) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new("info"))
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let config = CoordinatorConfig::load(Path::new(&config)).expect("a configuration");
    let running = Coordinator::start(config)
        .await
        .expect("the coordinator runs");
    std::future::pending::<()>().await;
    drop(running);
}

/// The coordinators of one deployment: their files, and the processes that run. Dropping it kills them.
pub struct Coordinators {
    folder: tempfile::TempDir,
    addresses: BTreeMap<MemberId, SocketAddr>,
    running: BTreeMap<MemberId, Child>,
}

impl Coordinators {
    /// Writes the files of `members`, which share a database; `urls` names other addresses of nodes than their own.
    pub fn new(
        cluster: &Cluster,
        members: &[&str],
        database_url: &str,
        timing: TimingConfig,
        urls: &BTreeMap<MemberId, String>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: String| folder.path().join(name);
        let genesis = serde_json::to_vec(&cluster.deployment.genesis()).expect("JSON");
        std::fs::write(file("genesis.json".to_owned()), genesis).expect("a genesis");
        std::fs::write(file("ca.crt".to_owned()), cluster.authority_pem()).expect("a certificate");
        let mut addresses = BTreeMap::new();
        for (name, port) in members.iter().zip(free_ports(members.len())) {
            let listen = SocketAddr::from(([127, 0, 0, 1], port));
            let pair = cluster.certificate(name, name);
            std::fs::write(file(format!("{name}.crt")), &pair.cert_pem).expect("a certificate");
            write_secret_file(&file(format!("{name}.tls")), pair.key_pem.as_bytes())
                .expect("a key file");
            let identity = cluster.deployment.identity(name);
            write_identity_key(&file(format!("{name}.key")), identity).expect("a key file");
            let nodes = cluster.members().into_iter().map(|node| {
                let url = urls.get(&node).cloned();
                let url = url.unwrap_or_else(|| cluster.url(&node));
                (node, url)
            });
            let config = CoordinatorConfig {
                member: member(name),
                identity_key_file: format!("{name}.key").into(),
                listen,
                tls_certificate_file: format!("{name}.crt").into(),
                tls_key_file: format!("{name}.tls").into(),
                tls_ca_file: "ca.crt".into(),
                database_url: database_url.to_owned(),
                genesis_file: "genesis.json".into(),
                genesis_hash: cluster.deployment.genesis_hash(),
                nodes: nodes.collect(),
                api_keys: [PAYMENTS, AUDITOR]
                    .map(|who| ApiKey {
                        member: member(who),
                        public_key: api_key(who).public(),
                    })
                    .to_vec(),
                timing,
                limits: LimitsConfig::default(),
            };
            let text = toml::to_string(&config).expect("TOML");
            // It may hold the password of a database.
            write_secret_file(&file(format!("{name}.toml")), text.as_bytes())
                .expect("a configuration");
            addresses.insert(member(name), listen);
        }
        Self {
            folder,
            addresses,
            running: BTreeMap::new(),
        }
    }

    /// Starts a coordinator's process. It answers some time later.
    pub fn spawn(&mut self, name: &str) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file(name))
            .expect("a log file");
        let child = Command::new(std::env::current_exe().expect("this executable"))
            .args(["child_entry", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, self.folder.path().join(format!("{name}.toml")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a process");
        let before = self.running.insert(member(name), child);
        assert!(before.is_none(), "{name} runs already");
    }

    /// Kills a coordinator (SIGKILL).
    pub fn kill(&mut self, name: &str) {
        let mut child = self.running.remove(&member(name)).expect("it runs");
        child.kill().expect("the process is ours");
        child.wait().expect("the process ends");
    }

    /// Whether a coordinator's process ended by itself, with the end of its log.
    pub fn ended(&mut self, name: &str) -> Option<String> {
        let child = self.running.get_mut(&member(name))?;
        let status = child.try_wait().expect("the process is ours")?;
        Some(format!("{status}: {}", self.log(name)))
    }

    /// Where a coordinator listens.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.addresses[&member(name)]
    }

    /// What a coordinator has logged since its first start.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.log_file(name)).unwrap_or_default()
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }
}

impl Drop for Coordinators {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The key with which a member reads the API.
pub fn api_key(who: &str) -> ApiSecret {
    ApiSecret::from_seed(if who == AUDITOR { &[43; 32] } else { &[42; 32] })
}
