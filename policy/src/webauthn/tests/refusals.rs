//! Each thing that an assertion must say, said otherwise, and the error that names it.

use crate::bundle::{CredentialAlgorithm, WebAuthnPolicy};
use crate::statement::SignerKey;
use crate::testing::{AssertionDraft, TestAuthenticator};
use crate::webauthn::{
    Assertion, AssertionError, AuthenticatorDataError, ClientDataError, ReadyCredential,
};
use crate::{Hash, HexBytes};

const ALL: [fn(&str) -> TestAuthenticator; 2] =
    [TestAuthenticator::es256, TestAuthenticator::eddsa];

fn challenge() -> Hash {
    Hash::sha256(b"the pre-authentication encoding of a statement")
}

fn verify(
    authenticator: &TestAuthenticator,
    assertion: &Assertion,
) -> Result<SignerKey, AssertionError> {
    verify_under(&authenticator.policy(), authenticator, assertion)
}

fn verify_under(
    policy: &WebAuthnPolicy,
    authenticator: &TestAuthenticator,
    assertion: &Assertion,
) -> Result<SignerKey, AssertionError> {
    let credential = ReadyCredential::new(&authenticator.credential());
    assertion.verify(Some(policy), &[credential], &challenge())
}

/// What becomes of a draft that was changed and then honestly signed, by an authenticator of each algorithm.
fn changed(change: impl Fn(&mut AssertionDraft)) -> Result<SignerKey, AssertionError> {
    let [first, second] = ALL.map(|make| {
        let mut authenticator = make("key");
        let mut draft = authenticator.draft(&challenge());
        change(&mut draft);
        verify(&authenticator, &authenticator.sign(draft))
    });
    assert_eq!(first, second, "the algorithm makes no difference");
    first
}

fn client_data(from: &str, to: &str) -> Result<SignerKey, AssertionError> {
    changed(|draft| {
        assert!(draft.client_data_json.contains(from));
        draft.client_data_json = draft.client_data_json.replace(from, to);
    })
}

fn flags(flags: u8) -> Result<SignerKey, AssertionError> {
    changed(|draft| draft.flags = flags)
}

#[test]
fn an_honest_assertion_is_accepted_and_tells_its_credential_and_counter() {
    for make in ALL {
        let mut authenticator = make("key");
        for counter in 1..=2 {
            let assertion = authenticator.assert(&challenge());
            let id = authenticator.credential().id;
            assert_eq!(
                verify(&authenticator, &assertion),
                Ok(SignerKey::Credential { id, counter })
            );
        }
    }
}

#[test]
fn without_a_policy_nothing_counts() {
    let mut authenticator = TestAuthenticator::es256("key");
    let assertion = authenticator.assert(&challenge());
    let credential = ReadyCredential::new(&authenticator.credential());
    assert_eq!(
        assertion.verify(None, &[credential], &challenge()),
        Err(AssertionError::NoPolicy)
    );
}

#[test]
fn the_type_is_that_of_an_assertion() {
    for other in ["webauthn.create", "payment.get", "WebAuthn.get", ""] {
        let found = client_data("webauthn.get", other);
        assert_eq!(found, Err(AssertionError::Type(other.to_owned())));
    }
}

#[test]
fn the_challenge_is_that_of_the_statement_in_one_spelling() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    let right = URL_SAFE_NO_PAD.encode(challenge().as_bytes());
    let other = URL_SAFE_NO_PAD.encode(Hash::sha256(b"another statement").as_bytes());
    let padded = URL_SAFE.encode(challenge().as_bytes());
    let standard = STANDARD.encode(challenge().as_bytes());
    let hex = challenge().to_hex();
    for wrong in [other, padded, standard, hex, String::new()] {
        assert_ne!(wrong, right);
        assert_eq!(client_data(&right, &wrong), Err(AssertionError::Challenge));
    }
}

#[test]
fn the_origin_is_exactly_one_of_those_in_the_bundle() {
    for other in [
        "http://approve.example.com",
        "https://approve.example.com:443",
        "https://approve.example.com/",
        "https://APPROVE.example.com",
        "https://approve.example.com.evil.example",
        "https://example.com",
        "https://login.approve.example.com",
        "null",
        "",
    ] {
        let found = client_data("https://approve.example.com", other);
        assert_eq!(found, Err(AssertionError::Origin(other.to_owned())));
    }
}

#[test]
fn frames_of_other_pages_do_not_approve() {
    let cross = |text: &str| client_data("\"crossOrigin\":false", text);
    assert_eq!(
        cross("\"crossOrigin\":true"),
        Err(AssertionError::CrossOrigin)
    );
    for top in [
        "\"topOrigin\":\"https://approve.example.com\"",
        "\"topOrigin\":null",
        "\"crossOrigin\":false,\"topOrigin\":\"\"",
    ] {
        assert_eq!(cross(top), Err(AssertionError::TopOrigin), "{top}");
    }
    for odd in ["\"crossOrigin\":null", "\"crossOrigin\":\"false\""] {
        assert!(
            matches!(
                cross(odd),
                Err(AssertionError::ClientData(ClientDataError::Json(_)))
            ),
            "{odd}"
        );
    }
    // Absent is false, and a name that is not known yet says nothing.
    cross("\"other_keys_can_be_added_here\":{\"crossOrigin\":true}").unwrap();
}

#[test]
fn client_data_is_one_json_object_in_which_nothing_stands_twice() {
    for (from, to, says) in [
        ("{", "{\"type\":\"webauthn.create\",", "twice"),
        ("{", "{\"t\\u0079pe\":\"webauthn.get\",", "twice"),
        (":false}", ":false,\"crossOrigin\":false}", "twice"),
        (":false}", ":false,\"a\":1,\"a\":1}", "twice"),
        (
            ":false}",
            ":false,\"origin\":\"https://evil.example\"}",
            "twice",
        ),
        ("\"type\":", "\"kind\":", "missing field `type`"),
        (
            "\"challenge\":",
            "\"Challenge\":",
            "missing field `challenge`",
        ),
        ("\"origin\":", "\"Origin\":", "missing field `origin`"),
        ("\"webauthn.get\"", "7", "invalid type"),
        (":false}", ":false}{}", "trailing characters"),
        (":false}", ":false", "EOF"),
        ("{\"type\"", "\u{feff}{\"type\"", "expected value"),
    ] {
        match client_data(from, to) {
            Err(AssertionError::ClientData(ClientDataError::Json(text))) => {
                assert!(text.contains(says), "{from} -> {to}: {text}");
            }
            other => panic!("{from} -> {to}: {other:?}"),
        }
    }
}

#[test]
fn the_relying_party_is_the_one_for_approvals() {
    for other in [
        "login.example.com",
        "example.com",
        "APPROVE.example.com",
        "",
    ] {
        let found = changed(|draft| draft.rp_id = other.to_owned());
        assert_eq!(found, Err(AssertionError::RelyingParty), "{other}");
    }
}

#[test]
fn every_flag_is_looked_at() {
    assert_eq!(flags(0x04), Err(AssertionError::UserPresence));
    assert_eq!(flags(0x01), Err(AssertionError::UserVerification));
    assert_eq!(flags(0x00), Err(AssertionError::UserPresence));
    assert_eq!(flags(0x15), Err(AssertionError::BackupFlags));
    assert_eq!(flags(0x0d), Err(AssertionError::BackupEligible));
    assert_eq!(flags(0x1d), Err(AssertionError::BackupEligible));
    for reserved in [0x07, 0x25] {
        let error = AuthenticatorDataError::ReservedFlags;
        assert_eq!(flags(reserved), Err(error.into()));
    }
    let attested = Err(AuthenticatorDataError::AttestedCredential.into());
    assert_eq!(flags(0x45), attested);
    assert_eq!(flags(0xc5), attested);
    assert_eq!(flags(0x85), Err(AuthenticatorDataError::Extensions.into()));
}

#[test]
fn copyable_credentials_count_only_where_the_bundle_says_so() {
    for (bits, expected) in [
        (0x0d, Ok(())),
        (0x1d, Ok(())),
        (0x15, Err(AssertionError::BackupFlags)),
    ] {
        let mut authenticator = TestAuthenticator::es256("phone");
        let mut draft = authenticator.draft(&challenge());
        draft.flags = bits;
        let policy = WebAuthnPolicy {
            allow_backup_eligible: true,
            ..authenticator.policy()
        };
        let found = verify_under(&policy, &authenticator, &authenticator.sign(draft));
        assert_eq!(found.map(|_| ()), expected);
    }
}

#[test]
fn authenticator_data_has_the_length_that_its_flags_say() {
    let with = |flags: u8, tail: &[u8]| {
        changed(|draft| {
            draft.flags = flags;
            draft.tail = tail.to_vec();
        })
        .map(|_| ())
    };
    assert_eq!(with(0x05, &[0]), Err(AuthenticatorDataError::Length.into()));
    assert_eq!(with(0x85, &[0xa0]), Ok(()));
    assert_eq!(with(0x85, &[0xa1, 0x61, b'a', 0xf5]), Ok(()));
    for bad in [&[0xa0, 0][..], &[0x80], &[0xa1, 0x61]] {
        let error = AuthenticatorDataError::Extensions;
        assert_eq!(with(0x85, bad), Err(error.into()));
    }
    let mut authenticator = TestAuthenticator::eddsa("key");
    let honest = authenticator.assert(&challenge());
    for length in [0, 36] {
        let short = Assertion::new(
            honest.credential_id().0.clone(),
            honest.authenticator_data()[..length].to_vec(),
            honest.client_data_json().to_vec(),
            honest.signature().to_vec(),
        )
        .unwrap();
        let error = AuthenticatorDataError::Length;
        assert_eq!(verify(&authenticator, &short), Err(error.into()));
    }
}

#[test]
fn the_credential_is_one_of_the_member_and_signs_itself() {
    for make in ALL {
        let mut mine = make("key");
        let other = make("another key");
        let mut draft = mine.draft(&challenge());
        draft.credential_id = other.credential().id.0;
        assert_eq!(
            verify(&mine, &mine.sign(draft)),
            Err(AssertionError::UnknownCredential(other.credential().id))
        );
        // Another authenticator under this one's name.
        let draft = mine.draft(&challenge());
        assert_eq!(
            verify(&mine, &other.sign(draft)),
            Err(AssertionError::Signature)
        );
    }
}

#[test]
fn the_algorithm_comes_from_the_record() {
    let [mut es256, mut eddsa] = ALL.map(|make| make("key"));
    let challenge = challenge();
    for (authenticator, other) in [
        (&mut es256, CredentialAlgorithm::Eddsa),
        (&mut eddsa, CredentialAlgorithm::Es256),
    ] {
        let mut record = authenticator.credential();
        record.algorithm = other;
        let assertion = authenticator.assert(&challenge);
        let credential = ReadyCredential::new(&record);
        let policy = authenticator.policy();
        // A P-256 point has 33 bytes and an Ed25519 point 32, so no key is both.
        assert_eq!(
            assertion.verify(Some(&policy), &[credential], &challenge),
            Err(AssertionError::UnusableKey)
        );
    }
}

#[test]
fn a_public_key_that_is_no_point_verifies_nothing() {
    let uncompressed = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                        4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let small_order = "01".to_owned() + &"00".repeat(31);
    let off = "02".to_owned() + &"00".repeat(31) + "01";
    for (make, key) in [
        (ALL[0], "".to_owned()),
        (ALL[0], off),
        (ALL[0], uncompressed.replace(' ', "")),
        (ALL[1], small_order),
        (ALL[1], "".to_owned()),
    ] {
        let mut authenticator = make("key");
        let mut record = authenticator.credential();
        record.public_key = HexBytes(hex::decode(&key).unwrap());
        let assertion = authenticator.assert(&challenge());
        let policy = authenticator.policy();
        assert_eq!(
            assertion.verify(
                Some(&policy),
                &[ReadyCredential::new(&record)],
                &challenge()
            ),
            Err(AssertionError::UnusableKey),
            "{key}"
        );
    }
}

fn with_signature(honest: &Assertion, signature: Vec<u8>) -> Assertion {
    Assertion::new(
        honest.credential_id().0.clone(),
        honest.authenticator_data().to_vec(),
        honest.client_data_json().to_vec(),
        signature,
    )
    .unwrap()
}

#[test]
fn an_es256_signature_is_strict_der() {
    let mut authenticator = TestAuthenticator::es256("key");
    let honest = authenticator.assert(&challenge());
    let der = honest.signature();
    let parsed = p256::ecdsa::Signature::from_der(der).unwrap();
    let (r, s) = (parsed.r().to_bytes(), parsed.s().to_bytes());
    let integer = |bytes: &[u8]| [&[2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let sequence =
        |content: Vec<u8>| [&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat();
    let long_form = [&[0x30, 0x81, der[1]], &der[2..]].concat();
    let padded = {
        let zeros = |bytes: &[u8]| integer(&[&[0, 0], bytes].concat());
        sequence([zeros(&r), zeros(&s)].concat())
    };
    let trailing = [der, &[0]].concat();
    let inside = sequence([&der[2..], &[5, 0]].concat());
    let raw = parsed.to_bytes().to_vec();
    let zero_r = sequence([integer(&[0]), integer(&[1])].concat());
    let cut = der[..der.len() - 1].to_vec();
    for bad in [
        long_form,
        padded,
        trailing,
        inside,
        raw,
        zero_r,
        cut,
        vec![],
    ] {
        assert_eq!(
            verify(&authenticator, &with_signature(&honest, bad.clone())),
            Err(AssertionError::SignatureForm),
            "{}",
            hex::encode(bad)
        );
    }
    // The twin with the other s verifies as well: authenticators make either.
    let twin = p256::ecdsa::Signature::from_scalars(r, (-*parsed.s()).to_bytes()).unwrap();
    let twin = with_signature(&honest, twin.to_der().as_bytes().to_vec());
    verify(&authenticator, &twin).unwrap();
}

#[test]
fn an_eddsa_signature_has_64_bytes() {
    let mut authenticator = TestAuthenticator::eddsa("key");
    let honest = authenticator.assert(&challenge());
    for bad in [
        vec![],
        honest.signature()[..63].to_vec(),
        [honest.signature(), &[0]].concat(),
    ] {
        assert_eq!(
            verify(&authenticator, &with_signature(&honest, bad)),
            Err(AssertionError::SignatureForm)
        );
    }
}

#[test]
fn no_bit_of_what_is_signed_can_change() {
    for make in ALL {
        let mut authenticator = make("key");
        let honest = authenticator.assert(&challenge());
        let refused = |data: Vec<u8>, client: Vec<u8>, signature: Vec<u8>| {
            let id = honest.credential_id().0.clone();
            let assertion = Assertion::new(id, data, client, signature).unwrap();
            assert!(verify(&authenticator, &assertion).is_err());
        };
        let (data, client, signature) = (
            honest.authenticator_data().to_vec(),
            honest.client_data_json().to_vec(),
            honest.signature().to_vec(),
        );
        let flip = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        for bit in 0..data.len() * 8 {
            refused(flip(&data, bit), client.clone(), signature.clone());
        }
        for bit in 0..client.len() * 8 {
            refused(data.clone(), flip(&client, bit), signature.clone());
        }
        for bit in 0..signature.len() * 8 {
            refused(data.clone(), client.clone(), flip(&signature, bit));
        }
    }
}
