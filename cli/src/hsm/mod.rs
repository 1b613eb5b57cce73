//! `countersign hsm`: PKCS#11 tokens, made, examined, listed and measured.

mod bench;
mod doctor;
mod keys;
mod provision;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use countersign_hsm::{HsmClient, HsmConfig};
use serde::Deserialize;

use crate::failure::{Exit, OrFail as _, Outcome};

/// PKCS#11 tokens: what holds the keys of warm and cold wallets, and the key that seals a node's store.
///
/// The module of the token's vendor is loaded by a process of its own, countersign-hsm-worker. Which module and token is said by the
/// section hsm of a TOML file, such as a node's configuration; docs/hsm.md shows one for each device.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Provision(provision::Args),
    Doctor(doctor::Args),
    Keys(keys::Args),
    Bench(bench::Args),
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Provision(args) => provision::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

/// Where the section `[hsm]` is.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArg {
    /// A TOML file with the section hsm: a node's configuration, or one that has nothing else.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Only the section is of interest; what else the file has is checked by whom it is for.
#[derive(Deserialize)]
struct File {
    hsm: HsmConfig,
}

impl ConfigArg {
    fn load(&self) -> Outcome<HsmConfig> {
        load(&self.config)
    }

    fn client(&self) -> Outcome<HsmClient> {
        HsmClient::start(self.load()?).or_broken("the token cannot be used")
    }
}

fn load(path: &Path) -> Outcome<HsmConfig> {
    let what = format!("{}", path.display());
    let text = std::fs::read_to_string(path).or_fail(Exit::Usage, &what)?;
    let file: File = toml::from_str(&text).or_fail(Exit::Usage, &what)?;
    let mut config = file.hsm;
    config.check().or_fail(Exit::Usage, &what)?;
    config.resolve(path.parent().unwrap_or(Path::new(".")));
    Ok(config)
}
