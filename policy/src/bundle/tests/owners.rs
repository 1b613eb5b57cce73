//! Credentials stay with their member, through the whole chain.

use crate::IdentityPublicKey;
use crate::bundle::{ChainError, Credential, MemberKey, MemberKeyAlgorithm, PolicyBundle};
use crate::testing::{OFFICER, OTHER_OFFICERS, TestAuthenticator, TestDeployment, member};

fn give(content: &mut PolicyBundle, id: &str, credential: &Credential) {
    let found = content.members.iter_mut().find(|m| m.id == member(id));
    found.unwrap().credentials.push(credential.clone());
}

fn take_all(content: &mut PolicyBundle) {
    for m in &mut content.members {
        m.credentials.clear();
    }
}

#[test]
fn a_credential_never_passes_to_another_member() {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let device = TestAuthenticator::eddsa("device");
    deployment.add_credential(OFFICER, &device);
    let credential = device.credential();
    let mut chain = deployment.chain();
    let without = deployment.successor(chain.active(), take_all);
    chain.append(&without, deployment.now()).unwrap();
    let [second, third] = OTHER_OFFICERS;
    // Under another id, and whatever it is then said to be.
    let renamed = Credential {
        id: TestAuthenticator::eddsa("another").credential().id,
        ..credential.clone()
    };
    for passed in [&credential, &renamed] {
        let next = deployment.successor(chain.active(), |content| give(content, second, passed));
        assert!(matches!(
            chain.append(&next, deployment.now()),
            Err(ChainError::Credential { public_key, before, now })
                if public_key == credential.public_key
                    && before == member(OFFICER)
                    && now == member(second)
        ));
    }
    let public_key = credential.public_key.0.as_slice().try_into().unwrap();
    let public_key = IdentityPublicKey::from_bytes(public_key);
    let next = deployment.successor(chain.active(), |content| {
        let found = content.members.iter_mut().find(|m| m.id == member(third));
        found.unwrap().keys.push(MemberKey {
            algorithm: MemberKeyAlgorithm::Ed25519,
            public_key,
        });
    });
    assert!(matches!(
        chain.append(&next, deployment.now()),
        Err(ChainError::MemberKey { before, .. }) if before == member(OFFICER)
    ));
    // Back to its owner it may go.
    let back = deployment.successor(chain.active(), |content| {
        give(content, OFFICER, &credential)
    });
    chain.append(&back, deployment.now()).unwrap();
}
