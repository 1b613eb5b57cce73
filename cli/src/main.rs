//! The `countersign` command.

mod inspect;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Threshold signing for payment services: inspect what would be signed.
#[derive(Parser)]
#[command(name = "countersign", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what an unsigned transaction means, offline.
    Inspect(inspect::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Inspect(args) => inspect::run(&args),
    }
}
