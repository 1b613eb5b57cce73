//! A warm and a cold wallet with real nodes and a real SoftHSM: the keys are made in the token, a quorum stands around each
//! signature, and what the cold machine signs was cleared by nodes that read each other's ledgers.
//!
//! The worker program must be built: `cargo nextest run --workspace` and `cargo build -p countersign-hsm` do it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_hsm::files::write_secret_file;
use countersign_hsm::{Device, HsmClient, HsmConfig, Provision};
use countersign_policy::bundle::{
    ActivationEvidence, ActiveBundle, Environment, KeyRecord, WalletTier,
};
use countersign_policy::cold::{MachineAnswer, OrderPackage, RequestPackage, SessionEvidence};
use countersign_policy::statement::{
    BundleAck, CancelReason, KeyCeremony, SessionTerms, SignRequest, Verdict,
};
use countersign_policy::testing::cold::{COLD_LIFE, COLD_WALLET, VAULT, set_ledger_group};
use countersign_policy::testing::transaction::{EXCHANGE, usdt_erc20};
use countersign_policy::testing::{
    COORDINATOR, OFFICER, OTHER_OFFICERS, PAYMENTS, TestDeployment, key_id, member,
};
use countersign_policy::{
    Envelope, Facts, Hash, IdentityKey, MemberId, Network, Protocol, Signature,
};
use countersign_signer::clock::now;
use countersign_signer::cold::{Confirmed, Machine, MachineParts};
use countersign_signer::net::CallError;
use countersign_signer::node::NodeConfig;
use countersign_signer::store::{OpenMode, PassphraseKek, Store, StoreOptions};
use countersign_signer::token::{HsmToken, TokenKeys};
use countersign_signer::wire::{
    Bundles, CeremonyStatus, CeremonyStep, Prepare, Prepared, Sign, Signed, StartCeremony, path,
};
use countersign_tests::cluster::{Cluster, Place};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const CALL: Duration = Duration::from_secs(30);
const WARM_KEY: &str = "warm-key";
const WARM_WALLET: &str = "warm";
const COLD_KEY: &str = "cold-key";

/// A SoftHSM of its own in a folder, with one token.
fn token(folder: &Path) -> HsmConfig {
    std::fs::create_dir_all(folder.join("tokens")).unwrap();
    let conf = folder.join("softhsm.conf");
    let text = format!(
        "directories.tokendir = {}/tokens\nlog.level = ERROR\n",
        folder.display()
    );
    std::fs::write(&conf, text).unwrap();
    let (pin_file, so_pin_file) = (folder.join("pin"), folder.join("so-pin"));
    write_secret_file(&pin_file, b"wallet-pin-4471").unwrap();
    write_secret_file(&so_pin_file, b"wallet-so-pin").unwrap();
    let mut config = HsmConfig::new(MODULE, "pkcs11:token=wallets", &pin_file).unwrap();
    config.device = Device::Softhsm;
    config
        .environment
        .insert("SOFTHSM2_CONF".into(), conf.display().to_string());
    let label = "wallets".to_owned();
    let provision = Provision {
        label,
        so_pin_file,
        pin_file,
    };
    HsmClient::provision(&config, provision).unwrap();
    config
}

/// Gives a node the token and starts it again.
async fn give_token(cluster: &mut Cluster, node: &MemberId, hsm: &HsmConfig) {
    let file = cluster.node_folder(node).join("node.toml");
    let mut config: NodeConfig = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    config.hsm = Some(hsm.clone());
    std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
    cluster.kill(node).await;
    cluster.start_node(node).await;
}

fn order(key: &str, machine: &MemberId) -> KeyCeremony {
    KeyCeremony {
        key: key_id(key),
        protocol: Protocol::Pkcs11Secp256k1,
        threshold: 1,
        max_faulty: 0,
        nodes: vec![machine.clone()],
        purpose: "tests".to_owned(),
        environment: Environment::Test,
    }
}

/// A node makes a key in its token.
async fn made_online(cluster: &Cluster, node: &MemberId, order: &Envelope) -> Envelope {
    let client = cluster.client(node);
    let call = StartCeremony {
        order: order.clone(),
    };
    let _: CeremonyStatus = client
        .post_json(path::CEREMONIES, &call, CALL)
        .await
        .unwrap();
    for _ in 0..300 {
        let at = format!("{}/{}", path::CEREMONIES, order.digest());
        let status: CeremonyStatus = client.get_json(&at, CALL).await.unwrap();
        match status.step {
            CeremonyStep::Complete => return status.transcript.unwrap(),
            CeremonyStep::Failed { reason } => panic!("{reason}"),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("the ceremony does not end");
}

fn request(cluster: &Cluster, wallet: &str, external_id: &str, nonce: u64) -> Envelope {
    let active = cluster.active();
    let wallet = active.wallet(&wallet.parse().unwrap()).unwrap();
    let bytes = usdt_erc20(&EXCHANGE, 1_000_000, nonce);
    let body = cluster.deployment.sign_request(
        external_id,
        wallet,
        &wallet.path,
        Network::ETHEREUM,
        bytes,
    );
    cluster.deployment.sign(PAYMENTS, 600, body)
}

fn verifies(active: &ActiveBundle, request: &Envelope, signature: &Signature) -> bool {
    let request = active.directory().open::<SignRequest>(request).unwrap();
    let facts = Facts::establish(active, request.body()).unwrap();
    facts
        .transaction()
        .assemble(signature, facts.public_key())
        .is_ok()
}

/// A cluster whose `node-1` has the token with the key of a warm wallet.
async fn warm(hsm: &HsmConfig) -> Cluster {
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    let machine = member("node-1");
    give_token(&mut cluster, &machine, hsm).await;
    cluster.deployment.set_now(now());
    let order = cluster.deployment.ceremony(order(WARM_KEY, &machine));
    let transcript = made_online(&cluster, &machine, &order).await;
    let record: KeyRecord = cluster.record(&order, std::slice::from_ref(&transcript));
    let bundle = cluster.deployment.successor(cluster.active(), |content| {
        set_ledger_group(content);
        TestDeployment::add_hsm_wallet_to(content, WARM_WALLET, WalletTier::Warm, record);
    });
    cluster.follow(bundle, vec![transcript]).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_warm_wallet_signs_with_a_quorum_around_its_machine() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = token(folder.path());
    let mut cluster = warm(&hsm).await;
    let (machine, witness) = (member("node-1"), member("node-2"));
    let request = request(&cluster, WARM_WALLET, "warm-1", 0);
    // Alone it signs nothing, with or without a limit.
    let alone = cluster.authorize(&request, std::slice::from_ref(&machine), 1);
    let refused = cluster.prepare(&machine, &alone, &request).await;
    assert!(
        matches!(&refused, Err(CallError::Problem(p)) if p.detail.contains("ledger group")),
        "{refused:?}"
    );
    let authorization =
        cluster.authorize_with(&request, std::slice::from_ref(&machine), 1, |body| {
            body.witnesses = vec![witness.clone()];
        });
    let both = [machine.clone(), witness.clone()];
    let answers = cluster.sign(&authorization, &request, &both).await.unwrap();
    let signatures = answers[0].as_ref().unwrap();
    assert!(verifies(cluster.active(), &request, &signatures[0]));
    assert!(
        answers[1].as_ref().unwrap().is_empty(),
        "a witness signs nothing"
    );
    // Another node has no part in the key.
    let other = cluster.authorize_with(&request, std::slice::from_ref(&witness), 2, |body| {
        body.witnesses = vec![machine.clone()];
    });
    assert!(cluster.prepare(&witness, &other, &request).await.is_err());
}

/// The machine, with its own store and the token.
async fn vault(cluster: &Cluster, folder: &Path) -> Machine {
    let seed = Hash::derive("countersign/testing/identity", &[VAULT.as_bytes()]);
    let identity = Arc::new(IdentityKey::from_seed(seed.as_bytes()));
    let genesis = cluster.deployment.genesis_hash();
    let options = StoreOptions {
        path: folder.join("vault.db"),
        node: member(VAULT),
        genesis,
        mode: OpenMode::CreateIfMissing,
    };
    let kek = PassphraseKek::new(b"a passphrase for tests only".to_vec().into()).unwrap();
    let store = Store::open(&options, Arc::clone(&identity), &kek)
        .await
        .unwrap();
    let parts = MachineParts {
        me: member(VAULT),
        identity,
        store,
        genesis,
        answers: folder.join("answers"),
    };
    Machine::open(parts, now()).await.unwrap()
}

/// The chain with the acknowledgements that a node keeps.
async fn evidence(cluster: &Cluster) -> Vec<ActivationEvidence> {
    let node = member("node-2");
    let bundles: Bundles = cluster
        .client(&node)
        .get_json(path::BUNDLES, CALL)
        .await
        .unwrap();
    let mut links = Vec::new();
    let mut before: Option<&ActiveBundle> = None;
    for link in cluster.chain.links() {
        let acks = bundles.acks.iter().filter(|ack| {
            let opened = before.and_then(|b| b.directory().open::<BundleAck>(ack).ok());
            opened.is_some_and(|ack| ack.body().bundle == link.digest())
        });
        links.push(ActivationEvidence {
            bundle: link.envelope().clone(),
            acks: acks.cloned().collect(),
        });
        before = Some(link);
    }
    links
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_nodes_cleared_is_signed_by_a_machine_that_they_cannot_reach() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = token(&folder.path().join("hsm"));
    let tokens = TokenKeys::new(Arc::new(HsmToken::new(HsmClient::start(hsm).unwrap())));
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    cluster.deployment.set_now(now());
    // First the machine becomes a member, then its key is ordered, made and pinned.
    let joined = cluster.deployment.successor(cluster.active(), |content| {
        set_ledger_group(content);
        TestDeployment::add_machine_to(content, VAULT);
        TestDeployment::add_groups_to(content);
    });
    cluster.follow(joined, Vec::new()).await;
    let order = cluster.deployment.ceremony(order(COLD_KEY, &member(VAULT)));
    let mut machine = vault(&cluster, folder.path()).await;
    let genesis = cluster.deployment.genesis_hash();
    let package = OrderPackage::new(genesis, evidence(&cluster).await, order.clone());
    let bytes = package.to_bytes().unwrap();
    let transcript = machine.make_key(&bytes, &tokens, now()).await.unwrap();
    let record = cluster.record(&order, std::slice::from_ref(&transcript));
    let pinned = cluster.deployment.successor(cluster.active(), |content| {
        TestDeployment::add_hsm_wallet_to(content, COLD_WALLET, WalletTier::Cold, record);
    });
    cluster.follow(pinned, vec![transcript]).await;

    let request = request(&cluster, COLD_WALLET, "cold-1", 0);
    let bytes = cleared(&mut cluster, &request).await.unwrap();
    let examined = machine.examine(&bytes, now()).unwrap();
    let typed = examined.package().digest().to_hex();
    let yes = Confirmed::by_typing(&examined, &typed[..8]).unwrap();
    let answer = machine
        .sign(examined, yes, &[], &tokens, now())
        .await
        .unwrap();
    let MachineAnswer::Signed { signature, .. } = &answer.outcome else {
        panic!("{answer:?}");
    };
    assert!(verifies(cluster.active(), &request, signature));

    // A request that was stopped at one witness is cleared by nobody.
    let stopped = self::request(&cluster, COLD_WALLET, "cold-2", 1);
    let cancel = cluster
        .deployment
        .cancel(PAYMENTS, &stopped, CancelReason::Initiator);
    cluster
        .stop(&member("node-2"), &stopped, &cancel)
        .await
        .unwrap();
    assert!(cleared(&mut cluster, &stopped).await.is_err());
}

/// What a coordinator does: two officers, a quorum of witnesses, their receipts and confirms, a package.
async fn cleared(cluster: &mut Cluster, request: &Envelope) -> Result<Vec<u8>, CallError> {
    cluster.deployment.set_now(now());
    let active = cluster.active().clone();
    let approvals: Vec<Envelope> = [OFFICER, OTHER_OFFICERS[0]]
        .iter()
        .map(|officer| {
            cluster
                .deployment
                .approval_under(&active, officer, request, Verdict::Approve)
        })
        .collect();
    let body = cluster
        .deployment
        .cold_authorization(&active, request, &approvals);
    let authorization = cluster
        .deployment
        .sign(COORDINATOR, COLD_LIFE, body.clone());
    let mut receipts = Vec::new();
    for witness in &body.witnesses {
        let call = Prepare {
            authorization: authorization.clone(),
            request: request.clone(),
            approvals: approvals.clone(),
        };
        let client = cluster.client(witness);
        let prepared: Prepared = client.post_json(path::PREPARE, &call, CALL).await?;
        receipts.push(prepared.receipt);
    }
    let session = SessionTerms::session_id(authorization.digest());
    let mut calls = Vec::new();
    for witness in &body.witnesses {
        let call = Sign {
            session,
            receipts: receipts.clone(),
        };
        let client = cluster.client(witness).clone();
        calls.push(tokio::spawn(async move {
            let signed: Result<Signed, CallError> = client.post_json(path::SIGN, &call, CALL).await;
            signed
        }));
    }
    let mut confirms = Vec::new();
    for call in calls {
        let signed = call.await.unwrap()?;
        assert!(signed.signatures.is_empty(), "a witness signs nothing");
        confirms.push(signed.confirm.expect("a confirm"));
    }
    let package = RequestPackage::new(
        cluster.deployment.genesis_hash(),
        evidence(cluster).await,
        SessionEvidence {
            request: request.clone(),
            approvals,
            authorization,
            freezes: Vec::new(),
            receipts,
            confirms,
        },
    );
    Ok(package.to_bytes().unwrap())
}
