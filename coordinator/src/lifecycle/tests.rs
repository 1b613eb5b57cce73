//! The table of states, and what a final one needs.

use super::*;

fn acks(outcomes: &[(&str, StopOutcome)]) -> BTreeMap<MemberId, StopOutcome> {
    outcomes
        .iter()
        .map(|(n, o)| (MemberId::new(*n).unwrap(), *o))
        .collect()
}

#[test]
fn nothing_follows_a_final_state() {
    for from in StateName::ALL {
        for to in StateName::ALL {
            assert!(!(from.is_final() && from.may_become(to)), "{from:?} {to:?}");
        }
    }
}

#[test]
fn only_blocked_is_final_without_a_stop() {
    use StateName as S;
    for from in [S::Received, S::PendingApproval, S::Authorized, S::Signing] {
        for to in [S::Rejected, S::Expired, S::Cancelled, S::Failed] {
            assert!(!from.may_become(to), "{from:?} -> {to:?}");
        }
    }
    for from in [S::PendingApproval, S::Authorized, S::Signing] {
        assert!(!from.may_become(S::Blocked));
    }
    assert!(S::Received.may_become(S::Blocked));
}

#[test]
fn the_table_of_states_is_reviewed() {
    let mut table = String::new();
    for from in StateName::ALL {
        let next: Vec<&str> = StateName::ALL
            .into_iter()
            .filter(|to| from.may_become(*to))
            .map(StateName::as_str)
            .collect();
        table.push_str(&format!("{} -> [{}]\n", from.as_str(), next.join(", ")));
    }
    insta::assert_snapshot!(table, @r"
    RECEIVED -> [PENDING_APPROVAL, AUTHORIZED, STOPPING, BLOCKED]
    PENDING_APPROVAL -> [PENDING_APPROVAL, AUTHORIZED, SIGNED, STOPPING]
    AUTHORIZED -> [PENDING_APPROVAL, AUTHORIZED, SIGNING, SIGNED, STOPPING]
    SIGNING -> [PENDING_APPROVAL, AUTHORIZED, SIGNED, STOPPING]
    SIGNED -> []
    STOPPING -> [SIGNED, STOPPING, BLOCKED, REJECTED, EXPIRED, CANCELLED, FAILED]
    BLOCKED -> []
    REJECTED -> []
    EXPIRED -> []
    CANCELLED -> []
    FAILED -> []
    ");
}

#[test]
fn a_stop_is_settled_by_the_quorum_alone() {
    use StopOutcome::{Released, Stopped};
    assert_eq!(
        StopStanding::judge(&acks(&[("a", Stopped)]), 2),
        StopStanding::Waiting { missing: 1 }
    );
    assert_eq!(
        StopStanding::judge(&acks(&[("a", Stopped), ("b", Stopped), ("c", Released)]), 2),
        StopStanding::Settled
    );
    assert_eq!(
        StopStanding::judge(&acks(&[("a", Stopped), ("b", Released)]), 2),
        StopStanding::MayBeSigned {
            released: vec![MemberId::new("b").unwrap()]
        }
    );
}

#[test]
fn states_survive_json() {
    for state in [
        State::Received,
        State::PendingApproval(Waiting::default()),
        State::Signing { attempt: 3 },
        State::Stopping {
            goal: Goal::Expired,
            why: Why::new("expired", "too late"),
        },
        State::Failed(Why::new("nodes-unavailable", "x")),
    ] {
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state);
        assert_eq!(StateName::parse(state.name().as_str()), Some(state.name()));
        assert!(json.contains(state.name().as_str()));
    }
}
