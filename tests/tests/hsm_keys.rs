//! A node's store sealed by a token, and a token that signs what the gate released, on a real SoftHSM.
//!
//! The worker program must be built: `cargo nextest run --workspace` and `cargo build -p countersign-hsm` do it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::path::{Path, PathBuf};

use countersign_hsm::files::write_secret_file;
use countersign_hsm::{Device, HsmClient, HsmConfig, KeyId, KeyKind, Pkcs11Uri, Provision};
use countersign_policy::{Hash, IdentityKey, KeyId as PolicyKey, MemberId, Protocol};
use countersign_signer::files::write_identity_key;
use countersign_signer::gate::TestSpend;
use countersign_signer::hsm::{HsmBackend, HsmSignError};
use countersign_signer::node::{NodeConfig, create_store, rekey_store};
use countersign_signer::threshold::verifies;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

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
    write_secret_file(&pin_file, b"canary-pin-3318").unwrap();
    write_secret_file(&so_pin_file, b"canary-so-pin").unwrap();
    let mut config = HsmConfig::new(MODULE, "pkcs11:token=node", &pin_file).unwrap();
    config.device = Device::Softhsm;
    config
        .environment
        .insert("SOFTHSM2_CONF".into(), conf.display().to_string());
    let label = "node".to_owned();
    HsmClient::provision(
        &config,
        Provision {
            label,
            so_pin_file,
            pin_file,
        },
    )
    .unwrap();
    config
}

fn kek(id: &[u8]) -> Option<Pkcs11Uri> {
    let id = Some(KeyId::new(id.to_vec()).unwrap());
    Some(Pkcs11Uri {
        id,
        ..Pkcs11Uri::default()
    })
}

fn make_kek(config: &HsmConfig, id: &[u8]) {
    let hsm = HsmClient::start(config.clone()).unwrap();
    hsm.generate_kek_blocking(&KeyId::new(id.to_vec()).unwrap(), "kek")
        .unwrap();
}

fn node(folder: &Path, name: &str) -> NodeConfig {
    let identity = folder.join(format!("{name}.key"));
    write_identity_key(&identity, &IdentityKey::from_seed(&[7; 32])).unwrap();
    write_secret_file(
        &folder.join(format!("{name}.pass")),
        b"correct horse battery staple",
    )
    .unwrap();
    let data = folder.join(format!("{name}.data"));
    NodeConfig {
        node: MemberId::new(name).unwrap(),
        listen: "127.0.0.1:0".parse().unwrap(),
        emergency_listen: None,
        data_dir: data,
        identity_key_file: identity,
        tls_certificate_file: PathBuf::new(),
        tls_key_file: PathBuf::new(),
        tls_ca_file: PathBuf::new(),
        passphrase_file: Some(folder.join(format!("{name}.pass"))),
        kek: None,
        kek_before: None,
        hsm: None,
        genesis_file: PathBuf::new(),
        genesis_hash: Hash::sha256(b"genesis"),
        peers: Default::default(),
        presignatures: Default::default(),
        resources: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_from_a_passphrase_to_a_token_and_from_key_to_key() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = token(&folder.path().join("hsm"));
    make_kek(&hsm, b"kek-1");
    make_kek(&hsm, b"kek-2");
    let passphrase = node(folder.path(), "node-1");
    create_store(&passphrase).await.unwrap();
    // Both are named: the passphrase opens it for the last time.
    let both = NodeConfig {
        kek: kek(b"kek-1"),
        hsm: Some(hsm.clone()),
        ..passphrase.clone()
    };
    rekey_store(&both).await.unwrap();
    let refused = rekey_store(&passphrase).await.unwrap_err().to_string();
    assert!(refused.contains("pkcs11/aes-256-gcm"), "{refused}");
    let first = NodeConfig {
        passphrase_file: None,
        ..both
    };
    rekey_store(&first).await.unwrap();
    let second = NodeConfig {
        kek: kek(b"kek-2"),
        kek_before: kek(b"kek-1"),
        ..first.clone()
    };
    rekey_store(&second).await.unwrap();
    let second = NodeConfig {
        kek_before: None,
        ..second
    };
    rekey_store(&second).await.unwrap();
    let refused = rekey_store(&first).await.unwrap_err().to_string();
    assert!(refused.contains("sealed by"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moved_to_another_token_or_node_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let (here, elsewhere) = (
        token(&folder.path().join("here")),
        token(&folder.path().join("elsewhere")),
    );
    make_kek(&here, b"kek-1");
    make_kek(&elsewhere, b"kek-1");
    let sealed = NodeConfig {
        passphrase_file: None,
        kek: kek(b"kek-1"),
        hsm: Some(here.clone()),
        ..node(folder.path(), "node-1")
    };
    create_store(&sealed).await.unwrap();
    rekey_store(&sealed).await.unwrap();
    // Another token, whose key has the same id.
    let moved = NodeConfig {
        hsm: Some(elsewhere),
        ..sealed.clone()
    };
    let refused = rekey_store(&moved).await.unwrap_err().to_string();
    assert!(refused.contains("key is wrong"), "{refused}");
    // Another node with the right token, even when the file says that it is that node's.
    let other = NodeConfig {
        data_dir: sealed.data_dir.clone(),
        ..node(folder.path(), "node-2")
    };
    let other = NodeConfig {
        passphrase_file: None,
        kek: kek(b"kek-1"),
        hsm: Some(here),
        ..other
    };
    let refused = rekey_store(&other).await.unwrap_err().to_string();
    assert!(refused.contains("belongs to node node-1"), "{refused}");
    rekey_store(&sealed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_signs_what_was_released_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = token(folder.path());
    let hsm = tokio::task::spawn_blocking(|| HsmClient::start(config).unwrap())
        .await
        .unwrap();
    let backend = HsmBackend::new(hsm);
    let signers = [MemberId::new("node-1").unwrap()];
    let name = PolicyKey::new("warm-1").unwrap();
    for (kind, protocol) in [
        (KeyKind::Secp256k1, Protocol::Dkls23),
        (KeyKind::Ed25519, Protocol::FrostEd25519),
    ] {
        let id = KeyId::new(kind.to_string().into_bytes()).unwrap();
        let public = backend.generate(kind, &id, "warm-1").await.unwrap();
        let key = backend.open(&id, &public).await.unwrap();
        let spend =
            |text: &str| TestSpend::new(protocol, Hash::sha256(text.as_bytes()), &name, &signers);
        let (one, other) = (spend("one"), spend("other"));
        let (preimage, execution) = (one.preimage().clone(), one.execution());
        // The release of something else.
        let refused = backend
            .sign(other.release(), &execution, &key, &preimage)
            .await;
        assert!(
            matches!(refused, Err(HsmSignError::NotReleased)),
            "{refused:?}"
        );
        let signature = backend
            .sign(one.release(), &execution, &key, &preimage)
            .await
            .unwrap();
        assert!(verifies(&public, &preimage, &signature));
    }
    // A release for one curve does not reach a key of the other.
    let id = KeyId::new(b"ed25519".to_vec()).unwrap();
    let public = backend
        .token()
        .public_key(KeyKind::Ed25519, &id)
        .await
        .unwrap();
    let public =
        countersign_policy::PublicKey::ed25519(public.as_bytes().try_into().unwrap()).unwrap();
    let key = backend.open(&id, &public).await.unwrap();
    let spend = TestSpend::new(Protocol::Dkls23, Hash::sha256(b"k1"), &name, &signers);
    let (preimage, execution) = (spend.preimage().clone(), spend.execution());
    let refused = backend
        .sign(spend.release(), &execution, &key, &preimage)
        .await;
    assert!(matches!(refused, Err(HsmSignError::Curve)), "{refused:?}");
}
