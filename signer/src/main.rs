//! `countersign-signer`: one signer node.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use countersign_signer::node::{self, NodeConfig};

/// A signer node: holds key shares, checks everything itself, and takes part in signatures.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The node's configuration (TOML).
    #[arg(long)]
    config: PathBuf,
    /// Create the node's store and stop. Once in a node's life, before its first start.
    #[arg(long)]
    create_store: bool,
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    if !arguments.create_store {
        return Ok(node::run(&arguments.config).await?);
    }
    node::create_store(&NodeConfig::load(&arguments.config)?).await?;
    eprintln!("the store was created; start the node without --create-store");
    Ok(())
}

fn main() -> ExitCode {
    // Before anything is read, and before there are other threads.
    if let Err(error) = countersign_signer::process::forbid_core_dumps() {
        eprintln!("countersign-signer: {error}");
        return ExitCode::FAILURE;
    }
    start(&Arguments::parse())
}

#[tokio::main]
async fn start(arguments: &Arguments) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("countersign-signer: {error}");
            ExitCode::FAILURE
        }
    }
}
