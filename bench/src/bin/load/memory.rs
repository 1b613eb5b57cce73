//! Memory: a node with a thousand keys, and a million addresses.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_policy::{Address, DerivationPath, Hash, KeyId, Network, Protocol};
use countersign_signer::clock::now;
use countersign_signer::files::read_identity_key;
use countersign_signer::node::NodeConfig;
use countersign_signer::store::{OpenMode, PassphraseKek, Store, StoreOptions};
use serde::Serialize;

use crate::command_beside;
use crate::cost::resident;
use crate::deployment::{Deployment, Outcome, Plan};
use crate::drive::{Load, Way};

/// Stores keys at a real node, starts it, signs, and says how much memory it takes; then derives addresses.
///
/// The stored shares are copies of one DKLs23 share (of all protocols' the largest) under names of their own, put there through
/// the store while the node is down. Signing uses the deployment's own DKLs23 and FROST keys. Resident memory is VmRSS from /proc.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  load memory --keys 1000 --addresses 1000000")]
pub struct MemoryArgs {
    /// Keys in the node's store.
    #[arg(long, default_value_t = 1000)]
    keys: u32,
    /// Signatures of each of the two keys before memory is read.
    #[arg(long, default_value_t = 50)]
    requests: usize,
    /// Addresses to derive from the pinned key.
    #[arg(long, default_value_t = 1_000_000)]
    addresses: u32,
    /// The countersign command [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    countersign: Option<PathBuf>,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// What a node with a thousand keys may take.
const NODE_LIMIT: u64 = 200_000_000;
/// What deriving may add: allocators keep a few pages.
const GROWTH_LIMIT: u64 = 1_000_000;
/// For peers to take in what the new keys added to the ledger.
const CATCH_UP: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
struct Memory {
    keys: u32,
    share_bytes: usize,
    started_bytes: u64,
    after_signing_bytes: u64,
    addresses: u32,
    growth_bytes: u64,
    met: bool,
}

/// Runs the command; whether both bounds hold.
pub async fn run(args: MemoryArgs) -> Outcome<bool> {
    let plan = Plan {
        dir: None,
        nodes: 3,
        threshold: 2,
        presignatures: 1,
        program: command_beside(args.countersign)?,
    };
    let mut deployment = Deployment::start(&plan).await?;
    for protocol in [Protocol::Dkls23, Protocol::FrostEd25519] {
        deployment.make_key(protocol, 2).await?;
    }
    deployment.stop_processes();
    let share_bytes = store_keys(&deployment, args.keys).await?;
    deployment.start_processes()?;
    deployment.wait_until_ready().await?;
    tokio::time::sleep(CATCH_UP).await;
    let node = *deployment.processes().0.first().ok_or("no node")?;
    let started_bytes = resident(node)?;
    let deployment = Arc::new(deployment);
    for protocol in [Protocol::Dkls23, Protocol::FrostEd25519] {
        let load = Arc::new(Load::new(Arc::clone(&deployment), protocol, 2));
        load.run(Way::Nodes, args.requests, 1).await?;
    }
    let after_signing_bytes = resident(node)?;
    let growth_bytes = derive(&deployment, args.addresses)?;
    let memory = Memory {
        keys: args.keys,
        share_bytes,
        started_bytes,
        after_signing_bytes,
        addresses: args.addresses,
        growth_bytes,
        met: after_signing_bytes < NODE_LIMIT && growth_bytes < GROWTH_LIMIT,
    };
    if args.json {
        println!("{}", serde_json::to_string(&memory)?);
    } else {
        println!(
            "{} keys of {} bytes: node {:.1} MB after start, {:.1} MB after signing (asked: under 200 MB)",
            memory.keys,
            memory.share_bytes,
            started_bytes as f64 / 1e6,
            after_signing_bytes as f64 / 1e6,
        );
        println!(
            "{} addresses: resident memory grew by {} bytes (asked: nothing)",
            memory.addresses, memory.growth_bytes
        );
        println!("{}", if memory.met { "met" } else { "NOT MET" });
    }
    Ok(memory.met)
}

/// Puts copies of the first node's DKLs23 share into its store, each under a name and a group key record of its own.
async fn store_keys(deployment: &Deployment, count: u32) -> Outcome<usize> {
    let config = NodeConfig::load(&deployment.first_node_config()?)?;
    let options = StoreOptions {
        path: config.data_dir.join("signer.sqlite"),
        node: config.node.clone(),
        genesis: config.genesis_hash,
        mode: OpenMode::Existing,
    };
    let identity = Arc::new(read_identity_key(&config.identity_key_file)?);
    let kek = PassphraseKek::from_file(
        config
            .passphrase_file
            .as_deref()
            .ok_or("no passphrase file")?,
    )?;
    let store = Store::open(&options, identity, &kek).await?;
    let own: KeyId = Protocol::Dkls23.as_str().parse()?;
    let (record, secret) = store.load_share(&own).await?.ok_or("no DKLs23 share")?;
    for number in 0..count {
        let mut copy = record.clone();
        copy.key = KeyId::new(format!("stored-{number}"))?;
        copy.ceremony = Hash::sha256(&number.to_be_bytes());
        store.put_share(&copy, secret.clone(), now()).await?;
    }
    let stored = store.shares().await?.len();
    store.close().await;
    if stored < usize::try_from(count)? {
        return Err(format!("the store lists {stored} shares").into());
    }
    Ok(secret.len())
}

/// Derives addresses `m/0/i` of the pinned DKLs23 key; by how much resident memory grew.
fn derive(deployment: &Deployment, count: u32) -> Outcome<u64> {
    let bundle = deployment.bundle.current();
    let key = bundle
        .key(&Protocol::Dkls23.as_str().parse()?)
        .ok_or("no key")?;
    let account = key
        .extended_public_key()
        .derive(&DerivationPath::new(vec![0])?)?;
    let mut last: Option<Address> = None;
    let mut one = |index: u32| -> Outcome<()> {
        let child = account.derive(&DerivationPath::new(vec![index])?)?;
        let address = child.public_key.address(&Network::ETHEREUM)?;
        if last.replace(address) == Some(address) {
            return Err("two paths, one address".into());
        }
        Ok(())
    };
    // What the first one allocates for good is not growth.
    one(u32::MAX >> 1)?;
    let before = resident(std::process::id())?;
    for index in 0..count {
        one(index)?;
    }
    Ok(resident(std::process::id())?.saturating_sub(before))
}
