//! `countersign demo`: the whole product on one machine, in a minute.

mod cggmp;
mod officers;
mod payments;
mod report;

use std::path::{Path, PathBuf};

use clap::Parser;
use countersign_policy::{KeyId, MemberId, Protocol};

use crate::api::Api;
use crate::bundle::change::Change;
use crate::ceremony::{make_key, nodes_of, order_for_all, pin};
use crate::cluster::{Processes, interrupt, ready, temporary_folder};
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::output::{Format, Progress};
use crate::profile::{FILE_NAME, Profile};
use crate::quorum::Signers;
use crate::{init, verified, wallet};
use payments::{Expected, Order};
use report::Report;

/// Shows the whole product on this machine: three signers and a coordinator as processes on loopback make keys, sign real USDT, TRX and
/// SOL transfers, refuse what they must, wait for officers, keep to limits, stand still when frozen, and go on when one signer is
/// killed.
///
/// Nothing is broadcast and no chain is asked: nonces and reference blocks are made up, the signatures are real. Everything lives in a
/// temporary folder and is gone at the end; the result stays in target/demo/result.json.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign demo\n  \
    countersign demo --cggmp      also a CGGMP24 key with real safe primes: minutes of computing")]
pub struct Args {
    /// Also makes a CGGMP24 key with real primes, fills its pool, and signs from it. Takes minutes.
    #[arg(long)]
    cggmp: bool,
    /// Where the result is written.
    #[arg(long, value_name = "FILE", default_value = "target/demo/result.json")]
    result: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// The policy of the demonstration.
const POLICY: &str = include_str!("policy.toml");
/// The threshold ECDSA key.
const HOT: &str = "hot";
/// The threshold Ed25519 key.
const SOL: &str = "sol";

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let mut report = Report::new(args.format);
    let folder = temporary_folder()?;
    let dir = folder.path().join("cluster");
    report.title(
        "Countersign: three signers and a coordinator on this machine. Nothing is broadcast.",
    );
    let mut deployment = init::Args::in_dir(dir.clone());
    // Begun now, the primes are nearly there when the ceremony asks for them.
    deployment.spare_primes = u8::from(args.cggmp);
    let made = init::make(&deployment).await?;
    report.step(format!("made a deployment, genesis {}", made.genesis_hash));
    let mut processes = Processes::start(&dir)?;
    let shown = tokio::select! {
        shown = show(&args, &dir, &mut processes, &mut report) => shown,
        stopped = interrupt() => stopped.and_then(|()| Err(Failure::broken("interrupted"))),
    };
    processes.stop().await;
    let removed = folder
        .close()
        .or_broken("cannot remove the temporary folder");
    shown?;
    removed?;
    report.step("stopped everything and removed the temporary folder");
    report.write(&args.result)
}

async fn show(args: &Args, dir: &Path, processes: &mut Processes, report: &mut Report) -> Outcome {
    ready(dir, processes).await?;
    let running: Vec<String> = processes
        .members()
        .iter()
        .map(|(member, pid)| format!("{member} ({pid})"))
        .collect();
    report.step(format!("running: {}", running.join(", ")));

    let profile = Profile::load(&dir.join(FILE_NAME))?;
    let api = Api::new(&profile)?;
    make_keys(&api, &profile, report).await?;
    sign(&api, &profile, report, &payments::ALLOWED).await?;
    report.title("The same service asks for what it may not have");
    sign(&api, &profile, report, &payments::REFUSED).await?;

    officers::show(dir, &api, &profile, report).await?;
    if args.cggmp {
        cggmp::show(&api, &profile, report).await?;
    }
    let victim = victim(&api, &profile, report).await?;
    processes.kill(&victim).await?;
    report.title(&format!(
        "{victim} is killed (SIGKILL); two of three are left"
    ));
    sign(&api, &profile, report, &payments::AFTER_A_CRASH).await?;
    Ok(())
}

/// Both keys, pinned by one bundle together with their wallets and rules.
async fn make_keys(api: &Api, profile: &Profile, report: &mut Report) -> Outcome {
    report.title("Keys that no machine holds");
    let progress = Progress::new();
    let chain = verified::chain(api, profile).await?;
    let active = chain.active();
    let mut made = Vec::new();
    for (name, protocol) in [(HOT, Protocol::Dkls23), (SOL, Protocol::FrostEd25519)] {
        let key = KeyId::new(name).or_broken("cannot name a key")?;
        let order = order_for_all(profile, active, key, protocol)?;
        let key = make_key(api, active, order, &progress).await?;
        report.step(format!(
            "key {name}: {protocol}, {} of {}, all {} transcripts verified, {}",
            key.record.threshold,
            key.record.nodes.len(),
            key.transcripts.len(),
            key.record.group_key
        ));
        made.push(key);
    }
    let submitted = pin(
        api,
        profile,
        made,
        &Change::parse(POLICY)?,
        &Signers::default(),
    )
    .await?;
    report.step(format!(
        "policy version {} pins both, signed by author and approvers, followed by every node",
        submitted.version
    ));
    report.title("Wallets, derived here from the pinned keys");
    let chain = verified::chain(api, profile).await?;
    for listed in &chain.active().content().wallets {
        for row in wallet::rows(chain.active(), listed)? {
            report.wallet(row);
        }
    }
    report.title("The payment service asks for signatures");
    Ok(())
}

async fn sign(api: &Api, profile: &Profile, report: &mut Report, orders: &[Order]) -> Outcome {
    let chain = verified::chain(api, profile).await?;
    for order in orders {
        let done = order.place(api, profile, chain.active()).await?;
        let as_expected = order.expected.is(done.state);
        let (state, reason) = (done.state.as_str(), done.reason.clone().unwrap_or_default());
        report.request(order.what, done);
        if !as_expected {
            let wanted = match order.expected {
                Expected::Signed => "signed",
                Expected::Blocked => "refused",
            };
            return Err(Failure::broken(format!(
                "{}: should be {wanted}, is {state} {reason}",
                order.what
            )));
        }
    }
    Ok(())
}

/// A node that took part in the last signature, so that its death is noticed.
async fn victim(api: &Api, profile: &Profile, report: &Report) -> Outcome<MemberId> {
    if let Some(node) = report.last_participant() {
        return Ok(node);
    }
    let chain = verified::chain(api, profile).await?;
    let first = nodes_of(chain.active()).into_iter().next();
    first.ok_or_else(|| Failure::broken("there is no node"))
}
