//! What is denied with all approvals present is blocked and never waits, whatever rules, needs and conditions say.

use proptest::prelude::*;

use super::{approved_by, decide_with, with_rules};
use crate::testing::transaction::{self, EXCHANGE, STRANGER};
use crate::testing::{OFFICER, OTHER_OFFICERS, TestDeployment, WALLET};
use crate::{Network, Outcome};

const EVERYBODY: [&str; 3] = [OFFICER, OTHER_OFFICERS[0], OTHER_OFFICERS[1]];

const NEEDS: [&str; 6] = [
    "",
    "treasury:1",
    "treasury:2",
    "treasury:2,security:1",
    "security:1|treasury:2",
    "security:1",
];

/// Also conditions that more approvals make false.
const CONDITIONS: [&str; 9] = [
    "context.destinationListed",
    "context has amountMicro && context.amountMicro <= 10",
    "context.approvals.treasury >= 1",
    "context.approvals.treasury >= 2 && context.approvals.security >= 1",
    "context.approvals.treasury == 1",
    "context.approvals.security < 1",
    "context.approvals.treasury >= 3",
    "context.kind == \"token-approve\"",
    "context.kind != \"token-approve\" || context.approvals.security == 1",
];

type Rule = (bool, usize, usize, bool);

fn deployment(transfer_needs: usize, rules: &[Rule]) -> TestDeployment {
    let text: String = rules
        .iter()
        .enumerate()
        .map(|(i, (permit, needs, condition, unless))| {
            let needs = match NEEDS[*needs] {
                needs if *permit && !needs.is_empty() => format!("@needs(\"{needs}\")"),
                _ => String::new(),
            };
            format!(
                "@id(\"r{i}\") {needs} {} (principal, action, resource) {} {{ {} }};\n",
                if *permit { "permit" } else { "forbid" },
                if *unless { "unless" } else { "when" },
                CONDITIONS[*condition],
            )
        })
        .collect();
    let mut deployment = with_rules(&text);
    let needs = NEEDS[transfer_needs];
    for rule in &mut deployment.content_mut().rules {
        rule.needs = (!needs.is_empty()).then(|| needs.parse().unwrap());
    }
    deployment
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn denied_with_all_approvals_is_blocked(
        transfer_needs in 0_usize..6,
        rules in prop::collection::vec((any::<bool>(), 0_usize..6, 0_usize..9, any::<bool>()), 0..5),
        approve in any::<bool>(),
        stranger in any::<bool>(),
        amount in 1_u64..20,
        present in prop::sample::subsequence(&EVERYBODY[..], 0..=3),
        late in prop::bool::weighted(0.1),
    ) {
        let deployment = deployment(transfer_needs, &rules);
        let bundle = deployment.bundle();
        let to = if stranger { STRANGER } else { EXCHANGE };
        let bytes = if approve {
            transaction::usdt_approve(&to, amount, 0)
        } else {
            transaction::usdt_erc20(&to, amount, 0)
        };
        let request = deployment.request("p", WALLET, Network::ETHEREUM, bytes);
        let now = if late { deployment.now().plus_seconds(7_200) } else { deployment.now() };
        let now_with = |people: &[&str]| decide_with(&bundle, &request, &approved_by(people), now);
        let real = now_with(&present);
        let all = now_with(&EVERYBODY);

        prop_assert_ne!(all.outcome, Outcome::NeedsApprovals, "nobody is left to wait for");
        if real.outcome == Outcome::NeedsApprovals {
            prop_assert_eq!(all.outcome, Outcome::Allow, "waits for what would not help");
            prop_assert!(!real.missing.is_empty());
            prop_assert!(real.missing.iter().all(|m| m.have < m.needed));
        } else {
            prop_assert!(real.missing.is_empty());
        }
        prop_assert_eq!(real.outcome == Outcome::Allow, real.reasons.is_empty());
    }
}
