//! `countersign bundle`: see, verify and change the policy.

pub mod change;
mod show;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use countersign_coordinator::{BundleReport, NodeReport};
use countersign_policy::bundle::{BundleChain, changes};
use countersign_policy::{Envelope, Hash, MemberId};
use countersign_signer::wire::{SubmitBundle, path};
use serde::Serialize;

use crate::api::Api;
use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;
use crate::policy;
use crate::profile::{Profile, ProfileArg, read_key};
use crate::quorum::Signers;
use crate::verified;
use change::Change;
pub use show::summary;

/// Sees, verifies and changes the policy bundle: who is who, which wallets exist, where money may go and how much at once.
///
/// Bundles form a chain from the genesis. Every version is issued by a policy author and signed by the quorum of approvers that
/// the version before demands; every node verifies that for itself. A version that is active cannot be edited, only followed.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
    Verify(Verify),
    Propose(Propose),
    Sign(Sign),
    Submit(Submit),
}

/// Shows the active bundle, after verifying its whole chain from the pinned genesis.
#[derive(Debug, Parser)]
struct Show {
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Verifies a chain of bundles in files, oldest first, without any network.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  countersign bundle verify --genesis-hash 6f1d... genesis.json bundle-2.json"
)]
struct Verify {
    /// The pinned hash of the genesis bundle.
    #[arg(long, value_name = "HASH")]
    genesis_hash: Hash,
    /// Envelopes, oldest first, or one file with an array of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// Makes the next version of the policy from a change in a TOML file, and signs it.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign bundle propose --change policy.toml --submit\n  \
    countersign bundle propose --change policy.toml --sign author=author.key --out next.json\n  \
    countersign bundle sign next.json --member approver-1 --key approver-1.key\n  \
    countersign bundle submit next.json")]
struct Propose {
    /// The change: wallets, address_book, rules, fee_caps, assets, remove. `countersign init` writes a sample, policy.toml.
    #[arg(long, value_name = "FILE")]
    change: PathBuf,
    /// How many days the version lasts. Nothing is signed under an expired bundle.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    #[command(flatten)]
    signers: Signers,
    /// Writes the signed bundle here, for further signatures.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Submits it at once: the signatures must be a quorum.
    #[arg(long, conflicts_with = "out")]
    submit: bool,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Adds an approver's signature to a proposed bundle in a file, after showing what it changes.
#[derive(Debug, Parser)]
struct Sign {
    /// The proposed bundle; it is rewritten with one more signature.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Who signs.
    #[arg(long)]
    member: MemberId,
    /// The member's statement key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Submits a bundle that its quorum has signed.
#[derive(Debug, Parser)]
struct Submit {
    /// The bundle.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// A version and who has it.
#[derive(Debug, Serialize)]
pub struct Submitted {
    ok: bool,
    /// The version.
    pub version: u64,
    /// Its digest.
    pub digest: Hash,
    /// What each node said to it.
    pub nodes: BTreeMap<MemberId, NodeReport>,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    match args.command {
        Command::Show(args) => show_active(args).await,
        Command::Verify(args) => verify(&args),
        Command::Propose(args) => propose(args).await,
        Command::Sign(args) => sign(args).await,
        Command::Submit(args) => {
            let profile = args.profile.load()?;
            let api = Api::new(&profile)?;
            let submitted = submit(&api, &profile, read_envelope(&args.file)?, Vec::new()).await?;
            args.format.show(&submitted, show_submitted)
        }
    }
}

async fn show_active(args: Show) -> Outcome {
    let profile = args.profile.load()?;
    let chain = verified::chain(&Api::new(&profile)?, &profile).await?;
    show_chain(&chain, args.format)
}

fn show_chain(chain: &BundleChain, format: Format) -> Outcome {
    let active = chain.active();
    let object = serde_json::json!({
        "ok": true,
        "digest": active.digest(),
        "genesis_hash": chain.genesis(),
        "expires_at": active.expires_at(),
        "bundle": active.content(),
    });
    format.show(&object, |_| summary(active))
}

fn verify(args: &Verify) -> Outcome {
    let mut envelopes = Vec::new();
    for file in &args.files {
        envelopes.extend(read_envelopes(file)?);
    }
    let (first, rest) = envelopes
        .split_first()
        .ok_or_else(|| Failure::usage("the files hold no bundle"))?;
    let mut chain = BundleChain::from_genesis(first, args.genesis_hash)
        .or_fail(Exit::Refused, "the genesis bundle is refused")?;
    for envelope in rest {
        chain
            .append(envelope, clock::now())
            .or_fail(Exit::Refused, "the chain is refused")?;
    }
    show_chain(&chain, args.format)
}

fn read_envelopes(file: &Path) -> Outcome<Vec<Envelope>> {
    let text =
        std::fs::read(file).or_fail(Exit::Usage, format!("cannot read {}", file.display()))?;
    if text.trim_ascii_start().first() == Some(&b'[') {
        return serde_json::from_slice(&text).or_fail(Exit::Usage, format!("{}", file.display()));
    }
    Ok(vec![read_envelope(file)?])
}

fn read_envelope(file: &Path) -> Outcome<Envelope> {
    let text =
        std::fs::read(file).or_fail(Exit::Usage, format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).or_fail(Exit::Usage, format!("{} is no envelope", file.display()))
}

async fn propose(args: Propose) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let chain = verified::chain(&api, &profile).await?;
    let change = Change::read(&args.change)?;
    let next = change.apply(chain.active(), Vec::new(), clock::now())?;
    let life = args.days.saturating_mul(86_400);
    let envelope = args.signers.issue(&profile, chain.active(), next, life)?;
    if args.submit {
        let submitted = submit(&api, &profile, envelope, Vec::new()).await?;
        return args.format.show(&submitted, show_submitted);
    }
    let json = serde_json::to_string_pretty(&envelope).or_broken("cannot write JSON")?;
    match &args.out {
        Some(out) => {
            std::fs::write(out, &json).or_broken(format!("cannot write {}", out.display()))?;
            let answer =
                serde_json::json!({ "ok": true, "file": out, "digest": envelope.digest() });
            args.format.show(&answer, |_| {
                format!("wrote {}, bundle {}", out.display(), envelope.digest())
            })
        }
        None => {
            crate::output::line(&json);
            Ok(())
        }
    }
}

async fn sign(args: Sign) -> Outcome {
    let profile = args.profile.load()?;
    let chain = verified::chain(&Api::new(&profile)?, &profile).await?;
    let mut envelope = read_envelope(&args.file)?;
    let key = read_key(&args.key)?;
    // What it says is verified before anything is signed; a missing quorum is what further signers are for.
    let proposed = chain
        .verify_proposal(&envelope, clock::now())
        .or_fail(Exit::Refused, "nothing was signed")?;
    let changes = changes(chain.active().content(), proposed.body());
    args.format.say(policy::changes_text(&changes));
    envelope
        .add_signature(args.member.as_str(), &key)
        .or_broken("cannot sign")?;
    chain
        .verify_proposal(&envelope, clock::now())
        .or_fail(Exit::Refused, "nothing was signed")?;
    let json = serde_json::to_string_pretty(&envelope).or_broken("cannot write JSON")?;
    std::fs::write(&args.file, json).or_broken(format!("cannot write {}", args.file.display()))?;
    let answer = serde_json::json!({
        "ok": true, "digest": envelope.digest(), "signatures": envelope.signatures().len(), "bundle": proposed.body(), "changes": changes,
    });
    args.format.show(&answer, |_| {
        format!(
            "{} signed version {} ({}); {} signatures",
            args.member,
            proposed.body().version,
            envelope.digest(),
            envelope.signatures().len()
        )
    })
}

/// Verifies a bundle as every node will, submits it, and waits until every node follows it.
pub async fn submit(
    api: &Api,
    profile: &Profile,
    bundle: Envelope,
    transcripts: Vec<Envelope>,
) -> Outcome<Submitted> {
    let chain = verified::chain(api, profile).await?;
    let next = chain
        .verify_successor(&bundle, clock::now())
        .or_fail(Exit::Refused, "this bundle would be refused")?;
    let (version, digest) = (next.content().version, next.digest());
    let body = SubmitBundle {
        bundle,
        transcripts,
    };
    let report: BundleReport = api.post(path::BUNDLES, &body).await?;
    let deadline = Instant::now().checked_add(ACTIVATION);
    loop {
        // Verified again, now as the newest: this client remembers it.
        let chain = verified::chain(api, profile).await?;
        if chain.links().iter().any(|link| link.digest() == digest) {
            break;
        }
        if deadline.is_none_or(|deadline| Instant::now() > deadline) {
            return Err(Failure::new(
                Exit::Pending,
                format!(
                    "version {version} waits for more nodes: {}",
                    behind(&report)
                ),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(Submitted {
        ok: true,
        version,
        digest,
        nodes: report.nodes,
    })
}

/// How long to wait until enough nodes follow a bundle.
const ACTIVATION: Duration = Duration::from_secs(30);

/// The nodes that do not follow yet, and why.
fn behind(report: &BundleReport) -> String {
    let lines: Vec<String> = report
        .nodes
        .iter()
        .filter_map(|(node, said)| Some(format!("{node}: {}", said.error.as_ref()?)))
        .collect();
    lines.join("; ")
}

fn show_submitted(submitted: &Submitted) -> String {
    let nodes: Vec<String> = submitted
        .nodes
        .iter()
        .map(|(node, said)| {
            let said = said.error.as_deref().unwrap_or("follows");
            format!("  {:16} {said}", node.as_str())
        })
        .collect();
    format!(
        "version {} is active\nbundle    {}\n{}",
        submitted.version,
        submitted.digest,
        nodes.join("\n")
    )
}
