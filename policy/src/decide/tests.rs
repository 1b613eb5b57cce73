//! The decision: what is allowed, everything that is not, and what holds for all inputs.

mod agreement;
mod approvals;
mod explained;
mod facts;
mod matrix;
mod properties;
mod refusals;
mod rules;
mod saturation;

use crate::approvals::ApprovalTally;
use crate::bundle::{ActiveBundle, CedarFile, Group, PolicyBundle};
use crate::freeze::FreezeSet;
use crate::statement::SignRequest;
use crate::testing::{PAYMENTS, TestDeployment, member};
use crate::{Decision, Envelope, Facts, GroupId, Reason, Standing, Timestamp, decide};

/// Opens, establishes the facts and decides, at `now`.
fn decide_at(bundle: &ActiveBundle, request: &Envelope, now: Timestamp) -> Decision {
    decide_with(bundle, request, &Standing::unencumbered(), now)
}

/// The same with approvals, freezes and limits.
fn decide_with(
    bundle: &ActiveBundle,
    request: &Envelope,
    standing: &Standing,
    now: Timestamp,
) -> Decision {
    let request = bundle.directory().open::<SignRequest>(request).unwrap();
    let facts = Facts::establish(bundle, request.body()).unwrap();
    decide(bundle, &request, &facts, standing, now)
}

/// The standing in which these people have approved.
fn approved_by(people: &[&str]) -> Standing {
    let group = Group {
        id: GroupId::new("whoever").unwrap(),
        members: people.iter().map(|person| member(person)).collect(),
    };
    let tally = ApprovalTally::saturated(&[group], &member(PAYMENTS));
    Standing::new(tally, FreezeSet::default(), Vec::new())
}

/// A deployment with the groups and one file of Cedar rules.
fn with_rules(rules: &str) -> TestDeployment {
    with(|content| {
        content.cedar = vec![CedarFile {
            name: "hot.cedar".to_owned(),
            text: rules.to_owned(),
        }];
    })
}

/// A deployment with `edit` applied to its genesis.
fn with(edit: impl FnOnce(&mut PolicyBundle)) -> TestDeployment {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    deployment.add_groups();
    edit(deployment.content_mut());
    deployment
}

/// The stable code of a reason.
fn code(reason: &Reason) -> String {
    let json = serde_json::to_value(reason).unwrap();
    json["code"].as_str().unwrap().to_owned()
}

fn codes(decision: &Decision) -> Vec<String> {
    decision.reasons.iter().map(code).collect()
}
