//! Which limits count, and what chain observers said of what they count.

use countersign_policy::Timestamp;
use countersign_policy::bundle::ActiveBundle;
use countersign_policy::limits::Evidence;
use countersign_policy::statement::{LedgerEvent, Observation, Verified};

use super::rules::Rules;
use super::{Fallible, LedgerPosition};
use crate::store::rows::{self, Write};
use crate::store::state::State;
use crate::store::{OpError, Store, StoreError};

/// Why an observation changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObserveRefusal {
    /// It does not fit what was reserved under the digest, as far as this node knows.
    #[error("the observation proves nothing here: {0}")]
    Evidence(&'static str),
}

impl Store {
    /// Counts everything by this bundle's limits from here on. Nothing is reserved before this was called once.
    ///
    /// Takes time in proportion to the spends of the last 31 days, on the writer's thread. When the bundle is the first to
    /// limit what is outstanding, all ledgers are read again before, because older spends may be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_limits(&self, bundle: &ActiveBundle) -> Result<(), StoreError> {
        let rules = Rules::of(bundle.content());
        if rules.holds_outstanding {
            let held = self.lazily(|state, _| Ok(state.index.spends.hold_outstanding(true)));
            if !held.await? {
                self.recall_spends().await?;
            }
        }
        self.lazily(move |state, _| {
            state.index.spends.set_rules(rules);
            Ok(())
        })
        .await
    }

    /// Takes what a quorum of chain observers says, if it fits the reserved transaction's own lifetime: a confirmed one
    /// leaves `outstanding` limits, a dead one returns. Durable when this returns; repeating it is harmless.
    ///
    /// # Errors
    /// [`ObserveRefusal`] or a [`StoreError`].
    pub async fn observe_chain(
        &self,
        observation: &Verified<Observation>,
        now: Timestamp,
    ) -> Result<LedgerPosition, OpError<ObserveRefusal>> {
        let observation = observation.clone();
        self.durably(move |state, writes| state.observe_chain(&observation, now, writes))
            .await?
            .map_err(OpError::Refused)
    }
}

impl State {
    fn observe_chain(
        &mut self,
        observation: &Verified<Observation>,
        now: Timestamp,
        writes: &mut Vec<Write>,
    ) -> Fallible<Result<LedgerPosition, ObserveRefusal>> {
        let said = observation.body();
        let dead = match self.index.spends.weigh(said) {
            Evidence::Confirmed => false,
            Evidence::Dead => true,
            Evidence::Nothing(why) => return Ok(Err(ObserveRefusal::Evidence(why))),
        };
        if self.index.spends.knows(said) {
            return Ok(Ok(self.head()));
        }
        writes.push(Write::Observation {
            statement: observation.digest(),
            envelope: rows::encode(observation.envelope())?,
        });
        self.index.spends.observed(said.clone());
        let event = LedgerEvent::Observed {
            digest: said.digest,
            observation: observation.digest(),
            dead,
        };
        self.append(event, now, writes).map(Ok)
    }
}
