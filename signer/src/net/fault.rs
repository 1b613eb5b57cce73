//! Faults on the way to the peers, for tests. Only with the feature `fault-injection`, which release builds refuse.
//!
//! The environment variable `COUNTERSIGN_NET_FAULTS` holds a plan: `name=value` pairs joined by commas. Each fault is the chance in
//! percent that it befalls a batch of frames:
//!
//! | name | what happens |
//! |---|---|
//! | `drop` | the batch is not sent and counts as failed: it is resent |
//! | `forget` | the batch is sent, but its answer is lost: it is resent |
//! | `duplicate` | the batch is sent twice |
//! | `reorder` | the frames of the batch are shuffled, and later batches may overtake it |
//! | `delay` | the batch waits `delay_ms` milliseconds (default 50) |
//! | `lose` | the batch is never sent and counts as delivered: a fault that no transport can mend |
//! | `garbage` | a damaged copy of the batch is sent as well |
//! | `oversize` | a body over the limit is sent as well |
//! | `replay` | a batch that the same peer was sent earlier, perhaps in another session, is sent again as well |
//!
//! `seed` (default 0) makes the choices repeatable, as far as the order of batches is. Example:
//! `COUNTERSIGN_NET_FAULTS=seed=7,drop=10,duplicate=10,reorder=20,delay=20,delay_ms=30`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use countersign_policy::MemberId;
use thiserror::Error;

use super::client::CallError;
use super::frame::{MAX_BATCH_BYTES, Verdict, encode_batch};
use super::outbound::{Courier, Queued};
use crate::wire::path;

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("the feature fault-injection is for tests: a release build must not have it");

/// The variable that holds the plan.
pub const FAULTS_VARIABLE: &str = "COUNTERSIGN_NET_FAULTS";

/// A plan that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{FAULTS_VARIABLE}: {0:?} is not name=value with a known name and a whole number, or a chance over 100"
)]
pub struct FaultPlanError(String);

/// Chances in percent, and the state of the dice.
#[derive(Debug, Default)]
pub struct FaultPlan {
    dice: AtomicU64,
    drop: u64,
    forget: u64,
    duplicate: u64,
    reorder: u64,
    delay: u64,
    delay_ms: u64,
    lose: u64,
    garbage: u64,
    oversize: u64,
    replay: u64,
    sent: Mutex<BTreeMap<MemberId, Vec<Vec<u8>>>>,
}

/// Batches to one peer that are kept for replaying: the first ones, so that whole sessions are among them.
const KEPT: usize = 64;

impl FaultPlan {
    /// The plan of the environment, if there is one.
    #[allow(
        clippy::panic,
        reason = "test builds only; a misspelt plan would make a test prove nothing"
    )]
    pub(super) fn from_environment() -> Option<Self> {
        let text = std::env::var(FAULTS_VARIABLE).ok()?;
        match text.parse::<Self>() {
            Ok(plan) => {
                tracing::warn!(plan = %text, "faults are injected on the way to the peers");
                Some(plan)
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The next random number (SplitMix64, Steele, Lea and Flood 2014).
    fn roll(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.dice.fetch_add(GAMMA, Ordering::Relaxed);
        let mut z = state.wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn befalls(&self, chance: u64) -> bool {
        chance > 0
            && self
                .roll()
                .checked_rem(100)
                .is_some_and(|roll| roll < chance)
    }

    /// Sends a batch as the plan wants it.
    pub(super) async fn send(
        &self,
        courier: &Courier,
        mut batch: Vec<Queued>,
    ) -> (Vec<Queued>, Result<Vec<Verdict>, CallError>) {
        if self.befalls(self.lose) {
            let verdicts = vec![Verdict::Taken; batch.len()];
            return (batch, Ok(verdicts));
        }
        if self.befalls(self.delay) {
            tokio::time::sleep(Duration::from_millis(self.delay_ms)).await;
        }
        if self.befalls(self.reorder) {
            batch.sort_by_cached_key(|_| self.roll());
            tokio::time::sleep(Duration::from_millis(self.roll() & 7)).await;
        }
        if self.befalls(self.garbage) {
            self.send_garbage(courier, &batch).await;
        }
        if self.befalls(self.oversize) {
            let body = vec![0u8; MAX_BATCH_BYTES.saturating_add(1)];
            let deadline = courier.limits.batch_timeout;
            let answer = courier.client.post_bytes(path::FRAMES, body, deadline);
            let refused = answer.await.is_err();
            tracing::debug!(refused, "oversize sent");
        }
        if self.replay > 0 {
            self.send_earlier(courier, &batch).await;
        }
        if self.befalls(self.drop) {
            return (batch, Err(lost(courier)));
        }
        if self.befalls(self.duplicate) {
            let again = courier.post(&batch).await;
            tracing::debug!(taken = again.is_ok(), "batch sent twice");
        }
        let result = courier.post(&batch).await;
        if self.befalls(self.forget) {
            return (batch, Err(lost(courier)));
        }
        (batch, result)
    }

    /// Keeps this batch, and sends one that was kept before.
    async fn send_earlier(&self, courier: &Courier, batch: &[Queued]) {
        let befalls = self.befalls(self.replay);
        let Ok(bytes) = encode_batch(batch.iter().map(Queued::frame)) else {
            return;
        };
        let earlier = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = sent.entry(courier.client.member().clone()).or_default();
            let choice = usize::try_from(self.roll()).unwrap_or_default();
            let earlier = choice.checked_rem(kept.len()).and_then(|at| kept.get(at));
            let earlier = earlier.filter(|_| befalls).cloned();
            if kept.len() < KEPT {
                kept.push(bytes);
            }
            earlier
        };
        if let Some(earlier) = earlier {
            let deadline = courier.limits.batch_timeout;
            let answer = courier.client.post_bytes(path::FRAMES, earlier, deadline);
            let taken = answer.await.is_ok();
            tracing::debug!(taken, "an earlier batch sent again");
        }
    }

    async fn send_garbage(&self, courier: &Courier, batch: &[Queued]) {
        let Ok(mut bytes) = encode_batch(batch.iter().map(Queued::frame)) else {
            return;
        };
        // Within the header, so that no damaged body can pass for a message of ours.
        let at = usize::try_from(self.roll() & 3).unwrap_or_default();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x55;
        }
        let deadline = courier.limits.batch_timeout;
        let answer = courier.client.post_bytes(path::FRAMES, bytes, deadline);
        let refused = answer.await.is_err();
        tracing::debug!(refused, "garbage sent");
    }
}

fn lost(courier: &Courier) -> CallError {
    CallError::Unreachable {
        member: courier.client.member().clone(),
        source: "injected fault".into(),
    }
}

impl std::str::FromStr for FaultPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        let mut plan = Self {
            delay_ms: 50,
            ..Self::default()
        };
        for pair in text.split(',') {
            let bad = || FaultPlanError(pair.to_owned());
            let (name, value) = pair.split_once('=').ok_or_else(bad)?;
            let value: u64 = value.parse().map_err(|_| bad())?;
            let chance = match name {
                "seed" => {
                    plan.dice = AtomicU64::new(value);
                    continue;
                }
                "delay_ms" => {
                    plan.delay_ms = value;
                    continue;
                }
                "drop" => &mut plan.drop,
                "forget" => &mut plan.forget,
                "duplicate" => &mut plan.duplicate,
                "reorder" => &mut plan.reorder,
                "delay" => &mut plan.delay,
                "lose" => &mut plan.lose,
                "garbage" => &mut plan.garbage,
                "oversize" => &mut plan.oversize,
                "replay" => &mut plan.replay,
                _ => return Err(bad()),
            };
            if value > 100 {
                return Err(bad());
            }
            *chance = value;
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_plan_is_refused() {
        for bad in [
            "",
            "drop",
            "drop=x",
            "drop=101",
            "dropp=1",
            "drop=1,,lose=2",
        ] {
            assert!(bad.parse::<FaultPlan>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_choices() {
        let roll = |text: &str| {
            let plan: FaultPlan = text.parse().unwrap();
            (0..64).map(|_| plan.befalls(plan.drop)).collect::<Vec<_>>()
        };
        assert_eq!(roll("seed=7,drop=30"), roll("seed=7,drop=30"));
        assert_ne!(roll("seed=7,drop=30"), roll("seed=8,drop=30"));
        assert!(roll("seed=7,drop=100").iter().all(|befell| *befell));
        assert!(roll("seed=7,drop=0").iter().all(|befell| !befell));
    }
}
