//! The flag, the word SIMULATOR, the trace, the control socket.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod softhsm;

use countersign_hsm_sim::{FLAG, MODULE, PLAN, module_path};
use cryptoki::error::RvError;
use softhsm::*;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

/// Runs the test in a process with another environment: whether `C_Initialize` succeeded, and what was said on standard error.
fn initialized(test: &str, plan: &str, change: impl FnOnce(&mut Command)) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = child(test, folder.path(), plan, change);
    let said = text(&output.stdout);
    assert!(
        said.contains("initialized="),
        "{said}\n{}",
        text(&output.stderr)
    );
    (said.contains("initialized=true"), text(&output.stderr))
}

fn try_to_initialize() {
    let module = load();
    let answer = initialize(&module);
    println!("initialized={}", answer.is_ok());
    if answer.is_err() {
        assert_eq!(failure(answer), RvError::GeneralError);
        assert_eq!(
            failure(module.get_library_info()),
            RvError::CryptokiNotInitialized
        );
    }
}

#[test]
fn without_the_flag_it_refuses_to_start_and_says_why() {
    let test = "without_the_flag_it_refuses_to_start_and_says_why";
    if std::env::var_os("HSM_SIM_TEST_FOLDER").is_some() {
        return alone(test, "", |_| try_to_initialize());
    }
    let (started, _) = initialized(test, &plan(""), |_| {});
    assert!(started, "the test's own set-up does not start");
    for value in [None, Some("1"), Some("true"), Some("")] {
        let (started, said) = initialized(test, &plan(""), |c| {
            _ = match value {
                Some(value) => c.env(FLAG, value),
                None => c.env_remove(FLAG),
            }
        });
        assert!(!started, "{value:?}");
        assert!(
            said.contains("hsm-sim: does not start: this is a simulator") && said.contains(FLAG),
            "{said}"
        );
    }
}

#[test]
fn a_bad_plan_or_module_refuses_the_start_with_its_line_or_name() {
    let test = "a_bad_plan_or_module_refuses_the_start_with_its_line_or_name";
    if std::env::var_os("HSM_SIM_TEST_FOLDER").is_some() {
        return alone(test, "", |_| try_to_initialize());
    }
    let (started, said) = initialized(test, &fault("C_Sing", "do = \"hang\""), |_| {});
    assert!(
        !started && said.contains("line 4: there is no function \"C_Sing\""),
        "{said}"
    );
    let (started, said) = initialized(test, &plan(""), |c| _ = c.env(PLAN, "/nowhere/plan.toml"));
    assert!(!started && said.contains("/nowhere/plan.toml"), "{said}");
    let (started, said) = initialized(test, &plan(""), |c| _ = c.env_remove(MODULE));
    assert!(!started && said.contains(MODULE), "{said}");
    let (started, said) = initialized(test, &plan(""), |c| _ = c.env(MODULE, "/nowhere/module.so"));
    assert!(!started && said.contains("/nowhere/module.so"), "{said}");
    let (started, said) = initialized(test, &plan(""), |c| {
        _ = c.env(MODULE, module_path().unwrap())
    });
    assert!(!started && said.contains("simulator itself"), "{said}");
}

#[test]
fn the_token_says_simulator_and_keeps_the_label_and_serial_number_it_is_found_by() {
    alone(
        "the_token_says_simulator_and_keeps_the_label_and_serial_number_it_is_found_by",
        &plan(""),
        |_| {
            let real = load_real();
            initialize(&real).unwrap();
            let before = real.get_token_info(find(&real).unwrap()).unwrap();
            real.finalize().unwrap();
            let (module, slot) = start();
            let info = module.get_token_info(slot).unwrap();
            assert_eq!(info.model(), "SIMULATOR");
            assert_eq!(info.manufacturer_id(), "SIMULATOR (plain)");
            assert_eq!(
                (info.label(), info.serial_number()),
                (before.label(), before.serial_number())
            );
        },
    );
}

#[test]
fn the_trace_names_every_call_and_holds_nothing_that_was_passed() {
    alone(
        "the_trace_names_every_call_and_holds_nothing_that_was_passed",
        &plan(""),
        |place| {
            place_of_canaries(place);
        },
    );
}

fn place_of_canaries(place: &Place) {
    let (module, slot) = start();
    let (session, public, key) = ready(&module, slot);
    let signature = sign(&session, key).unwrap();
    session
        .verify(
            &cryptoki::mechanism::Mechanism::Ecdsa,
            public,
            &DIGEST,
            &signature,
        )
        .unwrap();
    place.plan(&fault(
        "C_Sign",
        "do = \"error\"\ncode = \"CKR_DEVICE_ERROR\"",
    ));
    let _ = sign(&session, key);
    session.logout().unwrap();
    assert!(
        session
            .login(
                cryptoki::session::UserType::User,
                Some(&"wrong-canary-pin-1".into())
            )
            .is_err()
    );

    let trace = place.trace();
    for function in [
        "C_Initialize",
        "C_Login",
        "C_GenerateKeyPair",
        "C_SignInit",
        "C_Sign",
        "C_Verify",
    ] {
        assert!(
            trace.contains(&format!("\"fn\":\"{function}\",\"rv\":\"CKR_OK\",\"us\":")),
            "{function}: {trace}"
        );
    }
    assert!(trace.contains("\"rv\":\"CKR_PIN_INCORRECT\""), "{trace}");
    assert!(
        trace.contains("\"rv\":\"CKR_DEVICE_ERROR\"") && trace.contains("\"faults\":[1]"),
        "{trace}"
    );
    for line in trace.lines() {
        let fields: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_str(line).unwrap();
        assert_eq!(
            fields.keys().collect::<Vec<_>>(),
            ["faults", "fn", "n", "pid", "rv", "us"]
        );
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let secrets = [
        PIN.as_bytes(),
        b"wrong-canary-pin-1",
        &DIGEST,
        LABEL.as_bytes(),
        &signature,
    ];
    for secret in secrets {
        // Parts too: nobody writes a beginning of a PIN either.
        for part in secret.chunks_exact(8) {
            assert!(
                !trace
                    .as_bytes()
                    .windows(part.len())
                    .any(|window| window == part),
                "{secret:?}"
            );
            assert!(!trace.to_lowercase().contains(&hex(part)), "{secret:?}");
        }
    }
}

#[test]
fn the_control_socket_is_the_owners_and_refuses_what_it_does_not_know() {
    alone(
        "the_control_socket_is_the_owners_and_refuses_what_it_does_not_know",
        &plan(""),
        |place| {
            let (_module, _) = start();
            let sockets = countersign_hsm_sim::sockets(&place.path("control")).unwrap();
            let [socket] = &sockets[..] else {
                panic!("{sockets:?}")
            };
            assert_eq!(
                std::fs::metadata(socket).unwrap().permissions().mode() & 0o777,
                0o600
            );
            let ask = |bytes: &[u8]| {
                let mut stream = UnixStream::connect(socket).unwrap();
                stream.write_all(bytes).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            };
            assert!(
                ask(b"status\n")
                    .starts_with("ok initialized=1 sessions=0 hanging=0 token=present pin=ok")
            );
            assert_eq!(ask(b"statu\n"), "error unknown command\n");
            assert_eq!(ask(b"status \n"), "error unknown command\n");
            assert!(ask(b"status").starts_with("error a command is one line"));
            assert!(ask(&[b'x'; 5000]).starts_with("error a command is one line"));
            assert!(ask(b"plan /nowhere\n").starts_with("error /nowhere: "));
            std::fs::write(place.path("bad.toml"), "version = 1\nsede = 3").unwrap();
            let answer = ask(format!("plan {}\n", place.path("bad.toml").display()).as_bytes());
            assert!(
                answer.contains("line 2: ") && answer.lines().count() == 1,
                "{answer}"
            );
            assert!(ask(b"status\n").starts_with("ok "), "it still answers");
        },
    );
}

#[test]
fn sockets_that_processes_left_behind_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("hsm-sim-1.sock")).unwrap());
    assert_eq!(
        countersign_hsm_sim::command_all(folder.path(), "status").unwrap(),
        [""; 0]
    );
}
