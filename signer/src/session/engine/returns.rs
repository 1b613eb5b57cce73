//! What lets a reserved spend return: a session that is excluded for good, or a transaction that is dead on its chain.

use countersign_policy::bundle::Role;
use countersign_policy::statement::{Authorization, SessionTerms, SignRequest, Verified};
use countersign_policy::{Envelope, Hash};

use super::Engine;
use crate::clock::now;
use crate::gate::store_fault;
use crate::plain::explained;
use crate::store::{AbortRefusal, OpError};
use crate::wire::{Abort, Problem, ProblemCode, SessionEnded, SessionOutcome, StatementTaken};

impl Engine {
    /// Never sends a share for a session, whether this node reserved it or not, and says so durably: when all its
    /// participants have done so, what it reserved returns.
    ///
    /// # Errors
    /// When the statements do not verify, or this node is no participant.
    pub async fn abort(&self, call: Abort) -> Result<SessionEnded, Problem> {
        let (session, request) = self.authorized_session(&call)?;
        let problem = ProblemCode::Aborted.problem("a coordinator gave the session up");
        if let Some(open) = self.table.get(&session)
            && open.start()
        {
            self.end_without_signature(&open, &problem).await;
            self.table.finish(&open, Err(problem));
        }
        // One that runs finds the abort at its release, unless it was faster.
        let store = &self.parts.store;
        let reason = "a coordinator gave the session up";
        let outcome = match store.exclude(session, request, reason, now()).await {
            Ok(_) => SessionOutcome::Aborted,
            Err(OpError::Refused(AbortRefusal::Released)) => SessionOutcome::Released,
            Err(OpError::Refused(refusal)) => {
                return Err(ProblemCode::Authorization.problem(refusal.to_string()));
            }
            Err(OpError::Failed(fault)) => return Err(store_fault(&fault)),
        };
        Ok(SessionEnded {
            node: self.parts.me.clone(),
            session,
            outcome,
        })
    }

    /// The session and request of an authorization for this node. Neither has to be current: what is over ends like this.
    fn authorized_session(&self, call: &Abort) -> Result<(Hash, Hash), Problem> {
        let bundle = self.parts.bundle.current();
        let refuse = |e: countersign_policy::statement::StatementError| {
            ProblemCode::Statement.problem(explained(&e))
        };
        let authorization: Verified<Authorization> = bundle
            .directory()
            .open(&call.authorization)
            .map_err(refuse)?;
        let request: Verified<SignRequest> =
            bundle.directory().open(&call.request).map_err(refuse)?;
        let body = authorization.body();
        let unfit = |why: &str| Err(ProblemCode::Authorization.problem(why));
        if body.request != request.digest() {
            return unfit("the authorization is for another sign request than the one sent along");
        }
        // Each costs an entry for ever, and coordinators make authorizations for free.
        if !bundle.has_role(request.issuer(), Role::PaymentService) {
            return unfit("the request is by nobody who may ask for a signature");
        }
        if !body.participants.contains(&self.parts.me) {
            return unfit("this node is not among the participants");
        }
        let session = SessionTerms::session_id(authorization.digest());
        Ok((session, request.digest()))
    }

    /// Takes what a quorum of chain observers says of a reserved transaction, once this node itself has verified it and
    /// held it against the transaction's own lifetime.
    ///
    /// # Errors
    /// When it is no acceptable observation, or proves nothing about what is reserved.
    pub async fn observe(&self, envelope: &Envelope) -> Result<StatementTaken, Problem> {
        let bundle = self.parts.bundle.current();
        let observation = bundle
            .open_observation(envelope)
            .map_err(|e| ProblemCode::Statement.problem(explained(&e)))?;
        let at = now();
        observation
            .require_current(at, bundle.skew_seconds())
            .map_err(|e| ProblemCode::Statement.problem(explained(&e)))?;
        match self.parts.store.observe_chain(&observation, at).await {
            Ok(_) => {}
            Err(OpError::Failed(fault)) => return Err(store_fault(&fault)),
            Err(OpError::Refused(refusal)) => {
                return Err(ProblemCode::Statement.problem(refusal.to_string()));
            }
        }
        let freezes = self.parts.store.freezes().map_err(|e| store_fault(&e))?;
        Ok(StatementTaken {
            node: self.parts.me.clone(),
            digest: observation.digest(),
            entry: None,
            freeze_head: freezes.head(),
        })
    }
}
