//! `countersign approve` and `countersign reject`.

use std::time::Duration;

use clap::Parser;
use countersign_coordinator::RequestView;
use countersign_policy::bundle::Role;
use countersign_policy::statement::{Approval, Verdict};
use countersign_policy::{Envelope, Hash, Outcome as Answer};

use super::dossier::Dossier;
use super::{Consent, confirm};
use crate::api::{Api, read_json};
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;
use crate::profile::{Profile, ProfileArg};
use crate::quorum::issue;
use crate::request::view::{REQUESTS, result, text};

/// Approves one request: shows what its bytes mean, asks, and signs that with the officer's key.
///
/// Nothing the coordinator says is believed: the policy is verified from the pinned genesis, the service's signature with the
/// key that the policy gives it, and the bytes are decoded here. The approval names this request, these bytes and this policy; with
/// any change of them it is worth nothing.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign approve 5f0c... --profile officer-1/client.toml\n  \
    countersign status --state PENDING_APPROVAL          what waits")]
pub struct ApproveArgs {
    /// The request's id.
    #[arg(value_name = "REQUEST")]
    request: Hash,
    /// Seconds for which the approval counts [default: as long as the request and the policy allow].
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,
    /// Waits up to this many seconds for the request's final state.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60))]
    wait: u64,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Rejects one request. One rejection by an officer ends it, whoever approves.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  \
    countersign reject 5f0c... --reason \"the invoice is a forgery\" --profile officer-1/client.toml")]
pub struct RejectArgs {
    /// The request's id.
    #[arg(value_name = "REQUEST")]
    request: Hash,
    /// Why, for people; 1 to 128 bytes.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// A rejection never expires; this is how long its statement says that it counts, in seconds.
const REJECTION_LIFE: u64 = 86_400;

/// Runs `approve`.
pub async fn approve(args: ApproveArgs) -> Outcome {
    let (profile, api, dossier) = look(&args.profile, args.request).await?;
    require_officer(&profile, &dossier)?;
    args.format.say(dossier.text());
    if dossier.decision.outcome == Answer::Blocked {
        if args.format.json {
            args.format.show(&dossier.shown(), |_| String::new())?;
        }
        return Err(Failure::new(
            Exit::Refused,
            "the policy blocks this request, and an approval would not change that: nothing was signed",
        ));
    }
    confirm(args.consent, args.format, "Approve exactly this?")?;
    let seconds = dossier.approval_life(args.expires_in)?;
    let envelope = sign(&profile, &dossier, Verdict::Approve, seconds)?;
    let answer = send(&api, &dossier, &envelope, args.wait).await?;
    args.format.show(&answer, text)?;
    if args.wait > 0 {
        return result(&answer, true);
    }
    Ok(())
}

/// Runs `reject`.
pub async fn reject(args: RejectArgs) -> Outcome {
    let (profile, api, dossier) = look(&args.profile, args.request).await?;
    require_officer(&profile, &dossier)?;
    args.format.say(dossier.text());
    confirm(args.consent, args.format, "Reject this?")?;
    let verdict = Verdict::Reject {
        reason: args.reason,
    };
    let envelope = sign(&profile, &dossier, verdict, REJECTION_LIFE)?;
    let answer = send(&api, &dossier, &envelope, 0).await?;
    args.format.show(&answer, text)
}

async fn look(profile: &ProfileArg, request: Hash) -> Outcome<(Profile, Api, Dossier)> {
    let profile = profile.load()?;
    let api = Api::new(&profile)?;
    let dossier = Dossier::fetch(&api, &profile, &request.to_hex()).await?;
    Ok((profile, api, dossier))
}

fn require_officer(profile: &Profile, dossier: &Dossier) -> Outcome {
    let member = &profile.member;
    if dossier
        .chain
        .active()
        .has_role(member, Role::SecurityOfficer)
    {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "{member}, whose profile this is, is no security officer: name an officer's with --profile"
        ),
    ))
}

/// The officer's word about exactly what was shown.
pub fn sign(
    profile: &Profile,
    dossier: &Dossier,
    verdict: Verdict,
    seconds: u64,
) -> Outcome<Envelope> {
    let active = dossier.chain.active();
    let body = Approval::of(active, &dossier.request, &dossier.facts, verdict)
        .or_fail(Exit::Refused, "the transaction is not this wallet's")?;
    issue(profile, body, seconds)
}

/// Gives the officer's word to the coordinator.
pub async fn send(
    api: &Api,
    dossier: &Dossier,
    envelope: &Envelope,
    wait: u64,
) -> Outcome<RequestView> {
    let path = format!("{REQUESTS}/{}/approvals", dossier.request.digest());
    let headers = if wait > 0 {
        vec![("prefer", format!("wait={wait}"))]
    } else {
        Vec::new()
    };
    let answer = api
        .post_with(&path, envelope, &headers, Duration::from_secs(wait))
        .await?;
    read_json(&answer.body)
}

impl Dossier {
    /// How long an approval may and needs to count: no longer than the bundle allows, and not much longer than the request.
    pub fn approval_life(&self, asked: Option<u64>) -> Outcome<u64> {
        let timing = &self.chain.active().content().timing;
        let most = timing.max_approval_life_seconds;
        let left = self.request.statement().expires_at.millis_since(self.now);
        let left = u64::try_from(left / 1000).unwrap_or(0);
        let enough = left
            .saturating_add(timing.max_clock_skew_seconds.saturating_mul(2))
            .saturating_add(1);
        match asked {
            Some(asked) if asked > most => Err(Failure::usage(format!(
                "the policy lets approvals count for at most {most} s"
            ))),
            Some(asked) => Ok(asked),
            None => Ok(enough.min(most)),
        }
    }
}
