//! `countersign address`: addresses derived here from the pinned key. The coordinator is never believed.

use clap::{Parser, Subcommand};
use countersign_policy::bundle::{ActiveBundle, Wallet};
use countersign_policy::{Address, DerivationPath, Network, PublicKey, WalletId};
use serde::Serialize;

use crate::api::Api;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::verified;

/// Derives and checks addresses of a wallet.
///
/// The key is the one that the verified chain of policy bundles pins, down from the genesis hash of the profile; the child keys are
/// derived on this machine (BIP-32, without hardened steps). A coordinator that lies about an address is found out here.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the address at a path.
    #[command(
        after_help = "Example:\n  countersign address show --wallet treasury --network eip155:1 --path m/0/7"
    )]
    Show(At),
    /// Checks that an address is the wallet's. Exit code 3 when it is not.
    #[command(
        after_help = "Example:\n  countersign address check --wallet treasury --network tron:0x2b6653dc --path m/0/7 TQn9..."
    )]
    Check(Check),
}

#[derive(Debug, Parser)]
struct At {
    /// The wallet.
    #[arg(long)]
    wallet: WalletId,
    /// The network as CAIP-2.
    #[arg(long, value_name = "CAIP-2")]
    network: Network,
    /// The path from the key's root [default: the wallet's own path].
    #[arg(long)]
    path: Option<DerivationPath>,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Parser)]
struct Check {
    #[command(flatten)]
    at: At,
    /// The address somebody showed you.
    address: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    ok: bool,
    wallet: WalletId,
    network: Network,
    path: DerivationPath,
    address: Address,
    public_key: PublicKey,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    match args.command {
        Command::Show(at) => {
            let shown = at.derive().await?;
            at.format.show(&shown, |shown| shown.address.to_string())
        }
        Command::Check(check) => {
            let claimed = Address::parse(&check.at.network, &check.address)
                .or_fail(Exit::Usage, "the address to check")?;
            let shown = check.at.derive().await?;
            if shown.address != claimed {
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "{claimed} is NOT the address of {} at {} on {}: that is {}",
                        shown.wallet, shown.path, shown.network, shown.address
                    ),
                ));
            }
            check.at.format.show(&shown, |shown| {
                format!(
                    "{} is the address of {} at {}",
                    shown.address, shown.wallet, shown.path
                )
            })
        }
    }
}

impl At {
    async fn derive(&self) -> Outcome<Shown> {
        let profile = self.profile.load()?;
        let chain = verified::chain(&Api::new(&profile)?, &profile).await?;
        let active = chain.active();
        let (wallet, address) = derive(active, &self.wallet, &self.network, self.path.as_ref())?;
        let path = self.path.as_ref().unwrap_or(&wallet.path).clone();
        Ok(Shown {
            ok: true,
            wallet: wallet.id.clone(),
            network: self.network,
            address,
            public_key: public_key(active, wallet, &path)?,
            path,
        })
    }
}

/// The address of a wallet at a path (the wallet's own without one), derived from the key that the bundle pins.
pub fn derive<'a>(
    active: &'a ActiveBundle,
    id: &WalletId,
    network: &Network,
    path: Option<&DerivationPath>,
) -> Outcome<(&'a Wallet, Address)> {
    let wallet = active
        .wallet(id)
        .ok_or_else(|| Failure::new(Exit::NotFound, format!("the policy has no wallet {id}")))?;
    if !wallet.networks.contains(network) {
        return Err(Failure::usage(format!(
            "wallet {id} is not used on {network}"
        )));
    }
    let path = path.unwrap_or(&wallet.path);
    if !path.starts_with(&wallet.path) {
        return Err(Failure::usage(format!(
            "{path} is not below the wallet's path {}",
            wallet.path
        )));
    }
    let address = public_key(active, wallet, path)?.address(network).or_fail(
        Exit::Usage,
        format!("wallet {id} has no address on {network}"),
    )?;
    Ok((wallet, address))
}

/// The child public key of a wallet at a path.
pub fn public_key(
    active: &ActiveBundle,
    wallet: &Wallet,
    path: &DerivationPath,
) -> Outcome<PublicKey> {
    let key = active
        .key(&wallet.key)
        .ok_or_else(|| Failure::broken(format!("the policy has no key {}", wallet.key)))?;
    let child = key
        .extended_public_key()
        .derive(path)
        .or_fail(Exit::Usage, format!("no key at {path}"))?;
    Ok(child.public_key)
}
