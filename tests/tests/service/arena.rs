//! A whole system, and a payment service that uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use countersign_coordinator::{NodeList, RequestView, StateName, TimingConfig, WalletList};
use countersign_policy::statement::{CancelReason, LedgerEntry, LedgerEvent, SignRequest};
use countersign_policy::testing::{AUDITOR, COORDINATOR, PAYMENTS, SOLANA_WALLET, WALLET, member};
use countersign_policy::{Envelope, Facts, Hash, MemberId, Protocol};
use countersign_signer::clock::now;
use countersign_tests::cluster::{Cluster, Place};
use countersign_tests::coordinators::{Coordinators, api_key};
use http::{Method, Request};
use sqlx::{Connection as _, SqliteConnection};

use crate::database::TestDatabase;
use crate::web::{self, Reply};

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Bounds that let faults show soon.
pub const TIMING: TimingConfig = TimingConfig {
    authorization_seconds: 60,
    prepare_timeout_ms: 2_000,
    sign_timeout_ms: 8_000,
    call_timeout_ms: 1_500,
    lease_ms: 1_500,
    sweep_ms: 100,
};

/// Three nodes with a DKLs23 and a FROST key, and coordinators before them.
pub struct Arena {
    pub cluster: Cluster,
    pub coordinators: Coordinators,
}

impl Arena {
    /// One coordinator.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::with(database, &[COORDINATOR], TIMING).await
    }

    /// Several, with other bounds.
    pub async fn with(database: &TestDatabase, members: &[&str], timing: TimingConfig) -> Self {
        let cluster = two_keys().await;
        Self::before(cluster, database, members, timing, &BTreeMap::new()).await
    }

    /// Coordinators before a cluster that exists, reaching some of its nodes elsewhere than they are.
    pub async fn before(
        cluster: Cluster,
        database: &TestDatabase,
        members: &[&str],
        timing: TimingConfig,
        urls: &BTreeMap<MemberId, String>,
    ) -> Self {
        let coordinators = Coordinators::new(&cluster, members, &database.url, timing, urls);
        let mut arena = Self {
            cluster,
            coordinators,
        };
        for name in members {
            arena.start_coordinator(name).await;
        }
        arena
    }

    /// Node 1, 2 or 3.
    pub fn node(&self, number: usize) -> MemberId {
        self.cluster.members()[number - 1].clone()
    }

    /// Starts a coordinator and waits until it knows the newest bundle and has heard every node that can answer.
    pub async fn start_coordinator(&mut self, name: &str) {
        self.boot(name).await;
        self.sees(name, &self.cluster.members()).await;
    }

    /// Starts a coordinator and waits until it knows both wallets.
    pub async fn boot(&mut self, name: &str) {
        self.coordinators.spawn(name);
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(reply) = self.try_get(name, AUDITOR, "/v1/wallets", 0).await
                && reply.status == 200
            {
                let list: WalletList = reply.json();
                if list.wallets.len() == 2 {
                    return;
                }
            }
            if let Some(end) = self.coordinators.ended(name) {
                panic!("{name} ended: {end}");
            }
            assert!(Instant::now() < until, "{}", self.coordinators.log(name));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a coordinator counts exactly these nodes as up.
    pub async fn sees(&self, name: &str, nodes: &[MemberId]) {
        let until = Instant::now() + PATIENCE;
        loop {
            let reply = self.try_get(name, AUDITOR, "/v1/nodes", 0).await.unwrap();
            let list: NodeList = reply.json();
            let up = list.nodes.iter().filter(|(_, view)| view.up);
            if up.map(|(node, _)| node).eq(nodes) {
                return;
            }
            assert!(Instant::now() < until, "{list:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn send(
        &self,
        name: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let address = self.coordinators.address(name);
        let request = request.body(body).unwrap();
        web::call(self.cluster.authority_pem(), address, true, request).await
    }

    /// Reads as a member, waiting for a final state if `wait` is not 0.
    pub async fn try_get(
        &self,
        name: &str,
        who: &str,
        path: &str,
        wait: u64,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let genesis = self.cluster.deployment.genesis_hash();
        let token = api_key(who).token(&member(who), genesis, now());
        let (token, wait) = (format!("Bearer {token}"), format!("wait={wait}"));
        let headers = [("authorization", token.as_str()), ("prefer", &wait)];
        self.send(name, Method::GET, path, &headers, Vec::new())
            .await
    }

    /// POSTs a request to the first coordinator.
    pub async fn post(&self, envelope: &Envelope, key: &str, wait: u64) -> Reply {
        self.try_post(COORDINATOR, envelope, key, wait)
            .await
            .unwrap()
    }

    /// POSTs a request to any coordinator, which may be killed meanwhile.
    pub async fn try_post(
        &self,
        name: &str,
        envelope: &Envelope,
        key: &str,
        wait: u64,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let prefer = format!("wait={wait}");
        let mut headers = vec![("idempotency-key", key)];
        if wait > 0 {
            headers.push(("prefer", &prefer));
        }
        let body = serde_json::to_vec(envelope).unwrap();
        self.send(name, Method::POST, "/v1/sign-requests", &headers, body)
            .await
    }

    /// Cancels as the initiator.
    pub async fn cancel(&mut self, request: &Envelope, wait: u64) -> Reply {
        self.cluster.deployment.set_now(now());
        let deployment = &self.cluster.deployment;
        let cancel = deployment.cancel(PAYMENTS, request, CancelReason::Initiator);
        let path = format!("/v1/sign-requests/{}/cancel", request.digest());
        let prefer = format!("wait={wait}");
        let body = serde_json::to_vec(&cancel).unwrap();
        let headers = [("prefer", prefer.as_str())];
        self.send(COORDINATOR, Method::POST, &path, &headers, body)
            .await
            .unwrap()
    }

    /// One request with its history, as a coordinator tells it.
    pub async fn read_at(&self, name: &str, request: &Envelope, wait: u64) -> RequestView {
        let path = format!("/v1/sign-requests/{}", request.digest());
        let reply = self.try_get(name, PAYMENTS, &path, wait).await.unwrap();
        reply.json()
    }

    /// The same at the first coordinator.
    pub async fn read(&self, request: &Envelope) -> RequestView {
        self.read_at(COORDINATOR, request, 0).await
    }

    /// Waits until the request looks as it should.
    pub async fn until(
        &self,
        request: &Envelope,
        what: &str,
        ready: impl Fn(&RequestView) -> bool,
    ) -> RequestView {
        let until = Instant::now() + PATIENCE;
        loop {
            let view = self.read(request).await;
            if ready(&view) {
                return view;
            }
            let log = self.coordinators.log(COORDINATOR);
            assert!(
                Instant::now() < until && !view.state.is_final(),
                "no {what}: {view:#?}\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the state.
    pub async fn reaches(&self, request: &Envelope, state: StateName) -> RequestView {
        let what = state.as_str();
        self.until(request, what, |view| view.state == state).await
    }

    /// Waits for a signature and verifies it against the pinned key and the request's own bytes.
    pub async fn is_signed(&self, request: &Envelope) -> RequestView {
        let view = self.reaches(request, StateName::Signed).await;
        self.holds(request, &view);
        view
    }

    /// The view's signature is one over the request's own bytes, by the key that the bundle pins.
    pub fn holds(&self, request: &Envelope, view: &RequestView) {
        assert_eq!(view.state, StateName::Signed, "{view:#?}");
        let signature = view.signature.as_ref().expect("a signature");
        let id = countersign_tests::payments::assemble(&self.cluster, request, signature);
        assert_eq!(view.tx_id.as_ref(), Some(&id));
        assert!(view.signed.as_ref().is_some_and(|s| !s.is_empty()));
    }

    /// The signing digest of a request.
    pub fn digest(&self, request: &Envelope) -> Hash {
        let active = self.cluster.active();
        let opened = active.directory().open::<SignRequest>(request).unwrap();
        let facts = Facts::establish(active, opened.body()).unwrap();
        Hash::from_bytes(*facts.transaction().digest().as_bytes())
    }

    /// Ends everything and reads the nodes' ledgers: for each digest, the sessions that at least two nodes released.
    /// Between them these could make a signature.
    pub async fn released(mut self) -> BTreeMap<Hash, BTreeSet<Hash>> {
        let mut by_session: BTreeMap<Hash, (Hash, BTreeSet<MemberId>)> = BTreeMap::new();
        for node in self.cluster.members() {
            self.cluster.kill(&node).await;
            let file = self.cluster.node_folder(&node).join("data/signer.sqlite");
            let url = format!("sqlite:{}", file.display());
            let mut store = SqliteConnection::connect(&url).await.unwrap();
            // Author 0 is the node itself.
            let own = "SELECT envelope FROM ledger WHERE author = 0 ORDER BY sequence";
            let rows: Vec<(Vec<u8>,)> = sqlx::query_as(own).fetch_all(&mut store).await.unwrap();
            assert!(!rows.is_empty());
            for (bytes,) in rows {
                let entry: Envelope = serde_json::from_slice(&bytes).unwrap();
                let directory = self.cluster.active().directory();
                let entry = directory.open::<LedgerEntry>(&entry).unwrap();
                match &entry.body().event {
                    LedgerEvent::Reserved(r) => {
                        by_session
                            .entry(r.session)
                            .or_insert((r.digests[0], BTreeSet::new()));
                    }
                    LedgerEvent::Released { session } => {
                        by_session.get_mut(session).unwrap().1.insert(node.clone());
                    }
                    _ => {}
                }
            }
        }
        let mut by_digest: BTreeMap<Hash, BTreeSet<Hash>> = BTreeMap::new();
        for (session, (digest, nodes)) in by_session {
            if nodes.len() >= 2 {
                by_digest.entry(digest).or_default().insert(session);
            }
        }
        by_digest
    }
}

/// Three node processes with a DKLs23 and a FROST key.
pub async fn two_keys() -> Cluster {
    let mut cluster = Cluster::start(3, 2, Place::Processes).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 2)
        .await;
    let wallets = &cluster.active().content().wallets;
    for wallet in [WALLET, SOLANA_WALLET] {
        assert!(wallets.iter().any(|w| w.id.as_str() == wallet));
    }
    cluster
}
