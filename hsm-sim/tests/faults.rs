//! Every kind of fault, against SoftHSM.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod softhsm;

use countersign_hsm_sim::{MEMORY, Plan};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use softhsm::*;
use std::time::{Duration, Instant};

#[test]
fn an_error_before_the_call_keeps_it_from_taking_effect() {
    let plan = fault(
        "C_GenerateKeyPair",
        "nth = [2]\ndo = \"error\"\ncode = \"CKR_DEVICE_ERROR\"",
    );
    alone(
        "an_error_before_the_call_keeps_it_from_taking_effect",
        &plan,
        |_| {
            let (module, slot) = start();
            let (session, _, _) = ready(&module, slot);
            let again = generate(
                &session,
                &Mechanism::EccKeyPairGen,
                cryptoki::object::KeyType::EC,
                &SECP256K1,
            );
            assert_eq!(failure(again), RvError::DeviceError);
            assert_eq!(
                session
                    .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
                    .unwrap()
                    .len(),
                1
            );
        },
    );
}

#[test]
fn an_error_after_the_call_loses_only_its_answer() {
    let plan = fault(
        "C_GenerateKeyPair",
        "nth = [2]\ndo = \"error\"\ncode = \"CKR_DEVICE_ERROR\"\nwhen = \"after\"",
    );
    alone(
        "an_error_after_the_call_loses_only_its_answer",
        &plan,
        |_| {
            let (module, slot) = start();
            let (session, _, _) = ready(&module, slot);
            let again = generate(
                &session,
                &Mechanism::EccKeyPairGen,
                cryptoki::object::KeyType::EC,
                &SECP256K1,
            );
            assert_eq!(failure(again), RvError::DeviceError);
            assert_eq!(
                session
                    .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
                    .unwrap()
                    .len(),
                2
            );
        },
    );
}

#[test]
fn vendors_and_unknown_return_values_can_be_injected() {
    alone(
        "vendors_and_unknown_return_values_can_be_injected",
        &plan(""),
        |place| {
            let (module, slot) = start();
            let (session, _, key) = ready(&module, slot);
            for (code, expected) in [
                ("0x80000001", RvError::VendorDefined(0x8000_0001)),
                ("0x7777", RvError::UnknownErrorCode(0x7777)),
                ("CKR_FUNCTION_FAILED", RvError::FunctionFailed),
            ] {
                place.plan(&fault(
                    "C_SignInit",
                    &format!("do = \"error\"\ncode = \"{code}\""),
                ));
                assert_eq!(failure(sign(&session, key)), expected, "{code}");
            }
            place.plan(&plan(""));
            sign(&session, key).unwrap();
        },
    );
}

#[test]
fn a_data_call_that_fails_leaves_its_operation_open_as_it_does_on_devices() {
    let plan = fault(
        "C_Sign",
        "calls = \"data\"\nnth = [1]\ndo = \"error\"\ncode = \"CKR_DEVICE_ERROR\"",
    );
    alone(
        "a_data_call_that_fails_leaves_its_operation_open_as_it_does_on_devices",
        &plan,
        |_| {
            let (module, slot) = start();
            let (session, _, key) = ready(&module, slot);
            assert_eq!(failure(sign(&session, key)), RvError::DeviceError);
            assert_eq!(failure(sign(&session, key)), RvError::OperationActive);
        },
    );
}

#[test]
fn delays_take_their_time_before_and_after() {
    let plan = plan(
        "[[fault]]\nfunction = \"C_SignInit\"\ndo = \"delay\"\nms = 120\n\
         [[fault]]\nfunction = \"C_Sign\"\ncalls = \"data\"\ndo = \"delay\"\nms = 120\njitter_ms = 5\nwhen = \"after\"\n",
    );
    alone("delays_take_their_time_before_and_after", &plan, |_| {
        let (module, slot) = start();
        let (session, _, key) = ready(&module, slot);
        let started = Instant::now();
        sign(&session, key).unwrap();
        assert!(
            started.elapsed() >= Duration::from_millis(240),
            "{:?}",
            started.elapsed()
        );
    });
}

#[test]
fn a_hang_lasts_until_it_is_released_and_holds_up_nobody_else() {
    let plan = fault("C_Sign", "calls = \"data\"\nnth = [1]\ndo = \"hang\"");
    alone(
        "a_hang_lasts_until_it_is_released_and_holds_up_nobody_else",
        &plan,
        |place| {
            let (module, slot) = start();
            let (session, _, key) = ready(&module, slot);
            let hanging = std::thread::spawn(move || sign(&session, key).unwrap().len());
            while !place.command("status").contains("hanging=1") {
                std::thread::sleep(Duration::from_millis(5));
            }
            let other = module.open_ro_session(slot).unwrap();
            assert_eq!(sign(&other, key).unwrap().len(), 64);
            assert!(!hanging.is_finished());
            assert_eq!(place.command("release"), "released=1");
            assert_eq!(hanging.join().unwrap(), 64);
            assert_eq!(place.command("release"), "released=0");
        },
    );
}

#[test]
fn lost_sessions_end_the_login_too_and_one_lost_session_only_itself() {
    alone(
        "lost_sessions_end_the_login_too_and_one_lost_session_only_itself",
        &plan(""),
        |place| {
            let (module, slot) = start();
            let (keeper, _, key) = ready(&module, slot);
            let other = module.open_ro_session(slot).unwrap();
            place.plan(&fault("C_SignInit", "nth = [1]\ndo = \"drop-session\""));
            assert_eq!(failure(sign(&other, key)), RvError::SessionHandleInvalid);
            sign(&keeper, key).unwrap();

            place.plan(&fault("C_SignInit", "nth = [1]\ndo = \"drop-sessions\""));
            assert_eq!(failure(sign(&keeper, key)), RvError::SessionHandleInvalid);
            let session = module.open_ro_session(slot).unwrap();
            assert!(
                session
                    .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
                    .unwrap()
                    .is_empty()
            );
            login(&session).unwrap();
        },
    );
}

#[test]
fn sessions_are_lost_under_load_without_a_crash() {
    let plan = fault("C_SignInit", "every = 25\ndo = \"drop-sessions\"");
    alone(
        "sessions_are_lost_under_load_without_a_crash",
        &plan,
        |place| {
            let (module, slot) = start();
            let (keeper, _, _) = ready(&module, slot);
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let module = module.clone();
                    std::thread::spawn(move || {
                        let mut lost = 0;
                        for _ in 0..40 {
                            let Ok(session) = module.open_ro_session(slot) else {
                                continue;
                            };
                            let _ = login(&session);
                            let keys = session
                                .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
                                .unwrap_or_default();
                            let signed = keys.first().map(|key| sign(&session, *key));
                            lost += usize::from(!matches!(signed, Some(Ok(_))));
                        }
                        lost
                    })
                })
                .collect();
            let lost: usize = threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum();
            assert!(lost > 0, "no session was lost");
            assert!(place.command("status").contains("initialized=1"));
            drop(keeper);
        },
    );
}

#[test]
fn a_removed_token_is_gone_until_it_is_put_back() {
    alone(
        "a_removed_token_is_gone_until_it_is_put_back",
        &plan(""),
        |place| {
            let (module, slot) = start();
            let (session, _, key) = ready(&module, slot);
            place.command("remove-token");
            assert_eq!(failure(sign(&session, key)), RvError::DeviceRemoved);
            assert_eq!(
                failure(module.get_token_info(slot)),
                RvError::TokenNotPresent
            );
            assert_eq!(
                failure(module.open_ro_session(slot)),
                RvError::TokenNotPresent
            );
            assert!(module.get_slots_with_token().unwrap().is_empty());
            assert!(!module.get_all_slots().unwrap().is_empty());
            assert!(!module.get_slot_info(slot).unwrap().token_present());
            place.command("return-token");
            assert_eq!(failure(sign(&session, key)), RvError::SessionHandleInvalid);
            let session = module.open_ro_session(find(&module).unwrap()).unwrap();
            login(&session).unwrap();
        },
    );
}

#[test]
fn a_token_removed_for_a_time_comes_back_by_itself() {
    let plan = fault(
        "C_SignInit",
        "nth = [1]\ndo = \"remove-token\"\nback_after_ms = 800",
    );
    alone(
        "a_token_removed_for_a_time_comes_back_by_itself",
        &plan,
        |_| {
            let (module, slot) = start();
            let (session, _, key) = ready(&module, slot);
            let gone = Instant::now();
            assert_eq!(failure(sign(&session, key)), RvError::DeviceRemoved);
            while module.get_token_info(slot).is_err() {
                assert!(gone.elapsed() < Duration::from_secs(10));
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(gone.elapsed() >= Duration::from_millis(800));
        },
    );
}

#[test]
fn a_locked_pin_stays_locked_until_it_is_unlocked() {
    let plan = fault("C_Login", "nth = [2]\ndo = \"lock-pin\"");
    alone(
        "a_locked_pin_stays_locked_until_it_is_unlocked",
        &plan,
        |place| {
            let (module, slot) = start();
            let session = module.open_ro_session(slot).unwrap();
            login(&session).unwrap();
            session.logout().unwrap();
            assert_eq!(failure(login(&session)), RvError::PinLocked);
            assert_eq!(failure(login(&session)), RvError::PinLocked);
            assert!(module.get_token_info(slot).unwrap().user_pin_locked());
            place.command("unlock-pin");
            login(&session).unwrap();
        },
    );
}

#[test]
fn a_flipped_bit_makes_a_signature_wrong_and_the_other_s_does_not() {
    alone(
        "a_flipped_bit_makes_a_signature_wrong_and_the_other_s_does_not",
        &plan(""),
        |place| {
            let (module, slot) = start();
            let (session, public, key) = ready(&module, slot);
            for bit in ["", "bit = 511\n", "bit = 0\n"] {
                place.plan(&fault(
                    "C_Sign",
                    &format!("calls = \"data\"\ndo = \"flip-bit\"\n{bit}"),
                ));
                let wrong = sign(&session, key).unwrap();
                assert_eq!(wrong.len(), 64);
                assert!(
                    session
                        .verify(&Mechanism::Ecdsa, public, &DIGEST, &wrong)
                        .is_err(),
                    "{bit}"
                );
            }
            place.plan(&fault("C_Sign", "calls = \"data\"\ndo = \"flip-s\""));
            for _ in 0..8 {
                let other = sign(&session, key).unwrap();
                session
                    .verify(&Mechanism::Ecdsa, public, &DIGEST, &other)
                    .unwrap();
            }
        },
    );
}

#[test]
fn sizes_are_reported_too_large_only_to_those_who_ask() {
    let plan = fault(
        "C_WrapKey",
        "calls = \"size\"\ndo = \"over-report\"\nextra = 16",
    );
    alone(
        "sizes_are_reported_too_large_only_to_those_who_ask",
        &plan,
        |place| {
            let (module, slot) = start();
            let session = module.open_rw_session(slot).unwrap();
            login(&session).unwrap();
            let key = |wraps| {
                let template = [
                    Attribute::Token(false),
                    Attribute::ValueLen(32.into()),
                    Attribute::Wrap(wraps),
                    Attribute::Unwrap(wraps),
                    Attribute::Extractable(true),
                ];
                session
                    .generate_key(&Mechanism::AesKeyGen, &template)
                    .unwrap()
            };
            let (kek, other) = (key(true), key(false));
            // cryptoki 0.12.1 keeps the size that it was told.
            let long = session
                .wrap_key(&Mechanism::AesKeyWrapPad, kek, other)
                .unwrap();
            place.plan(&softhsm::plan(""));
            assert_eq!(
                long.len(),
                session
                    .wrap_key(&Mechanism::AesKeyWrapPad, kek, other)
                    .unwrap()
                    .len()
                    + 16
            );
        },
    );
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
    let test = "the_same_seed_gives_the_same_faults_and_another_seed_others";
    let random = fault("C_Sign", "calls = \"data\"\none_in = 3\ndo = \"flip-bit\"");
    if std::env::var_os("HSM_SIM_TEST_FOLDER").is_some() {
        return alone(test, &random, |_| {
            let (module, slot) = start();
            let (session, public, key) = ready(&module, slot);
            let wrong = |_| {
                session
                    .verify(
                        &Mechanism::Ecdsa,
                        public,
                        &DIGEST,
                        &sign(&session, key).unwrap(),
                    )
                    .is_err()
            };
            let line: String = (0..60).map(|i| if wrong(i) { '1' } else { '0' }).collect();
            println!("wrong={line}");
        });
    }
    let run = |plan: &str| {
        let folder = tempfile::tempdir().unwrap();
        let output = child(test, folder.path(), plan, |_| {});
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
            .split_once("wrong=")
            .unwrap()
            .1
            .chars()
            .take(60)
            .collect::<String>()
    };
    let first = run(&random);
    assert_eq!(first, run(&random));
    assert_ne!(first, run(&random.replace("seed = 11", "seed = 12")));
    assert!(first.contains('1') && first.contains('0'));
}

#[test]
fn a_fault_that_happens_once_happens_once_in_all_processes_that_share_a_memory() {
    let test = "a_fault_that_happens_once_happens_once_in_all_processes_that_share_a_memory";
    let plan = fault(
        "C_Initialize",
        "times = 1\ndo = \"error\"\ncode = \"CKR_DEVICE_ERROR\"",
    );
    if std::env::var_os("HSM_SIM_TEST_FOLDER").is_some() {
        return alone(test, &plan, |_| {
            println!("initialize={:?}", initialize(&load()).is_ok())
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("memory");
    let run = || text(&child(test, folder.path(), &plan, |c| _ = c.env(MEMORY, &memory)).stdout);
    assert!(run().contains("initialize=false"));
    assert!(run().contains("initialize=true"));
    std::fs::remove_file(&memory).unwrap();
    assert!(run().contains("initialize=false"));
}

#[test]
fn the_matrix_plans_do_in_the_module_what_they_say() {
    alone(
        "the_matrix_plans_do_in_the_module_what_they_say",
        &plan(""),
        |place| {
            let (module, slot) = start();
            let (session, _, key) = ready(&module, slot);
            let cases = countersign_hsm_sim::matrix::codes();
            let chosen = cases.iter().filter(|case| {
                ["C_SignInit", "C_GetSessionInfo"].contains(&case.function().as_str())
            });
            for case in chosen {
                let toml = case.toml(1, Default::default()).unwrap();
                assert_eq!(Plan::parse(&toml).unwrap().faults().len(), 1);
                place.plan(&toml);
                let session = module.open_ro_session(slot).unwrap();
                let answer = match case.function().as_str() {
                    "C_SignInit" => sign(&session, key).map(|_| ()),
                    _ => session.get_session_info().map(|_| ()),
                };
                assert!(answer.is_err(), "{}", case.name());
            }
            place.plan(&plan(""));
            sign(&session, key).unwrap();
        },
    );
}
