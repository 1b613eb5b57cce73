//! The quirks of named devices, with the configuration that is for them.

use countersign_hsm::{Device, Failure, HsmClient, HsmError, KeyKind, Prehash, Secret32};

use crate::simulated::device;
use crate::token::{Softhsm, id};

/// Makes keys, signs with many callers, and seals if the device can.
fn work(hsm: &HsmClient, seals: bool) {
    hsm.generate_canary_blocking().unwrap();
    hsm.health_blocking().unwrap();
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "")
        .unwrap();
    let k1 = hsm.open_key_blocking(&id("k1"), public).unwrap();
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Ed25519, &id("ed"), "")
        .unwrap();
    let ed = hsm.open_key_blocking(&id("ed"), public).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for round in 0..5 {
                    hsm.sign_prehash_blocking(&k1, Prehash::new([round; 32]))
                        .unwrap();
                    hsm.sign_ed25519_blocking(&ed, &[round; 100]).unwrap();
                }
            });
        }
    });
    let kek = hsm.generate_kek_blocking(&id("kek"), "");
    if seals {
        kek.unwrap();
        let sealed = hsm
            .wrap_blocking(&id("kek"), b"place", &Secret32::new(&[7; 32]))
            .unwrap();
        assert_ne!(sealed.iv, [0; 12]);
        assert_eq!(
            hsm.unwrap_blocking(&id("kek"), b"place", &sealed)
                .unwrap()
                .expose(),
            &[7; 32]
        );
        let elsewhere = hsm.unwrap_blocking(&id("kek"), b"elsewhere", &sealed);
        assert!(
            matches!(elsewhere, Err(HsmError::Failed(Failure::SealRefused))),
            "{elsewhere:?}"
        );
    } else {
        let wrapped = hsm.wrap_blocking(&id("kek"), b"place", &Secret32::new(&[7; 32]));
        assert!(
            matches!(wrapped, Err(HsmError::Failed(Failure::Refused(_)))),
            "{wrapped:?}"
        );
    }
}

fn on(kind: Device, profile: &str, seals: bool) {
    let softhsm = Softhsm::new();
    let hsm = HsmClient::start(device(&softhsm, kind, profile)).unwrap();
    work(&hsm, seals);
    let metrics = hsm.metrics();
    assert_eq!(
        (metrics.worker_starts, metrics.wrong_signatures),
        (1, 0),
        "{metrics:?}"
    );
}

#[test]
fn softhsm_works() {
    on(Device::Softhsm, "softhsm", true);
}

#[test]
fn yubihsm2_signs_and_says_that_it_cannot_seal() {
    on(Device::Yubihsm2, "yubihsm2", false);
}

#[test]
fn cloudhsm_has_no_read_only_sessions_and_makes_its_own_vectors() {
    on(Device::Cloudhsm, "cloudhsm", true);
}

#[test]
fn luna_names_ed25519_by_the_identifier_of_gnu() {
    let softhsm = Softhsm::new();
    let mut config = device(&softhsm, Device::Luna, "luna");
    // Not in FIPS mode: the host makes the vector.
    config.quirks.gcm_iv = Some(countersign_hsm::GcmIv::Host);
    let hsm = HsmClient::start(config).unwrap();
    work(&hsm, true);
}

#[test]
fn nethsm_signs_and_says_that_it_cannot_seal() {
    on(Device::Nethsm, "nethsm", false);
}

#[test]
fn a_wrong_setting_for_the_vector_is_told_and_nothing_is_sealed() {
    let softhsm = Softhsm::new();
    let mut config = device(&softhsm, Device::Cloudhsm, "cloudhsm");
    config.quirks.gcm_iv = Some(countersign_hsm::GcmIv::Host);
    let hsm = HsmClient::start(config).unwrap();
    hsm.generate_kek_blocking(&id("kek"), "").unwrap();
    assert!(
        hsm.wrap_blocking(&id("kek"), b"", &Secret32::new(&[1; 32]))
            .is_err()
    );
}

#[test]
fn signatures_with_a_wrong_bit_are_asked_for_again_and_never_leave() {
    let softhsm = Softhsm::new();
    let mut config = device(&softhsm, Device::Softhsm, "softhsm");
    let flips = |nth: &str| {
        format!(
            "version = 1\nseed = 5\n[[fault]]\nfunction = \"C_Sign\"\ncalls = \"data\"\n{nth}\ndo = \"flip-bit\"\n"
        )
    };
    let plain = softhsm.client();
    let public = plain
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "")
        .unwrap();
    drop(plain);
    std::fs::write(softhsm.path("plan.toml"), flips("nth = [1, 2]")).unwrap();
    let hsm = HsmClient::start(config.clone()).unwrap();
    let key = hsm.open_key_blocking(&id("k1"), public).unwrap();
    hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]))
        .unwrap();
    assert_eq!(hsm.metrics().wrong_signatures, 2);
    drop(hsm);
    std::fs::write(softhsm.path("plan.toml"), flips("every = 1")).unwrap();
    config.sessions = 2;
    let hsm = HsmClient::start(config).unwrap();
    let wrong = hsm.sign_prehash_blocking(&key, Prehash::new([1; 32]));
    assert!(
        matches!(wrong, Err(HsmError::WrongSignature(_))),
        "{wrong:?}"
    );
}

#[test]
fn a_pin_at_its_last_try_is_not_tried() {
    let softhsm = Softhsm::new();
    let mut config = device(&softhsm, Device::Standard, "plain");
    std::fs::write(
        softhsm.path("plan.toml"),
        "version = 1\nseed = 1\n[device]\npin_tries = 2\n",
    )
    .unwrap();
    let right = config.clone();
    crate::token::secret(&softhsm.path("wrong"), "0000");
    config.pin_file = Some(softhsm.path("wrong"));
    let first = HsmClient::start(config.clone());
    assert!(
        matches!(
            first,
            Err(HsmError::Stopped(countersign_hsm::StopReason::PinRefused(
                _
            )))
        ),
        "{first:?}"
    );
    // One is left: neither the wrong nor the right one is tried by itself.
    for config in [config, right] {
        let refused = HsmClient::start(config);
        assert!(
            matches!(
                refused,
                Err(HsmError::Stopped(countersign_hsm::StopReason::FinalTry))
            ),
            "{refused:?}"
        );
    }
}
