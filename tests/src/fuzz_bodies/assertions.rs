//! Bodies for WebAuthn assertions: their form, and what browser and authenticator say in them.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{Freeze, FreezeTarget, Statement};
use countersign_policy::testing::{AssertionDraft, OFFICER, TestAuthenticator, TestDeployment};
use countersign_policy::webauthn::Assertion;
use countersign_policy::{Envelope, Hash, SignatureBytes};

/// An officer with a credential of each algorithm, and something to say.
struct Scene {
    bundle: ActiveBundle,
    freeze: Statement<Freeze>,
    challenge: Hash,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    for authenticator in [es256(), eddsa()] {
        deployment.add_credential(OFFICER, &authenticator);
    }
    let freeze = Freeze {
        target: FreezeTarget::Everything,
        reason: "alarm".to_owned(),
    };
    let freeze = deployment.statement(OFFICER, "freeze", 60, freeze);
    Scene {
        bundle: deployment.bundle(),
        challenge: freeze.challenge().expect("a statement"),
        freeze,
    }
});

fn es256() -> TestAuthenticator {
    TestAuthenticator::es256("es256")
}

fn eddsa() -> TestAuthenticator {
    TestAuthenticator::eddsa("eddsa")
}

/// Bytes as the form of an assertion: what is read is the one form of what it says, also in an envelope, and is nobody's
/// word.
pub fn read_assertion(input: &[u8]) {
    let Ok(read) = Assertion::from_bytes(input) else {
        return;
    };
    assert_eq!(read.as_bytes(), input);
    let again = Assertion::new(
        read.credential_id().0.clone(),
        read.authenticator_data().to_vec(),
        read.client_data_json().to_vec(),
        read.signature().to_vec(),
    );
    assert_eq!(again.as_ref(), Ok(&read));
    let envelope = SCENE.freeze.assert(read.clone()).expect("a statement");
    let json = serde_json::to_vec(&envelope).expect("an envelope has a JSON form");
    let back: Envelope = serde_json::from_slice(&json).expect("that is read back");
    assert_eq!(
        back.signatures()[0].sig,
        SignatureBytes::Assertion(Box::new(read))
    );
    assert!(SCENE.bundle.open_freeze(&back).is_err(), "a forgery");
}

/// The first byte chooses an algorithm and a part of an assertion, the rest edits that part, which the authenticator then
/// signs: what is accepted says what it must to every reader of JSON.
pub fn mutate_assertion(input: &[u8]) {
    let Some((choice, edits)) = input.split_first() else {
        return;
    };
    let mut authenticator = if choice & 1 == 0 { es256() } else { eddsa() };
    let mut draft = authenticator.draft(&SCENE.challenge);
    match (choice >> 1) & 3 {
        0 => {
            let edited = super::statements::edited(draft.client_data_json.as_bytes(), edits);
            draft.client_data_json = String::from_utf8_lossy(&edited).into_owned();
        }
        1 => {
            // Something put in, where members of the object begin or end.
            let at = [1, draft.client_data_json.len() - 1][usize::from(choice >> 3) & 1];
            draft
                .client_data_json
                .insert_str(at, &String::from_utf8_lossy(edits));
        }
        2 => {
            draft.flags = 0x85;
            draft.tail = edits.to_vec();
        }
        _ => {
            let (flags, tail) = edits.split_first().unwrap_or((&0x05, &[]));
            draft.flags = *flags;
            draft.tail = tail.to_vec();
        }
    }
    if draft.client_data_json.len() + draft.tail.len() > 2_000 {
        return;
    }
    let envelope = SCENE
        .freeze
        .assert(authenticator.sign(draft.clone()))
        .expect("a statement");
    let accepted = SCENE.bundle.open_freeze(&envelope).is_ok();
    if accepted {
        require_meaning(&draft);
    }
    let untouched = edits.is_empty() && (choice >> 1) & 3 != 2;
    assert!(accepted || !untouched, "an honest assertion is accepted");
}

fn require_meaning(draft: &AssertionDraft) {
    let said: serde_json::Value =
        serde_json::from_str(&draft.client_data_json).expect("accepted JSON");
    assert_eq!(said["type"], "webauthn.get");
    let challenge = BASE64URL.encode(SCENE.challenge.as_bytes());
    assert_eq!(said["challenge"], challenge.as_str());
    assert_eq!(said["origin"], "https://approve.example.com");
    assert_ne!(said["crossOrigin"], true);
    assert!(said.get("topOrigin").is_none());
    // Present and verified; not copyable, no credential, nothing reserved.
    assert_eq!(draft.flags & 0x7f, 0x05);
    let extensions = draft.flags & 0x80 != 0;
    assert_eq!(extensions, !draft.tail.is_empty());
}
