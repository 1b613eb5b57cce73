//! Refused requests of payment services are counted; a service with too many of them is frozen by this node.

use countersign_policy::bundle::{ActiveBundle, Role};
use countersign_policy::statement::{Freeze, FreezeTarget, Kind, SignRequest, Statement, Verified};
use countersign_policy::{Envelope, Timestamp};
use rand_core::OsRng;

use super::Engine;
use crate::gate::store_fault;
use crate::store::{Effect, NewStatement};
use crate::wire::{Problem, ProblemCode};

impl Engine {
    /// Counts a request that policy or a limit refused, if a payment service signed it validly and it has not expired:
    /// what is missing or stale is a coordinator's doing. Freezes the service when it has too many.
    pub(super) async fn count_refusal(&self, request: &Envelope, problem: &Problem, at: Timestamp) {
        if problem.code() != Some(ProblemCode::Policy) {
            return;
        }
        let bundle = self.parts.bundle.current();
        let Ok(request) = bundle.directory().open::<SignRequest>(request) else {
            return;
        };
        if !self.counts(&bundle, &request, at)
            || !self
                .auto_freeze
                .refused(request.issuer(), request.digest(), at)
        {
            return;
        }
        tracing::error!(service = %request.issuer(), "too many requests of a payment service are refused: it is frozen");
        if let Err(problem) = self.freeze_service(&bundle, &request, at).await {
            tracing::error!(service = %request.issuer(), %problem, "the service could not be frozen");
        }
    }

    fn counts(
        &self,
        bundle: &ActiveBundle,
        request: &Verified<SignRequest>,
        at: Timestamp,
    ) -> bool {
        let frozen = match self.parts.store.freezes() {
            Ok(freezes) => !freezes.blocks_member(request.issuer(), None).is_empty(),
            Err(_) => return false,
        };
        !frozen
            && bundle.has_role(request.issuer(), Role::PaymentService)
            && request.require_current(at, bundle.skew_seconds()).is_ok()
    }

    async fn freeze_service(
        &self,
        bundle: &ActiveBundle,
        request: &Verified<SignRequest>,
        at: Timestamp,
    ) -> Result<(), Problem> {
        let body = Freeze {
            target: FreezeTarget::Member {
                member: request.issuer().clone(),
            },
            reason: "too many of its requests were refused by policy".to_owned(),
        };
        let freeze = Statement::new(
            bundle.directory().genesis(),
            self.parts.me.clone(),
            at,
            crate::clock::end_of_time(),
            body,
            &mut OsRng,
        );
        let envelope = freeze
            .sign(&self.parts.identity)
            .map_err(|e| ProblemCode::Internal.problem(e.to_string()))?;
        let freeze = bundle
            .open_freeze(&envelope)
            .map_err(|e| ProblemCode::Internal.problem(e.to_string()))?;
        let statement = NewStatement {
            kind: Kind::Freeze,
            bundle: bundle.digest(),
            envelope,
            effect: Effect::Freeze(Box::new(freeze)),
        };
        self.parts
            .store
            .keep(vec![statement], at)
            .await
            .map_err(|e| store_fault(&e))?;
        self.abort_frozen().await
    }
}
