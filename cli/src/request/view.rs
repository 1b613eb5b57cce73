//! What the coordinator says about a request, as a person reads it, and the exit code that it stands for.

use std::fmt::Write as _;
use std::time::Duration;

use countersign_coordinator::{RequestView, Simulation, StateName};
use countersign_policy::{Hash, MemberId, Outcome as Answer};
use http::Method;

use crate::api::{Api, read_json};
use crate::failure::{Exit, Failure, Outcome};

/// Sign requests of the coordinator's API.
pub const REQUESTS: &str = "/v1/sign-requests";
/// Decisions without effect.
pub const SIMULATE: &str = "/v1/simulate";

/// A request as it stands, or as it stands when it is final or `wait` seconds are over.
pub async fn read(api: &Api, id: Hash, wait: u64) -> Outcome<RequestView> {
    let path = format!("{REQUESTS}/{id}");
    let prefer = [("prefer", format!("wait={wait}"))];
    let patience = Duration::from_secs(wait);
    let answer = api
        .call(Method::GET, &path, &prefer, None, patience)
        .await?;
    read_json(&answer.body)
}

/// Why there is no signature, in one line.
pub fn reason(request: &RequestView) -> Option<String> {
    let why = request.reason.as_ref()?;
    let mut parts: Vec<String> = why.reasons.iter().map(ToString::to_string).collect();
    if parts.is_empty() {
        parts.push(why.detail.clone());
    }
    if !why.culprits.is_empty() {
        parts.push(format!("wrong messages from {}", names(&why.culprits)));
    }
    Some(parts.join("; "))
}

/// For people.
pub fn text(request: &RequestView) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_text(request, &mut out);
    out
}

fn write_text(request: &RequestView, out: &mut String) -> std::fmt::Result {
    writeln!(out, "request   {}", request.id)?;
    writeln!(out, "state     {}", request.state.as_str())?;
    writeln!(out, "payment   {}", request.external_id)?;
    writeln!(
        out,
        "from      {} ({}, {})",
        request.from, request.wallet, request.network
    )?;
    if let Some(tx_id) = &request.tx_id {
        writeln!(out, "tx id     {tx_id}")?;
    }
    if let Some(signed) = &request.signed {
        writeln!(out, "signed    {signed}")?;
        writeln!(out, "signers   {}", names(&request.participants))?;
    }
    if let Some(reason) = reason(request) {
        writeln!(out, "reason    {reason}")?;
    }
    for event in &request.events {
        writeln!(
            out,
            "          {} {} {}",
            event.at, event.state, event.detail
        )?;
    }
    Ok(())
}

/// Members, separated by commas.
pub fn names(members: &[MemberId]) -> String {
    let names: Vec<&str> = members.iter().map(MemberId::as_str).collect();
    names.join(", ")
}

/// Success when signed, or when nothing was waited for; otherwise the exit code that the state stands for.
pub fn result(request: &RequestView, waited: bool) -> Outcome {
    match request.state {
        StateName::Signed => Ok(()),
        StateName::Blocked | StateName::Rejected => Err(Failure::quiet(Exit::Refused)),
        StateName::Expired | StateName::Cancelled | StateName::Failed => {
            Err(Failure::quiet(Exit::Failed))
        }
        _ if waited => Err(Failure::quiet(Exit::Pending)),
        _ => Ok(()),
    }
}

/// What would be decided, for people.
pub fn simulation_text(told: &Simulation) -> String {
    let mut out = String::new();
    let outcome = match told.decision.outcome {
        Answer::Allow => "allow",
        Answer::Blocked => "blocked",
        Answer::NeedsApprovals => "needs approvals",
    };
    let _ = writeln!(out, "decision  {outcome}");
    for rule in &told.decision.rules {
        let _ = writeln!(out, "rule      {rule}");
    }
    for reason in &told.decision.reasons {
        let _ = writeln!(out, "reason    {reason}");
    }
    let _ = writeln!(out, "from      {}", told.from);
    let _ = writeln!(out, "digest    {}", told.digest);
    out
}

/// Success when it would be allowed.
pub fn simulation_result(told: &Simulation) -> Outcome {
    match told.decision.outcome {
        Answer::Allow => Ok(()),
        _ => Err(Failure::quiet(Exit::Refused)),
    }
}
