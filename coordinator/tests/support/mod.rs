//! A coordinator over real TLS with scripted nodes. The nodes run the signer's real gate (`gate::admit`) and keep a ledger
//! in memory; their keys are whole, so that signatures verify without a protocol. What is scripted is how they fail.

pub mod database;
pub mod succession;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_coordinator::{
    Answer, ApiKey, ApiSecret, Coordinator, CoordinatorConfig, Given, NodeApi, NodeError, Running,
    TimingConfig,
};
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{
    Cancel, Receipt, SessionTerms, SignRequest, StopAck, StopOutcome, Verdict,
};
use countersign_policy::testing::cold::cold_confirm;
use countersign_policy::testing::{
    APPROVERS, AUDITOR, AUTHOR, COORDINATOR, OBSERVER, OFFICER, OPERATOR, OTHER_COORDINATOR,
    OTHER_PAYMENTS, PAYMENTS, SingleKey, TestDeployment, member,
};
use countersign_policy::{Envelope, Facts, Hash, MemberId, Signature, Timestamp};
use countersign_signer::files::{write_identity_key, write_secret_file};
use countersign_signer::gate::admit;
use countersign_signer::net::{CertificateAuthority, CertificateRequest};
use countersign_signer::wire::{
    Abort, ActivateBundle, BundleAck, Bundles, CeremonyStatus, CeremonyStep, Freezes,
    GiveStatement, NodeStatus, Pools, Prepare, Prepared, ProblemCode, SessionEnded, SessionOutcome,
    Sign, Signed, StartCeremony, StatementTaken, Stop, Stopped, SubmitBundle,
};

use database::TestDatabase;
use succession::{Following, Said};

/// How a node fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing reaches it.
    Down,
    /// Prepare is not answered for so many milliseconds.
    SlowPrepare(u64),
    /// Sign is not answered for so many milliseconds.
    SlowSign(u64),
    /// It signs, and the answer is lost.
    LostSign,
    /// Its receipt is for other terms.
    WrongReceipt,
    /// Its signature is wrong.
    WrongSignature,
    /// It answers sign with a problem that names this culprit.
    Blames(MemberId),
    /// It refuses prepare with this code.
    Refuses(ProblemCode),
    /// It refuses prepare because a limit would be passed.
    OverLimit,
    /// It does not answer aborts.
    DeafToAborts,
    /// It does not answer stops.
    DeafToStops,
    /// It does not take bundles.
    RefusesBundles,
}

#[derive(Default)]
struct Node {
    fault: Option<Fault>,
    sessions: HashMap<Hash, (SessionTerms, SignRequest, bool)>,
    stopped: BTreeSet<Hash>,
    aborted: BTreeSet<Hash>,
    prepares: usize,
}

/// The scripted nodes.
pub struct Nodes {
    deployment: TestDeployment,
    following: Mutex<BTreeMap<MemberId, Following>>,
    said: Said,
    silent: Mutex<bool>,
    nodes: Mutex<BTreeMap<MemberId, Node>>,
    pub signatures: Mutex<Vec<(Hash, Hash)>>,
}

/// The limit that [`Fault::OverLimit`] is about.
pub fn over_limit() -> countersign_policy::limits::LimitHit {
    countersign_policy::limits::LimitHit {
        limit: countersign_policy::LimitId::new(countersign_policy::testing::USDT_LIMIT).unwrap(),
        max: countersign_policy::Amount::from(777_777_u64),
        used: countersign_policy::Amount::from(555_555_u64),
        requested: countersign_policy::Amount::from(333_333_u64),
        resets_at: Some(Timestamp::from_millis(1_999_999_999_000)),
    }
}

pub struct ScriptedNodes(pub Arc<Nodes>);

pub fn clock() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

impl Nodes {
    pub fn fault(&self, node: &str, fault: Option<Fault>) {
        self.nodes
            .lock()
            .unwrap()
            .entry(member(node))
            .or_default()
            .fault = fault;
    }

    pub fn prepares(&self) -> usize {
        self.nodes
            .lock()
            .unwrap()
            .values()
            .map(|n| n.prepares)
            .sum()
    }

    /// Whether nodes tell nobody which freezes they hold.
    pub fn keep_silent(&self, silent: bool) {
        *self.silent.lock().unwrap() = silent;
    }

    /// How many sessions were aborted, over all nodes.
    pub fn aborts(&self) -> usize {
        let nodes = self.nodes.lock().unwrap();
        nodes.values().map(|n| n.aborted.len()).sum()
    }

    /// Whether a node was given a statement.
    pub fn was_given(&self, node: &str, digest: Hash) -> bool {
        self.following.lock().unwrap()[&member(node)]
            .given
            .contains(&digest)
    }

    /// Gives a node a freeze behind the coordinator's back.
    pub fn freeze(&self, node: &str, statement: &Envelope) {
        let mut following = self.following.lock().unwrap();
        let policy = following.get_mut(&member(node)).unwrap();
        policy
            .take(&member(node), &self.said, Given::Freeze, statement)
            .unwrap();
    }

    /// Forgets its sessions, as a restart does; the ledger stays.
    pub fn restart(&self, node: &str) {
        self.nodes
            .lock()
            .unwrap()
            .get_mut(&member(node))
            .unwrap()
            .sessions
            .retain(|_, s| s.2);
    }

    fn fault_of(&self, node: &MemberId) -> Option<Fault> {
        self.nodes
            .lock()
            .unwrap()
            .entry(node.clone())
            .or_default()
            .fault
            .clone()
    }

    fn bundle(&self, node: &MemberId) -> ActiveBundle {
        self.following.lock().unwrap()[node].chain.active().clone()
    }

    fn prepare(&self, node: &MemberId, call: &Prepare) -> Result<Prepared, NodeError> {
        let problem = |p| NodeError::Problem(Box::new(p));
        let bundle = Arc::new(self.bundle(node));
        let freezes = self.following.lock().unwrap()[node].freezes.clone();
        let admitted = admit(&bundle, node, call, &freezes, clock()).map_err(problem)?;
        let mut terms = admitted.terms();
        let mut nodes = self.nodes.lock().unwrap();
        let state = nodes.entry(node.clone()).or_default();
        state.prepares += 1;
        if state.stopped.contains(&terms.request) {
            return Err(problem(ProblemCode::StoppedRequest.problem("stopped")));
        }
        // An older attempt that was not released is replaced.
        let (request, session) = (terms.request, terms.session);
        state
            .sessions
            .retain(|id, (t, _, released)| t.request != request || *released || *id == session);
        state.sessions.entry(session).or_insert((
            terms.clone(),
            admitted.request().body().clone(),
            false,
        ));
        if state.fault == Some(Fault::WrongReceipt) {
            terms.attempt += 1;
        }
        let receipt = Receipt {
            terms,
            ledger_sequence: 1,
            ledger_head: Hash::ZERO,
        };
        Ok(Prepared {
            receipt: self.deployment_sign(node, receipt),
        })
    }

    fn deployment_sign<B: countersign_policy::statement::Body>(
        &self,
        node: &MemberId,
        body: B,
    ) -> Envelope {
        self.deployment.sign(node.as_str(), 3600, body)
    }

    fn sign(&self, node: &MemberId, call: &Sign) -> Result<Signed, NodeError> {
        let problem = |code: ProblemCode| NodeError::Problem(Box::new(code.problem("scripted")));
        let mut nodes = self.nodes.lock().unwrap();
        let (terms, request, released) = nodes[node]
            .sessions
            .get(&call.session)
            .cloned()
            .ok_or_else(|| problem(ProblemCode::NotFound))?;
        assert_eq!(call.receipts.len(), terms.reservers().count());
        if !released {
            for participant in terms.reservers() {
                let peer = &nodes[participant];
                if peer.fault == Some(Fault::Down) {
                    return Err(problem(ProblemCode::Timeout));
                }
                if peer.stopped.contains(&terms.request) {
                    return Err(problem(ProblemCode::StoppedRequest));
                }
                if !peer.sessions.contains_key(&call.session) {
                    return Err(problem(ProblemCode::Aborted));
                }
            }
            for participant in &terms.participants {
                // A machine with no network was never asked.
                let state = nodes.get_mut(participant);
                if let Some(session) = state.and_then(|s| s.sessions.get_mut(&call.session)) {
                    session.2 = true;
                }
            }
        }
        drop(nodes);
        if terms.witnesses.contains(node) {
            let receipts = SessionTerms::receipts_hash(call.receipts.iter().map(Envelope::digest));
            let cleared = cold_confirm(&terms, receipts, self.bundle(node).digest());
            return Ok(Signed {
                signatures: Vec::new(),
                confirm: terms.offline.then(|| self.deployment_sign(node, cleared)),
            });
        }
        let facts = Facts::establish(&self.bundle(node), &request).unwrap();
        let key = if request.network == countersign_policy::Network::SOLANA {
            SingleKey::eddsa()
        } else {
            SingleKey::ecdsa()
        };
        let digest = Hash::from_bytes(*facts.transaction().digest().as_bytes());
        self.signatures
            .lock()
            .unwrap()
            .push((terms.request, digest));
        Ok(Signed {
            signatures: vec![key.sign(facts.transaction(), &request.path)],
            confirm: None,
        })
    }

    fn stop(&self, node: &MemberId, call: &Stop) -> Stopped {
        let bundle = self.bundle(node);
        let request = bundle
            .directory()
            .open::<SignRequest>(&call.request)
            .unwrap();
        // A cancel, or an officer's rejection.
        let (cancelled, cancel) = match bundle.directory().open::<Cancel>(&call.cancel) {
            Ok(cancel) => (cancel.body().request, cancel.digest()),
            Err(_) => {
                let rejection = bundle.open_approval(&call.cancel).unwrap();
                assert!(matches!(rejection.body().verdict, Verdict::Reject { .. }));
                (rejection.body().request, rejection.digest())
            }
        };
        assert_eq!(cancelled, request.digest());
        let mut nodes = self.nodes.lock().unwrap();
        let state = nodes.entry(node.clone()).or_default();
        let released = state
            .sessions
            .values()
            .any(|(t, _, r)| *r && t.request == request.digest());
        let outcome = if released {
            StopOutcome::Released
        } else {
            StopOutcome::Stopped
        };
        if !released {
            state.stopped.insert(request.digest());
        }
        drop(nodes);
        let ack = StopAck {
            request: request.digest(),
            cancel,
            outcome,
        };
        Stopped {
            ack: self.deployment_sign(node, ack),
        }
    }

    fn down<T>(&self, node: &MemberId) -> Result<(), Result<T, NodeError>> {
        if self.fault_of(node) == Some(Fault::Down) {
            return Err(Err(NodeError::Unreachable("scripted".to_owned())));
        }
        Ok(())
    }
}

fn now_or<T: Send + 'static>(value: Result<T, NodeError>) -> Answer<T> {
    Box::pin(std::future::ready(value))
}

impl NodeApi for ScriptedNodes {
    fn prepare(&self, node: &MemberId, call: Prepare) -> Answer<Prepared> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        let (nodes, node) = (Arc::clone(&self.0), node.clone());
        Box::pin(async move {
            match nodes.fault_of(&node) {
                Some(Fault::SlowPrepare(millis)) => {
                    tokio::time::sleep(Duration::from_millis(millis)).await
                }
                Some(Fault::OverLimit) => {
                    let hit = over_limit();
                    let mut problem = ProblemCode::Policy.problem(hit.to_string());
                    problem.reasons.push(countersign_policy::Reason::Limit(hit));
                    return Err(NodeError::Problem(Box::new(problem)));
                }
                Some(Fault::Refuses(code)) => {
                    let mut problem = code.problem("scripted");
                    if code == ProblemCode::Policy {
                        problem
                            .reasons
                            .push(countersign_policy::Reason::TransactionExpired);
                    }
                    return Err(NodeError::Problem(Box::new(problem)));
                }
                _ => {}
            }
            nodes.prepare(&node, &call)
        })
    }

    fn sign(&self, node: &MemberId, call: Sign) -> Answer<Signed> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        let (nodes, node) = (Arc::clone(&self.0), node.clone());
        Box::pin(async move {
            match nodes.fault_of(&node) {
                Some(Fault::SlowSign(millis)) => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    nodes.sign(&node, &call)
                }
                Some(Fault::LostSign) => {
                    nodes.sign(&node, &call)?;
                    Err(NodeError::Timeout)
                }
                Some(Fault::WrongSignature) => {
                    let mut signed = nodes.sign(&node, &call)?;
                    if let Some(Signature::Secp256k1 { r, .. }) = signed.signatures.first_mut() {
                        r[31] ^= 1;
                    }
                    Ok(signed)
                }
                Some(Fault::Blames(culprit)) => {
                    let mut problem = ProblemCode::Protocol.problem("scripted");
                    problem.culprits.push(culprit);
                    Err(NodeError::Problem(Box::new(problem)))
                }
                _ => nodes.sign(&node, &call),
            }
        })
    }

    fn stop(&self, node: &MemberId, call: Stop) -> Answer<Stopped> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        if self.0.fault_of(node) == Some(Fault::DeafToStops) {
            return now_or(Err(NodeError::Timeout));
        }
        now_or(Ok(self.0.stop(node, &call)))
    }

    fn abort(&self, node: &MemberId, call: Abort) -> Answer<SessionEnded> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        if self.0.fault_of(node) == Some(Fault::DeafToAborts) {
            return now_or(Err(NodeError::Timeout));
        }
        let session = SessionTerms::session_id(call.authorization.digest());
        let mut nodes = self.0.nodes.lock().unwrap();
        let state = nodes.entry(node.clone()).or_default();
        let released = state.sessions.get(&session).is_some_and(|s| s.2);
        let outcome = if released {
            SessionOutcome::Released
        } else {
            state.sessions.remove(&session);
            state.aborted.insert(session);
            SessionOutcome::Aborted
        };
        now_or(Ok(SessionEnded {
            node: node.clone(),
            session,
            outcome,
        }))
    }

    fn submit_bundle(&self, node: &MemberId, call: SubmitBundle) -> Answer<BundleAck> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        if self.0.fault_of(node) == Some(Fault::RefusesBundles) {
            return now_or(Err(NodeError::Problem(Box::new(
                ProblemCode::Bundle.problem("scripted"),
            ))));
        }
        let nodes = &self.0;
        let mut following = nodes.following.lock().unwrap();
        let policy = following.get_mut(node).unwrap();
        now_or(policy.propose(&nodes.deployment, node, &nodes.said, &call, clock()))
    }

    fn activate_bundle(&self, node: &MemberId, call: ActivateBundle) -> Answer<BundleAck> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        let mut following = self.0.following.lock().unwrap();
        let policy = following.get_mut(node).unwrap();
        now_or(policy.activate(node, &self.0.said, &call, clock()))
    }

    fn give(&self, node: &MemberId, what: Given, call: GiveStatement) -> Answer<StatementTaken> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        let mut following = self.0.following.lock().unwrap();
        let policy = following.get_mut(node).unwrap();
        now_or(policy.take(node, &self.0.said, what, &call.statement))
    }

    fn freezes(&self, node: &MemberId) -> Answer<Freezes> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        if *self.0.silent.lock().unwrap() {
            return now_or(Err(NodeError::Timeout));
        }
        let following = self.0.following.lock().unwrap();
        now_or(Ok(Freezes {
            head: following[node].freezes.head(),
            in_force: following[node].in_force(),
        }))
    }

    fn bundles(&self, node: &MemberId) -> Answer<Bundles> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        let following = self.0.following.lock().unwrap();
        let chain = &following[node].chain;
        let active = chain.active();
        now_or(Ok(Bundles {
            acks: Vec::new(),
            candidate: None,
            active: active.digest(),
            version: active.content().version,
            chain: chain.links().iter().map(|l| l.envelope().clone()).collect(),
        }))
    }

    fn start_ceremony(&self, node: &MemberId, call: StartCeremony) -> Answer<CeremonyStatus> {
        let order = self.0.bundle(node).open_ceremony(&call.order).unwrap();
        now_or(Ok(CeremonyStatus {
            ceremony: order.digest(),
            key: order.body().key.clone(),
            step: CeremonyStep::KeyGeneration,
            transcript: None,
        }))
    }

    fn ceremony_status(&self, node: &MemberId, ceremony: Hash) -> Answer<CeremonyStatus> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        now_or(Ok(CeremonyStatus {
            ceremony,
            key: countersign_policy::testing::key_id("new"),
            step: CeremonyStep::TestSignatures,
            transcript: None,
        }))
    }

    fn status(&self, node: &MemberId) -> Answer<NodeStatus> {
        if let Err(down) = self.0.down(node) {
            return now_or(down);
        }
        let bundle = self.0.bundle(node);
        now_or(Ok(NodeStatus {
            node: node.clone(),
            version: "test".to_owned(),
            now: clock(),
            genesis: bundle.directory().genesis(),
            bundle: bundle.digest(),
            bundle_version: bundle.content().version,
            ledger_sequence: 0,
            ledger_head: Hash::ZERO,
            keys: Vec::new(),
            peers: BTreeMap::new(),
            incarnation: 1,
            registered: true,
            freeze_head: self.0.following.lock().unwrap()[node].freezes.head(),
            background: BTreeMap::new(),
            figures: countersign_signer::wire::NodeFigures::default(),
        }))
    }

    fn pools(&self, _node: &MemberId) -> Answer<Pools> {
        now_or(Ok(Pools {
            process: countersign_policy::Hash::ZERO,
            pools: Vec::new(),
        }))
    }
}

/// A deployment, its nodes, and the files of its coordinators.
pub struct World {
    pub deployment: TestDeployment,
    pub nodes: Arc<Nodes>,
    pub authority_pem: String,
    folder: tempfile::TempDir,
    database_url: String,
}

/// Members with an API key.
pub const API_MEMBERS: [&str; 9] = [
    PAYMENTS,
    OTHER_PAYMENTS,
    AUDITOR,
    OFFICER,
    AUTHOR,
    APPROVERS[0],
    OPERATOR,
    OBSERVER,
    COORDINATOR,
];

/// A member's API key.
pub fn api_secret(name: &str) -> ApiSecret {
    let seed = Hash::derive("tests/api-key", &[name.as_bytes()]);
    ApiSecret::from_seed(seed.as_bytes())
}

impl World {
    pub fn new(database: &TestDatabase) -> Self {
        Self::with(database, |_| {})
    }

    /// A deployment whose genesis was changed.
    pub fn with(database: &TestDatabase, change: impl Fn(&mut TestDeployment)) -> Self {
        let at = clock();
        let make = || {
            let mut deployment = TestDeployment::at(3, 2, at);
            deployment.add_single_keys();
            change(&mut deployment);
            deployment
        };
        let (deployment, nodes_deployment) = (make(), make());
        let following = deployment
            .nodes()
            .into_iter()
            .map(|n| (n.clone(), Following::new(&n, deployment.chain())))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let authority = CertificateAuthority::create("test", clock(), 30).unwrap();
        std::fs::write(
            folder.path().join("genesis.json"),
            serde_json::to_vec(&deployment.genesis()).unwrap(),
        )
        .unwrap();
        std::fs::write(folder.path().join("ca.crt"), authority.certificate_pem()).unwrap();
        for coordinator in [COORDINATOR, OTHER_COORDINATOR] {
            let request = CertificateRequest {
                member: &member(coordinator),
                identity: deployment.identity(coordinator),
                genesis: deployment.genesis_hash(),
                names: &[],
                now: clock(),
                valid_days: 30,
            };
            let pair = authority.issue(&request).unwrap();
            let path = |end: &str| folder.path().join(format!("{coordinator}.{end}"));
            std::fs::write(path("crt"), &pair.cert_pem).unwrap();
            write_secret_file(&path("tls"), pair.key_pem.as_bytes()).unwrap();
            write_identity_key(&path("key"), deployment.identity(coordinator)).unwrap();
        }
        let nodes = Arc::new(Nodes {
            deployment: nodes_deployment,
            following: Mutex::new(following),
            said: Said::default(),
            silent: Mutex::default(),
            nodes: Mutex::default(),
            signatures: Mutex::default(),
        });
        Self {
            authority_pem: authority.certificate_pem().to_owned(),
            deployment,
            nodes,
            folder,
            database_url: database.url.clone(),
        }
    }

    pub fn config(&self, coordinator: &str) -> CoordinatorConfig {
        let file =
            |name: String| -> std::path::PathBuf { Path::new(self.folder.path()).join(name) };
        CoordinatorConfig {
            member: member(coordinator),
            identity_key_file: file(format!("{coordinator}.key")),
            listen: "127.0.0.1:0".parse().unwrap(),
            tls_certificate_file: file(format!("{coordinator}.crt")),
            tls_key_file: file(format!("{coordinator}.tls")),
            tls_ca_file: file("ca.crt".to_owned()),
            database_url: self.database_url.clone(),
            genesis_file: file("genesis.json".to_owned()),
            genesis_hash: self.deployment.genesis_hash(),
            nodes: self
                .deployment
                .nodes()
                .into_iter()
                .map(|n| (n, "https://127.0.0.1:1".to_owned()))
                .collect(),
            api_keys: API_MEMBERS
                .iter()
                .map(|name| ApiKey {
                    member: member(name),
                    public_key: api_secret(name).public(),
                })
                .collect(),
            timing: TimingConfig {
                lease_ms: 600,
                sweep_ms: 50,
                ..TimingConfig::default()
            },
            limits: Default::default(),
        }
    }

    pub async fn start(&self) -> Running {
        self.start_as(COORDINATOR).await
    }

    pub async fn start_as(&self, coordinator: &str) -> Running {
        let nodes = Arc::clone(&self.nodes);
        let connect =
            move |_: &_| -> Result<Arc<dyn NodeApi>, _> { Ok(Arc::new(ScriptedNodes(nodes))) };
        Coordinator::start_with(self.config(coordinator), connect)
            .await
            .unwrap()
    }

    /// A request with a short life.
    pub fn short_request(&self, external_id: &str, seconds: u64) -> Envelope {
        let transaction = countersign_policy::testing::transaction::usdt_erc20(
            &countersign_policy::testing::transaction::EXCHANGE,
            1_000_000,
            0,
        );
        let wallet = self.deployment.wallet(countersign_policy::testing::WALLET);
        let body = self.deployment.sign_request(
            external_id,
            wallet,
            &wallet.path,
            countersign_policy::Network::ETHEREUM,
            transaction,
        );
        let mut statement =
            self.deployment
                .statement(PAYMENTS, &format!("short-{external_id}"), 1, body);
        statement.issued_at = clock();
        statement.expires_at = statement.issued_at.plus_seconds(seconds);
        self.deployment.sign_by(&statement, &[])
    }
}
