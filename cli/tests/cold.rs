//! A cold withdrawal on a real SoftHSM: every command of the machine runs as a process of its own in an empty network namespace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use countersign_policy::bundle::{ActivationEvidence, Environment, KeyRecord, KeyState};
use countersign_policy::cold::{MachineAnswer, OrderPackage, RequestPackage, ResponsePackage};
use countersign_policy::statement::{AckStage, CeremonyTranscript, KeyCeremony, SignRequest};
use countersign_policy::testing::cold::{COLD_KEY, COLD_WALLET, VAULT};
use countersign_policy::testing::transaction::{EXCHANGE, Tron, usdt_erc20};
use countersign_policy::testing::{TestDeployment, key_id, member};
use countersign_policy::{Envelope, Facts, Hash, Network, Protocol, Timestamp};
use tempfile::TempDir;

/// The folder where the worker was built: beside this program's own.
fn worker() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_countersign"));
    program.with_file_name("countersign-hsm-worker")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// A machine with a SoftHSM token of its own, and the deployment that it belongs to.
struct Vault {
    folder: TempDir,
    deployment: TestDeployment,
    /// The bundle that pins the machine's key, with the acknowledgements of all nodes.
    pinned: Option<ActivationEvidence>,
}

impl Vault {
    /// A machine whose key is made in its token, by an order, and pinned by the second bundle. None without SoftHSM and worker.
    fn new() -> Self {
        let mut deployment = TestDeployment::at(3, 2, now());
        deployment.add_single_keys();
        deployment.add_groups();
        deployment.add_ledger_group();
        deployment.add_machine(VAULT);
        let folder = tempfile::tempdir().unwrap();
        let mut vault = Self {
            folder,
            deployment,
            pinned: None,
        };
        vault.provision();
        vault.make_key();
        vault
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_secret(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A SoftHSM token of its own, and the machine's files.
    fn provision(&self) {
        let token = self.path("token");
        let made = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["hsm", "provision", "--development"])
            .arg(&token)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        let seed = self.deployment.identity(VAULT).to_seed();
        self.write_secret("token/identity.key", &hex::encode(*seed));
        self.write_secret("token/passphrase", "correct horse battery staple");
        let hsm = fs::read_to_string(token.join("hsm.toml")).unwrap();
        let head = format!(
            "machine = \"{VAULT}\"\ngenesis_hash = \"{}\"\ndata_dir = \"data\"\nidentity_key_file = \"identity.key\"\n\
             passphrase_file = \"passphrase\"\n",
            self.deployment.genesis_hash()
        );
        // `kek` stands before the section in what the provisioner writes; the machine seals with its passphrase.
        let section = &hsm[hsm.find("[hsm]").unwrap()..];
        fs::write(token.join("vault.toml"), format!("{head}\n{section}")).unwrap();
    }

    /// `countersign cold ...` in a process without any network.
    fn offline(&self, arguments: &[&str]) -> Output {
        Command::new("unshare")
            .args([
                "--map-root-user",
                "--net",
                env!("CARGO_BIN_EXE_countersign"),
                "cold",
            ])
            .args(arguments)
            .env("COUNTERSIGN_VAULT", self.path("token/vault.toml"))
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn make_key(&mut self) {
        let order = self.deployment.ceremony(KeyCeremony {
            key: key_id(COLD_KEY),
            protocol: Protocol::Pkcs11Secp256k1,
            threshold: 1,
            max_faulty: 0,
            nodes: vec![member(VAULT)],
            purpose: "cold wallets".to_owned(),
            environment: Environment::Test,
        });
        let genesis = ActivationEvidence {
            bundle: self.deployment.genesis(),
            acks: Vec::new(),
        };
        let package =
            OrderPackage::new(self.deployment.genesis_hash(), vec![genesis], order.clone());
        fs::write(self.path("order.json"), package.to_bytes().unwrap()).unwrap();
        let made = self.offline(&["key", "order.json", "-o", "transcript.json"]);
        assert!(made.status.success(), "{}", text(&made));
        let transcript: Envelope =
            serde_json::from_slice(&fs::read(self.path("transcript.json")).unwrap()).unwrap();
        let active = self.deployment.bundle();
        let transcript = active
            .directory()
            .open::<CeremonyTranscript>(&transcript)
            .unwrap();
        let content = transcript.body();
        assert_eq!(content.ceremony, order.digest());
        content.verify_tests().unwrap();
        let record = KeyRecord {
            id: key_id(COLD_KEY),
            protocol: Protocol::Pkcs11Secp256k1,
            threshold: 1,
            max_faulty: 0,
            nodes: vec![member(VAULT)],
            purpose: "cold wallets".to_owned(),
            environment: Environment::Test,
            state: KeyState::Active,
            group_key: content.group_key,
            chain_code: None,
            transcript: content.content_hash().unwrap(),
        };
        let bundle = self.deployment.successor(&active, |c| {
            TestDeployment::add_cold_wallet_to(c, COLD_WALLET, record);
        });
        let nodes = ["node-1", "node-2", "node-3"];
        let acks = nodes.map(|node| {
            self.deployment
                .ack(node, &active, &bundle, AckStage::Confirmed)
        });
        self.pinned = Some(ActivationEvidence {
            bundle,
            acks: acks.to_vec(),
        });
        // Making it twice is refused: nothing is ever overwritten.
        let again = self.offline(&["key", "order.json", "-o", "again.json"]);
        assert_eq!(again.status.code(), Some(3), "{}", text(&again));
        assert!(
            text(&again).contains("never overwritten"),
            "{}",
            text(&again)
        );
    }

    fn active(&self) -> countersign_policy::bundle::ActiveBundle {
        let mut chain = self.deployment.chain();
        let link = self.pinned.as_ref().unwrap();
        chain
            .append_with_evidence(link, self.deployment.now())
            .unwrap();
        chain.active().clone()
    }

    /// A request from the cold wallet, as the successor has it.
    fn request(&self, external_id: &str, network: Network, transaction: Vec<u8>) -> Envelope {
        let active = self.active();
        let wallet = active.wallet(&COLD_WALLET.parse().unwrap()).unwrap();
        let body =
            self.deployment
                .sign_request(external_id, wallet, &wallet.path, network, transaction);
        self.deployment.sign("payments", 600, body)
    }

    fn package(&self, request: &Envelope) -> RequestPackage {
        let mut package = self.deployment.cold_package(&self.active(), request);
        package.chain.push(self.pinned.clone().unwrap());
        package
    }

    fn save(&self, name: &str, package: &RequestPackage) -> String {
        let bytes = package.to_bytes().unwrap();
        fs::write(self.path(name), &bytes).unwrap();
        Hash::sha256(&bytes).to_hex()[..8].to_owned()
    }

    /// Signs a package with a person's yes; what the machine answered.
    fn signed(&self, name: &str, package: &RequestPackage) -> ResponsePackage {
        let digits = self.save(name, package);
        let answer = format!("{name}.answer");
        let signed = self.offline(&["sign", name, "-o", &answer, "--confirm", &digits]);
        assert!(signed.status.success(), "{}", text(&signed));
        ResponsePackage::from_bytes(&fs::read(self.path(&answer)).unwrap()).unwrap()
    }

    fn refused(&self, name: &str, package: &RequestPackage, why: &str) {
        let digits = self.save(name, package);
        let answer = format!("{name}.answer");
        let signed = self.offline(&["sign", name, "-o", &answer, "--confirm", &digits]);
        assert_eq!(signed.status.code(), Some(3), "{}", text(&signed));
        assert!(text(&signed).contains(why), "{why}: {}", text(&signed));
        assert!(!self.path(&answer).exists());
    }

    fn verify(&self, request: &Envelope, answer: &ResponsePackage) {
        let active = self.active();
        let request = active.directory().open::<SignRequest>(request).unwrap();
        let facts = Facts::establish(&active, request.body()).unwrap();
        let MachineAnswer::Signed { signature, .. } = &answer.outcome else {
            panic!("{answer:?}");
        };
        let assembled = facts.transaction().assemble(signature, facts.public_key());
        assert!(assembled.is_ok(), "{assembled:?}");
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn cold_withdrawals_are_signed_by_a_real_token_without_a_network() {
    assert!(
        worker().exists(),
        "build the worker first: cargo build -p countersign-hsm"
    );
    let vault = Vault::new();
    // Ethereum.
    let ethereum = vault.request(
        "eth-1",
        Network::ETHEREUM,
        usdt_erc20(&EXCHANGE, 1_000_000, 0),
    );
    let package = vault.package(&ethereum);
    let answer = vault.signed("eth.json", &package);
    vault.verify(&ethereum, &answer);
    // Tron.
    let payer = vault.active().key(&key_id(COLD_KEY)).unwrap().group_key;
    let payer = payer.address(&Network::TRON).unwrap();
    let transfer = Tron {
        owner: payer.as_bytes().try_into().unwrap(),
        expiration: vault.deployment.now().plus_seconds(900).as_millis(),
        ..Tron::at(vault.deployment.now())
    };
    let tron = vault.request(
        "tron-1",
        Network::TRON,
        transfer.usdt_trc20(&EXCHANGE, 2_000_000),
    );
    let answer = vault.signed("tron.json", &vault.package(&tron));
    vault.verify(&tron, &answer);
    assert_eq!(answer.bundle_version, 2);
    // The same package: the same answer.
    let digits = vault.save("eth.json", &package);
    let again = vault.offline(&[
        "sign",
        "eth.json",
        "-o",
        "again.answer",
        "--confirm",
        &digits,
    ]);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(
        fs::read(vault.path("eth.json.answer")).unwrap(),
        fs::read(vault.path("again.answer")).unwrap()
    );
    // A missing approval.
    let request = vault.request(
        "eth-2",
        Network::ETHEREUM,
        usdt_erc20(&EXCHANGE, 3_000_000, 1),
    );
    let active = vault.active();
    let mut approvals = vault.deployment.treasury_approves(&active, &request);
    approvals.truncate(1);
    let body = vault
        .deployment
        .cold_authorization(&active, &request, &approvals);
    let mut package = vault
        .deployment
        .cold_package_of(&active, &request, approvals, body, &[]);
    package.chain.push(vault.pinned.clone().unwrap());
    vault.refused("missing.json", &package, "refused (approval)");
    // One that was altered on the way.
    let mut package = vault.package(&request);
    let other = vault.package(&ethereum);
    package.confirms = other.confirms;
    vault.refused("altered.json", &package, "refused (package)");
    // Nobody said yes to this one.
    let package = vault.package(&request);
    vault.save("unread.json", &package);
    let unread = vault.offline(&[
        "sign",
        "unread.json",
        "-o",
        "x.answer",
        "--confirm",
        "00000000",
    ]);
    assert_eq!(unread.status.code(), Some(3), "{}", text(&unread));
    // What happened is in the journal, and the PIN is nowhere in what was written.
    let journal = vault.offline(&["journal", "--json"]);
    let journal = text(&journal);
    assert_eq!(
        journal.matches("\"outcome\":\"signed\"").count(),
        2,
        "{journal}"
    );
    let inspected = vault.offline(&["inspect", "eth.json"]);
    assert!(
        text(&inspected).contains("exchange"),
        "{}",
        text(&inspected)
    );
}
