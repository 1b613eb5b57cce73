//! A node's configuration file (TOML).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use countersign_hsm::{HsmConfig, Pkcs11Uri};
use countersign_policy::{Hash, MemberId};

/// Everything a node is told at start. Relative paths are relative to the file's folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The node's member id in the policy bundle.
    pub node: MemberId,
    /// Address and port to listen on, for coordinators and peers alike.
    pub listen: SocketAddr,
    /// Address and port at which anybody can bring a freeze, an unfreeze, a veto or a cancel, without a certificate: those
    /// statements prove themselves. None: only members reach this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency_listen: Option<SocketAddr>,
    /// Folder of the sealed store; made if it is missing.
    pub data_dir: PathBuf,
    /// The node's statement key: 64 hexadecimal digits, mode 0600.
    pub identity_key_file: PathBuf,
    /// Certificate chain of the node's TLS key (PEM), vouched for by the identity key.
    pub tls_certificate_file: PathBuf,
    /// The TLS private key (PEM), mode 0600.
    pub tls_key_file: PathBuf,
    /// The deployment's certificate authority (PEM).
    pub tls_ca_file: PathBuf,
    /// The passphrase from which the key that seals the store is derived, mode 0600. With `kek`, what sealed the store before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// The key in the token of `[hsm]` that seals the store: `pkcs11:id=%01%02`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kek: Option<Pkcs11Uri>,
    /// The key in the same token that sealed the store before: the node opens with it once, and seals anew with `kek`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kek_before: Option<Pkcs11Uri>,
    /// The genesis policy bundle (a DSSE envelope).
    pub genesis_file: PathBuf,
    /// Its digest: the root of this node's trust.
    pub genesis_hash: Hash,
    /// Base URL of each other node, `https://host:port`.
    pub peers: BTreeMap<MemberId, String>,
    /// The PKCS#11 token with the node's keys, and with `kek`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsm: Option<HsmConfig>,
    /// CGGMP24 presignatures kept in memory.
    #[serde(default)]
    pub presignatures: PresignatureConfig,
    /// Bounds on what the node uses.
    #[serde(default)]
    pub resources: ResourceConfig,
}

/// Watermarks of the presignature pools, per key, path and signer set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PresignatureConfig {
    /// Filling starts below this many presignatures.
    pub low: usize,
    /// Filling stops at this many presignatures, at most 256.
    pub high: usize,
    /// At most this many presignatures in all pools together.
    pub capacity: usize,
}

impl Default for PresignatureConfig {
    fn default() -> Self {
        Self {
            low: 4,
            high: 16,
            capacity: 4096,
        }
    }
}

/// Bounds on threads, memory and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceConfig {
    /// Threads for signing; each running signature holds one while it waits for its peers.
    pub signing_threads: usize,
    /// Threads for background work: key generation, primes, presignatures.
    pub background_threads: usize,
    /// Decoded key shares kept in memory, in mebibytes.
    pub share_cache_mib: usize,
    /// Sessions that may be open at once.
    pub max_sessions: usize,
    /// Sets of CGGMP24 safe primes made ahead in the background and kept sealed for the next group of nodes, 0 to 4. A set
    /// takes about 90 s of CPU, once.
    pub spare_primes: usize,
    /// Seconds that peers get to confirm and to answer in each signature.
    pub sign_timeout_seconds: u64,
    /// Seconds that a ceremony may take in all.
    pub ceremony_timeout_seconds: u64,
    /// So many different requests of one payment service, each validly signed and refused by policy or a limit within
    /// `auto_freeze_window_seconds`, make this node freeze the service. 0: never.
    pub auto_freeze_refusals: usize,
    /// The window for `auto_freeze_refusals`, in seconds.
    pub auto_freeze_window_seconds: u64,
}

impl Default for ResourceConfig {
    fn default() -> Self {
        Self {
            signing_threads: 32,
            background_threads: 4,
            share_cache_mib: 64,
            max_sessions: 1024,
            spare_primes: 1,
            sign_timeout_seconds: 10,
            ceremony_timeout_seconds: 3600,
            auto_freeze_refusals: 100,
            auto_freeze_window_seconds: 600,
        }
    }
}

/// Nodes tell each other all of their presignatures by name, so that none stays whose other half is gone.
pub(crate) const MAX_HIGH: usize = 256;
/// Every set serves one group of nodes; nobody founds many in a row.
const MAX_SPARE_PRIMES: usize = 4;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// It is no configuration.
    #[error("configuration {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// A value is out of bounds.
    #[error("configuration: {0}")]
    Value(String),
}

impl NodeConfig {
    /// Reads a file and makes its paths absolute.
    ///
    /// # Errors
    /// [`ConfigError`] with the place in the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|e| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(e),
        })?;
        config.check()?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        for file in [
            &mut config.data_dir,
            &mut config.identity_key_file,
            &mut config.tls_certificate_file,
            &mut config.tls_key_file,
            &mut config.tls_ca_file,
            &mut config.genesis_file,
        ]
        .into_iter()
        .chain(&mut config.passphrase_file)
        {
            *file = folder.join(&*file);
        }
        if let Some(hsm) = &mut config.hsm {
            hsm.resolve(&folder);
        }
        Ok(config)
    }

    fn check_sealing(&self) -> Result<(), ConfigError> {
        let fail = |what: &str| Err(ConfigError::Value(what.to_owned()));
        if let Some(hsm) = &self.hsm {
            hsm.check().map_err(|e| ConfigError::Value(e.to_string()))?;
        }
        if self.kek.is_none() && (self.passphrase_file.is_none() || self.kek_before.is_some()) {
            return fail(
                "what seals the store? set passphrase_file, or kek (and [hsm]); kek_before goes with kek only",
            );
        }
        let keks = [&self.kek, &self.kek_before];
        for kek in keks.into_iter().flatten() {
            if self.hsm.is_none() {
                return fail("kek is a key in a token: set [hsm] as well");
            }
            let only_an_id = Pkcs11Uri {
                id: kek.id.clone(),
                ..Pkcs11Uri::default()
            };
            if kek.id.is_none() || *kek != only_an_id {
                return fail("kek and kek_before name a key by its id alone: pkcs11:id=%01%02");
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        let fail = |what: &str| Err(ConfigError::Value(what.to_owned()));
        self.check_sealing()?;
        if self.peers.contains_key(&self.node) {
            return fail("peers names the node itself");
        }
        if let Some((peer, url)) = self
            .peers
            .iter()
            .find(|(_, url)| !url.starts_with("https://"))
        {
            return Err(ConfigError::Value(format!(
                "the URL of peer {peer} is {url}; it must start with https://"
            )));
        }
        let PresignatureConfig {
            low,
            high,
            capacity,
        } = self.presignatures;
        if low > high || high > capacity {
            return fail("presignatures: low <= high <= capacity must hold");
        }
        if high > MAX_HIGH {
            return Err(ConfigError::Value(format!(
                "presignatures: high is {high}, at most {MAX_HIGH} are kept per key, path and signer set"
            )));
        }
        let r = &self.resources;
        if r.signing_threads == 0
            || r.background_threads == 0
            || r.max_sessions == 0
            || r.sign_timeout_seconds == 0
        {
            return fail("resources: threads, sessions and timeouts must be at least 1");
        }
        if r.spare_primes > MAX_SPARE_PRIMES {
            return Err(ConfigError::Value(format!(
                "resources: spare_primes is {}, at most {MAX_SPARE_PRIMES} sets are kept",
                r.spare_primes
            )));
        }
        Ok(())
    }
}
