//! What a reservation costs in the limit book, with few and with many spends behind it:
//! `cargo bench -p countersign-bench --bench limits`.
//!
//! Ten million spends take about 8 GB of memory; `LIMIT_SPENDS=1000000` measures with fewer.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, missing_docs)]

use std::hint::black_box;

use countersign_policy::limits::{Limit, LimitBook, LimitScope, Measure, Period, Spend};
use countersign_policy::statement::Reservation;
use countersign_policy::{
    Address, Amount, AssetId, ExternalId, Hash, Lifetime, Network, Timestamp, Transfer,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const FEW: u64 = 10_000;
const MANY: u64 = 10_000_000;
const WALLETS: u64 = 49;
/// 31 days, the longest window.
const WINDOW: u64 = 31 * 86_400;

fn usdt() -> AssetId {
    "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7"
        .parse()
        .unwrap()
}

fn wallet(number: u64) -> String {
    format!("wallet-{number}")
}

/// One hundred limits: an amount and a count for each wallet, one amount and one count for all.
fn limits() -> Vec<Limit> {
    let limit = |id: String, scope: &LimitScope, measure| Limit {
        id: id.parse().unwrap(),
        ledger_group: "all".parse().unwrap(),
        scope: scope.clone(),
        measure,
        period: Period::Rolling { seconds: WINDOW },
    };
    let mut limits = Vec::new();
    let mut both = |name: String, scope: LimitScope| {
        let amount = Measure::Amount {
            asset: usdt(),
            max: Amount::MAX,
        };
        limits.push(limit(format!("{name}-amount"), &scope, amount));
        let count = Measure::Count { max: u64::MAX };
        limits.push(limit(format!("{name}-count"), &scope, count));
    };
    both("all".into(), LimitScope::default());
    for number in 0..WALLETS {
        let scope = LimitScope {
            wallets: vec![wallet(number).parse().unwrap()],
            ..LimitScope::default()
        };
        both(wallet(number), scope);
    }
    limits
}

fn start() -> Timestamp {
    Timestamp::from_millis(1_795_461_360_000)
}

/// The payment with this number, one of `total` that are spread over the window.
fn spend(number: u64, total: u64) -> Spend {
    let digest = Hash::sha256(&number.to_be_bytes());
    let reservation = Reservation {
        session: digest,
        authorization: digest,
        nonce: digest,
        request: digest,
        initiator: "payments".parse().unwrap(),
        external_id: ExternalId::new("payment").unwrap(),
        wallet: wallet(number % WALLETS).parse().unwrap(),
        key: "key".parse().unwrap(),
        digests: vec![digest],
        network: Network::ETHEREUM,
        source: Address::Evm([1; 20]),
        transfers: vec![Transfer {
            asset: usdt(),
            from: None,
            to: Address::Evm([2; 20]),
            amount: Amount::from(1_000_000 + number),
        }],
        approvals: Vec::new(),
        max_fee: Amount::from(21_000_u64),
        lifetime: Lifetime::Evm {
            chain_id: 1,
            nonce: number,
            account: None,
        },
        participants: Vec::new(),
        expires_at: start(),
        presignature: None,
    };
    let offset = u128::from(number) * u128::from(WINDOW) / u128::from(total);
    Spend::of(
        &reservation,
        start().plus_seconds(u64::try_from(offset).unwrap()),
    )
}

/// A reservation as a signer makes it: forget what expired, ask, record; at release, ask again.
fn reserve(book: &mut LimitBook, spend: &Spend) {
    book.prune(spend.at());
    assert!(book.hits(spend, spend.at(), &|_| None).is_empty());
    book.record(spend);
    assert!(book.hits(spend, spend.at(), &|_| None).is_empty());
}

fn reservations(criterion: &mut Criterion) {
    let many = std::env::var("LIMIT_SPENDS").ok();
    let many = many.map_or(MANY, |text| text.parse().unwrap());
    for total in [FEW, many] {
        let mut book = LimitBook::new(&limits(), None, &[], &[], 5);
        for number in 0..total {
            book.record(&spend(number, total));
        }
        assert_eq!(u64::try_from(book.len()).unwrap(), total);
        // From here on each new spend is as far from the last as they were, so that one expires for each that comes.
        let mut next = total;
        let name = format!("limits/reserve/spends={total},limits=100");
        criterion.bench_function(&name, |b| {
            let setup = || {
                next += 1;
                spend(next, total)
            };
            b.iter_batched(
                setup,
                |spend| reserve(&mut book, black_box(&spend)),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = reservations
}
criterion_main!(benches);
