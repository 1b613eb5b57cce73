//! `countersign node` and `countersign coordinator`: the services, in the same program as everything else.

use std::future::Future;
use std::num::NonZero;
use std::path::PathBuf;

use clap::Parser;
use countersign_coordinator::{Coordinator, CoordinatorConfig};
use countersign_signer::node::{Node, NodeConfig, create_store, rekey_store};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cluster::interrupt;
use crate::failure::{Exit, OrFail as _, Outcome};

/// Runs one signer node, as `countersign-signer` does.
#[derive(Debug, Parser)]
pub struct NodeArgs {
    #[command(flatten)]
    service: Service,
    /// Creates the node's store and stops. Once in a node's life, before its first start; `countersign init` did it already.
    #[arg(long)]
    create_store: bool,
    /// Seals the store of a node that does not run with the key that the configuration names now (kek, or passphrase_file), and
    /// stops. A node that runs does it at SIGHUP, without a pause. Name the key from before as kek_before or passphrase_file.
    #[arg(long, conflicts_with = "create_store")]
    rekey: bool,
}

/// Runs one coordinator, as `countersign-coordinator` does.
#[derive(Debug, Parser)]
pub struct CoordinatorArgs {
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, clap::Args)]
struct Service {
    /// The configuration (TOML); see deploy/ for samples.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Ends when standard input does: whoever started the process holds the other end.
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

/// Runs a node until it is told to stop.
pub fn node(args: NodeArgs) -> Outcome {
    let service = args.service;
    serve(async move {
        let config =
            NodeConfig::load(&service.config).or_fail(Exit::Usage, "this node cannot start")?;
        if args.create_store {
            return create_store(&config)
                .await
                .or_broken("no store was created");
        }
        if args.rekey {
            return rekey_store(&config)
                .await
                .or_broken("the store is sealed as before");
        }
        let node = Node::start(config)
            .await
            .or_broken("this node cannot start")?;
        let mut hangup = signal(SignalKind::hangup()).or_broken("signals")?;
        let resealing = async {
            while hangup.recv().await.is_some() {
                node.reseal_from(&service.config).await;
            }
        };
        let asked = tokio::select! {
            asked = service.asked_to_stop() => asked,
            () = resealing => Ok(()),
        };
        node.stop().await;
        asked
    })
}

/// Runs a coordinator until it is told to stop.
pub fn coordinator(args: CoordinatorArgs) -> Outcome {
    let service = args.service;
    serve(async move {
        let config = CoordinatorConfig::load(&service.config)
            .or_fail(Exit::Usage, "this coordinator cannot start")?;
        let coordinator = Coordinator::start(config)
            .await
            .or_broken("this coordinator cannot start")?;
        let asked = service.asked_to_stop().await;
        coordinator.shutdown().await;
        asked
    })
}

impl Service {
    /// Ends on SIGINT or SIGTERM, or with standard input when that was asked for.
    async fn asked_to_stop(&self) -> Outcome {
        let input_ends = async {
            if !self.until_input_ends {
                return std::future::pending().await;
            }
            let mut ignored = [0u8; 256];
            let mut input = tokio::io::stdin();
            while matches!(input.read(&mut ignored).await, Ok(read) if read > 0) {}
        };
        tokio::select! {
            stopped = interrupt() => stopped,
            () = input_ends => Ok(()),
        }
    }
}

/// Services log to standard error. Half of the processors serve the network: signing, the store and what may block have
/// threads of their own, and workers that find nothing to do only wake each other.
fn serve(service: impl Future<Output = Outcome>) -> Outcome {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.div_euclid(2).max(1))
        .enable_all()
        .build()
        .or_broken("cannot start")?;
    let ended = runtime.block_on(service);
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    ended
}
