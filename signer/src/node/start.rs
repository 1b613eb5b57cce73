//! Starting and stopping a node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use countersign_hsm::HsmClient;
use countersign_policy::Envelope;

use super::bundles::FollowedChain;
use super::config::NodeConfig;
use super::sealing::{Sealing, start_hsm};
use super::service::{Intake, Service, router};
use super::spread::{self, Spread};
use crate::ceremony::{Ceremonies, PrimeMaker};
use crate::clock::{ClockWatch, now};
use crate::files::{read_identity_key, read_secret_file};
use crate::net::{
    ClientLimits, EmergencyServer, NodeClient, PeerLimits, PeerNetwork, Refusals, Refused, Server,
    ServerLimits, TlsIdentity,
};
use crate::process::forbid_core_dumps;
use crate::session::{
    Engine, EngineParts, PoolFiller, Questions, Registration, ShareCache, clocks, ledgers, starts,
};
use crate::store::{Cause, OpenMode, Store, StoreOptions};
use crate::threshold::{LaneLimits, PresignaturePool, Watermarks, Workers};
use crate::token::{HsmToken, TokenKeys};

/// Why a node does not start. The text says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    service: Arc<Service>,
    server: Server,
    emergency: Option<EmergencyServer>,
    hsm: Option<HsmClient>,
    tasks: Vec<JoinHandle<()>>,
}

pub(super) fn failed(what: &str) -> impl Fn(&dyn std::error::Error) -> StartError + '_ {
    move |error| {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        StartError(text)
    }
}

fn read(file: &std::path::Path) -> Result<String, StartError> {
    std::fs::read_to_string(file)
        .map_err(|e| StartError(format!("cannot read {}: {e}", file.display())))
}

impl Node {
    /// Opens the store, verifies the bundle chain from the pinned genesis, aborts what an earlier process left open
    /// (I10), and listens.
    ///
    /// # Errors
    /// [`StartError`] with the file or setting at fault.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let identity = Arc::new(
            read_identity_key(&config.identity_key_file).map_err(|e| failed("identity key")(&e))?,
        );
        let genesis: Envelope = serde_json::from_str(&read(&config.genesis_file)?)
            .map_err(|e| failed("genesis bundle")(&e))?;
        let hsm = start_token(&config).await?;
        let store = open_store(&config, &identity, OpenMode::Existing, hsm.as_ref()).await?;
        let chain = FollowedChain::open(&store, &genesis, config.genesis_hash)
            .await
            .map_err(|e| failed("policy bundle")(&e))?;
        let bundle = chain.handle();
        let active = bundle.current();
        let keys = active
            .member(&config.node)
            .map(|m| m.keys.as_slice())
            .unwrap_or_default();
        if !keys.iter().any(|k| k.public_key == identity.public()) {
            return Err(StartError(format!(
                "the policy bundle gives {} no key {}: wrong identity file, or wrong node id in the configuration",
                config.node,
                identity.public()
            )));
        }
        let tls = tls_identity(&config)?;
        let clients = clients(&config, &tls, &bundle)?;
        clocks::require_not_back(&store, now(), active.skew_seconds())
            .map_err(|e| failed("clock")(&e))?;
        let start = store.begin_start().await;
        let registration = Arc::new(Registration::new(start.map_err(|e| failed("store")(&e))?));
        // Before anything is written: what an old copy of the store would write now contradicts what it signed before.
        starts::register_with_all(&store, &clients, &bundle, &registration)
            .await
            .map_err(|e| failed("store")(&e))?;
        for open in store
            .open_sessions()
            .await
            .map_err(|e| failed("store")(&e))?
        {
            store
                .abort(open.session, "the node restarted", now())
                .await
                .map_err(|e| failed("store")(&e))?;
        }
        let (refusals, refused) = Refusals::channel();
        let peers = PeerNetwork::start_telling(
            config.node.clone(),
            clients,
            PeerLimits::default(),
            refusals.clone(),
        );
        let r = config.resources;
        let workers = Workers::start(
            LaneLimits {
                threads: r.signing_threads,
                queue: r.max_sessions,
            },
            LaneLimits {
                threads: r.background_threads,
                queue: 256,
            },
        );
        let watermarks = Watermarks {
            low: config.presignatures.low,
            high: config.presignatures.high,
        };
        let engine = Arc::new(Engine::new(EngineParts {
            me: config.node.clone(),
            identity,
            bundle: bundle.clone(),
            store,
            peers: peers.clone(),
            registration,
            questions: Questions::default(),
            watch: ClockWatch::new(now(), Instant::now()),
            workers: Arc::new(workers.map_err(|e| failed("threads")(&e))?),
            pool: Arc::new(PresignaturePool::new(
                watermarks,
                config.presignatures.capacity,
            )),
            primes: PrimeMaker::default(),
            shares: ShareCache::new(r.share_cache_mib.saturating_mul(1 << 20)),
            tokens: hsm
                .clone()
                .map(|client| TokenKeys::new(Arc::new(HsmToken::new(client)))),
            resources: r,
            presignatures: config.presignatures,
        }));
        let ceremonies = Ceremonies::start_up(Arc::clone(&engine))
            .await
            .map_err(|e| failed("ceremonies")(&e))?;
        let filler = PoolFiller::new(Arc::clone(&engine));
        let service = Arc::new(Service {
            engine,
            ceremonies,
            filler,
            chain,
            spread: Spread::default(),
            intake: Intake::default(),
        });
        let routes = router(Arc::clone(&service)).merge(peers.router());
        let limits = ServerLimits::default();
        let server =
            Server::bind_telling(config.listen, &tls, bundle, routes, limits, refusals).await;
        let server = server.map_err(|e| failed("listening")(&e))?;
        let emergency = match config.emergency_listen {
            Some(address) => {
                let routes = super::emergency::router(Arc::clone(&service));
                let bound = EmergencyServer::bind(address, &tls, routes).await;
                Some(bound.map_err(|e| failed("emergency port")(&e))?)
            }
            None => None,
        };
        let mut tasks = background(&service);
        tasks.push(tokio::spawn(record_refusals(Arc::clone(&service), refused)));
        tracing::info!(node = %config.node, address = %server.local_address(), "the node is ready");
        Ok(Self {
            service,
            server,
            emergency,
            hsm,
            tasks,
        })
    }

    /// Seals the store with the key that the configuration names now, while the node works on. The section `[hsm]` is read at a
    /// start only.
    ///
    /// # Errors
    /// [`StartError`]; the store is sealed as before then.
    pub async fn reseal(&self, config: &NodeConfig) -> Result<(), StartError> {
        let sealing = Sealing::new(config, self.hsm.as_ref())?;
        sealing.reseal(&self.service.engine.parts().store).await
    }

    /// What a hang-up signal (SIGHUP) asks for: reads the configuration again, and [`Self::reseal`]. Failures are logged.
    pub async fn reseal_from(&self, file: &std::path::Path) {
        let done = match NodeConfig::load(file) {
            Ok(config) => self.reseal(&config).await,
            Err(error) => Err(failed("configuration")(&error)),
        };
        match done {
            Ok(()) => tracing::info!("the store is sealed as configured"),
            Err(error) => tracing::error!(%error, "the store is sealed as before"),
        }
    }

    /// The token of `[hsm]`, if there is one.
    pub fn hsm(&self) -> Option<&HsmClient> {
        self.hsm.as_ref()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.local_address()
    }

    /// Where it takes statements without a certificate.
    pub fn emergency_address(&self) -> Option<SocketAddr> {
        self.emergency.as_ref().map(EmergencyServer::local_address)
    }

    /// What it answers from.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Accepts nothing more, lets running calls end, and closes the store.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.service.engine.parts().primes.stop();
        if let Some(emergency) = self.emergency {
            emergency.shutdown().await;
        }
        self.server.shutdown().await;
        self.service.engine.parts().store.close().await;
    }
}

/// Creates a new node's store, before its first start. A node whose store is gone must never begin again from nothing:
/// it would have forgotten what it signed. So this refuses when there is a store, and a start refuses when there is none.
///
/// # Errors
/// [`StartError`].
pub async fn create_store(config: &NodeConfig) -> Result<(), StartError> {
    let identity = Arc::new(
        read_identity_key(&config.identity_key_file).map_err(|e| failed("identity key")(&e))?,
    );
    let hsm = start_token(config).await?;
    open_store(config, &identity, OpenMode::CreateNew, hsm.as_ref())
        .await?
        .close()
        .await;
    Ok(())
}

/// Seals the store of a node that does not run with the key that the configuration names now.
///
/// # Errors
/// [`StartError`]; the store is sealed as before then.
pub async fn rekey_store(config: &NodeConfig) -> Result<(), StartError> {
    let identity = Arc::new(
        read_identity_key(&config.identity_key_file).map_err(|e| failed("identity key")(&e))?,
    );
    let hsm = start_token(config).await?;
    // Opening does it.
    let store = open_store(config, &identity, OpenMode::Existing, hsm.as_ref()).await?;
    store.close().await;
    Ok(())
}

/// A token takes its time to log in, or to say that it does not.
async fn start_token(config: &NodeConfig) -> Result<Option<HsmClient>, StartError> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || start_hsm(&config))
        .await
        .map_err(|e| failed("token")(&e))?
}

async fn open_store(
    config: &NodeConfig,
    identity: &Arc<countersign_policy::IdentityKey>,
    mode: OpenMode,
    hsm: Option<&HsmClient>,
) -> Result<Store, StartError> {
    std::fs::create_dir_all(&config.data_dir).map_err(|e| failed("data folder")(&e))?;
    let sealing = Sealing::new(config, hsm)?;
    let path = config.data_dir.join("signer.sqlite");
    let options = StoreOptions {
        path,
        node: config.node.clone(),
        genesis: config.genesis_hash,
        mode,
    };
    sealing.open(&options, Arc::clone(identity)).await
}

fn tls_identity(config: &NodeConfig) -> Result<TlsIdentity, StartError> {
    let certificate = read(&config.tls_certificate_file)?;
    let key = read_secret_file(&config.tls_key_file).map_err(|e| failed("TLS key")(&e))?;
    let key = std::str::from_utf8(&key).map_err(|e| failed("TLS key")(&e))?;
    TlsIdentity::from_pem(&certificate, key, &read(&config.tls_ca_file)?)
        .map_err(|e| failed("TLS identity")(&e))
}

fn clients(
    config: &NodeConfig,
    tls: &TlsIdentity,
    bundle: &crate::net::BundleHandle,
) -> Result<Vec<NodeClient>, StartError> {
    let mut clients = Vec::new();
    for (peer, url) in &config.peers {
        let client = NodeClient::new(
            peer.clone(),
            url,
            tls,
            bundle.clone(),
            ClientLimits::default(),
        );
        clients.push(client.map_err(|e| failed("peer")(&e))?);
    }
    Ok(clients)
}

/// How often the ledger is pushed to peers that lack entries.
const PUSH_INTERVAL: Duration = Duration::from_millis(500);
/// How often expired sessions are ended.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often an idle node looks at its pools.
const FILL_INTERVAL: Duration = Duration::from_millis(300);

/// How often a node looks whether a ceremony took its spare primes.
const PRIMES_INTERVAL: Duration = Duration::from_secs(5);

fn background(service: &Arc<Service>) -> Vec<JoinHandle<()>> {
    let sweeper = Arc::clone(service);
    let sweep = tokio::spawn(async move {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            sweeper.engine.sweep().await;
            let parts = sweeper.engine.parts();
            clocks::tend(parts).await;
            // A store fault shows at the next thing that matters.
            let _ = starts::record_when_complete(parts).await;
            let _ = sweeper.chain.tend(parts).await;
        }
    });
    let filling = Arc::clone(service);
    let fill = tokio::spawn(async move {
        loop {
            if !filling.filler.fill().await {
                tokio::time::sleep(FILL_INTERVAL).await;
            }
        }
    });
    let making = Arc::clone(service);
    let primes = tokio::spawn(async move {
        let parts = making.engine.parts();
        loop {
            if let Err(reason) = parts.primes.keep(parts, parts.resources.spare_primes).await {
                tracing::warn!(%reason, "no spare primes");
            }
            tokio::time::sleep(PRIMES_INTERVAL).await;
        }
    });
    let mut tasks = vec![sweep, fill, primes];
    let members: Vec<_> = service.engine.parts().peers.peers().cloned().collect();
    for peer in members {
        let (giving, to) = (Arc::clone(service), peer.clone());
        tasks.push(tokio::spawn(async move {
            spread::keep_giving(&giving, &to).await;
        }));
        let pushing = Arc::clone(service);
        tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(PUSH_INTERVAL).await;
                if let Err(error) = ledgers::push(pushing.engine.parts(), &peer).await {
                    tracing::debug!(%peer, error, "the ledger was not pushed");
                }
            }
        }));
    }
    tasks
}

/// Records what the transport turned away. All strangers share one budget: they have no names.
async fn record_refusals(service: Arc<Service>, mut refused: mpsc::Receiver<(Refused, u64)>) {
    while let Some((refusal, lost)) = refused.recv().await {
        let Refused {
            caller,
            operation,
            subject,
            mut problem,
        } = refusal;
        if lost > 0 {
            problem.detail = format!("{} (and {lost} not recorded before it)", problem.detail);
        }
        let caller = caller.map_or_else(|| "strangers".to_owned(), |c| c.to_string());
        let subject = (operation, subject.as_str());
        let engine = &service.engine;
        engine
            .record(Cause::Refused(caller), subject, "refused", &problem)
            .await;
    }
}

/// Runs a node from its configuration file until the process is asked to stop (SIGTERM or SIGINT); SIGHUP seals its store anew
/// when the configuration names another key.
///
/// # Errors
/// [`StartError`] when it does not start.
pub async fn run(config: &std::path::Path) -> Result<(), StartError> {
    forbid_core_dumps().map_err(|e| failed("process")(&e))?;
    let file = config;
    let config = NodeConfig::load(file).map_err(|e| failed("configuration")(&e))?;
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .map_err(|e| failed("signals")(&e))?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|e| failed("signals")(&e))?;
    let node = Node::start(config).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            _ = hangup.recv() => node.reseal_from(file).await,
        }
    }
    tracing::info!("stopping");
    node.stop().await;
    Ok(())
}
