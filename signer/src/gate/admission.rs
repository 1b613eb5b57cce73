//! From what a coordinator sent to what this node itself believes.

use std::sync::Arc;

use countersign_policy::approvals::{ApprovalTally, RejectedApproval};
use countersign_policy::bundle::{ActiveBundle, KeyRecord, Role, WalletTier};
use countersign_policy::statement::{
    Authorization, Reservation, SessionTerms, SignRequest, SignerKey, Verified,
};
use countersign_policy::{
    Decision, Envelope, Facts, FreezeHit, FreezeSet, Hash, MemberId, Outcome, Standing, Timestamp,
    Touched, decide,
};

use crate::store::SeenCounter;
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
    approvals: ApprovalTally,
    freeze_head: Hash,
}

/// Checks everything that can be checked without this node's own memory: signatures, roles, times, the bundle, the
/// transaction's bytes against their stated meaning, the approvals, the freezes in force, and policy. The memory (nonces,
/// external ids, stops, limits) is checked by the ledger when the spend is reserved.
///
/// # Errors
/// A [`Problem`] that says which check refused, and why. Nothing was changed.
pub fn admit(
    bundle: &Arc<ActiveBundle>,
    me: &MemberId,
    call: &Prepare,
    freezes: &FreezeSet,
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
    require_named_approvals(&body.approvals, &call.approvals)?;
    let (approvals, worthless) =
        ApprovalTally::count(bundle, &request, &facts, &call.approvals, freezes, now);
    if let Some(RejectedApproval { index, why }) = worthless.first() {
        return Err(ProblemCode::Approval.problem(explain(&format!("approval {index}"), why)));
    }
    let standing = Standing::new(approvals.clone(), freezes.clone(), Vec::new());
    let decision = decide(bundle, &request, &facts, &standing, now);
    require_allowed(&decision)?;
    require_life(bundle, request.body(), &authorization)?;
    let digest = Hash::from_bytes(*facts.transaction().digest().as_bytes());
    if body.digests != [digest] {
        return Err(ProblemCode::Authorization.problem(format!(
            "the authorization names other digests than {digest}, which this node computed from the transaction's bytes"
        )));
    }
    let key = bundle.key(&request.body().key).cloned();
    let key =
        key.ok_or_else(|| ProblemCode::Transaction.problem("the policy bundle has no such key"))?;
    check_participants(&key, &body.participants)?;
    check_witnesses(bundle, &body.witnesses)?;
    check_quorum(bundle, request.body(), &key, body)?;
    Ok(Admitted {
        bundle: Arc::clone(bundle),
        authorization,
        request,
        facts,
        key,
        decision,
        approvals,
        freeze_head: freezes.head(),
    })
}

/// What the authorization binds is what is counted: no approval more, none less, none in another's place.
fn require_named_approvals(named: &[Hash], given: &[Envelope]) -> Result<(), Problem> {
    if named.len() == given.len() && named.iter().zip(given).all(|(n, g)| *n == g.digest()) {
        return Ok(());
    }
    Err(ProblemCode::Authorization.problem(
        "the approvals sent along are not exactly those that the authorization names, in its order",
    ))
}

/// Policy's no, and what only waits for approvals, are different answers (I9); neither is a signature.
fn require_allowed(decision: &Decision) -> Result<(), Problem> {
    let code = match decision.outcome {
        Outcome::Allow => return Ok(()),
        Outcome::Blocked => ProblemCode::Policy,
        Outcome::NeedsApprovals => ProblemCode::Approval,
    };
    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    let mut problem = code.problem(reasons.join("; "));
    problem.reasons = decision.reasons.clone();
    Err(problem)
}

/// People carry a package to a cold wallet's machine, so its authorizations may live for hours; all others are short-lived.
fn require_life(
    bundle: &ActiveBundle,
    request: &SignRequest,
    authorization: &Verified<Authorization>,
) -> Result<(), Problem> {
    let timing = &bundle.content().timing;
    let bound = match bundle.wallet(&request.wallet).map(|w| w.tier) {
        Some(WalletTier::Hot | WalletTier::Warm) => timing.max_authorization_life_seconds,
        Some(WalletTier::Cold) => timing.max_cold_authorization_life_seconds.unwrap_or(0),
        None => {
            return Err(ProblemCode::Transaction.problem("the policy bundle has no such wallet"));
        }
    };
    let statement = authorization.statement();
    if statement.expires_at > statement.issued_at.plus_seconds(bound) {
        return Err(ProblemCode::Authorization.problem(format!(
            "it lives longer than the {bound} s the bundle allows"
        )));
    }
    Ok(())
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
    if statement.body.bundle != bundle.digest() {
        return Err(ProblemCode::Bundle.problem(format!(
            "the authorization was made under bundle {}, this node follows {}",
            statement.body.bundle,
            bundle.digest()
        )));
    }
    let body = &statement.body;
    if !body.participants.contains(me) && !body.witnesses.contains(me) {
        return Err(refuse(format!(
            "{me} is not among its participants, nor its witnesses"
        )));
    }
    Ok(authorization)
}

fn check_participants(key: &KeyRecord, participants: &[MemberId]) -> Result<(), Problem> {
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
    Ok(())
}

/// A witness reserves so that limits count: it keeps a ledger of some group.
fn check_witnesses(bundle: &ActiveBundle, witnesses: &[MemberId]) -> Result<(), Problem> {
    let groups = &bundle.content().ledger_groups;
    let keeps_one = |w: &MemberId| groups.iter().any(|g| g.nodes.contains(w));
    match witnesses.iter().find(|w| !keeps_one(w)) {
        Some(stranger) => Err(ProblemCode::Authorization.problem(format!(
            "{stranger} is named as a witness and is in no ledger group"
        ))),
        None => Ok(()),
    }
}

/// One machine signs alone with an HSM key: a quorum of the wallet's ledger group reserves besides or with it, whether or not a
/// limit asks for that.
fn check_quorum(
    bundle: &ActiveBundle,
    request: &SignRequest,
    key: &KeyRecord,
    body: &Authorization,
) -> Result<(), Problem> {
    if !key.protocol.is_hsm() {
        return Ok(());
    }
    let refuse = |detail: String| Err(ProblemCode::Authorization.problem(detail));
    let wallet = bundle.wallet(&request.wallet);
    let Some(group) = wallet.and_then(|w| bundle.ledger_group_of(w)) else {
        return refuse(format!("wallet {} names no ledger group", request.wallet));
    };
    let reservers = body.participants.iter().chain(&body.witnesses);
    let found = reservers.filter(|n| group.nodes.contains(n)).count();
    if found < usize::from(group.quorum) {
        return refuse(format!(
            "{found} nodes of ledger group {} reserve it, {} are needed",
            group.id, group.quorum
        ));
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

    /// The approvals that counted.
    pub fn approvals(&self) -> &ApprovalTally {
        &self.approvals
    }

    /// The counters of the authenticators with which officers approved.
    pub fn counters(&self) -> Vec<SeenCounter> {
        let counted = self.approvals.approvals();
        counted
            .filter_map(|(_, approval)| match &approval.key {
                SignerKey::Credential { id, counter } => Some(SeenCounter {
                    credential: id.clone(),
                    counter: *counter,
                    statement: approval.approval,
                }),
                SignerKey::Statement(_) => None,
            })
            .collect()
    }

    /// What of it stands still under these freezes: the request itself, or an officer whose approval counted.
    pub fn frozen_by(&self, freezes: &FreezeSet) -> Vec<FreezeHit> {
        if freezes.is_empty() {
            return Vec::new();
        }
        let intent = self.facts.transaction().intent();
        let touched = Touched::by_request(&self.request, intent, &self.decision.rules);
        let mut hits = freezes.blocks(&touched);
        for (officer, counted) in self.approvals.approvals() {
            hits.extend(freezes.blocks_member(officer, Some(&counted.key)));
        }
        hits
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
            freeze_head: self.freeze_head,
            presignature: body.presignature,
            checkpoint: None,
            participants: body.participants.clone(),
            witnesses: body.witnesses.clone(),
            attempt: body.attempt,
            offline: self.bundle.is_offline(&self.key),
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
