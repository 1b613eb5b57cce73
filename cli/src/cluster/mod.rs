//! `countersign up`: a whole deployment as processes on this machine.

mod processes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use countersign_coordinator::NodeList;
use serde_json::Value;

use crate::api::Api;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::init;
use crate::output::{Format, Progress};
use crate::profile::{FILE_NAME, Profile};
pub use processes::Processes;

/// Runs a deployment made by `countersign init` on this machine: each signer and the coordinator in a process of its own, in the
/// foreground, until Ctrl-C.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign init cluster && countersign up cluster\n  \
    countersign up --ephemeral        in a temporary folder that is removed at the end")]
pub struct Args {
    /// The deployment's folder.
    #[arg(value_name = "DIR", required_unless_present = "ephemeral")]
    dir: Option<PathBuf>,
    /// Makes a deployment in a temporary folder, and removes it at the end.
    #[arg(long, conflicts_with = "dir")]
    ephemeral: bool,
    #[command(flatten)]
    format: Format,
}

/// How long the processes may take to be ready.
const READY: Duration = Duration::from_secs(30);

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let temporary = match args.dir {
        Some(_) => None,
        None => Some(temporary_folder()?),
    };
    let dir = match (&args.dir, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(temporary)) => {
            let dir = temporary.path().join("cluster");
            init::make(&init::Args::in_dir(dir.clone())).await?;
            dir
        }
        (None, None) => return Err(Failure::usage("name a folder")),
    };
    let dir = std::fs::canonicalize(&dir)
        .or_fail(Exit::NotFound, format!("there is no {}", dir.display()))?;
    let mut processes = Processes::start(&dir)?;
    let ran = attend(&dir, &mut processes, args.format).await;
    processes.stop().await;
    ran
}

/// A folder for one run; removed when it is dropped.
pub fn temporary_folder() -> Outcome<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("countersign-")
        .tempdir()
        .or_broken("cannot make a temporary folder")
}

async fn attend(dir: &Path, processes: &mut Processes, format: Format) -> Outcome {
    // Listened for from the start: whoever interrupts early does not wait for readiness.
    let mut interrupted = std::pin::pin!(interrupt());
    tokio::select! {
        ready = ready(dir, processes) => ready?,
        stopped = &mut interrupted => return stopped,
    };
    announce(dir, processes, format)?;
    loop {
        tokio::select! {
            stopped = &mut interrupted => {
                format.say("stopping");
                return stopped;
            }
            () = tokio::time::sleep(Duration::from_millis(500)) => processes.check()?,
        }
    }
}

/// Ends on Ctrl-C (SIGINT) or SIGTERM.
pub async fn interrupt() -> Outcome {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).or_broken("cannot listen for signals")?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done.or_broken("cannot listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits until the coordinator is ready and every node answers it.
pub async fn ready(dir: &Path, processes: &mut Processes) -> Outcome {
    let api = Api::new(&Profile::load(&dir.join(FILE_NAME))?)?;
    let bar = Progress::new().spinner("starting");
    let deadline = Instant::now().checked_add(READY);
    loop {
        processes.check()?;
        let all = nodes_answer(&api).await;
        match all {
            Ok(()) => {
                bar.finish_and_clear();
                return Ok(());
            }
            Err(failure) if deadline.is_none_or(|d| Instant::now() > d) => {
                return Err(Failure::new(
                    Exit::Unreachable,
                    format!("not ready after {} s: {failure}", READY.as_secs()),
                ));
            }
            Err(failure) => bar.set_message(failure.message),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn nodes_answer(api: &Api) -> Outcome {
    let _ready: Value = api.get("/readyz").await?;
    let list: NodeList = api.get("/v1/nodes").await?;
    match list.nodes.iter().find(|(_, node)| !node.up) {
        Some((node, _)) => Err(Failure::new(
            Exit::Unreachable,
            format!("{node} does not answer yet"),
        )),
        None => Ok(()),
    }
}

fn announce(dir: &Path, processes: &Processes, format: Format) -> Outcome {
    let profile = Profile::load(&dir.join(FILE_NAME))?;
    let members = processes.members();
    let object = serde_json::json!({
        "ok": true,
        "dir": dir,
        "coordinator": profile.coordinator,
        "profile": dir.join(FILE_NAME),
        "processes": members.iter().map(|(member, pid)| (member.to_string(), *pid)).collect::<std::collections::BTreeMap<_, _>>(),
    });
    format.show(&object, |_| {
        let lines: Vec<String> = members
            .iter()
            .map(|(member, pid)| format!("  {:16} process {pid}", member.as_str()))
            .collect();
        let (folder, url) = (dir.display(), &profile.coordinator);
        format!(
            "running\n{}\n\n\
             logs          {folder}/logs\n\
             API           {url}/openapi.json\n\n\
             In another terminal:\n\
             \x20 export COUNTERSIGN_PROFILE={folder}/{FILE_NAME}\n\
             \x20 countersign ceremony --key hot --protocol dkls23 --change {folder}/policy.toml\n\
             \x20 countersign wallet list\n\
             \x20 countersign request transfer --wallet treasury --network eip155:1 --asset USDT --amount 12.50 \\\n\
             \x20   --to 0x28C6c06298d514Db089934071355E5743bf21d60 --nonce 0 --max-fee-per-gas 20000000000 \\\n\
             \x20   --external-id payout-1 --wait 20\n\
             \x20 curl --cacert {folder}/ca/ca.pem {url}/healthz\n\n\
             Ctrl-C stops everything.",
            lines.join("\n")
        )
    })
}
