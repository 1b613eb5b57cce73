//! Acknowledgements, delays, vetoes and forks, one by one.

use crate::bundle::{
    ActivationEvidence, BundleChain, ChainError, EvidenceError, Pending, Succession,
    SuccessionError,
};
use crate::statement::{AckStage, BundleAck};
use crate::testing::{APPROVERS, TestDeployment, member};
use crate::{Envelope, Hash, Timestamp};

pub(super) const DAY: u64 = 86_400;

/// A deployment whose policies wait a day, its chain, and two successors of its genesis.
pub(super) struct Scene {
    pub(super) deployment: TestDeployment,
    pub(super) chain: BundleChain,
    pub(super) a: Envelope,
    pub(super) b: Envelope,
}

impl Scene {
    pub(super) fn new(nodes: usize, threshold: u16, delay: u64) -> Self {
        Self::of(TestDeployment::with_single_keys(nodes, threshold), delay)
    }

    pub(super) fn of(mut deployment: TestDeployment, delay: u64) -> Self {
        deployment.content_mut().timing.activation_delay_seconds = delay;
        let chain = deployment.chain();
        let fork =
            |name: &str| deployment.successor(chain.active(), |c| c.organisation = name.to_owned());
        let (a, b) = (fork("A"), fork("B"));
        Self {
            deployment,
            chain,
            a,
            b,
        }
    }

    /// A successor that takes the place of these.
    pub(super) fn superseding(&self, forks: &[&Envelope]) -> Envelope {
        let mut digests: Vec<_> = forks.iter().map(|f| f.digest()).collect();
        digests.sort_unstable();
        self.deployment.successor(self.chain.active(), |c| {
            c.supersedes = digests;
            c.organisation = "C".to_owned();
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.deployment.now()
    }

    pub(super) fn later(&mut self, seconds: u64) {
        let now = self.now().plus_seconds(seconds);
        self.deployment.set_now(now);
    }

    pub(super) fn node(&self, id: &str) -> Succession {
        Succession::new(self.chain.active(), Some(member(id)))
    }

    pub(super) fn reader(&self) -> Succession {
        Succession::new(self.chain.active(), None)
    }

    /// The node acknowledges, and remembers its own acknowledgement.
    pub(super) fn acknowledge(
        &self,
        node: &mut Succession,
        id: &str,
        successor: &Envelope,
    ) -> Envelope {
        let body = node
            .acknowledge(&self.chain, successor, self.now())
            .unwrap();
        self.say(node, id, body)
    }

    pub(super) fn say(&self, node: &mut Succession, id: &str, body: BundleAck) -> Envelope {
        let ack = self.deployment.sign(id, DAY, body);
        node.take_ack(&ack, self.now()).unwrap();
        ack
    }

    pub(super) fn ack(&self, id: &str, successor: &Envelope, stage: AckStage) -> Envelope {
        self.deployment
            .ack(id, self.chain.active(), successor, stage)
    }

    /// These nodes say that they confirmed, and that they gave these up.
    pub(super) fn confirm(
        &self,
        to: &mut Succession,
        ids: &[&str],
        successor: &Envelope,
        given_up: &[Hash],
    ) {
        for id in ids {
            let body = BundleAck {
                bundle: successor.digest(),
                version: 2,
                predecessor: self.chain.active().digest(),
                stage: AckStage::Confirmed,
                replaces: given_up.to_vec(),
            };
            let ack = self.deployment.sign(id, DAY, body);
            to.take_ack(&ack, self.now()).unwrap();
        }
    }
}

#[test]
fn without_a_delay_a_successor_counts_as_soon_as_enough_nodes_confirmed_it() {
    let scene = Scene::new(3, 2, 0);
    let mut one = scene.node("node-1");
    let mut chain = scene.chain.clone();
    let ack = scene.acknowledge(&mut one, "node-1", &scene.a);
    let digest = scene.a.digest();
    assert_eq!(
        one.activatable(&digest, scene.now()).unwrap_err(),
        Pending::Quorum {
            stage: AckStage::Kept,
            have: 1,
            needed: 2,
            missing: [member("node-2"), member("node-3")].into()
        }
    );
    let mut two = scene.node("node-2");
    two.propose(&scene.chain, &scene.a, scene.now()).unwrap();
    two.take_ack(&ack, scene.now()).unwrap();
    one.take_ack(
        &scene.acknowledge(&mut two, "node-2", &scene.a),
        scene.now(),
    )
    .unwrap();
    for node in [&one, &two] {
        let proof = node.activatable(&digest, scene.now()).unwrap();
        assert_eq!(proof.successor().digest(), digest);
        assert_eq!(proof.evidence().acks.len(), 2);
    }
    let proof = one.activatable(&digest, scene.now()).unwrap();
    assert_eq!(chain.activate(proof.clone()).unwrap().digest(), digest);
    // The proof is of the past then.
    assert!(matches!(
        chain.activate(proof),
        Err(ChainError::Fork { active, .. }) if active == digest
    ));
    assert!(matches!(
        one.acknowledge(&chain, &scene.a, scene.now()),
        Err(SuccessionError::NotActive { active, .. }) if active == digest
    ));
}

#[test]
fn the_delay_counts_from_the_acknowledgement_that_completed_the_quorum() {
    let mut scene = Scene::new(3, 2, DAY);
    let start = scene.now();
    let (mut one, mut two) = (scene.node("node-1"), scene.node("node-2"));
    let digest = scene.a.digest();
    let first = scene.acknowledge(&mut one, "node-1", &scene.a);
    scene.later(100);
    let second = scene.acknowledge(&mut two, "node-2", &scene.a);
    two.take_ack(&first, scene.now()).unwrap();
    one.take_ack(&second, scene.now()).unwrap();
    let until = start.plus_seconds(100 + DAY);
    assert_eq!(
        one.activatable(&digest, scene.now()).unwrap_err(),
        Pending::Delay { until }
    );
    let standing = one.standing(&digest, scene.now()).unwrap();
    assert_eq!(standing.activates_at, Some(until));
    assert_eq!((standing.kept.len(), standing.confirmed.len()), (2, 0));
    assert_eq!(standing.waits_for, Some(Pending::Delay { until }));
    let early = Timestamp::from_millis(until.as_millis() - 1);
    assert_eq!(one.due(early), None);
    scene.later(DAY);
    let mine = one.due(scene.now()).unwrap();
    assert_eq!(mine.stage, AckStage::Confirmed);
    // Until it is taken, it is owed again.
    assert_eq!(one.due(scene.now()), Some(mine.clone()));
    scene.say(&mut one, "node-1", mine);
    assert_eq!(one.due(scene.now()), None);
    assert!(matches!(
        one.activatable(&digest, scene.now()).unwrap_err(),
        Pending::Quorum {
            stage: AckStage::Confirmed,
            have: 1,
            needed: 2,
            ..
        }
    ));
    let body = two.due(scene.now()).unwrap();
    let ack = scene.say(&mut two, "node-2", body);
    one.take_ack(&ack, scene.now()).unwrap();
    assert!(one.activatable(&digest, scene.now()).is_ok());
    assert_eq!(one.standing(&digest, scene.now()).unwrap().waits_for, None);
}

#[test]
fn a_node_that_was_away_follows_on_the_evidence() {
    let scene = Scene::new(3, 2, DAY);
    let mut away = scene.node("node-3");
    let mut reader = scene.reader();
    reader.propose(&scene.chain, &scene.a, scene.now()).unwrap();
    scene.confirm(&mut reader, &["node-1", "node-2"], &scene.a, &[]);
    let proof = reader.activatable(&scene.a.digest(), scene.now()).unwrap();
    let evidence = proof.evidence().clone();
    let json = serde_json::to_vec(&evidence).unwrap();
    assert_eq!(
        serde_json::from_slice::<ActivationEvidence>(&json).unwrap(),
        evidence
    );
    // Even when it heard of a veto that came too late, and of the successor's end.
    let veto = scene.deployment.veto(APPROVERS[0], &scene.a);
    away.take_veto(&veto, scene.now()).unwrap();
    let after = scene.now().plus_seconds(366 * DAY);
    let proof = away.take_evidence(&scene.chain, &evidence, after).unwrap();
    assert_eq!(proof.successor().digest(), scene.a.digest());
    let mut chain = scene.chain.clone();
    let active = chain.append_with_evidence(&evidence, scene.now()).unwrap();
    assert_eq!(active.digest(), scene.a.digest());
    let mut chain = scene.chain.clone();
    let mut less = evidence.clone();
    less.acks.pop();
    assert!(matches!(
        chain.append_with_evidence(&less, scene.now()),
        Err(EvidenceError::NotEnough(Pending::Quorum { .. }))
    ));
    less.acks.push(less.acks[0].clone());
    assert!(matches!(
        chain.append_with_evidence(&less, scene.now()),
        Err(EvidenceError::NotEnough(Pending::Quorum { have: 1, .. }))
    ));
    // Acknowledgements of another bundle, and of one that only keeps it.
    let mut other = evidence.clone();
    other.bundle = scene.b.clone();
    assert!(chain.append_with_evidence(&other, scene.now()).is_err());
    other = evidence;
    other.acks[1] = scene.ack("node-2", &scene.a, AckStage::Kept);
    assert!(chain.append_with_evidence(&other, scene.now()).is_err());
    assert_eq!(chain.links().len(), 1);
}

#[test]
fn a_node_stands_behind_one_successor_also_after_a_restart() {
    let scene = Scene::new(3, 2, 0);
    let mut one = scene.node("node-1");
    let ack = scene.acknowledge(&mut one, "node-1", &scene.a);
    // The same again is the same.
    assert!(one.acknowledge(&scene.chain, &scene.a, scene.now()).is_ok());
    // Not yet signed is promised as well.
    let mut hasty = scene.node("node-2");
    hasty
        .acknowledge(&scene.chain, &scene.a, scene.now())
        .unwrap();
    let mut again = scene.node("node-1");
    again.take_ack(&ack, scene.now()).unwrap();
    for node in [&mut one, &mut hasty, &mut again] {
        assert!(matches!(
            node.acknowledge(&scene.chain, &scene.b, scene.now()),
            Err(SuccessionError::Promised { earlier }) if earlier == scene.a.digest()
        ));
    }
    // Everything that one knows, told to another.
    let mut copy = scene.node("node-1");
    for envelope in one.statements() {
        let known = copy.propose(&scene.chain, &envelope, scene.now()).is_ok()
            || copy.take_ack(&envelope, scene.now()).is_ok();
        assert!(known);
    }
    assert_eq!(copy.acknowledged(), Some(scene.a.digest()));
}

#[test]
fn a_successor_that_names_both_forks_takes_their_place() {
    // Two against two: neither fork ever has the three that it needs.
    let scene = Scene::new(4, 3, 0);
    let ids = ["node-1", "node-2", "node-3", "node-4"];
    let mut nodes = ids.map(|id| scene.node(id));
    let mut said = Vec::new();
    for (i, id) in ids.iter().enumerate() {
        let fork = if i < 2 { &scene.a } else { &scene.b };
        said.push(scene.acknowledge(&mut nodes[i], id, fork));
    }
    let half = scene.superseding(&[&scene.a]);
    let c = scene.superseding(&[&scene.a, &scene.b]);
    assert!(matches!(
        nodes[2].acknowledge(&scene.chain, &half, scene.now()),
        Err(SuccessionError::Promised { earlier }) if earlier == scene.b.digest()
    ));
    for (i, id) in ids.iter().enumerate() {
        said.push(scene.acknowledge(&mut nodes[i], id, &c));
        assert_eq!(nodes[i].acknowledged(), Some(c.digest()));
    }
    for node in &mut nodes {
        for fork in [&scene.a, &scene.b] {
            node.propose(&scene.chain, fork, scene.now()).unwrap();
        }
        for ack in &said {
            node.take_ack(ack, scene.now()).unwrap();
        }
        let counts = |e: &Envelope| node.activatable(&e.digest(), scene.now()).is_ok();
        assert_eq!(
            [counts(&scene.a), counts(&scene.b), counts(&c)],
            [false, false, true]
        );
    }
    // Nobody goes back.
    assert!(matches!(
        nodes[0].acknowledge(&scene.chain, &scene.a, scene.now()),
        Err(SuccessionError::Promised { earlier }) if earlier == c.digest()
    ));
}

#[test]
fn a_replacement_waits_while_what_it_replaces_may_be_active_somewhere() {
    let scene = Scene::new(3, 2, 0);
    let c = scene.superseding(&[&scene.a]);
    let a = scene.a.digest();
    let mut reader = scene.reader();
    reader.propose(&scene.chain, &c, scene.now()).unwrap();
    // Node 1 confirmed A before; node 3, which nobody reaches, may have done so too, and follow it.
    scene.confirm(&mut reader, &["node-1"], &c, &[a]);
    scene.confirm(&mut reader, &["node-2"], &c, &[]);
    assert_eq!(
        reader.activatable(&c.digest(), scene.now()).unwrap_err(),
        Pending::Blocked {
            superseded: a,
            missing: [member("node-3")].into()
        }
    );
    // Where both have never confirmed A, it is out of reach.
    let mut free = scene.reader();
    free.propose(&scene.chain, &c, scene.now()).unwrap();
    scene.confirm(&mut free, &["node-1", "node-2"], &c, &[]);
    assert!(free.activatable(&c.digest(), scene.now()).is_ok());
    scene.confirm(&mut reader, &["node-3"], &c, &[]);
    assert!(reader.activatable(&c.digest(), scene.now()).is_ok());
    // A that enough nodes confirmed is followed, never replaced.
    let mut late = scene.reader();
    for successor in [&scene.a, &c] {
        late.propose(&scene.chain, successor, scene.now()).unwrap();
    }
    scene.confirm(&mut late, &["node-1", "node-2"], &scene.a, &[]);
    scene.confirm(&mut late, &["node-1", "node-2"], &c, &[a]);
    scene.confirm(&mut late, &["node-3"], &c, &[]);
    assert!(late.activatable(&a, scene.now()).is_ok());
    assert!(matches!(
        late.activatable(&c.digest(), scene.now()),
        Err(Pending::Blocked { .. })
    ));
}

#[test]
fn where_nodes_may_lie_who_confirmed_a_replacement_never_follows_what_it_gave_up() {
    let mut deployment = TestDeployment::with_single_keys(4, 3);
    deployment.set_max_faulty(1);
    let scene = Scene::of(deployment, 0);
    let c = scene.superseding(&[&scene.a]);
    let a = scene.a.digest();
    let mut four = scene.node("node-4");
    four.propose(&scene.chain, &scene.a, scene.now()).unwrap();
    scene.acknowledge(&mut four, "node-4", &c);
    scene.confirm(&mut four, &["node-1", "node-2", "node-3"], &scene.a, &[]);
    assert_eq!(
        four.activatable(&a, scene.now()).unwrap_err(),
        Pending::GivenUp { by: c.digest() }
    );
    scene.confirm(&mut four, &["node-1", "node-2"], &c, &[a]);
    assert!(matches!(
        four.activatable(&c.digest(), scene.now()),
        Err(Pending::Blocked { .. })
    ));
    // One of the three lied; with all behind the replacement nobody is left to follow A.
    scene.confirm(&mut four, &["node-3"], &c, &[]);
    assert!(four.activatable(&c.digest(), scene.now()).is_ok());
}

#[test]
fn a_veto_stops_a_successor_and_another_one_takes_its_place() {
    let mut scene = Scene::new(3, 2, DAY);
    let (mut one, mut two) = (scene.node("node-1"), scene.node("node-2"));
    let mut deaf = scene.node("node-3");
    let mut said = vec![
        scene.acknowledge(&mut one, "node-1", &scene.a),
        scene.acknowledge(&mut two, "node-2", &scene.a),
        scene.acknowledge(&mut deaf, "node-3", &scene.a),
    ];
    let veto = scene.deployment.veto(APPROVERS[0], &scene.a);
    for node in [&mut one, &mut two] {
        node.take_veto(&veto, scene.now()).unwrap();
        node.take_veto(&veto, scene.now()).unwrap();
        assert!(matches!(
            node.acknowledge(&scene.chain, &scene.a, scene.now()),
            Err(SuccessionError::Vetoed { by, .. }) if by == member(APPROVERS[0])
        ));
    }
    for node in [&mut one, &mut two, &mut deaf] {
        for ack in &said {
            node.take_ack(ack, scene.now()).unwrap();
        }
    }
    scene.later(DAY);
    let standing = one.standing(&scene.a.digest(), scene.now()).unwrap();
    assert_eq!(
        standing.vetoed_by.get(&member(APPROVERS[0])).unwrap(),
        "not what was agreed"
    );
    // The node from which the veto was kept cannot go on alone.
    let body = deaf.due(scene.now()).unwrap();
    said.push(scene.say(&mut deaf, "node-3", body));
    for node in [&mut one, &mut two, &mut deaf] {
        node.take_ack(&said[3], scene.now()).unwrap();
        assert!(node.activatable(&scene.a.digest(), scene.now()).is_err());
    }
    assert_eq!((one.due(scene.now()), two.due(scene.now())), (None, None));
    assert!(matches!(
        one.activatable(&scene.a.digest(), scene.now()),
        Err(Pending::Vetoed { .. })
    ));
    // The two that heard of it go on with another one, whatever becomes of the third.
    let c = scene.superseding(&[&scene.a]);
    let first = scene.acknowledge(&mut one, "node-1", &c);
    two.take_ack(&first, scene.now()).unwrap();
    let second = scene.acknowledge(&mut two, "node-2", &c);
    one.take_ack(&second, scene.now()).unwrap();
    scene.later(DAY);
    let body = one.due(scene.now()).unwrap();
    assert_eq!(body.replaces, []);
    let first = scene.say(&mut one, "node-1", body);
    let body = two.due(scene.now()).unwrap();
    scene.say(&mut two, "node-2", body);
    two.take_ack(&first, scene.now()).unwrap();
    assert!(two.activatable(&c.digest(), scene.now()).is_ok());
}

#[test]
fn several_keys_are_each_asked_for_their_own_nodes() {
    let mut deployment = TestDeployment::with_single_keys(5, 3);
    let nodes = deployment.nodes();
    for key in &mut deployment.content_mut().keys {
        // hot-ecdsa: nodes 1 to 3; hot-eddsa: nodes 3 to 5.
        let from = if key.protocol.is_secp256k1() { 0 } else { 2 };
        key.nodes = nodes[from..from + 3].to_vec();
        key.threshold = 2;
    }
    let scene = Scene::of(deployment, 0);
    let mut reader = scene.reader();
    let digest = reader.propose(&scene.chain, &scene.a, scene.now()).unwrap();
    scene.confirm(&mut reader, &["node-1", "node-2"], &scene.a, &[]);
    assert!(matches!(
        reader.activatable(&digest, scene.now()).unwrap_err(),
        Pending::Quorum { have: 0, needed: 2, missing, .. } if missing.len() == 3
    ));
    scene.confirm(&mut reader, &["node-4"], &scene.a, &[]);
    assert!(reader.activatable(&digest, scene.now()).is_err());
    scene.confirm(&mut reader, &["node-5"], &scene.a, &[]);
    assert!(reader.activatable(&digest, scene.now()).is_ok());
}

#[test]
fn two_quorums_always_share_a_node() {
    // n - t + 1 of 5 with t = 4 would be two nodes: two successors could have them.
    for (n, t, f, needed) in [
        (3, 2, 0, 2),
        (3, 2, 1, 3),
        (5, 4, 0, 3),
        (5, 3, 0, 3),
        (5, 3, 1, 4),
        (4, 3, 1, 3),
        (9, 6, 1, 6),
    ] {
        let mut deployment = TestDeployment::with_single_keys(n, t);
        deployment.set_max_faulty(f);
        let scene = Scene::of(deployment, 0);
        let mut reader = scene.reader();
        let digest = reader.propose(&scene.chain, &scene.a, scene.now()).unwrap();
        let standing = reader.standing(&digest, scene.now()).unwrap();
        assert_eq!(standing.needed[0].needed, needed, "{t} of {n}, {f} lie");
    }
}

#[test]
fn without_a_key_a_majority_of_all_nodes_decides() {
    let scene = Scene::of(TestDeployment::new(4, 3), 0);
    let mut reader = scene.reader();
    let digest = reader.propose(&scene.chain, &scene.a, scene.now()).unwrap();
    scene.confirm(&mut reader, &["node-1", "node-2"], &scene.a, &[]);
    assert!(reader.activatable(&digest, scene.now()).is_err());
    scene.confirm(&mut reader, &["node-4"], &scene.a, &[]);
    assert!(reader.activatable(&digest, scene.now()).is_ok());
    // The nodes of a key that ended are asked no more than others.
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    for key in &mut deployment.content_mut().keys {
        key.state = crate::bundle::KeyState::Destroyed;
    }
    let scene = Scene::of(deployment, 0);
    let mut reader = scene.reader();
    let digest = reader.propose(&scene.chain, &scene.a, scene.now()).unwrap();
    let standing = reader.standing(&digest, scene.now()).unwrap();
    assert!(matches!(&standing.needed[..], [q] if q.key.is_none() && q.needed == 2));
}
