//! Without a fault the simulator is the module behind it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod softhsm;

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use softhsm::*;
use std::fmt::Debug;

/// What was done and what came of it, without what differs from run to run.
#[derive(Default)]
struct Story(Vec<String>);

impl Story {
    fn tell<T: Debug>(&mut self, what: &str, outcome: Result<T, Error>) {
        self.0.push(match outcome {
            Ok(value) => format!("{what}: {value:?}"),
            Err(Error::Pkcs11(code, function)) => format!("{what}: {code:?} from {function:?}"),
            Err(other) => format!("{what}: {other:?}"),
        });
    }
}

fn story(module: &Pkcs11) -> Vec<String> {
    let mut story = Story::default();
    story.tell("before initialise", module.get_all_slots());
    story.tell("initialise", initialize(module));
    story.tell("initialise again", initialize(module));
    let slot = find(module).unwrap();
    story.tell(
        "library",
        module
            .get_library_info()
            .map(|info| (info.manufacturer_id().to_owned(), info.library_version())),
    );
    story.tell("slots", module.get_all_slots().map(|slots| slots.len()));
    story.tell("mechanisms", module.get_mechanism_list(slot));
    for mechanism in module.get_mechanism_list(slot).unwrap() {
        story.tell("mechanism", module.get_mechanism_info(slot, mechanism));
    }
    let session = module.open_rw_session(slot).unwrap();
    story.tell(
        "session",
        session
            .get_session_info()
            .map(|info| (info.session_state(), info.read_write())),
    );
    login_story(&mut story, &session);
    keys_story(&mut story, &session);
    sealing_story(&mut story, &session);
    sessions_story(&mut story, module, slot, session);
    story.0
}

fn login_story(story: &mut Story, session: &Session) {
    story.tell(
        "wrong PIN",
        session.login(UserType::User, Some(&"wrong".into())),
    );
    story.tell("no PIN", session.login(UserType::User, None));
    story.tell("login", login(session));
    story.tell("second login", login(session));
    story.tell(
        "SO login",
        session.login(UserType::So, Some(&SO_PIN.into())),
    );
    story.tell(
        "random",
        session.generate_random_vec(16).map(|bytes| bytes.len()),
    );
}

fn keys_story(story: &mut Story, session: &Session) {
    let attributes = [
        AttributeType::Class,
        AttributeType::KeyType,
        AttributeType::Sensitive,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
        AttributeType::Local,
        AttributeType::Value,
        AttributeType::EcParams,
        AttributeType::Id,
    ];
    for (kind, mechanism, curve, signs) in [
        (
            KeyType::EC,
            Mechanism::EccKeyPairGen,
            &SECP256K1[..],
            Mechanism::Ecdsa,
        ),
        (
            KeyType::EC_EDWARDS,
            Mechanism::EccEdwardsKeyPairGen,
            &ED25519[..],
            ed25519(),
        ),
    ] {
        let (public, private) = generate(session, &mechanism, kind, curve).unwrap();
        story.tell("private key", session.get_attributes(private, &attributes));
        let point = session.get_attributes(public, &[AttributeType::EcPoint]);
        story.tell(
            "point",
            point.map(|found| match &found[..] {
                [Attribute::EcPoint(point)] => point.len(),
                other => panic!("{other:?}"),
            }),
        );
        let signature = session.sign(&signs, private, &DIGEST).unwrap();
        story.tell("signature", Ok(signature.len()));
        story.tell(
            "verify",
            session.verify(&signs, public, &DIGEST, &signature),
        );
        story.tell(
            "verify another",
            session.verify(&signs, public, &[1; 32], &signature),
        );
        story.tell(
            "sign with the public key",
            session.sign(&signs, public, &DIGEST).map(|s| s.len()),
        );
        story.tell(
            "change it",
            session.update_attributes(private, &[Attribute::Extractable(true)]),
        );
        story.tell(
            "find",
            session
                .find_objects(&[Attribute::Id(vec![7])])
                .map(|found| found.len()),
        );
        story.tell(
            "destroy",
            session
                .destroy_object(public)
                .and_then(|()| session.destroy_object(private)),
        );
        story.tell(
            "sign with what is gone",
            session.sign(&signs, private, &DIGEST),
        );
    }
    story.tell(
        "no curve",
        generate(session, &Mechanism::EccKeyPairGen, KeyType::EC, &[6, 1, 0]).map(|_| ()),
    );
}

fn sealing_story(story: &mut Story, session: &Session) {
    let template = [
        Attribute::Token(false),
        Attribute::ValueLen(32.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    let key = session
        .generate_key(&Mechanism::AesKeyGen, &template)
        .unwrap();
    let seal = |aad: &'static [u8]| {
        let mut iv = [9; 12];
        let parameters = GcmParams::new(
            Box::leak(Box::new(std::mem::take(&mut iv))),
            aad,
            128.into(),
        )
        .unwrap();
        Mechanism::AesGcm(parameters)
    };
    let sealed = session.encrypt(&seal(b"header"), key, b"secret").unwrap();
    story.tell("sealed", Ok(sealed.len()));
    story.tell("opened", session.decrypt(&seal(b"header"), key, &sealed));
    story.tell(
        "another header",
        session.decrypt(&seal(b"other"), key, &sealed),
    );
    story.tell("cut", session.decrypt(&seal(b"header"), key, &sealed[..5]));
    story.tell("digest", session.digest(&Mechanism::Sha256, b"abc"));
}

fn sessions_story(story: &mut Story, module: &Pkcs11, slot: Slot, session: Session) {
    let others: Vec<_> = (0..20).map(|_| module.open_ro_session(slot)).collect();
    story.tell(
        "twenty more",
        Ok(others.iter().filter(|session| session.is_ok()).count()),
    );
    story.tell(
        "read-only",
        others[0]
            .as_ref()
            .unwrap()
            .create_object(&[Attribute::Token(true)])
            .map(|_| ()),
    );
    story.tell("logout", session.logout());
    story.tell(
        "find after logout",
        session.find_objects(&[]).map(|found| found.len()),
    );
    drop(session);
    drop(others);
    story.tell("finalise", module.clone().finalize());
    story.tell("after finalise", module.get_all_slots());
}

#[test]
fn an_application_sees_the_same_with_the_simulator_and_without() {
    alone(
        "an_application_sees_the_same_with_the_simulator_and_without",
        &plan(""),
        |place| {
            let straight = story(&load_real());
            let through = story(&load());
            assert!(straight.len() > 80, "{}", straight.len());
            assert_eq!(straight.len(), through.len());
            for (straight, through) in straight.iter().zip(&through) {
                assert_eq!(straight, through);
            }
            let calls = place.trace().lines().count();
            assert!(calls > 150, "{calls}");
        },
    );
}

#[test]
fn calls_of_several_threads_go_through_at_once() {
    alone(
        "calls_of_several_threads_go_through_at_once",
        &plan(""),
        |place| {
            let (module, slot) = start();
            let (_keeper, public, key) = ready(&module, slot);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let session = module.open_ro_session(slot).unwrap();
                        for _ in 0..50 {
                            let signature = sign(&session, key).unwrap();
                            session
                                .verify(&Mechanism::Ecdsa, public, &DIGEST, &signature)
                                .unwrap();
                        }
                    });
                }
            });
            assert_eq!(
                place
                    .trace()
                    .lines()
                    .filter(|line| line.contains("\"C_Verify\""))
                    .count(),
                200
            );
        },
    );
}

#[test]
fn an_initialisation_after_a_finalisation_works_and_counts_go_on() {
    let plan = fault(
        "C_Initialize",
        "nth = [2]\ndo = \"error\"\ncode = \"CKR_DEVICE_ERROR\"",
    );
    alone(
        "an_initialisation_after_a_finalisation_works_and_counts_go_on",
        &plan,
        |_| {
            let (module, _) = start();
            module.clone().finalize().unwrap();
            let again = load();
            assert!(initialize(&again).is_err());
            initialize(&again).unwrap();
            assert!(find(&again).is_some());
        },
    );
}
