//! The configuration files, and what tells people about them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use countersign_coordinator::{ApiKey, CoordinatorConfig, LimitsConfig, TimingConfig};
use countersign_policy::{Hash, MemberId};
use countersign_signer::node::{NodeConfig, PresignatureConfig, ResourceConfig};
use serde::Serialize;

use super::members::{COORDINATOR, Identity, PAYMENTS, the};
use super::{make_dir, write_public, write_secret};
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::profile::{FILE_NAME, Profile};

/// Where everything listens, on 127.0.0.1.
pub struct Ports {
    coordinator: u16,
    nodes: Vec<u16>,
}

impl Ports {
    /// `base` for the coordinator and the following ones for the nodes; without it, ports that are free now.
    pub fn choose(nodes: u16, base: Option<u16>) -> Outcome<Self> {
        if let Some(base) = base {
            let last = base.checked_add(nodes);
            let Some(last) = last.filter(|_| base > 0) else {
                return Err(Failure::usage(format!(
                    "--base-port {base} leaves no ports for {nodes} nodes above it"
                )));
            };
            let nodes = (base..=last).skip(1).collect();
            return Ok(Self {
                coordinator: base,
                nodes,
            });
        }
        // All are held until the last one is known, so that no port comes twice.
        let held: Vec<TcpListener> = (0..=nodes)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .collect::<Result<_, _>>()
            .or_broken("cannot find free ports on 127.0.0.1")?;
        let mut ports = Vec::new();
        for listener in &held {
            let address = listener.local_addr().or_broken("cannot find free ports")?;
            ports.push(address.port());
        }
        let coordinator = ports.pop().unwrap_or_default();
        Ok(Self {
            coordinator,
            nodes: ports,
        })
    }

    /// Base URL of the coordinator.
    pub fn coordinator_url(&self) -> String {
        url(self.coordinator)
    }
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Writes all configurations below `dir`.
pub fn write(
    dir: &Path,
    members: &[Identity],
    genesis: Hash,
    ports: &Ports,
    threshold: u16,
    spare_primes: usize,
) -> Outcome {
    let nodes: Vec<(&Identity, u16)> = members
        .iter()
        .filter(|m| m.is_node())
        .zip(ports.nodes.iter().copied())
        .collect();
    let urls: BTreeMap<MemberId, String> = nodes
        .iter()
        .map(|(node, port)| (node.id.clone(), url(*port)))
        .collect();
    for (node, port) in &nodes {
        write_node(dir, node, *port, &urls, genesis, spare_primes)?;
    }
    write_coordinator(dir, members, ports, urls, genesis)?;
    write_profile(dir, members, genesis, ports)?;
    let names: Vec<&str> = nodes.iter().map(|(node, _)| node.id.as_str()).collect();
    write_public(
        &dir.join("policy.toml"),
        &sample_policy(&names.join(","), threshold),
    )?;
    write_public(&dir.join("README.txt"), README)
}

fn write_toml(path: &Path, header: &str, value: &impl Serialize) -> Outcome {
    let text = toml::to_string(value).or_broken(format!("cannot write {}", path.display()))?;
    write_public(path, &format!("{header}\n{text}"))
}

fn write_node(
    dir: &Path,
    node: &Identity,
    port: u16,
    urls: &BTreeMap<MemberId, String>,
    genesis: Hash,
    spare_primes: usize,
) -> Outcome {
    let folder = dir.join(node.folder());
    let mut secret = zeroize::Zeroizing::new([0u8; 32]);
    rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, secret.as_mut_slice());
    let passphrase = zeroize::Zeroizing::new(hex::encode(secret.as_slice()));
    write_secret(&folder.join("passphrase"), passphrase.as_bytes())?;
    let mut peers = urls.clone();
    peers.remove(&node.id);
    let up = Path::new("../..");
    let config = NodeConfig {
        node: node.id.clone(),
        listen: loopback(port),
        emergency_listen: None,
        data_dir: "data".into(),
        identity_key_file: "statement.key".into(),
        tls_certificate_file: "tls.pem".into(),
        tls_key_file: "tls.key".into(),
        tls_ca_file: up.join("ca/ca.pem"),
        passphrase_file: "passphrase".into(),
        genesis_file: up.join("genesis.json"),
        genesis_hash: genesis,
        peers,
        presignatures: PresignatureConfig::default(),
        resources: ResourceConfig {
            spare_primes,
            ..ResourceConfig::default()
        },
    };
    write_toml(
        &folder.join("node.toml"),
        "# A signer node: countersign node --config node.toml",
        &config,
    )
}

fn write_profile(dir: &Path, members: &[Identity], genesis: Hash, ports: &Ports) -> Outcome {
    let payments = the(members, PAYMENTS)?;
    let statement_key = |m: &Identity| m.folder().join("statement.key");
    let profile = Profile {
        coordinator: ports.coordinator_url(),
        ca_file: "ca/ca.pem".into(),
        genesis_file: "genesis.json".into(),
        genesis_hash: genesis,
        member: payments.id.clone(),
        statement_key_file: statement_key(payments),
        api_key_file: payments.folder().join("api.key"),
        memory_file: PathBuf::from("client.memory.json"),
        signers: members
            .iter()
            .filter(|m| !m.is_machine())
            .map(|m| (m.id.clone(), statement_key(m)))
            .collect(),
    };
    write_toml(
        &dir.join(FILE_NAME),
        "# How the countersign command reaches this deployment: countersign ... --profile client.toml",
        &profile,
    )
}

fn sample_policy(nodes: &str, threshold: u16) -> String {
    format!(
        r#"# A change of the policy, to be made together with the first key:
#
#   countersign ceremony --key hot --protocol dkls23 --threshold {threshold} --nodes {nodes} --change policy.toml
#
# or later, alone:  countersign bundle propose --change policy.toml --submit
# Entries replace those with the same id. Amounts are in whole units of the asset, such as "12.5".

[[wallets]]
id = "treasury"
name = "Hot wallet"
key = "hot"
path = "m/0"
networks = ["eip155:1", "eip155:56", "tron:0x2b6653dc"]

[[address_book]]
label = "Exchange"
network = "eip155:1"
address = "0x28C6c06298d514Db089934071355E5743bf21d60"

[[rules]]
id = "usdt-ethereum"
wallet = "treasury"
initiators = ["payments"]
network = "eip155:1"
asset = "USDT"
destinations = {{ to = "address-book" }}
max = "10000"

[[fee_caps]]
network = "eip155:1"
max_fee = "0.02"
"#
    )
}

const README: &str = "\
A Countersign deployment, made by countersign init.

Public, the same for everybody
  genesis.json             the first policy bundle; its hash is the root of everybody's trust
  ca/ca.pem                the certificate authority

Secret (mode 0600): whoever has one of these files is that member
  ca/ca.key                issues certificates. Needed only to issue more: keep it offline. Alone it opens nothing, because
                           each certificate also carries the word of a member of the policy bundle.
  nodes/*/statement.key    a node's identity
  nodes/*/tls.key          a node's TLS key
  nodes/*/passphrase       opens a node's sealed store, together with nodes/*/data
  coordinators/*/*.key     a coordinator's identity and TLS key
  members/*/statement.key  signs as that member: requests, policy, key ceremonies
  members/*/api.key        reads the coordinator's API as that member

All of them in one folder is right for trying things out on one machine, and wrong for money: threshold signing protects a
key only when no single machine and no single administrator has a threshold of the nodes. For production move every folder
to its member's machine, give every member the public files and the genesis hash by a way you trust, and delete this copy.

  nodes/*/node.toml, coordinators/*/coordinator.toml   configurations
  client.toml                                          profile for the countersign command
  policy.toml                                          a sample change of the policy

Start everything here with:  countersign up DIR
";

fn write_coordinator(
    dir: &Path,
    members: &[Identity],
    ports: &Ports,
    nodes: BTreeMap<MemberId, String>,
    genesis: Hash,
) -> Outcome {
    let coordinator = the(members, COORDINATOR)?;
    let folder = dir.join(coordinator.folder());
    make_dir(&folder.join("data"))?;
    let api_keys = members.iter().filter_map(|member| {
        Some(ApiKey {
            member: member.id.clone(),
            public_key: member.api_key.as_ref()?.public(),
        })
    });
    let up = Path::new("../..");
    let config = CoordinatorConfig {
        member: coordinator.id.clone(),
        identity_key_file: "statement.key".into(),
        listen: loopback(ports.coordinator),
        tls_certificate_file: "tls.pem".into(),
        tls_key_file: "tls.key".into(),
        tls_ca_file: up.join("ca/ca.pem"),
        database_url: "sqlite:data/coordinator.sqlite".to_owned(),
        genesis_file: up.join("genesis.json"),
        genesis_hash: genesis,
        nodes,
        api_keys: api_keys.collect(),
        timing: TimingConfig::default(),
        limits: LimitsConfig::default(),
    };
    write_toml(
        &folder.join("coordinator.toml"),
        "# A coordinator: countersign coordinator --config coordinator.toml",
        &config,
    )
}
