//! Channels: one session's or ceremony's frames, each delivered exactly once.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use countersign_policy::{Hash, MemberId};

use super::frame::{Frame, FrameKind, MAX_BODY_BYTES, Verdict};
use super::peer::{Network, PeerLimits};
use super::watched::Watched;

/// What a channel is opened with.
#[derive(Debug, Clone)]
pub struct ChannelTerms {
    /// Names the session or ceremony step; used once.
    pub channel: Hash,
    /// The execution, as this node computed it.
    pub execution: Hash,
    /// The other nodes of this session.
    pub peers: BTreeSet<MemberId>,
    /// Nothing is sent or awaited after this.
    pub deadline: Instant,
}

/// The two streams of frames of a channel, received independently of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// [`FrameKind::Confirm`] and [`FrameKind::Control`]: for the session.
    Session,
    /// [`FrameKind::Broadcast`], [`FrameKind::PointToPoint`] and [`FrameKind::Echo`]: for the protocol.
    Protocol,
}

impl Lane {
    /// The lane of a kind of frame.
    pub fn of(kind: FrameKind) -> Self {
        match kind {
            FrameKind::Confirm | FrameKind::Control => Self::Session,
            FrameKind::Broadcast | FrameKind::PointToPoint | FrameKind::Echo => Self::Protocol,
        }
    }
}

/// A frame that arrived on a channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// Authenticated sender, a peer of the channel.
    pub from: MemberId,
    /// The protocol's round.
    pub round: u16,
    /// What it is for.
    pub kind: FrameKind,
    /// The message, hostile until parsed.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received")
            .field("from", &self.from)
            .field("round", &self.round)
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// What happens on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelEvent {
    /// A frame, the first of its sender, round and kind.
    Frame(Received),
    /// A peer sent another body for a round and kind that it had sent already: this one. Reported once per peer.
    Equivocation(Received),
    /// A peer computed another execution id. Nobody is to blame for that. Reported once per peer and lane.
    ExecutionMismatch {
        /// The peer.
        peer: MemberId,
        /// Its execution id.
        execution: Hash,
    },
}

/// Why nothing can be sent or received.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// The deadline passed.
    #[error("the deadline of the channel passed")]
    Deadline,
    /// The channel was closed.
    #[error("the channel is closed")]
    Closed,
    /// Not a peer of this channel.
    #[error("{0} is not a peer of this channel")]
    NotAPeer(MemberId),
    /// A body over [`MAX_BODY_BYTES`].
    #[error("a body of {0} bytes, at most {MAX_BODY_BYTES} allowed")]
    TooLarge(usize),
}

/// A session's or ceremony's view of the network. Clones are the same channel; it closes when [`Channel::close`] is called,
/// or the last clone is gone. What was handed over for sending is still delivered.
#[derive(Clone)]
pub struct Channel(Arc<Open>);

struct Open {
    network: Arc<Network>,
    terms: ChannelTerms,
    inbox: Arc<Watched<Inbox>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.network.close(&self.terms.channel);
    }
}

impl Channel {
    pub(super) fn new(
        network: Arc<Network>,
        terms: ChannelTerms,
        inbox: Arc<Watched<Inbox>>,
    ) -> Self {
        Self(Arc::new(Open {
            network,
            terms,
            inbox,
        }))
    }

    /// What it was opened with.
    pub fn terms(&self) -> &ChannelTerms {
        &self.0.terms
    }

    /// Hands a frame over for delivery to one peer; waits only while that peer's queue is full.
    pub async fn send(
        &self,
        to: &MemberId,
        round: u16,
        kind: FrameKind,
        body: Vec<u8>,
    ) -> Result<(), ChannelError> {
        self.enqueue(to, round, kind, body).await?;
        self.0.network.queue(to)?.announce();
        Ok(())
    }

    /// The same, but the frame may stay in the queue until [`Channel::flush`] or the next frame to that peer: what belongs
    /// together goes in one message.
    pub async fn enqueue(
        &self,
        to: &MemberId,
        round: u16,
        kind: FrameKind,
        body: Vec<u8>,
    ) -> Result<(), ChannelError> {
        let frame = self.frame(to, round, kind, body)?;
        let deadline = self.0.terms.deadline;
        let mut offer = Some(frame);
        let queue = self.0.network.queue(to)?;
        let taken = queue.quietly(|queue| queue.offer(&mut offer, deadline));
        if taken.is_none() {
            // Full, and perhaps only of frames that nobody announced.
            queue.announce();
            queue
                .wait(deadline, |queue| queue.offer(&mut offer, deadline))
                .await
                .ok_or(ChannelError::Deadline)?;
        }
        Ok(())
    }

    /// Sends what was enqueued for every peer.
    pub fn flush(&self) -> Result<(), ChannelError> {
        for peer in &self.0.terms.peers {
            self.0.network.queue(peer)?.announce();
        }
        Ok(())
    }

    /// The same for a plain thread.
    pub fn send_blocking(
        &self,
        to: &MemberId,
        round: u16,
        kind: FrameKind,
        body: Vec<u8>,
    ) -> Result<(), ChannelError> {
        let frame = self.frame(to, round, kind, body)?;
        let deadline = self.0.terms.deadline;
        let mut offer = Some(frame);
        let queue = self.0.network.queue(to)?;
        queue
            .block(deadline, |queue| queue.offer(&mut offer, deadline))
            .ok_or(ChannelError::Deadline)?;
        queue.announce();
        Ok(())
    }

    /// Enqueues the same body for every peer.
    pub async fn enqueue_to_all(
        &self,
        round: u16,
        kind: FrameKind,
        body: &[u8],
    ) -> Result<(), ChannelError> {
        for peer in &self.0.terms.peers {
            self.enqueue(peer, round, kind, body.to_vec()).await?;
        }
        Ok(())
    }

    /// Hands the same body over for delivery to every peer.
    pub async fn send_to_all(
        &self,
        round: u16,
        kind: FrameKind,
        body: &[u8],
    ) -> Result<(), ChannelError> {
        for peer in &self.0.terms.peers {
            self.send(peer, round, kind, body.to_vec()).await?;
        }
        Ok(())
    }

    /// The next event of a lane.
    pub async fn recv(&self, lane: Lane) -> Result<ChannelEvent, ChannelError> {
        let inbox = &self.0.inbox;
        inbox
            .wait(self.0.terms.deadline, |inbox| inbox.take(lane))
            .await
            .unwrap_or(Err(ChannelError::Deadline))
    }

    /// The same for a plain thread, with a deadline of its own.
    pub fn recv_blocking(
        &self,
        lane: Lane,
        deadline: Instant,
    ) -> Result<ChannelEvent, ChannelError> {
        let deadline = deadline.min(self.0.terms.deadline);
        let inbox = &self.0.inbox;
        inbox
            .block(deadline, |inbox| inbox.take(lane))
            .unwrap_or(Err(ChannelError::Deadline))
    }

    /// Closes the channel for all its clones; whoever waits on it gets [`ChannelError::Closed`].
    pub fn close(&self) {
        self.0.network.close(&self.0.terms.channel);
    }

    fn frame(
        &self,
        to: &MemberId,
        round: u16,
        kind: FrameKind,
        body: Vec<u8>,
    ) -> Result<Frame, ChannelError> {
        let terms = &self.0.terms;
        if !terms.peers.contains(to) {
            return Err(ChannelError::NotAPeer(to.clone()));
        }
        if body.len() > MAX_BODY_BYTES {
            return Err(ChannelError::TooLarge(body.len()));
        }
        if self.0.inbox.quietly(|inbox| inbox.closed) {
            return Err(ChannelError::Closed);
        }
        Ok(Frame {
            channel: terms.channel,
            execution: terms.execution,
            round,
            kind,
            from: self.0.network.me().clone(),
            to: to.clone(),
            body,
        })
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({})", self.0.terms.channel)
    }
}

/// What arrived on a channel and was not taken yet, and what arrived at all.
#[derive(Debug)]
pub(super) struct Inbox {
    execution: Hash,
    peers: BTreeMap<MemberId, Heard>,
    session: VecDeque<ChannelEvent>,
    protocol: VecDeque<ChannelEvent>,
    max_frames: usize,
    max_bytes: usize,
    max_seen: usize,
    closed: bool,
}

/// What one peer sent.
#[derive(Debug, Default)]
struct Heard {
    /// Digest of the body of each round and kind.
    seen: HashMap<(u16, FrameKind), Hash>,
    waiting_frames: usize,
    waiting_bytes: usize,
    equivocated: bool,
    mismatched: [bool; 2],
}

/// What became of a frame; for verdicts and counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Delivered,
    Duplicate,
    Equivocation,
    Mismatch,
    Stranger,
    Closed,
    Full,
}

impl Delivery {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Delivered | Self::Duplicate => Verdict::Taken,
            Self::Equivocation | Self::Mismatch | Self::Stranger | Self::Closed => Verdict::Dropped,
            Self::Full => Verdict::Busy,
        }
    }
}

impl Inbox {
    pub(super) fn new(terms: &ChannelTerms, limits: &PeerLimits) -> Self {
        let fresh = |peer: &MemberId| (peer.clone(), Heard::default());
        Self {
            execution: terms.execution,
            peers: terms.peers.iter().map(fresh).collect(),
            session: VecDeque::new(),
            protocol: VecDeque::new(),
            max_frames: limits.channel_frames,
            max_bytes: limits.channel_bytes,
            max_seen: limits.channel_rounds,
            closed: false,
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.session.clear();
        self.protocol.clear();
    }

    /// Takes a frame whose sender was authenticated.
    pub(super) fn deliver(&mut self, frame: Frame) -> Delivery {
        if self.closed {
            return Delivery::Closed;
        }
        let Some(heard) = self.peers.get_mut(&frame.from) else {
            return Delivery::Stranger;
        };
        let lane = Lane::of(frame.kind);
        let queue = match lane {
            Lane::Session => &mut self.session,
            Lane::Protocol => &mut self.protocol,
        };
        if frame.execution != self.execution {
            let [session, protocol] = &mut heard.mismatched;
            let reported = match lane {
                Lane::Session => session,
                Lane::Protocol => protocol,
            };
            if !std::mem::replace(reported, true) {
                queue.push_back(ChannelEvent::ExecutionMismatch {
                    peer: frame.from,
                    execution: frame.execution,
                });
            }
            return Delivery::Mismatch;
        }
        let digest = Hash::sha256(&frame.body);
        let received = Received {
            from: frame.from,
            round: frame.round,
            kind: frame.kind,
            body: frame.body,
        };
        match heard.seen.get(&(received.round, received.kind)) {
            Some(earlier) if *earlier == digest => return Delivery::Duplicate,
            Some(_) => {
                if !std::mem::replace(&mut heard.equivocated, true) {
                    queue.push_back(ChannelEvent::Equivocation(received));
                }
                return Delivery::Equivocation;
            }
            None => {}
        }
        let bytes = heard.waiting_bytes.saturating_add(received.body.len());
        let full = heard.waiting_frames >= self.max_frames
            || bytes > self.max_bytes
            || heard.seen.len() >= self.max_seen;
        if full {
            return Delivery::Full;
        }
        heard.waiting_bytes = bytes;
        heard.waiting_frames = heard.waiting_frames.saturating_add(1);
        heard.seen.insert((received.round, received.kind), digest);
        queue.push_back(ChannelEvent::Frame(received));
        Delivery::Delivered
    }

    fn take(&mut self, lane: Lane) -> Option<Result<ChannelEvent, ChannelError>> {
        if self.closed {
            return Some(Err(ChannelError::Closed));
        }
        let event = match lane {
            Lane::Session => self.session.pop_front(),
            Lane::Protocol => self.protocol.pop_front(),
        }?;
        if let ChannelEvent::Frame(received) = &event
            && let Some(heard) = self.peers.get_mut(&received.from)
        {
            heard.waiting_frames = heard.waiting_frames.saturating_sub(1);
            heard.waiting_bytes = heard.waiting_bytes.saturating_sub(received.body.len());
        }
        Some(Ok(event))
    }
}
