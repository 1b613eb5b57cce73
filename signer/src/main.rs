//! `countersign-signer`: one signer node.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use countersign_signer::node::{Node, NodeConfig};

/// A signer node: holds key shares, checks everything itself, and takes part in signatures.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The node's configuration (TOML).
    #[arg(long)]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    match countersign_signer::node::run(&arguments.config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("countersign-signer: {error}");
            ExitCode::FAILURE
        }
    }
}
