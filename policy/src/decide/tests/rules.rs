//! Cedar rules in a decision: what they add, what they take, and what happens when they fail.

use super::{approved_by, codes, decide_at, decide_with, with, with_rules};
use crate::approvals::MissingApprovals;
use crate::bundle::WalletTier;
use crate::rules::RuleSet;
use crate::testing::transaction::{self, EXCHANGE, STRANGER, Tron};
use crate::testing::{OFFICER, OTHER_OFFICERS, TestDeployment, WALLET};
use crate::{Decision, GroupId, Network, Outcome, Reason, RuleId};

fn asked(deployment: &TestDeployment, network: Network, bytes: Vec<u8>) -> Decision {
    let request = deployment.request("p", WALLET, network, bytes);
    decide_at(&deployment.bundle(), &request, deployment.now())
}

fn permit(condition: &str) -> TestDeployment {
    with_rules(&format!(
        "@id(\"cedar\") permit (principal, action, resource) when {{ {condition} }};"
    ))
}

/// USDT `approve` for everything that there is.
fn unlimited() -> Vec<u8> {
    let usdt = [
        0xda, 0xc1, 0x7f, 0x95, 0x8d, 0x2e, 0xe5, 0x23, 0xa2, 0x20, 0x62, 0x06, 0x99, 0x45, 0x97,
        0xc1, 0x3d, 0x83, 0x1e, 0xc7,
    ];
    let data = [
        &[0x09, 0x5e, 0xa7, 0xb3][..],
        &[0; 12],
        &EXCHANGE,
        &[0xff; 32],
    ]
    .concat();
    transaction::evm_call(&usdt, 0, data, 0)
}

#[test]
fn a_permit_gives_what_no_transfer_rule_gives() {
    let bytes = || transaction::usdt_approve(&EXCHANGE, 5, 0);
    let without = asked(&with(|_| ()), Network::ETHEREUM, bytes());
    assert_eq!(codes(&without), ["kind-not-allowed"]);
    let rules = permit(
        "context.kind == \"token-approve\" && context.destinationListed && context has amountMicro && context.amountMicro <= 5",
    );
    let decision = asked(&rules, Network::ETHEREUM, bytes());
    assert_eq!(decision.outcome, Outcome::Allow);
    assert_eq!(decision.rules, [RuleId::new("cedar").unwrap()]);
    for bytes in [
        transaction::usdt_approve(&EXCHANGE, 6, 0),
        transaction::usdt_approve(&STRANGER, 5, 0),
    ] {
        assert_eq!(
            codes(&asked(&rules, Network::ETHEREUM, bytes)),
            ["kind-not-allowed"]
        );
    }
}

#[test]
fn a_forbid_wins_over_everything_and_gives_its_reason() {
    let rules = with_rules(
        "@id(\"yes\") permit (principal, action, resource);
         @id(\"no\") @reason(\"holidays\") forbid (principal, action, resource) when { context.weekday == 4 };",
    );
    let decision = asked(
        &rules,
        Network::ETHEREUM,
        transaction::usdt_erc20(&EXCHANGE, 5, 0),
    );
    assert_eq!(decision.outcome, Outcome::Blocked);
    assert_eq!(decision.rules, [RuleId::new("no").unwrap()]);
    assert_eq!(
        decision.reasons,
        [Reason::Forbidden {
            rule: RuleId::new("no").unwrap(),
            reason: Some("holidays".to_owned()),
        }]
    );
}

#[test]
fn a_wide_permit_gives_nothing_that_it_does_not_name() {
    let tron = |deployment: &TestDeployment| {
        let tron = Tron {
            permission_id: 2,
            ..Tron::at(deployment.now())
        };
        tron.trx(&EXCHANGE, 1)
    };
    let zero = [0; 20];
    let eth = Network::ETHEREUM;
    type Make<'a> = &'a dyn Fn(&TestDeployment) -> Vec<u8>;
    let cases: [(&str, Network, Make<'_>); 5] = [
        ("kind", eth, &|_| transaction::usdt_approve(&EXCHANGE, 1, 0)),
        ("contract", eth, &|_| {
            transaction::evm_call(&EXCHANGE, 0, vec![1, 2, 3, 4, 5], 0)
        }),
        ("unlimitedApproval", eth, &|_| unlimited()),
        ("permission", Network::TRON, &tron),
        ("lost", eth, &|_| transaction::usdt_erc20(&zero, 1, 0)),
    ];
    let naming = "context.kind == \"token-approve\" || context.kind != \"token-approve\"";
    for (attribute, network, bytes) in cases {
        let wide = permit("context.minute >= 0");
        let decision = asked(&wide, network, bytes(&wide));
        assert_eq!(decision.outcome, Outcome::Blocked, "{attribute}");
        let named =
            |r: &Reason| matches!(r, Reason::NotNamed { attribute: a, .. } if a == attribute);
        assert!(
            decision.reasons.iter().any(named),
            "{attribute}: {:?}",
            decision.reasons
        );
        let condition = match attribute {
            "contract" => "context has contract",
            "unlimitedApproval" => "context.unlimitedApproval",
            "permission" => "context.permission == 2",
            "lost" => "context.lost",
            _ => "context.minute >= 0",
        };
        let rules = permit(&format!("({naming}) && {condition}"));
        let decision = asked(&rules, network, bytes(&rules));
        assert_eq!(
            decision.outcome,
            Outcome::Allow,
            "{attribute}: {:?}",
            decision.reasons
        );
    }
}

/// Compilation refuses such a rule. If one came through, it would be skipped by Cedar, and a forbid must not be.
#[test]
fn a_rule_that_fails_denies_whatever_others_permit() {
    let deployment = with(|_| ());
    let bundle = deployment.bundle();
    let rules = "@id(\"yes\") permit (principal, action, resource);
        @id(\"overflows\") forbid (principal, action, resource)
        when { context.minute + 9223372036854775807 + 9223372036854775807 > 0 };";
    let rules = RuleSet::with_unchecked(bundle.content(), rules);
    let bundle = bundle.with_rule_set(rules);
    let request = deployment.usdt_request("p", 5);
    let decision = decide_at(&bundle, &request, deployment.now());
    assert_eq!(decision.outcome, Outcome::Blocked);
    assert!(
        matches!(&decision.reasons[..], [Reason::RuleError { rule: Some(rule), .. }] if rule.as_str() == "overflows"),
        "{:?}",
        decision.reasons
    );
}

#[test]
fn a_cold_wallet_signs_nothing_without_approvals_even_if_a_rule_got_through() {
    let mut deployment = with(|c| c.rules.retain(|r| r.wallet.as_str() != WALLET));
    crate::testing::cold::set_tier(
        deployment.content_mut(),
        crate::testing::WALLET,
        WalletTier::Cold,
    );
    deployment.content_mut().cedar = vec![crate::bundle::CedarFile {
        name: "cold.cedar".to_owned(),
        text: "@id(\"two\") @needs(\"treasury:1,security:1\")
            permit (principal, action, resource in Countersign::Tier::\"cold\") when { context.hour == 23 };"
            .to_owned(),
    }];
    let bundle = deployment.bundle();
    let rules = RuleSet::with_unchecked(
        bundle.content(),
        "@id(\"one\") permit (principal, action, resource);",
    );
    let bundle = bundle.with_rule_set(rules);
    let request = deployment.usdt_request("p", 5);
    let decision = decide_with(
        &bundle,
        &request,
        &approved_by(&[OFFICER]),
        deployment.now(),
    );
    assert_eq!(codes(&decision), ["no-rule", "cold-without-approvals"]);
}

#[test]
fn needs_of_a_permit_are_waited_for() {
    let rules = with_rules(
        "@id(\"call\") @needs(\"treasury:1,security:1\")
         permit (principal, action, resource)
         when { context.kind == \"contract-call\" && context has contract && context has selector && context.selector == \"0x01020304\" };",
    );
    let request = rules.request(
        "p",
        WALLET,
        Network::ETHEREUM,
        transaction::evm_call(&EXCHANGE, 0, vec![1, 2, 3, 4, 5], 0),
    );
    let ask =
        |people: &[&str]| decide_with(&rules.bundle(), &request, &approved_by(people), rules.now());
    let waits = ask(&[OFFICER]);
    assert_eq!(waits.outcome, Outcome::NeedsApprovals);
    assert_eq!(
        waits.missing,
        [MissingApprovals {
            group: GroupId::new("security").unwrap(),
            needed: 1,
            have: 0
        }]
    );
    assert_eq!(ask(&[OFFICER, OTHER_OFFICERS[1]]).outcome, Outcome::Allow);
}

/// Numbers of approvals that stand in conditions are found by asking: in permits and in forbids.
#[test]
fn approvals_in_conditions_are_waited_for_too() {
    let text = "@id(\"large\") forbid (principal, action, resource)
        when { context has amountMicro && context.amountMicro > 4 }
        unless { context.approvals.treasury >= 2 || (context.approvals.treasury >= 1 && context.approvals.security >= 1) };";
    let rules = with_rules(text);
    let ask = |amount, people: &[&str]| {
        let request = rules.usdt_request("p", amount);
        decide_with(&rules.bundle(), &request, &approved_by(people), rules.now())
    };
    assert_eq!(ask(4, &[]).outcome, Outcome::Allow);
    let waits = ask(5, &[]);
    assert_eq!(waits.outcome, Outcome::NeedsApprovals);
    // Groups in order, each with as few as the others allow: nobody of security, so two of the treasury.
    assert_eq!(
        waits.missing,
        [MissingApprovals {
            group: GroupId::new("treasury").unwrap(),
            needed: 2,
            have: 0
        }]
    );
    assert_eq!(ask(5, &[OFFICER]).missing.len(), 1);
    assert_eq!(
        ask(5, &[OFFICER, OTHER_OFFICERS[1]]).outcome,
        Outcome::Allow
    );
    assert_eq!(
        ask(5, &[OFFICER, OTHER_OFFICERS[0]]).outcome,
        Outcome::Allow
    );
}

#[test]
fn a_frozen_permit_permits_nothing_and_a_forbid_cannot_be_frozen_away() {
    use crate::approvals::ApprovalTally;
    use crate::freeze::FreezeSet;
    use crate::statement::FreezeTarget;
    let rules = with_rules(
        "@id(\"approve\") permit (principal, action, resource) when { context.kind == \"token-approve\" };
         @id(\"never\") forbid (principal, action, resource) when { context.kind == \"native-transfer\" };",
    );
    let bundle = rules.bundle();
    let mut freezes = FreezeSet::default();
    for rule in ["approve", "never"] {
        let rule = RuleId::new(rule).unwrap();
        let freeze = rules.freeze(OFFICER, FreezeTarget::Rule { rule });
        freezes.insert(&bundle.open_freeze(&freeze).unwrap());
    }
    let standing = crate::Standing::new(ApprovalTally::default(), freezes, Vec::new());
    for (bytes, expected) in [
        (
            transaction::usdt_approve(&EXCHANGE, 1, 0),
            vec!["kind-not-allowed", "frozen"],
        ),
        (transaction::ether(&EXCHANGE, 1, 0), vec!["forbidden"]),
    ] {
        let request = rules.request("p", WALLET, Network::ETHEREUM, bytes);
        let decision = decide_with(&bundle, &request, &standing, rules.now());
        assert_eq!(decision.outcome, Outcome::Blocked);
        assert_eq!(codes(&decision), expected);
    }
}
