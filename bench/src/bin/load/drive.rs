//! Drives requests at a given concurrency, two ways: straight to the nodes, as the coordinator does, and through the coordinator.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_policy::statement::SessionTerms;
use countersign_policy::{Hash, MemberId, Protocol};
use countersign_signer::net::CallError;
use countersign_signer::wire::{Pools, Prepare, Prepared, Sign, Signed, path};
use tokio::task::JoinSet;

use crate::api::Api;
use crate::cost::{Run, processes_cpu};
use crate::deployment::{CALL, Deployment, Outcome};
use crate::requests::{Request, Requests};
use crate::stages::{self, Stages};

/// Work that nodes do after their answer is waited for this long, so that it is counted.
const SETTLE: Duration = Duration::from_millis(300);
/// How long pools may take to fill.
const FILLING: Duration = Duration::from_secs(1800);

/// How a request gets its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Authorized by this tool and sent to the participants.
    Nodes,
    /// `POST /v1/sign-requests` with `Prefer: wait`.
    EndToEnd,
}

/// What all workers share.
pub struct Load {
    pub deployment: Arc<Deployment>,
    pub protocol: Protocol,
    pub requests: Requests,
    /// The signer sets, used in turn by [`Way::Nodes`].
    sets: Vec<Vec<MemberId>>,
    presignatures: Mutex<BTreeMap<Vec<MemberId>, VecDeque<Hash>>>,
}

impl Load {
    pub fn new(deployment: Arc<Deployment>, protocol: Protocol, threshold: u16) -> Self {
        let nodes = deployment.nodes();
        Self {
            requests: Requests::new(Arc::clone(&deployment), protocol),
            deployment,
            protocol,
            sets: subsets(&nodes, usize::from(threshold)),
            presignatures: Mutex::default(),
        }
    }

    /// Runs `count` requests, `concurrency` at a time, and measures them.
    pub async fn run(self: &Arc<Self>, way: Way, count: usize, concurrency: usize) -> Outcome<Run> {
        // Signed before the clock starts: this is the payment service's work.
        let queue: VecDeque<(usize, Request)> = (0..count)
            .map(|i| Ok((i, self.requests.make()?)))
            .collect::<Outcome<_>>()?;
        let queue = Arc::new(Mutex::new(queue));
        if self.protocol == Protocol::Cggmp24 && way == Way::Nodes {
            self.refresh_presignatures().await?;
        }
        let (nodes, coordinator) = self.deployment.processes();
        let figures = stages::read(&self.deployment).await?;
        let before = (processes_cpu(&nodes)?, processes_cpu(&coordinator)?);
        let started = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..concurrency {
            let (load, queue) = (Arc::clone(self), Arc::clone(&queue));
            workers.spawn(async move { load.work(way, &queue).await });
        }
        let mut latencies = Vec::new();
        while let Some(done) = workers.join_next().await {
            latencies.extend(done??);
        }
        let wall = started.elapsed();
        tokio::time::sleep(SETTLE).await;
        let after = (processes_cpu(&nodes)?, processes_cpu(&coordinator)?);
        let then = stages::read(&self.deployment).await?;
        let told = Stages::between(&figures, &then, count);
        let name = match way {
            Way::Nodes => "nodes",
            Way::EndToEnd => "end-to-end",
        };
        Ok(Run::new(
            name,
            concurrency,
            latencies,
            wall,
            (after.0 - before.0, after.1 - before.1),
            told,
        ))
    }

    async fn work(
        &self,
        way: Way,
        queue: &Mutex<VecDeque<(usize, Request)>>,
    ) -> Outcome<Vec<Duration>> {
        let mut api = match way {
            Way::Nodes => None,
            Way::EndToEnd => Some(Api::connect(&self.deployment).await?),
        };
        let mut latencies = Vec::new();
        loop {
            let next = lock(queue).pop_front();
            let Some((number, request)) = next else {
                return Ok(latencies);
            };
            latencies.push(match &mut api {
                None => self.through_nodes(number, &request).await?,
                Some(api) => api.sign(&request).await?,
            });
        }
    }

    /// Prepare at every participant at once, then all receipts to every participant at once: as the coordinator does. The
    /// time ends with the first verified signature; the call, with every participant's.
    async fn through_nodes(&self, number: usize, request: &Request) -> Outcome<Duration> {
        let participants = &self.sets[number % self.sets.len()];
        let presignature = match self.protocol {
            Protocol::Cggmp24 => {
                let mut pools = lock(&self.presignatures);
                let pool = pools.get_mut(participants);
                Some(
                    pool.and_then(VecDeque::pop_front)
                        .ok_or("the pool is empty")?,
                )
            }
            _ => None,
        };
        let started = Instant::now();
        let authorization = self
            .requests
            .authorize(request, participants, presignature)?;
        let mut calls = JoinSet::new();
        for (place, node) in participants.iter().enumerate() {
            let client = self.deployment.clients[node].clone();
            let call = Prepare {
                authorization: authorization.clone(),
                request: request.envelope.clone(),
                approvals: Vec::new(),
            };
            calls.spawn(async move {
                let answer: Result<Prepared, CallError> =
                    client.post_json(path::PREPARE, &call, CALL).await;
                answer.map(|prepared| (place, prepared.receipt))
            });
        }
        let mut receipts = BTreeMap::new();
        while let Some(answer) = calls.join_next().await {
            let (place, receipt) = answer??;
            receipts.insert(place, receipt);
        }
        let call = Sign {
            session: SessionTerms::session_id(authorization.digest()),
            receipts: receipts.into_values().collect(),
        };
        let mut calls = JoinSet::new();
        for node in participants {
            let (client, call) = (self.deployment.clients[node].clone(), call.clone());
            calls.spawn(async move {
                let answer: Result<Signed, CallError> =
                    client.post_json(path::SIGN, &call, CALL).await;
                answer
            });
        }
        let mut took = None;
        while let Some(answer) = calls.join_next().await {
            let signed = answer??;
            let signature = signed.signatures.first().ok_or("no signature")?;
            if took.is_none() {
                request.check(signature)?;
                took = Some(started.elapsed());
            }
        }
        took.ok_or_else(|| "no participant answered".into())
    }

    /// Waits until every signer set's pool holds `least` presignatures.
    pub async fn wait_for_pools(&self, least: usize) -> Outcome<Duration> {
        let started = Instant::now();
        loop {
            self.refresh_presignatures().await?;
            let poorest = {
                let pools = lock(&self.presignatures);
                let held = self.sets.iter().map(|set| pools.get(set));
                held.map(|pool| pool.map_or(0, VecDeque::len)).min()
            };
            if poorest.unwrap_or(0) >= least {
                return Ok(started.elapsed());
            }
            if started.elapsed() > FILLING {
                return Err(format!("the poorest pool holds {poorest:?} of {least}").into());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The presignatures that every node of their signer set holds.
    async fn refresh_presignatures(&self) -> Outcome<()> {
        let mut held: BTreeMap<MemberId, Vec<(Vec<MemberId>, Hash)>> = BTreeMap::new();
        for (node, client) in &self.deployment.clients {
            let answer: Pools = client.get_json(path::POOLS, CALL).await?;
            let of_node = held.entry(node.clone()).or_default();
            for pool in answer.pools {
                of_node.extend(pool.available.iter().map(|id| (pool.signers.clone(), *id)));
            }
        }
        let mut common = BTreeMap::new();
        for set in &self.sets {
            let mut ids: VecDeque<Hash> = VecDeque::new();
            if let Some(first) = set.first().and_then(|node| held.get(node)) {
                let of_set = first.iter().filter(|(signers, _)| signers == set);
                ids.extend(of_set.map(|(_, id)| *id).filter(|id| {
                    set.iter()
                        .all(|node| held[node].contains(&(set.clone(), *id)))
                }));
            }
            common.insert(set.clone(), ids);
        }
        *lock(&self.presignatures) = common;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All subsets of `size` in ascending order.
fn subsets(nodes: &[MemberId], size: usize) -> Vec<Vec<MemberId>> {
    match nodes.split_first() {
        _ if size == 0 => vec![Vec::new()],
        None => Vec::new(),
        Some((first, rest)) => {
            let with = subsets(rest, size - 1).into_iter();
            let with = with.map(|set| [vec![first.clone()], set].concat());
            with.chain(subsets(rest, size)).collect()
        }
    }
}
