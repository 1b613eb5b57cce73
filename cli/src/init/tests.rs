use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use countersign_coordinator::CoordinatorConfig;
use countersign_policy::Envelope;
use countersign_policy::bundle::BundleChain;
use countersign_signer::files::read_identity_key;
use countersign_signer::net::TlsIdentity;
use countersign_signer::node::NodeConfig;

use super::*;
use crate::profile::Profile;

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

async fn made(nodes: u16) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cluster");
    let args = Args {
        nodes,
        ..Args::in_dir(dir.clone())
    };
    make(&args).await.unwrap();
    (parent, dir)
}

#[tokio::test]
async fn every_secret_is_readable_by_its_owner_alone_and_the_readme_names_it() {
    let (_parent, dir) = made(3).await;
    let mut secrets = 0;
    for file in files(&dir) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let store = file.parent().unwrap().ends_with("data");
        let secret = name.ends_with(".key") || name == "passphrase" || store;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert!(
            !secret || mode == 0o600,
            "{} has mode {mode:o}",
            file.display()
        );
        let text = std::fs::read(&file).unwrap();
        let private = text.windows(11).any(|w| w == b"PRIVATE KEY");
        assert!(!private || secret, "{} holds a private key", file.display());
        secrets += u32::from(secret);
    }
    assert!(secrets > 20, "{secrets} secrets");
    let readme = std::fs::read_to_string(dir.join("README.txt")).unwrap();
    for kind in [
        "ca/ca.key",
        "nodes/*/tls.key",
        "nodes/*/passphrase",
        "members/*/api.key",
    ] {
        assert!(readme.contains(kind), "{kind}");
    }
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let (_parent, dir) = made(3).await;
    let before = std::fs::read(dir.join("genesis.json")).unwrap();
    let refused = make(&Args::in_dir(dir.clone())).await.unwrap_err();
    assert_eq!(refused.exit, Exit::Conflict);
    assert_eq!(std::fs::read(dir.join("genesis.json")).unwrap(), before);
}

#[tokio::test]
async fn a_failure_leaves_nothing_behind() {
    let parent = tempfile::tempdir().unwrap();
    let args = Args {
        threshold: Some(1),
        nodes: 4,
        ..Args::in_dir(parent.path().join("cluster"))
    };
    assert_eq!(make(&args).await.unwrap_err().exit, Exit::Usage);
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn every_configuration_is_one_that_its_process_takes() {
    let (_parent, dir) = made(5).await;
    for number in 1..=5 {
        let folder = dir.join(format!("nodes/node-{number}"));
        let config = NodeConfig::load(&folder.join("node.toml")).unwrap();
        assert_eq!(config.peers.len(), 4);
        assert!(!config.peers.contains_key(&config.node));
        assert!(config.genesis_file.is_file() && config.tls_ca_file.is_file());
        read_identity_key(&config.identity_key_file).unwrap();
    }
    let config = dir.join("coordinators/coordinator-1/coordinator.toml");
    let config = CoordinatorConfig::load(&config).unwrap();
    assert_eq!(config.nodes.len(), 5);
    let profile = Profile::load(&dir.join("client.toml")).unwrap();
    assert_eq!(profile.genesis_hash, config.genesis_hash);
    for (member, file) in &profile.signers {
        let key = profile.signer(member, &Default::default()).unwrap();
        assert_eq!(key.public(), read_identity_key(file).unwrap().public());
    }
    let api_key = read_identity_key(&profile.api_key_file).unwrap().public();
    assert!(config.api_keys.iter().any(|k| k.public_key == api_key));
}

#[tokio::test]
async fn every_person_has_a_profile_of_their_own_with_their_keys_alone() {
    let (_parent, dir) = made(3).await;
    let whole = Profile::load(&dir.join("client.toml")).unwrap();
    let chain = BundleChain::from_genesis(
        &serde_json::from_slice(&std::fs::read(dir.join("genesis.json")).unwrap()).unwrap(),
        whole.genesis_hash,
    )
    .unwrap();
    assert_eq!(whole.signers.len(), 1 + 1 + 2 + 3 + 2 + 1 + 1);
    for member in whole.signers.keys() {
        let file = dir.join(format!("members/{member}/client.toml"));
        let profile = Profile::load(&file).unwrap();
        assert_eq!((&profile.member, profile.signers.len()), (member, 0));
        let key = profile.statement_key().unwrap().public();
        let listed = chain.active().member(member).unwrap();
        assert!(listed.keys.iter().any(|k| k.public_key == key), "{member}");
        crate::api::Api::new(&profile).unwrap().token();
        let all = profile.emergency(&["all".to_owned()]).unwrap();
        assert_eq!(all.len(), 3);
        let one = NodeConfig::load(&dir.join("nodes/node-2/node.toml")).unwrap();
        let port = one.emergency_listen.unwrap().port();
        let named = profile.emergency(&["node-2".to_owned()]).unwrap();
        assert_eq!(named, [format!("https://127.0.0.1:{port}")]);
        assert!(profile.emergency(&["node-9".to_owned()]).is_err());
    }
}

#[tokio::test]
async fn the_genesis_is_signed_by_its_quorum_and_the_certificates_are_vouched_for() {
    let (_parent, dir) = made(3).await;
    let text = std::fs::read(dir.join("genesis.json")).unwrap();
    let genesis: Envelope = serde_json::from_slice(&text).unwrap();
    let chain = BundleChain::from_genesis(&genesis, genesis.digest()).unwrap();
    let active = chain.active();
    assert_eq!(
        active.content().members.len(),
        3 + 1 + 1 + 1 + 2 + 3 + 2 + 1 + 1
    );
    assert!(active.content().rules.is_empty());
    let read = |file: PathBuf| std::fs::read_to_string(file).unwrap();
    let authority = read(dir.join("ca/ca.pem"));
    for member in ["nodes/node-2", "coordinators/coordinator-1"] {
        let folder = dir.join(member);
        let tls = TlsIdentity::from_pem(
            &read(folder.join("tls.pem")),
            &read(folder.join("tls.key")),
            &authority,
        )
        .unwrap();
        let peer = tls.member(active, clock::now()).unwrap();
        assert!(member.ends_with(peer.member.as_str()));
    }
}

#[tokio::test]
async fn the_sample_policy_is_a_change_that_can_be_made() {
    let (_parent, dir) = made(3).await;
    let change = crate::bundle::change::Change::read(&dir.join("policy.toml")).unwrap();
    assert_eq!((change.rules.len(), change.limits.len()), (2, 1));
}

#[test]
fn ports_follow_the_base_and_never_run_over() {
    let ports = Ports::choose(3, Some(7400)).unwrap();
    assert_eq!(ports.coordinator_url(), "https://127.0.0.1:7400");
    assert!(Ports::choose(3, Some(65_534)).is_err());
    assert!(Ports::choose(3, Some(0)).is_err());
}

#[test]
fn the_sample_of_a_nodes_configuration_is_one_that_a_node_takes() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/signer.toml");
    let config = NodeConfig::load(&sample).unwrap();
    assert_eq!(config.presignatures, Default::default());
    assert_eq!(config.resources, Default::default());
}
