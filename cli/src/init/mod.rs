//! `countersign init`: everything a deployment needs before its first key, in one folder.

mod configs;
mod members;

use std::path::{Path, PathBuf};

use clap::Parser;
use countersign_policy::bundle::{
    Domains, Member, MemberKey, MemberKeyAlgorithm, PolicyBundle, Quorums, Timing,
};
use countersign_policy::statement::Statement;
use countersign_policy::{Envelope, Hash, Timestamp};
use countersign_signer::files::{write_identity_key, write_secret_file};
use countersign_signer::net::{CertificateAuthority, CertificateRequest};
use countersign_signer::node::{NodeConfig, create_store};
use serde::Serialize;

use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;
use configs::Ports;
use members::{Identity, identities};

/// Makes a deployment: identities, a certificate authority, the genesis policy bundle and all configurations.
///
/// Everything is written below DIR, which must not exist yet or be empty; nothing is ever overwritten. The genesis bundle
/// names the members and their roles, and is signed by the policy author and both approvers. It has no key, no wallet and
/// no rule: nothing can be signed until a ceremony made a key and the approvers signed a bundle that says what it may do.
///
/// All secrets of all members end up in one folder, which is right for a local cluster and for trying things out. For
/// production, move each member's folder to that member's machine and delete it here: README.txt in DIR says what is what.
#[derive(Debug, Clone, Parser)]
#[command(after_help = "Examples:\n  \
    countersign init cluster                          three nodes, any free ports\n  \
    countersign init cluster --nodes 5 --base-port 7400\n  \
    countersign up cluster                            then start it")]
pub struct Args {
    /// The folder to make.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Signer nodes, 2 to 16.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=16))]
    pub nodes: u16,
    /// How many nodes will sign together: checked against --nodes now, used by the sample policy. More than half of the nodes.
    #[arg(long)]
    pub threshold: Option<u16>,
    /// Sets of CGGMP24 safe primes that each node makes ahead and keeps for its next group: about 90 s of its CPU a set. With 0
    /// the first CGGMP24 ceremony makes them.
    #[arg(long, value_name = "SETS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=4))]
    pub spare_primes: u8,
    /// Who runs this; stands in the genesis bundle.
    #[arg(long, default_value = "Example Payments")]
    pub organisation: String,
    /// The coordinator listens on this port of 127.0.0.1 and the nodes on the following ones. Without it: any free ports.
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    #[command(flatten)]
    format: Format,
}

/// What was made.
#[derive(Debug, Serialize)]
pub struct Made {
    ok: bool,
    /// The folder.
    pub dir: PathBuf,
    /// The root of everybody's trust.
    pub genesis_hash: Hash,
    /// Base URL of the coordinator.
    pub coordinator: String,
    /// The client's profile.
    pub profile: PathBuf,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let made = make(&args).await?;
    args.format.show(&made, |made| {
        let dir = made.dir.display();
        format!(
            "made {dir}: {} nodes, a coordinator, a payment service, and its people\n\
             genesis   {}\n\
             profile   {}\n\
             secrets   see {dir}/README.txt\n\
             next      countersign up {dir}",
            args.nodes,
            made.genesis_hash,
            made.profile.display()
        )
    })
}

impl Args {
    /// What `up --ephemeral` and `demo` make: three nodes on any free ports.
    pub fn in_dir(dir: PathBuf) -> Self {
        Self {
            dir,
            nodes: 3,
            threshold: None,
            // A cluster for trying things out is not kept busy with what it may never need.
            spare_primes: 0,
            organisation: "Example Payments".to_owned(),
            base_port: None,
            format: Format { json: false },
        }
    }

    /// The threshold asked for, or the smallest that exceeds half of the nodes.
    fn threshold(&self) -> Outcome<u16> {
        let majority = (self.nodes / 2).saturating_add(1);
        let threshold = self.threshold.unwrap_or(majority).max(2);
        if threshold < majority || threshold > self.nodes {
            return Err(Failure::usage(format!(
                "--threshold {threshold} of {} nodes: it must be at least {majority}, more than half, and no more than the nodes",
                self.nodes
            )));
        }
        Ok(threshold)
    }
}

/// Makes the folder; on a failure nothing is left behind.
pub async fn make(args: &Args) -> Outcome<Made> {
    let threshold = args.threshold()?;
    require_vacant(&args.dir)?;
    let parent = match args.dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).or_broken(format!("cannot make {}", parent.display()))?;
    // Written beside its place and moved there when complete: half a deployment never exists.
    let staging = tempfile::Builder::new()
        .prefix(".countersign-init-")
        .tempdir_in(parent)
        .or_broken(format!("cannot write in {}", parent.display()))?;
    let ports = Ports::choose(args.nodes, args.base_port)?;
    let genesis_hash = write(staging.path(), args, threshold, &ports)?;
    create_stores(staging.path(), args.nodes).await?;
    std::fs::rename(staging.path(), &args.dir).or_broken(format!(
        "cannot move the finished folder to {}",
        args.dir.display()
    ))?;
    // What it guarded has another name now; removing the old one would find nothing.
    let _moved = staging.keep();
    Ok(Made {
        ok: true,
        dir: args.dir.clone(),
        genesis_hash,
        coordinator: ports.coordinator_url(),
        profile: args.dir.join(crate::profile::FILE_NAME),
    })
}

/// Every node starts with an empty store that exists: one that is gone later must never be taken for a new node's.
async fn create_stores(dir: &Path, nodes: u16) -> Outcome {
    for number in 1..=nodes {
        let file = dir.join(format!("nodes/node-{number}/node.toml"));
        let config = NodeConfig::load(&file).or_broken("the configuration just written")?;
        create_store(&config)
            .await
            .or_broken(format!("cannot create the store of {}", config.node))?;
    }
    Ok(())
}

fn require_vacant(dir: &Path) -> Outcome {
    let occupied = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => {
            return Err(error).or_broken(format!("cannot look into {}", dir.display()));
        }
    };
    if occupied {
        return Err(Failure::new(
            Exit::Conflict,
            format!(
                "{} exists and is not empty: nothing is overwritten; choose another folder",
                dir.display()
            ),
        ));
    }
    Ok(())
}

fn write(dir: &Path, args: &Args, threshold: u16, ports: &Ports) -> Outcome<Hash> {
    let now = clock::now();
    let members = identities(args.nodes)?;
    let genesis = genesis(&members, &args.organisation, now)?;
    let hash = genesis.digest();
    let authority = CertificateAuthority::create(
        &format!("{} certificate authority", args.organisation),
        now,
        VALID_DAYS,
    )
    .or_broken("cannot make the certificate authority")?;

    let json =
        serde_json::to_string_pretty(&genesis).or_broken("cannot write the genesis bundle")?;
    write_public(&dir.join("genesis.json"), &json)?;
    make_dir(&dir.join("ca"))?;
    write_public(&dir.join("ca/ca.pem"), authority.certificate_pem())?;
    write_secret(&dir.join("ca/ca.key"), authority.key_pem().as_bytes())?;

    for member in &members {
        let folder = dir.join(member.folder());
        make_dir(&folder)?;
        write_identity_key(&folder.join("statement.key"), &member.key)
            .or_broken("cannot write a key")?;
        if let Some(key) = &member.api_key {
            write_identity_key(&folder.join("api.key"), key).or_broken("cannot write a key")?;
        }
        if member.is_machine() {
            let request = CertificateRequest {
                member: &member.id,
                identity: &member.key,
                genesis: hash,
                names: &[],
                now,
                valid_days: VALID_DAYS,
            };
            let pair = authority
                .issue(&request)
                .or_broken(format!("cannot make the certificate of {}", member.id))?;
            write_public(&folder.join("tls.pem"), &pair.cert_pem)?;
            write_secret(&folder.join("tls.key"), pair.key_pem.as_bytes())?;
        }
    }
    configs::write(
        dir,
        &members,
        hash,
        ports,
        threshold,
        args.spare_primes.into(),
    )?;
    Ok(hash)
}

/// How long certificates and the genesis bundle last.
const VALID_DAYS: u32 = 365;

/// The first bundle: who is who. Signed by its author and by every approver.
fn genesis(members: &[Identity], organisation: &str, now: Timestamp) -> Outcome<Envelope> {
    let mut listed: Vec<Member> = members.iter().map(Identity::record).collect();
    listed.sort_by(|a, b| a.id.cmp(&b.id));
    let bundle = PolicyBundle {
        version: 1,
        predecessor: None,
        supersedes: Vec::new(),
        organisation: organisation.to_owned(),
        members: listed,
        groups: members::groups()?,
        webauthn: None,
        quorums: Quorums {
            policy: members::APPROVERS,
            ceremony: members::APPROVERS,
            unfreeze: 2,
            observation: members::OBSERVERS,
        },
        timing: Timing {
            max_clock_skew_seconds: 5,
            max_request_life_seconds: 3600,
            max_authorization_life_seconds: 60,
            max_cold_authorization_life_seconds: None,
            max_approval_life_seconds: 86_400,
            activation_delay_seconds: 0,
        },
        keys: Vec::new(),
        wallets: Vec::new(),
        assets: Vec::new(),
        address_book: Vec::new(),
        rules: Vec::new(),
        cedar: Vec::new(),
        ledger_groups: Vec::new(),
        limits: Vec::new(),
        nonce_leads: Vec::new(),
        reference: None,
        fee_caps: Vec::new(),
    };
    let author = members::the(members, members::AUTHOR)?;
    let lasts = u64::from(VALID_DAYS).saturating_mul(86_400);
    let statement = Statement::new(
        Hash::ZERO,
        author.id.clone(),
        now,
        now.plus_seconds(lasts),
        bundle,
        &mut rand_core::OsRng,
    );
    let mut envelope = statement
        .sign(&author.key)
        .or_broken("cannot sign the genesis bundle")?;
    for approver in members.iter().filter(|m| m.is_approver()) {
        envelope
            .add_signature(approver.id.as_str(), &approver.key)
            .or_broken("cannot sign the genesis bundle")?;
    }
    // What a node would refuse at its start is found out here.
    countersign_policy::bundle::BundleChain::from_genesis(&envelope, envelope.digest())
        .or_fail(Exit::Usage, "this genesis bundle would be refused")?;
    Ok(envelope)
}

impl Identity {
    fn record(&self) -> Member {
        Member {
            id: self.id.clone(),
            name: self.name.clone(),
            roles: [self.role].into(),
            keys: vec![MemberKey {
                algorithm: MemberKeyAlgorithm::Ed25519,
                public_key: self.key.public(),
            }],
            credentials: Vec::new(),
            domains: self.is_node().then(|| Domains {
                administration: format!("{} administrators", self.id),
                hosting: format!("{} host", self.id),
            }),
        }
    }
}

fn make_dir(path: &Path) -> Outcome {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .or_broken(format!("cannot make {}", path.display()))
}

fn write_secret(path: &Path, content: &[u8]) -> Outcome {
    write_secret_file(path, content).or_broken("cannot write a secret")
}

/// Writes a file that anybody may read; never over another one.
fn write_public(path: &Path, content: &str) -> Outcome {
    use std::io::Write as _;
    std::fs::File::create_new(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .or_broken(format!("cannot write {}", path.display()))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod tests;
