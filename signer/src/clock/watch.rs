//! Notices when this machine's clock is set while the process runs.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_policy::Timestamp;

/// How long one reading is what later ones are compared with. A clock that is disciplined moves by a third of a second in
/// this time at most; one that is led astray step by step does not get far within the bound either.
const ANCHOR: Duration = Duration::from_secs(600);

/// Compares the clock on the wall with the one that only goes on.
#[derive(Debug)]
pub struct ClockWatch(Mutex<Reading>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    steady: Instant,
}

impl ClockWatch {
    /// Begins with the present reading of both.
    pub fn new(wall: Timestamp, steady: Instant) -> Self {
        Self(Mutex::new(Reading { wall, steady }))
    }

    /// By how many milliseconds the clock was set since the last reading that is kept, when that is more than
    /// `bound_seconds`. Told once: the present reading is kept from then on. A machine that slept looks like that too.
    pub fn stepped(&self, wall: Timestamp, steady: Instant, bound_seconds: u64) -> Option<i64> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = steady.saturating_duration_since(kept.steady);
        let shown = wall.as_millis().saturating_sub(kept.wall.as_millis());
        let step = shown.saturating_sub(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX));
        let stepped = step.unsigned_abs() > bound_seconds.saturating_mul(1000);
        if stepped || passed > ANCHOR {
            *kept = Reading { wall, steady };
        }
        stepped.then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn a_clock_that_goes_on_is_not_doubted() {
        let start = Instant::now();
        let watch = ClockWatch::new(at(0), start);
        for second in 1..2000u64 {
            // One thousandth too fast: more than any disciplined clock.
            let wall = at(i64::try_from(second * 1001).unwrap());
            let step = watch.stepped(wall, start + Duration::from_secs(second), 5);
            assert_eq!(step, None, "second {second}");
        }
    }

    #[test]
    fn a_step_in_either_direction_is_told_once() {
        let start = Instant::now();
        for step in [-6_000, 6_000] {
            let watch = ClockWatch::new(at(0), start);
            let later = start + Duration::from_secs(1);
            assert_eq!(watch.stepped(at(1000 + step), later, 5), Some(step));
            let later = later + Duration::from_secs(1);
            assert_eq!(watch.stepped(at(2000 + step), later, 5), None);
        }
    }

    #[test]
    fn small_steps_in_a_row_are_told_when_they_add_up() {
        let start = Instant::now();
        let watch = ClockWatch::new(at(0), start);
        let told: Vec<u64> = (1..=4)
            .filter(|second| {
                let wall = at(i64::try_from(second * 3000).unwrap());
                watch
                    .stepped(wall, start + Duration::from_secs(*second), 5)
                    .is_some()
            })
            .collect();
        assert_eq!(told, [3]);
    }
}
