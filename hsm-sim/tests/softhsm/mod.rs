//! A test on a SoftHSM token of its own, in a process of its own: a PKCS#11 module has one state a process, and reads the environment.
#![allow(dead_code)] // each test file uses its part

use countersign_hsm_sim::{
    CONTROL, FLAG, FLAG_VALUE, MEMORY, MODULE, PLAN, TRACE, find_softhsm, module_path,
};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const LABEL: &str = "test token";
pub const PIN: &str = "canary-user-pin-7391";
pub const SO_PIN: &str = "canary-so-pin-5502";
/// 1.3.132.0.10 in DER.
pub const SECP256K1: [u8; 7] = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
/// 1.3.101.112 in DER.
pub const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];

const INSIDE: &str = "HSM_SIM_TEST_FOLDER";

/// The folder of a test: token, plan, trace, control sockets.
pub struct Place(PathBuf);

impl Place {
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn trace(&self) -> String {
        std::fs::read_to_string(self.path("trace")).unwrap_or_default()
    }

    /// Sends a command to this process' own simulator.
    pub fn command(&self, line: &str) -> String {
        let mut answers = countersign_hsm_sim::command_all(&self.path("control"), line).unwrap();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    /// Acts by another plan from now on.
    pub fn plan(&self, text: &str) {
        let path = self.path("next.toml");
        std::fs::write(&path, text).unwrap();
        self.command(&format!("plan {}", path.display()));
    }
}

/// Runs the body in a process of its own, with the simulator's plan. The test fails as the body does.
pub fn alone(test: &str, plan: &str, body: impl FnOnce(&Place)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return body(&Place(folder.into()));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = child(test, folder.path(), plan, |_| {});
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    // A wrong name would run no test, and succeed.
    assert!(
        output.status.success() && out.contains("test result: ok. 1 passed"),
        "{out}\n{err}"
    );
}

/// Runs this very test once more, in the folder; in there, `alone` runs the body. Makes the token if there is none yet.
pub fn child(test: &str, folder: &Path, plan: &str, change: impl FnOnce(&mut Command)) -> Output {
    std::fs::write(folder.join("plan.toml"), plan).unwrap();
    let conf = folder.join("softhsm2.conf");
    if !conf.exists() {
        let tokens = folder.join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        std::fs::create_dir(folder.join("control")).unwrap();
        std::fs::write(
            &conf,
            format!(
                "directories.tokendir = {}\nobjectstore.backend = file\n",
                tokens.display()
            ),
        )
        .unwrap();
        let made = Command::new("softhsm2-util")
            .args([
                "--init-token",
                "--free",
                "--label",
                LABEL,
                "--so-pin",
                SO_PIN,
                "--pin",
                PIN,
            ])
            .env("SOFTHSM2_CONF", &conf)
            .output()
            .expect("softhsm2-util: run scripts/setup.sh test");
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, folder)
        .env("SOFTHSM2_CONF", &conf)
        .env(FLAG, FLAG_VALUE)
        .env(
            MODULE,
            find_softhsm().expect("SoftHSM: run scripts/setup.sh test"),
        )
        .env(PLAN, folder.join("plan.toml"))
        .env(CONTROL, folder.join("control"))
        .env(TRACE, folder.join("trace"))
        .env_remove(MEMORY);
    change(&mut command);
    command.output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The simulator, not initialised.
pub fn load() -> Pkcs11 {
    Pkcs11::new(module_path().expect("the module is built with this test")).unwrap()
}

/// SoftHSM itself.
pub fn load_real() -> Pkcs11 {
    Pkcs11::new(find_softhsm().unwrap()).unwrap()
}

pub fn initialize(module: &Pkcs11) -> Result<(), Error> {
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
}

/// The simulator, initialised, and the slot of the test's token.
pub fn start() -> (Pkcs11, Slot) {
    let module = load();
    initialize(&module).unwrap();
    let slot = find(&module).expect("the test's token");
    (module, slot)
}

pub fn find(module: &Pkcs11) -> Option<Slot> {
    let slots = module.get_slots_with_token().unwrap();
    slots.into_iter().find(|slot| {
        module
            .get_token_info(*slot)
            .is_ok_and(|info| info.label() == LABEL)
    })
}

pub fn login(session: &Session) -> Result<(), Error> {
    session.login(UserType::User, Some(&AuthPin::new(PIN.into())))
}

/// A session that is logged in, and a secp256k1 key pair: public, private.
pub fn ready(module: &Pkcs11, slot: Slot) -> (Session, ObjectHandle, ObjectHandle) {
    let session = module.open_rw_session(slot).unwrap();
    login(&session).unwrap();
    let (public, private) =
        generate(&session, &Mechanism::EccKeyPairGen, KeyType::EC, &SECP256K1).unwrap();
    (session, public, private)
}

pub fn generate(
    session: &Session,
    mechanism: &Mechanism,
    kind: KeyType,
    curve: &[u8],
) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let public = [
        Attribute::Token(true),
        Attribute::KeyType(kind),
        Attribute::Verify(true),
        Attribute::EcParams(curve.to_vec()),
        Attribute::Id(vec![7]),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::KeyType(kind),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Id(vec![7]),
    ];
    session.generate_key_pair(mechanism, &public, &private)
}

pub fn ed25519() -> Mechanism<'static> {
    Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519))
}

pub const DIGEST: [u8; 32] = *b"CANARY-DIGEST-3f1b9c-0123456789a";

/// A signature over the canary digest.
pub fn sign(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::Ecdsa, key, &DIGEST)
}

/// The return value of what failed; panics on success.
pub fn failure<T: std::fmt::Debug>(result: Result<T, Error>) -> RvError {
    match result {
        Err(Error::Pkcs11(code, _)) => code,
        other => panic!("a return value was expected: {other:?}"),
    }
}

/// A plan with this behind its head.
pub fn plan(rest: &str) -> String {
    format!("version = 1\nseed = 11\n{rest}")
}

/// A plan with one fault.
pub fn fault(function: &str, rest: &str) -> String {
    plan(&format!("[[fault]]\nfunction = \"{function}\"\n{rest}\n"))
}
