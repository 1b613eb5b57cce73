//! Forks, gaps, rollbacks, and quorums that are none.

use crate::bundle::{
    ActiveBundle, BundleChain, ChainError, Environment, KeyState, MAX_BUNDLE_LIFE_SECONDS,
    PolicyBundle, Role,
};
use crate::statement::{Body, KeyCeremony, Kind, Statement, StatementError};
use crate::testing::{
    APPROVERS, AUTHOR, ECDSA_KEY, OPERATOR, PAYMENTS, SPARE_APPROVER, SingleKey, TestDeployment,
    key_id, member,
};
use crate::{Envelope, Hash, IdentityKey, Protocol, Timestamp};

fn deployment() -> TestDeployment {
    TestDeployment::with_single_keys(3, 2)
}

/// A genesis statement as the deployment would make it, after `edit`, signed by its issuer and `others`.
fn genesis(
    deployment: &TestDeployment,
    others: &[&str],
    edit: impl FnOnce(&mut Statement<PolicyBundle>),
) -> Result<BundleChain, ChainError> {
    let honest = deployment.genesis();
    let mut statement: Statement<PolicyBundle> = serde_json::from_slice(honest.payload()).unwrap();
    edit(&mut statement);
    let envelope = deployment.sign_by(&statement, others);
    BundleChain::from_genesis(&envelope, envelope.digest())
}

/// What the chain says to a successor with `edit` applied, signed by its issuer and `others`.
fn successor(
    deployment: &TestDeployment,
    others: &[&str],
    edit: impl FnOnce(&mut Statement<PolicyBundle>),
) -> Result<ActiveBundle, ChainError> {
    let chain = deployment.chain();
    let honest = deployment.successor(chain.active(), |_| ());
    let mut statement: Statement<PolicyBundle> = serde_json::from_slice(honest.payload()).unwrap();
    edit(&mut statement);
    let envelope = deployment.sign_by(&statement, others);
    chain.verify_successor(&envelope, deployment.now())
}

#[test]
fn another_genesis_than_the_pinned_one_is_refused() {
    let deployment = deployment();
    let pinned = Hash::sha256(b"what the configuration says");
    assert!(matches!(
        BundleChain::from_genesis(&deployment.genesis(), pinned),
        Err(ChainError::Genesis { found, pinned: p }) if found == deployment.genesis_hash() && p == pinned
    ));
}

#[test]
fn a_genesis_stands_on_its_own_quorum() {
    let deployment = deployment();
    assert!(genesis(&deployment, &APPROVERS, |_| ()).is_ok());
    assert!(matches!(
        genesis(&deployment, &APPROVERS[..1], |_| ()),
        Err(ChainError::Quorum {
            found: 1,
            needed: 2
        })
    ));
    assert!(matches!(
        genesis(&deployment, &[], |_| ()),
        Err(ChainError::Quorum {
            found: 0,
            needed: 2
        })
    ));
    assert!(matches!(
        genesis(&deployment, &[APPROVERS[0], PAYMENTS], |_| ()),
        Err(ChainError::Approver(id)) if id == member(PAYMENTS)
    ));
    assert!(matches!(
        genesis(&deployment, &APPROVERS[1..], |s| s.issuer = member(APPROVERS[0])),
        Err(ChainError::Author(id)) if id == member(APPROVERS[0])
    ));
    assert!(matches!(
        genesis(&deployment, &APPROVERS, |s| s.genesis = Hash::sha256(b"x")),
        Err(ChainError::Statement(StatementError::Genesis { .. }))
    ));
    assert!(matches!(
        genesis(&deployment, &APPROVERS, |s| s.body.organisation.clear()),
        Err(ChainError::Content(_))
    ));
}

#[test]
fn a_chain_does_not_start_in_the_middle() {
    let deployment = deployment();
    let result = genesis(&deployment, &APPROVERS, |s| {
        s.body.version = 2;
        s.body.predecessor = Some(Hash::ZERO);
    });
    assert!(matches!(
        result,
        Err(ChainError::Version {
            found: 2,
            active: 0
        })
    ));
}

#[test]
fn only_the_first_version_has_no_predecessor() {
    let content = deployment().content().clone();
    for (version, predecessor, ok) in [
        (1, None, true),
        (2, Some(Hash::ZERO), true),
        (1, Some(Hash::ZERO), false),
        (2, None, false),
        (0, None, false),
        (0, Some(Hash::ZERO), false),
    ] {
        let bundle = PolicyBundle {
            version,
            predecessor,
            ..content.clone()
        };
        assert_eq!(bundle.check().is_ok(), ok, "{version} {predecessor:?}");
    }
}

#[test]
fn gaps_rollbacks_and_repetitions_are_refused() {
    let deployment = deployment();
    for version in [2, 3, 5, 1_000] {
        let result = successor(&deployment, &APPROVERS, |s| s.body.version = version);
        match version {
            2 => assert!(result.is_ok()),
            _ => assert!(
                matches!(result, Err(ChainError::Version { found, active: 1 }) if found == version)
            ),
        }
    }
    let mut chain = deployment.chain();
    let second = deployment.successor(chain.active(), |_| ());
    chain.append(&second, deployment.now()).unwrap();
    assert!(matches!(
        chain.append(&second, deployment.now()),
        Err(ChainError::Version {
            found: 2,
            active: 2
        })
    ));
    assert_eq!(chain.links().len(), 2);
    // The genesis is for no deployment in particular, so it cannot come again.
    assert!(matches!(
        chain.append(&deployment.genesis(), deployment.now()),
        Err(ChainError::Statement(StatementError::Genesis { .. }))
    ));
}

#[test]
fn a_fork_is_refused() {
    let deployment = deployment();
    assert!(matches!(
        successor(&deployment, &APPROVERS, |s| s.body.predecessor = Some(Hash::sha256(b"x"))),
        Err(ChainError::Fork { version: 2, active, .. }) if active == deployment.genesis_hash()
    ));
    // Two successors of one bundle, both with a quorum: the chain that took one refuses the other's line.
    let mut chain = deployment.chain();
    let one = deployment.successor(chain.active(), |c| c.organisation = "one".into());
    let other = deployment.successor(chain.active(), |c| c.organisation = "other".into());
    let mut others = chain.clone();
    others.append(&other, deployment.now()).unwrap();
    chain.append(&one, deployment.now()).unwrap();
    let third = deployment.successor(others.active(), |_| ());
    assert!(matches!(
        chain.append(&third, deployment.now()),
        Err(ChainError::Fork { version: 3, .. })
    ));
}

#[test]
fn the_author_does_not_count_as_an_approver() {
    let deployment = deployment();
    assert!(matches!(
        successor(&deployment, &[APPROVERS[0]], |_| ()),
        Err(ChainError::Quorum {
            found: 1,
            needed: 2
        })
    ));
    // Nor does an author whom the bundle under vote would make an approver: the predecessor's roles count.
    let result = successor(&deployment, &[APPROVERS[0]], |s| {
        for m in &mut s.body.members {
            if m.id == member(AUTHOR) {
                m.roles.insert(Role::PolicyApprover);
            }
        }
    });
    assert!(matches!(result, Err(ChainError::Quorum { found: 1, .. })));
}

#[test]
fn a_bundle_cannot_bring_its_own_voters() {
    let deployment = deployment();
    let mallory = IdentityKey::from_seed(&[0x66; 32]);
    let chain = deployment.chain();
    let honest = deployment.successor(chain.active(), |content| {
        for m in &mut content.members {
            if m.id == member(SPARE_APPROVER) {
                m.keys[0].public_key = mallory.public();
            }
        }
        content.quorums.policy = 1;
    });
    // One real approver and one whose key only the new bundle knows.
    let statement: Statement<PolicyBundle> = serde_json::from_slice(honest.payload()).unwrap();
    let mut envelope = deployment.sign_by(&statement, &APPROVERS[..1]);
    envelope.add_signature(SPARE_APPROVER, &mallory).unwrap();
    assert!(matches!(
        chain.verify_successor(&envelope, deployment.now()),
        Err(ChainError::Statement(StatementError::BadSignature(id))) if id == member(SPARE_APPROVER)
    ));
    // Its lower quorum does not count for itself either.
    let alone = deployment.sign_by(&statement, &APPROVERS[..1]);
    assert!(matches!(
        chain.verify_successor(&alone, deployment.now()),
        Err(ChainError::Quorum {
            found: 1,
            needed: 2
        })
    ));
}

#[test]
fn only_an_author_proposes_and_only_approvers_approve() {
    let deployment = deployment();
    assert!(matches!(
        successor(&deployment, &APPROVERS, |s| s.issuer = member(SPARE_APPROVER)),
        Err(ChainError::Author(id)) if id == member(SPARE_APPROVER)
    ));
    let with_operator = [APPROVERS[0], APPROVERS[1], OPERATOR];
    assert!(matches!(
        successor(&deployment, &with_operator, |_| ()),
        Err(ChainError::Approver(id)) if id == member(OPERATOR)
    ));
    let all = [APPROVERS[0], APPROVERS[1], SPARE_APPROVER];
    assert!(successor(&deployment, &all, |_| ()).is_ok());
}

#[test]
fn an_approvers_second_key_is_not_a_second_person() {
    let mut deployment = deployment();
    let second = IdentityKey::from_seed(&[0x42; 32]);
    for m in &mut deployment.content_mut().members {
        if m.id == member(APPROVERS[0]) {
            let mut key = m.keys[0].clone();
            key.public_key = second.public();
            m.keys.push(key);
        }
    }
    let chain = deployment.chain();
    let honest = deployment.successor(chain.active(), |_| ());
    let statement: Statement<PolicyBundle> = serde_json::from_slice(honest.payload()).unwrap();
    let mut envelope = deployment.sign_by(&statement, &APPROVERS[..1]);
    envelope.add_signature(APPROVERS[0], &second).unwrap();
    assert!(matches!(
        chain.verify_successor(&envelope, deployment.now()),
        Err(ChainError::Statement(StatementError::UnexpectedSigner(id))) if id == APPROVERS[0]
    ));
}

#[test]
fn a_bundle_from_the_future_waits() {
    let deployment = deployment();
    let skew = deployment.content().timing.max_clock_skew_seconds;
    let shifted = |seconds: u64| {
        successor(&deployment, &APPROVERS, |s| {
            s.issued_at = deployment.now().plus_seconds(seconds);
            s.expires_at = s.issued_at.plus_seconds(60);
        })
    };
    assert!(shifted(skew).is_ok());
    assert!(matches!(
        shifted(skew + 1),
        Err(ChainError::NotYetIssued { .. })
    ));
}

#[test]
fn no_bundle_lives_for_ever() {
    let deployment = deployment();
    let lasting = |seconds: u64| {
        move |s: &mut Statement<PolicyBundle>| s.expires_at = s.issued_at.plus_seconds(seconds)
    };
    assert!(successor(&deployment, &APPROVERS, lasting(MAX_BUNDLE_LIFE_SECONDS)).is_ok());
    let longer = MAX_BUNDLE_LIFE_SECONDS + 1;
    assert!(matches!(
        successor(&deployment, &APPROVERS, lasting(longer)),
        Err(ChainError::Life)
    ));
    assert!(matches!(
        genesis(&deployment, &APPROVERS, lasting(u64::MAX)),
        Err(ChainError::Life)
    ));
}

#[test]
fn an_expired_bundle_can_be_reaffirmed() {
    let mut deployment = deployment();
    let mut chain = deployment.chain();
    let next = deployment.successor(chain.active(), |_| ());
    let statement: Statement<PolicyBundle> = serde_json::from_slice(next.payload()).unwrap();
    let later = chain.active().expires_at().plus_seconds(1);
    deployment.set_now(later);
    let reaffirmed = Statement {
        issued_at: later,
        expires_at: later.plus_seconds(60),
        ..statement
    };
    let envelope = deployment.sign_by(&reaffirmed, &APPROVERS);
    assert!(chain.append(&envelope, later).is_ok());
    assert!(chain.active().expires_at() > later);
}

#[test]
fn a_statement_key_never_passes_to_another_member() {
    let deployment = deployment();
    let mut chain = deployment.chain();
    let public_key = deployment.identity(PAYMENTS).public();
    let fresh = IdentityKey::from_seed(&[0x51; 32]).public();
    // First the payment service gets another key: that is a rotation, and fine.
    let rotated = deployment.successor(chain.active(), |content| {
        for m in &mut content.members {
            if m.id == member(PAYMENTS) {
                m.keys[0].public_key = fresh;
            }
        }
    });
    chain.append(&rotated, deployment.now()).unwrap();
    // Then the old one turns up as an approver's.
    let passed_on = deployment.successor(chain.active(), |content| {
        for m in &mut content.members {
            if m.id == member(SPARE_APPROVER) {
                m.keys[0].public_key = public_key;
            }
        }
    });
    assert!(matches!(
        chain.append(&passed_on, deployment.now()),
        Err(ChainError::MemberKey { public_key: k, before, now })
            if k == public_key && before == member(PAYMENTS) && now == member(SPARE_APPROVER)
    ));
    // Back to its owner it may go.
    let back = deployment.successor(chain.active(), |content| {
        for m in &mut content.members {
            if m.id == member(PAYMENTS) {
                m.keys[0].public_key = public_key;
            }
        }
    });
    assert!(chain.append(&back, deployment.now()).is_ok());
}

type KeyEdit = Box<dyn FnOnce(&mut crate::bundle::KeyRecord)>;

/// The first problem with a successor whose [`ECDSA_KEY`] record is edited.
fn key_edit(edit: impl FnOnce(&mut crate::bundle::KeyRecord)) -> Result<ActiveBundle, ChainError> {
    successor(&deployment(), &APPROVERS, |s| {
        let id = key_id(ECDSA_KEY);
        edit(s.body.keys.iter_mut().find(|k| k.id == id).unwrap());
    })
}

#[test]
fn a_pinned_key_changes_nothing_but_its_state() {
    let other = SingleKey::Ecdsa {
        secret: [0x77; 32],
        chain_code: [0x22; 32],
    };
    let changes: [(&str, KeyEdit); 9] = [
        ("protocol", Box::new(|k| k.protocol = Protocol::Cggmp24)),
        ("threshold", Box::new(|k| k.threshold = 3)),
        ("max_faulty", Box::new(|k| k.max_faulty = 1)),
        ("nodes", Box::new(|k| drop(k.nodes.pop()))),
        ("purpose", Box::new(|k| k.purpose = "another".into())),
        (
            "environment",
            Box::new(|k| k.environment = Environment::Production),
        ),
        (
            "group_key",
            Box::new(move |k| k.group_key = other.public_key()),
        ),
        (
            "chain_code",
            Box::new(|k| k.chain_code = Some(crate::ChainCode([9; 32]))),
        ),
        ("transcript", Box::new(|k| k.transcript = Hash::ZERO)),
    ];
    for (field, change) in changes {
        assert!(
            matches!(key_edit(change), Err(ChainError::Key { key, .. }) if key == key_id(ECDSA_KEY)),
            "{field}"
        );
    }
    assert!(key_edit(|k| k.state = KeyState::Suspended).is_ok());
}

#[test]
fn a_key_is_never_left_out() {
    let result = successor(&deployment(), &APPROVERS, |s| {
        let id = key_id(ECDSA_KEY);
        s.body.keys.retain(|k| k.id != id);
        s.body.wallets.retain(|w| w.key != id);
        let wallets = s.body.wallets.clone();
        let rules = &mut s.body.rules;
        rules.retain(|r| wallets.iter().any(|w| w.id == r.wallet));
    });
    assert!(matches!(result, Err(ChainError::Key { what, .. }) if what.contains("left out")));
}

#[test]
fn states_of_a_key_only_go_forward() {
    use KeyState::{Active, Compromised, Deactivated, Destroyed, PreActive, Suspended};
    let all = [
        PreActive,
        Active,
        Suspended,
        Deactivated,
        Compromised,
        Destroyed,
    ];
    let mut table = String::from("from \\ to");
    for to in all {
        table += &format!(" {to:?}");
    }
    for from in all {
        table += &format!("\n{from:?}:");
        for to in all.into_iter().filter(|to| from.may_become(*to)) {
            table += &format!(" {to:?}");
        }
    }
    insta::assert_snapshot!(table, @r"
    from \ to PreActive Active Suspended Deactivated Compromised Destroyed
    PreActive: PreActive Active Suspended Deactivated Compromised Destroyed
    Active: Active Suspended Deactivated Compromised Destroyed
    Suspended: Active Suspended Deactivated Compromised Destroyed
    Deactivated: Deactivated Compromised Destroyed
    Compromised: Compromised Destroyed
    Destroyed: Destroyed
    ");
    let mut deployment = deployment();
    deployment.content_mut().keys[0].state = Compromised;
    let id = deployment.content().keys[0].id.clone();
    let chain = deployment.chain();
    let revived = deployment.successor(chain.active(), |c| c.keys[0].state = Active);
    assert!(matches!(
        chain.verify_successor(&revived, deployment.now()),
        Err(ChainError::Key { key, .. }) if key == id
    ));
}

#[test]
fn a_node_that_is_gone_keeps_no_ended_key_alive() {
    let mut deployment = deployment();
    for key in &mut deployment.content_mut().keys {
        key.state = KeyState::Deactivated;
    }
    let chain = deployment.chain();
    let without = deployment.successor(chain.active(), |content| {
        content.members.retain(|m| m.id != member("node-3"));
    });
    assert!(chain.verify_successor(&without, deployment.now()).is_ok());
}

fn order() -> KeyCeremony {
    KeyCeremony {
        key: key_id("new"),
        protocol: Protocol::FrostEd25519,
        threshold: 2,
        max_faulty: 0,
        nodes: ["node-1", "node-2", "node-3"].map(member).to_vec(),
        purpose: "new".into(),
        environment: Environment::Test,
    }
}

#[test]
fn ceremonies_need_their_quorum_and_a_key_that_can_be_pinned() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    let statement = |order: KeyCeremony| deployment.statement(AUTHOR, "c", 60, order);
    let open = |envelope: &Envelope| bundle.open_ceremony(envelope);
    let good = deployment.sign_by(&statement(order()), &APPROVERS);
    assert_eq!(open(&good).unwrap().body(), &order());
    let alone = deployment.sign_by(&statement(order()), &[]);
    assert!(matches!(
        open(&alone),
        Err(ChainError::Quorum {
            found: 0,
            needed: 2
        })
    ));
    let by_payments = deployment.sign_by(&statement(order()), &[APPROVERS[0], PAYMENTS]);
    assert!(matches!(open(&by_payments), Err(ChainError::Approver(_))));
    let again = KeyCeremony {
        key: key_id(ECDSA_KEY),
        ..order()
    };
    assert!(matches!(
        open(&deployment.sign_by(&statement(again), &APPROVERS)),
        Err(ChainError::Key { key, .. }) if key == key_id(ECDSA_KEY)
    ));
    let stranger = KeyCeremony {
        nodes: ["coordinator-1", "node-1", "node-2"].map(member).to_vec(),
        ..order()
    };
    assert!(matches!(
        open(&deployment.sign_by(&statement(stranger), &APPROVERS)),
        Err(ChainError::Ceremony { what, .. }) if what.contains("coordinator-1 is no member with the role node")
    ));
}

#[test]
fn a_ceremony_among_nodes_of_one_administrator_is_refused_before_it_starts() {
    let mut deployment = deployment();
    // The keys would not validate either; the ceremony is to be refused on its own.
    let content = deployment.content_mut();
    content.keys.clear();
    content.wallets.clear();
    content.rules.clear();
    for (m, name) in content
        .members
        .iter_mut()
        .filter(|m| m.domains.is_some())
        .zip(["AWS", "aws", "c"])
    {
        m.domains.as_mut().unwrap().hosting = name.into();
    }
    let bundle = deployment.bundle();
    let statement = deployment.statement(AUTHOR, "c", 60, order());
    assert!(matches!(
        bundle.open_ceremony(&deployment.sign_by(&statement, &APPROVERS)),
        Err(ChainError::Ceremony { what, .. }) if what.contains("2 nodes share the hosting domain \"aws\"")
    ));
}

#[test]
fn a_bundle_is_opened_as_nothing_else() {
    let deployment = deployment();
    let chain = deployment.chain();
    let request = deployment.usdt_request("p", 1);
    assert!(matches!(
        chain.verify_successor(&request, deployment.now()),
        Err(ChainError::Statement(StatementError::PayloadType { found, .. }))
            if found == Kind::SignRequest.payload_type()
    ));
}

#[test]
fn stop_quorums_follow_the_design() {
    // n - t + 1 + f
    for (n, t, f, expected) in [
        (3, 2, 0, 2),
        (3, 2, 1, 3),
        (5, 3, 0, 3),
        (5, 3, 1, 4),
        (5, 3, 2, 5),
    ] {
        let deployment = TestDeployment::new(n, t);
        let mut record = deployment.key_record("k", &SingleKey::ecdsa());
        record.max_faulty = f;
        assert_eq!(record.stop_quorum(), expected, "{n} {t} {f}");
    }
}

#[test]
fn lookups_find_what_is_there_and_nothing_else() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    assert!(bundle.has_role(&member(PAYMENTS), Role::PaymentService));
    assert!(!bundle.has_role(&member(PAYMENTS), Role::Node));
    assert!(!bundle.has_role(&member("nobody"), Role::Node));
    assert!(bundle.member(&member("nobody")).is_none());
    assert!(bundle.key(&key_id("nothing")).is_none());
    assert_eq!(bundle.skew_seconds(), 5);
    assert!(bundle.expires_at() > Timestamp::from_millis(0));
    assert_eq!(bundle.envelope().digest(), bundle.digest());
    assert_eq!(bundle.directory().genesis(), deployment.genesis_hash());
}
