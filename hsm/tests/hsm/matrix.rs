//! The fault matrix: every return value at every function that is called, before and after the call took effect. Every outcome is a
//! success after trying again, or a typed error; never a hang, a dead process, a wrong signature, or a key made by mistake; and after
//! it, service goes on.

use std::time::{Duration, Instant};

use countersign_hsm::{Failure, HsmError, KeyKind};
use countersign_hsm_sim::matrix::{self, Case, Injected, Places};

use crate::simulated::{NOTHING, Simulated};
use crate::token::{Softhsm, id, until};

/// Makes the module begin anew at the first signature, so that every function of a start is called.
const BEGIN_ANEW: &str = "\n[[fault]]\nfunction = \"C_SignInit\"\nnth = [1]\ntimes = 1\ndo = \"error\"\ncode = \"CKR_DEVICE_REMOVED\"\n";

struct Tally {
    survived: usize,
    told: usize,
    stopped: usize,
}

fn plan(case: &Case) -> String {
    let mut plan = case.toml(1, Places::default()).unwrap();
    if !matches!(case.function().as_str(), "C_SignInit" | "C_Sign") {
        plan.push_str(BEGIN_ANEW);
    }
    plan
}

/// One case: the requests that meet the fault, then one without it.
fn run(simulated: &mut Simulated, case: &Case, number: usize, tally: &mut Tally) {
    let name = case.name();
    simulated.plan(&plan(case));
    let begun = Instant::now();
    let key = id(&format!("made-{number}"));
    let outcomes = match case.function().as_str() {
        "C_EncryptInit" | "C_Encrypt" => vec![simulated.wrap()],
        "C_DecryptInit" | "C_Decrypt" => vec![simulated.unwrap(), simulated.wrap()],
        "C_GenerateKeyPair" => {
            vec![
                simulated
                    .hsm
                    .generate_key_pair_blocking(KeyKind::Secp256k1, &key, "")
                    .map(|_| ()),
            ]
        }
        "C_GenerateKey" => vec![simulated.hsm.generate_kek_blocking(&key, "")],
        _ => vec![simulated.sign(), simulated.sign_message()],
    };
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{name}: {:?}",
        begun.elapsed()
    );
    let generates = case.function().as_str().starts_with("C_GenerateKey");
    for outcome in outcomes {
        match outcome {
            Ok(()) => tally.survived += 1,
            Err(HsmError::Stopped(_)) => tally.stopped += 1,
            // Told, and not tried again by itself: whoever reads it knows whether a key may be there.
            Err(HsmError::Failed(
                Failure::Uncertain(_) | Failure::Refused(_) | Failure::Exists(_),
            )) if generates => {
                tally.told += 1;
            }
            Err(
                error @ (HsmError::WrongSignature(_)
                | HsmError::WrongCanary
                | HsmError::Protocol
                | HsmError::WorkerDied(_)
                | HsmError::Interrupted
                | HsmError::Deadline
                | HsmError::Point(_)),
            ) => panic!("{name}: {error}"),
            // A fault that says "no such key" for a moment must not be believed: the key is there.
            Err(error @ HsmError::Failed(Failure::Missing { .. })) => panic!("{name}: {error}"),
            Err(HsmError::Failed(_)) => tally.told += 1,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    let metrics = simulated.hsm.metrics();
    assert_eq!(
        (metrics.worker_starts, metrics.hangs),
        (1, 0),
        "{name}: the process lives on"
    );
    match simulated
        .hsm
        .sign_prehash_blocking(&simulated.k1, countersign_hsm::Prehash::new([1; 32]))
    {
        Err(HsmError::Stopped(_)) => simulated.again(),
        _ => {
            simulated.plan(NOTHING);
            simulated
                .sign()
                .unwrap_or_else(|error| panic!("after {name}: {error}"));
        }
    }
}

fn all_codes_at(function: &str) {
    let cases: Vec<_> = matrix::codes()
        .into_iter()
        .filter(|case| case.function().as_str() == function)
        .collect();
    assert!(cases.len() > 100);
    let mut simulated = Simulated::new(|config| config.deadline_ms = 5_000);
    let mut tally = Tally {
        survived: 0,
        told: 0,
        stopped: 0,
    };
    for (number, case) in cases.iter().enumerate() {
        run(&mut simulated, case, number, &mut tally);
    }
    // Exactly the keys that were there, and those that were asked for: each once at most.
    let keys = simulated.private_keys();
    let mut expected: Vec<Vec<u8>> = ["csn-canary", "ed", "k1", "kek"]
        .map(|name| name.as_bytes().to_vec())
        .into();
    let made = |number| format!("made-{number}").into_bytes();
    if function.starts_with("C_GenerateKey") {
        expected.extend((0..cases.len()).map(made).filter(|id| keys.contains(id)));
    }
    expected.sort();
    assert_eq!(keys, expected);
    println!(
        "{function}: {} cases, {} survived, {} told, {} stopped",
        cases.len(),
        tally.survived,
        tally.told,
        tally.stopped
    );
    assert!(tally.survived > 0 || function.starts_with("C_GenerateKey"));
}

macro_rules! matrix {
    ($($name:ident $function:literal)*) => {
        $(#[test]
        fn $name() {
            all_codes_at($function);
        })*

        #[test]
        fn no_function_is_left_out() {
            let mut tested = vec![$($function),*];
            tested.sort_unstable();
            let mut called: Vec<_> = matrix::backend_functions().map(|f| f.as_str()).collect();
            called.sort_unstable();
            assert_eq!(tested, called);
        }
    };
}

matrix! {
    initialize "C_Initialize"
    get_slot_list "C_GetSlotList"
    get_token_info "C_GetTokenInfo"
    open_session "C_OpenSession"
    close_session "C_CloseSession"
    login "C_Login"
    find_objects_init "C_FindObjectsInit"
    find_objects "C_FindObjects"
    find_objects_final "C_FindObjectsFinal"
    get_attribute_value "C_GetAttributeValue"
    sign_init "C_SignInit"
    sign "C_Sign"
    encrypt_init "C_EncryptInit"
    encrypt "C_Encrypt"
    decrypt_init "C_DecryptInit"
    decrypt "C_Decrypt"
    generate_key "C_GenerateKey"
    generate_key_pair "C_GenerateKeyPair"
    get_session_info "C_GetSessionInfo"
    finalize "C_Finalize"
}

/// Everything else that can happen, but for hangs.
#[test]
fn events_at_every_function() {
    let mut simulated = Simulated::new(|config| config.deadline_ms = 5_000);
    let mut tally = Tally {
        survived: 0,
        told: 0,
        stopped: 0,
    };
    let cases = matrix::events();
    for (number, case) in cases.iter().enumerate() {
        if matches!(case.fault(), Injected::Hang(_)) {
            continue;
        }
        run(&mut simulated, case, number, &mut tally);
        simulated.command("unlock-pin");
    }
    println!(
        "events: {} survived, {} told, {} stopped",
        tally.survived, tally.told, tally.stopped
    );
    assert!(tally.survived > tally.told);
}

/// A call that never returns: its caller has an answer at its deadline, the process is killed, and another serves.
#[test]
fn hangs_at_every_function() {
    let alone = Softhsm::empty();
    let mut cases = matrix::events();
    // Making a key has a minute; what happens then is the same.
    cases.retain(|case| {
        matches!(case.fault(), Injected::Hang(_))
            && !case.function().as_str().starts_with("C_GenerateKey")
    });
    let (first, second): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .partition(|case| case.name().ends_with("before"));
    let mut hung = 0;
    for some in first.chunks(6).chain(second.chunks(6)) {
        hung += std::thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|case| scope.spawn(|| usize::from(hangs(case))))
                .collect();
            running
                .into_iter()
                .map(|case| case.join().unwrap())
                .sum::<usize>()
        });
    }
    drop(alone);
    assert!(hung > 16, "{hung}");
}

/// Says whether a caller met the hang.
fn hangs(case: &Case) -> bool {
    let simulated = Simulated::on(Softhsm::beside(), |config| {
        config.deadline_ms = 400;
        config.hang_after_ms = 400;
    });
    simulated.plan(&plan(case));
    let begun = Instant::now();
    let outcome = match case.function().as_str() {
        "C_EncryptInit" | "C_Encrypt" => {
            let key = countersign_hsm::Secret32::new(&[1; 32]);
            simulated
                .hsm
                .wrap_blocking(&id("kek"), b"", &key)
                .map(|_| ())
        }
        "C_DecryptInit" | "C_Decrypt" => simulated.unwrap(),
        _ => simulated.sign(),
    };
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{}: {took:?}", case.name());
    if outcome.is_err() {
        until("the process is killed, or ends itself", || {
            simulated.hsm.metrics().worker_deaths > 0
        });
    }
    until("another serves", || simulated.sign().is_ok());
    outcome.is_err()
}
