//! Pure, total, deny by default, and monotonic: less permission never allows more.

use proptest::prelude::*;

use super::decide_at;
use crate::bundle::{Destinations, PolicyBundle};
use crate::testing::transaction::{self, EXCHANGE, STRANGER, Tron};
use crate::testing::{OFFICER, OTHER_PAYMENTS, PAYMENTS, TestDeployment, WALLET};
use crate::{Amount, Network, Outcome, RuleId, Timestamp};

/// What one random case asks for.
#[derive(Debug, Clone)]
struct Ask {
    initiator: &'static str,
    action: u8,
    stranger: bool,
    amount: u64,
    later_millis: i64,
}

fn ask() -> impl Strategy<Value = Ask> {
    let initiator =
        prop::sample::select(&[PAYMENTS, PAYMENTS, PAYMENTS, OTHER_PAYMENTS, OFFICER][..]);
    let amount = prop_oneof![Just(5_u64), 1_u64..20, any::<u64>()];
    let later = prop_oneof![Just(0_i64), -10_000_i64..700_000, any::<i64>()];
    (initiator, 0_u8..6, any::<bool>(), amount, later).prop_map(
        |(initiator, action, stranger, amount, later_millis)| Ask {
            initiator,
            action,
            stranger,
            amount,
            later_millis,
        },
    )
}

/// Random rules: caps around the amounts asked for, all forms of destinations, one or two initiators.
fn rules() -> impl Strategy<Value = Vec<(usize, u64, u8, bool)>> {
    prop::collection::vec((0_usize..5, 0_u64..20, 0_u8..3, any::<bool>()), 0..6)
}

fn apply(content: &mut PolicyBundle, rules: &[(usize, u64, u8, bool)]) {
    let templates = content.rules.clone();
    content.rules = rules
        .iter()
        .enumerate()
        .map(|(i, (template, cap, destinations, both))| {
            let mut rule = templates[*template].clone();
            rule.id = RuleId::new(format!("rule-{i}")).unwrap();
            rule.max_amount = Amount::from(*cap);
            rule.destinations = match destinations {
                0 => Destinations::AddressBook,
                1 => Destinations::Any,
                _ => Destinations::Labels {
                    labels: vec!["exchange".into()],
                },
            };
            if *both {
                rule.initiators.push(crate::testing::member(OTHER_PAYMENTS));
            }
            rule
        })
        .collect();
}

fn outcome(ask: &Ask, edit: impl FnOnce(&mut PolicyBundle)) -> crate::Decision {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    edit(deployment.content_mut());
    deployment.close_wallets_without_rules();
    let to = if ask.stranger { STRANGER } else { EXCHANGE };
    let tron = Tron::at(deployment.now());
    let sun = ask.amount.min(1 << 60);
    let (network, bytes) = match ask.action {
        0 => (
            Network::ETHEREUM,
            transaction::usdt_erc20(&to, ask.amount, 0),
        ),
        1 => (Network::ETHEREUM, transaction::ether(&to, ask.amount, 0)),
        2 => (
            Network::ETHEREUM,
            transaction::usdt_approve(&to, ask.amount, 0),
        ),
        3 => (
            Network::evm(56).unwrap(),
            transaction::usdt_bep20(&to, ask.amount, 0),
        ),
        4 => (Network::TRON, tron.usdt_trc20(&to, ask.amount)),
        _ => (Network::TRON, tron.trx(&to, sun.max(1))),
    };
    let wallet = deployment.wallet(WALLET);
    let body = deployment.sign_request("p", wallet, &wallet.path, network, bytes);
    let request = deployment.sign(ask.initiator, 600, body);
    let now = deployment
        .now()
        .as_millis()
        .saturating_add(ask.later_millis);
    decide_at(&deployment.bundle(), &request, Timestamp::from_millis(now))
}

fn allowed(decision: &crate::Decision) -> bool {
    decision.outcome == Outcome::Allow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn without_rules_nothing_is_allowed(ask in ask()) {
        let decision = outcome(&ask, |c| c.rules.clear());
        prop_assert_eq!(decision.outcome, Outcome::Blocked);
        prop_assert!(!decision.reasons.is_empty());
        prop_assert!(decision.rules.is_empty());
    }

    #[test]
    fn the_same_question_has_the_same_answer(ask in ask(), rules in rules()) {
        let first = outcome(&ask, |c| apply(c, &rules));
        let second = outcome(&ask, |c| apply(c, &rules));
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(allowed(&first), first.reasons.is_empty());
        let json = serde_json::to_string(&first).unwrap();
        prop_assert_eq!(serde_json::from_str::<crate::Decision>(&json).unwrap(), first);
    }

    #[test]
    fn removing_a_rule_never_allows_more(ask in ask(), rules in rules(), gone in any::<prop::sample::Index>()) {
        prop_assume!(!rules.is_empty());
        let mut fewer = rules.clone();
        fewer.remove(gone.index(rules.len()));
        let before = outcome(&ask, |c| apply(c, &rules));
        let after = outcome(&ask, |c| apply(c, &fewer));
        prop_assert!(allowed(&before) || !allowed(&after));
    }

    #[test]
    fn lowering_a_cap_never_allows_more(
        ask in ask(),
        rules in rules(),
        which in any::<prop::sample::Index>(),
        by in 1_u64..20,
        fee in any::<bool>(),
    ) {
        prop_assume!(!rules.is_empty());
        let mut lower = rules.clone();
        let at = which.index(rules.len());
        lower[at].1 = lower[at].1.saturating_sub(by);
        let before = outcome(&ask, |c| apply(c, &rules));
        let after = outcome(&ask, |c| {
            apply(c, &lower);
            if fee {
                for cap in &mut c.fee_caps {
                    cap.max_fee = Amount::from(by);
                }
            }
        });
        prop_assert!(allowed(&before) || !allowed(&after));
    }

    #[test]
    fn naming_destinations_never_allows_more(ask in ask(), rules in rules()) {
        let before = outcome(&ask, |c| apply(c, &rules));
        let named: Vec<_> = rules.iter().map(|r| (r.0, r.1, 2, r.3)).collect();
        let after = outcome(&ask, |c| apply(c, &named));
        prop_assert!(allowed(&before) || !allowed(&after));
    }

    #[test]
    fn asking_for_more_is_never_allowed_where_less_is_not(ask in ask(), rules in rules(), more in 0_u64..50) {
        let greater = Ask { amount: ask.amount.saturating_add(more), ..ask.clone() };
        let before = outcome(&ask, |c| apply(c, &rules));
        let after = outcome(&greater, |c| apply(c, &rules));
        prop_assert!(allowed(&before) || !allowed(&after));
    }
}
