//! What a reservation costs in the limit book, with few and with many spends behind it:
//! `cargo bench -p countersign-bench --bench limits`.
//!
//! Every spend is within the longest window, so all of them are in memory: by the sizes of what is kept, ten million take
//! about 6.5 GB. `LIMIT_SPENDS=1000000` measures with fewer. It says how long filling took, what a spend costs in memory, and how the
//! many compare with the few.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    missing_docs
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use countersign_policy::limits::{Limit, LimitBook, LimitScope, Measure, Period, Spend};
use countersign_policy::statement::Reservation;
use countersign_policy::{
    Address, Amount, AssetId, ExternalId, Hash, Lifetime, Network, Timestamp, Transfer, WalletId,
};
use criterion::{Criterion, criterion_group, criterion_main};

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

/// What all payments have in common.
fn template() -> Reservation {
    Reservation {
        session: Hash::ZERO,
        authorization: Hash::ZERO,
        nonce: Hash::ZERO,
        request: Hash::ZERO,
        initiator: "payments".parse().unwrap(),
        external_id: ExternalId::new("payment").unwrap(),
        wallet: wallet(0).parse().unwrap(),
        key: "key".parse().unwrap(),
        digests: vec![Hash::ZERO],
        network: Network::ETHEREUM,
        source: Address::Evm([1; 20]),
        transfers: vec![Transfer {
            asset: usdt(),
            from: None,
            to: Address::Evm([2; 20]),
            amount: Amount::ZERO,
        }],
        approvals: Vec::new(),
        max_fee: Amount::from(21_000_u64),
        lifetime: Lifetime::Evm {
            chain_id: 1,
            nonce: 0,
            account: None,
        },
        participants: Vec::new(),
        expires_at: start(),
        presignature: None,
    }
}

/// Payments one after the other, `total` of them spread over the window.
struct Payments {
    reservation: Reservation,
    wallets: Vec<WalletId>,
    total: u64,
    next: u64,
}

impl Payments {
    fn new(total: u64) -> Self {
        Self {
            reservation: template(),
            wallets: (0..WALLETS).map(|n| wallet(n).parse().unwrap()).collect(),
            total,
            next: 0,
        }
    }

    fn next(&mut self) -> Spend {
        let number = self.next;
        self.next += 1;
        let this = &mut self.reservation;
        this.digests[0] = Hash::sha256(&number.to_be_bytes());
        let wallet = usize::try_from(number % WALLETS).unwrap();
        this.wallet.clone_from(&self.wallets[wallet]);
        this.transfers[0].amount = Amount::from(1_000_000 + number);
        this.lifetime = Lifetime::Evm {
            chain_id: 1,
            nonce: number,
            account: None,
        };
        let offset = u128::from(number) * u128::from(WINDOW) / u128::from(self.total);
        let at = start().plus_seconds(u64::try_from(offset).unwrap());
        Spend::of(this, at)
    }
}

/// Pages of this process in memory, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
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
    let mut means: Vec<Duration> = Vec::new();
    for total in [FEW, many] {
        let (begun, before) = (Instant::now(), resident());
        let mut book = LimitBook::new(&limits(), None, &[], &[], 5);
        let mut payments = Payments::new(total);
        for _ in 0..total {
            book.record(&payments.next());
        }
        assert_eq!(u64::try_from(book.len()).unwrap(), total);
        println!(
            "limits/fill: {total} spends in {:.1?}, {} bytes in memory for each",
            begun.elapsed(),
            resident().saturating_sub(before) / total
        );
        // From here on each new spend is as far from the last as they were, so that one expires for each that comes.
        let (mut spent, mut made) = (Duration::ZERO, 0u32);
        let name = format!("limits/reserve/spends={total},limits=100");
        criterion.bench_function(&name, |b| {
            b.iter_custom(|rounds| {
                let mut time = Duration::ZERO;
                for _ in 0..rounds {
                    let spend = payments.next();
                    let begun = Instant::now();
                    reserve(&mut book, black_box(&spend));
                    time += begun.elapsed();
                }
                spent += time;
                made += u32::try_from(rounds).unwrap();
                time
            });
        });
        means.push(spent / made.max(1));
    }
    if let [few, many_spends] = means[..] {
        let hundredths = many_spends.as_nanos() * 100 / few.as_nanos().max(1);
        println!(
            "limits/growth: {few:?} with {FEW} spends, {many_spends:?} with {many}: {}.{:02} times",
            hundredths / 100,
            hundredths % 100
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = reservations
}
criterion_main!(benches);
