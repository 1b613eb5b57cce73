//! How long the parts of a signature take on this node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A part of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Everything that is checked before the ledger is asked.
    Admit,
    /// The ledger's answer to a reservation, durable.
    Reserve,
    /// Exchanging confirms with everybody who reserved it. Where a protocol carries them on an early round, that round too.
    Confirm,
    /// The ledger's answer to the release, durable.
    Release,
    /// The rest of the protocol.
    Protocol,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Admit,
        Self::Reserve,
        Self::Confirm,
        Self::Release,
        Self::Protocol,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Reserve => "reserve",
            Self::Confirm => "confirm",
            Self::Release => "release",
            Self::Protocol => "protocol",
        }
    }
}

/// Classes of durations: four between a power of two of microseconds and the next, up to half an hour.
const CLASSES: usize = 124;

/// Counts of durations by stage and class, since the start of the node.
#[derive(Debug)]
pub(crate) struct Stages([Histogram; 5]);

#[derive(Debug)]
struct Histogram([AtomicU64; CLASSES]);

impl Default for Stages {
    fn default() -> Self {
        Self(std::array::from_fn(|_| {
            Histogram(std::array::from_fn(|_| AtomicU64::new(0)))
        }))
    }
}

impl Stages {
    /// Counts a part that began then and is over now, and gives the time of its end.
    pub fn ended(&self, stage: Stage, begun: Instant) -> Instant {
        let now = Instant::now();
        self.count(stage, now.saturating_duration_since(begun));
        now
    }

    fn count(&self, stage: Stage, time: Duration) {
        let class = class_of(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let counts = self.0.iter().zip(Stage::ALL).find(|(_, s)| *s == stage);
        if let Some(count) = counts.and_then(|(counts, _)| counts.0.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// By stage: how many took at most so many microseconds and more than the class before.
    pub fn figures(&self) -> BTreeMap<String, BTreeMap<u64, u64>> {
        let stages = Stage::ALL.iter().zip(&self.0);
        let figures = stages.map(|(stage, counts)| {
            let counts = counts.0.iter().enumerate();
            let counts = counts.map(|(class, count)| (upper(class), count.load(Ordering::Relaxed)));
            let seen = counts.filter(|(_, count)| *count > 0);
            (stage.name().to_owned(), seen.collect())
        });
        figures.collect()
    }
}

/// The class of a duration in microseconds: its highest bit and the two after it.
fn class_of(micros: u64) -> usize {
    let value = micros.max(4);
    let high = value.ilog2();
    let quarter = (value >> high.saturating_sub(2)) & 3;
    let class = u64::from(high.saturating_sub(2))
        .saturating_mul(4)
        .saturating_add(quarter);
    usize::try_from(class)
        .unwrap_or(CLASSES)
        .min(CLASSES.saturating_sub(1))
}

/// The longest duration of a class, in microseconds.
fn upper(class: usize) -> u64 {
    let class = u64::try_from(class).unwrap_or(u64::MAX);
    let (octave, quarter) = (class >> 2, class & 3);
    let next = quarter.saturating_add(5);
    next.checked_shl(u32::try_from(octave).unwrap_or(u32::MAX))
        .map_or(u64::MAX, |limit| limit.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_class_that_ends_just_above_it() {
        for micros in (0..5_000).chain([1 << 20, (1 << 20) + 1, 59_999_999, 1_799_999_999]) {
            let class = class_of(micros);
            assert!(micros <= upper(class), "{micros}");
            assert!(class == 0 || micros > upper(class - 1), "{micros}");
            assert!(micros < 5 || upper(class) * 4 <= micros * 5 + 4, "{micros}");
        }
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn each_part_is_counted_by_itself() {
        let stages = Stages::default();
        stages.count(Stage::Reserve, Duration::from_micros(1_500));
        stages.count(Stage::Reserve, Duration::from_micros(1_501));
        stages.count(Stage::Release, Duration::from_micros(9));
        let figures = stages.figures();
        assert_eq!(figures["reserve"], BTreeMap::from([(1_535, 2)]));
        assert_eq!(figures["release"], BTreeMap::from([(9, 1)]));
        assert!(figures["confirm"].is_empty());
    }
}
