//! `countersign wallet`: the wallets of the policy.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use countersign_policy::bundle::{ActiveBundle, Wallet, WalletTier};
use countersign_policy::{Address, DerivationPath, KeyId, Network, Protocol, WalletId};
use serde::Serialize;

use crate::address;
use crate::api::Api;
use crate::bundle::change::Change;
use crate::bundle::submit;
use crate::ceremony::seconds_left;
use crate::clock;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Format;
use crate::policy::entries::WalletEntry;
use crate::profile::ProfileArg;
use crate::quorum::Signers;
use crate::verified;

/// Lists and makes wallets. A wallet is a key, a path below it, and the networks it is used on; it exists when a policy bundle that
/// names it is active.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the wallets with their addresses.
    List(List),
    /// Shows one wallet.
    Show(Show),
    /// Makes a wallet of a key: proposes, signs and submits a bundle with it. A policy has no wallet that nothing lets pay, so its
    /// rules come with it.
    #[command(after_help = "Example:\n  \
        countersign wallet create --id deposits --key hot --path m/1 --network eip155:1 --change deposits-rules.toml")]
    Create(Create),
}

#[derive(Debug, Parser)]
struct List {
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Parser)]
struct Show {
    /// The wallet.
    #[arg(value_name = "WALLET")]
    id: WalletId,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Parser)]
struct Create {
    /// The wallet's id.
    #[arg(long)]
    id: WalletId,
    /// For people [default: the id].
    #[arg(long)]
    name: Option<String>,
    /// The key, made by a ceremony.
    #[arg(long)]
    key: KeyId,
    /// The path of its own address; its deposit addresses are below it. Ed25519 keys: m.
    #[arg(long)]
    path: DerivationPath,
    /// A network it is used on, as CAIP-2; once for each.
    #[arg(long = "network", value_name = "CAIP-2", required = true)]
    networks: Vec<Network>,
    /// A change of the policy made together with it: its rules (TOML, as for countersign bundle propose).
    #[arg(long, value_name = "FILE")]
    change: Option<PathBuf>,
    #[command(flatten)]
    signers: Signers,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// A wallet on one network.
#[derive(Debug, Serialize)]
pub struct WalletRow {
    id: WalletId,
    network: Network,
    protocol: Protocol,
    threshold: u16,
    parties: usize,
    /// Derived here from the pinned key.
    pub address: Address,
    /// Hexadecimal; with `0x` in front for EVM networks.
    public_key: String,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    match args.command {
        Command::List(args) => show(None, &args.profile, args.format).await,
        Command::Show(args) => show(Some(&args.id), &args.profile, args.format).await,
        Command::Create(args) => create(args).await,
    }
}

async fn show(id: Option<&WalletId>, profile: &ProfileArg, format: Format) -> Outcome {
    let profile = profile.load()?;
    let chain = verified::chain(&Api::new(&profile)?, &profile).await?;
    let active = chain.active();
    let mut listed = Vec::new();
    for wallet in &active.content().wallets {
        if id.is_none_or(|id| *id == wallet.id) {
            listed.extend(rows(active, wallet)?);
        }
    }
    if let (Some(id), true) = (id, listed.is_empty()) {
        return Err(Failure::new(
            Exit::NotFound,
            format!("the policy has no wallet {id}"),
        ));
    }
    let object = serde_json::json!({ "ok": true, "wallets": listed });
    format.show(&object, |_| {
        if listed.is_empty() {
            return "no wallets yet".to_owned();
        }
        let lines: Vec<String> = listed.iter().map(WalletRow::line).collect();
        lines.join("\n")
    })
}

async fn create(args: Create) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let chain = verified::chain(&api, &profile).await?;
    let active = chain.active();
    if active.wallet(&args.id).is_some() {
        return Err(Failure::new(
            Exit::Conflict,
            format!("there is a wallet {} already", args.id),
        ));
    }
    if active.key(&args.key).is_none() {
        return Err(Failure::new(
            Exit::NotFound,
            format!(
                "the policy has no key {}: make it with countersign ceremony",
                args.key
            ),
        ));
    }
    let wallet = WalletEntry {
        name: args.name,
        id: args.id.clone(),
        tier: WalletTier::Hot,
        key: args.key,
        path: args.path,
        networks: args.networks,
        ledger_group: None,
        offline_operators: None,
    };
    let mut change = match &args.change {
        Some(file) => Change::read(file)?,
        None => Change::default(),
    };
    change.wallets.push(wallet);
    let next = change.apply(active, Vec::new(), clock::now())?;
    let envelope = args
        .signers
        .issue(&profile, active, next, seconds_left(active))?;
    submit(&api, &profile, envelope, Vec::new()).await?;
    let chain = verified::chain(&api, &profile).await?;
    let made = chain.active().wallet(&args.id);
    let made = made.ok_or_else(|| Failure::broken("the wallet is not in the active bundle"))?;
    let listed = rows(chain.active(), made)?;
    let object = serde_json::json!({ "ok": true, "wallets": listed });
    args.format.show(&object, |_| {
        let lines: Vec<String> = listed.iter().map(WalletRow::line).collect();
        lines.join("\n")
    })
}

/// The wallet's own address on each of its networks.
pub fn rows(active: &ActiveBundle, wallet: &Wallet) -> Outcome<Vec<WalletRow>> {
    let key = active
        .key(&wallet.key)
        .ok_or_else(|| Failure::broken(format!("the policy has no key {}", wallet.key)))?;
    let public_key = address::public_key(active, wallet, &wallet.path)?;
    let mut rows = Vec::new();
    for network in &wallet.networks {
        let (_, address) = address::derive(active, &wallet.id, network, None)?;
        let prefix = if network.chain_id().is_some() {
            "0x"
        } else {
            ""
        };
        rows.push(WalletRow {
            id: wallet.id.clone(),
            network: *network,
            protocol: key.protocol,
            threshold: key.threshold,
            parties: key.nodes.len(),
            address,
            public_key: format!("{prefix}{public_key}"),
        });
    }
    Ok(rows)
}

impl WalletRow {
    /// For people.
    pub fn line(&self) -> String {
        format!(
            "{:12} {:40} {} ({} of {}, {})",
            self.id.as_str(),
            self.network.to_string(),
            self.address,
            self.threshold,
            self.parties,
            self.protocol
        )
    }
}
