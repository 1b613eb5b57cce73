//! When a node freezes a payment service by itself: a stolen service key shows by what policy refuses.
//!
//! Only requests that the service signed validly count, each once, so that nobody can freeze a service with garbage or by
//! sending one refused request again and again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use countersign_policy::{Hash, MemberId, Timestamp};

/// Counts refused requests by initiator.
#[derive(Debug)]
pub struct AutoFreeze {
    refusals: usize,
    window_seconds: u64,
    seen: Mutex<BTreeMap<MemberId, VecDeque<(Timestamp, Hash)>>>,
}

impl AutoFreeze {
    /// Asks for a freeze when so many different requests of one service are refused within so many seconds. With 0 refusals
    /// it never does.
    pub fn new(refusals: usize, window_seconds: u64) -> Self {
        Self {
            refusals,
            window_seconds,
            seen: Mutex::default(),
        }
    }

    /// Counts a validly signed request that policy or a limit refused. True when the service is to be frozen; it begins
    /// again from nothing then.
    pub fn refused(&self, initiator: &MemberId, request: Hash, at: Timestamp) -> bool {
        if self.refusals == 0 {
            return false;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = seen.entry(initiator.clone()).or_default();
        let since = at.minus_seconds(self.window_seconds);
        requests.retain(|(when, _)| *when >= since);
        if requests.iter().any(|(_, known)| *known == request) {
            return false;
        }
        requests.push_back((at, request));
        if requests.len() < self.refusals {
            return false;
        }
        seen.remove(initiator);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> MemberId {
        MemberId::new(name).unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(0).plus_seconds(seconds)
    }

    fn request(number: u64) -> Hash {
        Hash::sha256(&number.to_be_bytes())
    }

    #[test]
    fn so_many_different_refusals_within_the_window_freeze_their_service_alone() {
        let counter = AutoFreeze::new(3, 60);
        let (one, other) = (service("payments"), service("payments-2"));
        assert!(!counter.refused(&one, request(1), at(0)));
        assert!(!counter.refused(&other, request(2), at(1)));
        assert!(!counter.refused(&one, request(3), at(2)));
        assert!(counter.refused(&one, request(4), at(3)));
        assert!(!counter.refused(&other, request(5), at(4)));
        // From nothing again.
        assert!(!counter.refused(&one, request(6), at(5)));
    }

    #[test]
    fn one_request_sent_again_and_again_counts_once() {
        let counter = AutoFreeze::new(2, 60);
        let one = service("payments");
        assert!((0..50).all(|i| !counter.refused(&one, request(1), at(i))));
        assert!(counter.refused(&one, request(2), at(50)));
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count_and_nothing_counts_when_it_is_off() {
        let counter = AutoFreeze::new(2, 60);
        let one = service("payments");
        assert!((0..20).all(|i| !counter.refused(&one, request(i), at(i * 61))));
        let off = AutoFreeze::new(0, 60);
        assert!((0..20).all(|i| !off.refused(&one, request(i), at(0))));
    }
}
