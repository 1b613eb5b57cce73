//! PINs: tried once, kept from everybody.

use std::os::unix::fs::PermissionsExt as _;

use countersign_hsm::{HsmClient, HsmError, KeyKind, Pin, Prehash, StopReason};

use crate::token::{PIN, Softhsm, id, secret, workers};

#[test]
fn a_wrong_pin_is_tried_once_and_stops_everything() {
    let softhsm = Softhsm::new();
    secret(&softhsm.path("wrong"), "0000");
    let mut config = softhsm.config("test");
    config.pin_file = Some(softhsm.path("wrong"));
    let refused = HsmClient::start(config);
    assert!(
        matches!(refused, Err(HsmError::Stopped(StopReason::PinRefused(_)))),
        "{refused:?}"
    );
    // The token remembers it, and the right PIN may be told to refuse then.
    let mut careful = softhsm.config("test");
    careful.pin_count_low = countersign_hsm::CountLow::Refuse;
    let refused = HsmClient::start(careful);
    assert!(
        matches!(refused, Err(HsmError::Stopped(StopReason::CountLow))),
        "{refused:?}"
    );
    let hsm = softhsm.client();
    assert!(hsm.metrics().token.unwrap().pin_count_low);
}

#[test]
fn a_pin_that_others_can_read_or_that_is_none_is_not_used() {
    let softhsm = Softhsm::new();
    std::fs::set_permissions(softhsm.path("pin"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = HsmClient::start(softhsm.config("test"));
    let Err(HsmError::Stopped(StopReason::PinFile(why))) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("chmod 600") && !why.contains(PIN), "{why}");
    std::fs::set_permissions(softhsm.path("pin"), std::fs::Permissions::from_mode(0o600)).unwrap();
    secret(&softhsm.path("pin"), "");
    assert!(matches!(
        HsmClient::start(softhsm.config("test")),
        Err(HsmError::Stopped(StopReason::PinFile(_)))
    ));
    secret(&softhsm.path("pin"), &format!("{PIN}\n"));
    HsmClient::start(softhsm.config("test")).unwrap();
}

#[test]
fn a_typed_pin_works_without_a_file() {
    let softhsm = Softhsm::new();
    let mut config = softhsm.config("test");
    config.pin_file = None;
    assert!(HsmClient::start(config.clone()).is_err());
    let hsm =
        HsmClient::start_with_pin(config, Pin::Typed(zeroize::Zeroizing::new(PIN.to_owned())))
            .unwrap();
    hsm.generate_canary_blocking().unwrap();
    hsm.health_blocking().unwrap();
    assert!(!format!("{:?}", Pin::Typed(zeroize::Zeroizing::new(PIN.to_owned()))).contains(PIN));
}

#[test]
fn the_pin_is_in_no_argument_no_environment_and_no_message() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "")
        .unwrap();
    let key = hsm.open_key_blocking(&id("k1"), public).unwrap();
    hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]))
        .unwrap();
    let mut looked = 0;
    for pid in workers() {
        for file in ["cmdline", "environ"] {
            // The process is not dumpable: only root can look at its environment at all.
            if let Ok(bytes) = std::fs::read(format!("/proc/{pid}/{file}")) {
                let found = bytes
                    .windows(PIN.len())
                    .any(|window| window == PIN.as_bytes());
                assert!(!found, "{file} of {pid}");
                looked += usize::from(file == "cmdline" && !bytes.is_empty());
            }
        }
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        assert!(
            core.split_whitespace().filter(|word| *word == "0").count() == 2,
            "{core}"
        );
    }
    assert_eq!(looked, 1, "the worker was looked at");
    assert!(!format!("{:?} {:?}", hsm, hsm.metrics()).contains(PIN));
}

/// Runs other tests of this program, and looks through all that they, their workers and the module say.
#[test]
fn the_pin_is_in_nothing_that_is_printed_or_logged() {
    for test in [
        "pins::a_wrong_pin_is_tried_once_and_stops_everything",
        "signing::many_callers_get_each_their_own_signature",
    ] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env("RUST_LOG", "trace")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success() && !said.is_empty(),
            "{}",
            String::from_utf8_lossy(&said)
        );
        for secret in [PIN, crate::token::SO_PIN] {
            for form in [
                secret.to_owned(),
                hex::encode(secret),
                format!("{:?}", secret.as_bytes()),
            ] {
                let found = said
                    .windows(form.len())
                    .any(|window| window == form.as_bytes());
                assert!(!found, "{test} says {form}");
            }
        }
    }
}
