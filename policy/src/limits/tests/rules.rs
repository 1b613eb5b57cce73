use super::*;

#[test]
fn a_cap_is_reached_exactly_and_never_passed() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    book.record(&pays(1, 60).at(0));
    assert_eq!(book.hits(&pays(2, 40).at(1), at(1), &as_is), []);
    book.record(&pays(2, 40).at(1));
    let resets = just_after(60 + 2 * SKEW);
    assert_eq!(
        book.hits(&pays(3, 1).at(2), at(2), &as_is),
        [hit("day", 100, 100, 1, Some(resets))]
    );
}

#[test]
fn an_entry_counts_until_its_window_and_two_skews_are_over_and_the_reset_time_is_when_it_fits() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    for (nonce, value, seconds) in [(1, 10, 0), (2, 50, 10), (3, 40, 20)] {
        book.record(&pays(nonce, value).at(seconds));
    }
    // 60 needs the first and the second gone, 61 all three.
    for (value, until) in [(10, 70), (60, 80), (61, 90), (100, 90)] {
        let asked = pays(4, value).at(25);
        let hits = book.hits(&asked, at(25), &as_is);
        assert_eq!(hits, [hit("day", 100, 100, value, Some(just_after(until)))]);
        assert_eq!(
            book.hits(&asked, at(until), &as_is).len(),
            1,
            "the last instant counts"
        );
        assert_eq!(book.hits(&asked, just_after(until), &as_is), []);
        // Whether anybody pruned makes no difference.
        let mut pruned = book.clone();
        pruned.prune(just_after(until));
        assert_eq!(pruned.hits(&asked, just_after(until), &as_is), []);
    }
    let never = book.hits(&pays(4, 101).at(25), at(25), &as_is);
    assert_eq!(never, [hit("day", 100, 100, 101, None)]);
}

#[test]
fn old_entries_are_dropped_and_stay_dropped_when_the_clock_goes_back() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    for nonce in 0..50 {
        book.record(&pays(nonce, 1).at(nonce));
    }
    book.prune(at(1000));
    assert!(book.is_empty());
    book.record(&pays(7, 1).at(7));
    assert!(book.is_empty(), "an entry that had expired when it arrived");
    book.prune(at(0));
    book.record(&pays(8, 1).at(8));
    assert!(book.is_empty());
}

#[test]
fn what_is_outstanding_is_kept_until_it_is_settled_or_given_back() {
    let limits = [
        limit("day", everything(), of(USDT, 100), rolling(60)),
        limit("open", everything(), of(USDT, 100), Period::Outstanding),
    ];
    let mut book = book(&limits);
    let (first, second) = (pays(1, 60), pays(2, 40));
    book.record(&first.at(0));
    book.record(&second.at(0));
    book.prune(at(1_000_000));
    assert_eq!(book.len(), 2);
    assert_eq!(
        book.hits(&pays(3, 1).at(1_000_000), at(1_000_000), &as_is),
        [hit("open", 100, 100, 1, None)]
    );
    book.settle(&first.digest());
    book.give_back(&second.digest());
    assert!(book.is_empty());
}

#[test]
fn what_is_settled_leaves_outstanding_limits_and_stays_in_windows() {
    let limits = [
        limit("day", everything(), of(USDT, 100), rolling(60)),
        limit("open", everything(), of(USDT, 100), Period::Outstanding),
    ];
    let mut book = book(&limits);
    book.record(&pays(1, 100).at(0));
    book.settle(&pays(1, 100).digest());
    let hits = book.hits(&pays(2, 1).at(1), at(1), &as_is);
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].limit.as_str(), "day");
    book.give_back(&pays(1, 100).digest());
    book.record(&pays(1, 100).at(0));
    assert_eq!(
        book.hits(&pays(2, 1).at(1), at(1), &as_is),
        hits,
        "what is in a block neither returns nor becomes outstanding again"
    );
}

#[test]
fn a_retry_adds_nothing_and_its_latest_reservation_counts() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    for seconds in [10, 30, 20] {
        book.record(&pays(1, 60).at(seconds));
    }
    assert_eq!(used(&book, &pays(2, 1), 30), 60);
    assert_eq!(
        book.hits(&pays(1, 60).at(30), at(30), &as_is),
        [],
        "itself once"
    );
    assert_eq!(used(&book, &pays(2, 1), 30 + 60 + 2 * SKEW), 60);
    assert_eq!(used(&book, &pays(2, 1), 31 + 60 + 2 * SKEW), 0);
}

#[test]
fn a_retry_brings_an_expired_spend_back_into_its_window() {
    let limits = [
        limit("day", everything(), of(USDT, 100), rolling(600)),
        limit("hour", everything(), of(USDT, 100), rolling(60)),
    ];
    let mut book = book(&limits);
    book.record(&pays(1, 60).at(0));
    book.prune(at(100));
    let hits = book.hits(&pays(2, 41).at(100), at(100), &as_is);
    assert_eq!(
        hits.iter().map(|h| h.limit.as_str()).collect::<Vec<_>>(),
        ["day"]
    );
    book.record(&pays(1, 60).at(100));
    assert_eq!(book.hits(&pays(2, 41).at(100), at(100), &as_is).len(), 2);
    assert_eq!(book.len(), 1);
}

#[test]
fn a_replacement_counts_once_with_the_highest_fee() {
    let fees = |max| Measure::Fee {
        network: Network::ETHEREUM,
        max: amount(max),
    };
    let limits = [
        limit(
            "count",
            everything(),
            Measure::Count { max: 1 },
            rolling(60),
        ),
        limit("fees", everything(), fees(10), rolling(60)),
    ];
    let mut book = book(&limits);
    let version = |fee| Payment {
        fee: amount(fee),
        ..pays(1, 50)
    };
    for fee in [4, 7, 5] {
        assert_eq!(book.hits(&version(fee).at(0), at(0), &as_is), []);
        book.record(&version(fee).at(0));
    }
    assert_eq!(book.len(), 1);
    let dearer = book.hits(&version(11).at(0), at(0), &as_is);
    assert_eq!(dearer, [hit("fees", 10, 0, 11, None)]);
    let other = Payment {
        fee: amount(4),
        ..pays(2, 50)
    };
    let resets = Some(just_after(60 + 2 * SKEW));
    let hits = book.hits(&other.at(0), at(0), &as_is);
    assert_eq!(
        hits,
        [hit("count", 1, 1, 1, resets), hit("fees", 10, 7, 4, resets)]
    );
}

#[test]
fn another_transaction_of_the_same_nonce_counts_besides() {
    let mut book = book(&[limit(
        "open",
        everything(),
        of(USDT, 100),
        Period::Outstanding,
    )]);
    let other = Payment {
        moves: vec![(USDT, 2, amount(60))],
        ..pays(1, 60)
    };
    book.record(&pays(1, 60).at(0));
    assert_eq!(
        book.hits(&other.at(0), at(0), &as_is),
        [hit("open", 100, 60, 60, None)]
    );
    // Once one of them is in a block, the other is dead, and so is what arrives later.
    book.record(&other.at(0));
    book.settle(&other.digest());
    assert!(book.is_empty());
}

#[test]
fn a_late_entry_for_a_used_nonce_counts_nothing() {
    let limits = [
        limit("day", everything(), of(USDT, 100), rolling(60)),
        limit("open", everything(), of(USDT, 100), Period::Outstanding),
    ];
    let mut book = book(&limits);
    book.record(&pays(1, 60).at(0));
    book.settle(&pays(1, 60).digest());
    book.record(&pays(1, 70).at(1));
    assert_eq!(used(&book, &pays(2, 1), 1), 60);
    assert_eq!(book.len(), 1);
}

#[test]
fn a_payment_with_several_versions_returns_when_none_is_alive() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    let dearer = Payment {
        fee: amount(9),
        ..pays(1, 60)
    };
    book.record(&pays(1, 60).at(0));
    book.record(&dearer.at(0));
    book.give_back(&pays(1, 60).digest());
    assert_eq!(used(&book, &pays(2, 1), 0), 60);
    book.give_back(&Hash::sha256(b"something else"));
    book.give_back(&pays(1, 60).digest());
    assert_eq!(used(&book, &pays(2, 1), 0), 60);
    book.record(&pays(1, 60).at(0));
    book.give_back(&dearer.digest());
    assert_eq!(
        used(&book, &pays(2, 1), 0),
        60,
        "the first was reserved again"
    );
    book.give_back(&pays(1, 60).digest());
    assert_eq!(used(&book, &pays(2, 1), 0), 0);
    assert!(book.is_empty());
}

#[test]
fn what_a_liar_says_of_a_digest_takes_nothing_from_what_is_true() {
    for tron in [false, true] {
        let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
        let truth = Payment {
            tron,
            ..pays(1, 60)
        };
        let mut lie = truth.reservation();
        lie.transfers.clear();
        book.record(&Spend::of(&lie, at(0)));
        book.record(&truth.at(0));
        assert_eq!(used(&book, &pays(2, 1), 0), 60);
        let mut lie = truth.reservation();
        lie.transfers[0].amount = amount(1);
        book.record(&Spend::of(&lie, at(5)));
        assert_eq!(used(&book, &pays(2, 1), 5), 61);
    }
}

#[test]
fn every_digest_counts_where_transactions_do_not_exclude_each_other() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    let version = |fee| Payment {
        tron: true,
        fee: amount(fee),
        ..pays(1, 60)
    };
    book.record(&version(1).at(0));
    book.record(&version(1).at(1));
    assert_eq!(book.hits(&version(2).at(1), at(1), &as_is).len(), 1);
}

#[test]
fn scopes_name_what_is_counted() {
    let wallets = LimitScope {
        wallets: vec!["warm".parse().unwrap()],
        ..everything()
    };
    let tier = LimitScope {
        tier: Some(WalletTier::Warm),
        ..everything()
    };
    let initiators = LimitScope {
        initiators: vec!["till".parse().unwrap()],
        ..everything()
    };
    let network = LimitScope {
        network: Some(Network::TRON),
        ..everything()
    };
    let destination = LimitScope {
        destination: Some(address(9)),
        ..everything()
    };
    let count = || Measure::Count { max: 1 };
    let limits: Vec<_> = [
        ("a-wallets", wallets),
        ("b-tier", tier),
        ("c-initiators", initiators),
        ("d-network", network),
        ("e-destination", destination),
        ("f-all", everything()),
    ]
    .into_iter()
    .map(|(id, scope)| limit(id, scope, count(), rolling(60)))
    .collect();
    let book = book(&limits);
    let applies = |payment: &Payment| -> Vec<String> {
        let spend = payment.at(0);
        book.applies(&spend).map(|id| id.to_string()).collect()
    };
    assert_eq!(applies(&pays(1, 1)), ["f-all"]);
    let warm = Payment {
        wallet: "warm",
        ..pays(1, 1)
    };
    assert_eq!(applies(&warm), ["a-wallets", "b-tier", "f-all"]);
    let till = Payment {
        initiator: "till",
        ..pays(1, 1)
    };
    assert_eq!(applies(&till), ["c-initiators", "f-all"]);
    let tron = Payment {
        tron: true,
        ..pays(1, 1)
    };
    assert_eq!(applies(&tron), ["d-network", "f-all"]);
    let there = Payment {
        approves: vec![(USDT, 9, amount(1))],
        ..pays(1, 1)
    };
    assert_eq!(applies(&there), ["e-destination", "f-all"]);
    let unknown = Payment {
        wallet: "removed",
        ..pays(1, 1)
    };
    assert_eq!(
        applies(&unknown),
        ["b-tier", "f-all"],
        "a tier that nobody knows could be the limited one"
    );
}

#[test]
fn a_destination_is_charged_with_what_goes_there() {
    let scope = LimitScope {
        destination: Some(address(9)),
        ..everything()
    };
    let mut book = book(&[limit("there", scope, of(USDT, 100), rolling(60))]);
    let payment = Payment {
        moves: vec![
            (USDT, 9, amount(30)),
            (USDT, 1, amount(500)),
            (ETH, 9, amount(7)),
        ],
        approves: vec![(USDT, 9, amount(12)), (USDT, 8, amount(500))],
        ..pays(1, 0)
    };
    book.record(&payment.at(0));
    let probe = Payment {
        moves: vec![(USDT, 9, amount(1))],
        ..pays(2, 0)
    };
    assert_eq!(used(&book, &probe, 0), 42);
}

#[test]
fn what_is_taken_from_another_account_counts_as_moved() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    let mut taken = pays(1, 60).reservation();
    taken.transfers[0].from = Some(address(77));
    book.record(&Spend::of(&taken, at(0)));
    assert_eq!(used(&book, &pays(2, 1), 0), 60);
}

#[test]
fn an_allowance_counts_as_if_it_moved_and_one_without_limit_passes_every_limit() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    let allows = |nonce, value| Payment {
        moves: Vec::new(),
        approves: vec![(USDT, 3, value)],
        ..pays(nonce, 0)
    };
    book.record(&allows(1, amount(60)).at(0));
    assert_eq!(used(&book, &pays(2, 1), 0), 60);
    let hits = book.hits(&allows(2, Amount::MAX).at(0), at(0), &as_is);
    assert_eq!(hits[0].requested, Amount::MAX);
    assert_eq!(hits[0].resets_at, None);
}

#[test]
fn values_are_rounded_up_for_each_movement() {
    let value = Measure::Value { max: amount(1000) };
    let mut book = book(&[limit("value", everything(), value, rolling(60))]);
    // 1 and 1,000,001 millionths at 101 a unit: 1 and 102.
    let payment = Payment {
        moves: vec![(USDT, 1, amount(1)), (USDT, 1, amount(1_000_001))],
        approves: vec![(ETH, 3, "2000000000000000".parse().unwrap())],
        ..pays(1, 0)
    };
    book.record(&payment.at(0));
    assert_eq!(used(&book, &pays(2, 1), 0), 1 + 102 + 600);
}

#[test]
fn an_asset_without_a_price_may_not_move_where_values_are_limited() {
    let value = Measure::Value { max: Amount::MAX };
    let mut book = book(&[limit("value", everything(), value, rolling(60))]);
    let moves = |nonce, value| Payment {
        moves: vec![(USDC, 1, amount(value))],
        ..pays(nonce, 0)
    };
    let hits = book.hits(&moves(1, 1).at(0), at(0), &as_is);
    assert_eq!(hits[0].requested, Amount::MAX);
    assert_eq!(
        book.hits(&moves(1, 0).at(0), at(0), &as_is),
        [],
        "nothing moves"
    );
    // One that a ledger holds all the same (the price was taken out of the bundle since) closes the limit.
    book.record(&moves(1, 1).at(0));
    let hits = book.hits(&pays(2, 1).at(0), at(0), &as_is);
    assert_eq!(hits[0].used, Amount::MAX);
    assert_eq!(hits[0].resets_at, Some(just_after(60 + 2 * SKEW)));
}

#[test]
fn a_limit_per_transaction_looks_at_one_alone() {
    let mut book = book(&[limit(
        "each",
        everything(),
        of(USDT, 100),
        Period::Transaction,
    )]);
    for nonce in 0..9 {
        book.record(&pays(nonce, 100).at(0));
    }
    assert!(book.is_empty());
    assert_eq!(book.hits(&pays(1, 100).at(0), at(0), &as_is), []);
    let hits = book.hits(&pays(1, 101).at(0), at(0), &as_is);
    assert_eq!(hits, [hit("each", 100, 0, 101, None)]);
}

#[test]
fn a_freeze_lowers_a_limit_and_never_raises_it() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    book.record(&pays(1, 50).at(0));
    let resets = Some(just_after(60 + 2 * SKEW));
    let to = |cap: u64| move |_: &crate::LimitId| Some(amount(cap));
    let hits = book.hits(&pays(2, 10).at(0), at(0), &to(55));
    assert_eq!(hits, [hit("day", 55, 50, 10, resets)]);
    let hits = book.hits(&pays(2, 10).at(0), at(0), &to(20));
    assert_eq!(hits, [hit("day", 20, 50, 10, resets)]);
    assert_eq!(hits[0].remaining(), Amount::ZERO);
    let hits = book.hits(&pays(2, 60).at(0), at(0), &to(1000));
    assert_eq!(hits, [hit("day", 100, 50, 60, resets)]);
}

#[test]
fn a_book_for_a_new_bundle_counts_what_ledgers_remember() {
    let spends: Vec<Spend> = (0..10).map(|n| pays(n, 10).at(n)).collect();
    let old = book(&[limit("day", everything(), of(USDT, 100), rolling(60))]);
    let old = old.with_spends(&spends);
    assert_eq!(used(&old, &pays(99, 1), 10), 100);
    let new = book(&[limit("half", everything(), of(USDT, 50), rolling(600))]);
    let new = new.with_spends(&spends);
    let hits = new.hits(&pays(99, 1).at(500), at(500), &as_is);
    assert_eq!((hits[0].used, hits[0].max), (amount(100), amount(50)));
    assert!(old.emptied().is_empty());
}

#[test]
fn several_signing_digests_have_one_name() {
    let (a, b) = (Hash::sha256(b"a"), Hash::sha256(b"b"));
    assert_eq!(Spend::digest_of(&[a]), a);
    let all = [Spend::digest_of(&[a, b]), Spend::digest_of(&[b, a]), a, b];
    assert_eq!(
        all.iter().collect::<std::collections::BTreeSet<_>>().len(),
        4
    );
}
