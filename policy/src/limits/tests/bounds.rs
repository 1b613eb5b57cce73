use super::*;

#[test]
fn a_sum_beyond_the_greatest_amount_is_a_hit_and_never_wraps() {
    let most = Measure::Amount {
        asset: asset(USDT),
        max: Amount::MAX,
    };
    let mut book = book(&[limit("day", everything(), most, rolling(60))]);
    let moves = |nonce, value| Payment {
        moves: vec![(USDT, 1, value)],
        ..pays(nonce, 0)
    };
    book.record(&moves(1, Amount::MAX).at(0));
    let hits = book.hits(&pays(2, 1).at(0), at(0), &as_is);
    assert_eq!((hits[0].used, hits[0].requested), (Amount::MAX, amount(1)));
    for nonce in 3..20 {
        book.record(&moves(nonce, Amount::MAX).at(0));
    }
    assert_eq!(book.hits(&pays(2, 1).at(0), at(0), &as_is).len(), 1);
    // Exactly what was added is taken away again.
    for nonce in (3..20).chain([1]) {
        book.give_back(&moves(nonce, Amount::MAX).digest());
    }
    assert_eq!(used(&book, &pays(2, 1), 0), 0);
    assert_eq!(book.hits(&moves(2, Amount::MAX).at(0), at(0), &as_is), []);
}

#[test]
fn movements_of_one_spend_beyond_the_greatest_amount_pass_every_limit() {
    let amounts = Measure::Amount {
        asset: asset(USDT),
        max: Amount::MAX,
    };
    let values = Measure::Value { max: Amount::MAX };
    let limits = [
        limit("amounts", everything(), amounts, rolling(60)),
        limit("values", everything(), values, Period::Transaction),
    ];
    let book = book(&limits);
    let payment = Payment {
        moves: vec![(USDT, 1, Amount::MAX), (USDT, 1, amount(1))],
        ..pays(1, 0)
    };
    assert_eq!(
        book.hits(&payment.at(0), at(0), &as_is).len(),
        1,
        "1.01 hundredths a millionth"
    );
    assert_eq!(
        book.hits(&payment.at(0), at(0), &as_is)[0].limit.as_str(),
        "amounts"
    );
    let dear = Reference {
        prices: vec![Price {
            asset: asset(USDT),
            per_unit: Amount::MAX,
        }],
        ..reference()
    };
    let book = super::super::LimitBook::new(&limits, Some(&dear), &wallets(), &assets(), SKEW);
    let hits = book.hits(&pays(1, 10_000_000).at(0), at(0), &as_is);
    assert_eq!(hits[0].limit.as_str(), "values");
    assert_eq!(hits[0].requested, Amount::MAX);
}

#[test]
fn times_and_windows_beyond_all_bounds_count_for_ever() {
    let mut book = book(&[limit("day", everything(), of(USDT, 100), rolling(u64::MAX))]);
    book.record(&pays(1, 60).at(u64::MAX));
    book.record(&pays(2, 40).at(0));
    book.prune(at(u64::MAX));
    let hits = book.hits(&pays(3, 1).at(0), at(u64::MAX), &as_is);
    assert_eq!(hits.len(), 1);
}
