//! Approvals, rejections, freezes and limits: what they do to a decision.

use super::{approved_by, codes, decide_with, with};
use crate::approvals::{ApprovalTally, MissingApprovals};
use crate::bundle::PolicyBundle;
use crate::freeze::FreezeSet;
use crate::limits::{LimitHit, Measure, Period};
use crate::statement::{FreezeTarget, SignRequest, Verdict};
use crate::testing::{
    OFFICER, OTHER_OFFICERS, PAYMENTS, TestDeployment, WALLET, member, usdt, wallet_id,
};
use crate::{Amount, Decision, Facts, GroupId, LimitId, Outcome, Reason, RuleId, Standing};

const TREASURER: &str = OTHER_OFFICERS[0];
const SECURITY_OFFICER: &str = OTHER_OFFICERS[1];

/// The decision on 5 USDT where the rule needs `needs` and these people approved.
fn waiting(needs: &str, people: &[&str]) -> Decision {
    let deployment = TestDeployment::with_approvals(3, 2, needs);
    let request = deployment.usdt_request("p", 5);
    let standing = approved_by(people);
    decide_with(&deployment.bundle(), &request, &standing, deployment.now())
}

fn missing(group: &str, needed: u16, have: u16) -> MissingApprovals {
    MissingApprovals {
        group: GroupId::new(group).unwrap(),
        needed,
        have,
    }
}

#[test]
fn a_rule_that_needs_approvals_waits_for_them_and_then_permits() {
    let nobody = waiting("treasury:2,security:1", &[]);
    assert_eq!(nobody.outcome, Outcome::NeedsApprovals);
    assert_eq!(
        nobody.missing,
        [missing("treasury", 2, 0), missing("security", 1, 0)]
    );
    assert_eq!(codes(&nobody), ["missing-approvals", "missing-approvals"]);
    assert_eq!(nobody.rules[0].as_str(), "hot-usdt-eip155-1");

    let some = waiting("treasury:2,security:1", &[OFFICER, SECURITY_OFFICER]);
    assert_eq!(some.missing, [missing("treasury", 2, 1)]);

    let all = waiting(
        "treasury:2,security:1",
        &[OFFICER, TREASURER, SECURITY_OFFICER],
    );
    assert_eq!(
        (all.outcome, all.reasons, all.missing),
        (Outcome::Allow, vec![], vec![])
    );
}

#[test]
fn one_alternative_is_enough_and_the_closest_is_asked_for() {
    let needs = "treasury:2|security:1";
    assert_eq!(waiting(needs, &[SECURITY_OFFICER]).outcome, Outcome::Allow);
    assert_eq!(
        waiting(needs, &[OFFICER, TREASURER]).outcome,
        Outcome::Allow
    );
    assert_eq!(waiting(needs, &[]).missing, [missing("security", 1, 0)]);
}

#[test]
fn people_outside_of_the_groups_count_for_nothing() {
    let decision = waiting("treasury:1", &[SECURITY_OFFICER, "author", "node-1"]);
    assert_eq!(decision.missing, [missing("treasury", 1, 0)]);
}

/// Up to 4 nobody looks, up to 10 one officer, above it two: the smallest demand that covers the amount decides.
#[test]
fn tiers_by_amount() {
    let deployment = with(|content: &mut PolicyBundle| {
        let at = content
            .rules
            .iter()
            .position(|r| r.id.as_str() == "hot-usdt-eip155-1");
        let first = content.rules.remove(at.unwrap());
        for (id, cap, needs) in [
            ("large", 1_000, Some("treasury:2")),
            ("middle", 10, Some("treasury:1")),
            ("small", 4, None),
        ] {
            let mut rule = first.clone();
            rule.id = RuleId::new(id).unwrap();
            rule.max_amount = Amount::from(cap as u64);
            rule.needs = needs.map(|needs| needs.parse().unwrap());
            content.rules.push(rule);
        }
    });
    let ask = |amount, people: &[&str]| {
        let request = deployment.usdt_request("p", amount);
        decide_with(
            &deployment.bundle(),
            &request,
            &approved_by(people),
            deployment.now(),
        )
    };
    let small = ask(4, &[]);
    assert_eq!(
        (small.outcome, small.rules[0].as_str()),
        (Outcome::Allow, "small")
    );
    assert_eq!(ask(5, &[]).missing, [missing("treasury", 1, 0)]);
    assert_eq!(ask(5, &[OFFICER]).rules[0].as_str(), "middle");
    assert_eq!(ask(11, &[OFFICER]).missing, [missing("treasury", 2, 1)]);
    let large = ask(11, &[OFFICER, TREASURER]);
    assert_eq!(
        (large.outcome, large.rules[0].as_str()),
        (Outcome::Allow, "large")
    );
    assert_eq!(codes(&ask(1_001, &[OFFICER, TREASURER])), ["amount-cap"]);
}

#[test]
fn what_is_denied_for_another_reason_does_not_wait_for_approvals() {
    let deployment = TestDeployment::with_approvals(3, 2, "treasury:1");
    let request = deployment.usdt_request("p", 1_000_000_001);
    let decision = decide_with(
        &deployment.bundle(),
        &request,
        &Standing::unencumbered(),
        deployment.now(),
    );
    assert_eq!(decision.outcome, Outcome::Blocked);
    assert_eq!(codes(&decision), ["amount-cap"]);
    assert_eq!(decision.missing, []);

    let request = deployment.usdt_request("p", 5);
    let late = deployment.now().plus_seconds(3_600);
    let decision = decide_with(
        &deployment.bundle(),
        &request,
        &Standing::unencumbered(),
        late,
    );
    assert_eq!(
        (decision.outcome, codes(&decision)),
        (Outcome::Blocked, vec!["request-time".to_owned()])
    );
}

#[test]
fn a_real_approval_allows_and_a_real_rejection_ends_it() {
    let deployment = TestDeployment::with_approvals(3, 2, "treasury:1");
    let bundle = deployment.bundle();
    let envelope = deployment.usdt_request("p", 5);
    let request = bundle.directory().open::<SignRequest>(&envelope).unwrap();
    let facts = Facts::establish(&bundle, request.body()).unwrap();
    let decision = |words: &[crate::Envelope]| {
        let freezes = FreezeSet::default();
        let now = deployment.now();
        let (tally, refused) =
            ApprovalTally::count(&bundle, &request, &facts, words, &freezes, now);
        assert_eq!(refused.len(), 0);
        decide_with(
            &bundle,
            &envelope,
            &Standing::new(tally, freezes, vec![]),
            now,
        )
    };
    let yes = deployment.approval(OFFICER, &envelope, Verdict::Approve);
    let no = Verdict::Reject {
        reason: "not ours".to_owned(),
    };
    let no = deployment.approval(SECURITY_OFFICER, &envelope, no);
    assert_eq!(decision(std::slice::from_ref(&yes)).outcome, Outcome::Allow);
    let ended = decision(&[yes, no]);
    assert_eq!(ended.outcome, Outcome::Blocked);
    assert!(
        matches!(&ended.reasons[..], [Reason::Rejected(r)] if r.member == member(SECURITY_OFFICER))
    );
}

/// The decision while `target` is frozen.
fn frozen(deployment: &TestDeployment, target: FreezeTarget) -> Decision {
    let bundle = deployment.bundle();
    let freeze = deployment.freeze(OFFICER, target);
    let mut freezes = FreezeSet::default();
    freezes.insert(&bundle.open_freeze(&freeze).unwrap());
    let standing = Standing::new(ApprovalTally::default(), freezes, Vec::new());
    let request = deployment.usdt_request("p", 5);
    decide_with(&bundle, &request, &standing, deployment.now())
}

#[test]
fn what_is_frozen_is_blocked() {
    let deployment = with(|_| ());
    for target in [
        FreezeTarget::Everything,
        FreezeTarget::Wallet {
            wallet: wallet_id(WALLET),
        },
        FreezeTarget::Member {
            member: member(PAYMENTS),
        },
        FreezeTarget::Asset { asset: usdt() },
        FreezeTarget::Rule {
            rule: RuleId::new("hot-usdt-eip155-1").unwrap(),
        },
    ] {
        let decision = frozen(&deployment, target.clone());
        assert_eq!(decision.outcome, Outcome::Blocked);
        assert!(matches!(&decision.reasons[..], [Reason::Frozen(hit)] if hit.target == target));
    }
    let other = FreezeTarget::Wallet {
        wallet: wallet_id("hot-solana"),
    };
    assert_eq!(frozen(&deployment, other).outcome, Outcome::Allow);
}

/// Of two officers one is frozen: two approvals can never be there, so nothing waits for them.
#[test]
fn nobody_waits_for_a_frozen_officer() {
    let deployment = TestDeployment::with_approvals(3, 2, "treasury:2");
    let target = FreezeTarget::Member {
        member: member(TREASURER),
    };
    let decision = frozen(&deployment, target);
    assert_eq!(decision.outcome, Outcome::Blocked);
    assert_eq!(
        decision.reasons,
        [Reason::MissingApprovals(missing("treasury", 2, 1))]
    );
}

#[test]
fn a_limit_that_the_ledgers_report_blocks_whatever_approvals_say() {
    let hit = LimitHit {
        limit: LimitId::new("daily").unwrap(),
        max: Amount::from(10_u64),
        used: Amount::from(6_u64),
        requested: Amount::from(5_u64),
        resets_at: None,
    };
    for needs in ["treasury:1", "security:1"] {
        let deployment = TestDeployment::with_approvals(3, 2, needs);
        let standing = Standing::new(
            ApprovalTally::default(),
            FreezeSet::default(),
            vec![hit.clone()],
        );
        let request = deployment.usdt_request("p", 5);
        let decision = decide_with(&deployment.bundle(), &request, &standing, deployment.now());
        assert_eq!(decision.outcome, Outcome::Blocked);
        assert_eq!(decision.reasons, [Reason::Limit(hit.clone())]);
    }
}

#[test]
fn a_limit_per_transaction_needs_no_ledger_and_is_lowered_by_a_freeze() {
    let mut deployment = with(|_| ());
    let measure = Measure::Amount {
        asset: usdt(),
        max: Amount::from(5_u64),
    };
    deployment.add_limit("each", measure, Period::Transaction);
    let ask = |amount| {
        let request = deployment.usdt_request("p", amount);
        let standing = Standing::unencumbered();
        decide_with(&deployment.bundle(), &request, &standing, deployment.now())
    };
    assert_eq!(ask(5).outcome, Outcome::Allow);
    let passed = ask(6);
    assert_eq!(passed.outcome, Outcome::Blocked);
    assert!(matches!(&passed.reasons[..], [Reason::Limit(hit)] if hit.limit.as_str() == "each"));
    let lower = FreezeTarget::LowerLimit {
        limit: LimitId::new("each").unwrap(),
        max: Amount::from(4_u64),
    };
    assert_eq!(codes(&frozen(&deployment, lower)), ["limit"]);
}
