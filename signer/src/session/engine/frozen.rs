//! Sessions that a freeze hits.

use countersign_policy::FreezeSet;

use super::super::table::Session;
use super::Engine;
use crate::gate::store_fault;
use crate::wire::{Problem, ProblemCode};

impl Engine {
    /// Aborts the open sessions that a freeze in force stops. One that runs already finds the freeze at its release.
    ///
    /// # Errors
    /// A store fault.
    pub async fn abort_frozen(&self) -> Result<(), Problem> {
        let freezes = self.parts.store.freezes().map_err(|e| store_fault(&e))?;
        for session in self.table.open() {
            if let Some(problem) = hit(&session, &freezes)
                && session.start()
            {
                self.end_without_signature(&session, &problem).await;
                self.table.finish(&session, Err(problem));
            }
        }
        Ok(())
    }

    /// The same for one session, which was reserved while a freeze came.
    pub(super) async fn abort_if_frozen(&self, session: &Session) -> Result<(), Problem> {
        let freezes = self.parts.store.freezes().map_err(|e| store_fault(&e))?;
        match hit(session, &freezes) {
            Some(problem) if session.start() => {
                self.end_without_signature(session, &problem).await;
                self.table.finish(session, Err(problem.clone()));
                Err(problem)
            }
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }
}

fn hit(session: &Session, freezes: &FreezeSet) -> Option<Problem> {
    let hits = session.spend().admitted().frozen_by(freezes);
    let first = hits.first()?;
    Some(ProblemCode::Frozen.problem(format!("frozen: {first}")))
}
