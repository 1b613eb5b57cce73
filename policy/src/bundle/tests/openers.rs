//! Freezes by one, unfreezes and observations by several, and nobody else.

use crate::bundle::{MemberKey, MemberKeyAlgorithm, OpenError, Role};
use crate::statement::{
    Body, Fate, Freeze, FreezeTarget, Kind, Observation, StatementError, Unfreeze, Veto,
};
use crate::testing::{
    APPROVERS, AUTHOR, COORDINATOR, OBSERVER, OFFICER, OPERATOR, OTHER_OBSERVER, OTHER_OFFICERS,
    PAYMENTS, SPARE_APPROVER, TestDeployment, member, wallet_id,
};
use crate::{Envelope, Hash, IdentityKey, Network};

fn deployment() -> TestDeployment {
    TestDeployment::with_single_keys(3, 2)
}

fn freeze(target: FreezeTarget) -> Freeze {
    Freeze {
        target,
        reason: "alarm".to_owned(),
    }
}

fn unfreeze() -> Unfreeze {
    Unfreeze {
        freezes: vec![Hash::sha256(b"freeze")],
        reason: "over".to_owned(),
    }
}

fn observation() -> Observation {
    Observation {
        network: Network::ETHEREUM,
        digest: Hash::sha256(b"digest"),
        fate: Fate::Confirmed {
            transaction: "0x01".to_owned(),
            block: 1,
            depth: 64,
            used: None,
        },
    }
}

fn signed<B: Body>(deployment: &TestDeployment, body: B, signers: &[&str]) -> Envelope {
    let (issuer, others) = signers.split_first().unwrap();
    deployment.sign_by(&deployment.statement(issuer, "s", 60, body), others)
}

#[test]
fn one_officer_freezes_anything() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    for target in [
        FreezeTarget::Everything,
        FreezeTarget::Member {
            member: member(OTHER_OFFICERS[0]),
        },
    ] {
        let envelope = deployment.sign(OFFICER, 60, freeze(target));
        let opened = bundle.open_freeze(&envelope).unwrap();
        assert_eq!(opened.issuer(), &member(OFFICER));
    }
}

#[test]
fn a_node_freezes_a_payment_service_and_nothing_else() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    let open = |target| bundle.open_freeze(&deployment.sign("node-1", 60, freeze(target)));
    let named = |id: &str| FreezeTarget::Member { member: member(id) };
    open(named(PAYMENTS)).unwrap();
    let key = deployment.identity(PAYMENTS).public();
    for target in [
        FreezeTarget::Everything,
        FreezeTarget::Wallet {
            wallet: wallet_id("hot"),
        },
        FreezeTarget::MemberKey { public_key: key },
        named(OFFICER),
        named("node-2"),
        named(COORDINATOR),
        named("nobody"),
    ] {
        assert!(
            matches!(
                open(target.clone()),
                Err(OpenError::NodeFreeze { node, target: found })
                    if node == member("node-1") && found == target
            ),
            "{target:?}"
        );
    }
}

#[test]
fn nobody_else_freezes() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    for issuer in [
        PAYMENTS,
        COORDINATOR,
        OPERATOR,
        AUTHOR,
        APPROVERS[0],
        OBSERVER,
    ] {
        let envelope = deployment.sign(issuer, 60, freeze(FreezeTarget::Everything));
        assert!(matches!(
            bundle.open_freeze(&envelope),
            Err(OpenError::Statement(StatementError::Role { .. }))
        ));
    }
}

#[test]
fn an_unfreeze_takes_a_quorum_of_officers() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    let open = |signers: &[&str]| bundle.open_unfreeze(&signed(&deployment, unfreeze(), signers));
    let [second, third] = OTHER_OFFICERS;
    assert_eq!(open(&[OFFICER, second]).unwrap().signers().len(), 2);
    assert_eq!(open(&[OFFICER, second, third]).unwrap().signers().len(), 3);
    assert!(matches!(
        open(&[OFFICER]),
        Err(OpenError::Quorum {
            kind: Kind::Unfreeze,
            found: 1,
            needed: 2
        })
    ));
    assert!(matches!(
        open(&[OFFICER, OFFICER]),
        Err(OpenError::Statement(StatementError::UnexpectedSigner(_)))
    ));
    for other in [PAYMENTS, APPROVERS[0], OPERATOR, "node-1", COORDINATOR] {
        // Neither as one of the quorum, nor beside it, nor as the issuer.
        for signers in [
            &[OFFICER, other][..],
            &[OFFICER, second, other],
            &[other, OFFICER, second],
        ] {
            assert!(
                matches!(
                    open(signers),
                    Err(OpenError::Signer {
                        member: found,
                        kind: Kind::Unfreeze,
                        role: Role::SecurityOfficer
                    }) if found == member(other)
                ),
                "{signers:?}"
            );
        }
    }
}

#[test]
fn two_keys_of_one_officer_are_one_officer() {
    let mut deployment = deployment();
    let second = IdentityKey::from_seed(&[42; 32]);
    let officer = deployment
        .content_mut()
        .members
        .iter_mut()
        .find(|m| m.id == member(OFFICER))
        .unwrap();
    officer.keys.push(MemberKey {
        algorithm: MemberKeyAlgorithm::Ed25519,
        public_key: second.public(),
    });
    let bundle = deployment.bundle();
    let mut envelope = signed(&deployment, unfreeze(), &[OFFICER]);
    envelope.add_signature(OFFICER, &second).unwrap();
    assert!(matches!(
        bundle.open_unfreeze(&envelope),
        Err(OpenError::Statement(StatementError::UnexpectedSigner(id))) if id == OFFICER
    ));
}

#[test]
fn an_observation_takes_a_quorum_of_observers() {
    let mut deployment = deployment();
    let open = |deployment: &TestDeployment, signers: &[&str]| {
        let envelope = signed(deployment, observation(), signers);
        deployment.bundle().open_observation(&envelope)
    };
    open(&deployment, &[OBSERVER, OTHER_OBSERVER]).unwrap();
    assert!(matches!(
        open(&deployment, &[OBSERVER]),
        Err(OpenError::Quorum {
            kind: Kind::Observation,
            found: 1,
            needed: 2
        })
    ));
    for other in [PAYMENTS, OFFICER, "node-1"] {
        assert!(matches!(
            open(&deployment, &[OBSERVER, other]),
            Err(OpenError::Signer { member: found, .. }) if found == member(other)
        ));
    }
    // A bundle without a quorum for observations has no observers either: nobody's signature counts.
    let content = deployment.content_mut();
    content.quorums.observation = 0;
    content
        .members
        .retain(|m| !m.roles.contains(&Role::ChainObserver));
    assert!(matches!(
        open(&deployment, &[OBSERVER, OTHER_OBSERVER]),
        Err(OpenError::NoQuorum(Kind::Observation))
    ));
}

#[test]
fn approvers_veto_and_nobody_else() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    let veto = Veto {
        bundle: Hash::sha256(b"successor"),
        reason: "not agreed".to_owned(),
    };
    for approver in [APPROVERS[0], SPARE_APPROVER] {
        let envelope = deployment.sign(approver, 60, veto.clone());
        bundle.open_veto(&envelope).unwrap();
    }
    for other in [AUTHOR, OFFICER, OPERATOR, "node-1", PAYMENTS] {
        let envelope = deployment.sign(other, 60, veto.clone());
        assert!(matches!(
            bundle.open_veto(&envelope),
            Err(StatementError::Role { .. })
        ));
    }
}
