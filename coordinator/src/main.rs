//! `countersign-coordinator --config FILE`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use countersign_coordinator::{Coordinator, CoordinatorConfig, StartError};

/// Takes sign requests over HTTPS and drives the signer nodes.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (TOML). deploy/coordinator.toml explains every field.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    // Before anything is read, and before there are other threads: the coordinator's statement key is a secret too.
    if let Err(error) = countersign_signer::process::forbid_core_dumps() {
        eprintln!("countersign-coordinator: {error}");
        return ExitCode::FAILURE;
    }
    start(&Arguments::parse())
}

#[tokio::main]
async fn start(arguments: &Arguments) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the coordinator does not run"
            );
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), StartError> {
    let running = Coordinator::start(CoordinatorConfig::load(&arguments.config)?).await?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|source| StartError::File {
        path: "SIGTERM".into(),
        source,
    })?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("the coordinator stops");
    running.shutdown().await;
    Ok(())
}
