//! What a coordinator asks the nodes of a cluster.

use countersign_policy::statement::{Authorization, Receipt, Verified};
use countersign_policy::testing::COORDINATOR;
use countersign_policy::{Envelope, Hash, MemberId, Signature};
use countersign_signer::clock::now;
use countersign_signer::net::CallError;
use countersign_signer::wire::{
    Abort, NodeStatus, Pools, Prepare, Prepared, Records, SessionEnded, SessionOutcome, Sign,
    Signed, Stop, Stopped, path,
};

use super::{CALL, Cluster};

impl Cluster {
    /// An authorization for a request, by the coordinator.
    pub fn authorize(
        &mut self,
        request: &Envelope,
        participants: &[MemberId],
        attempt: u32,
    ) -> Envelope {
        self.authorize_with(request, participants, attempt, |_| {})
    }

    /// The same with a change before it is signed.
    pub fn authorize_with(
        &mut self,
        request: &Envelope,
        participants: &[MemberId],
        attempt: u32,
        change: impl FnOnce(&mut Authorization),
    ) -> Envelope {
        self.deployment.set_now(now());
        let mut body =
            self.deployment
                .authorization_body(self.chain.active(), request, participants, attempt);
        change(&mut body);
        self.deployment.sign(COORDINATOR, 60, body)
    }

    /// `prepare` at one node.
    pub async fn prepare(
        &self,
        node: &MemberId,
        authorization: &Envelope,
        request: &Envelope,
    ) -> Result<Envelope, CallError> {
        let call = Prepare {
            authorization: authorization.clone(),
            request: request.clone(),
            approvals: Vec::new(),
        };
        let prepared: Prepared = self.clients[node]
            .post_json(path::PREPARE, &call, CALL)
            .await?;
        Ok(prepared.receipt)
    }

    /// `sign` at one node.
    pub async fn sign_at(
        &self,
        node: &MemberId,
        session: Hash,
        receipts: &[Envelope],
    ) -> Result<Vec<Signature>, CallError> {
        let call = Sign {
            session,
            receipts: receipts.to_vec(),
        };
        let signed: Signed = self.clients[node]
            .post_json(path::SIGN, &call, CALL)
            .await?;
        Ok(signed.signatures)
    }

    /// `stop` at one node.
    pub async fn stop(
        &self,
        node: &MemberId,
        request: &Envelope,
        cancel: &Envelope,
    ) -> Result<Envelope, CallError> {
        let call = Stop {
            request: request.clone(),
            cancel: cancel.clone(),
        };
        let stopped: Stopped = self.clients[node]
            .post_json(path::STOP, &call, CALL)
            .await?;
        Ok(stopped.ack)
    }

    /// `abort` at one node.
    pub async fn abort(
        &self,
        node: &MemberId,
        authorization: &Envelope,
        request: &Envelope,
    ) -> Result<SessionOutcome, CallError> {
        let call = Abort {
            authorization: authorization.clone(),
            request: request.clone(),
        };
        let ended: SessionEnded = self.clients[node]
            .post_json(path::ABORT, &call, CALL)
            .await?;
        Ok(ended.outcome)
    }

    /// Prepares at all participants, signs at all of them, and returns each one's answer.
    pub async fn sign(
        &self,
        authorization: &Envelope,
        request: &Envelope,
        participants: &[MemberId],
    ) -> Result<Vec<Result<Vec<Signature>, CallError>>, CallError> {
        let mut receipts = Vec::new();
        for node in participants {
            receipts.push(self.prepare(node, authorization, request).await?);
        }
        Ok(self.sign_with(&receipts, participants).await)
    }

    /// Hands the receipts to all participants at once.
    pub async fn sign_with(
        &self,
        receipts: &[Envelope],
        participants: &[MemberId],
    ) -> Vec<Result<Vec<Signature>, CallError>> {
        let receipt: Verified<Receipt> = self
            .active()
            .directory()
            .open(&receipts[0])
            .expect("a receipt");
        let session = receipt.body().terms.session;
        let mut calls = Vec::new();
        for node in participants {
            let (client, call) = (
                self.clients[node].clone(),
                Sign {
                    session,
                    receipts: receipts.to_vec(),
                },
            );
            calls.push(tokio::spawn(async move {
                let signed: Result<Signed, CallError> =
                    client.post_json(path::SIGN, &call, CALL).await;
                signed.map(|s| s.signatures)
            }));
        }
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.expect("the call ends"));
        }
        answers
    }

    /// The presignatures at one node.
    pub async fn pools(&self, node: &MemberId) -> Pools {
        self.clients[node]
            .get_json(path::POOLS, CALL)
            .await
            .expect("the pools")
    }

    /// The newest records of one node.
    pub async fn records(&self, node: &MemberId) -> Records {
        self.try_records(node).await.expect("the records")
    }

    /// The same, for a node whose store may refuse.
    pub async fn try_records(&self, node: &MemberId) -> Result<Records, CallError> {
        self.clients[node]
            .get_json(&format!("{}?limit=50", path::RECORDS), CALL)
            .await
    }

    /// What a node says about itself.
    pub async fn status(&self, node: &MemberId) -> NodeStatus {
        self.clients[node]
            .get_json(path::STATUS, CALL)
            .await
            .expect("a status")
    }
}
