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
    entries: BTreeMap<Key, Small>,
    /// Those that are too large to be kept in short form.
    large: BTreeMap<Key, Sum>,
    spans: [BTreeMap<i64, Sum>; 3],
    total: Sum,
}

/// Time and entry. Nobody has four billion entries in memory.
type Key = (i64, u32);

/// An amount below 2^128 - 1, which nearly all are, in limbs: a long ledger has many of them. The greatest value stands for
/// one that is kept in full.
type Small = [u64; 2];
const LARGE: Small = [u64::MAX; 2];

fn key(at: i64, entry: usize) -> Key {
    (at, u32::try_from(entry).unwrap_or(u32::MAX))
}

fn small(amount: Sum) -> Small {
    match amount.as_limbs() {
        [low, high, 0, 0, 0] => [*low, *high],
        _ => LARGE,
    }
}

impl Series {
    fn amount(&self, key: &Key, short: &Small) -> Sum {
        let [low, high] = *short;
        match *short {
            LARGE => self.large.get(key).copied().unwrap_or_default(),
            _ => Sum::from_limbs([low, high, 0, 0, 0]),
        }
    }

    /// Adds an amount, which is never zero.
    pub fn insert(&mut self, at: i64, entry: usize, amount: Sum) {
        self.remove(at, entry);
        let (key, short) = (key(at, entry), small(amount));
        self.entries.insert(key, short);
        if short == LARGE {
            self.large.insert(key, amount);
        }
        self.total = self.total.saturating_add(amount);
        for (span, sums) in SPANS.iter().zip(&mut self.spans) {
            let sum = sums.entry(at >> span).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    /// Takes an amount away, and says which it was.
    pub fn remove(&mut self, at: i64, entry: usize) -> Option<Sum> {
        let key = key(at, entry);
        let short = self.entries.remove(&key)?;
        let amount = self.amount(&key, &short);
        self.large.remove(&key);
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
        let key = key(at, entry);
        Some(self.amount(&key, self.entries.get(&key)?))
    }

    /// The sum of all.
    pub fn total(&self) -> Sum {
        self.total
    }

    /// The oldest entry, if it is older than `time`.
    pub fn oldest_before(&self, time: i64) -> Option<(i64, usize)> {
        let ((at, entry), _) = self.entries.first_key_value()?;
        let entry = usize::try_from(*entry).ok()?;
        Some((*at, entry)).filter(|(at, _)| *at < time)
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
            sum = self.entries.range(rest).fold(sum, |sum, (key, more)| {
                sum.saturating_add(self.amount(key, more))
            });
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
        let range = (Bound::Included((from, 0)), Bound::Included((to, u32::MAX)));
        let except = except.map(|(at, entry)| key(at, entry));
        for (key, more) in self.entries.range(range) {
            if Some(*key) != except {
                sum = sum.saturating_add(self.amount(key, more));
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
            prop_assert!(series.entries.is_empty() && series.large.is_empty());
            prop_assert!(series.spans.iter().all(BTreeMap::is_empty), "nothing is kept for nothing");
        }
    }

    #[test]
    fn amounts_of_every_size_are_kept_exactly() {
        let two = Sum::from(2_u64);
        let around = |bits: u64| {
            let power = two.pow(Sum::from(bits));
            [
                power - Sum::ONE - Sum::ONE,
                power - Sum::ONE,
                power,
                power + Sum::ONE,
            ]
        };
        let amounts: Vec<Sum> = [64, 127, 128, 129, 255, 256]
            .into_iter()
            .flat_map(around)
            .collect();
        let mut series = Series::default();
        for (entry, amount) in amounts.iter().enumerate() {
            series.insert(7, entry, *amount);
        }
        let sum = |list: &[Sum]| list.iter().fold(Sum::ZERO, |sum, more| sum + *more);
        assert_eq!(series.total(), sum(&amounts));
        assert_eq!(series.before(8), sum(&amounts));
        for (entry, amount) in amounts.iter().enumerate() {
            assert_eq!(series.get(7, entry), Some(*amount));
            assert_eq!(series.remove(7, entry), Some(*amount));
            assert_eq!(series.total(), sum(&amounts[entry + 1..]));
        }
        assert!(series.entries.is_empty() && series.large.is_empty());
    }
}
