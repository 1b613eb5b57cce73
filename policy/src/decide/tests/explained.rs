//! An explanation says what the decision says, looks at every rule about the wallet, and knows what would change it.

use super::{approved_by, with, with_rules};
use crate::statement::SignRequest;
use crate::testing::transaction::{self, STRANGER};
use crate::testing::{OFFICER, TestDeployment, WALLET};
use crate::{
    Change, Envelope, Explanation, Facts, Finding, Network, Outcome, Standing, decide, explain,
};

fn explained(deployment: &TestDeployment, request: &Envelope, standing: &Standing) -> Explanation {
    let bundle = deployment.bundle();
    let request = bundle.directory().open::<SignRequest>(request).unwrap();
    let facts = Facts::establish(&bundle, request.body()).unwrap();
    let now = deployment.now();
    let explanation = explain(&bundle, &request, &facts, standing, now);
    assert_eq!(
        explanation.decision,
        decide(&bundle, &request, &facts, standing, now)
    );
    explanation
}

fn finding<'a>(explanation: &'a Explanation, rule: &str) -> &'a Finding {
    let rules = explanation.rules.iter();
    let mut found = rules.filter(|r| r.rule.as_str() == rule);
    &found.next().unwrap().finding
}

#[test]
fn an_explanation_of_everything() {
    let mut deployment = with_rules(
        "@id(\"large\") @needs(\"treasury:2\")
         permit (principal, action, resource) when { context.destinationListed };

         @id(\"strangers\") @reason(\"only listed destinations\")
         forbid (principal, action, resource) unless { context.destinationListed };

         @id(\"elsewhere\")
         forbid (principal, action, resource == Countersign::Wallet::\"hot-solana\");",
    );
    for rule in &mut deployment.content_mut().rules {
        rule.needs = Some("treasury:1".parse().unwrap());
    }
    let bytes = transaction::usdt_erc20(&STRANGER, 5, 0);
    let request = deployment.request("p", WALLET, Network::ETHEREUM, bytes);
    let explanation = explained(&deployment, &request, &Standing::unencumbered());
    insta::assert_json_snapshot!(explanation);
}

#[test]
fn what_would_change_a_decision_is_what_changes_it() {
    let deployment = TestDeployment::with_approvals(3, 2, "treasury:1");
    let listed = deployment.usdt_request("p", 5);
    let waits = explained(&deployment, &listed, &Standing::unencumbered());
    assert_eq!(waits.decision.outcome, Outcome::NeedsApprovals);
    let changes: Vec<_> = waits
        .what_if
        .iter()
        .map(|w| (w.change, w.outcome))
        .collect();
    assert_eq!(
        changes,
        [
            (Change::EverybodyApproved, Outcome::Allow),
            (Change::ApprovedAndListed, Outcome::Allow)
        ]
    );
    let allowed = explained(&deployment, &listed, &approved_by(&[OFFICER]));
    assert_eq!(allowed.decision.outcome, Outcome::Allow);
    assert!(allowed.what_if.is_empty());
    assert_eq!(finding(&allowed, "hot-usdt-eip155-1"), &Finding::Applies);
    assert!(matches!(
        finding(&waits, "hot-usdt-eip155-1"),
        Finding::Waits { .. }
    ));

    let bytes = transaction::usdt_erc20(&STRANGER, 5, 0);
    let stranger = deployment.request("p", WALLET, Network::ETHEREUM, bytes);
    let blocked = explained(&deployment, &stranger, &approved_by(&[OFFICER]));
    let changes: Vec<_> = blocked.what_if.iter().map(|w| w.change).collect();
    assert_eq!(
        changes,
        [Change::DestinationsListed, Change::ApprovedAndListed]
    );
}

#[test]
fn rules_about_something_else_say_what() {
    let deployment = with(|_| ());
    let request = deployment.usdt_request("p", 5);
    let explanation = explained(&deployment, &request, &Standing::unencumbered());
    let not_about = |part: &str| Finding::NotAbout {
        part: part.to_owned(),
    };
    assert_eq!(
        finding(&explanation, "hot-eth-eip155-1"),
        &not_about("kind")
    );
    assert_eq!(
        finding(&explanation, "hot-usdt-eip155-56"),
        &not_about("asset")
    );
    assert!(
        explanation
            .rules
            .iter()
            .all(|r| r.rule.as_str() != "hot-solana-sol-solana-5eykt4Us")
    );
}
