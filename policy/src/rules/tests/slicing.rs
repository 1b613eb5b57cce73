//! Cedar asked about all rules at once, and we about those of the slice, one by one: the same answer.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{AuthorizationError, Authorizer, Decision, PolicySet};
use proptest::prelude::*;

use crate::bundle::ActiveBundle;
use crate::rules::{Answer, Question, Rule, RuleSet, SigningFacts};
use crate::statement::SignRequest;
use crate::testing::transaction::{self, EXCHANGE, STRANGER};
use crate::testing::{OTHER_PAYMENTS, PAYMENTS, SOLANA_WALLET, TestDeployment, WALLET, wallet_id};
use crate::{Facts, GroupId, Network};

const PRINCIPALS: [&str; 7] = [
    "principal",
    "principal is Countersign::Member",
    "principal == Countersign::Member::\"payments\"",
    "principal in Countersign::Member::\"payments-2\"",
    "principal in Countersign::Role::\"payment-service\"",
    "principal is Countersign::Member in Countersign::Role::\"security-officer\"",
    "principal in Countersign::Group::\"treasury\"",
];

const RESOURCES: [&str; 7] = [
    "resource",
    "resource is Countersign::Wallet",
    "resource == Countersign::Wallet::\"hot\"",
    "resource in Countersign::Wallet::\"hot-solana\"",
    "resource in Countersign::Tier::\"hot\"",
    "resource in Countersign::Tier::\"cold\"",
    "resource is Countersign::Wallet in Countersign::Tier::\"warm\"",
];

/// Also some that compilation refuses: they fail or do not, and slicing must not hide it.
const CONDITIONS: [&str; 9] = [
    "true",
    "context.destinationListed",
    "context.kind == \"token-transfer\"",
    "context has amountMicro && context.amountMicro <= 10",
    "context.approvals.treasury >= 1",
    "context.approvals.treasury < 2 && context.approvals.security == 0",
    "context.unlimitedApproval || context.hour < 8",
    "context.permission + 9223372036854775807 + 1 > 0",
    "context.destinationListed && context.weekday * 9223372036854775807 > 0",
];

#[derive(Debug, Clone)]
struct Drawn {
    permit: bool,
    principal: usize,
    resource: usize,
    condition: usize,
    unless: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    // Failing conditions are rarer, so that not every answer is an error.
    let condition = prop_oneof![8 => 0..7_usize, 1 => 7..9_usize];
    (
        any::<bool>(),
        0..7_usize,
        0..7_usize,
        condition,
        any::<bool>(),
    )
        .prop_map(|(permit, principal, resource, condition, unless)| Drawn {
            permit,
            principal,
            resource,
            condition,
            unless,
        })
}

fn text(rules: &[Drawn]) -> String {
    let one = |(i, rule): (usize, &Drawn)| {
        format!(
            "@id(\"rule-{i}\") {} ({}, action, {}) {} {{ {} }};\n",
            if rule.permit { "permit" } else { "forbid" },
            PRINCIPALS[rule.principal],
            RESOURCES[rule.resource],
            if rule.unless { "unless" } else { "when" },
            CONDITIONS[rule.condition],
        )
    };
    rules.iter().enumerate().map(one).collect()
}

fn facts(
    bundle: &ActiveBundle,
    deployment: &TestDeployment,
    stranger: bool,
    amount: u64,
) -> SigningFacts {
    let to = if stranger { STRANGER } else { EXCHANGE };
    let bytes = transaction::usdt_erc20(&to, amount, 0);
    let request = deployment.request("p", WALLET, Network::ETHEREUM, bytes);
    let request = bundle.directory().open::<SignRequest>(&request).unwrap();
    let facts = Facts::establish(bundle, request.body()).unwrap();
    SigningFacts::of(bundle, &request, &facts, deployment.now())
}

fn ids<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> BTreeSet<String> {
    rules
        .into_iter()
        .map(|rule| rule.id().to_string())
        .collect()
}

/// What Cedar says when it is given everything.
fn oracle(
    rules: &RuleSet,
    question: Question<'_>,
) -> (Decision, BTreeSet<String>, BTreeSet<String>) {
    let all = PolicySet::from_policies(rules.rules.iter().map(|rule| rule.policy.clone())).unwrap();
    let request = rules.request(question).unwrap();
    let response = Authorizer::new().is_authorized(&request, &all, &rules.entities);
    let diagnostics = response.diagnostics();
    let errors = diagnostics.errors().map(|error| match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    });
    (
        response.decision(),
        diagnostics.reason().map(ToString::to_string).collect(),
        errors.collect(),
    )
}

fn ours(answer: &Answer<'_>) -> (Decision, BTreeSet<String>, BTreeSet<String>) {
    let errors = ids(answer.errors.iter().filter_map(|(rule, _)| *rule));
    let (permits, forbids) = (
        ids(answer.permits.iter().copied()),
        ids(answer.forbids.iter().copied()),
    );
    match (permits.is_empty(), forbids.is_empty()) {
        (false, true) => (Decision::Allow, permits, errors),
        _ => (Decision::Deny, forbids, errors),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_slice_decides_like_the_whole(
        rules in prop::collection::vec(drawn(), 0..12),
        initiator in prop::sample::select(&[PAYMENTS, OTHER_PAYMENTS, crate::testing::OFFICER][..]),
        wallet in prop::sample::select(&[WALLET, SOLANA_WALLET][..]),
        stranger in any::<bool>(),
        amount in 1_u64..20,
        treasury in 0_u16..3,
    ) {
        let mut deployment = TestDeployment::with_single_keys(3, 2);
        deployment.add_groups();
        let bundle = deployment.bundle();
        let set = RuleSet::with_unchecked(bundle.content(), &text(&rules));
        prop_assert_eq!(set.rules().len(), rules.len());
        let facts = facts(&bundle, &deployment, stranger, amount);
        let question = Question {
            initiator: &crate::testing::member(initiator),
            wallet: &wallet_id(wallet),
            facts: &facts,
            approvals: &BTreeMap::from([(GroupId::new("treasury").unwrap(), treasury)]),
        };
        let answer = set.ask(&bundle, question);
        prop_assert_eq!(ours(&answer), oracle(&set, question));
    }
}

/// The property above is worth something: with a rule in the wrong slice it fails.
#[test]
fn a_rule_in_the_wrong_slice_would_be_seen() {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    deployment.add_groups();
    let bundle = deployment.bundle();
    let rule = "@id(\"a\") forbid (principal, action, resource == Countersign::Wallet::\"hot\");";
    let mut set = RuleSet::with_unchecked(bundle.content(), rule);
    let facts = facts(&bundle, &deployment, false, 1);
    let question = Question {
        initiator: &crate::testing::member(PAYMENTS),
        wallet: &wallet_id(WALLET),
        facts: &facts,
        approvals: &BTreeMap::new(),
    };
    assert_eq!(ours(&set.ask(&bundle, question)), oracle(&set, question));
    set.slices = super::super::Slices::default();
    assert_ne!(ours(&set.ask(&bundle, question)), oracle(&set, question));
}
