//! An authenticator with a browser around it, in memory, that answers challenges as told: for tests of everything that
//! verifies WebAuthn assertions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ed25519_dalek::Signer as _;

use super::{TestDeployment, member};
use crate::bundle::{Credential, CredentialAlgorithm, WebAuthnPolicy};
use crate::statement::Body;
use crate::webauthn::Assertion;
use crate::{Envelope, Hash, HexBytes, StatementId};

/// The relying party of officers' approvals in tests.
pub const RP_ID: &str = "approve.example.com";
/// The origin from which officers approve in tests.
pub const ORIGIN: &str = "https://approve.example.com";

/// One credential on one device. The same name gives the same keys.
#[derive(Debug)]
pub struct TestAuthenticator {
    id: Vec<u8>,
    key: Key,
    counter: u32,
}

#[derive(Debug)]
enum Key {
    Es256(Box<p256::ecdsa::SigningKey>),
    Eddsa(Box<ed25519_dalek::SigningKey>),
}

/// What an authenticator and its browser are about to say, to change before it is signed.
#[derive(Debug, Clone)]
pub struct AssertionDraft {
    /// The credential named, which need not be the one that signs.
    pub credential_id: Vec<u8>,
    /// `clientDataJSON`, whatever it is.
    pub client_data_json: String,
    /// Its hash is in the authenticator data.
    pub rp_id: String,
    /// The flags: bits of section 6.1 of Web Authentication.
    pub flags: u8,
    /// The signature counter.
    pub counter: u32,
    /// What follows the counter.
    pub tail: Vec<u8>,
}

impl TestAuthenticator {
    /// An authenticator with a P-256 key.
    pub fn es256(name: &str) -> Self {
        let seed = Hash::derive("countersign/testing/es256", &[name.as_bytes()]);
        let key = p256::ecdsa::SigningKey::from_slice(seed.as_bytes());
        let key = key.expect("a hash is a scalar but for one in 2^32");
        Self::with(name, Key::Es256(Box::new(key)))
    }

    /// An authenticator with an Ed25519 key.
    pub fn eddsa(name: &str) -> Self {
        let seed = Hash::derive("countersign/testing/eddsa", &[name.as_bytes()]);
        let key = ed25519_dalek::SigningKey::from_bytes(seed.as_bytes());
        Self::with(name, Key::Eddsa(Box::new(key)))
    }

    fn with(name: &str, key: Key) -> Self {
        let id = Hash::derive("countersign/testing/credential", &[name.as_bytes()]);
        Self {
            id: id.as_bytes().to_vec(),
            key,
            counter: 0,
        }
    }

    /// The credential's record for a bundle.
    pub fn credential(&self) -> Credential {
        let (algorithm, public_key) = match &self.key {
            Key::Es256(key) => (
                CredentialAlgorithm::Es256,
                key.verifying_key()
                    .to_encoded_point(true)
                    .as_bytes()
                    .to_vec(),
            ),
            Key::Eddsa(key) => (
                CredentialAlgorithm::Eddsa,
                key.verifying_key().to_bytes().to_vec(),
            ),
        };
        Credential {
            id: HexBytes(self.id.clone()),
            algorithm,
            public_key: HexBytes(public_key),
        }
    }

    /// A policy under which this authenticator's assertions count.
    pub fn policy(&self) -> WebAuthnPolicy {
        WebAuthnPolicy {
            rp_id: RP_ID.to_owned(),
            origins: vec![ORIGIN.to_owned()],
            allow_backup_eligible: false,
        }
    }

    /// What it says to a challenge: user present and verified, no backup, no extensions, the next counter.
    pub fn draft(&mut self, challenge: &Hash) -> AssertionDraft {
        self.counter = self.counter.saturating_add(1);
        let challenge = BASE64URL.encode(challenge.as_bytes());
        AssertionDraft {
            credential_id: self.id.clone(),
            client_data_json: format!(
                r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{ORIGIN}","crossOrigin":false}}"#
            ),
            rp_id: RP_ID.to_owned(),
            flags: 0x05,
            counter: self.counter,
            tail: Vec::new(),
        }
    }

    /// Signs a draft.
    pub fn sign(&self, draft: AssertionDraft) -> Assertion {
        let mut data = Hash::sha256(draft.rp_id.as_bytes()).as_bytes().to_vec();
        data.push(draft.flags);
        data.extend(draft.counter.to_be_bytes());
        data.extend(draft.tail);
        let client_data = draft.client_data_json.into_bytes();
        let message = [data.as_slice(), Hash::sha256(&client_data).as_bytes()].concat();
        let signature = match &self.key {
            Key::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(&message);
                signature.to_der().as_bytes().to_vec()
            }
            Key::Eddsa(key) => key.sign(&message).to_bytes().to_vec(),
        };
        Assertion::new(draft.credential_id, data, client_data, signature)
            .expect("an assertion of reasonable size")
    }

    /// Answers a challenge.
    pub fn assert(&mut self, challenge: &Hash) -> Assertion {
        let draft = self.draft(challenge);
        self.sign(draft)
    }
}

impl TestDeployment {
    /// Gives a member an authenticator's credential in the genesis, and lets the bundle accept assertions from the
    /// authenticator's origin.
    pub fn add_credential(&mut self, id: &str, authenticator: &TestAuthenticator) {
        let content = self.content_mut();
        content
            .webauthn
            .get_or_insert_with(|| authenticator.policy());
        let id = member(id);
        let found = content.members.iter_mut().find(|m| m.id == id);
        let found = found.expect("a member of the test deployment");
        found.credentials.push(authenticator.credential());
    }

    /// Issues a statement for `life_seconds` with the assertion of an authenticator in place of a signature.
    pub fn sign_with<B: Body>(
        &self,
        issuer: &str,
        life_seconds: u64,
        body: B,
        authenticator: &mut TestAuthenticator,
    ) -> Envelope {
        let id = StatementId::random(&mut rand_core::OsRng);
        let statement = self.statement(issuer, id.as_str(), life_seconds, body);
        let challenge = statement.challenge().expect("the statement can be written");
        statement
            .assert(authenticator.assert(&challenge))
            .expect("the statement can be written")
    }
}
