//! A store in a folder of its own, and reservations to put into it.

use std::path::Path;
use std::sync::Arc;

use countersign_policy::statement::Reservation;
use countersign_policy::{
    Amount, ExternalId, Hash, IdentityKey, KeyId, MemberId, Timestamp, WalletId,
};
use zeroize::Zeroizing;

use crate::store::{Argon2Cost, OpenError, OpenMode, PassphraseKek, Store, StoreOptions};

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
    Arc::new(IdentityKey::from_seed(hash(node).as_bytes()))
}

pub fn options(folder: &Path, node: &str) -> StoreOptions {
    StoreOptions {
        path: folder.join(format!("{node}.db")),
        node: member(node),
        genesis: hash("genesis"),
        mode: OpenMode::CreateIfMissing,
    }
}

pub async fn try_open(folder: &Path, node: &str) -> Result<Store, OpenError> {
    Store::open(&options(folder, node), identity(node), &kek(PASSPHRASE)).await
}

pub async fn open(folder: &Path, node: &str) -> Store {
    try_open(folder, node).await.unwrap()
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
        transfers: Vec::new(),
        max_fee: "21000".parse::<Amount>().unwrap(),
        presignature: None,
    }
}
