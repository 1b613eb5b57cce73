//! What a node says about itself.

use std::collections::BTreeMap;

use countersign_policy::bundle::KeyState;

use super::service::Service;
use crate::clock::now;
use crate::gate::store_fault;
use crate::wire::{HeldKey, NodeFigures, NodeStatus, PeerState, Problem};

/// The status of this node.
pub(super) async fn of(service: &Service) -> Result<NodeStatus, Problem> {
    let parts = service.engine.parts();
    let bundle = parts.bundle.current();
    let head = parts.store.head().map_err(|e| store_fault(&e))?;
    let bans = parts.store.bans().await.map_err(|e| store_fault(&e))?;
    let mut keys: Vec<HeldKey> = Vec::new();
    for share in parts.store.shares().await.map_err(|e| store_fault(&e))? {
        if keys.iter().any(|k| k.key == share.key) {
            continue;
        }
        let active = bundle
            .key(&share.key)
            .is_some_and(|k| k.state == KeyState::Active);
        let banned = bans
            .iter()
            .filter(|b| b.key == share.key)
            .map(|b| b.peer.clone())
            .collect();
        keys.push(HeldKey {
            key: share.key,
            protocol: share.protocol,
            active,
            banned,
        });
    }
    let peer_states = parts.peers.peers().map(|member| {
        let client = parts.peers.client(member);
        let connected = client.is_some_and(|c| c.is_connected());
        let last_seen = client.and_then(|c| c.last_seen());
        (
            member.clone(),
            PeerState {
                connected,
                last_seen,
            },
        )
    });
    let pool = parts.pool.status();
    let kind = crate::store::SecretKind::CggmpPrimes;
    let spare = parts.store.secret_names(kind).await;
    let spare = spare.map_err(|e| store_fault(&e))?.len();
    let primes = match parts.primes.making() {
        Some(making) => format!(
            "{spare} sets ready; {} of {} primes of the next after {} s",
            making.found, making.needed, making.seconds
        ),
        None => format!("{spare} sets ready"),
    };
    let background = BTreeMap::from([
        ("spare primes".to_owned(), primes),
        ("presignatures ready".to_owned(), pool.ready.to_string()),
        (
            "background jobs waiting".to_owned(),
            parts
                .workers
                .waiting(crate::threshold::Lane::Background)
                .to_string(),
        ),
    ]);
    let work = parts.store.work().map_err(|e| store_fault(&e))?;
    let figures = NodeFigures {
        commits: work.commits,
        rows: work.rows,
        stages: service.engine.stages(),
    };
    Ok(NodeStatus {
        node: parts.me.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: now(),
        genesis: bundle.directory().genesis(),
        bundle: bundle.digest(),
        bundle_version: bundle.content().version,
        ledger_sequence: head.sequence,
        ledger_head: head.head,
        keys,
        peers: peer_states.collect(),
        incarnation: parts.registration.incarnation(),
        registered: parts.registration.is_complete(&bundle, &parts.store),
        freeze_head: parts.store.freezes().map_err(|e| store_fault(&e))?.head(),
        background,
        figures,
    })
}
