//! Killed at any moment: what was told is there, and nothing is half there.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use countersign_policy::statement::StopOutcome;
use countersign_policy::{Hash, KeyId};

use super::material::{secret, share_record};
use super::support::*;
use crate::store::writer::CrashPoint;
use crate::store::{ReserveRefusal, SecretKind, SessionState, Store};

const FOLDER: &str = "COUNTERSIGN_TEST_CRASH_FOLDER";
const RUN: &str = "COUNTERSIGN_TEST_CRASH_RUN";
const POINT: &str = "COUNTERSIGN_TEST_CRASH_POINT";

/// Prints one line for each thing it was told is durable.
fn told(line: String) {
    let mut out = std::io::stdout().lock();
    // One write, so that a killed process leaves no half line that looks whole.
    out.write_all(format!("\ntold {line}.\n").as_bytes())
        .unwrap();
    out.flush().unwrap();
}

/// One worker: reserves, then releases, aborts, stops or leaves, over and over.
async fn work(store: Store, run: String, worker: u32) {
    for number in 0u32.. {
        let name = format!("{run}-{worker}-{number}");
        let this = reservation(&name, 1);
        let position = store.reserve(this.clone(), at(0)).await.unwrap();
        told(format!(
            "reserved {name} {} {}",
            position.sequence, position.head
        ));
        match (worker + number) % 5 {
            0 => {
                store.release(this.session, at(1)).await.unwrap();
                told(format!("released {name}"));
            }
            1 => {
                store.abort(this.session, "test", at(1)).await.unwrap();
                told(format!("aborted {name}"));
            }
            2 => {
                store
                    .stop(this.request, hash("cancel"), at(1))
                    .await
                    .unwrap();
                told(format!("stopped {name}"));
            }
            3 if number % 7 == 0 => {
                let record = share_record(&name, 0);
                store
                    .put_share(&record, secret(&name), at(1))
                    .await
                    .unwrap();
                told(format!("share {name}"));
                let put = store.put_secret(SecretKind::CggmpPrimes, &name, secret(&name));
                put.await.unwrap();
                let (taken, _) = store.take_primes().await.unwrap().unwrap();
                told(format!("taken {taken}"));
            }
            4 => {
                let never = reservation(&format!("{name}-never"), 1);
                let excluded = store.exclude(never.session, never.request, "test", at(1));
                excluded.await.unwrap();
                told(format!("excluded {name}-never"));
            }
            _ => {}
        }
    }
}

/// Not a test of its own: the process that is killed by the tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let run = std::env::var(RUN).unwrap();
    let folder: &Path = folder.as_ref();
    let options = options(folder, "node-1");
    let (mut writer, shared) =
        Store::prepare(&options, identity("node-1"), &kek(PASSPHRASE)).unwrap();
    if let Ok(point) = std::env::var(POINT) {
        let (point, countdown) = point.split_once(':').unwrap();
        let point = match point {
            "rows" => CrashPoint::BeforeRows,
            "before" => CrashPoint::BeforeCommit,
            _ => CrashPoint::AfterCommit,
        };
        writer.crash = Some((point, countdown.parse().unwrap()));
    }
    writer.start().unwrap();
    let store = Store { shared };
    count_by_no_limits(&store).await;
    told("started".into());
    let workers = (0..6).map(|worker| tokio::spawn(work(store.clone(), run.clone(), worker)));
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

fn spawn(folder: &Path, run: &str, point: Option<String>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "store::tests::crash::child_that_is_killed",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(RUN, run)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(point) = point {
        command.env(POINT, point);
    }
    command.spawn().unwrap()
}

/// Runs a child until it dies, by itself or by SIGKILL `after` it started work, and returns what it was told.
fn lines_of(mut child: Child, after: Option<Duration>) -> Vec<String> {
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines
            .filter_map(|line| Some(line.strip_prefix("told ")?.strip_suffix('.')?.to_owned()))
            .collect::<Vec<_>>()
    });
    if let Some(after) = after {
        std::thread::sleep(after);
        child.kill().unwrap();
    }
    child.wait().unwrap();
    reader.join().unwrap()
}

/// Everything told must be there; the ledger must be whole, which opening checks.
async fn check(folder: &Path, told: &BTreeMap<String, Vec<String>>) {
    let store = open(folder, "node-1").await;
    let digests: Vec<Hash> = all_digests(&store).await;
    for (run, lines) in told {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let context = format!("run {run}: {line}");
            match words.as_slice() {
                ["reserved", name, sequence, head] => {
                    let index = sequence.parse::<usize>().unwrap() - 1;
                    assert_eq!(digests[index].to_hex(), *head, "{context}");
                    let session = store.session(reservation(name, 1).session).await.unwrap();
                    assert_eq!(session.unwrap().sequence as usize, index + 1, "{context}");
                }
                ["released", name] => {
                    let session = store.session(reservation(name, 1).session).await.unwrap();
                    assert_eq!(session.unwrap().state, SessionState::Released, "{context}");
                }
                ["aborted", name] => {
                    let session = store.session(reservation(name, 1).session).await.unwrap();
                    assert_eq!(session.unwrap().state, SessionState::Aborted, "{context}");
                }
                ["stopped", name] => {
                    let this = reservation(name, 1);
                    let session = store.session(this.session).await.unwrap();
                    assert_eq!(session.unwrap().state, SessionState::Aborted, "{context}");
                    let head = store.head().unwrap();
                    let again = store
                        .stop(this.request, hash("other"), at(9))
                        .await
                        .unwrap();
                    assert_eq!(again, StopOutcome::Stopped, "{context}");
                    assert_eq!(store.head().unwrap(), head, "{context}");
                }
                ["share", name] => {
                    let key = KeyId::new(*name).unwrap();
                    let (_, share) = store.load_share(&key).await.unwrap().unwrap();
                    assert_eq!(share.as_slice(), name.as_bytes(), "{context}");
                }
                ["taken", name] => {
                    let left = store.secret_names(SecretKind::CggmpPrimes).await.unwrap();
                    assert!(!left.contains(&(*name).to_owned()), "{context}");
                }
                ["excluded", name] => {
                    let refusal = refused(store.reserve(reservation(name, 1), at(9)).await);
                    assert_eq!(refusal, ReserveRefusal::Aborted, "{context}");
                }
                ["started"] => {}
                _ => panic!("{context}"),
            }
        }
    }
    // A share without its ledger entry, or the other way round, would be half an operation.
    let stored = digests_of_key_stored(&store).await;
    assert_eq!(stored, store.shares().await.unwrap().len());
    // And the file goes on being used.
    store.close().await;
}

async fn all_entries(store: &Store) -> Vec<countersign_policy::Envelope> {
    let mut all = Vec::new();
    loop {
        let more = store.entries_after(all.len() as u64, 1000).await.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

async fn all_digests(store: &Store) -> Vec<Hash> {
    all_entries(store)
        .await
        .iter()
        .map(|entry| entry.digest())
        .collect()
}

async fn digests_of_key_stored(store: &Store) -> usize {
    let entries = all_entries(store).await;
    let text = entries
        .iter()
        .map(|entry| String::from_utf8_lossy(entry.payload()));
    text.filter(|payload| payload.contains("\"event\":\"key-stored\""))
        .count()
}

#[tokio::test]
async fn what_was_told_survives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = BTreeMap::new();
    for run in 0..12u32 {
        let name = format!("r{run}");
        // Spread over start-up, first commits and checkpoints.
        let after = Duration::from_millis(60 + u64::from(run * run) * 7);
        let child = spawn(folder.path(), &name, None);
        let lines = tokio::task::spawn_blocking(move || lines_of(child, Some(after)));
        told.insert(name, lines.await.unwrap());
        check(folder.path(), &told).await;
    }
    let lines: usize = told.values().map(Vec::len).sum();
    assert!(lines > 200, "the children did too little: {lines}");
}

#[tokio::test]
async fn what_was_told_survives_a_crash_around_each_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = BTreeMap::new();
    for point in ["rows", "before", "after"] {
        for countdown in [0, 1, 2, 5, 20] {
            let name = format!("{point}{countdown}");
            let child = spawn(folder.path(), &name, Some(format!("{point}:{countdown}")));
            let lines = tokio::task::spawn_blocking(move || lines_of(child, None));
            told.insert(name, lines.await.unwrap());
            check(folder.path(), &told).await;
        }
    }
    assert!(told.values().all(|lines| !lines.is_empty()));
}
