//! A cluster under attack, and what every attack must end in.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use countersign_policy::statement::{
    Authorization, Body, Receipt, SessionTerms, SignRequest, Verified,
};
use countersign_policy::testing::transaction::{EXCHANGE, usdt_erc20};
use countersign_policy::testing::{COORDINATOR, PAYMENTS, WALLET, member};
use countersign_policy::{
    Envelope, ExternalId, Hash, IdentityKey, MemberId, Network, Protocol, Signature,
};
use countersign_signer::clock::now;
use countersign_signer::net::CallError;
use countersign_signer::node::ResourceConfig;
use countersign_signer::wire::{Prepare, Prepared, Problem, ProblemCode, path};
use countersign_tests::cluster::{Cluster, Place};

pub const CALL: Duration = Duration::from_secs(30);

/// How much of a refusal's words is printed.
const DETAIL: usize = 200;

/// The cluster, the attacks made on it so far, and a counter that makes every payment another one.
pub struct Arena {
    pub cluster: Cluster,
    pub payments: u64,
    attacks: usize,
    refused: usize,
    names: BTreeSet<String>,
}

impl Arena {
    /// Three nodes, two of which sign with a DKLs23 key.
    pub async fn with_dkls23() -> Self {
        let mut arena = Self::empty(3, 2).await;
        arena
            .cluster
            .make_key("hot-ecdsa", Protocol::Dkls23, 2)
            .await;
        arena
    }

    /// The same with other bounds of the nodes.
    pub async fn with_resources(resources: ResourceConfig) -> Self {
        let cluster = Cluster::start_with(3, 2, Place::Inside, resources).await;
        let mut arena = Self::over(cluster);
        arena
            .cluster
            .make_key("hot-ecdsa", Protocol::Dkls23, 2)
            .await;
        arena
    }

    /// Nodes without a key.
    pub async fn empty(nodes: usize, threshold: u16) -> Self {
        Self::at(Place::Inside, nodes, threshold).await
    }

    pub async fn at(place: Place, nodes: usize, threshold: u16) -> Self {
        Self::over(Cluster::start(nodes, threshold, place).await)
    }

    fn over(cluster: Cluster) -> Self {
        Self {
            cluster,
            payments: 0,
            attacks: 0,
            refused: 0,
            names: BTreeSet::new(),
        }
    }

    pub fn node(&self, number: usize) -> MemberId {
        member(&format!("node-{number}"))
    }

    pub fn pair(&self) -> Vec<MemberId> {
        vec![self.node(1), self.node(2)]
    }

    /// An honest request body: a USDT payment that policy allows, another one each time.
    pub fn payment_body(&mut self) -> SignRequest {
        self.payments += 1;
        let transaction = usdt_erc20(&EXCHANGE, 1_000_000, self.payments);
        self.body_of(transaction)
    }

    /// A request body for a transaction on Ethereum, its intent stated as decoded.
    pub fn body_of(&mut self, transaction: Vec<u8>) -> SignRequest {
        self.body_on(Network::ETHEREUM, transaction)
    }

    /// The same on another network.
    pub fn body_on(&mut self, network: Network, transaction: Vec<u8>) -> SignRequest {
        self.payments += 1;
        self.cluster.deployment.set_now(now());
        let active = self.cluster.active().clone();
        let wallet = active
            .content()
            .wallets
            .iter()
            .find(|w| w.id.as_str() == WALLET)
            .unwrap()
            .clone();
        let mut body =
            self.cluster
                .deployment
                .sign_request("x", &wallet, &wallet.path, network, transaction);
        body.external_id = ExternalId::new(format!("payment-{}", self.payments)).unwrap();
        body
    }

    /// An honest, signed payment.
    pub fn payment(&mut self) -> Envelope {
        let body = self.payment_body();
        self.signed(PAYMENTS, body)
    }

    pub fn signed<B: Body>(&mut self, issuer: &str, body: B) -> Envelope {
        self.cluster.deployment.set_now(now());
        self.cluster.deployment.sign(issuer, 600, body)
    }

    /// An authorization of `request` by nodes 1 and 2 whatever the request is: the digests are those of `like`, an honest
    /// request, so that nothing but the attack itself can be what is refused.
    pub fn authorize_like(&mut self, request: &Envelope, like: &Envelope) -> Envelope {
        let (digest, pair) = (request.digest(), self.pair());
        self.cluster
            .authorize_with(like, &pair, 1, |a| a.request = digest)
    }

    pub fn authorize(&mut self, request: &Envelope) -> Envelope {
        let pair = self.pair();
        self.cluster.authorize(request, &pair, 1)
    }

    pub fn authorize_with(
        &mut self,
        request: &Envelope,
        change: impl FnOnce(&mut Authorization),
    ) -> Envelope {
        let pair = self.pair();
        self.cluster.authorize_with(request, &pair, 1, change)
    }

    /// Prepares honestly at nodes 1 and 2.
    pub async fn session(&mut self) -> OpenSession {
        let request = self.payment();
        let authorization = self.authorize(&request);
        self.session_of(request, authorization).await
    }

    pub async fn session_of(&mut self, request: Envelope, authorization: Envelope) -> OpenSession {
        let call = Prepare {
            authorization,
            request,
            approvals: Vec::new(),
        };
        let pair = self.pair();
        self.session_by(call, &pair).await
    }

    /// Prepares at these nodes.
    pub async fn session_by(&mut self, call: Prepare, nodes: &[MemberId]) -> OpenSession {
        let mut receipts = Vec::new();
        for node in nodes {
            let client = self.cluster.client(node);
            let prepared: Result<Prepared, CallError> =
                client.post_json(path::PREPARE, &call, CALL).await;
            receipts.push(prepared.expect("an honest call is prepared").receipt);
        }
        OpenSession {
            id: session_id(&call.authorization),
            request: call.request,
            authorization: call.authorization,
            receipts,
        }
    }

    /// A receipt of a node as a liar with that node's statement key would sign it.
    pub fn receipt_changed(
        &mut self,
        receipt: &Envelope,
        issuer: &str,
        change: impl FnOnce(&mut Receipt),
    ) -> Envelope {
        let opened: Verified<Receipt> = self.cluster.active().directory().open(receipt).unwrap();
        let mut body = opened.body().clone();
        change(&mut body);
        self.signed(issuer, body)
    }

    /// `prepare` at node 1 is refused with `code` and a text that holds `words`; there is no session, and the node's
    /// records say why.
    pub async fn prepare_is_refused(
        &mut self,
        attack: &str,
        authorization: &Envelope,
        request: &Envelope,
        expected: (ProblemCode, &str),
    ) {
        let call = Prepare {
            authorization: authorization.clone(),
            request: request.clone(),
            approvals: Vec::new(),
        };
        let node = self.node(1);
        self.prepare_at_is_refused(attack, &node, &call, expected)
            .await;
    }

    pub async fn prepare_at_is_refused(
        &mut self,
        attack: &str,
        node: &MemberId,
        call: &Prepare,
        (code, words): (ProblemCode, &str),
    ) {
        let answer: Result<Prepared, CallError> = self
            .cluster
            .client(node)
            .post_json(path::PREPARE, call, CALL)
            .await;
        let subject = call.request.digest().to_string();
        self.refused(attack, node, ("prepare", &subject), answer, (code, words))
            .await;
        // Without a session no receipts, right or wrong, lead to a signature.
        let session = session_id(&call.authorization);
        let answer = self.cluster.sign_at(node, session, &[]).await;
        let problem = problem(attack, answer);
        assert_eq!(problem.code(), Some(ProblemCode::NotFound), "{attack}");
    }

    /// `sign` at `node` ends without a signature, for ever, and the node's records say why.
    pub async fn sign_is_refused(
        &mut self,
        attack: &str,
        node: &MemberId,
        (session, receipts): (Hash, &[Envelope]),
        expected: (ProblemCode, &str),
    ) -> Problem {
        let answer = self.cluster.sign_at(node, session, receipts).await;
        let subject = session.to_string();
        self.refused(attack, node, ("sign", &subject), answer, expected)
            .await
    }

    /// The answer is the expected problem and the newest matching record holds the same.
    pub async fn refused<T: std::fmt::Debug>(
        &mut self,
        attack: &str,
        node: &MemberId,
        (operation, subject): (&str, &str),
        answer: Result<T, CallError>,
        (code, words): (ProblemCode, &str),
    ) -> Problem {
        self.begins(attack);
        let problem = problem(attack, answer);
        assert_eq!(problem.code(), Some(code), "{attack}: {problem}");
        assert!(problem.detail.contains(words), "{attack}: {problem}");
        let records = self.cluster.records(node).await.records;
        let suffix = format!("/{}", code.code());
        let recorded = records.iter().any(|r| {
            r.operation == operation
                && r.subject == subject
                && r.outcome.ends_with(&suffix)
                && r.detail.contains(words)
        });
        assert!(recorded, "{attack}: not in the records of {node}");
        self.ends(attack, node.as_str(), code.code(), &problem.detail);
        problem
    }

    /// Another attack, which has a name of its own.
    pub fn begins(&mut self, attack: &str) {
        self.attacks += 1;
        let new = self.names.insert(attack.to_owned());
        assert!(new, "two attacks are called {attack:?}");
    }

    /// The attack that began last was refused: a line says by whom and why.
    pub fn ends(&mut self, attack: &str, by: &str, code: &str, detail: &str) {
        self.refused += 1;
        let detail: String = detail.chars().take(DETAIL).collect();
        println!("{attack} refused by {by}: {code}, {detail}");
    }

    /// The newest record of a node before an attack: see [`Arena::turned_away`].
    pub async fn mark(&self, node: &MemberId) -> u64 {
        let records = self.cluster.records(node).await.records;
        records.first().map_or(0, |r| r.sequence)
    }

    /// An attack that does not get past the transport (`ended` says so), and of which the node makes a record after `mark`.
    pub async fn turned_away(
        &mut self,
        attack: &str,
        (node, mark): (&MemberId, u64),
        (operation, subject): (&str, &str),
        ended: bool,
        (code, words): (ProblemCode, &str),
    ) {
        self.begins(attack);
        assert!(ended, "{attack} was not stopped by the transport of {node}");
        let suffix = format!("/{}", code.code());
        let until = Instant::now() + CALL;
        loop {
            let records = self.cluster.records(node).await.records;
            let recorded = records.iter().any(|r| {
                r.sequence > mark
                    && r.operation == operation
                    && r.subject == subject
                    && r.outcome.ends_with(&suffix)
                    && r.detail.contains(words)
            });
            if recorded {
                break;
            }
            let newest = &records[..records.len().min(3)];
            assert!(
                Instant::now() < until,
                "{attack}: not in the records of {node}: {newest:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let by = format!("{node} before it read anything");
        self.ends(attack, &by, code.code(), words);
    }

    /// An attack that is no mistake in itself: it is taken and changes nothing, as `what` says.
    pub fn answered(&mut self, attack: &str, by: &str, (what, ended): (&str, bool)) {
        self.begins(attack);
        assert!(ended, "{attack}: not so at {by}: {what}");
        self.ends(attack, by, "no effect", what);
    }

    /// An honest payment is signed still: what was refused was refused for the attack, and did no lasting harm.
    pub async fn an_honest_payment_is_signed(&mut self) {
        let session = self.session().await;
        let pair = self.pair();
        self.is_signed(&session, &pair).await;
    }

    /// A session ends with the signature at every participant.
    pub async fn is_signed(&mut self, session: &OpenSession, nodes: &[MemberId]) {
        for answer in self.cluster.sign_with(&session.receipts, nodes).await {
            let signatures: Vec<Signature> = answer.expect("an honest payment is signed");
            assert_eq!(signatures.len(), 1);
        }
    }

    pub fn finish(self) {
        println!("{} attacks, {} refused", self.attacks, self.refused);
        assert!(self.attacks > 0);
        assert_eq!(self.attacks, self.refused);
    }
}

/// Receipts of nodes 1 and 2, and what they are for.
pub struct OpenSession {
    pub id: Hash,
    pub request: Envelope,
    pub authorization: Envelope,
    pub receipts: Vec<Envelope>,
}

pub fn session_id(authorization: &Envelope) -> Hash {
    SessionTerms::session_id(authorization.digest())
}

/// The problem that a node answered with; an answer that is none fails the test: the attack succeeded.
pub fn problem<T: std::fmt::Debug>(attack: &str, answer: Result<T, CallError>) -> Problem {
    match answer {
        Err(CallError::Problem(problem)) => *problem,
        other => panic!("{attack}: answered with {other:?}"),
    }
}

/// The same envelope with another payload under the old signatures.
pub fn tampered(envelope: &Envelope, change: impl FnOnce(&str) -> String) -> Envelope {
    let key = IdentityKey::from_seed(&[7; 32]);
    let mut changed = serde_json::to_value(resigned(envelope, "nobody", &key, change)).unwrap();
    let before = serde_json::to_value(envelope).unwrap();
    changed["signatures"] = before["signatures"].clone();
    serde_json::from_value(changed).unwrap()
}

/// Another payload, signed with any key under any name: for statements that the honest code would not write.
pub fn resigned(
    envelope: &Envelope,
    keyid: &str,
    key: &IdentityKey,
    change: impl FnOnce(&str) -> String,
) -> Envelope {
    let before = std::str::from_utf8(envelope.payload()).unwrap();
    let after = change(before);
    assert_ne!(before, after, "the attack changes nothing");
    Envelope::sign(envelope.payload_type(), after.into_bytes(), keyid, key)
}

/// The same by the coordinator.
pub fn by_coordinator(
    arena: &Arena,
    envelope: &Envelope,
    change: impl FnOnce(&str) -> String,
) -> Envelope {
    let key = arena.cluster.deployment.identity(COORDINATOR);
    resigned(envelope, COORDINATOR, key, change)
}
