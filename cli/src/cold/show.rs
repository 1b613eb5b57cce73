//! What a package says, in full: the same on every machine.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use countersign_policy::cold::{self, OpenedPackage, RequestPackage, Trust};
use countersign_policy::statement::{Approval, Authorization};
use countersign_policy::{Decision, Hash, Timestamp};
use serde::Serialize;

use super::read;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::officer::dossier::{Dossier, Evidence};
use crate::output::Format;

/// Shows in full what a package asks a machine to sign. Decides nothing and changes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request package.
    file: PathBuf,
    /// The pinned genesis hash. Without it the package's own is taken, and that is said.
    #[arg(long, value_name = "HASH")]
    genesis: Option<Hash>,
    #[command(flatten)]
    format: Format,
}

/// The JSON form.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    ok: bool,
    package: Hash,
    genesis_pinned: bool,
    request: Hash,
    body: &'a countersign_policy::statement::SignRequest,
    intent: &'a countersign_policy::Intent,
    decision: &'a Decision,
    machine: &'a countersign_policy::MemberId,
    authorization_expires_at: Timestamp,
    witnesses: &'a [countersign_policy::MemberId],
    cleared_at: Timestamp,
    bundle_version: u64,
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    let bytes = read(&args.file)?;
    let package = inspected(&bytes, args.genesis)?;
    let dossier = dossier(&package, package.cleared_at())?;
    let active = package.chain().active();
    let shown = Shown {
        ok: true,
        package: package.digest(),
        genesis_pinned: args.genesis.is_some(),
        request: package.request().digest(),
        body: package.request().body(),
        intent: dossier.facts.transaction().intent(),
        decision: &dossier.decision,
        machine: package.machine(),
        authorization_expires_at: package.authorization().statement().expires_at,
        witnesses: &package.terms().witnesses,
        cleared_at: package.cleared_at(),
        bundle_version: active.content().version,
    };
    args.format.show(&shown, |_| {
        let mut out = text(&package, &dossier);
        if args.genesis.is_none() {
            out.push_str("genesis   NOT compared with a pinned one: give it with --genesis, or use the machine that pins it\n");
        }
        out
    })
}

/// Opens a package for looking at it: from the genesis that is given or the package's own, at whatever time.
pub(super) fn inspected(bytes: &[u8], genesis: Option<Hash>) -> Outcome<OpenedPackage> {
    let refused = "the package is refused";
    let package = RequestPackage::from_bytes(bytes).or_fail(Exit::Refused, refused)?;
    // Whom it names is read without believing it: `open` verifies it.
    let named: Option<Authorization> =
        serde_json::from_slice::<serde_json::Value>(package.authorization.payload())
            .ok()
            .and_then(|v| serde_json::from_value(v.get("body")?.clone()).ok());
    let machine = named.and_then(|body| body.participants.into_iter().next());
    let machine = machine.ok_or_else(|| {
        Failure::new(Exit::Refused, "the package is refused: it names no machine")
    })?;
    let trust = Trust {
        me: &machine,
        genesis: genesis.unwrap_or(package.genesis),
        known: None,
    };
    let any_time = Timestamp::from_millis(i64::MAX / 2);
    cold::open(bytes, &trust, any_time).or_fail(Exit::Refused, refused)
}

/// What an officer would see of it, decided at `at`.
pub(super) fn dossier(package: &OpenedPackage, at: Timestamp) -> Outcome<Dossier> {
    let content = package.package();
    let evidence = Evidence {
        request: content.request.clone(),
        approvals: content.approvals.clone(),
        freezes: content.freezes.clone(),
        told: None,
    };
    Dossier::open(package.chain().clone(), evidence, at)
}

/// All of it, one fact a line.
pub(super) fn text(package: &OpenedPackage, dossier: &Dossier) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, package, dossier);
    out
}

fn write(out: &mut String, package: &OpenedPackage, dossier: &Dossier) -> fmt::Result {
    let digest = package.digest();
    writeln!(out, "package   {digest}")?;
    out.push_str(&dossier.text());
    let directory = package.chain().active().directory();
    for envelope in &package.package().approvals {
        if let Ok(approval) = directory.open::<Approval>(envelope) {
            let at = approval.statement().issued_at;
            writeln!(
                out,
                "signed    the approval of {} at {at}",
                approval.issuer()
            )?;
        }
    }
    let terms = package.terms();
    let names: Vec<&str> = terms.witnesses.iter().map(|w| w.as_str()).collect();
    writeln!(
        out,
        "witnesses {} found no limit, stop or freeze in the way at {}",
        names.join(", "),
        package.cleared_at()
    )?;
    let authorization = package.authorization();
    writeln!(
        out,
        "authority {}, attempt {}, counts until {}",
        authorization.issuer(),
        terms.attempt,
        authorization.statement().expires_at
    )?;
    writeln!(out, "machine   {}", package.machine())?;
    if package.consents_needed() > 0 {
        writeln!(out, "operators {} must agree", package.consents_needed())?;
    }
    Ok(())
}
