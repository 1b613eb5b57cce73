//! From a policy directory to a version that counts: proposed by an author, signed by approvers who saw what it changes,
//! acknowledged by nodes, and open to a veto until its delay is over.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use countersign_coordinator::{NoticeReport, ProposalList, ProposalState, ProposalView};
use countersign_policy::bundle::{BundleChain, BundleChange, PolicyBundle, Role, changes};
use countersign_policy::statement::{Statement, Verified, Veto};
use countersign_policy::{Envelope, Hash};
use serde::Serialize;

use super::DirectoryArg;
use super::diff::text;
use super::directory::{Basis, PolicyDirectory, keep_chain};
use crate::api::Api;
use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::officer::{Consent, confirm};
use crate::output::{Format, Progress};
use crate::profile::{Profile, ProfileArg};
use crate::quorum::{Actor, issue};
use crate::verified;

/// Proposals of the coordinator's API.
pub const PROPOSALS: &str = "/v1/policy/proposals";

/// Proposes a policy directory as the next version: packs it, shows what it changes, and signs it as a policy author.
///
/// The packed statement continues the active version and no other: when that changes meanwhile, propose again.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign policy propose policy --profile author/client.toml\n  \
    countersign policy propose policy --as author            with a key file that this profile names\n  \
    countersign policy propose policy --out next.json        only writes it, for bundle sign and bundle submit")]
pub struct ProposeArgs {
    #[command(flatten)]
    directory: DirectoryArg,
    /// How many days the version lasts. Nothing is signed under an expired one.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=400))]
    days: u64,
    /// Also when nothing changes: it lasts longer.
    #[arg(long)]
    reaffirm: bool,
    /// Another successor of the same version that nodes have acknowledged and that this one takes the place of.
    #[arg(long = "supersedes", value_name = "DIGEST")]
    supersedes: Vec<Hash>,
    /// Only writes the signed statement.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    actor: Actor,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Signs a proposal as a policy approver, after showing what it makes possible that was not.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign policy approve --profile approver-1/client.toml\n  \
    countersign policy approve 77ab... --as approver-1")]
pub struct ApproveArgs {
    /// The proposal's digest. Not needed when only one waits.
    #[arg(value_name = "DIGEST")]
    digest: Option<Hash>,
    #[command(flatten)]
    actor: Actor,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Stops a proposed version before it counts. Any one policy approver may, until its delay is over.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  \
    countersign policy veto 77ab... --reason \"I never saw this address\" --profile approver-2/client.toml")]
pub struct VetoArgs {
    /// The proposal's digest.
    #[arg(value_name = "DIGEST")]
    digest: Hash,
    /// Why, for people; 1 to 128 bytes.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    actor: Actor,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Brings a proposal that its approvers have signed to the nodes once more, and waits until it counts. Exit code 7 when it does
/// not yet.
///
/// The coordinator and the nodes go on by themselves; this only watches, and repeats what may have been lost.
#[derive(Debug, Parser)]
pub struct ActivateArgs {
    /// The proposal's digest. Not needed when only one waits.
    #[arg(value_name = "DIGEST")]
    digest: Option<Hash>,
    /// Waits up to this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// A proposal as this machine verified it, and where it stands.
#[derive(Debug, Serialize)]
struct Answer {
    ok: bool,
    version: u64,
    digest: Hash,
    state: ProposalState,
    signed_by: Vec<String>,
    needed: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
    changes: Vec<BundleChange>,
}

/// Runs `propose`.
pub async fn propose(args: ProposeArgs) -> Outcome {
    let own = args.profile.load()?;
    let api = Api::new(&own)?;
    let profile = args.actor.act(own)?;
    let chain = verified::chain(&api, &profile).await?;
    require_role(&profile, &chain, Role::PolicyAuthor)?;
    let directory = PolicyDirectory::read(&args.directory.dir)?;
    keep_chain(&directory.path, &chain)?;
    let active = chain.active();
    let mut next = match directory.pack(&Basis::after(active)) {
        Ok(next) => next,
        Err(problems) => return Err(problems.show(args.format)?),
    };
    next.supersedes.clone_from(&args.supersedes);
    next.supersedes.sort();
    let changes = changes(active.content(), &next);
    if changes.is_empty() && !args.reaffirm && args.supersedes.is_empty() {
        return Err(Failure::new(
            Exit::Conflict,
            format!(
                "{} says what version {} says: nothing to propose (--reaffirm makes it last longer)",
                directory.path.display(),
                active.content().version
            ),
        ));
    }
    args.format.say(format!(
        "version {} after {}\n{}",
        next.version,
        active.digest(),
        text(&changes)
    ));
    confirm(args.consent, args.format, "Propose this?")?;
    let envelope = issue(&profile, next, args.days.saturating_mul(86_400))?;
    chain
        .verify_proposal(&envelope, clock::now())
        .or_fail(Exit::Refused, "this proposal would be refused")?;
    if let Some(out) = &args.out {
        let json = serde_json::to_string_pretty(&envelope).or_broken("cannot write JSON")?;
        std::fs::write(out, json).or_broken(format!("cannot write {}", out.display()))?;
        let answer = serde_json::json!({ "ok": true, "file": out, "digest": envelope.digest() });
        return args.format.show(&answer, |_| {
            format!("wrote {}, bundle {}", out.display(), envelope.digest())
        });
    }
    let view: ProposalView = api.post(PROPOSALS, &envelope).await?;
    show(args.format, view, changes)
}

/// Runs `approve`.
pub async fn approve(args: ApproveArgs) -> Outcome {
    let own = args.profile.load()?;
    let api = Api::new(&own)?;
    let profile = args.actor.act(own)?;
    let chain = verified::chain(&api, &profile).await?;
    require_role(&profile, &chain, Role::PolicyApprover)?;
    let view = find(&api, args.digest).await?;
    let proposal = open(&chain, &view)?;
    let changes = changes(chain.active().content(), proposal.body());
    args.format.say(told(&chain, &view, &proposal, &changes));
    confirm(args.consent, args.format, "Sign exactly this?")?;
    let mut envelope = view.bundle.clone();
    envelope
        .add_signature(profile.member.as_str(), &profile.statement_key()?)
        .or_broken("cannot sign")?;
    let path = format!("{PROPOSALS}/{}/signatures", view.digest);
    let view: ProposalView = api.post(&path, &envelope).await?;
    show(args.format, view, changes)
}

/// Runs `veto`.
pub async fn veto(args: VetoArgs) -> Outcome {
    let own = args.profile.load()?;
    let api = Api::new(&own)?;
    let profile = args.actor.act(own)?;
    let chain = verified::chain(&api, &profile).await?;
    require_role(&profile, &chain, Role::PolicyApprover)?;
    let view = find(&api, Some(args.digest)).await?;
    let proposal = open(&chain, &view)?;
    let changes = changes(chain.active().content(), proposal.body());
    args.format.say(told(&chain, &view, &proposal, &changes));
    confirm(args.consent, args.format, "Veto this?")?;
    let body = Veto {
        bundle: args.digest,
        reason: args.reason,
    };
    let envelope = issue(&profile, body, VETO_LIFE)?;
    let path = format!("{PROPOSALS}/{}/veto", args.digest);
    let report: NoticeReport = api.post(&path, &envelope).await?;
    let object = serde_json::json!({ "ok": true, "bundle": args.digest, "veto": report.digest, "nodes": report.nodes });
    args.format.show(&object, |_| {
        let nodes: Vec<String> = report
            .nodes
            .iter()
            .map(|(node, said)| {
                let said = said.error.as_deref().unwrap_or("holds it");
                format!("  {:16} {said}", node.as_str())
            })
            .collect();
        format!("vetoed    {}\n{}", args.digest, nodes.join("\n"))
    })
}

/// How long a veto's statement says that it counts, in seconds. Nobody looks at it: what was stopped stays so.
const VETO_LIFE: u64 = 86_400;
const POLL: Duration = Duration::from_millis(200);

/// Runs `activate`.
pub async fn activate(args: ActivateArgs) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let mut view = match args.digest {
        Some(_) => find(&api, args.digest).await?,
        None => waiting_or_newest(&api).await?,
    };
    let path = format!("{PROPOSALS}/{}/signatures", view.digest);
    if matches!(
        view.state,
        ProposalState::Acknowledging | ProposalState::Delayed
    ) {
        view = api.post(&path, &view.bundle).await?;
    }
    let bar = Progress::new().spinner(format!("version {}", view.version));
    let deadline = Instant::now().checked_add(Duration::from_secs(args.wait));
    loop {
        match view.state {
            ProposalState::Active => break,
            ProposalState::Vetoed | ProposalState::Overtaken => {
                let (state, version) = (name(view.state), view.version);
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "version {version} ({}) is {state}: it will never count",
                        view.digest
                    ),
                ));
            }
            _ => {}
        }
        bar.set_message(view.waits_for.clone().unwrap_or_default());
        if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
            show(args.format, view, Vec::new())?;
            return Err(Failure::quiet(Exit::Pending));
        }
        tokio::time::sleep(POLL).await;
        view = find(&api, Some(view.digest)).await?;
    }
    bar.finish_and_clear();
    // What counts is what this machine verifies, not what it is told.
    let chain = verified::chain(&api, &profile).await?;
    if !chain
        .links()
        .iter()
        .any(|link| link.digest() == view.digest)
    {
        return Err(Failure::new(
            Exit::Refused,
            "the coordinator says that it counts, and its chain does not have it",
        ));
    }
    show(args.format, view, Vec::new())
}

fn require_role(profile: &Profile, chain: &BundleChain, role: Role) -> Outcome {
    if chain.active().has_role(&profile.member, role) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "{} is no {}: name who acts with --as MEMBER[=FILE], or such a member's profile with --profile",
            profile.member,
            role.as_str()
        ),
    ))
}

/// The proposal of a digest, or the only one that is not decided.
async fn find(api: &Api, digest: Option<Hash>) -> Outcome<ProposalView> {
    let list: ProposalList = api.get(&format!("{PROPOSALS}?all=true")).await?;
    let undecided = |view: &ProposalView| {
        matches!(
            view.state,
            ProposalState::Collecting | ProposalState::Acknowledging | ProposalState::Delayed
        )
    };
    let mut found = list.proposals.into_iter().filter(|view| match digest {
        Some(digest) => view.digest == digest,
        None => undecided(view),
    });
    match (found.next(), found.next()) {
        (Some(view), None) => Ok(view),
        (None, _) => Err(Failure::new(
            Exit::NotFound,
            digest.map_or_else(
                || "no proposal waits".to_owned(),
                |digest| format!("there is no proposal {digest}"),
            ),
        )),
        (Some(a), Some(b)) => Err(Failure::usage(format!(
            "several proposals wait, {} and {} among them: name one (countersign policy log)",
            a.digest, b.digest
        ))),
    }
}

/// The proposal that waits; when none does, the newest one that counts: the last signature may have been all that it needed.
async fn waiting_or_newest(api: &Api) -> Outcome<ProposalView> {
    match find(api, None).await {
        Err(failure) if failure.exit == Exit::NotFound => {
            let list: ProposalList = api.get(&format!("{PROPOSALS}?all=true")).await?;
            let active = list.proposals.into_iter();
            active
                .filter(|view| view.state == ProposalState::Active)
                .max_by_key(|view| view.version)
                .ok_or(failure)
        }
        found => found,
    }
}

/// Verifies a proposal as a successor of the active bundle, so far as its signatures go.
fn open(chain: &BundleChain, view: &ProposalView) -> Outcome<Verified<PolicyBundle>> {
    let proposal = chain
        .verify_proposal(&view.bundle, clock::now())
        .or_fail(Exit::Refused, "the proposal is refused")?;
    if proposal.digest() != view.digest {
        return Err(Failure::new(
            Exit::Refused,
            "the coordinator shows another proposal under this digest",
        ));
    }
    Ok(proposal)
}

fn told(
    chain: &BundleChain,
    view: &ProposalView,
    proposal: &Verified<PolicyBundle>,
    changes: &[BundleChange],
) -> String {
    let signed: Vec<&str> = proposal.signers().iter().map(|m| m.as_str()).collect();
    format!(
        "proposal  {}\nversion   {} after {} ({})\nauthor    {}, at {}\nsigned by {}; {} approvers are needed\n{}",
        view.digest,
        proposal.body().version,
        chain.active().content().version,
        chain.active().digest(),
        proposal.issuer(),
        proposal.statement().issued_at,
        signed.join(", "),
        view.needed,
        text(changes)
    )
}

fn show(format: Format, view: ProposalView, changes: Vec<BundleChange>) -> Outcome {
    let answer = Answer {
        ok: true,
        version: view.version,
        digest: view.digest,
        state: view.state,
        signed_by: view
            .signatures
            .iter()
            .map(|s| s.member.to_string())
            .collect(),
        needed: view.needed,
        waits_for: view.waits_for,
        changes,
    };
    format.show(&answer, |answer| {
        let mut out = format!(
            "proposal  {}\nversion   {}, {}\nsigned by {} of {} approvers: {}",
            answer.digest,
            answer.version,
            name(answer.state),
            answer.signed_by.len(),
            answer.needed,
            answer.signed_by.join(", ")
        );
        if let Some(waits) = &answer.waits_for {
            out.push_str(&format!("\nwaits for {waits}"));
        }
        out
    })
}

/// A state as people read it.
pub fn name(state: ProposalState) -> &'static str {
    match state {
        ProposalState::Collecting => "collecting signatures",
        ProposalState::Acknowledging => "being acknowledged by nodes",
        ProposalState::Delayed => "waiting for its delay",
        ProposalState::Active => "active",
        ProposalState::Vetoed => "vetoed",
        ProposalState::Overtaken => "overtaken",
    }
}

/// Who signed an envelope as it came, for lists.
pub fn signers(envelope: &Envelope) -> Vec<String> {
    let said: Option<Statement<PolicyBundle>> = serde_json::from_slice(envelope.payload()).ok();
    let author = said.map(|said| said.issuer.to_string());
    let names = envelope.signatures().iter().map(|s| s.keyid.clone());
    names.filter(|name| Some(name) != author.as_ref()).collect()
}
