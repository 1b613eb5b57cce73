//! The example assertions of the standard: `tests/vectors/webauthn_w3c.json`.

use crate::HexBytes;
use crate::bundle::{Credential, CredentialAlgorithm, WebAuthnPolicy};
use crate::hash::Hash;
use crate::statement::SignerKey;
use crate::webauthn::{Assertion, AssertionError, ReadyCredential};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    section: String,
    algorithm: CredentialAlgorithm,
    public_key: HexBytes,
    credential_id: HexBytes,
    challenge: Hash,
    authenticator_data: String,
    client_data_json: String,
    signature: String,
}

impl Vector {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../../../tests/vectors/webauthn_w3c.json")).unwrap()
    }

    fn credential(&self) -> ReadyCredential {
        ReadyCredential::new(&Credential {
            id: self.credential_id.clone(),
            algorithm: self.algorithm,
            public_key: self.public_key.clone(),
        })
    }

    fn assertion(&self) -> Assertion {
        Assertion::new(
            self.credential_id.0.clone(),
            hex::decode(&self.authenticator_data).unwrap(),
            hex::decode(&self.client_data_json).unwrap(),
            hex::decode(&self.signature).unwrap(),
        )
        .unwrap()
    }

    fn verify(&self) -> Result<SignerKey, AssertionError> {
        let policy = WebAuthnPolicy {
            rp_id: "example.org".to_owned(),
            origins: vec!["https://example.org".to_owned()],
            allow_backup_eligible: true,
        };
        self.assertion()
            .verify(Some(&policy), &[self.credential()], &self.challenge)
    }
}

#[test]
fn the_signatures_of_the_examples_verify() {
    let all = Vector::all();
    assert_eq!(all.len(), 11);
    for vector in all {
        vector
            .credential()
            .verify(&vector.assertion())
            .unwrap_or_else(|error| panic!("{}: {error}", vector.section));
    }
}

#[test]
fn the_examples_are_accepted_or_refused_for_what_they_show() {
    for vector in Vector::all() {
        let expected = match vector.section.as_str() {
            // User present and verified.
            "none-es256-long-credential-id" | "packed-es256" | "tpm-es256" => {
                Ok(SignerKey::Credential {
                    id: vector.credential_id.clone(),
                    counter: 0,
                })
            }
            "none-es256-crossOrigin" => Err(AssertionError::CrossOrigin),
            // Its crossOrigin is true as well, which is seen first.
            "none-es256-topOrigin" => Err(AssertionError::CrossOrigin),
            // Only the user's presence.
            _ => Err(AssertionError::UserVerification),
        };
        assert_eq!(vector.verify(), expected, "{}", vector.section);
    }
}
