//! How a session ends without a signature: it failed, it was stopped, its time is over, or another attempt takes its place.

use countersign_policy::bundle::{ActiveBundle, Role};
use countersign_policy::statement::{
    Approval, Cancel, Kind, SignRequest, Statement, StopAck, StopOutcome, Verdict, Verified,
};
use countersign_policy::{Envelope, FreezeSet, Timestamp};
use rand_core::OsRng;

use super::super::table::Session;
use super::Engine;
use crate::clock::now;
use crate::gate::{Admitted, store_fault};
use crate::plain::explained;
use crate::store::{Cause, SeenCounter};
use crate::wire::{Problem, ProblemCode, Stop, Stopped};

/// How long a result stays in memory after its authorization ended, in seconds.
const KEEP_RESULT_SECONDS: u64 = 60;

impl Engine {
    pub(super) async fn end_without_signature(&self, session: &Session, problem: &Problem) {
        let terms = session.spend().terms();
        let aborted = session
            .spend()
            .abort(&self.parts.store, &problem.kind, now())
            .await;
        // Who authorized it can lead any number of sessions nowhere, but none to a release.
        let coordinator = || {
            let authorization = session.spend().admitted().authorization();
            Cause::Refused(authorization.issuer().to_string())
        };
        let (outcome, cause) = match aborted {
            // It had no share to keep back.
            Ok(_) if session.spend().is_witness(&self.parts.me) => ("not witnessed", coordinator()),
            Ok(true) => ("aborted", coordinator()),
            Ok(false) => ("failed after release", Cause::Happened),
            Err(_) => ("store fault", Cause::Happened),
        };
        let subject = terms.session.to_string();
        // A session that nobody keeps a record of, because its coordinator causes too many, fills no log either.
        if self
            .record(cause, ("sign", &subject), outcome, problem)
            .await
        {
            tracing::warn!(session = %terms.session, request = %terms.request, problem = %problem, culprits = ?problem.culprits, "session ended without a signature");
        }
    }

    /// Never signs the request again, and says so durably.
    ///
    /// # Errors
    /// When the statements do not verify, or whoever cancels may not.
    pub async fn stop(&self, call: Stop) -> Result<Stopped, Problem> {
        let bundle = self.parts.bundle.current();
        let refuse = |e: countersign_policy::statement::StatementError| {
            ProblemCode::Statement.problem(explained(&e))
        };
        let request: Verified<SignRequest> =
            bundle.directory().open(&call.request).map_err(refuse)?;
        let no = call.cancel.digest();
        if call.cancel.payload_type() == Kind::Approval.payload_type() {
            let freezes = self.parts.store.freezes().map_err(|e| store_fault(&e))?;
            let said = require_rejection(&bundle, &request, &call.cancel, &freezes)?;
            self.require_counters(SeenCounter::of(&said), ProblemCode::Statement)
                .await?;
        } else {
            require_cancel(&bundle, &request, &call.cancel)?;
        }
        let at = now();
        let outcome = self
            .parts
            .store
            .stop(request.digest(), no, at)
            .await
            .map_err(|e| store_fault(&e))?;
        if outcome == StopOutcome::Stopped {
            for session in self.table.of_request(&request.digest()) {
                let problem = ProblemCode::StoppedRequest.problem("the request was stopped");
                // Nobody runs it any more; one that runs already finds the stop in the ledger.
                if session.start() {
                    self.end_without_signature(&session, &problem).await;
                }
                self.table.finish(&session, Err(problem));
            }
        }
        let body = StopAck {
            request: request.digest(),
            cancel: no,
            outcome,
        };
        let genesis = bundle.directory().genesis();
        let ack = Statement::new(
            genesis,
            self.parts.me.clone(),
            at,
            crate::clock::end_of_time(),
            body,
            &mut OsRng,
        );
        let ack = ack
            .sign(&self.parts.identity)
            .map_err(|e| ProblemCode::Internal.problem(e.to_string()))?;
        Ok(Stopped { ack })
    }

    /// Aborts sessions whose authorization ended, and forgets those that ended long ago.
    pub async fn sweep(&self) {
        // A store fault shows at the next thing that matters.
        let _ = self.parts.store.summarise_records(now()).await;
        let skew = self.parts.bundle.current().skew_seconds();
        let at = now();
        for session in self.table.open() {
            let authorization = session.spend().admitted().authorization();
            if authorization.require_current(at, skew).is_err() && session.start() {
                let problem = ProblemCode::Timeout
                    .problem("the authorization expired before the receipts came");
                self.end_without_signature(&session, &problem).await;
                self.table.finish(&session, Err(problem));
            }
        }
        self.table
            .remove_expired(at.minus_seconds(skew.saturating_add(KEEP_RESULT_SECONDS)));
        // What other participants reserved for sessions that this node never heard of: without its word it never returns.
        let missed_before = at.minus_seconds(skew.saturating_mul(2));
        if let Err(fault) = self.parts.store.exclude_missed(missed_before, at).await {
            tracing::debug!(%fault, "missed sessions could not be excluded");
        }
    }

    /// An earlier attempt whose time is over is aborted, so that a new one can be reserved.
    pub(super) async fn abort_stale(&self, admitted: &Admitted, at: Timestamp) {
        for session in self.table.of_request(&admitted.request().digest()) {
            let expires_at = session
                .spend()
                .admitted()
                .authorization()
                .statement()
                .expires_at;
            let replaced =
                admitted.authorization().body().attempt > session.spend().terms().attempt;
            if (replaced || at >= expires_at) && session.start() {
                let problem = ProblemCode::Aborted.problem("replaced by a later attempt");
                self.end_without_signature(&session, &problem).await;
                self.table.finish(&session, Err(problem));
            }
        }
    }
}

/// A cancel by the initiator, an officer or a coordinator.
fn require_cancel(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    envelope: &Envelope,
) -> Result<(), Problem> {
    let cancel: Verified<Cancel> = bundle
        .directory()
        .open(envelope)
        .map_err(|e| ProblemCode::Statement.problem(explained(&e)))?;
    if cancel.body().request != request.digest() {
        return Err(ProblemCode::Statement.problem("the cancel is for another request"));
    }
    let who = cancel.issuer();
    let may = who == request.issuer()
        || bundle.has_role(who, Role::SecurityOfficer)
        || bundle.has_role(who, Role::Coordinator);
    if may {
        return Ok(());
    }
    Err(ProblemCode::Forbidden.problem(format!(
        "{who} may not cancel a request of {}",
        request.issuer()
    )))
}

/// An officer's no, which needs no exactness: it is about this request, and the officer is not frozen.
fn require_rejection(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    envelope: &Envelope,
    freezes: &FreezeSet,
) -> Result<Verified<Approval>, Problem> {
    let refuse = |what: &str| Err(ProblemCode::Statement.problem(what));
    let approval = bundle
        .open_approval(envelope)
        .map_err(|e| ProblemCode::Statement.problem(explained(&e)))?;
    if approval.body().request != request.digest() {
        return refuse("the rejection is of another request");
    }
    if approval.body().verdict == Verdict::Approve {
        return refuse("an approval stops nothing");
    }
    let who = approval.issuer();
    if !freezes.blocks_member(who, approval.key_of(who)).is_empty() {
        return refuse("the officer, or the key used, is frozen");
    }
    Ok(approval)
}
