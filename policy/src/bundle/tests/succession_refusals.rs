//! What is refused about a successor, and by whom.

use super::succession::{DAY, Scene};
use crate::Hash;
use crate::bundle::{Pending, SuccessionError};
use crate::statement::{AckStage, BundleAck, StatementError};
use crate::testing::{APPROVERS, OFFICER, TestDeployment};

#[test]
fn what_is_no_successor_is_not_acknowledged() {
    let scene = Scene::new(3, 2, 0);
    let mut one = scene.node("node-1");
    let gap = scene
        .deployment
        .successor(scene.chain.active(), |c| c.version = 3);
    let fork = scene.deployment.successor(scene.chain.active(), |c| {
        c.predecessor = Some(Hash::sha256(b"elsewhere"));
    });
    let unsound = scene
        .deployment
        .successor(scene.chain.active(), |c| c.quorums.policy = 0);
    for (what, successor) in [
        ("gap", gap),
        ("fork", fork),
        ("unsound", unsound),
        ("rollback", scene.deployment.genesis()),
        ("no bundle", scene.deployment.usdt_request("payment-1", 1)),
    ] {
        let refused = one.acknowledge(&scene.chain, &successor, scene.now());
        assert!(matches!(refused, Err(SuccessionError::Chain(_))), "{what}");
    }
    for who in ["nobody", OFFICER] {
        assert!(matches!(
            scene
                .node(who)
                .acknowledge(&scene.chain, &scene.a, scene.now()),
            Err(SuccessionError::NotANode)
        ));
    }
    assert!(matches!(
        scene
            .reader()
            .acknowledge(&scene.chain, &scene.a, scene.now()),
        Err(SuccessionError::NotANode)
    ));
    assert_eq!(one.proposals().count(), 0);
}

#[test]
fn an_expired_successor_is_neither_acknowledged_nor_confirmed() {
    let scene = Scene::new(3, 2, DAY);
    let end = scene.now().plus_seconds(365 * DAY);
    let mut one = scene.node("node-1");
    assert!(matches!(
        one.acknowledge(&scene.chain, &scene.a, end),
        Err(SuccessionError::Expired { expires_at, .. }) if expires_at == end
    ));
    scene.acknowledge(&mut one, "node-1", &scene.a);
    one.take_ack(&scene.ack("node-2", &scene.a, AckStage::Kept), scene.now())
        .unwrap();
    assert_eq!(one.due(end), None);
    assert_eq!(
        one.activatable(&scene.a.digest(), end).unwrap_err(),
        Pending::Expired(end)
    );
}

#[test]
fn acknowledgements_and_vetoes_by_others_or_of_the_future_are_refused() {
    let mut scene = Scene::new(3, 2, 0);
    let mut reader = scene.reader();
    let early = scene.now();
    let ack = scene.ack(OFFICER, &scene.a, AckStage::Kept);
    assert!(matches!(
        reader.take_ack(&ack, early),
        Err(SuccessionError::Statement(StatementError::Role { .. }))
    ));
    let veto = scene.deployment.veto(OFFICER, &scene.a);
    assert!(matches!(
        reader.take_veto(&veto, early),
        Err(SuccessionError::Statement(StatementError::Role { .. }))
    ));
    let mut body = BundleAck {
        bundle: scene.a.digest(),
        version: 3,
        predecessor: scene.chain.active().digest(),
        stage: AckStage::Kept,
        replaces: Vec::new(),
    };
    let wrong = scene.deployment.sign("node-1", DAY, body.clone());
    assert!(matches!(
        reader.take_ack(&wrong, early),
        Err(SuccessionError::Mismatch { version: 3, .. })
    ));
    body.version = 2;
    body.predecessor = scene.a.digest();
    let wrong = scene.deployment.sign("node-1", DAY, body);
    assert!(matches!(
        reader.take_ack(&wrong, early),
        Err(SuccessionError::Mismatch { .. })
    ));
    // Five seconds is what clocks may differ.
    scene.later(6);
    let ack = scene.ack("node-1", &scene.a, AckStage::Kept);
    let veto = scene.deployment.veto(APPROVERS[0], &scene.a);
    for refused in [reader.take_ack(&ack, early), reader.take_veto(&veto, early)] {
        assert!(matches!(
            refused,
            Err(SuccessionError::Statement(
                StatementError::NotYetValid { .. }
            ))
        ));
    }
    assert!(reader.take_ack(&ack, early.plus_seconds(1)).is_ok());
    assert!(reader.take_veto(&veto, early.plus_seconds(1)).is_ok());
    assert_eq!(
        reader.activatable(&scene.a.digest(), early).unwrap_err(),
        Pending::Unknown(scene.a.digest())
    );
}

#[test]
fn nobody_fills_the_memory_with_successors_that_do_not_exist() {
    let scene = Scene::new(3, 2, 0);
    let mut reader = scene.reader();
    let (mut acks, mut vetoes) = (0, 0);
    for i in 0..100_u8 {
        let bundle = Hash::sha256(&[i]);
        let body = BundleAck {
            bundle,
            version: 2,
            predecessor: scene.chain.active().digest(),
            stage: AckStage::Kept,
            replaces: Vec::new(),
        };
        let ack = scene.deployment.sign("node-1", DAY, body);
        acks += usize::from(reader.take_ack(&ack, scene.now()).is_ok());
        let reason = "no".to_owned();
        let veto = crate::statement::Veto { bundle, reason };
        let veto = scene.deployment.sign(APPROVERS[0], DAY, veto);
        vetoes += usize::from(reader.take_veto(&veto, scene.now()).is_ok());
    }
    assert_eq!((acks, vetoes), (64, 64));
    // Others are heard still.
    assert!(
        reader
            .take_ack(&scene.ack("node-2", &scene.a, AckStage::Kept), scene.now())
            .is_ok()
    );
}

#[test]
fn a_liar_cannot_hurry_a_quorum_of_honest_nodes() {
    let mut deployment = TestDeployment::with_single_keys(4, 3);
    deployment.set_max_faulty(1);
    let mut scene = Scene::of(deployment, DAY);
    let mut reader = scene.reader();
    let digest = reader.propose(&scene.chain, &scene.a, scene.now()).unwrap();
    let backdated = scene.ack("node-4", &scene.a, AckStage::Kept);
    scene.later(1_000);
    for id in ["node-1", "node-2"] {
        let ack = scene.ack(id, &scene.a, AckStage::Kept);
        reader.take_ack(&ack, scene.now()).unwrap();
    }
    reader.take_ack(&backdated, scene.now()).unwrap();
    // Three are needed: the delay counts from when two honest ones kept it.
    let standing = reader.standing(&digest, scene.now()).unwrap();
    assert_eq!(standing.activates_at, Some(scene.now().plus_seconds(DAY)));
}
