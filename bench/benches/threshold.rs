//! CPU of one threshold signature, all parties together: the driver beside the bare library.
//!
//! `threshold/sign/...` runs every party on its own thread through the driver: encoding, tables of rounds, tags, derivation,
//! final verification. `threshold/bare/...` calls the library in a row on one thread, passing its structs by value. Both report
//! CPU time of their threads, so waiting does not count; `threshold/latency/...` is the driver's wall time with a free network.
//! The ratio of the two is printed at the end.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::cast_precision_loss
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use countersign_bench::{bare, thread_cpu as cpu};
use countersign_policy::{DerivationPath, Hash, KeyId, MemberId};
use countersign_signer::gate::TestSpend;
use countersign_signer::threshold::{
    ExecutionId, Incoming, KeyShare, Kind, Link, LinkError, LoadedShare, Material, Outgoing,
    Parameters, PartyIndex, Protocol, Recipient, SigningContext, keygen, open,
};
use criterion::Criterion;

const SIZES: [(u16, u16); 2] = [(2, 3), (3, 5)];

struct MemoryLink {
    me: PartyIndex,
    peers: BTreeMap<PartyIndex, Sender<Incoming>>,
    inbox: Receiver<Incoming>,
}

impl Link for MemoryLink {
    fn send(&mut self, message: Outgoing) -> Result<(), LinkError> {
        let (kind, to) = match message.recipient {
            Recipient::All => (Kind::Broadcast, None),
            Recipient::One(to) => (Kind::P2p, Some(to)),
        };
        for (peer, sender) in &self.peers {
            if *peer != self.me && to.is_none_or(|to| to == *peer) {
                let _ = sender.send(Incoming {
                    round: message.round,
                    from: self.me,
                    kind,
                    body: message.body.clone(),
                });
            }
        }
        Ok(())
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        self.inbox.recv().map_err(|_| LinkError::Closed)
    }
}

/// Runs every party on a thread; returns results, CPU of all, wall time.
fn run<T: Send>(
    parties: &[PartyIndex],
    party: impl Fn(PartyIndex, &mut MemoryLink) -> T + Sync,
) -> (Vec<T>, Duration, Duration) {
    let (senders, receivers): (BTreeMap<_, _>, Vec<_>) = parties
        .iter()
        .map(|party| {
            let (sender, receiver) = channel();
            ((*party, sender), (*party, receiver))
        })
        .unzip();
    let start = Instant::now();
    let outcomes: Vec<(T, Duration)> = thread::scope(|scope| {
        let running: Vec<_> = receivers
            .into_iter()
            .map(|(me, inbox)| {
                let mut link = MemoryLink {
                    me,
                    peers: senders.clone(),
                    inbox,
                };
                let party = &party;
                scope.spawn(move || {
                    let before = cpu();
                    let result = party(me, &mut link);
                    (result, cpu() - before)
                })
            })
            .collect();
        running.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let wall = start.elapsed();
    let total = outcomes.iter().map(|(_, cpu)| *cpu).sum();
    (outcomes.into_iter().map(|(t, _)| t).collect(), total, wall)
}

fn fresh() -> ExecutionId {
    use rand_core::RngCore;
    let mut id = [0; 32];
    rand_core::OsRng.fill_bytes(&mut id);
    ExecutionId(id)
}

fn make_key(protocol: Protocol, t: u16, n: u16) -> Vec<Arc<LoadedShare>> {
    let parameters = Parameters::new(t, n).unwrap();
    let parties: Vec<PartyIndex> = parameters.everyone().collect();
    let execution = fresh();
    let (shares, cpu, _) = run(&parties, |me, link| {
        keygen(protocol, parameters, me, execution, link)
            .unwrap()
            .share
    });
    let start = Instant::now();
    let sealed = shares[0].to_sealed_bytes();
    let _ = KeyShare::from_bytes(protocol, &sealed)
        .unwrap()
        .load()
        .unwrap();
    println!(
        "{protocol} {t}-of-{n}: keygen {:.1} ms CPU a party; share {} bytes, loaded in {:.2} ms",
        milliseconds(cpu) / f64::from(n),
        sealed.len(),
        milliseconds(start.elapsed()),
    );
    shares
        .into_iter()
        .map(|share| Arc::new(share.load().unwrap()))
        .collect()
}

/// One signature through the driver: CPU of all parties, wall time.
fn driver(shares: &[Arc<LoadedShare>], t: u16, path: &DerivationPath) -> (Duration, Duration) {
    let signers: Vec<PartyIndex> = (0..t).map(PartyIndex).collect();
    // Signed as a ceremony's test signature is: the only thing that can be released without a request.
    let key: KeyId = "bench-key".parse().unwrap();
    let names: Vec<MemberId> = (0..t)
        .map(|i| format!("node-{i}").parse().unwrap())
        .collect();
    let ceremony = Hash::from_bytes(fresh().0);
    let test = || TestSpend::new(shares[0].protocol(), ceremony, &key, &names);
    let context = SigningContext {
        execution: test().execution(),
        signers: shares[0].signers(&signers).unwrap(),
        path: path.clone(),
        preimage: test().preimage().clone(),
    };
    let (_, cpu, wall) = run(&signers, |me, link| {
        let share = Arc::clone(&shares[me.position()]);
        let (session, first) = open(share, context.clone(), Material::Fresh).unwrap();
        for message in first {
            link.send(message).unwrap();
        }
        session.complete(test().release(), link).unwrap()
    });
    (cpu, wall)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    milliseconds(times[times.len() / 2])
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let mut lines = Vec::new();
    for protocol in [Protocol::Dkls23, Protocol::FrostEd25519] {
        for (t, n) in SIZES {
            let shares = make_key(protocol, t, n);
            let name = format!("{protocol}/n={n},t={t}");
            let master = DerivationPath::master();
            let mut one = |what: &str, mut measure: Box<dyn FnMut() -> Duration>| {
                criterion.bench_function(&format!("threshold/{what}/{name}"), |bencher| {
                    bencher.iter_custom(|times| (0..times).map(|_| measure()).sum());
                });
                median((0..40).map(|_| measure()).collect())
            };
            let (ours, path) = (shares.clone(), master.clone());
            let driven = one("sign", Box::new(move || driver(&ours, t, &path).0));
            let (ours, path) = (shares.clone(), master);
            let latency = one("latency", Box::new(move || driver(&ours, t, &path).1));
            let bare = if protocol == Protocol::Dkls23 {
                let (t, n) = (u8::try_from(t).unwrap(), u8::try_from(n).unwrap());
                let key = bare::dkls23_key(t, n);
                one("bare", Box::new(move || bare::dkls23(&key, t).cpu))
            } else {
                let key = bare::frost_key(t, n);
                one(
                    "bare",
                    Box::new(move || bare::frost(&key, usize::from(t)).cpu),
                )
            };
            let child: DerivationPath = "m/0/7".parse().unwrap();
            let derived = if protocol == Protocol::Dkls23 {
                format!(", child {:.2} ms", {
                    one("sign-child", Box::new(move || driver(&shares, t, &child).0))
                })
            } else {
                String::new()
            };
            lines.push(format!(
                "{name}: driver {driven:.2} ms CPU of all parties{derived}, bare {bare:.2} ms, ratio {:.2}; latency {latency:.2} ms",
                driven / bare
            ));
        }
    }
    criterion.final_summary();
    for line in lines {
        println!("{line}");
    }
}
