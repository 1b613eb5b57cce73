//! What one limit counts, ordered by time, with sums over spans of time.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::charge::Sum;

/// Spans over which sums are kept, as powers of two of milliseconds, from the longest: 37 hours, 9 minutes, 2 seconds. Each
/// holds 256 of the next, and 31 days are 20 of the first: any sum takes a few hundred steps, however many entries there are.
const SPANS: [u32; 3] = [27, 19, 11];

/// Amounts by the time at which each was reserved, in milliseconds since 1970, and the entry that it belongs to.
#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    entries: BTreeMap<(i64, usize), Sum>,
    spans: [BTreeMap<i64, Sum>; 3],
    total: Sum,
}

impl Series {
    /// Adds an amount, which is never zero.
    pub fn insert(&mut self, at: i64, entry: usize, amount: Sum) {
        self.remove(at, entry);
        self.entries.insert((at, entry), amount);
        self.total = self.total.saturating_add(amount);
        for (span, sums) in SPANS.iter().zip(&mut self.spans) {
            let sum = sums.entry(at >> span).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    /// Takes an amount away, and says which it was.
    pub fn remove(&mut self, at: i64, entry: usize) -> Option<Sum> {
        let amount = self.entries.remove(&(at, entry))?;
        self.total = self.total.saturating_sub(amount);
        for (span, sums) in SPANS.iter().zip(&mut self.spans) {
            let key = at >> span;
            let sum = sums.get(&key).copied().unwrap_or_default();
            let rest = sum.saturating_sub(amount);
            if rest.is_zero() {
                sums.remove(&key);
            } else {
                sums.insert(key, rest);
            }
        }
        Some(amount)
    }

    /// The amount of one entry.
    pub fn get(&self, at: i64, entry: usize) -> Option<Sum> {
        self.entries.get(&(at, entry)).copied()
    }

    /// The sum of all.
    pub fn total(&self) -> Sum {
        self.total
    }

    /// The oldest entry, if it is older than `time`.
    pub fn oldest_before(&self, time: i64) -> Option<(i64, usize)> {
        let (key, _) = self.entries.first_key_value()?;
        Some(*key).filter(|(at, _)| *at < time)
    }

    /// The sum of what is older than `time`.
    pub fn before(&self, time: i64) -> Sum {
        let mut sum = Sum::ZERO;
        let mut from = i64::MIN;
        for (span, sums) in SPANS.iter().zip(&self.spans) {
            let to = time >> span;
            let first = from >> span;
            if first < to {
                sum = sums
                    .range(first..to)
                    .fold(sum, |sum, (_, more)| sum.saturating_add(*more));
            }
            from = to << span;
        }
        let rest = (Bound::Included((from, 0)), Bound::Excluded((time, 0)));
        if from < time {
            sum = self
                .entries
                .range(rest)
                .fold(sum, |sum, (_, more)| sum.saturating_add(*more));
        }
        sum
    }

    /// The earliest time such that what is not younger adds up to `need`, not counting the entry `except`.
    pub fn reaches(&self, need: Sum, except: Option<(i64, usize)>) -> Option<i64> {
        let own = except.and_then(|(at, entry)| Some((at, self.get(at, entry)?)));
        let mut sum = Sum::ZERO;
        let (mut from, mut to) = (i64::MIN, i64::MAX);
        for (span, sums) in SPANS.iter().zip(&self.spans) {
            let found = sums
                .range((from >> span)..=(to >> span))
                .find(|(key, more)| {
                    let own = own.filter(|(at, _)| at >> span == **key);
                    let more = more.saturating_sub(own.map_or(Sum::ZERO, |(_, own)| own));
                    let next = sum.saturating_add(more);
                    let reached = next >= need;
                    if !reached {
                        sum = next;
                    }
                    reached
                })?;
            from = found.0 << span;
            to = from | !(i64::MAX << span);
        }
        let range = (
            Bound::Included((from, 0)),
            Bound::Included((to, usize::MAX)),
        );
        for (key, more) in self.entries.range(range) {
            if Some(*key) != except {
                sum = sum.saturating_add(*more);
            }
            if sum >= need {
                return Some(key.0);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive_before(list: &[(i64, u64)], time: i64) -> Sum {
        let old = list.iter().filter(|(at, _)| *at < time);
        old.map(|(_, amount)| Sum::from(*amount)).sum()
    }

    proptest! {
        #[test]
        fn sums_over_time_are_those_of_a_plain_list(
            list in prop::collection::vec((0..1_i64 << 36, 1_u64..1000), 1..80),
            times in prop::collection::vec(0..1_i64 << 36, 1..10),
            need in 1_u64..20_000,
            removed in 0_usize..80,
            except in 0_usize..80,
        ) {
            let mut series = Series::default();
            let mut list = list;
            for (entry, (at, amount)) in list.iter().enumerate() {
                series.insert(*at, entry, Sum::from(*amount));
            }
            if removed < list.len() {
                let (at, amount) = list[removed];
                prop_assert_eq!(series.remove(at, removed), Some(Sum::from(amount)));
                list[removed].1 = 0;
            }
            for time in times.into_iter().chain(list.iter().map(|(at, _)| *at)) {
                prop_assert_eq!(series.before(time), naive_before(&list, time));
            }
            prop_assert_eq!(series.total(), naive_before(&list, i64::MAX));
            let own = list.get(except).map(|(at, _)| (*at, except));
            let mut others = list.clone();
            if let Some(own) = others.get_mut(except) {
                own.1 = 0;
            }
            others.sort_unstable();
            let mut sum = 0;
            let reached = others.iter().find(|(_, amount)| {
                sum += amount;
                sum >= need
            });
            prop_assert_eq!(series.reaches(Sum::from(need), own), reached.map(|(at, _)| *at));
            for (entry, (at, _)) in list.iter().enumerate() {
                series.remove(*at, entry);
            }
            prop_assert_eq!(series.total(), Sum::ZERO);
            prop_assert!(series.spans.iter().all(BTreeMap::is_empty), "nothing is kept for nothing");
        }
    }
}
