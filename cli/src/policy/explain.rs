//! `countersign policy explain`: what the policy says about one request, why, and what would change that.

use std::fmt::Write as _;

use clap::Parser;
use countersign_policy::approvals::ApprovalTally;
use countersign_policy::bundle::PolicyBundle;
use countersign_policy::statement::SignRequest;
use countersign_policy::{Decision, Facts, FreezeSet, Outcome as Answer, RuleId, Standing, decide};
use serde::Serialize;

use super::sandbox::Sandbox;
use crate::api::Api;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::officer::dossier::Dossier;
use crate::output::Format;
use crate::profile::ProfileArg;

/// Explains one request: what its bytes mean, which rules decide, what is missing, what each rule alone would say, and what would
/// have to be different.
///
/// Everything is decided here, by the engine that every signer runs, under the policy verified from the pinned genesis. Limits
/// over time are counted in the nodes' ledgers: about them the coordinator's word is told.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign policy explain 5f0c...          a request that was made\n  \
    countersign policy explain request.json     a signed one that was not sent yet (countersign request ... --out)")]
pub struct Args {
    /// The request's id, or a file with a signed request.
    #[arg(value_name = "REQUEST")]
    request: String,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// What the policy would say otherwise.
#[derive(Debug, Serialize)]
pub struct Otherwise {
    /// What would be different.
    pub with: String,
    /// What would come out.
    pub decision: Decision,
}

/// Rules of a wallet that are looked at one by one, at most.
const MAX_RULES: usize = 50;

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let dossier = Dossier::fetch(&api, &profile, &args.request).await?;
    let rules = each_rule(&dossier)?;
    let otherwise = otherwise(&dossier);
    let object = serde_json::json!({
        "ok": true, "request": dossier.shown(), "rules": rules, "otherwise": otherwise,
    });
    args.format.show(&object, |_| {
        let mut out = dossier.text();
        // Writing to a String cannot fail.
        let _ = write_all(&mut out, &rules, &otherwise);
        out
    })?;
    match dossier.decision.outcome {
        Answer::Allow => Ok(()),
        Answer::NeedsApprovals => Err(Failure::quiet(Exit::Pending)),
        Answer::Blocked => Err(Failure::quiet(Exit::Refused)),
    }
}

fn write_all(out: &mut String, rules: &[Otherwise], otherwise: &[Otherwise]) -> std::fmt::Result {
    if !rules.is_empty() {
        writeln!(out, "\neach transfer rule of the wallet and asset alone")?;
        for one in rules {
            write_one(out, one)?;
        }
    }
    if !otherwise.is_empty() {
        writeln!(out, "\nit would be otherwise")?;
        for one in otherwise {
            write_one(out, one)?;
        }
    }
    Ok(())
}

fn write_one(out: &mut String, one: &Otherwise) -> std::fmt::Result {
    let says = match one.decision.outcome {
        Answer::Allow => "allowed".to_owned(),
        Answer::NeedsApprovals | Answer::Blocked => {
            let reasons: Vec<String> = one
                .decision
                .reasons
                .iter()
                .map(ToString::to_string)
                .collect();
            let outcome = match one.decision.outcome {
                Answer::NeedsApprovals => "needs approvals",
                _ => "blocked",
            };
            format!("{outcome}: {}", reasons.join("; "))
        }
    };
    writeln!(out, "  {}: {says}", one.with)
}

/// What each transfer rule about the wallet and what moves would say if it were the only one.
fn each_rule(dossier: &Dossier) -> Outcome<Vec<Otherwise>> {
    let content = dossier.chain.active().content();
    let body = dossier.request.body();
    let moved: Vec<_> = dossier
        .facts
        .transaction()
        .intent()
        .transfers
        .iter()
        .map(|transfer| transfer.asset)
        .collect();
    let concerned = content
        .rules
        .iter()
        .filter(|rule| rule.wallet == body.wallet && moved.contains(&rule.asset));
    let mut all = Vec::new();
    for rule in concerned.take(MAX_RULES) {
        if let Some(decision) = alone(dossier, content, &rule.id)? {
            all.push(Otherwise {
                with: format!("rule {}", rule.id),
                decision,
            });
        }
    }
    Ok(all)
}

/// None when the policy is none without its other rules.
fn alone(dossier: &Dossier, content: &PolicyBundle, rule: &RuleId) -> Outcome<Option<Decision>> {
    let mut only = content.clone();
    only.rules.retain(|r| r.id == *rule);
    let wallet = dossier.request.body().wallet.clone();
    only.wallets.retain(|w| w.id == wallet);
    only.limits.clear();
    let Ok(sandbox) = Sandbox::new(&only, dossier.now) else {
        return Ok(None);
    };
    let statement = dossier.request.statement();
    let life = statement.expires_at.millis_since(statement.issued_at) / 1000;
    let envelope = sandbox.sign(
        &statement.issuer,
        &[],
        statement.issued_at,
        u64::try_from(life).unwrap_or(0),
        statement.body.clone(),
    )?;
    let active = sandbox.active();
    let request = active
        .directory()
        .open::<SignRequest>(&envelope)
        .or_broken("the request in memory")?;
    let facts = Facts::establish(active, request.body())
        .or_fail(Exit::Refused, "the transaction is refused")?;
    let standing = Standing::unencumbered();
    Ok(Some(decide(
        active,
        &request,
        &facts,
        &standing,
        dossier.now,
    )))
}

/// The same request if everybody had approved, and without what is frozen.
fn otherwise(dossier: &Dossier) -> Vec<Otherwise> {
    let mut all = Vec::new();
    let groups = &dossier.chain.active().content().groups;
    let everybody = ApprovalTally::saturated(groups, dossier.request.issuer());
    if dossier.decision.outcome != Answer::Allow {
        all.push(Otherwise {
            with: "with everybody's approval".to_owned(),
            decision: dossier.decide_with(everybody.clone(), dossier.freezes.clone()),
        });
    }
    if !dossier.freezes.is_empty() && dossier.decision.outcome == Answer::Blocked {
        all.push(Otherwise {
            with: "without what is frozen".to_owned(),
            decision: dossier.decide_with(dossier.tally.clone(), FreezeSet::default()),
        });
    }
    all.retain(|one| one.decision != dossier.decision);
    all
}
