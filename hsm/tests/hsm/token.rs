//! A SoftHSM token of one's own.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use countersign_hsm::{Device, HsmClient, HsmConfig, KeyId, Provision};

pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const PIN: &str = "canary-pin-7391";
pub const SO_PIN: &str = "canary-so-pin-5520";

/// A folder with SoftHSM's configuration, its tokens and the PIN files.
pub struct Softhsm {
    pub folder: tempfile::TempDir,
    /// Where tests share a process, one at a time: some look for the processes they started.
    _alone: Option<MutexGuard<'static, ()>>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Softhsm {
    /// An empty folder: no token yet.
    pub fn empty() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        until("earlier tests' processes end", || workers().is_empty());
        Self::with(Some(alone))
    }

    fn with(alone: Option<MutexGuard<'static, ()>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("tokens")).unwrap();
        let text = format!(
            "directories.tokendir = {}/tokens\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            path.display()
        );
        std::fs::write(path.join("softhsm.conf"), text).unwrap();
        secret(&path.join("pin"), PIN);
        secret(&path.join("so-pin"), SO_PIN);
        Self {
            folder,
            _alone: alone,
        }
    }

    /// A second one in the same test.
    pub fn beside() -> Self {
        let softhsm = Self::with(None);
        softhsm.provision("test");
        softhsm
    }

    /// With one token, `test`, and the canary in it.
    pub fn new() -> Self {
        let softhsm = Self::empty();
        softhsm.provision("test");
        softhsm
    }

    pub fn provision(&self, label: &str) -> String {
        HsmClient::provision(&self.config(label), self.wanted(label)).unwrap()
    }

    pub fn wanted(&self, label: &str) -> Provision {
        Provision {
            label: label.to_owned(),
            so_pin_file: self.path("so-pin"),
            pin_file: self.path("pin"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config(&self, label: &str) -> HsmConfig {
        let token = format!("pkcs11:token={label}");
        let mut config = HsmConfig::new(MODULE, &token, self.path("pin")).unwrap();
        config.device = Device::Softhsm;
        config.worker = Some(env!("CARGO_BIN_EXE_countersign-hsm-worker").into());
        config.sessions = 3;
        let conf = self.path("softhsm.conf").display().to_string();
        config.environment.insert("SOFTHSM2_CONF".into(), conf);
        config
    }

    pub fn client(&self) -> HsmClient {
        HsmClient::start(self.config("test")).unwrap()
    }

    /// The one token's folder.
    pub fn token_folder(&self) -> PathBuf {
        let mut found = std::fs::read_dir(self.path("tokens")).unwrap();
        found.next().unwrap().unwrap().path()
    }
}

pub fn secret(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

pub fn id(text: &str) -> KeyId {
    KeyId::new(text.as_bytes().to_vec()).unwrap()
}

/// The processes of this test that use a token.
pub fn workers() -> Vec<u32> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the name, in parentheses: state, then the parent.
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        let mut fields = tail.split_whitespace();
        let (state, parent) = (fields.next().unwrap_or("Z"), fields.next().unwrap_or(""));
        if head.contains("countersign-hsm") && parent == me && state != "Z" {
            found.push(pid);
        }
    }
    found
}

pub fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// Waits until something holds.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
