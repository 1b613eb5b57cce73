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
    /// The nodes' emergency ports.
    emergency: Vec<u16>,
}

impl Ports {
    /// `base` for the coordinator, the following ones for the nodes and then for their emergency ports; without it, ports
    /// that are free now.
    pub fn choose(nodes: u16, base: Option<u16>) -> Outcome<Self> {
        let all: Vec<u16> = match base {
            Some(base) => {
                let last = base.checked_add(nodes.saturating_mul(2));
                let Some(last) = last.filter(|_| base > 0) else {
                    return Err(Failure::usage(format!(
                        "--base-port {base} leaves no ports for {nodes} nodes above it, two for each"
                    )));
                };
                (base..=last).collect()
            }
            None => free(nodes.saturating_mul(2).saturating_add(1))?,
        };
        let (coordinator, rest) = all
            .split_first()
            .ok_or_else(|| Failure::broken("there are no ports"))?;
        let (nodes, emergency) = rest.split_at_checked(nodes.into()).unwrap_or((rest, &[]));
        Ok(Self {
            coordinator: *coordinator,
            nodes: nodes.to_vec(),
            emergency: emergency.to_vec(),
        })
    }

    /// Base URL of the coordinator.
    pub fn coordinator_url(&self) -> String {
        url(self.coordinator)
    }
}

/// Ports that are free now. All are held until the last one is known, so that no port comes twice.
fn free(count: u16) -> Outcome<Vec<u16>> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()
        .or_broken("cannot find free ports on 127.0.0.1")?;
    held.iter()
        .map(|listener| {
            let address = listener.local_addr().or_broken("cannot find free ports")?;
            Ok(address.port())
        })
        .collect()
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
    let nodes: Vec<(&Identity, (u16, u16))> = members
        .iter()
        .filter(|m| m.is_node())
        .zip(
            ports
                .nodes
                .iter()
                .copied()
                .zip(ports.emergency.iter().copied()),
        )
        .collect();
    let urls: BTreeMap<MemberId, String> = nodes
        .iter()
        .map(|(node, (port, _))| (node.id.clone(), url(*port)))
        .collect();
    for (node, ports) in &nodes {
        write_node(dir, node, *ports, &urls, genesis, spare_primes)?;
    }
    write_coordinator(dir, members, ports, urls, genesis)?;
    write_profiles(dir, members, genesis, ports)?;
    let names: Vec<&str> = nodes.iter().map(|(node, _)| node.id.as_str()).collect();
    write_public(&dir.join("policy.toml"), &sample_policy(&names, threshold))?;
    write_public(&dir.join("README.txt"), README)
}

fn write_toml(path: &Path, header: &str, value: &impl Serialize) -> Outcome {
    let text = toml::to_string(value).or_broken(format!("cannot write {}", path.display()))?;
    write_public(path, &format!("{header}\n{text}"))
}

fn write_node(
    dir: &Path,
    node: &Identity,
    (port, emergency): (u16, u16),
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
        emergency_listen: Some(loopback(emergency)),
        data_dir: "data".into(),
        identity_key_file: "statement.key".into(),
        tls_certificate_file: "tls.pem".into(),
        tls_key_file: "tls.key".into(),
        tls_ca_file: up.join("ca/ca.pem"),
        passphrase_file: Some("passphrase".into()),
        kek: None,
        kek_before: None,
        hsm: None,
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

/// The profile of the whole deployment, and one for each person alone.
fn write_profiles(dir: &Path, members: &[Identity], genesis: Hash, ports: &Ports) -> Outcome {
    let payments = the(members, PAYMENTS)?;
    let whole = Profile {
        coordinator: ports.coordinator_url(),
        ca_file: "ca/ca.pem".into(),
        genesis_file: "genesis.json".into(),
        genesis_hash: genesis,
        member: payments.id.clone(),
        statement_key_file: payments.folder().join("statement.key"),
        api_key_file: payments.folder().join("api.key"),
        memory_file: PathBuf::from("client.memory.json"),
        signers: members
            .iter()
            .filter(|m| !m.is_machine())
            .map(|m| (m.id.clone(), m.folder().join("statement.key")))
            .collect(),
        emergency: members
            .iter()
            .filter(|m| m.is_node())
            .zip(&ports.emergency)
            .map(|(node, port)| (node.id.clone(), url(*port)))
            .collect(),
    };
    write_toml(
        &dir.join(FILE_NAME),
        "# How the countersign command reaches this deployment: countersign ... --profile client.toml",
        &whole,
    )?;
    let up = Path::new("../..");
    for member in members.iter().filter(|m| !m.is_machine()) {
        let own = Profile {
            ca_file: up.join("ca/ca.pem"),
            genesis_file: up.join("genesis.json"),
            member: member.id.clone(),
            statement_key_file: "statement.key".into(),
            api_key_file: "api.key".into(),
            signers: BTreeMap::new(),
            ..whole.clone()
        };
        write_toml(
            &dir.join(member.folder()).join(FILE_NAME),
            &format!("# {}: countersign ... --profile client.toml", member.name),
            &own,
        )?;
    }
    Ok(())
}

fn sample_policy(nodes: &[&str], threshold: u16) -> String {
    let list = nodes.join(",");
    let quoted: Vec<String> = nodes.iter().map(|node| format!("{node:?}")).collect();
    let ledgers = quoted.join(", ");
    format!(
        r#"# A change of the policy, to be made together with the first key:
#
#   countersign ceremony --key hot --protocol dkls23 --threshold {threshold} --nodes {list} --change policy.toml
#
# or later, alone:  countersign bundle propose --change policy.toml --submit
# Entries replace those with the same id. Amounts are in whole units of the asset, such as "12.5".
# To edit and review the whole policy instead:  countersign policy init DIR

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

# More than that needs two officers of treasury.
[[rules]]
id = "usdt-ethereum-large"
wallet = "treasury"
initiators = ["payments"]
network = "eip155:1"
asset = "USDT"
destinations = {{ to = "address-book" }}
max = "50000"
needs = "treasury:2"

[[fee_caps]]
network = "eip155:1"
max_fee = "0.02"

# The nodes keep ledgers together, so that a limit is exact whichever of them sign.
[[ledger_groups]]
id = "main"
nodes = [{ledgers}]
quorum = {threshold}
max_faulty = 0

[[limits]]
id = "usdt-day"
ledger_group = "main"
of = "amount"
network = "eip155:1"
asset = "USDT"
max = "60000"
over = "24h"
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
  client.toml                                          profile for the countersign command, as the payment service
  members/*/client.toml                                the same for each member alone: officers approve with theirs
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
