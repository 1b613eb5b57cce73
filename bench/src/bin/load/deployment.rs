//! A deployment of real processes: made with `countersign init`, every node and the coordinator a child of this one.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign_policy::bundle::BundleChain;
use countersign_policy::{Envelope, Hash, IdentityKey, MemberId, Protocol};
use countersign_signer::clock::now;
use countersign_signer::files::read_identity_key;
use countersign_signer::net::{BundleHandle, ClientLimits, NodeClient, TlsIdentity};
use countersign_signer::node::NodeConfig;
use countersign_signer::wire::{Bundles, path};

use crate::policy;

/// Presignatures below which a pool is filled: more than are under way when a change of the policy empties it.
const LOW: i64 = 3;
/// How long processes may take to start.
const START: Duration = Duration::from_secs(30);
/// How long a call to a node may take.
pub const CALL: Duration = Duration::from_secs(30);

/// What this tool answers with when it cannot go on.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Running processes and everything needed to talk to them.
pub struct Deployment {
    dir: PathBuf,
    program: PathBuf,
    _temporary: Option<tempfile::TempDir>,
    children: Vec<(MemberId, Child)>,
    /// The policy as the nodes follow it.
    pub bundle: BundleHandle,
    /// Clients with the coordinator's certificate.
    pub clients: BTreeMap<MemberId, NodeClient>,
    /// The coordinator's statement key.
    pub coordinator_key: IdentityKey,
    /// The payment service's statement key.
    pub payments_key: IdentityKey,
    /// `host:port` of the coordinator.
    pub coordinator_address: String,
    /// The certificate authority (PEM).
    pub authority: String,
}

/// How the deployment is to be.
pub struct Plan {
    /// Where it is or is to be made; without it, in a temporary folder.
    pub dir: Option<PathBuf>,
    /// Signer nodes.
    pub nodes: u16,
    /// How many sign together.
    pub threshold: u16,
    /// Presignatures to hold for each signer set.
    pub presignatures: usize,
    /// The `countersign` command.
    pub program: PathBuf,
}

pub const COORDINATOR: &str = "coordinator-1";

impl Deployment {
    /// Makes it, or takes up the one in the plan's folder, and starts every process.
    pub async fn start(plan: &Plan) -> Outcome<Self> {
        let temporary = match &plan.dir {
            Some(_) => None,
            None => Some(tempfile::tempdir()?),
        };
        let dir = match (&plan.dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(folder)) => folder.path().join("deployment"),
            (None, None) => return Err("no folder".into()),
        };
        if !dir.join("client.toml").exists() {
            let mut init = Command::new(&plan.program);
            init.arg("init").arg(&dir);
            init.args(["--nodes", &plan.nodes.to_string()]);
            init.args(["--threshold", &plan.threshold.to_string()]);
            run(&mut init)?;
        }
        let mut deployment = Self::open(dir, plan.program.clone(), temporary)?;
        for (_, config) in deployment.node_configs()? {
            set_watermarks(&config, plan.presignatures)?;
        }
        deployment.start_processes()?;
        deployment.wait_until_ready().await?;
        Ok(deployment)
    }

    fn open(dir: PathBuf, program: PathBuf, temporary: Option<tempfile::TempDir>) -> Outcome<Self> {
        let read = |file: &str| std::fs::read_to_string(dir.join(file));
        let profile: toml::Table = read("client.toml")?.parse()?;
        let text = |name: &str| profile.get(name).and_then(|v| v.as_str()).unwrap_or("");
        let pinned: Hash = text("genesis_hash").parse()?;
        let genesis: Envelope = serde_json::from_str(&read("genesis.json")?)?;
        let chain = BundleChain::from_genesis(&genesis, pinned)?;
        let authority = read("ca/ca.pem")?;
        let own = dir.join("coordinators").join(COORDINATOR);
        let tls = TlsIdentity::from_pem(
            &std::fs::read_to_string(own.join("tls.pem"))?,
            &std::fs::read_to_string(own.join("tls.key"))?,
            &authority,
        )?;
        let bundle = BundleHandle::new(chain.active().clone());
        let coordinator_address = text("coordinator")
            .strip_prefix("https://")
            .ok_or("the profile has no coordinator")?
            .to_owned();
        let mut deployment = Self {
            coordinator_key: read_identity_key(&own.join("statement.key"))?,
            payments_key: read_identity_key(&dir.join("members/payments/statement.key"))?,
            dir,
            program,
            _temporary: temporary,
            children: Vec::new(),
            bundle,
            clients: BTreeMap::new(),
            coordinator_address,
            authority,
        };
        for (node, file) in deployment.node_configs()? {
            let config = NodeConfig::load(&file)?;
            let client = NodeClient::new(
                node.clone(),
                &format!("https://{}", config.listen),
                &tls,
                deployment.bundle.clone(),
                ClientLimits::default(),
            )?;
            deployment.clients.insert(node, client);
        }
        Ok(deployment)
    }

    /// The nodes in order.
    pub fn nodes(&self) -> Vec<MemberId> {
        self.clients.keys().cloned().collect()
    }

    /// Process ids of the nodes, and of the coordinator.
    pub fn processes(&self) -> (Vec<u32>, Vec<u32>) {
        let of = |coordinator: bool| {
            let chosen = self
                .children
                .iter()
                .filter(|(member, _)| (member.as_str() == COORDINATOR) == coordinator);
            chosen.map(|(_, child)| child.id()).collect()
        };
        (of(false), of(true))
    }

    fn node_configs(&self) -> Outcome<Vec<(MemberId, PathBuf)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.dir.join("nodes"))? {
            let entry = entry?;
            let member = MemberId::new(entry.file_name().to_string_lossy().into_owned())?;
            found.push((member, entry.path().join("node.toml")));
        }
        found.sort();
        Ok(found)
    }

    /// Starts every process.
    pub fn start_processes(&mut self) -> Outcome<()> {
        let mut all: Vec<(MemberId, &str, PathBuf)> = self
            .node_configs()?
            .into_iter()
            .map(|(member, config)| (member, "node", config))
            .collect();
        let own = self.dir.join("coordinators").join(COORDINATOR);
        let coordinator = MemberId::new(COORDINATOR)?;
        all.push((coordinator, "coordinator", own.join("coordinator.toml")));
        std::fs::create_dir_all(self.dir.join("logs"))?;
        for (member, role, config) in all {
            let log = self.dir.join("logs").join(format!("{member}.log"));
            let child = Command::new(&self.program)
                .arg(role)
                .arg("--config")
                .arg(config)
                // It ends with this pipe: also when this process is killed.
                .arg("--until-input-ends")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(log)?)
                .spawn()?;
            self.children.push((member, child));
        }
        Ok(())
    }

    /// Waits until all of them answer.
    pub async fn wait_until_ready(&self) -> Outcome<()> {
        let deadline = Instant::now() + START;
        let waited_for = |what: &str| format!("{what}; see {}", self.dir.join("logs").display());
        for client in self.clients.values() {
            loop {
                let answer: Result<Bundles, _> = client.get_json(path::BUNDLES, CALL).await;
                match answer {
                    Ok(bundles) => {
                        self.follow(&bundles)?;
                        break;
                    }
                    Err(error) if Instant::now() > deadline => {
                        return Err(waited_for(&error.to_string()).into());
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        }
        while tokio::net::TcpStream::connect(&self.coordinator_address)
            .await
            .is_err()
        {
            if Instant::now() > deadline {
                return Err(waited_for("the coordinator does not answer").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Verifies a node's chain and follows it.
    fn follow(&self, bundles: &Bundles) -> Outcome<()> {
        let [genesis, rest @ ..] = bundles.chain.as_slice() else {
            return Err("a node follows no bundle".into());
        };
        let pinned = self.bundle.current().directory().genesis();
        let mut chain = BundleChain::from_genesis(genesis, pinned)?;
        for next in rest {
            chain.append(next, now())?;
        }
        self.bundle.replace(chain.active().clone());
        Ok(())
    }

    /// Makes the protocol's key together with its wallet and rule, unless this deployment has it.
    pub async fn make_key(&self, protocol: Protocol, threshold: u16) -> Outcome<Duration> {
        let id = protocol.as_str().parse()?;
        let started = Instant::now();
        if self.bundle.current().key(&id).is_none() {
            let change = self.dir.join(format!("load-{protocol}.toml"));
            std::fs::write(&change, policy::of(protocol))?;
            let mut ceremony = Command::new(&self.program);
            ceremony.args(["ceremony", "--key", protocol.as_str()]);
            ceremony.args(["--protocol", protocol.as_str(), "--json"]);
            ceremony.args(["--threshold", &threshold.to_string()]);
            ceremony.arg("--change").arg(change);
            ceremony.arg("--profile").arg(self.dir.join("client.toml"));
            run(&mut ceremony)?;
        }
        for client in self.clients.values() {
            let bundles: Bundles = client.get_json(path::BUNDLES, CALL).await?;
            self.follow(&bundles)?;
        }
        Ok(started.elapsed())
    }

    /// Ends every process, and waits for it.
    pub fn stop_processes(&mut self) {
        for (_, child) in &mut self.children {
            drop(child.stdin.take());
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        for (_, child) in &mut self.children {
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = child.kill();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.children.clear();
    }

    /// The first node's configuration.
    pub fn first_node_config(&self) -> Outcome<PathBuf> {
        let first = self.node_configs()?.into_iter().next();
        Ok(first.ok_or("no node")?.1)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.stop_processes();
    }
}

/// Fills each pool once and leaves it alone until it is nearly empty, so that no filling runs beside a measurement.
fn set_watermarks(config: &Path, high: usize) -> Outcome<()> {
    let mut table: toml::Table = std::fs::read_to_string(config)?.parse()?;
    let mut pools = toml::Table::new();
    pools.insert(
        "low".to_owned(),
        LOW.min(i64::try_from(high.max(1))?).into(),
    );
    pools.insert("high".to_owned(), i64::try_from(high.max(1))?.into());
    pools.insert("capacity".to_owned(), 4096.into());
    table.insert("presignatures".to_owned(), pools.into());
    // Primes for groups to come would be made in the background, for minutes.
    let resources = table
        .entry("resources")
        .or_insert_with(|| toml::Table::new().into());
    if let Some(resources) = resources.as_table_mut() {
        resources.insert("spare_primes".to_owned(), 0.into());
    }
    std::fs::write(config, table.to_string())?;
    Ok(())
}

fn run(command: &mut Command) -> Outcome<()> {
    let done = command.stdin(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = [done.stdout, done.stderr].concat();
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&said)).into())
}
