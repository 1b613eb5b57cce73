//! Counters of officers' authenticators, before a statement is relied on.

use super::Engine;
use crate::gate::store_fault;
use crate::store::{OpError, SeenCounter};
use crate::wire::{Problem, ProblemCode};

impl Engine {
    /// Takes in the counters of a statement's assertions, durably. A counter that does not go up is of an authenticator that
    /// was copied: nothing that it signs counts here.
    ///
    /// # Errors
    /// With `code` for such a counter; a store fault.
    pub async fn require_counters(
        &self,
        seen: Vec<SeenCounter>,
        code: ProblemCode,
    ) -> Result<(), Problem> {
        match self.parts.store.admit_counters(seen).await {
            Ok(()) => Ok(()),
            Err(OpError::Failed(fault)) => Err(store_fault(&fault)),
            Err(OpError::Refused(copied)) => Err(code.problem(copied.to_string())),
        }
    }

    /// Takes in what is higher than was known, and refuses nothing: a peer held a statement that it passes on against the
    /// counters that it knew, and statements do not travel in the order in which they were made.
    ///
    /// # Errors
    /// A store fault.
    pub async fn learn_counters(&self, seen: Vec<SeenCounter>) -> Result<(), Problem> {
        let learnt = self.parts.store.learn_counters(seen).await;
        learnt.map_err(|e| store_fault(&e))
    }
}
