//! A store in a folder of its own, and reservations to put into it.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use countersign_policy::bundle::BundleChain;
use countersign_policy::statement::{LedgerEntry, LedgerEvent, Reservation, Statement};
use countersign_policy::testing::TestDeployment;
use countersign_policy::{
    Amount, Envelope, ExternalId, Hash, IdentityKey, KeyId, Lifetime, MemberId, Network,
    StatementId, Timestamp, WalletId,
};
use zeroize::Zeroizing;

use crate::store::{
    Argon2Cost, IngestRefusal, LedgerPosition, OpError, OpenError, OpenMode, PassphraseKek, Store,
    StoreOptions,
};

/// Three nodes, `node-1` to `node-3`.
pub static DEPLOYMENT: LazyLock<TestDeployment> = LazyLock::new(|| TestDeployment::new(3, 2));
pub static CHAIN: LazyLock<BundleChain> = LazyLock::new(|| DEPLOYMENT.chain());

pub const PASSPHRASE: &str = "correct horse battery staple";

pub fn member(name: &str) -> MemberId {
    MemberId::new(name).unwrap()
}

pub fn hash(text: impl AsRef<str>) -> Hash {
    Hash::derive("test", &[text.as_ref().as_bytes()])
}

pub fn at(seconds: u64) -> Timestamp {
    "2026-11-23T12:00:00.000Z"
        .parse::<Timestamp>()
        .unwrap()
        .plus_seconds(seconds)
}

/// Cheap enough for tests; the default cost is tested once.
pub fn kek(passphrase: &str) -> PassphraseKek {
    let cost = Argon2Cost {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    PassphraseKek::new(Zeroizing::new(passphrase.as_bytes().to_vec()))
        .unwrap()
        .with_cost(cost)
}

pub fn identity(node: &str) -> Arc<IdentityKey> {
    Arc::new(IdentityKey::from_seed(&DEPLOYMENT.identity(node).to_seed()))
}

pub fn options(folder: &Path, node: &str) -> StoreOptions {
    StoreOptions {
        path: folder.join(format!("{node}.db")),
        node: member(node),
        genesis: DEPLOYMENT.genesis_hash(),
        mode: OpenMode::CreateIfMissing,
    }
}

pub async fn try_open(folder: &Path, node: &str) -> Result<Store, OpenError> {
    let store = Store::open(&options(folder, node), identity(node), &kek(PASSPHRASE)).await?;
    count_by_no_limits(&store).await;
    Ok(store)
}

/// The genesis has no limits; without any bundle nothing is reserved.
pub async fn count_by_no_limits(store: &Store) {
    // A store that stopped already says so at the next operation.
    let _ = store.set_limits(CHAIN.active()).await;
}

pub async fn open(folder: &Path, node: &str) -> Store {
    try_open(folder, node).await.unwrap()
}

/// Opens a store whose last handle was dropped a moment ago: the writer frees the file when it has finished.
pub async fn reopen(folder: &Path, node: &str) -> Store {
    for _ in 0..200 {
        match try_open(folder, node).await {
            Err(OpenError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => return other.unwrap(),
        }
    }
    panic!("the file stays in use");
}

pub async fn reopen_refused(folder: &Path, node: &str) -> String {
    for _ in 0..200 {
        match try_open(folder, node).await {
            Err(OpenError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => return error.to_string(),
            Ok(_) => panic!("the store opened"),
        }
    }
    panic!("the file stays in use");
}

/// Attempt `attempt` at payment `payment`: its request, external id and digest follow from the payment, its session,
/// authorization and nonce from the attempt.
pub fn reservation(payment: &str, attempt: u32) -> Reservation {
    let this = format!("{payment}/{attempt}");
    Reservation {
        session: hash(format!("session {this}")),
        authorization: hash(format!("authorization {this}")),
        nonce: hash(format!("nonce {this}")),
        request: hash(format!("request {payment}")),
        initiator: member("payments"),
        external_id: ExternalId::new(format!("invoice-{payment}")).unwrap(),
        wallet: WalletId::new("hot-1").unwrap(),
        key: KeyId::new("key-1").unwrap(),
        digests: vec![hash(format!("digest {payment}"))],
        network: Network::ETHEREUM,
        source: "0x28c6c06298d514db089934071355e5743bf21d60"
            .parse()
            .unwrap(),
        transfers: Vec::new(),
        approvals: Vec::new(),
        max_fee: "21000".parse::<Amount>().unwrap(),
        lifetime: Lifetime::Solana {
            blockhash: String::new(),
        },
        participants: vec![member("node-1"), member("node-2")],
        expires_at: at(60),
        presignature: None,
    }
}

pub fn refused<T: std::fmt::Debug, R: std::error::Error>(result: Result<T, OpError<R>>) -> R {
    match result {
        Err(OpError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A peer that signs whatever a test wants it to have promised.
pub struct TestPeer {
    pub name: &'static str,
    pub head: LedgerPosition,
}

impl TestPeer {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            head: LedgerPosition::EMPTY,
        }
    }

    /// The next entry of its ledger.
    pub fn says(&mut self, event: LedgerEvent) -> Envelope {
        let (envelope, head) = self.would_say(event);
        self.head = head;
        envelope
    }

    /// An entry at the next sequence number, without remembering it.
    pub fn would_say(&self, event: LedgerEvent) -> (Envelope, LedgerPosition) {
        let sequence = self.head.sequence + 1;
        let entry = LedgerEntry {
            sequence,
            previous: self.head.head,
            event,
        };
        let envelope = signed_entry(self.name, entry);
        let head = envelope.digest();
        (envelope, LedgerPosition { sequence, head })
    }
}

pub fn signed_entry(issuer: &str, entry: LedgerEntry) -> Envelope {
    signed_entry_at(issuer, entry, at(0))
}

pub fn signed_entry_at(issuer: &str, entry: LedgerEntry, issued_at: Timestamp) -> Envelope {
    let statement = Statement {
        kind: <LedgerEntry as countersign_policy::statement::Body>::KIND,
        genesis: DEPLOYMENT.genesis_hash(),
        id: StatementId::new(format!("entry-{}", entry.sequence)).unwrap(),
        issuer: member(issuer),
        issued_at,
        expires_at: Timestamp::from_millis(i64::MAX),
        body: entry,
    };
    statement.sign(&identity(issuer)).unwrap()
}

pub fn reserved(reservation: Reservation) -> LedgerEvent {
    LedgerEvent::Reserved(Box::new(reservation))
}

pub async fn ingest(
    store: &Store,
    peer: &str,
    entries: Vec<Envelope>,
) -> Result<LedgerPosition, OpError<IngestRefusal>> {
    let directory = CHAIN.active().directory();
    store.ingest(&member(peer), entries, directory, at(0)).await
}
