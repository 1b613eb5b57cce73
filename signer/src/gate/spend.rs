//! From an admitted request to a reservation, and from a reservation to the release of a share.

use countersign_policy::cold::OpenedPackage;
use countersign_policy::limits::LimitHit;
use countersign_policy::statement::{Cleared, Confirm, Receipt, SessionTerms, Statement, Verified};
use countersign_policy::{Envelope, Hash, IdentityKey, MemberId, Reason, Timestamp};
use rand_core::OsRng;

use super::admission::Admitted;
use super::receipts::AgreedReceipts;
use super::released::Released;
use crate::store::{AbortRefusal, OpError, ReleaseRefusal, ReserveRefusal, Store, StoreError};
use crate::threshold::{HashAlgorithm, Preimage};
use crate::wire::{Problem, ProblemCode};

/// A spend that this node durably set aside (I5). Built by [`reserve`] alone.
#[derive(Debug)]
pub struct ReservedSpend {
    admitted: Admitted,
    terms: SessionTerms,
    receipt: Envelope,
}

/// Appends the reservation to the ledger, and only then makes the receipt.
///
/// # Errors
/// A refusal of the ledger (nonce, external id, stop, open session, a limit), or a store fault: then no receipt exists.
pub async fn reserve(
    store: &Store,
    identity: &IdentityKey,
    admitted: Admitted,
    now: Timestamp,
) -> Result<ReservedSpend, Problem> {
    let terms = admitted.terms();
    let (reservation, witnesses) = (admitted.reservation(), terms.witnesses.clone());
    let position = match store.reserve_with(reservation, witnesses, now).await {
        Ok(position) => position,
        Err(OpError::Failed(fault)) => return Err(store_fault(&fault)),
        Err(OpError::Refused(refusal)) => return Err(refused_reservation(&refusal)),
    };
    let statement = Statement::new(
        admitted.bundle().directory().genesis(),
        store.node().clone(),
        now,
        admitted
            .authorization()
            .statement()
            .expires_at
            .max(now.plus_seconds(1)),
        Receipt {
            terms: terms.clone(),
            ledger_sequence: position.sequence,
            ledger_head: position.head,
        },
        &mut OsRng,
    );
    let receipt = statement
        .sign(identity)
        .map_err(|e| ProblemCode::Internal.problem(e.to_string()))?;
    Ok(ReservedSpend {
        admitted,
        terms,
        receipt,
    })
}

impl ReservedSpend {
    /// What was admitted.
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// What all participants must agree on.
    pub fn terms(&self) -> &SessionTerms {
        &self.terms
    }

    /// This node's receipt.
    pub fn receipt(&self) -> &Envelope {
        &self.receipt
    }

    /// The bytes to sign, as decoded and re-encoded (I4), with their hash function.
    pub fn preimage(&self) -> Preimage {
        let transaction = self.admitted.facts().transaction();
        let algorithm = match transaction.hash_algorithm() {
            countersign_policy::HashAlgorithm::Keccak256 => HashAlgorithm::Keccak256,
            countersign_policy::HashAlgorithm::Sha256 => HashAlgorithm::Sha256,
            countersign_policy::HashAlgorithm::Ed25519Message => HashAlgorithm::Ed25519Message,
        };
        Preimage::new(algorithm, transaction.preimage().to_vec())
    }

    /// Whether this node signs, or only reserves and confirms.
    pub fn is_witness(&self, me: &MemberId) -> bool {
        !self.terms.participants.contains(me)
    }

    /// The last gate: all receipts agree, every other participant and every witness confirmed, the time is not over, and
    /// the bundle and the freezes are still those it was admitted under. The ledger then re-checks nonces, external ids,
    /// stops, aborts and limits over the union of what all of them know, and writes `released` durably (it excludes
    /// `aborted` for ever). Only then is there a [`Released`].
    ///
    /// # Errors
    /// A [`Problem`]; no share may leave, and the caller aborts the session.
    pub async fn release(
        &self,
        store: &Store,
        agreed: &AgreedReceipts,
        confirms: &[Verified<Confirm>],
        active_bundle: Hash,
        now: Timestamp,
    ) -> Result<Released, Problem> {
        self.require_releasable(store, agreed, confirms, active_bundle, now)?;
        match store.release(self.terms.session, now).await {
            Ok(_) => {}
            Err(OpError::Failed(fault)) => return Err(store_fault(&fault)),
            Err(OpError::Refused(refusal)) => return Err(refused_release(&refusal)),
        }
        // A freeze that became durable before the release, or together with it, counts: no share leaves after it.
        self.require_unfrozen(store)?;
        let key = self.admitted.key();
        let execution = agreed.execution(key.protocol, &key.id, key.transcript, self.terms.attempt);
        Ok(Released::new(*self.preimage().digest(), execution))
    }

    /// The last gate of a witness of an offline session, in the place of the participant that cannot ask: the same checks as
    /// [`ReservedSpend::release`], over the union of what all witnesses know. What it finds is durable when this returns.
    ///
    /// # Errors
    /// A [`Problem`]; nothing may be said to the machine then.
    pub async fn clear(
        &self,
        store: &Store,
        agreed: &AgreedReceipts,
        confirms: &[Verified<Confirm>],
        active_bundle: Hash,
        now: Timestamp,
    ) -> Result<Cleared, Problem> {
        self.require_releasable(store, agreed, confirms, active_bundle, now)?;
        match store.clear(self.terms.session, now).await {
            Ok(()) => {}
            Err(OpError::Failed(fault)) => return Err(store_fault(&fault)),
            Err(OpError::Refused(refusal)) => return Err(refused_release(&refusal)),
        }
        self.require_unfrozen(store)?;
        let freezes = store.freezes().map_err(|e| store_fault(&e))?;
        if freezes.head() != self.terms.freeze_head {
            return Err(ProblemCode::Frozen.problem(
                "the freezes in force are others than at the reservation: prepare again",
            ));
        }
        Ok(Cleared {
            bundle: active_bundle,
            freeze_head: freezes.head(),
        })
    }

    /// The last gate of a machine with no network: the witnesses reserved and cleared exactly what it reserved itself, which the
    /// opened package proves, and the time is not over. Its own ledger then re-checks and writes `released` durably.
    ///
    /// # Errors
    /// A [`Problem`]; nothing may be signed, and the caller aborts the session.
    pub async fn release_offline(
        &self,
        store: &Store,
        package: &OpenedPackage,
        now: Timestamp,
    ) -> Result<Released, Problem> {
        if *package.terms() != self.terms {
            return Err(ProblemCode::Receipts
                .problem("the witnesses agreed to other terms than this machine"));
        }
        self.require_in_time(now)?;
        match store.release(self.terms.session, now).await {
            Ok(_) => {}
            Err(OpError::Failed(fault)) => return Err(store_fault(&fault)),
            Err(OpError::Refused(refusal)) => return Err(refused_release(&refusal)),
        }
        let receipts = package.package().receipts.iter().map(Envelope::digest);
        let agreed = AgreedReceipts::of_package(SessionTerms::receipts_hash(receipts));
        let key = self.admitted.key();
        let execution = agreed.execution(key.protocol, &key.id, key.transcript, self.terms.attempt);
        Ok(Released::new(*self.preimage().digest(), execution))
    }

    fn require_in_time(&self, now: Timestamp) -> Result<(), Problem> {
        let authorization = self.admitted.authorization();
        authorization
            .require_unexpired_strictly(now)
            .map_err(|e| ProblemCode::Authorization.problem(e.to_string()))?;
        let skew = self.admitted.bundle().skew_seconds();
        let request = self.admitted.request();
        request
            .require_current(now, skew)
            .map_err(|e| ProblemCode::Policy.problem(e.to_string()))
    }

    fn require_releasable(
        &self,
        store: &Store,
        agreed: &AgreedReceipts,
        confirms: &[Verified<Confirm>],
        active_bundle: Hash,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let refuse = |code: ProblemCode, detail: String| Err(code.problem(detail));
        for participant in self.terms.reservers().filter(|p| *p != store.node()) {
            let confirmed = confirms.iter().any(|c| {
                c.issuer() == participant
                    && c.body().session == self.terms.session
                    && c.body().receipts == agreed.hash()
            });
            if !confirmed {
                return refuse(
                    ProblemCode::Receipts,
                    format!("{participant} did not confirm this session's receipts"),
                );
            }
        }
        if active_bundle != self.terms.bundle {
            return refuse(
                ProblemCode::Bundle,
                format!("the policy changed to {active_bundle} since the reservation"),
            );
        }
        self.require_in_time(now)?;
        self.require_unfrozen(store)
    }

    /// No freeze that is durably in force now stands in the way.
    fn require_unfrozen(&self, store: &Store) -> Result<(), Problem> {
        let freezes = store.freezes().map_err(|e| store_fault(&e))?;
        match self.admitted.frozen_by(&freezes).first() {
            None => Ok(()),
            Some(hit) => Err(ProblemCode::Frozen.problem(format!("frozen: {hit}"))),
        }
    }

    /// Excludes a release for ever. Whether it came too late is in the answer.
    ///
    /// # Errors
    /// A store fault.
    pub async fn abort(
        &self,
        store: &Store,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, Problem> {
        match store.abort(self.terms.session, reason, now).await {
            Ok(_) => Ok(true),
            Err(OpError::Refused(
                AbortRefusal::Released
                | AbortRefusal::Unknown
                | AbortRefusal::Witness
                | AbortRefusal::TooMany,
            )) => Ok(false),
            Err(OpError::Failed(fault)) => Err(store_fault(&fault)),
        }
    }
}

/// A fault of the store as an answer to the outside, which learns nothing about files.
pub fn store_fault(fault: &StoreError) -> Problem {
    tracing::error!(error = %fault, "the store failed");
    ProblemCode::Internal
        .problem("this node's store failed; it signs nothing until an operator looked at it")
}

fn refused_reservation(refusal: &ReserveRefusal) -> Problem {
    let code = match refusal {
        ReserveRefusal::Limit(hit) => return limit_hit(hit),
        ReserveRefusal::NonceAhead(ahead) => {
            let mut problem = ProblemCode::Policy.problem(refusal.to_string());
            problem.reasons.push(Reason::NonceAhead(ahead.clone()));
            return problem;
        }
        ReserveRefusal::NoRules => ProblemCode::Busy,
        ReserveRefusal::Aborted => ProblemCode::Aborted,
        ReserveRefusal::Dead => ProblemCode::Transaction,
        ReserveRefusal::NonceUsed
        | ReserveRefusal::TooFew { .. }
        | ReserveRefusal::SessionExists { .. }
        | ReserveRefusal::TooManyAttempts
        | ReserveRefusal::DigestsChanged => ProblemCode::Authorization,
        ReserveRefusal::Stopped { .. } => ProblemCode::StoppedRequest,
        ReserveRefusal::ExternalIdBound { .. } | ReserveRefusal::DigestReserved { .. } => {
            ProblemCode::ExternalId
        }
        ReserveRefusal::PresignatureBurnt => ProblemCode::Presignature,
        ReserveRefusal::SessionOpen { .. } => ProblemCode::Busy,
    };
    code.problem(refusal.to_string())
}

fn refused_release(refusal: &ReleaseRefusal) -> Problem {
    let code = match refusal {
        ReleaseRefusal::Limit(hit) => return limit_hit(hit),
        ReleaseRefusal::Dead => ProblemCode::Transaction,
        ReleaseRefusal::Stopped { .. } => ProblemCode::StoppedRequest,
        ReleaseRefusal::ExternalIdContested { .. } => ProblemCode::ExternalId,
        ReleaseRefusal::NonceContested { .. } => ProblemCode::Authorization,
        ReleaseRefusal::Unknown
        | ReleaseRefusal::Witness
        | ReleaseRefusal::AlreadyReleased { .. }
        | ReleaseRefusal::Aborted
        | ReleaseRefusal::PeerAborted { .. } => ProblemCode::Aborted,
    };
    code.problem(refusal.to_string())
}

fn limit_hit(hit: &LimitHit) -> Problem {
    let mut problem = ProblemCode::Policy.problem(hit.to_string());
    problem.reasons.push(Reason::Limit(hit.clone()));
    problem
}
