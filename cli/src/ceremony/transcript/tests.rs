use countersign_policy::bundle::Environment;
use countersign_policy::statement::TestSignature;
use countersign_policy::testing::{TestDeployment, key_id, member};
use countersign_policy::{Protocol, PublicKey, Signature};
use ed25519_dalek::{Signer as _, SigningKey};

use super::*;

/// Three nodes that all saw the same ceremony of an Ed25519 key, which is in truth held whole.
struct Scene {
    deployment: TestDeployment,
    order: Envelope,
    content: CeremonyTranscript,
}

impl Scene {
    fn new() -> Self {
        let deployment = TestDeployment::new(3, 2);
        let order = KeyCeremony {
            key: key_id("new"),
            protocol: Protocol::FrostEd25519,
            threshold: 2,
            max_faulty: 0,
            nodes: deployment.nodes(),
            purpose: "tests".to_owned(),
            environment: Environment::Test,
        };
        let envelope = deployment.ceremony(order.clone());
        let key = SigningKey::from_bytes(&[7; 32]);
        let sets = [["node-1", "node-2"], ["node-2", "node-3"]];
        let tests = sets.map(|set| {
            let signers: Vec<_> = set.iter().map(|id| member(id)).collect();
            let message = KeyCeremony::test_message(envelope.digest(), &order.key, &signers);
            let signature = Signature::Ed25519(key.sign(&message).to_bytes());
            TestSignature { signers, signature }
        });
        let content = CeremonyTranscript {
            ceremony: envelope.digest(),
            order,
            group_key: PublicKey::ed25519(key.verifying_key().to_bytes()).unwrap(),
            chain_code: None,
            tests: tests.to_vec(),
        };
        Self {
            deployment,
            order: envelope,
            content,
        }
    }

    fn transcript(&self, node: &str, content: &CeremonyTranscript) -> Envelope {
        self.deployment.sign(node, 600, content.clone())
    }

    fn all(&self) -> Vec<Envelope> {
        let nodes = ["node-1", "node-2", "node-3"];
        nodes
            .map(|node| self.transcript(node, &self.content))
            .to_vec()
    }

    fn verify(&self, transcripts: Vec<Envelope>) -> Outcome<MadeKey> {
        let active = self.deployment.bundle();
        let order = active.open_ceremony(&self.order).unwrap();
        MadeKey::verify(&active, &order, transcripts)
    }

    fn refuses(&self, transcripts: Vec<Envelope>, says: &str) {
        let refused = self.verify(transcripts).unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        assert!(refused.message.contains(says), "{refused}");
    }
}

#[test]
fn a_key_that_every_node_vouches_for_is_pinned_as_it_was_ordered() {
    let scene = Scene::new();
    let made = scene.verify(scene.all()).unwrap();
    assert_eq!(made.record.group_key, scene.content.group_key);
    assert_eq!(made.record.state, KeyState::Active);
    assert_eq!(
        made.record.transcript,
        scene.content.content_hash().unwrap()
    );
    assert_eq!(made.record.nodes, scene.deployment.nodes());
}

#[test]
fn a_node_that_is_missing_or_speaks_twice_is_no_complete_ceremony() {
    let scene = Scene::new();
    let mut two = scene.all();
    two.pop();
    scene.refuses(two.clone(), "node-3 does not vouch");
    two.push(scene.transcript("node-1", &scene.content));
    scene.refuses(two, "spoke twice");
    scene.refuses(Vec::new(), "does not vouch");
}

#[test]
fn a_group_key_of_the_coordinators_choice_is_refused() {
    let scene = Scene::new();
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
    let mut swapped = scene.content.clone();
    swapped.group_key = PublicKey::ed25519(other).unwrap();
    // One node says so: the nodes disagree.
    let mut transcripts = scene.all();
    transcripts[2] = scene.transcript("node-3", &swapped);
    scene.refuses(transcripts, "something else");
    // All nodes say so: their test signatures do not hold.
    let nodes = ["node-1", "node-2", "node-3"];
    let transcripts = nodes.map(|node| scene.transcript(node, &swapped)).to_vec();
    scene.refuses(transcripts, "does not hold");
    // Somebody else says so.
    let mut transcripts = scene.all();
    transcripts[0] = scene.transcript("author", &scene.content);
    scene.refuses(transcripts, "no role");
}

#[test]
fn a_transcript_of_another_order_is_refused() {
    let scene = Scene::new();
    let mut replayed = scene.content.clone();
    replayed.ceremony = Hash::sha256(b"yesterday");
    let mut transcripts = scene.all();
    transcripts[1] = scene.transcript("node-2", &replayed);
    scene.refuses(transcripts, "another order");
}
