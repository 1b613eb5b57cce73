use countersign_policy::bundle::{CedarFile, Destinations, Role};
use countersign_policy::limits::{Measure, Period};
use countersign_policy::testing::{TestDeployment, transaction};
use countersign_policy::{Amount, Network};

use super::*;

fn policy() -> PolicyBundle {
    let mut deployment = TestDeployment::with_approvals(3, 2, "treasury:2");
    deployment.add_limit(
        "spends-hour",
        Measure::Count { max: 20 },
        Period::Rolling { seconds: 3_600 },
    );
    deployment.content_mut().cedar.push(CedarFile {
        name: "night.cedar".to_owned(),
        text: "@id(\"night\")\nforbid (principal, action, resource) when { context.hour < 6 };"
            .to_owned(),
    });
    deployment.content().clone()
}

fn effects(edit: impl FnOnce(&mut PolicyBundle)) -> Vec<Effect> {
    let old = policy();
    let mut new = old.clone();
    edit(&mut new);
    let mut effects: Vec<Effect> = differences(&old, &new).iter().map(|d| d.effect).collect();
    effects.dedup();
    effects
}

#[test]
fn what_makes_more_possible_is_told_as_such_and_its_opposite_too() {
    let more = |amount: &mut Amount| *amount = amount.checked_add(Amount::from(1_u64)).unwrap();
    let less = |amount: &mut Amount| *amount = amount.checked_sub(Amount::from(1_u64)).unwrap();
    assert_eq!(effects(|_| {}), []);
    for (wider, narrower) in [
        (
            effects(|p| more(&mut p.rules[0].max_amount)),
            effects(|p| less(&mut p.rules[0].max_amount)),
        ),
        (
            effects(|p| p.rules[0].needs = None),
            effects(|p| p.rules[0].needs = Some("treasury:2,security:1".parse().unwrap()))
                .into_iter()
                .map(|_| Effect::Narrower)
                .collect(),
        ),
        (
            effects(|p| p.rules[0].destinations = Destinations::Any),
            effects(|p| {
                p.rules[0].destinations = Destinations::Labels {
                    labels: vec!["exchange".to_owned()],
                }
            }),
        ),
        (
            effects(|p| p.rules.push(p.rules[0].clone()).into_rule(p)),
            effects(|p| drop(p.rules.remove(0))),
        ),
        (
            effects(|p| more(&mut p.fee_caps[0].max_fee)),
            effects(|p| less(&mut p.fee_caps[0].max_fee)),
        ),
        (
            effects(|p| p.quorums.unfreeze -= 1),
            effects(|p| p.quorums.unfreeze += 1),
        ),
        (
            effects(|p| p.timing.max_approval_life_seconds += 1),
            effects(|p| p.timing.max_approval_life_seconds -= 1),
        ),
        (
            effects(|p| drop(p.limits.remove(0))),
            effects(|p| p.limits[0].measure = Measure::Count { max: 19 }),
        ),
        (
            effects(|p| drop(p.cedar.remove(0))),
            effects(|p| {
                p.cedar[0].text.push_str(
                    "\n@id(\"noon\")\nforbid (principal, action, resource) when { context.hour == 12 };",
                );
            }),
        ),
        (
            effects(|p| p.limits[0].period = Period::Rolling { seconds: 1_800 }),
            effects(|p| p.limits[0].period = Period::Rolling { seconds: 7_200 }),
        ),
    ] {
        assert_eq!(
            (&wider[..], &narrower[..]),
            (&[Effect::Wider][..], &[Effect::Narrower][..])
        );
    }
}

/// Gives the rule pushed last another name.
trait IntoRule {
    fn into_rule(self, policy: &mut PolicyBundle);
}

impl IntoRule for () {
    fn into_rule(self, policy: &mut PolicyBundle) {
        policy.rules.last_mut().unwrap().id = countersign_policy::RuleId::new("another").unwrap();
    }
}

#[test]
fn an_address_under_a_known_name_stands_out() {
    let old = policy();
    let mut new = old.clone();
    let entry = new
        .address_book
        .iter_mut()
        .find(|e| e.network == Network::ETHEREUM)
        .unwrap();
    entry.address = transaction::address_on(&Network::ETHEREUM, &transaction::STRANGER);
    let changes = differences(&old, &new);
    let said = text(&changes);
    assert!(said.starts_with("becomes possible"), "{said}");
    assert!(said.contains("ANOTHER ADDRESS"), "{said}");
}

#[test]
fn a_new_role_or_key_of_a_member_is_something_new() {
    let old = policy();
    let mut new = old.clone();
    let officer = new
        .members
        .iter_mut()
        .find(|m| m.roles.contains(&Role::SecurityOfficer))
        .unwrap();
    officer.roles.insert(Role::PolicyApprover);
    officer.keys.push(old.members[0].keys[0].clone());
    let changes = differences(&old, &new);
    assert_eq!(changes.len(), 2);
    assert!(
        changes.iter().all(|c| c.effect == Effect::Wider),
        "{changes:?}"
    );
}

#[test]
fn amounts_are_told_in_whole_units() {
    let old = policy();
    let mut new = old.clone();
    let usdt = new
        .rules
        .iter_mut()
        .find(|r| r.asset == countersign_policy::testing::usdt())
        .unwrap();
    usdt.max_amount = Amount::from(20_000_500_000_u64);
    let said = text(&differences(&old, &new));
    assert!(said.contains("becomes 20000.5 USDT on eip155:1"), "{said}");
}
