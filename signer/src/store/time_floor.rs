//! The time floor: a clock that shows less than it has shown before went back.

use countersign_policy::Timestamp;

use super::rows::Write;
use super::{Store, StoreError};

/// The floor is written when it rose by this many seconds.
const STEP_SECONDS: u64 = 10;

impl Store {
    /// A time that this node's clock has shown while it was trusted. [`Timestamp::from_millis`] of 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`] once the store refuses to work.
    pub fn time_floor(&self) -> Result<Timestamp, StoreError> {
        self.published(|p| p.time_floor)
    }

    /// Raises the floor to `now`, when that is some seconds above it. Written with the next durable operation: for a clock
    /// that agrees with the peers' alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn raise_time_floor(&self, now: Timestamp) -> Result<(), StoreError> {
        if now < self.time_floor()?.plus_seconds(STEP_SECONDS) {
            return Ok(());
        }
        self.lazily(move |state, writes| {
            if now >= state.time_floor.plus_seconds(STEP_SECONDS) {
                state.time_floor = now;
                writes.push(Write::TimeFloor { at: now });
            }
            Ok(())
        })
        .await
    }
}
