//! The ledger protocol, explored exhaustively for small numbers of nodes and concurrent sessions (DESIGN section 5).
//!
//! The machine explored is `countersign_policy::limits::protocol`; what fits is asked of a `LimitBook`. Every order of
//! reservations, confirms, releases, aborts, restarts and resends is visited, within the bounds that each test states. Both
//! wrong orders of reading and reserving violate the cap under the same explorer, so it can tell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

#[path = "ledger_protocol/explorer.rs"]
mod explorer;
#[path = "ledger_protocol/judge.rs"]
mod judge;
#[path = "ledger_protocol/model.rs"]
mod model;

use countersign_policy::limits::protocol::Entry;
use explorer::{Explored, explore};
use model::{Setting, Step, Variant, plan};

const MOST: usize = 3_000_000;

/// Sessions on the three pairs of three nodes, of 50 each under a cap of 100.
fn three_pairs() -> Setting {
    let plans = [
        plan(0, &[0, 1], &[]),
        plan(1, &[1, 2], &[]),
        plan(2, &[0, 2], &[]),
    ];
    Setting::new(3, &[50, 50, 50], &plans)
}

fn holds(what: &str, setting: &Setting) -> Explored<Step> {
    let begun = std::time::Instant::now();
    let explored = explore(setting, MOST);
    let Explored {
        states,
        greatest,
        violation,
        ..
    } = &explored;
    println!(
        "{what}: {states} states, at most {greatest} signed, {:?}",
        begun.elapsed()
    );
    assert_eq!(*violation, None, "{what}");
    explored
}

#[test]
fn three_concurrent_sessions_on_the_three_pairs_of_2_of_3_sign_exactly_the_cap() {
    let setting = three_pairs();
    assert_eq!(holds("2 of 3", &setting).greatest, 100);
}

#[test]
fn reading_before_reserving_passes_the_cap() {
    let setting = Setting {
        variant: Variant::ExchangedBefore,
        ..three_pairs()
    };
    let (what, trace) = explore(&setting, MOST).violation.expect("a violation");
    assert!(what.contains("150 of 100"), "{what}: {trace:?}");
}

#[test]
fn reading_only_as_of_the_reservation_passes_the_cap() {
    let setting = Setting {
        variant: Variant::AsOfReservation,
        ..three_pairs()
    };
    let (what, trace) = explore(&setting, MOST).violation.expect("a violation");
    assert!(what.contains("150 of 100"), "{what}: {trace:?}");
}

#[test]
fn resends_change_nothing_in_2_of_3() {
    let setting = Setting {
        resends: true,
        ..three_pairs()
    };
    assert_eq!(holds("2 of 3, resends", &setting).greatest, 100);
}

#[test]
fn aborts_and_restarts_never_let_more_be_signed_in_2_of_3() {
    let setting = Setting {
        failures: 2,
        ..three_pairs()
    };
    assert_eq!(holds("2 of 3, two failures", &setting).greatest, 100);
}

#[test]
fn what_returns_is_never_signed_and_can_be_spent_again() {
    // Payment 0 is tried by two sessions; 1 fits only when 0 has returned.
    let plans = [
        plan(0, &[0, 1], &[]),
        plan(0, &[1, 2], &[]),
        plan(1, &[0, 2], &[]),
    ];
    let setting = Setting {
        failures: 2,
        pushes: 2,
        goal: |state| {
            let both = |a, b, session, entry| {
                [a, b]
                    .iter()
                    .all(|node| state.entry(*node, session) == Some(entry))
            };
            both(0, 1, 0, Entry::Aborted) && both(0, 2, 2, Entry::Released)
        },
        ..Setting::new(3, &[60, 70], &plans)
    };
    let explored = holds("2 of 3, retries and returns", &setting);
    assert_eq!(explored.greatest, 70);
    assert!(explored.reached, "what was aborted by all is spent again");
}

#[test]
fn three_sessions_of_3_of_5_sign_exactly_the_cap() {
    let plans = [
        plan(0, &[0, 1, 2], &[]),
        plan(1, &[2, 3, 4], &[]),
        plan(2, &[0, 1, 4], &[]),
    ];
    let setting = Setting {
        eager: true,
        ..Setting::new(5, &[50, 50, 50], &plans)
    };
    assert_eq!(holds("3 of 5", &setting).greatest, 100);
}

#[test]
fn a_liar_in_2_of_3_reaches_twice_the_cap_and_never_passes_it() {
    // L(N-f)/(Q-f) = 100 * 2 / 1.
    let pairs = [[0, 1], [0, 2], [1, 2]];
    let plans: Vec<_> = (0..)
        .zip(pairs)
        .map(|(n, pair)| plan(n, &pair, &[]))
        .collect();
    let setting = Setting {
        liar: Some(0),
        bound: 200,
        failures: 1,
        ..Setting::new(3, &[100, 100, 100], &plans)
    };
    assert_eq!(holds("2 of 3, a liar", &setting).greatest, 200);
    let pairs = [[0, 1], [0, 1], [0, 2], [0, 2], [1, 2]];
    let plans: Vec<_> = (0..)
        .zip(pairs)
        .map(|(n, pair)| plan(n, &pair, &[]))
        .collect();
    let setting = Setting {
        liar: Some(0),
        bound: 200,
        ..Setting::new(3, &[60, 40, 60, 40, 40], &plans)
    };
    assert_eq!(
        holds("2 of 3, a liar, five sessions", &setting).greatest,
        200
    );
}

#[test]
fn a_liar_in_3_of_5_with_a_quorum_of_4_gains_nothing() {
    // 2Q > N + f: 8 > 6. A witness reserves with the three that sign.
    let plans = [plan(0, &[0, 1, 2], &[3]), plan(1, &[0, 3, 4], &[1])];
    let setting = Setting {
        liar: Some(0),
        failures: 2,
        ..Setting::new(5, &[60, 60], &plans)
    };
    assert_eq!(holds("3 of 5, quorum 4, a liar", &setting).greatest, 60);
    let plans = [
        plan(0, &[0, 1, 2], &[3]),
        plan(1, &[0, 3, 4], &[1]),
        plan(2, &[0, 2, 4], &[3]),
    ];
    let setting = Setting {
        liar: Some(0),
        ..Setting::new(5, &[50, 50, 50], &plans)
    };
    let what = "3 of 5, quorum 4, a liar, three sessions";
    assert_eq!(holds(what, &setting).greatest, 100);
}

#[test]
fn a_liar_in_3_of_5_with_a_quorum_of_3_passes_the_cap() {
    // 2Q = 6 is not more than N + f = 6: two quorums may share the liar alone.
    let plans = [plan(0, &[0, 1, 2], &[]), plan(1, &[0, 3, 4], &[])];
    let setting = Setting {
        liar: Some(0),
        ..Setting::new(5, &[60, 60], &plans)
    };
    let (what, _) = explore(&setting, MOST).violation.expect("a violation");
    assert!(what.contains("120 of 100"), "{what}");
}
