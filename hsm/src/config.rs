//! The `[hsm]` section: which module, which token, which quirks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::uri::{Pkcs11Uri, UriError};

/// A PKCS#11 module and the token in it. Relative paths are relative to the file in which this stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmConfig {
    /// The vendor's PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token, as an RFC 7512 URI: `pkcs11:token=LABEL;serial=NUMBER`. Never a slot number.
    pub token: Pkcs11Uri,
    /// A file with the token's user PIN, mode 0600. None: a person types it (cold machines).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_file: Option<PathBuf>,
    /// The program that loads the module. None: `countersign-hsm-worker` beside the running program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<PathBuf>,
    /// The environment of that program: what the module needs (`SOFTHSM2_CONF`, `ChrystokiConfigurationPath`), and nothing that is
    /// secret. It gets no other variables but PATH, HOME, LANG and TZ.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Sessions that sign at once, 1 to 64. One more holds the login.
    #[serde(default = "default_sessions")]
    pub sessions: usize,
    /// Milliseconds that a request may take when its caller does not say.
    #[serde(default = "default_deadline")]
    pub deadline_ms: u64,
    /// A call that has not returned after so many milliseconds hangs: the program is killed and started anew.
    #[serde(default = "default_hang")]
    pub hang_after_ms: u64,
    /// What to do when the token says that a wrong PIN was entered since the last login.
    #[serde(default)]
    pub pin_count_low: CountLow,
    /// The device: sets the quirks.
    #[serde(default)]
    pub device: Device,
    /// Quirks that differ from what the device has by itself.
    #[serde(default, skip_serializing_if = "QuirkOverrides::is_empty")]
    pub quirks: QuirkOverrides,
}

fn default_sessions() -> usize {
    4
}

fn default_deadline() -> u64 {
    5_000
}

fn default_hang() -> u64 {
    10_000
}

/// What to do at `CKF_USER_PIN_COUNT_LOW`. At the last try (`CKF_USER_PIN_FINAL_TRY`) a login is never tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountLow {
    /// Log in, and say so.
    #[default]
    Warn,
    /// Do not log in.
    Refuse,
}

/// Devices whose quirks are known: see `docs/hsm.md`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// By the book (PKCS#11 2.40 and the curves of 3.0).
    #[default]
    Standard,
    /// SoftHSM 2.6 or 2.7: for development and tests. It protects nothing against whoever reads its files.
    Softhsm,
    /// Yubico YubiHSM 2.
    Yubihsm2,
    /// AWS CloudHSM, client SDK 5.
    Cloudhsm,
    /// Thales Luna 7.
    Luna,
    /// Nitrokey NetHSM.
    Nethsm,
}

/// Who makes the initialization vector of AES-GCM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GcmIv {
    /// This program, from the system's random numbers.
    #[default]
    Host,
    /// The module: zero on input, written back.
    Module,
}

/// How the curve Ed25519 is named in `CKA_EC_PARAMS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ed25519Params {
    /// The object identifier of RFC 8410, 1.3.101.112.
    #[default]
    Oid,
    /// The text `edwards25519`, as PKCS#11 3.0 says.
    Name,
    /// The object identifier of GNU, 1.3.6.1.4.1.11591.15.1.
    GnuOid,
}

/// Attributes that every key must have, one for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAttribute {
    /// `CKA_SENSITIVE` is true.
    Sensitive,
    /// `CKA_ALWAYS_SENSITIVE` is true.
    AlwaysSensitive,
    /// `CKA_EXTRACTABLE` is false.
    Extractable,
    /// `CKA_NEVER_EXTRACTABLE` is true.
    NeverExtractable,
    /// `CKA_LOCAL` is true: made in the token.
    Local,
    /// `CKA_MODIFIABLE` is false.
    Modifiable,
    /// `CKA_COPYABLE` is false.
    Copyable,
}

/// How a device differs from the standard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quirks {
    /// There are no read-only sessions.
    pub only_read_write_sessions: bool,
    /// Who makes AES-GCM's initialization vector.
    pub gcm_iv: GcmIv,
    /// How Ed25519 is named.
    pub ed25519_params: Ed25519Params,
    /// Attributes that the device does not know: neither asked for when a key is made, nor demanded afterwards. Each is a promise
    /// less; `countersign hsm doctor` lists them.
    pub unknown_attributes: Vec<KeyAttribute>,
    /// Attributes that the device keeps by itself and does not take in a template.
    pub fixed_attributes: Vec<KeyAttribute>,
}

/// Quirks, each only where it is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuirkOverrides {
    /// See [`Quirks::only_read_write_sessions`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_read_write_sessions: Option<bool>,
    /// See [`Quirks::gcm_iv`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcm_iv: Option<GcmIv>,
    /// See [`Quirks::ed25519_params`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ed25519_params: Option<Ed25519Params>,
    /// See [`Quirks::unknown_attributes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_attributes: Option<Vec<KeyAttribute>>,
    /// See [`Quirks::fixed_attributes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_attributes: Option<Vec<KeyAttribute>>,
}

impl QuirkOverrides {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Device {
    /// What is known of the device.
    pub fn quirks(self) -> Quirks {
        let standard = Quirks {
            only_read_write_sessions: false,
            gcm_iv: GcmIv::Host,
            ed25519_params: Ed25519Params::Oid,
            unknown_attributes: Vec::new(),
            fixed_attributes: Vec::new(),
        };
        match self {
            // Neither of the last two has AES-GCM; that shows in their mechanisms.
            Self::Standard | Self::Softhsm | Self::Yubihsm2 | Self::Nethsm => standard,
            Self::Cloudhsm => Quirks {
                only_read_write_sessions: true,
                gcm_iv: GcmIv::Module,
                // Not among the attributes that its documentation lists.
                unknown_attributes: vec![KeyAttribute::Copyable],
                ..standard
            },
            Self::Luna => Quirks {
                gcm_iv: GcmIv::Module,
                ed25519_params: Ed25519Params::GnuOid,
                ..standard
            },
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HsmConfigError {
    /// The token's URI.
    #[error("hsm: token")]
    Token(#[from] UriError),
    /// The token's URI names a key, or no token.
    #[error(
        "hsm: token must name a token by label or serial number, and no key: pkcs11:token=LABEL;serial=NUMBER"
    )]
    NoToken,
    /// A number is out of bounds.
    #[error("hsm: {0}")]
    Value(&'static str),
    /// The environment holds what looks like a secret.
    #[error(
        "hsm: environment sets {0}, which looks like a secret: environments can be read by others; use pin_file"
    )]
    Secret(String),
    /// The worker cannot be found.
    #[error("there is no {WORKER} beside {0}: install it there, or set hsm.worker")]
    NoWorker(String),
}

/// The program that loads the module.
const WORKER: &str = "countersign-hsm-worker";

/// The most sessions that are used: more than any device serves at once.
pub(crate) const MAX_SESSIONS: usize = 64;

impl HsmConfig {
    /// A configuration with everything else at its default.
    ///
    /// # Errors
    /// [`HsmConfigError`].
    pub fn new(
        module: impl Into<PathBuf>,
        token: &str,
        pin_file: impl Into<PathBuf>,
    ) -> Result<Self, HsmConfigError> {
        let config = Self {
            module: module.into(),
            token: token.parse()?,
            pin_file: Some(pin_file.into()),
            worker: None,
            environment: BTreeMap::new(),
            sessions: default_sessions(),
            deadline_ms: default_deadline(),
            hang_after_ms: default_hang(),
            pin_count_low: CountLow::default(),
            device: Device::default(),
            quirks: QuirkOverrides::default(),
        };
        config.check()?;
        Ok(config)
    }

    /// Checks what a file said.
    ///
    /// # Errors
    /// [`HsmConfigError`] says which setting, and why.
    pub fn check(&self) -> Result<(), HsmConfigError> {
        let Pkcs11Uri {
            token,
            serial,
            object,
            id,
            ..
        } = &self.token;
        if (token.is_none() && serial.is_none()) || object.is_some() || id.is_some() {
            return Err(HsmConfigError::NoToken);
        }
        if !(1..=MAX_SESSIONS).contains(&self.sessions) {
            return Err(HsmConfigError::Value("sessions must be 1 to 64"));
        }
        if !(10..=600_000).contains(&self.deadline_ms)
            || !(10..=600_000).contains(&self.hang_after_ms)
        {
            return Err(HsmConfigError::Value(
                "deadline_ms and hang_after_ms must be 10 to 600000",
            ));
        }
        let secret = |name: &&String| {
            let name = name.to_ascii_uppercase();
            ["PIN", "PASSWORD", "PASSPHRASE", "SECRET"]
                .iter()
                .any(|word| {
                    name.split(|c: char| !c.is_ascii_alphanumeric())
                        .any(|part| part == *word)
                })
        };
        match self.environment.keys().find(secret) {
            Some(name) => Err(HsmConfigError::Secret(name.clone())),
            None => Ok(()),
        }
    }

    /// Makes relative paths relative to a folder.
    pub fn resolve(&mut self, folder: &Path) {
        self.module = folder.join(&self.module);
        for path in [&mut self.pin_file, &mut self.worker].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// The device's quirks with those that the configuration sets.
    pub fn quirks(&self) -> Quirks {
        let mut quirks = self.device.quirks();
        let set = self.quirks.clone();
        if let Some(value) = set.only_read_write_sessions {
            quirks.only_read_write_sessions = value;
        }
        if let Some(value) = set.gcm_iv {
            quirks.gcm_iv = value;
        }
        if let Some(value) = set.ed25519_params {
            quirks.ed25519_params = value;
        }
        if let Some(value) = set.unknown_attributes {
            quirks.unknown_attributes = value;
        }
        if let Some(value) = set.fixed_attributes {
            quirks.fixed_attributes = value;
        }
        quirks
    }

    /// How long a request may take when its caller does not say.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    pub(crate) fn hang_after(&self) -> Duration {
        Duration::from_millis(self.hang_after_ms)
    }
}

/// Finds the program that loads the module: as configured, or beside the running program (of a test: one folder up).
///
/// # Errors
/// [`HsmConfigError::NoWorker`].
pub fn find_worker(configured: Option<&Path>) -> Result<PathBuf, HsmConfigError> {
    if let Some(path) = configured {
        return Ok(path.to_owned());
    }
    let me = std::env::current_exe().map_err(|e| HsmConfigError::NoWorker(e.to_string()))?;
    let beside = me.parent().unwrap_or(Path::new("."));
    let mut folders = vec![beside];
    if beside.file_name().is_some_and(|name| name == "deps") {
        folders.extend(beside.parent());
    }
    folders
        .iter()
        .map(|folder| folder.join(WORKER))
        .find(|path| path.is_file())
        .ok_or_else(|| HsmConfigError::NoWorker(me.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> HsmConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_device_sets_quirks_and_the_file_has_the_last_word() {
        let text = r#"
            module = "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so"
            token = "pkcs11:token=hsm1"
            pin_file = "hsm.pin"
            device = "cloudhsm"
            [quirks]
            only_read_write_sessions = false
        "#;
        let config = parse(text);
        config.check().unwrap();
        assert_eq!(config.quirks().gcm_iv, GcmIv::Module);
        assert!(!config.quirks().only_read_write_sessions);
        assert_eq!(config.quirks().unknown_attributes, [KeyAttribute::Copyable]);
    }

    #[test]
    fn what_would_be_unsafe_is_refused() {
        let good = HsmConfig::new("m.so", "pkcs11:token=a", "pin").unwrap();
        assert_eq!(
            HsmConfig::new("m.so", "pkcs11:", "pin"),
            Err(HsmConfigError::NoToken)
        );
        assert_eq!(
            HsmConfig::new("m.so", "pkcs11:token=a;id=%01", "pin"),
            Err(HsmConfigError::NoToken)
        );
        let secret = HsmConfig {
            environment: [("HSM_PIN".to_owned(), "1".to_owned())].into(),
            ..good.clone()
        };
        assert_eq!(
            secret.check(),
            Err(HsmConfigError::Secret("HSM_PIN".into()))
        );
        let pinned = HsmConfig {
            environment: [("SPINNING".to_owned(), "1".to_owned())].into(),
            ..good.clone()
        };
        pinned.check().unwrap();
        for sessions in [0, 65] {
            assert!(
                HsmConfig {
                    sessions,
                    ..good.clone()
                }
                .check()
                .is_err()
            );
        }
        assert!(
            toml::from_str::<HsmConfig>("module = 'a'\ntoken = 'pkcs11:token=a'\nslot = 1")
                .is_err()
        );
        assert!(toml::from_str::<HsmConfig>("module = 'a'\ntoken = 'pkcs11:slot-id=1'").is_err());
    }
}
