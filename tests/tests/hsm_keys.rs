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
use std::sync::Arc;

use countersign_hsm::files::write_secret_file;
use countersign_hsm::{Device, HsmClient, HsmConfig, KeyId, Pkcs11Uri, Provision};
use countersign_policy::{Hash, IdentityKey, KeyId as PolicyKey, MemberId, Protocol};
use countersign_signer::files::write_identity_key;
use countersign_signer::gate::TestSpend;
use countersign_signer::node::{NodeConfig, create_store, rekey_store};
use countersign_signer::threshold::verifies;
use countersign_signer::token::{HsmToken, TokenError, TokenKeys};

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

#[test]
fn a_token_signs_what_was_released_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = HsmClient::start(token(folder.path())).unwrap();
    let keys = TokenKeys::new(Arc::new(HsmToken::new(hsm.clone())));
    let signers = [MemberId::new("node-1").unwrap()];
    for (name, protocol) in [
        ("warm-1", Protocol::Pkcs11Secp256k1),
        ("warm-2", Protocol::Pkcs11Ed25519),
    ] {
        let name = PolicyKey::new(name).unwrap();
        let public = keys.generate(&name, protocol).unwrap();
        let again = keys.generate(&name, protocol);
        assert_eq!(again, Err(TokenError::Exists(name.clone())));
        let spend =
            |text: &str| TestSpend::new(protocol, Hash::sha256(text.as_bytes()), &name, &signers);
        let (one, other) = (spend("one"), spend("other"));
        let preimage = one.preimage().clone();
        // The release of something else.
        let refused = keys.sign_as(&name, protocol, &public, &preimage, other.release());
        assert_eq!(refused, Err(TokenError::OtherDigest));
        let signature = keys
            .sign_as(&name, protocol, &public, &preimage, one.release())
            .unwrap();
        assert!(verifies(&public, &preimage, &signature));
        // What the token signs verifies under its own key, and is refused where another one is pinned.
        let two = spend("two");
        let preimage = two.preimage().clone();
        let pinned = other_key(protocol);
        let refused = keys.sign_as(&name, protocol, &pinned, &preimage, two.release());
        assert!(
            matches!(refused, Err(TokenError::WrongSignature(_))),
            "{refused:?}"
        );
    }
    // The first signature opened the key; the others found it open.
    assert_eq!(hsm.metrics().worker_starts, 1);
}

/// A public key of the protocol's curve that is in no token.
fn other_key(protocol: Protocol) -> countersign_policy::PublicKey {
    if protocol.is_secp256k1() {
        let key = k256::ecdsa::SigningKey::from_slice(&[5; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(true);
        return countersign_policy::PublicKey::secp256k1(point.as_bytes().try_into().unwrap())
            .unwrap();
    }
    let point = IdentityKey::from_seed(&[5; 32]).public();
    countersign_policy::PublicKey::ed25519(*point.as_bytes()).unwrap()
}
