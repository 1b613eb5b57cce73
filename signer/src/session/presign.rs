//! Filling presignature pools when the node is idle.
//!
//! The first node of a signer set invites the others; each checks for itself that the key is active and that it wants
//! one more. The presignatures live in memory only (I10).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign_policy::bundle::{ActiveBundle, KeyRecord, KeyState};
use countersign_policy::{DerivationPath, Hash, MemberId, Protocol};
use rand_core::{OsRng, RngCore};

use super::engine::{Engine, indexes};
use super::pool_peers::PoolPeers;
use crate::ceremony::{group_name, held_auxiliary, link, load_auxiliary, on_worker};
use crate::net::{Channel, ChannelEvent, ChannelTerms, FrameKind, Lane as ChannelLane};
use crate::node::MAX_HIGH;
use crate::threshold::{
    self, ExecutionId, Lane, LoadedAux, Parameters, PoolKey, PresignatureId, Signers,
};
use crate::wire::{
    PoolEntry, Pools, PresignAccepted, PresignInvitation, Problem, ProblemCode, path,
};

/// Signer sets that are filled for one key and path; a larger group's further sets sign after the first ones fail.
const MAX_SETS: usize = 16;
/// Presignatures that one node makes at the same time.
const MAX_RUNNING: usize = 2;
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What the inviting node says when all accepted, and when not.
const GO: &[u8] = b"go";
const NO: &[u8] = b"no";
/// How long an invited peer may take to answer.
const INVITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Fills the pools of one node.
#[derive(Debug)]
pub struct PoolFiller {
    engine: Arc<Engine>,
    running: AtomicUsize,
    /// This process, by a random name.
    process: Hash,
    peers: PoolPeers,
    loading: tokio::sync::Mutex<()>,
    /// Whether auxiliary data is being loaded because a peer asked for it.
    invited_load: AtomicBool,
}

/// Counts one running presignature; dropped at its end, however it ends.
struct Running(Arc<PoolFiller>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl PoolFiller {
    /// A filler for this engine's pool.
    pub fn new(engine: Arc<Engine>) -> Arc<Self> {
        let mut process = [0u8; 32];
        OsRng.fill_bytes(&mut process);
        Arc::new(Self {
            engine,
            running: AtomicUsize::new(0),
            process: Hash::from_bytes(process),
            peers: PoolPeers::default(),
            loading: tokio::sync::Mutex::default(),
            invited_load: AtomicBool::new(false),
        })
    }

    /// A peer that restarted holds nothing any more (I10), so what was made together with it is worth nothing here
    /// either: it goes, and is made anew.
    fn heard(&self, peer: &MemberId, process: Hash) {
        if !self.peers.restarted(peer, process) {
            return;
        }
        let parts = self.engine.parts();
        let shared: BTreeSet<PoolKey> = wanted_pools(&parts.bundle.current(), &parts.me)
            .into_iter()
            .filter(|pool| pool.signers.contains(peer))
            .map(|pool| pool.key)
            .collect();
        let drained = parts.pool.drain_on_doubt(|key| shared.contains(key));
        tracing::info!(%peer, drained, "the peer restarted: presignatures made with it are gone");
    }

    /// Asks the peers of this node's pools whether they are still the same processes, and wipes halves without other halves.
    async fn compare(&self, pools: &[WantedPool]) {
        let parts = self.engine.parts();
        let peers: BTreeSet<&MemberId> = pools
            .iter()
            .flat_map(|pool| &pool.signers)
            .filter(|peer| **peer != parts.me)
            .collect();
        if peers.is_empty() || !self.peers.is_time_to_ask() {
            return;
        }
        for peer in peers {
            let Some(client) = parts.peers.client(peer) else {
                continue;
            };
            // What is inserted here while the peer answers is not compared.
            let here = pools.iter().filter(|pool| pool.signers.contains(peer));
            let here: BTreeSet<PresignatureId> = here
                .flat_map(|pool| parts.pool.ready(&pool.key, usize::MAX))
                .collect();
            let answer: Result<Pools, _> = client.get_json(path::POOLS, INVITE_TIMEOUT).await;
            let Ok(answer) = answer else { continue };
            self.heard(peer, answer.process);
            let there = answer.pools.into_iter().flat_map(|pool| pool.available);
            let there = there.map(|id| PresignatureId(*id.as_bytes())).collect();
            let orphans = self.peers.orphans(peer, &here, &there, Instant::now());
            let wiped = parts.pool.wipe(&orphans);
            if wiped > 0 {
                tracing::info!(%peer, wiped, "presignatures whose other half is gone were wiped");
            }
        }
    }

    /// Makes at most one presignature for each pool that wants one, while nothing else waits. True when one was made.
    pub async fn fill(self: &Arc<Self>) -> bool {
        let parts = self.engine.parts();
        let bundle = parts.bundle.current();
        let mut made = false;
        let pools = wanted_pools(&bundle, &parts.me);
        self.compare(&pools).await;
        for pool in pools {
            let idle = parts.workers.waiting(Lane::Signing) == 0 && !self.engine.is_busy();
            let leads = pool.signers.first() == Some(&parts.me);
            if !idle || !leads || parts.pool.wanted(&pool.key) == 0 {
                continue;
            }
            match self.lead(&pool).await {
                Ok(()) => made = true,
                Err(reason) => {
                    tracing::debug!(key = %pool.record.id, %reason, "no presignature this time")
                }
            }
        }
        made
    }

    async fn lead(self: &Arc<Self>, pool: &WantedPool) -> Result<(), String> {
        let parts = self.engine.parts();
        let mut names = held_auxiliary(parts, &group_name(&pool.record.nodes)).await?;
        names.sort();
        let mut nonce = [0u8; 32];
        OsRng.fill_bytes(&mut nonce);
        let invitation = PresignInvitation {
            nonce: Hash::from_bytes(nonce),
            key: pool.record.id.clone(),
            path: pool.key.path.clone(),
            signers: pool.signers.clone(),
            auxiliary: names.pop().ok_or("no auxiliary data for the group")?,
            process: self.process,
        };
        // Before anybody waits for this node's messages.
        self.auxiliary(&invitation.auxiliary).await?;
        let running = self.enter().ok_or("enough is running")?;
        let channel = open(&self.engine, &invitation)?;
        let mut accepted = Vec::new();
        let invited = self.invite(pool, &invitation, &mut accepted).await;
        // All or nobody: those who accepted would wait for the others in vain, and have no room for anything else.
        let word = if invited.is_ok() { GO } else { NO };
        for peer in &accepted {
            let sent = channel.send(peer, 0, FrameKind::Control, word.to_vec());
            sent.await.map_err(|e| e.to_string())?;
        }
        invited?;
        let result = self.make(pool, &invitation, channel).await;
        drop(running);
        result
    }

    async fn invite(
        &self,
        pool: &WantedPool,
        invitation: &PresignInvitation,
        accepted: &mut Vec<MemberId>,
    ) -> Result<(), String> {
        let parts = self.engine.parts();
        for peer in pool.signers.iter().filter(|p| **p != parts.me) {
            let client = parts
                .peers
                .client(peer)
                .ok_or_else(|| format!("no address for {peer}"))?;
            let answer: PresignAccepted = client
                .post_json(path::PRESIGN, invitation, INVITE_TIMEOUT)
                .await
                .map_err(|e| format!("{peer}: {e}"))?;
            accepted.push(peer.clone());
            self.heard(peer, answer.process);
        }
        Ok(())
    }

    /// Takes part, invited by a peer.
    ///
    /// # Errors
    /// When the peer may not invite, or this node does not want one more.
    pub async fn join(
        self: &Arc<Self>,
        peer: &MemberId,
        invitation: PresignInvitation,
    ) -> Result<PresignAccepted, Problem> {
        let parts = self.engine.parts();
        let bundle = parts.bundle.current();
        if invitation.signers.first() != Some(peer) || !invitation.signers.contains(&parts.me) {
            return Err(ProblemCode::Forbidden
                .problem("the first node of a signer set invites its members"));
        }
        let wanted = wanted_pools(&bundle, &parts.me);
        let pool = wanted
            .into_iter()
            .find(|p| {
                p.record.id == invitation.key
                    && p.key.path == invitation.path
                    && p.signers == invitation.signers
            })
            .ok_or_else(|| ProblemCode::NotFound.problem("this node fills no such pool"))?;
        self.heard(peer, invitation.process);
        let held = parts.pool.ready(&pool.key, usize::MAX).len();
        if held >= self.engine.parts().presignatures.high {
            return Err(ProblemCode::Busy.problem("this node's pool is full"));
        }
        if self.engine.auxiliary(&invitation.auxiliary).is_none() {
            // One load at a time, however many invitations come meanwhile, whatever they name.
            if !self.invited_load.swap(true, Ordering::AcqRel) {
                let filler = Arc::clone(self);
                tokio::spawn(async move {
                    if let Err(reason) = filler.auxiliary(&invitation.auxiliary).await {
                        let reason = crate::plain::plain(&reason);
                        tracing::warn!(key = %invitation.key, %reason, "no auxiliary data for presignatures");
                    }
                    filler.invited_load.store(false, Ordering::Release);
                });
            }
            return Err(ProblemCode::Busy.problem("this node is loading its auxiliary data"));
        }
        let running = self
            .enter()
            .ok_or_else(|| ProblemCode::Busy.problem("enough presignatures are being made"))?;
        let channel = open(&self.engine, &invitation).map_err(|e| ProblemCode::Busy.problem(e))?;
        let (filler, leader) = (Arc::clone(self), peer.clone());
        tokio::spawn(async move {
            if all_take_part(&channel, &leader).await
                && let Err(reason) = filler.make(&pool, &invitation, channel).await
            {
                tracing::warn!(key = %invitation.key, %reason, "a presignature was not made");
            }
            drop(running);
        });
        Ok(PresignAccepted {
            process: self.process,
        })
    }

    /// The group's auxiliary data with its precomputed tables, which take seconds to make: once for all that wait.
    async fn auxiliary(&self, name: &str) -> Result<Arc<LoadedAux>, String> {
        let _alone = self.loading.lock().await;
        if let Some(loaded) = self.engine.auxiliary(name) {
            return Ok(loaded);
        }
        let parts = self.engine.parts();
        let stored = load_auxiliary(parts, name).await?;
        let loaded = on_worker(parts, Lane::Background, move || stored.load(true))
            .await?
            .map_err(|e| e.to_string())?;
        Ok(self.engine.keep_auxiliary(name, Arc::new(loaded)))
    }

    async fn make(
        &self,
        pool: &WantedPool,
        invitation: &PresignInvitation,
        channel: Channel,
    ) -> Result<(), String> {
        let parts = self.engine.parts();
        let share = self
            .engine
            .share(&pool.record)
            .await
            .map_err(|p| p.detail)?;
        let aux = self.auxiliary(&invitation.auxiliary).await?;
        let (signers, path, nodes) = (
            pool.key.signers.clone(),
            pool.key.path.clone(),
            pool.record.nodes.clone(),
        );
        let execution = execution(invitation);
        let made = on_worker(parts, Lane::Background, move || {
            let mut link = link(channel, &nodes);
            threshold::presign(&share, &aux, &signers, &path, execution, &mut link)
        });
        let presignature = made.await?.map_err(|fault| fault.to_string())?;
        // A bundle that took the key out of use while this ran leaves nothing behind.
        let active = parts.bundle.current();
        if active
            .key(&pool.record.id)
            .is_none_or(|k| k.state != KeyState::Active)
        {
            return Err("the key is no longer active".to_owned());
        }
        parts.pool.insert(presignature).map_err(|e| e.to_string())
    }

    fn enter(self: &Arc<Self>) -> Option<Running> {
        let entered = self
            .running
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < MAX_RUNNING).then(|| n.saturating_add(1))
            });
        entered.ok().map(|_| Running(Arc::clone(self)))
    }

    /// The presignatures that can be named in an authorization.
    pub fn pools(&self) -> Pools {
        let parts = self.engine.parts();
        let bundle = parts.bundle.current();
        let entries = wanted_pools(&bundle, &parts.me)
            .into_iter()
            .map(|pool| PoolEntry {
                key: pool.record.id.clone(),
                path: pool.key.path.clone(),
                signers: pool.signers.clone(),
                available: parts
                    .pool
                    .ready(&pool.key, MAX_HIGH)
                    .into_iter()
                    .map(|PresignatureId(id)| Hash::from_bytes(id))
                    .collect(),
            });
        Pools {
            process: self.process,
            pools: entries.collect(),
        }
    }
}

/// Waits for the word of whoever invited. Anything but its "go" in time ends it.
async fn all_take_part(channel: &Channel, leader: &MemberId) -> bool {
    let peers = u32::try_from(channel.terms().peers.len()).unwrap_or(u32::MAX);
    let patience = INVITE_TIMEOUT.saturating_mul(peers.saturating_add(1));
    match tokio::time::timeout(patience, channel.recv(ChannelLane::Session)).await {
        Ok(Ok(ChannelEvent::Frame(frame))) => {
            frame.from == *leader && frame.kind == FrameKind::Control && frame.body == GO
        }
        _ => false,
    }
}

/// A pool that this node fills.
struct WantedPool {
    record: KeyRecord,
    signers: Vec<MemberId>,
    key: PoolKey,
}

/// The pools of all active CGGMP keys of which `me` holds a share: each wallet's own path, and the first signer sets.
fn wanted_pools(bundle: &ActiveBundle, me: &MemberId) -> Vec<WantedPool> {
    let mut pools = Vec::new();
    for record in &bundle.content().keys {
        let ours = record.protocol == Protocol::Cggmp24
            && record.state == KeyState::Active
            && record.nodes.contains(me);
        let parties = u16::try_from(record.nodes.len()).unwrap_or(u16::MAX);
        let Some(parameters) = ours
            .then(|| Parameters::new(record.threshold, parties).ok())
            .flatten()
        else {
            continue;
        };
        let paths: BTreeSet<&DerivationPath> = bundle
            .content()
            .wallets
            .iter()
            .filter(|w| w.key == record.id)
            .map(|w| &w.path)
            .collect();
        for signers in sets(&record.nodes, usize::from(record.threshold))
            .into_iter()
            .filter(|s| s.contains(me))
        {
            let Ok(set) = Signers::new(parameters, &indexes(&record.nodes, &signers)) else {
                continue;
            };
            for path in &paths {
                let key = PoolKey {
                    public_key: record.group_key,
                    path: (*path).clone(),
                    signers: set.clone(),
                };
                pools.push(WantedPool {
                    record: record.clone(),
                    signers: signers.clone(),
                    key,
                });
            }
        }
    }
    pools
}

/// The first [`MAX_SETS`] sets of `t` nodes, in lexicographic order.
fn sets(nodes: &[MemberId], t: usize) -> Vec<Vec<MemberId>> {
    let mut found: Vec<Vec<MemberId>> = vec![Vec::new()];
    for taken in 0..t {
        let mut longer = Vec::new();
        for set in &found {
            let after = set
                .last()
                .and_then(|last| nodes.iter().position(|n| n == last))
                .map_or(0, |p| p.saturating_add(1));
            let room = nodes
                .len()
                .saturating_sub(t.saturating_sub(taken))
                .saturating_add(1);
            for node in nodes.iter().take(room).skip(after) {
                let mut next = set.clone();
                next.push(node.clone());
                longer.push(next);
                if longer.len() >= MAX_SETS {
                    break;
                }
            }
            if longer.len() >= MAX_SETS {
                break;
            }
        }
        found = longer;
    }
    found
}

fn execution(invitation: &PresignInvitation) -> ExecutionId {
    let path = invitation.path.to_string();
    let mut fields: Vec<&[u8]> = vec![
        invitation.nonce.as_bytes(),
        invitation.key.as_str().as_bytes(),
        path.as_bytes(),
    ];
    fields.extend(invitation.signers.iter().map(|s| s.as_str().as_bytes()));
    fields.push(invitation.auxiliary.as_bytes());
    ExecutionId::derive("countersign/execution/presign/v1", fields)
}

fn open(engine: &Engine, invitation: &PresignInvitation) -> Result<Channel, String> {
    let parts = engine.parts();
    let execution = Hash::from_bytes(*execution(invitation).as_bytes());
    let others: BTreeSet<MemberId> = invitation
        .signers
        .iter()
        .filter(|p| **p != parts.me)
        .cloned()
        .collect();
    let deadline = Instant::now()
        .checked_add(TIMEOUT)
        .unwrap_or_else(Instant::now);
    let channel = Hash::derive("countersign/presign/channel/v1", &[execution.as_bytes()]);
    parts
        .peers
        .open_channel(ChannelTerms {
            channel,
            execution,
            peers: others,
            deadline,
        })
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signer_sets_are_the_combinations_in_order() {
        let nodes: Vec<MemberId> = ["a", "b", "c"]
            .iter()
            .map(|n| MemberId::new(*n).unwrap())
            .collect();
        let names: Vec<String> = sets(&nodes, 2)
            .iter()
            .map(|s| s.iter().map(MemberId::as_str).collect())
            .collect();
        assert_eq!(names, ["ab", "ac", "bc"]);
        let many: Vec<MemberId> = (10..26)
            .map(|i| MemberId::new(format!("n{i}")).unwrap())
            .collect();
        let sets = sets(&many, 9);
        assert!(
            !sets.is_empty()
                && sets.len() <= MAX_SETS
                && sets.iter().all(|s| s.len() == 9 && s.is_sorted())
        );
    }
}
