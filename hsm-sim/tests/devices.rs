//! Limits of devices, and the quirks of the named vendors.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    // One call that cryptoki does not make.
    unsafe_code
)]

mod softhsm;

use countersign_hsm_sim::module_path;
use cryptoki::error::RvError;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki_sys::{
    CK_GCM_PARAMS, CK_MECHANISM, CK_RV, CK_ULONG, CKF_SERIAL_SESSION, CKM_AES_GCM,
    CKR_MECHANISM_PARAM_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_OK,
};
use softhsm::*;
use std::time::{Duration, Instant};

fn profile(name: &str) -> String {
    plan(&format!("profile = \"{name}\"\n"))
}

fn device(rest: &str) -> String {
    plan(&format!("[device]\n{rest}\n"))
}

fn aes(session: &Session) -> ObjectHandle {
    let template = [
        Attribute::Token(false),
        Attribute::ValueLen(32.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .unwrap()
}

#[test]
fn sessions_are_limited_and_the_token_says_so() {
    alone(
        "sessions_are_limited_and_the_token_says_so",
        &device("max_sessions = 3"),
        |_| {
            let (module, slot) = start();
            let mut sessions: Vec<_> = (0..3)
                .map(|_| module.open_ro_session(slot).unwrap())
                .collect();
            assert_eq!(failure(module.open_ro_session(slot)), RvError::SessionCount);
            let info = module.get_token_info(slot).unwrap();
            assert_eq!(
                format!("{:?} {:?}", info.session_count(), info.max_session_count()),
                "Some(3) Max(3)"
            );
            sessions.pop();
            module.open_ro_session(slot).unwrap();
        },
    );
}

#[test]
fn idle_sessions_end_and_used_ones_do_not() {
    alone(
        "idle_sessions_end_and_used_ones_do_not",
        &device("session_idle_ms = 1500"),
        |_| {
            let (module, slot) = start();
            let (used, idle) = (
                module.open_ro_session(slot).unwrap(),
                module.open_ro_session(slot).unwrap(),
            );
            let started = Instant::now();
            while started.elapsed() < Duration::from_millis(2000) {
                used.get_session_info().unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
            assert_eq!(
                failure(idle.get_session_info()),
                RvError::SessionHandleInvalid
            );
            used.get_session_info().unwrap();
        },
    );
}

#[test]
fn wrong_pins_lock_the_pin_and_the_token_counts_them_down() {
    alone(
        "wrong_pins_lock_the_pin_and_the_token_counts_them_down",
        &device("pin_tries = 3"),
        |_| {
            let (module, slot) = start();
            let session = module.open_ro_session(slot).unwrap();
            let flags = || {
                let info = module.get_token_info(slot).unwrap();
                (
                    info.user_pin_count_low(),
                    info.user_pin_final_try(),
                    info.user_pin_locked(),
                )
            };
            let wrong = || failure(session.login(UserType::User, Some(&"wrong".into())));
            assert_eq!(flags(), (false, false, false));
            assert_eq!(wrong(), RvError::PinIncorrect);
            assert_eq!(flags(), (true, false, false));
            assert_eq!(wrong(), RvError::PinIncorrect);
            assert_eq!(flags(), (true, true, false));
            assert_eq!(wrong(), RvError::PinIncorrect);
            assert_eq!(flags(), (true, false, true));
            assert_eq!(failure(login(&session)), RvError::PinLocked);
        },
    );
}

#[test]
fn a_serial_device_does_one_thing_at_a_time() {
    alone(
        "a_serial_device_does_one_thing_at_a_time",
        &device("service_time_us = 20000"),
        |_| {
            let (module, slot) = start();
            let (_keeper, _, key) = ready(&module, slot);
            let started = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let session = module.open_ro_session(slot).unwrap();
                        for _ in 0..5 {
                            sign(&session, key).unwrap();
                        }
                    });
                }
            });
            assert!(
                started.elapsed() >= Duration::from_millis(400),
                "{:?}",
                started.elapsed()
            );
        },
    );
}

#[test]
fn points_can_be_bare() {
    alone("points_can_be_bare", &plan(""), |place| {
        let (module, slot) = start();
        let (session, public, _) = ready(&module, slot);
        let point = || match session
            .get_attributes(public, &[AttributeType::EcPoint])
            .unwrap()
            .remove(0)
        {
            Attribute::EcPoint(point) => point,
            other => panic!("{other:?}"),
        };
        let wrapped = point();
        place.plan(&device("raw_ec_point = true"));
        let bare = point();
        assert_eq!((wrapped.len(), bare.len()), (67, 65));
        assert_eq!(wrapped[2..], bare);
    });
}

#[test]
fn softhsm_sees_a_token_again_only_after_it_was_initialised_again() {
    alone(
        "softhsm_sees_a_token_again_only_after_it_was_initialised_again",
        &profile("softhsm"),
        |place| {
            let (module, _) = start();
            place.command("remove-token");
            place.command("return-token");
            assert!(find(&module).is_none());
            assert!(place.command("status").contains("token=unseen"));
            module.clone().finalize().unwrap();
            let again = load();
            initialize(&again).unwrap();
            assert!(find(&again).is_some());
        },
    );
}

#[test]
fn yubihsm2_has_sixteen_sessions_and_no_aes_gcm() {
    alone(
        "yubihsm2_has_sixteen_sessions_and_no_aes_gcm",
        &profile("yubihsm2"),
        |_| {
            let (module, slot) = start();
            let (session, _, key) = ready(&module, slot);
            assert_eq!(
                module.get_token_info(slot).unwrap().manufacturer_id(),
                "SIMULATOR (yubihsm2)"
            );
            assert!(
                !module
                    .get_mechanism_list(slot)
                    .unwrap()
                    .contains(&MechanismType::AES_GCM)
            );
            assert_eq!(
                failure(module.get_mechanism_info(slot, MechanismType::AES_GCM)),
                RvError::MechanismInvalid
            );
            let mut iv = [1; 12];
            let gcm = Mechanism::AesGcm(GcmParams::new(&mut iv, b"", 128.into()).unwrap());
            assert_eq!(
                failure(session.encrypt(&gcm, aes(&session), b"x")),
                RvError::MechanismInvalid
            );
            let more: Vec<_> = (0..15)
                .map(|_| module.open_ro_session(slot).unwrap())
                .collect();
            assert_eq!(failure(module.open_ro_session(slot)), RvError::SessionCount);
            sign(&more[0], key).unwrap();
        },
    );
}

#[test]
fn cloudhsm_makes_the_iv_has_no_read_only_sessions_and_encrypts_16_kib() {
    alone(
        "cloudhsm_makes_the_iv_has_no_read_only_sessions_and_encrypts_16_kib",
        &profile("cloudhsm"),
        |_| {
            let (module, slot) = start();
            let (session, _, _) = ready(&module, slot);
            assert_eq!(failure(module.open_ro_session(slot)), RvError::ArgumentsBad);
            let key = aes(&session);
            let encrypt = |iv: &mut [u8; 12], data: &[u8]| {
                session.encrypt(
                    &Mechanism::AesGcm(GcmParams::new(iv, b"aad", 128.into()).unwrap()),
                    key,
                    data,
                )
            };
            assert_eq!(
                failure(encrypt(&mut [1; 12], b"x")),
                RvError::MechanismParamInvalid
            );
            let (mut one, mut two) = ([0; 12], [0; 12]);
            let sealed = encrypt(&mut one, b"secret").unwrap();
            encrypt(&mut two, b"secret").unwrap();
            assert!(
                one != [0; 12] && one != two,
                "the device made the IV and gave it back"
            );
            let gcm = Mechanism::AesGcm(GcmParams::new(&mut one, b"aad", 128.into()).unwrap());
            assert_eq!(session.decrypt(&gcm, key, &sealed).unwrap(), b"secret");
            assert_eq!(
                encrypt(&mut [0; 12], &[0; 16 << 10]).unwrap().len(),
                (16 << 10) + 16
            );
            assert_eq!(
                failure(encrypt(&mut [0; 12], &[0; (16 << 10) + 1])),
                RvError::DataLenRange
            );
        },
    );
}

#[test]
fn luna_knows_ed25519_by_gnus_name() {
    const GNU: [u8; 11] = [
        0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01,
    ];
    alone("luna_knows_ed25519_by_gnus_name", &profile("luna"), |_| {
        let (module, slot) = start();
        let session = module.open_rw_session(slot).unwrap();
        login(&session).unwrap();
        let make = |curve: &[u8]| {
            generate(
                &session,
                &Mechanism::EccEdwardsKeyPairGen,
                KeyType::EC_EDWARDS,
                curve,
            )
        };
        assert_eq!(failure(make(&ED25519)), RvError::AttributeValueInvalid);
        let (public, private) = make(&GNU).unwrap();
        let curve = session
            .get_attributes(public, &[AttributeType::EcParams])
            .unwrap();
        assert!(
            matches!(&curve[..], [Attribute::EcParams(name)] if *name == GNU),
            "{curve:?}"
        );
        let signature = session.sign(&ed25519(), private, b"message").unwrap();
        session
            .verify(&ed25519(), public, b"message", &signature)
            .unwrap();
        generate(&session, &Mechanism::EccKeyPairGen, KeyType::EC, &SECP256K1).unwrap();
    });
}

#[test]
fn luna_wants_the_length_of_the_iv_in_bits() {
    alone(
        "luna_wants_the_length_of_the_iv_in_bits",
        &profile("luna"),
        |_| {
            let (module, slot) = start();
            let (session, _, _) = ready(&module, slot);
            let key = aes(&session);
            let mut iv = [3; 12];
            // cryptoki fills the field in.
            let gcm = Mechanism::AesGcm(GcmParams::new(&mut iv, b"", 128.into()).unwrap());
            session.encrypt(&gcm, key, b"x").unwrap();
            assert_eq!(encrypt_init(slot, 0), CKR_MECHANISM_PARAM_INVALID);
            assert_eq!(encrypt_init(slot, 12), CKR_MECHANISM_PARAM_INVALID);
            // No such key: the parameters are right.
            assert_eq!(encrypt_init(slot, 96), CKR_OBJECT_HANDLE_INVALID);
        },
    );
}

/// `C_EncryptInit` for AES-GCM with a field that cryptoki does not let its users choose, and a key that does not exist.
fn encrypt_init(slot: Slot, iv_bits: CK_ULONG) -> CK_RV {
    let mut iv = [3; 12];
    let mut parameters = CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvBits: iv_bits,
        pAAD: std::ptr::null_mut(),
        ulAADLen: 0,
        ulTagBits: 128,
    };
    let mut mechanism = CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: (&raw mut parameters).cast(),
        ulParameterLen: size_of::<CK_GCM_PARAMS>() as CK_ULONG,
    };
    // SAFETY: the module is loaded and initialised, and everything that is pointed to outlives the calls.
    unsafe {
        let raw = cryptoki_sys::Pkcs11::new(module_path().unwrap()).unwrap();
        let mut list = std::ptr::null_mut();
        assert_eq!(raw.C_GetFunctionList(&mut list), CKR_OK);
        let mut session = 0;
        let open = (*list).C_OpenSession.unwrap();
        let null = std::ptr::null_mut();
        assert_eq!(
            open(slot.id(), CKF_SERIAL_SESSION, null, None, &mut session),
            CKR_OK
        );
        (*list).C_EncryptInit.unwrap()(session, &mut mechanism, 0xffff)
    }
}

#[test]
fn nethsm_has_no_aes_gcm_and_wraps_no_keys() {
    alone(
        "nethsm_has_no_aes_gcm_and_wraps_no_keys",
        &profile("nethsm"),
        |_| {
            let (module, slot) = start();
            let (session, _, key) = ready(&module, slot);
            sign(&session, key).unwrap();
            let has = module.get_mechanism_list(slot).unwrap();
            assert!(
                ![
                    MechanismType::AES_GCM,
                    MechanismType::AES_KEY_WRAP,
                    MechanismType::AES_KEY_WRAP_PAD
                ]
                .iter()
                .any(|m| has.contains(m))
            );
            let key = aes(&session);
            assert_eq!(
                failure(session.wrap_key(&Mechanism::AesKeyWrap, key, key)),
                RvError::MechanismInvalid
            );
        },
    );
}

#[test]
fn mechanisms_are_listed_by_the_rules_of_buffers() {
    alone(
        "mechanisms_are_listed_by_the_rules_of_buffers",
        &device("hide_mechanisms = [\"CKM_SHA_1\"]"),
        |_| {
            let (module, slot) = start();
            let shown = module.get_mechanism_list(slot).unwrap();
            assert!(!shown.contains(&MechanismType::SHA1) && shown.contains(&MechanismType::ECDSA));
            assert!(shown.contains(&MechanismType::AES_GCM));
        },
    );
}
