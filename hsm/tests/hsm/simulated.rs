//! A SoftHSM behind the simulator, with keys, and plans that change while the worker runs.

use std::path::PathBuf;
use std::time::Duration;

use countersign_hsm::{
    Device, HsmClient, HsmConfig, KeyHandle, KeyKind, Prehash, PublicPoint, Sealed, Secret32,
};
use countersign_hsm_sim::{
    CONTROL, FLAG, FLAG_VALUE, MEMORY, MODULE as REAL, PLAN, command_all, module_path,
};
use k256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _};

use crate::token::{MODULE, Softhsm, id};

pub struct Simulated {
    pub softhsm: Softhsm,
    pub hsm: HsmClient,
    pub k1: KeyHandle,
    pub ed: KeyHandle,
    pub sealed: Sealed,
    pub config: HsmConfig,
}

/// Where the sealed key belongs.
pub const PLACE: &[u8] = b"place";

/// The configuration that puts the simulator in front.
pub fn config(softhsm: &Softhsm, plan: &str) -> HsmConfig {
    let control = softhsm.path("control");
    std::fs::create_dir_all(&control).unwrap();
    std::fs::write(softhsm.path("plan.toml"), plan).unwrap();
    let mut config = softhsm.config("test");
    config.module = module_path().expect("cargo builds the simulator beside this test");
    config.sessions = 1;
    let path = |name: &str| softhsm.path(name).display().to_string();
    config.environment.extend([
        (FLAG.to_owned(), FLAG_VALUE.to_owned()),
        (REAL.to_owned(), MODULE.to_owned()),
        (PLAN.to_owned(), path("plan.toml")),
        (CONTROL.to_owned(), path("control")),
        (MEMORY.to_owned(), path("memory")),
    ]);
    config
}

pub const NOTHING: &str = "version = 1\nseed = 1\n";

impl Simulated {
    pub fn new(change: impl FnOnce(&mut HsmConfig)) -> Self {
        Self::on(Softhsm::new(), change)
    }

    pub fn on(softhsm: Softhsm, change: impl FnOnce(&mut HsmConfig)) -> Self {
        let plain = softhsm.client();
        let make = |kind, name| {
            let public = plain
                .generate_key_pair_blocking(kind, &id(name), name)
                .unwrap();
            plain.open_key_blocking(&id(name), public).unwrap()
        };
        let (k1, ed) = (make(KeyKind::Secp256k1, "k1"), make(KeyKind::Ed25519, "ed"));
        plain.generate_kek_blocking(&id("kek"), "kek").unwrap();
        plain.generate_canary_blocking().unwrap();
        let sealed = plain
            .wrap_blocking(&id("kek"), PLACE, &Secret32::new(&[9; 32]))
            .unwrap();
        drop(plain);
        let mut config = config(&softhsm, NOTHING);
        change(&mut config);
        let hsm = HsmClient::start(config.clone()).unwrap();
        Self {
            softhsm,
            hsm,
            k1,
            ed,
            sealed,
            config,
        }
    }

    fn control(&self) -> PathBuf {
        self.softhsm.path("control")
    }

    /// Acts by another plan from now on.
    pub fn plan(&self, text: &str) {
        let path = self.softhsm.path("next.toml");
        std::fs::write(&path, text).unwrap();
        let told = self.command(&format!("plan {}", path.display()));
        assert_eq!(told, 1, "one process was told: {text}");
    }

    pub fn command(&self, line: &str) -> usize {
        command_all(&self.control(), line).unwrap().len()
    }

    /// Another client, after one that stopped. A person has unlocked the PIN.
    pub fn again(&mut self) {
        let _ = std::fs::remove_file(self.softhsm.path("memory"));
        let config = self.config.clone();
        self.hsm = HsmClient::start(config).unwrap();
    }

    pub fn sign(&self) -> Result<(), countersign_hsm::HsmError> {
        let signed = self
            .hsm
            .sign_prehash_blocking(&self.k1, Prehash::new([3; 32]))?;
        let key = VerifyingKey::from_sec1_bytes(self.k1.public().as_bytes()).unwrap();
        let signature = Signature::from_slice(&signed.bytes).unwrap();
        key.verify_prehash(&[3; 32], &signature)
            .expect("nothing leaves that does not verify");
        Ok(())
    }

    pub fn sign_message(&self) -> Result<(), countersign_hsm::HsmError> {
        let signed = self.hsm.sign_ed25519_blocking(&self.ed, b"message")?;
        let PublicPoint::Ed25519(point) = self.ed.public() else {
            panic!()
        };
        let key = ed25519_dalek::VerifyingKey::from_bytes(point).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(&signed);
        key.verify_strict(b"message", &signature)
            .expect("nothing leaves that does not verify");
        Ok(())
    }

    pub fn wrap(&self) -> Result<(), countersign_hsm::HsmError> {
        let sealed = self
            .hsm
            .wrap_blocking(&id("kek"), PLACE, &Secret32::new(&[8; 32]))?;
        self.plan(NOTHING);
        let opened = self
            .hsm
            .unwrap_blocking(&id("kek"), PLACE, &sealed)
            .expect("what was sealed opens");
        assert_eq!(opened.expose(), &[8; 32]);
        Ok(())
    }

    pub fn unwrap(&self) -> Result<(), countersign_hsm::HsmError> {
        let opened = self.hsm.unwrap_blocking(&id("kek"), PLACE, &self.sealed)?;
        assert_eq!(opened.expose(), &[9; 32], "the right key or none");
        Ok(())
    }

    /// Private keys in the token now, by another program's eyes: the module itself.
    pub fn private_keys(&self) -> Vec<Vec<u8>> {
        let plain = self.softhsm.client();
        let mut ids: Vec<_> = plain
            .keys_blocking()
            .unwrap()
            .into_iter()
            .map(|key| key.id)
            .collect();
        ids.sort();
        ids
    }
}

/// The configuration for a device, on its profile.
pub fn device(softhsm: &Softhsm, device: Device, profile: &str) -> HsmConfig {
    let plan = format!("version = 1\nseed = 1\nprofile = \"{profile}\"\n");
    let mut config = config(softhsm, &plan);
    config.device = device;
    config.sessions = 3;
    config.deadline_ms = Duration::from_secs(4).as_millis().try_into().unwrap();
    config
}
