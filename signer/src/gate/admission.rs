//! From what a coordinator sent to what this node itself believes.

use std::sync::Arc;

use countersign_policy::bundle::{ActiveBundle, KeyRecord, Role};
use countersign_policy::statement::{
    Authorization, Reservation, SessionTerms, SignRequest, Verified,
};
use countersign_policy::{Decision, Facts, Hash, MemberId, Outcome, Standing, Timestamp, decide};

use crate::wire::{Prepare, Problem, ProblemCode};

/// A prepare call in which this node found nothing wrong. Built by [`admit`] alone.
#[derive(Debug)]
pub struct Admitted {
    bundle: Arc<ActiveBundle>,
    authorization: Verified<Authorization>,
    request: Verified<SignRequest>,
    facts: Facts,
    key: KeyRecord,
    decision: Decision,
}

/// Checks everything that can be checked without this node's own memory: signatures, roles, times, the bundle, the
/// transaction's bytes against their stated meaning, and policy. The memory (nonces, external ids, stops) is checked
/// by the ledger when the spend is reserved.
///
/// # Errors
/// A [`Problem`] that says which check refused, and why. Nothing was changed.
pub fn admit(
    bundle: &Arc<ActiveBundle>,
    me: &MemberId,
    call: &Prepare,
    now: Timestamp,
) -> Result<Admitted, Problem> {
    let authorization = open_authorization(bundle, me, call, now)?;
    let request: Verified<SignRequest> = bundle
        .directory()
        .open(&call.request)
        .map_err(|e| ProblemCode::Statement.problem(explain("the sign request", &e)))?;
    let body = authorization.body();
    if body.request != request.digest() {
        return Err(ProblemCode::Authorization
            .problem("the authorization is for another sign request than the one sent along"));
    }
    let facts = Facts::establish(bundle, request.body())
        .map_err(|e| ProblemCode::Transaction.problem(e.to_string()))?;
    let decision = decide(bundle, &request, &facts, &Standing::unencumbered(), now);
    if decision.outcome != Outcome::Allow {
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let mut problem = ProblemCode::Policy.problem(reasons.join("; "));
        problem.reasons = decision.reasons;
        return Err(problem);
    }
    let digest = Hash::from_bytes(*facts.transaction().digest().as_bytes());
    if body.digests != [digest] {
        return Err(ProblemCode::Authorization.problem(format!(
            "the authorization names other digests than {digest}, which this node computed from the transaction's bytes"
        )));
    }
    if !body.approvals.is_empty() || !call.approvals.is_empty() {
        return Err(ProblemCode::Authorization
            .problem("this version of the policy asks for no approvals; none may be attached"));
    }
    let key = bundle.key(&request.body().key).cloned();
    let key =
        key.ok_or_else(|| ProblemCode::Transaction.problem("the policy bundle has no such key"))?;
    check_participants(&key, me, &body.participants)?;
    Ok(Admitted {
        bundle: Arc::clone(bundle),
        authorization,
        request,
        facts,
        key,
        decision,
    })
}

fn open_authorization(
    bundle: &ActiveBundle,
    me: &MemberId,
    call: &Prepare,
    now: Timestamp,
) -> Result<Verified<Authorization>, Problem> {
    let refuse = |detail: String| ProblemCode::Authorization.problem(detail);
    let authorization: Verified<Authorization> = bundle
        .directory()
        .open(&call.authorization)
        .map_err(|e| ProblemCode::Statement.problem(explain("the authorization", &e)))?;
    if !bundle.has_role(authorization.issuer(), Role::Coordinator) {
        return Err(refuse(format!(
            "{} is no coordinator",
            authorization.issuer()
        )));
    }
    authorization
        .require_current(now, bundle.skew_seconds())
        .map_err(|e| refuse(e.to_string()))?;
    // A late authorization is refused by a strict clock, so that nothing starts that cannot be finished in its life.
    authorization
        .require_unexpired_strictly(now)
        .map_err(|e| refuse(e.to_string()))?;
    let statement = authorization.statement();
    let bound = bundle.content().timing.max_authorization_life_seconds;
    if statement.expires_at > statement.issued_at.plus_seconds(bound) {
        return Err(refuse(format!(
            "it lives longer than the {bound} s the bundle allows"
        )));
    }
    if statement.body.bundle != bundle.digest() {
        return Err(ProblemCode::Bundle.problem(format!(
            "the authorization was made under bundle {}, this node follows {}",
            statement.body.bundle,
            bundle.digest()
        )));
    }
    if !statement.body.participants.contains(me) {
        return Err(refuse(format!("{me} is not among its participants")));
    }
    Ok(authorization)
}

fn check_participants(
    key: &KeyRecord,
    me: &MemberId,
    participants: &[MemberId],
) -> Result<(), Problem> {
    let refuse = |detail: String| ProblemCode::Authorization.problem(detail);
    if participants.len() != usize::from(key.threshold) {
        return Err(refuse(format!(
            "{} participants are named, key {} needs exactly {}",
            participants.len(),
            key.id,
            key.threshold
        )));
    }
    if let Some(stranger) = participants.iter().find(|p| !key.nodes.contains(p)) {
        return Err(refuse(format!(
            "{stranger} holds no share of key {}",
            key.id
        )));
    }
    if !key.nodes.contains(me) {
        return Err(refuse(format!("{me} holds no share of key {}", key.id)));
    }
    Ok(())
}

fn explain(what: &str, error: &dyn std::error::Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Admitted {
    /// The bundle it was admitted under.
    pub fn bundle(&self) -> &Arc<ActiveBundle> {
        &self.bundle
    }

    /// The authorization.
    pub fn authorization(&self) -> &Verified<Authorization> {
        &self.authorization
    }

    /// The sign request.
    pub fn request(&self) -> &Verified<SignRequest> {
        &self.request
    }

    /// What the bytes mean, and which child key signs them.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The key.
    pub fn key(&self) -> &KeyRecord {
        &self.key
    }

    /// The policy's answer, with the rules that allowed it.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// What this node and every other participant must agree on.
    pub fn terms(&self) -> SessionTerms {
        let body = self.authorization.body();
        SessionTerms {
            session: SessionTerms::session_id(self.authorization.digest()),
            authorization: self.authorization.digest(),
            request: self.request.digest(),
            digests: body.digests.clone(),
            bundle: body.bundle,
            freeze_head: Hash::ZERO,
            presignature: body.presignature,
            checkpoint: None,
            participants: body.participants.clone(),
            witnesses: body.witnesses.clone(),
            attempt: body.attempt,
        }
    }

    /// What the ledger is to remember.
    pub fn reservation(&self) -> Reservation {
        let terms = self.terms();
        let request = self.request.body();
        let intent = self.facts.transaction().intent();
        Reservation {
            session: terms.session,
            authorization: terms.authorization,
            nonce: self.authorization.body().nonce,
            request: terms.request,
            initiator: self.request.issuer().clone(),
            external_id: request.external_id.clone(),
            wallet: request.wallet.clone(),
            key: request.key.clone(),
            digests: terms.digests,
            network: intent.network,
            source: *self.facts.source(),
            transfers: intent.transfers.clone(),
            approvals: intent.approvals.clone(),
            max_fee: intent.max_fee.amount,
            lifetime: intent.lifetime.clone(),
            participants: terms.participants,
            expires_at: self.authorization.statement().expires_at,
            presignature: terms.presignature,
        }
    }
}
