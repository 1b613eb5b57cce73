//! Different people for each place.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::approvals::{ApprovalTally, MissingApprovals, Need, Needs};
use crate::bundle::Group;
use crate::id::{GroupId, MemberId};
use crate::testing::member;

fn group(id: &str, members: &[&str]) -> Group {
    Group {
        id: GroupId::new(id).unwrap(),
        members: members.iter().map(|m| member(m)).collect(),
    }
}

/// As if these people, and nobody else, had approved.
fn approved(people: &[&str]) -> ApprovalTally {
    ApprovalTally::saturated(&[group("all", people)], &member("nobody"))
}

fn needs(text: &str) -> Needs {
    text.parse().unwrap()
}

fn missing(group: &str, needed: u16, have: u16) -> MissingApprovals {
    MissingApprovals {
        group: GroupId::new(group).unwrap(),
        needed,
        have,
    }
}

#[test]
fn groups_are_counted_by_their_members() {
    let treasury = group("treasury", &["a", "b", "c"]);
    let security = group("security", &["c", "d"]);
    let tally = approved(&["a", "c"]);
    assert_eq!(tally.count_in(&treasury), 2);
    assert_eq!(tally.count_in(&security), 1);
    // A member that is listed twice is one person still.
    assert_eq!(tally.count_in(&group("twice", &["a", "a"])), 1);
}

#[test]
fn one_person_does_not_stand_for_two_groups_at_once() {
    let groups = [
        group("security", &["c", "d"]),
        group("treasury", &["a", "b", "c"]),
    ];
    let rule = needs("treasury:1,security:1");
    // c is in both, and alone.
    let tally = approved(&["c"]);
    assert_eq!(tally.count_in(&groups[0]), 1);
    assert_eq!(tally.count_in(&groups[1]), 1);
    assert!(!tally.meets(&rule, &groups));
    assert_eq!(tally.missing(&rule, &groups), [missing("security", 1, 0)]);
    for enough in [&["a", "c"][..], &["c", "d"], &["a", "d"]] {
        assert!(approved(enough).meets(&rule, &groups), "{enough:?}");
        assert!(approved(enough).missing(&rule, &groups).is_empty());
    }
    for short in [&["a", "b"][..], &["d"], &[]] {
        assert!(!approved(short).meets(&rule, &groups), "{short:?}");
    }
}

#[test]
fn people_are_moved_to_where_they_are_needed() {
    // Seated one after the other, a and b would take the places of the first group and leave none for the second.
    let groups = [
        group("first", &["a", "b", "c", "d"]),
        group("second", &["a", "b"]),
        group("third", &["b", "c"]),
    ];
    let rule = needs("first:2,second:1,third:1");
    assert!(approved(&["a", "b", "c", "d"]).meets(&rule, &groups));
    assert!(!approved(&["a", "b", "c"]).meets(&rule, &groups));
    let chain = needs("first:1,second:1,third:1");
    assert!(approved(&["a", "b", "c"]).meets(&chain, &groups));
}

#[test]
fn one_alternative_is_enough_and_the_closest_is_told() {
    let groups = [
        group("board", &["x", "y", "z"]),
        group("security", &["c"]),
        group("treasury", &["a", "b"]),
    ];
    let rule = needs("treasury:2,security:1|board:3");
    assert_eq!(
        approved(&[]).missing(&rule, &groups),
        [missing("treasury", 2, 0), missing("security", 1, 0)]
    );
    assert_eq!(
        approved(&["x", "y"]).missing(&rule, &groups),
        [missing("board", 3, 2)]
    );
    assert_eq!(
        approved(&["a", "c"]).missing(&rule, &groups),
        [missing("treasury", 2, 1)]
    );
    assert!(approved(&["x", "y", "z"]).meets(&rule, &groups));
    // Half of each is none.
    assert!(!approved(&["a", "b", "x", "y"]).meets(&rule, &groups));
}

#[test]
fn an_alternative_that_nobody_could_meet_is_not_the_closest() {
    let groups = [group("board", &["x", "y", "z"]), group("empty", &["x"])];
    let rule = needs("empty:2|board:3");
    assert_eq!(
        approved(&["x"]).missing(&rule, &groups),
        [missing("board", 3, 1)]
    );
    // Where there is no other, it is told all the same.
    let rule = needs("empty:2|unknown:1");
    assert_eq!(
        approved(&["x"]).missing(&rule, &groups),
        [missing("empty", 2, 1)]
    );
    assert!(!approved(&["x"]).meets(&needs("unknown:1"), &groups));
}

#[test]
fn a_saturated_tally_is_everybody_but_the_initiator() {
    let groups = [
        group("security", &["c", "d"]),
        group("treasury", &["a", "c"]),
    ];
    let tally = ApprovalTally::saturated(&groups, &member("c"));
    let people: Vec<_> = tally.members().cloned().collect();
    assert_eq!(people, [member("a"), member("d")]);
    assert_eq!(tally.approvals().count(), 0);
    assert!(tally.meets(&needs("security:1,treasury:1"), &groups));
    assert!(!tally.meets(&needs("security:2"), &groups));
}

#[test]
fn great_numbers_do_no_harm() {
    let groups = [group("treasury", &["a"])];
    let rule = needs("treasury:65535");
    assert_eq!(
        approved(&["a"]).missing(&rule, &groups),
        [missing("treasury", u16::MAX, 1)]
    );
}

const PEOPLE: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Tries every way to give each approver one of the groups, or none: obviously right, and slow.
fn can_be_met(needs: &[Need], groups: &[Group], people: &[MemberId]) -> bool {
    let Some((person, others)) = people.split_first() else {
        return needs.iter().all(|n| n.count == 0);
    };
    if can_be_met(needs, groups, others) {
        return true;
    }
    needs.iter().enumerate().any(|(i, need)| {
        let member = groups
            .iter()
            .any(|g| g.id == need.group && g.members.contains(person));
        if need.count == 0 || !member {
            return false;
        }
        let mut less = needs.to_vec();
        less[i].count -= 1;
        can_be_met(&less, groups, others)
    })
}

fn some_people() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(PEOPLE.to_vec(), 0..=PEOPLE.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn needs_are_met_exactly_when_some_assignment_of_people_meets_them(
        members in prop::collection::vec(some_people(), 3),
        people in some_people(),
        counts in prop::collection::vec(1..4_u16, 1..=3),
    ) {
        let groups: Vec<Group> = members
            .iter()
            .enumerate()
            .map(|(i, members)| group(&format!("g{i}"), members))
            .collect();
        let text: Vec<String> = counts
            .iter()
            .enumerate()
            .map(|(i, count)| format!("g{i}:{count}"))
            .collect();
        let rule = needs(&text.join(","));
        let tally = approved(&people);
        let approvers: Vec<MemberId> = people.iter().map(|p| member(p)).collect();
        let expected = can_be_met(&rule.alternatives()[0], &groups, &approvers);
        prop_assert_eq!(tally.meets(&rule, &groups), expected);
        let missing = tally.missing(&rule, &groups);
        prop_assert_eq!(missing.is_empty(), expected);
        // As many as are told to be missing are enough, if they are the right ones: nobody is asked for too many.
        let short: u16 = missing.iter().map(|m| m.needed - m.have).sum();
        let total: u16 = counts.iter().sum();
        prop_assert!(usize::from(total - short) <= approvers.len());
        // More approvals never make it worse.
        let everybody = approved(&PEOPLE);
        let names: BTreeSet<_> = missing.iter().map(|m| &m.group).collect();
        prop_assert!(names.len() <= counts.len());
        prop_assert!(!expected || everybody.meets(&rule, &groups));
    }
}
