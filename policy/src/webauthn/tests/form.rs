//! One form for one assertion.

use proptest::prelude::*;

use crate::testing::TestAuthenticator;
use crate::webauthn::{Assertion, AssertionFormError, MAX_ASSERTION};
use crate::{Envelope, EnvelopeError, Hash, IdentityKey, SignatureBytes};

fn honest() -> Assertion {
    TestAuthenticator::es256("key").assert(&Hash::sha256(b"statement"))
}

fn refused(bytes: &[u8]) -> AssertionFormError {
    Assertion::from_bytes(bytes).unwrap_err()
}

#[test]
fn the_form_is_pinned() {
    let assertion = TestAuthenticator::eddsa("key").assert(&Hash::sha256(b"statement"));
    insta::assert_snapshot!(std::str::from_utf8(assertion.as_bytes()).unwrap());
}

#[test]
fn every_other_way_to_write_it_is_refused() {
    let text = String::from_utf8(honest().as_bytes().to_vec()).unwrap();
    for (from, to) in [
        ("{", "{ "),
        ("{", "{\"a\":1,"),
        ("\"signature\":", "\"user_handle\":\"\",\"signature\":"),
        ("\"signature\":", "\"signature\":\"\",\"signature\":"),
        ("\"signature\":", "\"sig\":"),
        ("\"}", "\"}\n"),
    ] {
        let bad = text.replacen(from, to, 1);
        assert_ne!(bad, text);
        assert!(
            matches!(refused(bad.as_bytes()), AssertionFormError::Json(_)),
            "{bad}"
        );
    }
    for (from, to) in [("\"}", "=\"}"), ("\"}", "+\"}"), ("\"}", "A\"}")] {
        // Three of four lengths of base64 have no such continuation; an authenticator's DER is of several lengths.
        let bad = text.replacen(from, to, 1);
        if let Ok(read) = Assertion::from_bytes(bad.as_bytes()) {
            assert_ne!(read, honest());
        }
    }
    // Bits beyond the last byte.
    let bits =
        r#"{"authenticator_data":"AB","client_data_json":"","credential_id":"","signature":""}"#;
    assert_eq!(
        refused(bits.as_bytes()),
        AssertionFormError::Base64("authenticator_data")
    );
    let padded = bits.replace("AB", "AA==");
    assert_eq!(
        refused(padded.as_bytes()),
        AssertionFormError::Base64("authenticator_data")
    );
    Assertion::from_bytes(bits.replace("AB", "AA").as_bytes()).unwrap();
}

#[test]
fn an_assertion_is_bounded() {
    let empty = Assertion::new(vec![], vec![], vec![], vec![]).unwrap();
    let room = MAX_ASSERTION - empty.as_bytes().len();
    let data = |bytes: usize| Assertion::new(vec![], vec![], vec![0; bytes], vec![]);
    // Base64 without padding: four characters for three bytes.
    let most = room / 4 * 3;
    let greatest = data(most).unwrap();
    assert_eq!(
        Assertion::from_bytes(greatest.as_bytes()),
        Ok(greatest.clone())
    );
    assert!(matches!(
        data(most + 3),
        Err(AssertionFormError::TooLong(_))
    ));
    let mut beyond = greatest.as_bytes().to_vec();
    beyond.resize(MAX_ASSERTION + 1, b' ');
    assert_eq!(
        refused(&beyond),
        AssertionFormError::TooLong(MAX_ASSERTION + 1)
    );
}

fn envelope_with(assertion: Assertion) -> Envelope {
    Envelope::assert("t", b"{}".to_vec(), "alice", assertion)
}

#[test]
fn an_envelope_carries_it_as_base64_in_place_of_a_signature() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let envelope = envelope_with(honest());
    let json = serde_json::to_string(&envelope).unwrap();
    assert_eq!(serde_json::from_str::<Envelope>(&json).unwrap(), envelope);
    let sig = STANDARD.encode(honest().as_bytes());
    assert!(json.contains(&format!("\"sig\":\"{sig}\"")));
    // What is no assertion and has not 64 bytes is neither.
    for (bytes, says) in [
        (vec![b'{'; 65], "assertion"),
        (vec![7; 65], "64 bytes"),
        (vec![b'{'; 63], "assertion"),
        (vec![], "64 bytes"),
        (vec![b'{'; MAX_ASSERTION + 3], "too long"),
    ] {
        let bad = json.replace(&sig, &STANDARD.encode(&bytes));
        let error = serde_json::from_str::<Envelope>(&bad).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    // 64 bytes are a signature, whatever they begin with.
    let ambiguous = json.replace(&sig, &STANDARD.encode([b'{'; 64]));
    let read: Envelope = serde_json::from_str(&ambiguous).unwrap();
    assert_eq!(
        read.signatures()[0].sig,
        SignatureBytes::Ed25519([b'{'; 64])
    );
}

#[test]
fn an_assertion_never_verifies_as_a_statement_keys_signature() {
    let envelope = envelope_with(honest());
    let key = IdentityKey::from_seed(&[7; 32]).public();
    let message = envelope.pre_authentication_encoding();
    assert!(!key.verify(&message, &envelope.signatures()[0].sig));
    assert!(!key.verify(&message, []));
}

#[test]
fn an_envelope_takes_assertions_up_to_its_bound() {
    let mut envelope = envelope_with(honest());
    for _ in 1..crate::MAX_SIGNATURES {
        envelope.add_assertion("bob", honest()).unwrap();
    }
    assert!(matches!(
        envelope.add_assertion("bob", honest()),
        Err(EnvelopeError::SignatureCount(_))
    ));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        id in prop::collection::vec(any::<u8>(), 0..80),
        data in prop::collection::vec(any::<u8>(), 0..80),
        client in prop::collection::vec(any::<u8>(), 0..300),
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let assertion = Assertion::new(id, data, client, signature).unwrap();
        prop_assert_ne!(assertion.as_bytes().len(), 64);
        let read = Assertion::from_bytes(assertion.as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&assertion));
        let envelope = envelope_with(assertion);
        let json = serde_json::to_vec(&envelope).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Envelope>(&json).unwrap(), envelope);
    }

    #[test]
    fn any_edit_is_refused_or_another_assertion(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let honest = honest();
        let mut bytes = honest.as_bytes().to_vec();
        let at = at.index(bytes.len());
        let before = bytes[at];
        bytes[at] = byte;
        if let Ok(read) = Assertion::from_bytes(&bytes) {
            prop_assert_eq!(read.as_bytes(), &bytes[..]);
            prop_assert_eq!(read == honest, before == byte);
        }
    }
}
