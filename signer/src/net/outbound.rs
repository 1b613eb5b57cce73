//! Frames on their way to one peer: a bounded queue, and the task that empties it.
//!
//! Whatever is queued goes into one POST, at once; nothing waits for company. A batch that fails goes back to the head of the
//! queue until its frames' deadlines; the recipient recognises what it had already taken.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::{CallError, NodeClient};
use super::frame::{
    BATCH_HEADER_BYTES, Frame, MAX_BATCH_BYTES, MAX_BATCH_FRAMES, Verdict, decode_verdicts,
    encode_batch,
};
use super::peer::{PeerCounters, PeerLimits, count};
use super::watched::Watched;
use crate::wire::path;

/// A frame and how long it is worth sending.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    frame: Frame,
    deadline: Instant,
}

impl Queued {
    #[cfg(any(test, feature = "fault-injection"))]
    pub(super) fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// The queue of one peer.
#[derive(Debug)]
pub(super) struct Outbound {
    waiting: VecDeque<Queued>,
    /// Waiting and under way.
    frames: usize,
    bytes: usize,
    max_frames: usize,
    max_bytes: usize,
    /// The peer has just shown that it is alive.
    woken: bool,
}

impl Outbound {
    fn new(limits: &PeerLimits) -> Self {
        Self {
            waiting: VecDeque::new(),
            frames: 0,
            bytes: 0,
            max_frames: limits.queue_frames,
            max_bytes: limits.queue_bytes,
            woken: false,
        }
    }

    /// Takes the frame if there is room.
    pub(super) fn offer(&mut self, offered: &mut Option<Frame>, deadline: Instant) -> Option<()> {
        let frame = offered.take()?;
        let bytes = self.bytes.saturating_add(frame.encoded_len());
        if self.frames >= self.max_frames || bytes > self.max_bytes {
            *offered = Some(frame);
            return None;
        }
        self.frames = self.frames.saturating_add(1);
        self.bytes = bytes;
        self.waiting.push_back(Queued { frame, deadline });
        Some(())
    }

    /// As much as fits into one batch, oldest first. Frames past their deadline are returned apart.
    fn next_batch(&mut self) -> Option<(Vec<Queued>, usize)> {
        let now = Instant::now();
        let (mut batch, mut size, mut expired) = (Vec::new(), BATCH_HEADER_BYTES, 0usize);
        while let Some(next) = self.waiting.front() {
            if next.deadline <= now {
                expired = expired.saturating_add(1);
                if let Some(late) = self.waiting.pop_front() {
                    self.release(&late.frame);
                }
                continue;
            }
            size = size.saturating_add(next.frame.encoded_len());
            if batch.len() >= MAX_BATCH_FRAMES || size > MAX_BATCH_BYTES {
                break;
            }
            batch.extend(self.waiting.pop_front());
        }
        (!batch.is_empty() || expired > 0).then_some((batch, expired))
    }

    fn put_back(&mut self, batch: impl DoubleEndedIterator<Item = Queued>) {
        for queued in batch.rev() {
            self.waiting.push_front(queued);
        }
    }

    fn release(&mut self, frame: &Frame) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(frame.encoded_len());
    }
}

/// The shared handle of a peer's queue.
#[derive(Debug)]
pub(super) struct PeerQueue(Watched<Outbound>);

impl PeerQueue {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self(Watched::new(Outbound::new(limits)))
    }

    /// Tells the sending task that there is something new.
    pub(super) fn announce(&self) {
        self.0.update(|_| ());
    }

    /// Tells the sending task that the peer is alive.
    pub(super) fn wake(&self) {
        let resting = self.0.quietly(|queue| {
            let news = !queue.woken && queue.frames > 0;
            queue.woken = news || queue.woken;
            news
        });
        if resting {
            self.announce();
        }
    }

    /// Frames waiting or under way.
    pub(super) fn len(&self) -> usize {
        self.0.quietly(|queue| queue.frames)
    }
}

impl Deref for PeerQueue {
    type Target = Watched<Outbound>;
    fn deref(&self) -> &Watched<Outbound> {
        &self.0
    }
}

/// The task that sends to one peer.
pub(super) struct Courier {
    pub(super) client: NodeClient,
    pub(super) queue: Arc<PeerQueue>,
    pub(super) limits: PeerLimits,
    pub(super) counters: Arc<PeerCounters>,
    #[cfg(any(test, feature = "fault-injection"))]
    pub(super) faults: Option<Arc<super::fault::FaultPlan>>,
}

type Sent = (Vec<Queued>, Result<Vec<Verdict>, CallError>);

/// The rest after the first failure; doubles up to [`LONGEST_REST`].
const SHORTEST_REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_millis(640);
/// Far enough away to mean "no deadline".
const IDLE: Duration = Duration::from_secs(3600);

impl Courier {
    pub(super) async fn run(self) {
        let courier = Arc::new(self);
        let mut flying: JoinSet<Sent> = JoinSet::new();
        let mut rest = Duration::ZERO;
        loop {
            let may_send = flying.len() < courier.limits.batches_in_flight && rest.is_zero();
            let idle = later(IDLE);
            tokio::select! {
                biased;
                Some(done) = flying.join_next() => match done {
                    Ok(sent) => rest = courier.settle(sent, rest),
                    Err(error) => tracing::error!(%error, "sending failed"),
                },
                next = courier.queue.wait(idle, Outbound::next_batch), if may_send => {
                    let (batch, expired) = next.unwrap_or_default();
                    courier.expire(expired);
                    if !batch.is_empty() {
                        flying.spawn(Arc::clone(&courier).send(batch));
                    }
                }
                _ = courier.queue.wait(later(rest), |queue| std::mem::take(&mut queue.woken).then_some(())), if !rest.is_zero() => {
                    // One attempt after each rest: the next failure rests longer.
                    let (batch, expired) = courier.queue.quietly(Outbound::next_batch).unwrap_or_default();
                    courier.expire(expired);
                    if batch.is_empty() {
                        rest = Duration::ZERO;
                    } else {
                        let sent = Arc::clone(&courier).send(batch).await;
                        rest = courier.settle(sent, rest);
                    }
                }
            }
        }
    }

    fn expire(&self, expired: usize) {
        if expired > 0 {
            self.queue.announce();
            count(&self.counters.expired, expired);
            tracing::warn!(peer = %self.client.member(), expired, "frames not delivered before their deadline");
        }
    }

    async fn send(self: Arc<Self>, batch: Vec<Queued>) -> Sent {
        #[cfg(any(test, feature = "fault-injection"))]
        if let Some(plan) = self.faults.clone() {
            return plan.send(&self, batch).await;
        }
        let result = self.post(&batch).await;
        (batch, result)
    }

    pub(super) async fn post(&self, batch: &[Queued]) -> Result<Vec<Verdict>, CallError> {
        let bytes = encode_batch(batch.iter().map(|queued| &queued.frame))
            .map_err(|error| self.nonsense(format!("own batch: {error}")))?;
        let deadline = self.limits.batch_timeout;
        let answer = self
            .client
            .post_bytes(path::FRAMES, bytes, deadline)
            .await?;
        let verdicts =
            decode_verdicts(&answer).map_err(|error| self.nonsense(error.to_string()))?;
        if verdicts.len() != batch.len() {
            return Err(self.nonsense("another number of verdicts than frames".to_owned()));
        }
        Ok(verdicts)
    }

    fn nonsense(&self, what: String) -> CallError {
        CallError::Protocol {
            member: self.client.member().clone(),
            what,
        }
    }

    /// Forgets what arrived, puts the rest back, and says how long to rest.
    fn settle(&self, (batch, result): Sent, rest: Duration) -> Duration {
        let again: Vec<Queued> = match result {
            Ok(verdicts) => {
                let (busy, done): (Vec<_>, Vec<_>) = batch
                    .into_iter()
                    .zip(verdicts)
                    .partition(|(_, verdict)| *verdict == Verdict::Busy);
                self.queue.update(|queue| {
                    for (queued, _) in &done {
                        queue.release(&queued.frame);
                    }
                });
                let refused = done.iter().filter(|(_, v)| *v == Verdict::Dropped).count();
                count(&self.counters.sent, done.len().saturating_sub(refused));
                count(&self.counters.refused, refused);
                busy.into_iter().map(|(queued, _)| queued).collect()
            }
            Err(error) => {
                tracing::debug!(peer = %self.client.member(), %error, frames = batch.len(), "batch not delivered");
                batch
            }
        };
        if again.is_empty() {
            return Duration::ZERO;
        }
        count(&self.counters.resent, again.len());
        self.queue
            .quietly(|queue| queue.put_back(again.into_iter()));
        rest.saturating_mul(2).clamp(SHORTEST_REST, LONGEST_REST)
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now)
}
