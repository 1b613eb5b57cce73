//! Starting and stopping a coordinator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_policy::bundle::{BundleChain, ChainError, Role};
use countersign_policy::{Envelope, IdentityPublicKey, MemberId};
use countersign_signer::files::{SecretFileError, read_identity_key, read_secret_file};
use countersign_signer::net::{BundleHandle, ClientError, IdentityError, TlsIdentity};
use tokio::task::JoinHandle;

use crate::api::{Server, ServerError, router};
use crate::config::{ConfigError, CoordinatorConfig};
use crate::core::{Core, random_hex};
use crate::db::{Datastore, DbError, Lease};
use crate::freezes;
use crate::nodes::{NodeApi, TlsNodes};
use crate::orchestrate;

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that should be there.
    #[error("file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A file with a secret.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The genesis file is no envelope.
    #[error("genesis file {path}")]
    Genesis {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// The bundles do not form a chain from the pinned genesis.
    #[error("the policy bundles do not form a chain from the pinned genesis: {0}")]
    Chain(String),
    /// The genesis is not the pinned one, or not acceptable.
    #[error("the genesis bundle is not acceptable")]
    GenesisBundle(#[source] ChainError),
    /// The configured member is no coordinator, or has another key.
    #[error("{0}")]
    Member(String),
    /// The certificates.
    #[error("unusable TLS identity")]
    Identity(#[from] IdentityError),
    /// A node's URL.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The database.
    #[error("the database cannot be used")]
    Db(#[from] DbError),
    /// The API.
    #[error("the API cannot be served")]
    Server(#[from] ServerError),
}

/// A coordinator that is about to run.
#[derive(Debug)]
pub struct Coordinator;

/// A running coordinator. Dropping it ends it as a crash would; [`Running::shutdown`] gives its work to others first.
pub struct Running {
    core: Arc<Core>,
    server: Option<Server>,
    upkeep: JoinHandle<()>,
}

impl Coordinator {
    /// Reads what the configuration names, opens the database, connects to the nodes when they are first needed, and
    /// serves the API.
    ///
    /// # Errors
    /// [`StartError`] says which file, member or address.
    pub async fn start(config: CoordinatorConfig) -> Result<Running, StartError> {
        let certificate = read(&config.tls_certificate_file)?;
        let key = read_secret_file(&config.tls_key_file)?;
        let authority = read(&config.tls_ca_file)?;
        let key = String::from_utf8_lossy(&key).into_owned();
        let identity = TlsIdentity::from_pem(&certificate, &key, &authority)?;
        let urls = config.nodes.clone();
        let timing = config.timing;
        let connect = move |bundle: &BundleHandle| -> Result<Arc<dyn NodeApi>, StartError> {
            Ok(Arc::new(TlsNodes::new(&urls, &identity, bundle, &timing)?))
        };
        Self::start_with(config, connect).await
    }

    /// The same with another way to reach the nodes: for tests that put faults in between.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(
        config: CoordinatorConfig,
        connect: impl FnOnce(&BundleHandle) -> Result<Arc<dyn NodeApi>, StartError>,
    ) -> Result<Running, StartError> {
        config.check()?;
        let identity = read_identity_key(&config.identity_key_file)?;
        let genesis: Envelope =
            serde_json::from_str(&read(&config.genesis_file)?).map_err(|source| {
                StartError::Genesis {
                    path: config.genesis_file.clone(),
                    source,
                }
            })?;
        let mut chain = BundleChain::from_genesis(&genesis, config.genesis_hash)
            .map_err(StartError::GenesisBundle)?;
        let store = Datastore::open(&config.database_url).await?;
        let restored = orchestrate::restore(&mut chain, &store).await;
        restored.map_err(|e| StartError::Chain(e.to_string()))?;
        check_member(&chain, &config.member, identity.public())?;
        let bundle = BundleHandle::new(chain.active().clone());
        let nodes = connect(&bundle)?;
        let mut api_keys: BTreeMap<MemberId, Vec<IdentityPublicKey>> = BTreeMap::new();
        for key in &config.api_keys {
            api_keys
                .entry(key.member.clone())
                .or_default()
                .push(key.public_key);
        }
        let millis = i64::try_from(config.timing.lease_ms).unwrap_or(i64::MAX);
        let instance = format!("{}/{}", config.member, random_hex());
        let core = Arc::new(Core {
            me: config.member.clone(),
            identity,
            store,
            lease: Lease::new(instance, millis),
            nodes,
            bundle,
            chain: tokio::sync::Mutex::new(chain),
            health: Default::default(),
            pools: Default::default(),
            works: Default::default(),
            freezes: Default::default(),
            pauses: Default::default(),
            api_keys,
            timing: config.timing,
            limits: config.limits,
            stopping: AtomicBool::new(false),
        });
        // Before anything is decided.
        freezes::follow(&core).await?;
        let certificate = read(&config.tls_certificate_file)?;
        let key = read_secret_file(&config.tls_key_file)?;
        let key = String::from_utf8_lossy(&key).into_owned();
        let bound = Server::bind(
            config.listen,
            &certificate,
            &key,
            config.limits.max_connections,
        )
        .await?;
        let address = bound.0.local_addr().map_err(|source| ServerError::Bind {
            address: config.listen,
            source,
        })?;
        let server = Server::serve(bound, address, router(Arc::clone(&core)));
        let upkeep = tokio::spawn(orchestrate::upkeep(Arc::clone(&core)));
        tracing::info!(member = %core.me, %address, instance = core.lease.instance(), "the coordinator runs");
        Ok(Running {
            core,
            server: Some(server),
            upkeep,
        })
    }
}

impl Running {
    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.server
            .as_ref()
            .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), Server::address)
    }

    /// Answers running calls, gives unfinished requests to other coordinators, and ends.
    pub async fn shutdown(mut self) {
        self.core.stopping.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        self.upkeep.abort();
        self.core.works.abort_all();
        if let Err(error) = self.core.store.release_all(&self.core.lease).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "leases could not be given back; they run out"
            );
        }
        self.core.store.close().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.core.stopping.store(true, Ordering::Relaxed);
        if let Some(server) = &self.server {
            server.abort();
        }
        self.upkeep.abort();
        self.core.works.abort_all();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({} at {})", self.core.me, self.address())
    }
}

fn read(path: &std::path::Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}

fn check_member(
    chain: &BundleChain,
    me: &MemberId,
    key: IdentityPublicKey,
) -> Result<(), StartError> {
    let active = chain.active();
    let fail = |what: String| Err(StartError::Member(what));
    let Some(member) = active.member(me) else {
        return fail(format!("the policy bundle has no member {me}"));
    };
    if !active.has_role(me, Role::Coordinator) {
        return fail(format!(
            "{me} does not have the role coordinator in the policy bundle"
        ));
    }
    if !member.keys.iter().any(|k| k.public_key == key) {
        return fail(format!(
            "the identity key is not one that the policy bundle gives {me}"
        ));
    }
    Ok(())
}
