//! The book: what each limit has left, from everything that ledgers reserved.

use std::collections::HashMap;

use super::charge::{Sum, Tariff, UNCOUNTABLE, narrow, widen};
use super::few::Few;
use super::series::Series;
use super::slots::Slots;
use super::{Limit, LimitHit, Measure, Period, Reference, Spend};
use crate::bundle::{AssetRecord, PolicyBundle, Wallet};
use crate::hash::Hash;
use crate::id::LimitId;
use crate::time::Timestamp;
use crate::{Amount, bundle::WalletTier};

/// The cumulative limits of one bundle, and what counts towards them.
///
/// It is pure and lives in memory: a node fills it from its own ledger and its peers', in whatever order their entries
/// arrive, and fills a new one when the bundle changes. Sums are exact; what cannot be counted passes every limit.
///
/// An entry is kept while some limit counts it. The book does not remember what became of a spend that it dropped: whoever
/// records it again (a late entry of a peer) repeats what is known of its end, [`settle`](Self::settle) or
/// [`give_back`](Self::give_back).
#[derive(Debug, Clone)]
pub struct LimitBook {
    tariff: Tariff,
    counters: Vec<Counter>,
    spends: Vec<Option<Record>>,
    free: Vec<usize>,
    by_digest: HashMap<Hash, Few<usize>>,
    by_slot: Slots,
    /// The latest time that was pruned to: what had expired then is never counted again.
    floor: i64,
}

/// A limit and what it counts.
#[derive(Debug, Clone)]
struct Counter {
    limit: Limit,
    /// How long an entry counts, in milliseconds; `None` where time does not matter.
    window: Option<i64>,
    series: Series,
}

/// A spend that some limit counts.
#[derive(Debug, Clone)]
struct Record {
    id: Hash,
    slot: Option<Hash>,
    at: i64,
    fee: Amount,
    versions: Few<Version>,
    confirmed: bool,
    /// The counters that have it.
    counted_by: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    digest: Hash,
    dead: bool,
}

impl LimitBook {
    /// An empty book for `limits`. `skew_seconds` is how far two clocks may differ.
    pub fn new(
        limits: &[Limit],
        reference: Option<&Reference>,
        wallets: &[Wallet],
        assets: &[AssetRecord],
        skew_seconds: u64,
    ) -> Self {
        let counter = |limit: &Limit| Counter {
            limit: limit.clone(),
            window: window_millis(&limit.period, skew_seconds),
            series: Series::default(),
        };
        Self {
            tariff: Tariff::new(reference, wallets, assets),
            counters: limits.iter().map(counter).collect(),
            spends: Vec::new(),
            free: Vec::new(),
            by_digest: HashMap::new(),
            by_slot: Slots::default(),
            floor: i64::MIN,
        }
    }

    /// An empty book for a bundle.
    pub fn of(bundle: &PolicyBundle) -> Self {
        Self::new(
            &bundle.limits,
            bundle.reference.as_ref(),
            &bundle.wallets,
            &bundle.assets,
            bundle.timing.max_clock_skew_seconds,
        )
    }

    /// The book with everything that ledgers still remember: what a new bundle begins with.
    #[must_use]
    pub fn with_spends<'a>(mut self, spends: impl IntoIterator<Item = &'a Spend>) -> Self {
        for spend in spends {
            self.record(spend);
        }
        self
    }

    /// The same limits without a single spend.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let counter = |counter: &Counter| Counter {
            series: Series::default(),
            ..counter.clone()
        };
        Self {
            tariff: self.tariff.clone(),
            counters: self.counters.iter().map(counter).collect(),
            spends: Vec::new(),
            free: Vec::new(),
            by_digest: HashMap::new(),
            by_slot: Slots::default(),
            floor: self.floor,
        }
    }

    /// How many spends are kept.
    pub fn len(&self) -> usize {
        self.spends.len().saturating_sub(self.free.len())
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts a spend that some ledger reserved.
    ///
    /// The same version again adds nothing, wherever and whenever it was reserved; only its latest reservation counts, so
    /// that it stays in a window as long as it could be signed there. Another version of the payment adds what its fee is
    /// higher. A version whose slot another transaction has used for good counts nothing.
    pub fn record(&mut self, spend: &Spend) {
        if self.slot_is_used(spend) {
            return;
        }
        let at = spend.at.as_millis();
        let Some(index) = self.find(spend) else {
            let record = Record {
                id: spend.id,
                slot: spend.slot,
                at,
                fee: spend.fee,
                versions: Few::one(Version::alive(spend.digest)),
                confirmed: false,
                counted_by: Vec::new(),
            };
            let index = self.place(record);
            self.name(index, spend);
            self.count(index, spend);
            return;
        };
        let Some(record) = self.spends.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let known = record
            .versions
            .iter_mut()
            .find(|v| v.digest == spend.digest);
        let new = known.is_none();
        match known {
            Some(version) => version.dead = false,
            None => record.versions.push(Version::alive(spend.digest)),
        }
        if new {
            self.by_digest.entry(spend.digest).or_default().push(index);
        }
        let changed = at > record.at || spend.fee > record.fee;
        if changed {
            let (at, fee) = (at.max(record.at), spend.fee.max(record.fee));
            self.uncount(index, |_| true);
            if let Some(record) = self.spends.get_mut(index).and_then(Option::as_mut) {
                (record.at, record.fee) = (at, fee);
            }
            self.count(index, spend);
        }
    }

    /// The transaction with this digest is in a block for good: it leaves `outstanding` limits and stays in windows. Every
    /// other transaction of its slot can never be in a block, and returns.
    pub fn settle(&mut self, digest: &Hash) {
        for index in self.with_digest(digest) {
            let Some(record) = self.spends.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            record.confirmed = true;
            let slot = record.slot;
            if let Some(slot) = &slot {
                self.by_slot.settle(slot);
            }
            for sibling in slot.map(|slot| self.by_slot.all(&slot)).unwrap_or_default() {
                if sibling != index && !self.has_version(sibling, digest) {
                    self.drop_spend(sibling);
                }
            }
            self.uncount(index, |counter| counter.limit.period == Period::Outstanding);
            self.drop_if_uncounted(index);
        }
    }

    /// The transaction with this digest will never be in a block: its participants all refused it for ever, or it is dead
    /// on chain. The spend returns when no other version of it is alive. What is in a block never returns.
    pub fn give_back(&mut self, digest: &Hash) {
        for index in self.with_digest(digest) {
            let Some(record) = self.spends.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            for version in record.versions.iter_mut().filter(|v| v.digest == *digest) {
                version.dead = true;
            }
            if !record.confirmed && record.versions.iter().all(|v| v.dead) {
                self.drop_spend(index);
            }
        }
    }

    /// Forgets what no limit counts any more at `now`. It is never counted again, even if `now` was later than a next one.
    pub fn prune(&mut self, now: Timestamp) {
        self.floor = self.floor.max(now.as_millis());
        for index in 0..self.counters.len() {
            self.prune_counter(index);
        }
    }

    /// The limits that `spend` would pass, with everything that was recorded, and itself once.
    ///
    /// `lower` gives the cap that a freeze lowered a limit to, if one did.
    pub fn hits(
        &self,
        spend: &Spend,
        now: Timestamp,
        lower: &dyn Fn(&LimitId) -> Option<Amount>,
    ) -> Vec<LimitHit> {
        let own = self.find(spend);
        let own = own.and_then(|index| Some((index, self.spends.get(index)?.as_ref()?)));
        let fee = own.map_or(spend.fee, |(_, record)| record.fee.max(spend.fee));
        let own = own.map(|(index, record)| (record.at, index));
        let hit = |counter: &Counter| {
            // A limit per transaction knows no earlier versions.
            let once = counter.limit.period == Period::Transaction;
            let fee = if once { spend.fee } else { fee };
            let requested = self.tariff.charge(&counter.limit, spend, fee)?;
            let max = counter.max();
            let max = lower(&counter.limit.id).map_or(max, |lowered| lowered.min(max));
            counter.hit(requested, max, now, own)
        };
        self.counters.iter().filter_map(hit).collect()
    }

    /// The limits that count `spend`.
    pub fn applies<'a>(&'a self, spend: &'a Spend) -> impl Iterator<Item = &'a LimitId> + 'a {
        let charged = |c: &&Counter| self.tariff.charge(&c.limit, spend, spend.fee).is_some();
        self.counters.iter().filter(charged).map(|c| &c.limit.id)
    }

    /// The tier that limits take the spend's wallet to have.
    pub fn tier(&self, spend: &Spend) -> Option<WalletTier> {
        self.tariff.tier(spend)
    }
}

impl LimitBook {
    /// Puts a spend into every counter that takes it and for which it is young enough.
    fn count(&mut self, index: usize, spend: &Spend) {
        let Some(record) = self.spends.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        for (number, counter) in self.counters.iter_mut().enumerate() {
            let counts = match counter.limit.period {
                Period::Transaction => false,
                Period::Outstanding => !record.confirmed,
                Period::Rolling { .. } => record.at >= counter.cutoff(self.floor),
            };
            let charge = || self.tariff.charge(&counter.limit, spend, record.fee);
            if let Some(charge) = Some(()).filter(|()| counts).and_then(|()| charge()) {
                counter.series.insert(record.at, index, charge);
                record.counted_by.push(number);
            }
        }
        self.drop_if_uncounted(index);
    }

    /// Takes a spend out of those of its counters that `which` says.
    fn uncount(&mut self, index: usize, which: impl Fn(&Counter) -> bool) {
        let Some(record) = self.spends.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let at = record.at;
        record
            .counted_by
            .retain(|number| match self.counters.get_mut(*number) {
                Some(counter) if which(counter) => {
                    counter.series.remove(at, index);
                    false
                }
                Some(_) => true,
                None => false,
            });
    }

    fn prune_counter(&mut self, number: usize) {
        loop {
            let Some(counter) = self.counters.get_mut(number) else {
                return;
            };
            let cutoff = counter.cutoff(self.floor);
            let Some((at, index)) = counter.series.oldest_before(cutoff) else {
                return;
            };
            counter.series.remove(at, index);
            if let Some(record) = self.spends.get_mut(index).and_then(Option::as_mut) {
                record.counted_by.retain(|counted| *counted != number);
            }
            self.drop_if_uncounted(index);
        }
    }

    fn drop_if_uncounted(&mut self, index: usize) {
        let record = self.spends.get(index).and_then(Option::as_ref);
        if record.is_some_and(|record| record.counted_by.is_empty()) {
            self.drop_spend(index);
        }
    }

    fn drop_spend(&mut self, index: usize) {
        self.uncount(index, |_| true);
        let Some(record) = self.spends.get_mut(index).and_then(Option::take) else {
            return;
        };
        for version in record.versions.iter() {
            unname(&mut self.by_digest, &version.digest, index);
        }
        if let Some(slot) = record.slot {
            self.by_slot.remove(&slot, &record.id);
        }
        self.free.push(index);
    }

    fn place(&mut self, record: Record) -> usize {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.spends.get_mut(index)
        {
            *place = Some(record);
            return index;
        }
        self.spends.push(Some(record));
        self.spends.len().saturating_sub(1)
    }

    fn name(&mut self, index: usize, spend: &Spend) {
        self.by_digest.entry(spend.digest).or_default().push(index);
        if let Some(slot) = spend.slot {
            let spends = &self.spends;
            let id_of = |index: usize| Some(spends.get(index)?.as_ref()?.id);
            self.by_slot.add(slot, (spend.id, index), id_of);
        }
    }

    /// The record of the payment that `spend` is a version of.
    fn find(&self, spend: &Spend) -> Option<usize> {
        if let Some(slot) = &spend.slot {
            let id_of = |index: usize| self.record_at(index).map(|r| r.id);
            return self.by_slot.find(slot, &spend.id, id_of);
        }
        let mut indices = self.by_digest.get(&spend.digest)?.iter().copied();
        indices.find(|index| self.record_at(*index).is_some_and(|r| r.id == spend.id))
    }

    fn record_at(&self, index: usize) -> Option<&Record> {
        self.spends.get(index)?.as_ref()
    }

    fn with_digest(&self, digest: &Hash) -> Vec<usize> {
        let indices = self.by_digest.get(digest);
        indices
            .map(|i| i.iter().copied().collect())
            .unwrap_or_default()
    }

    fn has_version(&self, index: usize, digest: &Hash) -> bool {
        let record = self.record_at(index);
        record.is_some_and(|r| r.versions.iter().any(|v| v.digest == *digest))
    }

    /// Whether another transaction than any version of this spend has used its slot for good.
    fn slot_is_used(&self, spend: &Spend) -> bool {
        let Some(slot) = spend.slot.filter(|slot| self.by_slot.is_settled(slot)) else {
            return false;
        };
        let used = |index: &usize| {
            let record = self.record_at(*index);
            record.is_some_and(|r| r.confirmed && r.id != spend.id)
                && !self.has_version(*index, &spend.digest)
        };
        self.by_slot.all(&slot).iter().any(used)
    }
}

impl Counter {
    fn max(&self) -> Amount {
        match &self.limit.measure {
            Measure::Amount { max, .. } | Measure::Fee { max, .. } | Measure::Value { max } => *max,
            Measure::Count { max } => Amount::from(*max),
        }
    }

    /// What is older than this does not count at `now`.
    fn cutoff(&self, now: i64) -> i64 {
        self.window
            .map_or(i64::MIN, |window| now.saturating_sub(window))
    }

    fn hit(
        &self,
        requested: Sum,
        max: Amount,
        now: Timestamp,
        own: Option<(i64, usize)>,
    ) -> Option<LimitHit> {
        let cutoff = self.cutoff(now.as_millis());
        let own_amount = own.and_then(|(at, index)| Some((at, self.series.get(at, index)?)));
        let own_of = |counted: bool| own_amount.filter(|_| counted).map_or(Sum::ZERO, |(_, a)| a);
        let own_expired = own_amount.is_some_and(|(at, _)| at < cutoff);
        let expired = self
            .series
            .before(cutoff)
            .saturating_sub(own_of(own_expired));
        let others = self.series.total().saturating_sub(own_of(true));
        let used = others.saturating_sub(expired);
        let wanted = used.saturating_add(requested);
        if wanted <= widen(max) && requested < UNCOUNTABLE {
            return None;
        }
        let resets_at = self
            .window
            .filter(|_| requested <= widen(max))
            .and_then(|window| {
                let need = wanted.saturating_sub(widen(max)).saturating_add(expired);
                let leaves = self.series.reaches(need, own)?;
                let from = leaves.saturating_add(window).saturating_add(1);
                Some(Timestamp::from_millis(from))
            });
        Some(LimitHit {
            limit: self.limit.id.clone(),
            max,
            used: narrow(used),
            requested: narrow(requested),
            resets_at,
        })
    }
}

impl Version {
    const fn alive(digest: Hash) -> Self {
        Self {
            digest,
            dead: false,
        }
    }
}

/// The span and twice the skew: the clock that reserved may have been ahead, and the one that asks behind.
fn window_millis(period: &Period, skew_seconds: u64) -> Option<i64> {
    let Period::Rolling { seconds } = period else {
        return None;
    };
    let seconds = seconds.saturating_add(skew_seconds.saturating_mul(2));
    Some(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX))
}

fn unname(names: &mut HashMap<Hash, Few<usize>>, name: &Hash, index: usize) {
    if let Some(indices) = names.get_mut(name) {
        indices.retain(|other| *other != index);
        if indices.is_empty() {
            names.remove(name);
        }
    }
}
