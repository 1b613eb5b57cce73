//! The decision: what is allowed, everything that is not, and what holds for all inputs.

mod agreement;
mod facts;
mod matrix;
mod properties;
mod refusals;

use crate::bundle::{ActiveBundle, PolicyBundle};
use crate::statement::SignRequest;
use crate::testing::TestDeployment;
use crate::{Decision, Envelope, Facts, Reason, Standing, Timestamp, decide};

/// Opens, establishes the facts and decides, at `now`.
fn decide_at(bundle: &ActiveBundle, request: &Envelope, now: Timestamp) -> Decision {
    let request = bundle.directory().open::<SignRequest>(request).unwrap();
    let facts = Facts::establish(bundle, request.body()).unwrap();
    decide(bundle, &request, &facts, &Standing::unencumbered(), now)
}

/// A deployment with `edit` applied to its genesis.
fn with(edit: impl FnOnce(&mut PolicyBundle)) -> TestDeployment {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
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
