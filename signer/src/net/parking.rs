//! Frames that came before their channel was opened here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use countersign_policy::{Hash, MemberId};

use super::frame::Frame;
use super::peer::PeerLimits;

/// Early frames, by channel and sender, within limits for each sender.
#[derive(Debug, Default)]
pub(super) struct Parking {
    places: HashMap<(Hash, MemberId), Place>,
    senders: HashMap<MemberId, Usage>,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    frames: Vec<Frame>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Usage {
    frames: usize,
    bytes: usize,
}

impl Parking {
    /// Keeps the frame if its sender's limits allow it.
    pub(super) fn park(&mut self, frame: Frame, now: Instant, limits: &PeerLimits) -> bool {
        let size = frame.encoded_len();
        let used = self.senders.entry(frame.from.clone()).or_default();
        let place = self
            .places
            .entry((frame.channel, frame.from.clone()))
            .or_insert_with(|| Place {
                since: now,
                frames: Vec::new(),
                bytes: 0,
            });
        // A resent frame takes no second place; another one for the same round is kept, and judged when the channel opens.
        if place.frames.contains(&frame) {
            return true;
        }
        let bytes = used.bytes.saturating_add(size);
        let channel_bytes = place.bytes.saturating_add(size);
        let fits = used.frames < limits.parked_frames
            && bytes <= limits.parked_bytes
            && place.frames.len() < limits.channel_frames
            && channel_bytes <= limits.channel_bytes;
        if fits {
            used.frames = used.frames.saturating_add(1);
            used.bytes = bytes;
            place.bytes = channel_bytes;
            place.frames.push(frame);
        } else if place.frames.is_empty() {
            self.places.remove(&(frame.channel, frame.from));
        }
        fits
    }

    /// Takes everything that waited for a channel.
    pub(super) fn collect(&mut self, channel: &Hash) -> Vec<Frame> {
        let senders: Vec<MemberId> = self.senders.keys().cloned().collect();
        senders
            .into_iter()
            .filter_map(|sender| self.vacate(&(*channel, sender)))
            .flat_map(|place| place.frames)
            .collect()
    }

    /// Gives up what waited too long, and says how many frames that were.
    pub(super) fn expire(&mut self, now: Instant, age: Duration) -> usize {
        let old: Vec<(Hash, MemberId)> = self
            .places
            .iter()
            .filter(|(_, place)| now.saturating_duration_since(place.since) > age)
            .map(|(key, _)| key.clone())
            .collect();
        old.iter()
            .filter_map(|key| self.vacate(key))
            .map(|place| place.frames.len())
            .sum()
    }

    fn vacate(&mut self, key: &(Hash, MemberId)) -> Option<Place> {
        let place = self.places.remove(key)?;
        if let Some(used) = self.senders.get_mut(&key.1) {
            used.frames = used.frames.saturating_sub(place.frames.len());
            used.bytes = used.bytes.saturating_sub(place.bytes);
        }
        Some(place)
    }
}
