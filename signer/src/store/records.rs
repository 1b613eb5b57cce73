//! Records of what this node did and refused, and how much of that a caller can make it keep.
//!
//! A refusal costs its caller nothing, so it must not cost this node its disk: each caller has a budget of records, and
//! what it exceeds is counted and told by a summary. Of refusals the newest [`MAX_REFUSALS`] stay. Records of what *happened*
//! (a failure after a release, a failed ceremony) are bounded by the statements of others that caused them, and always kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use countersign_policy::Timestamp;

use super::ledger::clipped;
use super::rows::Write;
use super::state::State;
use super::writer::Query;
use super::{Record, Store, StoreError};

/// An operation or refusal to be recorded.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// When.
    pub at: Timestamp,
    /// What was attempted; at most 64 bytes.
    pub operation: String,
    /// The subject; at most 256 bytes.
    pub subject: String,
    /// A stable code; at most 64 bytes.
    pub outcome: String,
    /// For people; at most 2,000 bytes.
    pub detail: String,
    /// Whose budget pays for it.
    pub cause: Cause,
}

/// Why there is a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// This caller was refused something, or led a session nowhere: it can repeat that at will.
    Refused(String),
    /// Something happened that a caller cannot repeat at will. Always recorded and always kept.
    Happened,
}

/// Records that one caller can cause at once.
pub const RECORD_BURST: u32 = 500;
/// One more each time that this many milliseconds went by.
const RECORD_EVERY_MS: i64 = 10_000;
/// Callers with a budget of their own: members, and one for all strangers. Should there be more, those share one.
const MAX_CALLERS: usize = 128;
const EVERYBODY_ELSE: &str = "everybody-else";
/// Refusals that are kept; with one caller at it all the time, they reach back four weeks.
const MAX_REFUSALS: u64 = 250_000;
/// Refusals forgotten at once.
const FORGET: u64 = 1_000;
/// The greatest number of records in one answer.
const MAX_RECORDS: usize = 10_000;

/// What each caller may still cause.
#[derive(Debug, Default)]
pub(super) struct Budgets(Mutex<BTreeMap<String, Budget>>);

#[derive(Debug)]
struct Budget {
    left: u32,
    /// Up to when `left` was refilled, in milliseconds.
    refilled: i64,
    dropped: u64,
    first_dropped: Timestamp,
}

impl Budget {
    fn full(at: Timestamp) -> Self {
        Self {
            left: RECORD_BURST,
            refilled: at.as_millis(),
            dropped: 0,
            first_dropped: at,
        }
    }

    fn take(&mut self, at: Timestamp) -> bool {
        let elapsed = at.as_millis().saturating_sub(self.refilled).max(0);
        let earned = elapsed.checked_div(RECORD_EVERY_MS).unwrap_or(0);
        if earned > 0 {
            let more = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(more).min(RECORD_BURST);
            let used = earned.saturating_mul(RECORD_EVERY_MS);
            self.refilled = self.refilled.saturating_add(used);
        }
        if self.left == 0 {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        true
    }

    /// The summary of what was dropped, if anything was.
    fn summary(&mut self, caller: &str, at: Timestamp) -> Option<NewRecord> {
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then(|| NewRecord {
            at,
            operation: "records".to_owned(),
            subject: caller.to_owned(),
            outcome: "refused/busy".to_owned(),
            detail: format!(
                "{dropped} more refusals of {caller} since {} are counted here only: it causes too many",
                self.first_dropped
            ),
            cause: Cause::Refused(caller.to_owned()),
        })
    }
}

impl Budgets {
    /// Whether the record is made, and a summary to make before it.
    fn admit(&self, record: &NewRecord) -> (bool, Option<NewRecord>) {
        let Cause::Refused(caller) = &record.cause else {
            return (true, None);
        };
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = match budgets.contains_key(caller) || budgets.len() < MAX_CALLERS {
            true => clipped(caller.clone(), 256),
            false => EVERYBODY_ELSE.to_owned(),
        };
        let budget = budgets
            .entry(name.clone())
            .or_insert_with(|| Budget::full(record.at));
        if budget.take(record.at) {
            return (true, budget.summary(&name, record.at));
        }
        if budget.dropped == 0 {
            budget.first_dropped = record.at;
            tracing::warn!(caller = %name, "its refusals are only counted from here on: it causes too many");
        }
        budget.dropped = budget.dropped.saturating_add(1);
        (false, None)
    }

    /// Summaries that are due: each takes the place of one record.
    fn due(&self, at: Timestamp) -> Vec<NewRecord> {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = budgets.iter_mut().filter_map(|(caller, budget)| {
            (budget.dropped > 0 && budget.take(at)).then(|| budget.summary(caller, at))?
        });
        due.collect()
    }

    /// All summaries, for the end.
    fn rest(&self, at: Timestamp) -> Vec<NewRecord> {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = budgets
            .iter_mut()
            .filter_map(|(caller, budget)| budget.summary(caller, at));
        rest.collect()
    }
}

impl Store {
    /// Records an operation or refusal; durable when this returns. Returns its number, or nothing when its caller caused
    /// too many: then it is counted for a summary.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record(&self, record: NewRecord) -> Result<Option<u64>, StoreError> {
        let (admitted, summary) = self.budgets().admit(&record);
        if !admitted {
            // Not even a commit: a flood costs no writes.
            return self.health().map(|()| None);
        }
        self.durably(move |state, writes| {
            if let Some(summary) = summary {
                state.record(summary, writes);
            }
            Ok(Some(state.record(record, writes)))
        })
        .await
    }

    /// Records without waiting for the disk. Every later durable operation makes it durable too: recorded before a reservation
    /// or a release is asked for, it is on disk when that is answered (I7).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note(&self, record: NewRecord) -> Result<u64, StoreError> {
        self.lazily(|state, writes| Ok(state.record(record, writes)))
            .await
    }

    /// Writes the summaries of refusals that were only counted, as far as their callers' budgets allow; to be called now
    /// and then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn summarise_records(&self, at: Timestamp) -> Result<(), StoreError> {
        self.write_summaries(self.budgets().due(at)).await
    }

    /// The same for all that is left, at the end of the process.
    pub(super) async fn summarise_all_records(&self, at: Timestamp) -> Result<(), StoreError> {
        self.write_summaries(self.budgets().rest(at)).await
    }

    async fn write_summaries(&self, summaries: Vec<NewRecord>) -> Result<(), StoreError> {
        for summary in summaries {
            self.note(summary).await?;
        }
        Ok(())
    }

    /// The newest durable records, newest first, at most `limit` (and at most 10,000).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn records(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.query(|reply| Query::Records(limit.min(MAX_RECORDS), reply))
            .await
    }

    #[cfg(test)]
    pub(super) async fn keep_refusals(&self, most: u64) {
        self.lazily(move |state, _| {
            state.records.max_refusals = most;
            Ok(())
        })
        .await
        .unwrap();
    }
}

/// What the writer knows about the records in the file.
#[derive(Debug)]
pub(super) struct RecordCounts {
    /// Number of the newest.
    pub newest: u64,
    /// How many of them can be forgotten.
    pub refusals: u64,
    pub max_refusals: u64,
}

impl RecordCounts {
    pub(super) fn new(newest: u64, refusals: u64) -> Self {
        Self {
            newest,
            refusals,
            max_refusals: MAX_REFUSALS,
        }
    }
}

impl State {
    fn record(&mut self, record: NewRecord, writes: &mut Vec<Write>) -> u64 {
        let counts = &mut self.records;
        counts.newest = counts.newest.saturating_add(1);
        let kept = record.cause == Cause::Happened;
        writes.push(Write::Record {
            sequence: counts.newest,
            at: record.at,
            operation: clipped(record.operation, 64),
            subject: clipped(record.subject, 256),
            outcome: clipped(record.outcome, 64),
            detail: clipped(record.detail, 2000),
            kept,
        });
        if !kept {
            counts.refusals = counts.refusals.saturating_add(1);
        }
        if counts.refusals > counts.max_refusals {
            let oldest = FORGET.min(counts.refusals);
            counts.refusals = counts.refusals.saturating_sub(oldest);
            writes.push(Write::ForgetRefusals { oldest });
        }
        counts.newest
    }
}
