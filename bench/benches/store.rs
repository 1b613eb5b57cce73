//! The signer's ledger on a real file with real fsyncs.
//!
//! Set `TMPDIR` to a folder on the disk to be measured: a memory file system has no fsync worth measuring.
//! `LEDGER_ENTRIES=10000000` fills the long ledger with so many (1.3 KB of disk and half a KB of memory each) instead of a
//! million.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::limits::{LimitScope, Measure, Period};
use countersign_policy::statement::Reservation;
use countersign_policy::testing::TestDeployment;
use countersign_policy::{
    Amount, ExternalId, Hash, IdentityKey, KeyId, Lifetime, MemberId, Network, Timestamp, WalletId,
};
use countersign_signer::store::{Argon2Cost, OpenMode, PassphraseKek, Store, StoreOptions};

fn hash(text: &str) -> Hash {
    Hash::sha256(text.as_bytes())
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_795_461_360_007)
}

async fn open(folder: &Path) -> Store {
    let options = StoreOptions {
        path: folder.join("node.db"),
        node: MemberId::new("node-1").unwrap(),
        genesis: hash("genesis"),
        mode: OpenMode::CreateIfMissing,
    };
    let passphrase = Zeroizing::new(b"correct horse battery staple".to_vec());
    let cost = Argon2Cost {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    let kek = PassphraseKek::new(passphrase).unwrap().with_cost(cost);
    let identity = Arc::new(IdentityKey::from_seed(&[7; 32]));
    let store = Store::open(&options, identity, &kek).await.unwrap();
    let deployment = TestDeployment::new(3, 2);
    store.set_limits(&deployment.bundle()).await.unwrap();
    store
}

fn reservation(name: &str) -> Reservation {
    Reservation {
        session: hash(&format!("session {name}")),
        authorization: hash(&format!("authorization {name}")),
        nonce: hash(&format!("nonce {name}")),
        request: hash(&format!("request {name}")),
        initiator: MemberId::new("payments").unwrap(),
        external_id: ExternalId::new(format!("invoice-{name}")).unwrap(),
        wallet: WalletId::new("hot-1").unwrap(),
        key: KeyId::new("key-1").unwrap(),
        digests: vec![hash(&format!("digest {name}"))],
        network: Network::ETHEREUM,
        source: "0x28c6c06298d514db089934071355e5743bf21d60"
            .parse()
            .unwrap(),
        transfers: Vec::new(),
        approvals: Vec::new(),
        max_fee: "21000".parse::<Amount>().unwrap(),
        lifetime: Lifetime::Solana {
            blockhash: String::new(),
        },
        participants: vec![
            MemberId::new("node-1").unwrap(),
            MemberId::new("node-2").unwrap(),
        ],
        expires_at: now().plus_seconds(60),
        presignature: None,
    }
}

/// `at_once` reservations asked for together, `rounds` times.
async fn reserve(store: &Store, at_once: u64, rounds: u64, run: u64) -> Duration {
    let start = Instant::now();
    for round in 0..rounds {
        let asked: Vec<_> = (0..at_once)
            .map(|i| {
                let (store, this) = (store.clone(), reservation(&format!("{run}-{round}-{i}")));
                tokio::spawn(async move { store.reserve(this, now()).await.unwrap() })
            })
            .collect();
        for answer in asked {
            answer.await.unwrap();
        }
    }
    start.elapsed()
}

fn ledger(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = runtime.block_on(open(folder.path()));
    let mut run = 0;
    let mut group = c.benchmark_group("ledger/reserve");
    for at_once in [1, 16, 64, 256] {
        group.throughput(Throughput::Elements(at_once));
        group.bench_function(format!("fsync/at_once={at_once}"), |b| {
            b.iter_custom(|rounds| {
                run += 1;
                runtime.block_on(reserve(&store, at_once, rounds, run))
            });
        });
    }
    group.finish();
}

/// A hundred limits, each of which counts every spend and is never reached.
fn hundred_limits() -> ActiveBundle {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    for number in 0..100 {
        let measure = Measure::Count { max: 1 << 40 };
        let seconds = 86_400 - number;
        deployment.add_limit(
            &format!("limit-{number:02}"),
            measure,
            Period::Rolling { seconds },
        );
    }
    for limit in &mut deployment.content_mut().limits {
        limit.scope = LimitScope::default();
    }
    deployment.bundle()
}

/// How a reservation that a hundred limits count grows with what they count already.
fn limited(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let bundle = hundred_limits();
    let mut group = c.benchmark_group("ledger/reserve");
    for spends in [10_000, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let store = runtime.block_on(open(folder.path()));
        runtime.block_on(store.set_limits(&bundle)).unwrap();
        runtime.block_on(reserve(&store, 256, spends / 256, 0));
        let mut run = 0;
        group.throughput(Throughput::Elements(64));
        group.bench_function(format!("limits=100/spends={spends}/at_once=64"), |b| {
            b.iter_custom(|rounds| {
                run += 1;
                runtime.block_on(reserve(&store, 64, rounds, run))
            });
        });
    }
    group.finish();
}

/// Entries of the short ledger.
const FEW: u64 = 10_000;

/// A reservation behind a short and behind a long ledger. Every entry is the store's own, made as it makes them, many in one
/// transaction.
fn grown(c: &mut Criterion) {
    let many = std::env::var("LEDGER_ENTRIES").ok();
    let many = many.map_or(1_000_000, |text| text.parse().unwrap());
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("ledger/reserve");
    let mut means: Vec<Duration> = Vec::new();
    for entries in [FEW, many] {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let store = runtime.block_on(open(folder.path()));
        let at_once = 1024;
        runtime.block_on(reserve(&store, at_once, entries.div_ceil(at_once), 0));
        println!("ledger/fill: {entries} entries in {:.1?}", begun.elapsed());
        let (mut run, mut spent, mut made) = (0, Duration::ZERO, 0u32);
        group.throughput(Throughput::Elements(64));
        group.bench_function(format!("fsync/entries={entries}/at_once=64"), |b| {
            b.iter_custom(|rounds| {
                run += 1;
                let time = runtime.block_on(reserve(&store, 64, rounds, run));
                spent += time;
                made += u32::try_from(rounds * 64).unwrap();
                time
            });
        });
        let commits = store.work().unwrap();
        println!(
            "ledger/commits: {} durable commits for {} entries",
            commits.commits, commits.rows
        );
        means.push(spent / made.max(1));
        runtime.block_on(store.close());
    }
    group.finish();
    if let [short, long] = means[..] {
        let hundredths = long.as_nanos() * 100 / short.as_nanos().max(1);
        println!(
            "ledger/growth: {short:?} a reservation behind {FEW} entries, {long:?} behind {many}: {}.{:02} times",
            hundredths / 100,
            hundredths % 100
        );
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

/// Says what an entry costs on disk and in memory.
fn sizes(runtime: &Runtime, folder: &Path, entries: u64) {
    let file = std::fs::metadata(folder.join("node.db")).unwrap().len();
    let before = resident();
    let store = runtime.block_on(open(folder));
    let index = resident().saturating_sub(before);
    runtime.block_on(store.close());
    println!(
        "store/size: {} bytes on disk and {} bytes in memory for each reservation",
        file / entries,
        index / entries
    );
}

fn open_large(c: &mut Criterion) {
    const ENTRIES: u64 = 20_000;
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let store = open(folder.path()).await;
        reserve(&store, 256, ENTRIES / 256, 0).await;
        store.close().await;
    });
    sizes(&runtime, folder.path(), ENTRIES);
    let mut group = c.benchmark_group("store/open");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(ENTRIES));
    group.bench_function(format!("entries={ENTRIES}"), |b| {
        b.iter(|| {
            runtime.block_on(async {
                let store = open(folder.path()).await;
                store.close().await;
            });
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(5)).sample_size(20);
    targets = ledger, limited, grown, open_large
}
criterion_main!(benches);
