//! What an attacker hands to a node besides sessions: stops, bundles, approvals, observations, aborts.

use std::time::{Duration, Instant};

use countersign_policy::bundle::PolicyBundle;
use countersign_policy::statement::{FreezeTarget, Statement, Verdict};
use countersign_policy::testing::{OFFICER, OTHER_OFFICERS};
use countersign_policy::{Envelope, Hash, IdentityKey, MemberId};
use countersign_signer::clock::now;
use countersign_signer::net::{CallError, EmergencyError};
use countersign_signer::wire::{
    ActivateBundle, BundleAck, EntriesKnown, Freezes, GiveStatement, Prepare, ProblemCode,
    PushEntries, StatementTaken, SubmitBundle, path,
};

use crate::arena::{Arena, CALL};

/// A refusal: the code, and words of the reason.
pub type Expected<'a> = (ProblemCode, &'a str);

/// The name of a path's operation in the records.
fn operation(at: &str) -> &'static str {
    match at {
        path::OBSERVATIONS => "observation",
        path::VETO => "veto",
        _ => "freeze",
    }
}

impl Arena {
    /// The nodes follow a successor of the active bundle.
    pub async fn policy(&mut self, edit: impl FnOnce(&mut PolicyBundle)) {
        let bundle = self.successor(edit);
        self.cluster.follow(bundle, Vec::new()).await;
    }

    /// A successor of the active bundle that the whole quorum signed.
    pub fn successor(&mut self, edit: impl FnOnce(&mut PolicyBundle)) -> Envelope {
        self.cluster.deployment.set_now(now());
        let active = self.cluster.active().clone();
        self.cluster.deployment.successor(&active, edit)
    }

    /// An officer's yes to a request under the active bundle.
    pub fn approval(&mut self, officer: &str, request: &Envelope) -> Envelope {
        self.word(officer, request, Verdict::Approve)
    }

    /// An officer's no.
    pub fn rejection(&mut self, officer: &str, request: &Envelope) -> Envelope {
        let reason = "never heard of it".to_owned();
        self.word(officer, request, Verdict::Reject { reason })
    }

    fn word(&mut self, officer: &str, request: &Envelope, verdict: Verdict) -> Envelope {
        self.cluster.deployment.set_now(now());
        let active = self.cluster.active();
        let deployment = &self.cluster.deployment;
        deployment.approval_under(active, officer, request, verdict)
    }

    /// A prepare call whose authorization names the approvals sent along.
    pub fn approved(&mut self, request: &Envelope, approvals: &[Envelope]) -> Prepare {
        let named = approvals.to_vec();
        let authorization = self.authorize_with(request, |a| {
            a.approvals = named.iter().map(Envelope::digest).collect();
        });
        Prepare {
            authorization,
            request: request.clone(),
            approvals: named,
        }
    }

    /// A payment with these approvals is refused by node 1.
    pub async fn approvals_are_refused(
        &mut self,
        attack: &str,
        (request, approvals): (&Envelope, &[Envelope]),
        expected: Expected<'_>,
    ) {
        let call = self.approved(request, approvals);
        let node = self.node(1);
        self.prepare_at_is_refused(attack, &node, &call, expected)
            .await;
    }

    /// Gives a statement to a node as the coordinator.
    pub async fn give(
        &self,
        node: &MemberId,
        at: &str,
        statement: &Envelope,
    ) -> Result<StatementTaken, CallError> {
        let call = GiveStatement {
            statement: statement.clone(),
        };
        self.cluster.client(node).post_json(at, &call, CALL).await
    }

    /// Gives a statement to the emergency port of a node, as anybody can.
    pub async fn give_openly(
        &self,
        node: &MemberId,
        at: &str,
        statement: &Envelope,
    ) -> Result<StatementTaken, EmergencyError> {
        let call = GiveStatement {
            statement: statement.clone(),
        };
        self.cluster.emergency(node).post_json(at, &call).await
    }

    /// A statement that node 1 does not take, and after which the same freezes are in force.
    pub async fn giving_is_refused(
        &mut self,
        attack: &str,
        (at, statement): (&str, &Envelope),
        expected: Expected<'_>,
    ) {
        let node = self.node(1);
        let before = self.freezes(&node).await.head;
        let answer = self.give(&node, at, statement).await;
        let subject = statement.digest().to_string();
        self.refused(attack, &node, (operation(at), &subject), answer, expected)
            .await;
        assert_eq!(self.freezes(&node).await.head, before, "{attack}");
    }

    /// The freezes in force at a node.
    pub async fn freezes(&self, node: &MemberId) -> Freezes {
        let client = self.cluster.client(node);
        client.get_json(path::FREEZES, CALL).await.unwrap()
    }

    /// An officer freezes something, and every node has heard of it.
    pub async fn freeze(&mut self, target: FreezeTarget) -> Hash {
        self.cluster.deployment.set_now(now());
        let freeze = self.cluster.deployment.freeze(OFFICER, target);
        let node = self.node(1);
        let taken = self.give(&node, path::FREEZE, &freeze).await.unwrap();
        self.wait_for_freezes(taken.freeze_head).await;
        freeze.digest()
    }

    /// A quorum ends it, at every node.
    pub async fn unfreeze(&mut self, freeze: Hash) {
        let unfreeze = self.unfreeze_by(&[OFFICER, OTHER_OFFICERS[0]], freeze);
        let node = self.node(1);
        let taken = self.give(&node, path::UNFREEZE, &unfreeze).await.unwrap();
        self.wait_for_freezes(taken.freeze_head).await;
    }

    /// An unfreeze of one freeze, issued by the first of these officers and signed by all.
    pub fn unfreeze_by(&mut self, officers: &[&str], freeze: Hash) -> Envelope {
        self.cluster.deployment.set_now(now());
        self.cluster.deployment.unfreeze(officers, &[freeze])
    }

    /// Waits until the same freezes are in force on all nodes.
    pub async fn wait_for_freezes(&self, head: Hash) {
        let until = Instant::now() + CALL;
        for node in self.cluster.members() {
            while self.freezes(&node).await.head != head {
                assert!(Instant::now() < until, "{node} does not hear of a freeze");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Waits until `listener` holds all that `teller` has in its ledger.
    pub async fn wait_until_told(&self, teller: &MemberId, listener: &MemberId) {
        let status = self.cluster.status(teller).await;
        let client = self.cluster.client_as(teller.as_str(), listener);
        let until = Instant::now() + CALL;
        loop {
            let nothing = PushEntries {
                entries: Vec::new(),
                known: 0,
                head: status.ledger_sequence,
                incarnation: status.incarnation,
            };
            let told: EntriesKnown = client
                .post_json(path::ENTRIES, &nothing, CALL)
                .await
                .unwrap();
            if told.known >= status.ledger_sequence {
                return;
            }
            assert!(
                Instant::now() < until,
                "{listener} has {} of the {} entries of {teller}",
                told.known,
                status.ledger_sequence
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every node holds what every other node has in its ledger.
    pub async fn wait_until_all_told(&self) {
        let nodes = self.cluster.members();
        for teller in &nodes {
            for listener in nodes.iter().filter(|n| *n != teller) {
                self.wait_until_told(teller, listener).await;
            }
        }
    }

    /// Proposes a bundle to a node.
    pub async fn propose(
        &self,
        node: &MemberId,
        bundle: &Envelope,
    ) -> Result<BundleAck, CallError> {
        let call = SubmitBundle {
            bundle: bundle.clone(),
            transcripts: Vec::new(),
        };
        let client = self.cluster.client(node);
        client.post_json(path::BUNDLES, &call, CALL).await
    }

    /// Node 1 does not stand behind a bundle, and follows the one that it followed.
    pub async fn proposal_is_refused(&mut self, attack: &str, bundle: &Envelope, words: &str) {
        let node = self.node(1);
        let answer = self.propose(&node, bundle).await;
        self.bundle_is_refused(attack, (bundle, answer), words)
            .await;
    }

    /// Node 1 does not follow a bundle on these acknowledgements.
    pub async fn activation_is_refused(
        &mut self,
        attack: &str,
        (bundle, acks): (&Envelope, &[Envelope]),
        words: &str,
    ) {
        let node = self.node(1);
        let call = ActivateBundle {
            bundle: bundle.clone(),
            transcripts: Vec::new(),
            acks: acks.to_vec(),
        };
        let client = self.cluster.client(&node);
        let answer: Result<BundleAck, CallError> =
            client.post_json(path::ACTIVATE, &call, CALL).await;
        self.bundle_is_refused(attack, (bundle, answer), words)
            .await;
    }

    async fn bundle_is_refused(
        &mut self,
        attack: &str,
        (bundle, answer): (&Envelope, Result<BundleAck, CallError>),
        words: &str,
    ) {
        let node = self.node(1);
        let subject = bundle.digest().to_string();
        let expected = (ProblemCode::Bundle, words);
        self.refused(attack, &node, ("bundle", &subject), answer, expected)
            .await;
        let after = self.cluster.status(&node).await.bundle;
        let followed = self.cluster.active().digest();
        assert_eq!(after, followed, "{attack}: the node follows another bundle");
    }

    /// A node that does not start, and says why.
    pub async fn start_is_refused(
        &mut self,
        attack: &str,
        node: &MemberId,
        (code, words): (&str, &str),
    ) {
        self.begins(attack);
        let refusal = self.cluster.try_start_node(node).await.unwrap_err();
        assert!(refusal.contains(words), "{attack}: {refusal}");
        let at = refusal.find(words).unwrap();
        let line = refusal[at..].lines().next().unwrap_or_default();
        self.ends(attack, &format!("{node} at its start"), code, line);
    }
}

/// The same payload, signed with any key under any name.
pub fn forged(envelope: &Envelope, keyid: &str, key: &IdentityKey) -> Envelope {
    let payload = envelope.payload().to_vec();
    Envelope::sign(envelope.payload_type(), payload, keyid, key)
}

/// A key that nobody gave anybody.
pub fn strangers_key() -> IdentityKey {
    IdentityKey::from_seed(&[9; 32])
}

/// A statement that the honest code signs as well, said at another time or for another deployment.
pub fn restated<B: countersign_policy::statement::Body>(
    arena: &Arena,
    envelope: &Envelope,
    change: impl FnOnce(&mut Statement<B>),
) -> Envelope {
    let mut statement: Statement<B> = serde_json::from_slice(envelope.payload()).unwrap();
    change(&mut statement);
    let key = arena.cluster.deployment.identity(statement.issuer.as_str());
    let signed = statement.sign(key).unwrap();
    assert_ne!(signed.digest(), envelope.digest(), "nothing was changed");
    signed
}
