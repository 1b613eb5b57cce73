//! `countersign ceremony`: make a key, believe nobody about it, and have the policy pin it.

mod progress;
mod transcript;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use countersign_coordinator::CeremonyReport;
use countersign_policy::bundle::{ActiveBundle, Environment, KeyRecord, Role};
use countersign_policy::statement::KeyCeremony;
use countersign_policy::{Envelope, KeyId, MemberId, Protocol};
use countersign_signer::wire::{CeremonyStatus, CeremonyStep, StartCeremony, path};
use serde::Serialize;

use crate::api::Api;
use crate::bundle::change::Change;
use crate::bundle::{Submitted, submit};
use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::{Format, Progress};
use crate::profile::{Profile, ProfileArg};
use crate::quorum::Signers;
use crate::verified;
use progress::Bars;
pub use transcript::MadeKey;

/// Makes a threshold key: no machine ever holds it, every node gets a share.
///
/// The order is issued by the policy author and signed by approvers. The nodes run the key generation with each other, store their
/// shares, and prove them with test signatures over a message that can be no transaction. This command then verifies every
/// node's signed transcript itself, and has the author and the approvers sign a bundle that pins the key. Only then does the key
/// sign and show addresses.
///
/// Protocols: dkls23 (ECDSA; fast, any address, its implementation is not audited), cggmp24 (ECDSA; conservative, takes minutes of
/// computing the first time), frost-ed25519 (Ed25519).
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign ceremony --key hot --protocol dkls23 --threshold 2 --nodes node-1,node-2,node-3 --change policy.toml\n  \
    countersign ceremony --key sol --protocol frost-ed25519 --wallet sol-hot=solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp")]
pub struct Args {
    /// The key's name, never used before.
    #[arg(long)]
    key: KeyId,
    /// dkls23, cggmp24 or frost-ed25519.
    #[arg(long)]
    protocol: Protocol,
    /// How many nodes sign together [default: the smallest number that is more than half].
    #[arg(long)]
    threshold: Option<u16>,
    /// How many nodes may lie without a stopped request being reported wrongly.
    #[arg(long, default_value_t = 0)]
    max_faulty: u16,
    /// The nodes that hold shares, separated by commas [default: all nodes of the policy].
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<MemberId>,
    /// What the key is for.
    #[arg(long, default_value = "hot wallets")]
    purpose: String,
    /// The key is for test networks only.
    #[arg(long)]
    test: bool,
    /// A wallet made together with the key, as ID=NETWORK[+NETWORK...]; its path is m.
    #[arg(long = "wallet", value_name = "ID=NETWORKS")]
    wallets: Vec<String>,
    /// A change of the policy made together with it: wallets, rules, address book (TOML).
    #[arg(long, value_name = "FILE")]
    change: Option<PathBuf>,
    #[command(flatten)]
    signers: Signers,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// How long an order counts, in seconds: primes for CGGMP take minutes.
const ORDER_LIFE: u64 = 3600;
/// How long to wait for the nodes.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long to wait before a node that knows nothing of the order is told again.
const REPEAT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);

#[derive(Debug, Serialize)]
struct Answer {
    ok: bool,
    key: KeyRecord,
    bundle: Submitted,
    seconds: u64,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let chain = verified::chain(&api, &profile).await?;
    if chain.active().key(&args.key).is_some() {
        return Err(Failure::new(
            Exit::Conflict,
            format!(
                "there is a key {} already; a key is made once, under a name of its own",
                args.key
            ),
        ));
    }
    let mut change = match &args.change {
        Some(file) => Change::read(file)?,
        None => Change::default(),
    };
    for wallet in &args.wallets {
        change
            .add_wallet(wallet, &args.key)
            .map_err(Failure::usage)?;
    }
    let started = Instant::now();
    let order = args.order(chain.active());
    let order = args
        .signers
        .issue(&profile, chain.active(), order, ORDER_LIFE)?;
    let made = make_key(&api, chain.active(), order, &Progress::new()).await?;
    let record = made.record.clone();
    let bundle = pin(&api, &profile, vec![made], &change, &args.signers).await?;
    let answer = Answer {
        ok: true,
        key: record,
        bundle,
        seconds: started.elapsed().as_secs(),
    };
    args.format.show(&answer, |answer| {
        let key = &answer.key;
        format!(
            "key       {}: {}, {} of {}\npublic    {}\nbundle    version {} pins it, {}",
            key.id,
            key.protocol,
            key.threshold,
            key.nodes.len(),
            key.group_key,
            answer.bundle.version,
            answer.bundle.digest
        )
    })
}

impl Args {
    fn order(&self, active: &ActiveBundle) -> KeyCeremony {
        let mut nodes = self.nodes.clone();
        if nodes.is_empty() {
            nodes = nodes_of(active);
        }
        nodes.sort();
        KeyCeremony {
            key: self.key.clone(),
            protocol: self.protocol,
            threshold: self.threshold.unwrap_or(match self.protocol.is_hsm() {
                true => 1,
                false => majority(&nodes),
            }),
            max_faulty: self.max_faulty,
            nodes,
            purpose: self.purpose.clone(),
            environment: if self.test {
                Environment::Test
            } else {
                Environment::Production
            },
        }
    }
}

/// The smallest threshold that is more than half, and at least 2.
fn majority(nodes: &[MemberId]) -> u16 {
    let count = u16::try_from(nodes.len()).unwrap_or(u16::MAX);
    (count / 2).saturating_add(1).max(2)
}

/// All nodes of the policy, in order.
pub fn nodes_of(active: &ActiveBundle) -> Vec<MemberId> {
    let members = active.content().members.iter();
    members
        .filter(|m| m.roles.contains(&Role::Node))
        .map(|m| m.id.clone())
        .collect()
}

/// An order for a key of all nodes of the policy, signed by whomever the profile has keys of.
pub fn order_for_all(
    profile: &Profile,
    active: &ActiveBundle,
    key: KeyId,
    protocol: Protocol,
) -> Outcome<Envelope> {
    let nodes = nodes_of(active);
    let order = KeyCeremony {
        key,
        protocol,
        threshold: majority(&nodes),
        max_faulty: 0,
        nodes,
        purpose: "demonstration".to_owned(),
        environment: Environment::Test,
    };
    Signers::default().issue(profile, active, order, ORDER_LIFE)
}

/// Submits an order, waits for all its nodes, and verifies what they say.
pub async fn make_key(
    api: &Api,
    active: &ActiveBundle,
    order: Envelope,
    progress: &Progress,
) -> Outcome<MadeKey> {
    // What every node will refuse is found out before anybody is asked.
    let verified = active
        .open_ceremony(&order)
        .or_fail(Exit::Refused, "this order would be refused")?;
    let digest = verified.digest();
    let call = StartCeremony { order };
    let mut asked = Instant::now();
    let _started: CeremonyReport = api.post(path::CEREMONIES, &call).await?;
    let mut bars = Bars::new(progress, verified.body());
    let deadline = Instant::now().checked_add(PATIENCE);
    loop {
        let report: CeremonyReport = api.get(&format!("{}/{digest}", path::CEREMONIES)).await?;
        let statuses = statuses(report);
        bars.show(&statuses);
        if let Some((node, reason)) = failed(&statuses) {
            return Err(Failure::broken(format!(
                "the ceremony failed at {node}: {reason}"
            )));
        }
        let nodes = &verified.body().nodes;
        let transcripts: Vec<Envelope> = nodes
            .iter()
            .filter_map(|node| statuses.get(node)?.transcript.clone())
            .collect();
        if transcripts.len() == nodes.len() {
            bars.finish();
            return MadeKey::verify(active, &verified, transcripts);
        }
        // A node that was not there when the order came gets it again; those that have it are not disturbed.
        if statuses.len() < nodes.len() && asked.elapsed() > REPEAT {
            asked = Instant::now();
            let _repeated: CeremonyReport = api.post(path::CEREMONIES, &call).await?;
        }
        if deadline.is_none_or(|deadline| Instant::now() > deadline) {
            return Err(Failure::new(
                Exit::Unreachable,
                format!("the nodes did not finish the ceremony {digest} in time"),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Has the policy pin the keys, as active ones, together with a change of the policy.
pub async fn pin(
    api: &Api,
    profile: &Profile,
    made: Vec<MadeKey>,
    change: &Change,
    signers: &Signers,
) -> Outcome<Submitted> {
    let chain = verified::chain(api, profile).await?;
    let active = chain.active();
    let (records, transcripts): (Vec<_>, Vec<_>) =
        made.into_iter().map(|m| (m.record, m.transcripts)).unzip();
    let next = change.apply(active, records, clock::now())?;
    let bundle = signers.issue(profile, active, next, seconds_left(active))?;
    submit(api, profile, bundle, transcripts.concat()).await
}

/// How long the active bundle still lasts: a successor made on the side does not prolong it.
pub fn seconds_left(active: &ActiveBundle) -> u64 {
    let millis = active.expires_at().millis_since(clock::now());
    u64::try_from(millis / 1000).unwrap_or(0)
}

/// What the nodes that answered say.
fn statuses(report: CeremonyReport) -> BTreeMap<MemberId, CeremonyStatus> {
    let nodes = report.nodes.into_iter();
    nodes
        .filter_map(|(node, answer)| Some((node, answer.status?)))
        .collect()
}

fn failed(statuses: &BTreeMap<MemberId, CeremonyStatus>) -> Option<(&MemberId, &str)> {
    statuses
        .iter()
        .find_map(|(node, status)| match &status.step {
            CeremonyStep::Failed { reason } => Some((node, reason.as_str())),
            _ => None,
        })
}
