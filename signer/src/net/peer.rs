//! Frames between nodes: queues out, routing in.
//!
//! A frame is resent until its recipient took it or its deadline passed; the recipient recognises repetitions, so a session sees each
//! exactly once. Frames that are early wait, within limits, until their channel is opened; late ones are dropped. A stranger's
//! frame, or one that claims another sender than its connection, is dropped and counted, and never disturbs a session.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Router, extract::DefaultBodyLimit};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use countersign_policy::bundle::Role;
use countersign_policy::{Hash, MemberId};

use super::channel::{Channel, ChannelError, ChannelTerms, Delivery, Inbox};
use super::client::NodeClient;
use super::frame::{Frame, FrameError, MAX_BATCH_BYTES, Verdict, decode_batch, encode_verdicts};
use super::identity::PeerIdentity;
use super::outbound::{Courier, PeerQueue};
use super::parking::Parking;
use super::refusals::Refusals;
use super::watched::Watched;
use crate::wire::{ProblemCode, path};

/// Bounds of a [`PeerNetwork`].
#[derive(Debug, Clone)]
pub struct PeerLimits {
    /// Frames to one peer that wait or are under way.
    pub queue_frames: usize,
    /// The same in bytes.
    pub queue_bytes: usize,
    /// Batches to one peer under way at once.
    pub batches_in_flight: usize,
    /// How long a batch may take before it is sent again.
    pub batch_timeout: Duration,
    /// Channels open at once.
    pub max_channels: usize,
    /// Frames of one peer that wait on one channel.
    pub channel_frames: usize,
    /// The same in bytes.
    pub channel_bytes: usize,
    /// Different rounds and kinds that one peer can use on one channel.
    pub channel_rounds: usize,
    /// Frames of one peer that wait for channels not opened yet.
    pub parked_frames: usize,
    /// The same in bytes.
    pub parked_bytes: usize,
    /// How long a frame waits for its channel.
    pub parked_age: Duration,
    /// How many closed channels are remembered, so that their late frames are not parked.
    pub remembered_channels: usize,
    /// How long.
    pub remembered_age: Duration,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            queue_frames: 4096,
            queue_bytes: 32 << 20,
            batches_in_flight: 4,
            batch_timeout: Duration::from_secs(10),
            max_channels: 4096,
            channel_frames: 64,
            channel_bytes: 16 << 20,
            channel_rounds: 512,
            parked_frames: 4096,
            parked_bytes: 16 << 20,
            parked_age: Duration::from_secs(30),
            remembered_channels: 65_536,
            remembered_age: Duration::from_secs(600),
        }
    }
}

/// What a [`PeerNetwork`] counted since it started.
#[derive(Debug, Default)]
pub struct PeerCounters {
    /// Frames that peers took.
    pub sent: AtomicU64,
    /// Frames sent again.
    pub resent: AtomicU64,
    /// Frames that peers dropped.
    pub refused: AtomicU64,
    /// Frames not delivered before their deadline.
    pub expired: AtomicU64,
    /// Frames given to a channel.
    pub delivered: AtomicU64,
    /// Repetitions.
    pub duplicates: AtomicU64,
    /// Second, different bodies for a round.
    pub equivocations: AtomicU64,
    /// Frames of another execution than the channel's.
    pub mismatches: AtomicU64,
    /// Frames that claim another sender or recipient, or whose sender is no peer of the channel.
    pub strangers: AtomicU64,
    /// Frames for channels that are closed.
    pub late: AtomicU64,
    /// Frames that waited for their channel.
    pub parked: AtomicU64,
    /// Parked frames whose channel was not opened in time.
    pub abandoned: AtomicU64,
    /// Frames for which there was no room.
    pub busy: AtomicU64,
    /// Batches that could not be decoded.
    pub garbage: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Why a channel cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// It is open already.
    #[error("channel {0} is open already")]
    Open(Hash),
    /// It was open and was closed lately; a channel is used once.
    #[error("channel {0} was used already")]
    Used(Hash),
    /// A member that this node has no address of, or the node itself.
    #[error("{0} is not a peer of this node")]
    UnknownPeer(MemberId),
    /// Too many at once.
    #[error("{0} channels are open already")]
    TooMany(usize),
}

/// The frames of one node, to and from all its peers. Clones share everything; the sending tasks end with the last clone.
#[derive(Clone)]
pub struct PeerNetwork(Arc<Network>);

pub(super) struct Network {
    me: MemberId,
    peers: BTreeMap<MemberId, Peer>,
    registry: Mutex<Registry>,
    limits: PeerLimits,
    counters: Arc<PeerCounters>,
    refusals: Refusals,
    tasks: Vec<AbortHandle>,
}

struct Peer {
    client: NodeClient,
    queue: Arc<PeerQueue>,
    /// Batches read at once, so that a peer cannot fill the memory with bodies.
    reading: Arc<Semaphore>,
}

/// Batches of one peer that are read at once.
const BATCHES_READ_AT_ONCE: usize = 8;
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

impl PeerNetwork {
    /// Starts the sending tasks; must be called within a tokio runtime. Each client is one peer.
    pub fn start(me: MemberId, clients: Vec<NodeClient>, limits: PeerLimits) -> Self {
        Self::start_telling(me, clients, limits, Refusals::default())
    }

    /// The same, and tells whose frames it turns away.
    pub fn start_telling(
        me: MemberId,
        clients: Vec<NodeClient>,
        limits: PeerLimits,
        refusals: Refusals,
    ) -> Self {
        #[cfg(any(test, feature = "fault-injection"))]
        let faults = super::fault::FaultPlan::from_environment();
        Self::start_with(
            me,
            clients,
            limits,
            refusals,
            #[cfg(any(test, feature = "fault-injection"))]
            faults,
        )
    }

    pub(super) fn start_with(
        me: MemberId,
        clients: Vec<NodeClient>,
        limits: PeerLimits,
        refusals: Refusals,
        #[cfg(any(test, feature = "fault-injection"))] faults: Option<super::fault::FaultPlan>,
    ) -> Self {
        let counters = Arc::new(PeerCounters::default());
        #[cfg(any(test, feature = "fault-injection"))]
        let faults = faults.map(Arc::new);
        let mut tasks = Vec::new();
        let mut peers = BTreeMap::new();
        for client in clients {
            let queue = Arc::new(PeerQueue::new(&limits));
            let courier = Courier {
                client: client.clone(),
                queue: Arc::clone(&queue),
                limits: limits.clone(),
                counters: Arc::clone(&counters),
                #[cfg(any(test, feature = "fault-injection"))]
                faults: faults.clone(),
            };
            tasks.push(tokio::spawn(courier.run()).abort_handle());
            let peer = Peer {
                client,
                queue,
                reading: Arc::new(Semaphore::new(BATCHES_READ_AT_ONCE)),
            };
            peers.insert(peer.client.member().clone(), peer);
        }
        Self(Arc::new_cyclic(|network| {
            tasks.push(tokio::spawn(sweep(Weak::clone(network))).abort_handle());
            Network {
                me,
                peers,
                registry: Mutex::default(),
                limits,
                counters,
                refusals,
                tasks,
            }
        }))
    }

    /// This node.
    pub fn me(&self) -> &MemberId {
        &self.0.me
    }

    /// The client of a peer, for requests that are not frames.
    pub fn client(&self, peer: &MemberId) -> Option<&NodeClient> {
        self.0.peers.get(peer).map(|peer| &peer.client)
    }

    /// The peers.
    pub fn peers(&self) -> impl Iterator<Item = &MemberId> {
        self.0.peers.keys()
    }

    /// Frames to a peer that wait or are under way.
    pub fn backlog(&self, peer: &MemberId) -> usize {
        self.0.peers.get(peer).map_or(0, |peer| peer.queue.len())
    }

    /// What was counted.
    pub fn counters(&self) -> &PeerCounters {
        &self.0.counters
    }

    /// Channels that are open.
    pub fn open_channels(&self) -> usize {
        self.0.registry().open.len()
    }

    /// Opens a channel. Frames that came early are in it at once.
    pub fn open_channel(&self, terms: ChannelTerms) -> Result<Channel, OpenError> {
        let network = &self.0;
        let unknown = |peer: &&MemberId| !network.peers.contains_key(*peer);
        if let Some(peer) = terms.peers.iter().find(unknown) {
            return Err(OpenError::UnknownPeer(peer.clone()));
        }
        let mut registry = network.registry();
        if registry.open.contains_key(&terms.channel) {
            return Err(OpenError::Open(terms.channel));
        }
        if registry.used.contains(&terms.channel) {
            return Err(OpenError::Used(terms.channel));
        }
        if registry.open.len() >= network.limits.max_channels {
            return Err(OpenError::TooMany(registry.open.len()));
        }
        let mut inbox = Inbox::new(&terms, &network.limits);
        for frame in registry.parking.collect(&terms.channel) {
            network.tally(inbox.deliver(frame));
        }
        let inbox = Arc::new(Watched::new(inbox));
        let entry = (Arc::clone(&inbox), terms.deadline);
        registry.open.insert(terms.channel, entry);
        drop(registry);
        Ok(Channel::new(Arc::clone(network), terms, inbox))
    }

    /// The route for batches of frames. Serve it with [`Server`](super::Server), which says who calls.
    pub fn router(&self) -> Router {
        Router::new()
            .route(path::FRAMES, post(receive))
            .layer(DefaultBodyLimit::max(MAX_BATCH_BYTES))
            .with_state(self.clone())
    }

    /// Takes a batch from an authenticated member and answers with verdicts.
    pub fn receive(&self, sender: &MemberId, batch: &[u8]) -> Result<Vec<Verdict>, FrameError> {
        let frames = decode_batch(batch).inspect_err(|error| {
            count(&self.0.counters.garbage, 1);
            self.0
                .refuse(sender, ProblemCode::Malformed, error.to_string());
        })?;
        let route = |frame| self.0.route(sender, frame);
        Ok(frames.into_iter().map(route).collect())
    }
}

impl std::fmt::Debug for PeerNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerNetwork({})", self.0.me)
    }
}

async fn receive(
    State(network): State<PeerNetwork>,
    Extension(caller): Extension<PeerIdentity>,
    body: Body,
) -> Response {
    let peer = network.0.peers.get(&caller.member);
    let Some(peer) = peer.filter(|_| caller.has_role(Role::Node)) else {
        count(&network.0.counters.strangers, 1);
        let detail = format!("{} is not a peer of this node", caller.member);
        let code = ProblemCode::Forbidden;
        network.0.refuse(&caller.member, code, detail.clone());
        return ProblemCode::Forbidden.problem(detail).into_response();
    };
    // The peer is alive: what waits for it can go out now.
    peer.client.wake();
    peer.queue.wake();
    let Ok(_place) = peer.reading.try_acquire() else {
        let detail = "too many batches at once";
        return ProblemCode::Busy.problem(detail).into_response();
    };
    let malformed = |what: String| ProblemCode::Malformed.problem(what).into_response();
    let Ok(batch) = to_bytes(body, MAX_BATCH_BYTES).await else {
        count(&network.0.counters.garbage, 1);
        let detail = format!("the batch breaks off or exceeds {MAX_BATCH_BYTES} bytes");
        let code = ProblemCode::Malformed;
        network.0.refuse(&caller.member, code, detail.clone());
        return malformed(detail);
    };
    let answer = network
        .receive(&caller.member, &batch)
        .and_then(|verdicts| encode_verdicts(&verdicts));
    match answer {
        Ok(bytes) => bytes.into_response(),
        Err(error) => malformed(error.to_string()),
    }
}

/// Forgets what is too old.
async fn sweep(network: Weak<Network>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        let Some(network) = network.upgrade() else {
            return;
        };
        network.sweep(Instant::now());
    }
}

/// Open channels, frames without one, and channels that were closed.
#[derive(Default)]
struct Registry {
    open: HashMap<Hash, (Arc<Watched<Inbox>>, Instant)>,
    parking: Parking,
    used: HashSet<Hash>,
    used_in_order: VecDeque<(Instant, Hash)>,
}

impl Registry {
    fn remember_used(&mut self, channel: Hash, limits: &PeerLimits) {
        if self.used.insert(channel) {
            self.used_in_order.push_back((Instant::now(), channel));
        }
        while self.used_in_order.len() > limits.remembered_channels {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, channel)) = self.used_in_order.pop_front() {
            self.used.remove(&channel);
        }
    }
}

impl Network {
    pub(super) fn me(&self) -> &MemberId {
        &self.me
    }

    pub(super) fn queue(&self, peer: &MemberId) -> Result<&PeerQueue, ChannelError> {
        let known = self.peers.get(peer).map(|peer| peer.queue.as_ref());
        known.ok_or_else(|| ChannelError::NotAPeer(peer.clone()))
    }

    pub(super) fn close(&self, channel: &Hash) {
        let mut registry = self.registry();
        if let Some((inbox, _)) = registry.open.remove(channel) {
            registry.remember_used(*channel, &self.limits);
            drop(registry);
            inbox.update(Inbox::close);
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Each change under the lock is complete before anything in it can fail.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, sender: &MemberId, code: ProblemCode, detail: String) {
        tracing::debug!(peer = %sender, detail, "frames refused");
        let subject = ("frames", sender as &dyn std::fmt::Display);
        self.refusals.tell(Some(sender), subject, code, detail);
    }

    /// Where one frame goes.
    fn route(&self, sender: &MemberId, frame: Frame) -> Verdict {
        if frame.from != *sender || frame.to != self.me {
            let detail = format!("a frame from {} to {}", frame.from, frame.to);
            self.refuse(sender, ProblemCode::Forbidden, detail);
            count(&self.counters.strangers, 1);
            return Verdict::Dropped;
        }
        let mut registry = self.registry();
        if let Some((inbox, _)) = registry.open.get(&frame.channel) {
            let inbox = Arc::clone(inbox);
            drop(registry);
            let delivery = inbox.update(|inbox| inbox.deliver(frame));
            return self.tally(delivery).verdict();
        }
        if registry.used.contains(&frame.channel) {
            count(&self.counters.late, 1);
            return Verdict::Dropped;
        }
        let parked = registry.parking.park(frame, Instant::now(), &self.limits);
        drop(registry);
        if parked {
            count(&self.counters.parked, 1);
            return Verdict::Taken;
        }
        count(&self.counters.busy, 1);
        Verdict::Busy
    }

    fn tally(&self, delivery: Delivery) -> Delivery {
        let counters = &self.counters;
        let counter = match delivery {
            Delivery::Delivered => &counters.delivered,
            Delivery::Duplicate => &counters.duplicates,
            Delivery::Equivocation => &counters.equivocations,
            Delivery::Mismatch => &counters.mismatches,
            Delivery::Stranger => &counters.strangers,
            Delivery::Closed => &counters.late,
            Delivery::Full => &counters.busy,
        };
        count(counter, 1);
        delivery
    }

    fn sweep(&self, now: Instant) {
        let mut registry = self.registry();
        let abandoned = registry.parking.expire(now, self.limits.parked_age);
        count(&self.counters.abandoned, abandoned);
        let old = |at: &Instant| now.saturating_duration_since(*at) > self.limits.remembered_age;
        while registry
            .used_in_order
            .front()
            .is_some_and(|(at, _)| old(at))
        {
            registry.forget_oldest();
        }
        // A session that forgot to close its channel does not keep it for ever.
        let overdue: Vec<Hash> = registry
            .open
            .iter()
            .filter(|(_, (_, deadline))| {
                now.saturating_duration_since(*deadline) > self.limits.parked_age
            })
            .map(|(channel, _)| *channel)
            .collect();
        drop(registry);
        for channel in overdue {
            self.close(&channel);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
