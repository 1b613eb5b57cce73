//! What the way to a token adds to a signature: SoftHSM called bare, and through the client with its process, deadlines and
//! verification, in the same run with the same threads.
//!
//! SoftHSM must be installed, and `countersign-hsm-worker` built (`cargo build --release -p countersign-hsm`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs
)]

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use countersign_hsm::{
    Device, HsmClient, HsmConfig, KeyHandle, KeyId, KeyKind, Prehash, Provision,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "bench-pin";
const CONF: &str = "SOFTHSM2_CONF";

/// SoftHSM reads its configuration from the environment of the process: so this process starts itself once more.
fn in_a_folder_of_its_own() -> bool {
    if std::env::var_os(CONF).is_some() {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tokens")).unwrap();
    let conf = folder.path().join("softhsm.conf");
    let text = format!(
        "directories.tokendir = {}/tokens\nlog.level = ERROR\n",
        folder.path().display()
    );
    std::fs::write(&conf, text).unwrap();
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(CONF, &conf)
        .status()
        .unwrap();
    assert!(status.success());
    false
}

fn config(folder: &Path, sessions: usize) -> HsmConfig {
    let mut config = HsmConfig::new(MODULE, "pkcs11:token=bench", folder.join("pin")).unwrap();
    config.device = Device::Softhsm;
    config.sessions = sessions;
    config
        .environment
        .insert(CONF.into(), std::env::var(CONF).unwrap());
    config
}

fn id(number: u32) -> KeyId {
    KeyId::new(number.to_be_bytes().to_vec()).unwrap()
}

fn provisioned() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["pin", "so-pin"] {
        countersign_hsm::files::write_secret_file(&folder.path().join(name), PIN.as_bytes())
            .unwrap();
    }
    let wanted = Provision {
        label: "bench".into(),
        so_pin_file: folder.path().join("so-pin"),
        pin_file: folder.path().join("pin"),
    };
    HsmClient::provision(&config(folder.path(), 1), wanted).unwrap();
    folder
}

fn key(hsm: &HsmClient, number: u32) -> KeyHandle {
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id(number), "")
        .unwrap();
    hsm.open_key_blocking(&id(number), public).unwrap()
}

/// A session and a handle of the module itself, in this process.
struct Bare {
    module: Pkcs11,
    slot: Slot,
    /// Keeps the login; a session is for one thread at a time.
    _keeper: Mutex<Session>,
}

impl Bare {
    fn new() -> Self {
        let module = Pkcs11::new(MODULE).unwrap();
        module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .unwrap();
        let slot = module.get_slots_with_initialized_token().unwrap()[0];
        let keeper = module.open_ro_session(slot).unwrap();
        keeper
            .login(UserType::User, Some(&AuthPin::new(PIN.into())))
            .unwrap();
        Self {
            module,
            slot,
            _keeper: Mutex::new(keeper),
        }
    }

    fn session(&self, number: u32) -> (Session, ObjectHandle) {
        let session = self.module.open_ro_session(self.slot).unwrap();
        let template = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Id(number.to_be_bytes().to_vec()),
        ];
        let handle = session.find_objects(&template).unwrap()[0];
        (session, handle)
    }
}

/// So many signatures, divided among threads; the time they took.
fn divided(count: u64, threads: u64, sign: impl Fn(u64) + Sync) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (sign, share) = (&sign, count / threads + u64::from(thread < count % threads));
            scope.spawn(move || sign(share));
        }
    });
    begun.elapsed()
}

fn signatures(c: &mut Criterion) {
    if !in_a_folder_of_its_own() {
        return;
    }
    let folder = provisioned();
    let hsm = HsmClient::start(config(folder.path(), 4)).unwrap();
    let one = key(&hsm, 0);
    let bare = Bare::new();
    let mut group = c.benchmark_group("hsm/sign-secp256k1");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 4] {
        group.bench_function(BenchmarkId::new("softhsm", threads), |b| {
            b.iter_custom(|count| {
                divided(count, threads, |share| {
                    let (session, handle) = bare.session(0);
                    for _ in 0..share {
                        session.sign(&Mechanism::Ecdsa, handle, &[7; 32]).unwrap();
                    }
                })
            });
        });
        group.bench_function(BenchmarkId::new("client", threads), |b| {
            b.iter_custom(|count| {
                divided(count, threads, |share| {
                    for _ in 0..share {
                        hsm.sign_prehash_blocking(&one, Prehash::new([7; 32]))
                            .unwrap();
                    }
                })
            });
        });
    }
    // 1,000 keys: what each signature takes when the token is full, in turn over all of them.
    let keys: Vec<_> = (1..1000).map(|number| key(&hsm, number)).collect();
    for key in &keys {
        hsm.sign_prehash_blocking(key, Prehash::new([7; 32]))
            .unwrap();
    }
    group.bench_function(BenchmarkId::new("client-1000-keys", 1), |b| {
        let mut next = keys.iter().cycle();
        b.iter(|| {
            hsm.sign_prehash_blocking(next.next().unwrap(), Prehash::new([7; 32]))
                .unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, signatures);
criterion_main!(benches);
