//! Deaths and absences: what may be asked again is asked again, and service resumes by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign_hsm::{Failure, HsmClient, HsmError, KeyHandle, KeyKind, Prehash};

use rustix::process::Signal;

use crate::token::{Softhsm, id, kill, until, workers};

fn key(hsm: &HsmClient) -> KeyHandle {
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "")
        .unwrap();
    hsm.open_key_blocking(&id("k1"), public).unwrap()
}

#[test]
fn a_worker_killed_at_any_time_leaves_requests_that_resume() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let key = key(&hsm);
    let stop = AtomicBool::new(false);
    let (done, worst) = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4u8)
            .map(|caller| {
                let (hsm, key, stop) = (hsm.clone(), &key, &stop);
                scope.spawn(move || {
                    let (mut done, mut worst) = (0u32, Duration::ZERO);
                    while !stop.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        hsm.sign_prehash_blocking(key, Prehash::new([caller; 32]))
                            .unwrap();
                        done += 1;
                        worst = worst.max(begun.elapsed());
                    }
                    (done, worst)
                })
            })
            .collect();
        for round in 0..6u64 {
            std::thread::sleep(Duration::from_millis(200 + 37 * round));
            // As a module's crash, its abort, and the system's lack of memory do.
            let signal =
                [Signal::SEGV, Signal::ABORT, Signal::KILL][usize::try_from(round % 3).unwrap()];
            for pid in workers() {
                kill(pid, signal);
            }
        }
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .map(|c| c.join().unwrap())
            .fold((0, Duration::ZERO), |a, b| (a.0 + b.0, a.1.max(b.1)))
    });
    assert!(done > 50, "{done}");
    assert!(worst < Duration::from_secs(5), "{worst:?}");
    let metrics = hsm.metrics();
    assert!(
        metrics.worker_deaths >= 3 && metrics.failed == 0,
        "{metrics:?}"
    );
}

#[test]
fn a_stopped_process_is_a_hang_and_is_killed() {
    let softhsm = Softhsm::new();
    let mut config = softhsm.config("test");
    config.deadline_ms = 300;
    config.hang_after_ms = 500;
    let hsm = HsmClient::start(config).unwrap();
    let key = key(&hsm);
    let pid = workers()[0];
    kill(pid, Signal::STOP);
    let begun = Instant::now();
    let late = hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]));
    assert!(matches!(late, Err(HsmError::Deadline)), "{late:?}");
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    until("the process is killed", || hsm.metrics().hangs == 1);
    until("another serves", || {
        hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]))
            .is_ok()
    });
}

#[test]
fn a_token_that_is_away_is_used_again_when_it_is_back() {
    let softhsm = Softhsm::new();
    let mut config = softhsm.config("test");
    config.deadline_ms = 1_000;
    let hsm = HsmClient::start(config).unwrap();
    let key = key(&hsm);
    let (token, away) = (softhsm.token_folder(), softhsm.path("away"));
    std::fs::rename(&token, &away).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let outcome = hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]));
        // Never "there is no such key": the token is away, and that is told apart.
        assert!(
            matches!(
                outcome,
                Err(HsmError::Deadline | HsmError::Failed(Failure::Deadline(_)))
            ),
            "{outcome:?}"
        );
    }
    std::fs::rename(&away, &token).unwrap();
    until("service resumes", || {
        hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]))
            .is_ok()
    });
    let metrics = hsm.metrics();
    assert!(metrics.reinitialisations < 60, "paced: {metrics:?}");
    // A request that waits sees the token come back and succeeds itself.
    std::fs::rename(&token, &away).unwrap();
    let waiting = std::thread::spawn({
        let (hsm, key) = (hsm.clone(), key.clone());
        move || hsm.sign_prehash_blocking(&key, Prehash::new([2; 32]))
    });
    std::thread::sleep(Duration::from_millis(400));
    std::fs::rename(&away, &token).unwrap();
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_client_that_is_dropped_leaves_no_process() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    assert_eq!(workers().len(), 1);
    drop(hsm);
    until("the process ends", || workers().is_empty());
}

#[test]
fn a_worker_whose_parent_dies_ends_by_itself() {
    // A parent that is killed closes its end of the socket: the same as shutting it down.
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let pid = workers()[0];
    let key = key(&hsm);
    hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]))
        .unwrap();
    drop(hsm);
    until("the process ends", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    });
}

#[test]
fn a_module_that_is_no_module_stops_with_its_reason() {
    let softhsm = Softhsm::new();
    let mut config = softhsm.config("test");
    config.module = "/usr/lib/softhsm/nothing.so".into();
    let refused = HsmClient::start(config);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("nothing.so"), "{text}");
    let mut config = softhsm.config("test");
    config.worker = Some("/nonexistent/worker".into());
    assert!(HsmClient::inspect(&config).is_err());
}
