//! Keys: made once, checked always, never made because something was not found.

use countersign_hsm::{Failure, HsmClient, HsmError, KeyAttribute, KeyKind, Prehash, PublicPoint};

use crate::token::{MODULE, PIN, Softhsm, id};

#[test]
fn a_key_is_made_safe_and_never_twice() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let public = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "treasury")
        .unwrap();
    for kind in [KeyKind::Secp256k1, KeyKind::Ed25519] {
        let again = hsm.generate_key_pair_blocking(kind, &id("k1"), "x");
        assert!(
            matches!(again, Err(HsmError::Failed(Failure::Exists(_)))),
            "{again:?}"
        );
    }
    assert!(matches!(
        hsm.generate_kek_blocking(&id("k1"), "x"),
        Err(HsmError::Failed(Failure::Exists(_)))
    ));
    let keys = hsm.keys_blocking().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(
        (keys[0].label.as_str(), keys[0].kind.as_str()),
        ("treasury", "ec")
    );
    assert!(keys[0].missing.is_empty(), "{keys:?}");
    let described = hsm
        .describe_blocking(KeyKind::Secp256k1, &id("k1"))
        .unwrap();
    assert_eq!(
        (described.public, described.label.as_str()),
        (public, "treasury")
    );
}

#[test]
fn not_found_is_an_answer_and_never_makes_a_key() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    for _ in 0..3 {
        let missing = hsm.describe_blocking(KeyKind::Secp256k1, &id("nobody"));
        assert!(
            matches!(missing, Err(HsmError::Failed(Failure::Missing { .. }))),
            "{missing:?}"
        );
    }
    assert!(hsm.keys_blocking().unwrap().is_empty());
    assert!(
        hsm.metrics().logins <= 2,
        "doubt costs one login, not one for each request"
    );
}

#[test]
fn another_public_key_than_the_pinned_one_is_refused() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let one = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k1"), "")
        .unwrap();
    let two = hsm
        .generate_key_pair_blocking(KeyKind::Secp256k1, &id("k2"), "")
        .unwrap();
    assert!(hsm.open_key_blocking(&id("k1"), one).is_ok());
    assert!(matches!(
        hsm.open_key_blocking(&id("k1"), two),
        Err(HsmError::OtherPublicKey { .. })
    ));
    let other_kind = hsm.open_key_blocking(&id("k1"), PublicPoint::Ed25519([0; 32]));
    assert!(
        matches!(other_kind, Err(HsmError::Failed(Failure::WrongKey { .. }))),
        "{other_kind:?}"
    );
}

/// Runs OpenSC's tool on the token.
fn tool(softhsm: &Softhsm, arguments: &[&str]) {
    let output = std::process::Command::new("pkcs11-tool")
        .args([
            "--module",
            MODULE,
            "--token-label",
            "test",
            "--login",
            "--pin",
            PIN,
        ])
        .args(arguments)
        .env("SOFTHSM2_CONF", softhsm.path("softhsm.conf"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_key_that_others_made_carelessly_is_refused_with_what_it_lacks() {
    let softhsm = Softhsm::new();
    // "6b31" is "k1". It can be changed and copied.
    tool(
        &softhsm,
        &[
            "--keypairgen",
            "--key-type",
            "EC:secp256k1",
            "--id",
            "6b31",
            "--label",
            "careless",
        ],
    );
    let hsm = softhsm.client();
    let Err(HsmError::Failed(Failure::Unsafe { attributes, .. })) =
        hsm.describe_blocking(KeyKind::Secp256k1, &id("k1"))
    else {
        panic!("not refused")
    };
    assert!(
        attributes.contains(&KeyAttribute::Modifiable),
        "{attributes:?}"
    );
    // One that could be taken out.
    tool(
        &softhsm,
        &[
            "--keypairgen",
            "--key-type",
            "EC:secp256k1",
            "--id",
            "6b32",
            "--extractable",
        ],
    );
    let Err(HsmError::Failed(Failure::Unsafe { attributes, .. })) =
        hsm.describe_blocking(KeyKind::Secp256k1, &id("k2"))
    else {
        panic!("not refused")
    };
    assert!(
        attributes.contains(&KeyAttribute::Extractable),
        "{attributes:?}"
    );
    assert!(
        hsm.keys_blocking()
            .unwrap()
            .iter()
            .all(|key| !key.missing.is_empty())
    );
}

#[test]
fn two_objects_with_one_id_are_refused() {
    let softhsm = Softhsm::new();
    for _ in 0..2 {
        tool(
            &softhsm,
            &["--keypairgen", "--key-type", "EC:secp256k1", "--id", "6b31"],
        );
    }
    let hsm = softhsm.client();
    let twice = hsm.describe_blocking(KeyKind::Secp256k1, &id("k1"));
    assert!(
        matches!(
            twice,
            Err(HsmError::Failed(Failure::Ambiguous { count: 2, .. }))
        ),
        "{twice:?}"
    );
}

#[test]
fn a_key_of_another_curve_never_gives_a_signature() {
    let softhsm = Softhsm::new();
    tool(
        &softhsm,
        &[
            "--keypairgen",
            "--key-type",
            "EC:prime256v1",
            "--id",
            "6b31",
        ],
    );
    let hsm = softhsm.client();
    assert!(
        hsm.describe_blocking(KeyKind::Secp256k1, &id("k1"))
            .is_err()
    );
}

#[test]
fn a_key_deleted_under_us_is_missing_and_the_others_sign_on() {
    let softhsm = Softhsm::new();
    let hsm = softhsm.client();
    let make = |name| {
        let public = hsm
            .generate_key_pair_blocking(KeyKind::Secp256k1, &id(name), "")
            .unwrap();
        hsm.open_key_blocking(&id(name), public).unwrap()
    };
    let (gone, stays) = (make("k1"), make("k2"));
    hsm.sign_prehash_blocking(&gone, Prehash::new([1; 32]))
        .unwrap();
    tool(
        &softhsm,
        &["--delete-object", "--type", "privkey", "--id", "6b31"],
    );
    let missing = hsm.sign_prehash_blocking(&gone, Prehash::new([1; 32]));
    assert!(
        matches!(missing, Err(HsmError::Failed(Failure::Missing { .. }))),
        "{missing:?}"
    );
    hsm.sign_prehash_blocking(&stays, Prehash::new([1; 32]))
        .unwrap();
}

#[test]
fn a_token_is_named_by_label_or_serial_and_must_be_the_only_one() {
    let softhsm = Softhsm::new();
    let serial = softhsm.provision("other");
    let again = HsmClient::provision(&softhsm.config("other"), softhsm.wanted("other"));
    assert!(
        matches!(again, Err(HsmError::Failed(Failure::Exists(_)))),
        "{again:?}"
    );
    let mut config = softhsm.config("test");
    config.token = format!("pkcs11:serial={serial}").parse().unwrap();
    let hsm = HsmClient::start(config.clone()).unwrap();
    assert_eq!(hsm.metrics().token.unwrap().label, "other");
    config.token = format!("pkcs11:token=test;serial={serial}")
        .parse()
        .unwrap();
    config.deadline_ms = 200;
    let inspected = HsmClient::inspect(&config).unwrap();
    assert_eq!(inspected.tokens.iter().filter(|t| t.initialized).count(), 2);
    assert!(
        inspected.tokens[0].mechanisms.iter().all(|m| m.present),
        "{inspected:?}"
    );
}
