//! What scripted nodes do about bundles, freezes and vetoes: the real state machines, with what is said shared at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use countersign_coordinator::{Given, NodeError};
use countersign_policy::bundle::{ActivationEvidence, BundleChain, Succession};
use countersign_policy::testing::TestDeployment;
use countersign_policy::{Envelope, FreezeSet, Hash, MemberId, Timestamp};
use countersign_signer::wire::{
    ActivateBundle, BundleAck, Problem, ProblemCode, StatementTaken, SubmitBundle,
};

/// One node's policy.
pub struct Following {
    pub chain: BundleChain,
    pub freezes: FreezeSet,
    succession: Succession,
    /// Bundles that it acknowledged, with its statement.
    acks: BTreeMap<Hash, Envelope>,
    /// Digests of freezes, unfreezes, vetoes and observations that it was given.
    pub given: BTreeSet<Hash>,
    frozen: Vec<Envelope>,
}

/// What all nodes said about successors: it spreads between them at once.
#[derive(Default)]
pub struct Said(Mutex<(Vec<Envelope>, Vec<Envelope>)>);

fn refused(problem: Problem) -> NodeError {
    NodeError::Problem(Box::new(problem))
}

impl Following {
    pub fn new(node: &MemberId, chain: BundleChain) -> Self {
        Self {
            succession: Succession::new(chain.active(), Some(node.clone())),
            freezes: FreezeSet::default(),
            acks: BTreeMap::new(),
            given: BTreeSet::new(),
            frozen: Vec::new(),
            chain,
        }
    }

    /// The freezes in force, as they were given.
    pub fn in_force(&self) -> Vec<Envelope> {
        let in_force = self.frozen.iter();
        in_force
            .filter(|f| self.freezes.contains(&f.digest()))
            .cloned()
            .collect()
    }

    fn hear(&mut self, said: &Said, at: Timestamp) {
        let said = said.0.lock().unwrap();
        for ack in &said.0 {
            // What is about another bundle's successors is none of this node's.
            let _ = self.succession.take_ack(ack, at);
        }
        for veto in &said.1 {
            let _ = self.succession.take_veto(veto, at);
        }
    }

    fn answer(&self, node: &MemberId, bundle: Hash, version: u64) -> BundleAck {
        BundleAck {
            node: node.clone(),
            bundle,
            version,
            active: self.chain.links().iter().any(|l| l.digest() == bundle),
            ack: self.acks.get(&bundle).cloned(),
        }
    }

    pub fn propose(
        &mut self,
        deployment: &TestDeployment,
        node: &MemberId,
        said: &Said,
        call: &SubmitBundle,
        at: Timestamp,
    ) -> Result<BundleAck, NodeError> {
        let digest = call.bundle.digest();
        if let Some(link) = self.chain.links().iter().find(|l| l.digest() == digest) {
            return Ok(self.answer(node, digest, link.content().version));
        }
        self.hear(said, at);
        let acknowledged = self.succession.acknowledge(&self.chain, &call.bundle, at);
        let body = acknowledged.map_err(|e| refused(ProblemCode::Bundle.problem(e.to_string())))?;
        let version = body.version;
        if !self.acks.contains_key(&digest) {
            self.say(deployment, node, said, body, at);
        }
        if let Some(confirmed) = self.succession.due(at) {
            self.say(deployment, node, said, confirmed, at);
        }
        Ok(self.answer(node, digest, version))
    }

    fn say(
        &mut self,
        deployment: &TestDeployment,
        node: &MemberId,
        said: &Said,
        body: countersign_policy::statement::BundleAck,
        at: Timestamp,
    ) {
        let digest = body.bundle;
        let mut statement = deployment.statement(
            node.as_str(),
            &format!("ack-{:?}-{}", body.stage, &digest.to_hex()[..16]).to_lowercase(),
            3600,
            body,
        );
        statement.issued_at = at;
        statement.expires_at = at.plus_seconds(3600);
        let ack = deployment.sign_by(&statement, &[]);
        self.succession.take_ack(&ack, at).unwrap();
        said.0.lock().unwrap().0.push(ack.clone());
        self.acks.insert(digest, ack);
    }

    pub fn activate(
        &mut self,
        node: &MemberId,
        said: &Said,
        call: &ActivateBundle,
        at: Timestamp,
    ) -> Result<BundleAck, NodeError> {
        let digest = call.bundle.digest();
        if let Some(link) = self.chain.links().iter().find(|l| l.digest() == digest) {
            return Ok(self.answer(node, digest, link.content().version));
        }
        self.hear(said, at);
        let evidence = ActivationEvidence {
            bundle: call.bundle.clone(),
            acks: call.acks.clone(),
        };
        let proof = self.succession.take_evidence(&self.chain, &evidence, at);
        let proof = proof.map_err(|e| refused(ProblemCode::Bundle.problem(e.to_string())))?;
        self.chain.activate(proof).unwrap();
        self.succession = Succession::new(self.chain.active(), Some(node.clone()));
        let version = self.chain.active().content().version;
        Ok(self.answer(node, digest, version))
    }

    pub fn take(
        &mut self,
        node: &MemberId,
        said: &Said,
        what: Given,
        statement: &Envelope,
    ) -> Result<StatementTaken, NodeError> {
        let bundle = self.chain.active().clone();
        let statement_problem = |e: String| refused(ProblemCode::Statement.problem(e));
        match what {
            Given::Freeze => {
                let freeze = bundle.open_freeze(statement);
                self.freezes
                    .insert(&freeze.map_err(|e| statement_problem(e.to_string()))?);
                self.frozen.push(statement.clone());
            }
            Given::Unfreeze => {
                let unfreeze = bundle.open_unfreeze(statement);
                self.freezes
                    .end(&unfreeze.map_err(|e| statement_problem(e.to_string()))?);
            }
            Given::Veto => said.0.lock().unwrap().1.push(statement.clone()),
            Given::Observation => {
                bundle
                    .open_observation(statement)
                    .map_err(|e| statement_problem(e.to_string()))?;
            }
        }
        self.given.insert(statement.digest());
        Ok(StatementTaken {
            node: node.clone(),
            digest: statement.digest(),
            entry: None,
            freeze_head: self.freezes.head(),
        })
    }
}
