//! Assertions on statements: which kinds take them, and what they are bound to.

use crate::statement::{
    Approval, Body, Cancel, CancelReason, Freeze, FreezeTarget, Kind, SignRequest, SignerKey,
    StatementError, Unfreeze, Verdict,
};
use crate::testing::{OFFICER, OTHER_OFFICERS, TestAuthenticator, TestDeployment, member};
use crate::webauthn::AssertionError;
use crate::{Envelope, Hash, SignatureBytes};

struct Scene {
    deployment: TestDeployment,
    key: TestAuthenticator,
}

fn scene() -> Scene {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let key = TestAuthenticator::es256("officer's key");
    deployment.add_credential(OFFICER, &key);
    deployment.add_credential(OTHER_OFFICERS[0], &TestAuthenticator::eddsa("second"));
    Scene { deployment, key }
}

fn freeze() -> Freeze {
    Freeze {
        target: FreezeTarget::Everything,
        reason: "alarm".to_owned(),
    }
}

#[test]
fn officers_approve_and_freeze_with_a_credential() {
    let Scene {
        deployment,
        mut key,
    } = scene();
    let bundle = deployment.bundle();
    let request = deployment.usdt_request("p-1", 1);
    let approval = deployment.approval_body(&bundle, &request, Verdict::Approve);
    let envelope = deployment.sign_with(OFFICER, 60, approval, &mut key);
    let opened = bundle.directory().open::<Approval>(&envelope).unwrap();
    let challenge = Envelope::challenge(envelope.payload_type(), envelope.payload());
    assert_eq!(challenge, opened.digest());
    let credential = SignerKey::Credential {
        id: key.credential().id,
        counter: 1,
    };
    assert_eq!(opened.key_of(&member(OFFICER)), Some(&credential));
    assert_eq!(opened.key_of(&member(OTHER_OFFICERS[0])), None);
    let envelope = deployment.sign_with(OFFICER, 60, freeze(), &mut key);
    bundle.directory().open::<Freeze>(&envelope).unwrap();
}

#[test]
fn an_unfreeze_takes_credentials_and_statement_keys_together() {
    let Scene { deployment, key: _ } = scene();
    let bundle = deployment.bundle();
    let unfreeze = Unfreeze {
        freezes: vec![Hash::sha256(b"freeze")],
        reason: "over".to_owned(),
    };
    let mut second = TestAuthenticator::eddsa("second");
    let mut envelope = deployment.sign(OFFICER, 60, unfreeze);
    let assertion = second.assert(&envelope.digest());
    envelope
        .add_assertion(OTHER_OFFICERS[0], assertion)
        .unwrap();
    let opened = bundle.open_unfreeze(&envelope).unwrap();
    assert_eq!(opened.signers().len(), 2);
    assert!(matches!(
        opened.key_of(&member(OFFICER)),
        Some(SignerKey::Statement(_))
    ));
    assert!(matches!(
        opened.key_of(&member(OTHER_OFFICERS[0])),
        Some(SignerKey::Credential { .. })
    ));
}

#[test]
fn only_what_people_say_in_a_browser_takes_an_assertion() {
    let takes = |kind: &Kind| kind.accepts_assertions();
    let kinds: Vec<_> = Kind::ALL.into_iter().filter(takes).collect();
    assert_eq!(kinds, [Kind::Approval, Kind::Freeze, Kind::Unfreeze]);
    let Scene {
        deployment,
        mut key,
    } = scene();
    let request = deployment.usdt_request("p-1", 1);
    let cancel = Cancel::new(request.digest(), CancelReason::Officer, "no");
    refused_kind(&deployment, cancel, &mut key);
    let body = deployment
        .bundle()
        .directory()
        .open::<SignRequest>(&request)
        .unwrap();
    refused_kind(&deployment, body.body().clone(), &mut key);
}

fn refused_kind<B: Body>(deployment: &TestDeployment, body: B, key: &mut TestAuthenticator) {
    let envelope = deployment.sign_with(OFFICER, 60, body, key);
    assert!(!B::KIND.is_quorum_signed());
    let error = match B::KIND {
        Kind::Cancel => open::<Cancel>(deployment, &envelope),
        _ => open::<SignRequest>(deployment, &envelope),
    };
    assert!(
        matches!(&error, StatementError::AssertionKind(kind) if *kind == B::KIND),
        "{error}"
    );
}

fn open<B: Body>(deployment: &TestDeployment, envelope: &Envelope) -> StatementError {
    let bundle = deployment.bundle();
    bundle.directory().open::<B>(envelope).unwrap_err()
}

#[test]
fn an_assertion_for_one_statement_is_none_for_another() {
    let Scene {
        deployment,
        mut key,
    } = scene();
    let first = deployment.sign_with(OFFICER, 60, freeze(), &mut key);
    let SignatureBytes::Assertion(assertion) = first.signatures()[0].sig.clone() else {
        panic!("an assertion");
    };
    let another = deployment.statement(OFFICER, "another", 60, freeze());
    let transplanted = another.assert(*assertion).unwrap();
    assert!(matches!(
        open::<Freeze>(&deployment, &transplanted),
        StatementError::Assertion {
            source: AssertionError::Challenge,
            ..
        }
    ));
}

#[test]
fn a_credential_speaks_for_its_member_alone() {
    let Scene {
        deployment,
        mut key,
    } = scene();
    // The officer's key under a colleague's name.
    let envelope = deployment.sign_with(OTHER_OFFICERS[0], 60, freeze(), &mut key);
    assert!(matches!(
        open::<Freeze>(&deployment, &envelope),
        StatementError::Assertion { member: found, source: AssertionError::UnknownCredential(id) }
            if found == member(OTHER_OFFICERS[0]) && id == key.credential().id
    ));
}

#[test]
fn a_bundle_without_webauthn_takes_no_assertion() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let mut key = TestAuthenticator::es256("officer's key");
    let envelope = deployment.sign_with(OFFICER, 60, freeze(), &mut key);
    assert!(matches!(
        open::<Freeze>(&deployment, &envelope),
        StatementError::Assertion {
            source: AssertionError::NoPolicy,
            ..
        }
    ));
}
