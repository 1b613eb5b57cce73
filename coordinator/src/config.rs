//! The coordinator's configuration file (TOML).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use countersign_policy::{Hash, IdentityPublicKey, MemberId};

/// Everything a coordinator is told at start. Relative paths are relative to the file's folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// The coordinator's member id in the policy bundle.
    pub member: MemberId,
    /// Its statement key: 64 hexadecimal digits, mode 0600.
    pub identity_key_file: PathBuf,
    /// Address and port of the API; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain (PEM) for the API and towards the nodes, vouched for by the identity key.
    pub tls_certificate_file: PathBuf,
    /// The TLS private key (PEM), mode 0600.
    pub tls_key_file: PathBuf,
    /// The deployment's certificate authority (PEM).
    pub tls_ca_file: PathBuf,
    /// `sqlite:FILE` (the default kind; made if it is missing) or `postgres://USER@HOST/DATABASE`. A URL with a password is
    /// taken from a file of mode 0600 only; otherwise PostgreSQL's own `PGPASSWORD` and `PGPASSFILE` give it.
    pub database_url: String,
    /// The genesis policy bundle (a DSSE envelope).
    pub genesis_file: PathBuf,
    /// Its digest.
    pub genesis_hash: Hash,
    /// Base URL of each node, `https://host:port`.
    pub nodes: BTreeMap<MemberId, String>,
    /// Keys that sign read tokens. A member may have several; none may be anybody's statement key.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
    /// Bounds on time.
    #[serde(default)]
    pub timing: TimingConfig,
    /// Bounds on what clients may use.
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// A member's key for read tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Whose it is.
    pub member: MemberId,
    /// Ed25519, 64 hexadecimal digits.
    pub public_key: IdentityPublicKey,
}

/// Bounds on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// Life of an authorization in seconds, if the bundle allows that much.
    pub authorization_seconds: u64,
    /// How long a node may take to answer a prepare, in milliseconds.
    pub prepare_timeout_ms: u64,
    /// How long the nodes may take to sign, in milliseconds. Should exceed their own bound.
    pub sign_timeout_ms: u64,
    /// How long a node may take to answer anything else, in milliseconds.
    pub call_timeout_ms: u64,
    /// How long a process keeps a request without a sign of life, in milliseconds.
    pub lease_ms: u64,
    /// How often unfinished requests, bundles and nodes are looked after, in milliseconds.
    pub sweep_ms: u64,
}

impl Default for TimingConfig {
    fn default() -> Self {
        Self {
            authorization_seconds: 60,
            prepare_timeout_ms: 3_000,
            sign_timeout_ms: 15_000,
            call_timeout_ms: 5_000,
            lease_ms: 6_000,
            sweep_ms: 1_000,
        }
    }
}

/// Bounds on what clients may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Open connections at once.
    pub max_connections: usize,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Requests that this process works on at once; more are taken up when there is room.
    pub max_running: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_connections: 1_024,
            max_body_bytes: 2 << 20,
            max_running: 2_048,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// It is no configuration.
    #[error("configuration {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is out of bounds.
    #[error("configuration: {0}")]
    Value(String),
}

impl CoordinatorConfig {
    /// Reads a file and makes its paths absolute.
    ///
    /// # Errors
    /// [`ConfigError`] with the place in the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let mode = std::fs::metadata(path).map_err(read)?.mode();
        let mut config: Self = toml::from_str(&text).map_err(|e| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(e),
        })?;
        if has_password(&config.database_url) && mode & 0o077 != 0 {
            return Err(ConfigError::Value(format!(
                "database_url holds a password, and others can read {}; run chmod 600 on it",
                path.display()
            )));
        }
        config.check()?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    /// Checks what types alone do not say.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail = |what: String| Err(ConfigError::Value(what));
        if self.nodes.is_empty() {
            return fail("nodes names no node".to_owned());
        }
        if let Some((node, url)) = self.nodes.iter().find(|(_, u)| !u.starts_with("https://")) {
            return fail(format!(
                "the URL of node {node} is {url}; it must start with https://"
            ));
        }
        if let Some(key) = self.api_keys.iter().find(|k| !k.public_key.is_usable()) {
            return fail(format!("the API key of {} is no Ed25519 key", key.member));
        }
        let mut seen = BTreeMap::new();
        for key in &self.api_keys {
            if let Some(other) = seen.insert(key.public_key, &key.member) {
                return fail(format!(
                    "{other} and {} share an API key: one key, one use",
                    key.member
                ));
            }
        }
        let TimingConfig {
            authorization_seconds,
            prepare_timeout_ms,
            sign_timeout_ms,
            call_timeout_ms,
            lease_ms,
            sweep_ms,
        } = self.timing;
        for (name, value, least, most) in [
            ("authorization_seconds", authorization_seconds, 1, 600),
            ("prepare_timeout_ms", prepare_timeout_ms, 1, 60_000),
            ("sign_timeout_ms", sign_timeout_ms, 1, 600_000),
            ("call_timeout_ms", call_timeout_ms, 1, 60_000),
            ("lease_ms", lease_ms, 100, 600_000),
            ("sweep_ms", sweep_ms, 10, 60_000),
        ] {
            if value < least || value > most {
                return fail(format!("timing.{name} must be {least} to {most}"));
            }
        }
        let limits = self.limits;
        if limits.max_connections == 0 || limits.max_body_bytes < 1_024 || limits.max_running == 0 {
            return fail(
                "limits: at least one connection, one running request and 1024 bytes".to_owned(),
            );
        }
        Ok(())
    }

    fn resolve(&mut self, folder: &Path) {
        for file in [
            &mut self.identity_key_file,
            &mut self.tls_certificate_file,
            &mut self.tls_key_file,
            &mut self.tls_ca_file,
            &mut self.genesis_file,
        ] {
            *file = folder.join(&*file);
        }
        let file = self.database_url.strip_prefix("sqlite:");
        if let Some(file) = file.filter(|f| !f.starts_with('/') && !f.starts_with(":memory:")) {
            self.database_url = format!("sqlite:{}", folder.join(file).display());
        }
    }
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_configuration_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/coordinator.toml");
        let config = CoordinatorConfig::load(&path).unwrap();
        assert_eq!(config.timing, TimingConfig::default());
        assert_eq!(config.limits, LimitsConfig::default());
        assert!(
            config.identity_key_file.is_absolute()
                || config.identity_key_file.starts_with(path.parent().unwrap())
        );
    }

    #[test]
    fn what_is_unknown_or_out_of_bounds_is_refused() {
        let sample = include_str!("../../deploy/coordinator.toml");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        for (change, says) in [
            (format!("unknown = 1\n{sample}"), "unknown"),
            (sample.replace("https://", "http://"), "https"),
            (
                sample.replace("lease_ms = 6000", "lease_ms = 1"),
                "lease_ms",
            ),
        ] {
            std::fs::write(&path, change).unwrap();
            let error = CoordinatorConfig::load(&path).unwrap_err();
            let text = format!("{error} {:?}", error);
            assert!(text.contains(says), "{text}");
        }
    }

    #[test]
    fn a_database_password_needs_a_private_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let sample = include_str!("../../deploy/coordinator.toml");
        let line = sample
            .lines()
            .find(|l| l.starts_with("database_url"))
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let text = sample.replace(
            line,
            "database_url = \"postgres://me:secret@db/countersign\"",
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = CoordinatorConfig::load(&path).unwrap_err().to_string();
        assert!(
            error.contains("chmod 600") && !error.contains("secret"),
            "{error}"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        CoordinatorConfig::load(&path).unwrap();
    }
}
