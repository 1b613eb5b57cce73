//! Load on a whole deployment: real processes, real TLS, durable stores; what a signature costs beside the bare library.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    missing_docs
)]

mod api;
mod cost;
mod deployment;
mod drive;
mod memory;
mod policy;
mod report;
mod requests;
mod stages;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use countersign_policy::Protocol;

use deployment::{Deployment, Outcome, Plan};
use drive::{Load, Way};
use report::{Measured, Report};

/// Measures a whole deployment: signer processes and a coordinator on this machine, over TLS, every promise on disk.
#[derive(Debug, Parser)]
#[command(name = "load", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Sign(SignArgs),
    Memory(memory::MemoryArgs),
}

/// Signs requests and says what they cost: latency, throughput, and CPU of all processes beside the bare library's.
///
/// Each protocol's key is made by a ceremony first. Then requests run two ways: straight to the nodes, as a coordinator sends
/// them, and end to end through the coordinator (`POST /v1/sign-requests` with `Prefer: wait`, SQLite). The bare library is
/// measured before and after, in this process; bounds are ratios within one run wherever they can be.
///
/// Below each run stands what the nodes say of it: commits of their state files per request (each waits for the disk), and
/// the medians of the parts of a signature, among them what limits and ledgers add (reserve, confirm, release).
///
/// CPU is user and system time of each process from /proc, idle work included. CGGMP24 signs from pools that are filled before
/// and not refilled while it is measured; its key needs primes that take minutes, so keep it with --dir.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    load sign                                        dkls23 and frost-ed25519, 2 of 3\n  \
    load sign --protocols cggmp24,dkls23 --dir target/load    keeps the deployment, and the key with its primes\n  \
    load sign --concurrency 1,4,16 --requests 400 --json\n\n\
    The exit code is 1 when something broke, 3 when a bound is not met.")]
struct SignArgs {
    /// Which keys sign.
    #[arg(long, value_delimiter = ',', default_values_t = [Protocol::Dkls23, Protocol::FrostEd25519])]
    protocols: Vec<Protocol>,
    /// Requests in each run.
    #[arg(long, default_value_t = 200)]
    requests: usize,
    /// Requests in each run of cggmp24: each costs every signer half a second of CPU before.
    #[arg(long, default_value_t = 40)]
    presigned_requests: usize,
    /// Requests at a time; one run for each. Bounds on latency hold for 1, bounds on CPU for the most of these.
    #[arg(long, value_delimiter = ',', default_values_t = [1usize])]
    concurrency: Vec<usize>,
    /// The ways that requests take.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["nodes", "end-to-end"])]
    ways: Vec<Way>,
    /// Signer nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// How many sign together.
    #[arg(long, default_value_t = 2)]
    threshold: u16,
    /// A deployment's folder, made if it is not there and kept. Without it, a temporary one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The countersign command [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    countersign: Option<PathBuf>,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// Requests before each measurement: connections, caches.
const WARM_UP: usize = 10;
/// The same for cggmp24.
const PRESIGNED_WARM_UP: usize = 10;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Sign(args) => sign(args).await,
        Command::Memory(args) => memory::run(args).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn sign(args: SignArgs) -> Outcome<bool> {
    let presigned = args.protocols.contains(&Protocol::Cggmp24);
    let runs = args.concurrency.len() * args.ways.len();
    // The coordinator may prefer one signer set: each pool can serve all of a run.
    let pool = (args.presigned_requests + PRESIGNED_WARM_UP) * runs;
    let plan = Plan {
        dir: args.dir.clone(),
        nodes: args.nodes,
        threshold: args.threshold,
        presignatures: if presigned { pool } else { 1 },
        program: command_beside(args.countersign.clone())?,
    };
    let say = |text: String| {
        if !args.json {
            eprintln!("{text}");
        }
    };
    let deployment = Arc::new(Deployment::start(&plan).await?);
    say(format!("running in {}", deployment.dir().display()));
    for protocol in &args.protocols {
        let took = deployment.make_key(*protocol, args.threshold).await?;
        say(format!("key {protocol}: {:.1} s", took.as_secs_f64()));
    }
    if presigned {
        // Before anything is measured: filling takes all the CPU there is.
        let load = Load::new(Arc::clone(&deployment), Protocol::Cggmp24, args.threshold);
        let took = load.wait_for_pools(pool).await?;
        say(format!("pools full: {:.0} s", took.as_secs_f64()));
    }
    let mut measured = Vec::new();
    for protocol in &args.protocols {
        let load = Arc::new(Load::new(
            Arc::clone(&deployment),
            *protocol,
            args.threshold,
        ));
        let (warm_up, requests) = if *protocol == Protocol::Cggmp24 {
            (PRESIGNED_WARM_UP, args.presigned_requests)
        } else {
            (WARM_UP, args.requests)
        };
        let before = report::bare(*protocol, args.threshold, args.nodes);
        let mut runs = Vec::new();
        for concurrency in &args.concurrency {
            for way in args.ways.iter().copied() {
                load.run(way, warm_up, *concurrency).await?;
                let run = load.run(way, requests, *concurrency).await?;
                say(report::line(*protocol, &run));
                runs.push(run);
            }
        }
        let after = report::bare(*protocol, args.threshold, args.nodes);
        measured.push(Measured::new(*protocol, before, after, runs));
    }
    let report = Report::new(args.threshold, args.nodes, measured);
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.all_met())
}

fn command_beside(given: Option<PathBuf>) -> Outcome<PathBuf> {
    let program = match given {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("countersign"),
    };
    if program.exists() {
        return Ok(program);
    }
    let missing = program.display();
    Err(format!("there is no {missing}: build it with cargo build --release -p countersign-cli, or name it with --countersign").into())
}
