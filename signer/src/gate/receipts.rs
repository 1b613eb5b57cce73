//! Agreement: every participant holds the same receipts, and says where its ledger stands after it saw them.

use countersign_policy::bundle::ActiveBundle;
use countersign_policy::statement::{Confirm, Receipt, SessionTerms, Verified};
use countersign_policy::{Envelope, Hash, KeyId, MemberId, Protocol, Timestamp};

use crate::threshold::ExecutionId;
use crate::wire::{Problem, ProblemCode};

/// One receipt of everybody who reserves, all over the same terms: the hash that names them. Built by [`agree`] alone.
#[derive(Debug)]
pub struct AgreedReceipts {
    hash: Hash,
}

/// Checks that there is exactly one receipt of each participant and then of each witness, in order, and that all agree in
/// every shared field with what this node itself agreed to.
///
/// # Errors
/// [`ProblemCode::Receipts`] or [`ProblemCode::Statement`], naming the receipt at fault.
pub fn agree(
    bundle: &ActiveBundle,
    terms: &SessionTerms,
    me: &MemberId,
    own: &Envelope,
    envelopes: &[Envelope],
    now: Timestamp,
) -> Result<AgreedReceipts, Problem> {
    let refuse = |detail: String| ProblemCode::Receipts.problem(detail);
    let reservers = terms.reservers().count();
    if envelopes.len() != reservers {
        return Err(refuse(format!(
            "{} receipts for {reservers} participants and witnesses",
            envelopes.len(),
        )));
    }
    let mut digests = Vec::with_capacity(envelopes.len());
    for (participant, envelope) in terms.reservers().zip(envelopes) {
        // Byte for byte what this node signed a moment ago.
        if participant == me && envelope == own {
            digests.push(own.digest());
            continue;
        }
        let receipt: Verified<Receipt> = bundle.directory().open(envelope).map_err(|e| {
            ProblemCode::Statement.problem(format!("the receipt of {participant}: {e}"))
        })?;
        let issued_at = receipt.statement().issued_at;
        require_near(bundle, participant, issued_at, None, now)?;
        if receipt.issuer() != participant {
            return Err(refuse(format!(
                "the receipt in the place of {participant} is by {}",
                receipt.issuer()
            )));
        }
        if receipt.body().terms != *terms {
            return Err(refuse(format!(
                "{participant} agreed to other terms than this node: the coordinator split the signers"
            )));
        }
        if participant == me {
            return Err(refuse(
                "the receipt shown as this node's own is another one".to_owned(),
            ));
        }
        digests.push(receipt.digest());
    }
    Ok(AgreedReceipts {
        hash: receipts_hash(digests.into_iter()),
    })
}

/// The hash that confirms carry: over the receipts' digests in the order of [`SessionTerms::reservers`].
pub fn receipts_hash(digests: impl Iterator<Item = Hash>) -> Hash {
    SessionTerms::receipts_hash(digests)
}

impl AgreedReceipts {
    /// For [`super::ReservedSpend::release_offline`] alone: the receipts of an opened package, which agree.
    pub(super) fn of_package(hash: Hash) -> Self {
        Self { hash }
    }

    /// The hash over all receipts.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The execution id: protocol, key, epoch, attempt and the ordered receipts. Epoch is the ceremony's transcript.
    pub fn execution(
        &self,
        protocol: Protocol,
        key: &KeyId,
        epoch: Hash,
        attempt: u32,
    ) -> ExecutionId {
        let attempt = attempt.to_be_bytes();
        ExecutionId::derive(
            "countersign/execution/sign/v1",
            [
                protocol.as_str().as_bytes(),
                key.as_str().as_bytes(),
                epoch.as_bytes(),
                &attempt,
                self.hash.as_bytes(),
            ],
        )
    }
}

/// Checks a peer's confirm: by that peer, for this session, over the same receipts, and said about now. `times` are how many
/// seconds it may have waited, and the present.
///
/// # Errors
/// [`ProblemCode::Statement`] (blames the peer), or [`ProblemCode::Receipts`] without blame when the peer saw other
/// receipts: then a coordinator split the signers.
pub fn check_confirm(
    bundle: &ActiveBundle,
    peer: &MemberId,
    session: Hash,
    receipts: Hash,
    envelope: &Envelope,
    times: (u64, Timestamp),
) -> Result<Verified<Confirm>, Problem> {
    let blame = |detail: String| {
        let mut problem = ProblemCode::Statement.problem(detail);
        problem.culprits.push(peer.clone());
        problem
    };
    let confirm: Verified<Confirm> = bundle
        .directory()
        .open(envelope)
        .map_err(|e| blame(format!("the confirm of {peer}: {e}")))?;
    if confirm.issuer() != peer || confirm.body().session != session {
        return Err(blame(format!(
            "{peer} sent a confirm by {} for session {}",
            confirm.issuer(),
            confirm.body().session
        )));
    }
    if confirm.body().receipts != receipts {
        return Err(ProblemCode::Receipts.problem(format!(
            "{peer} was given other receipts than this node: no share leaves"
        )));
    }
    let (age_seconds, now) = times;
    let issued_at = confirm.statement().issued_at;
    require_near(bundle, peer, issued_at, Some(age_seconds), now)?;
    Ok(confirm)
}

/// A peer's clock must show what this node's shows, within the skew: windows of limits are measured with both. Whose clock is
/// wrong nobody can tell, so nobody is blamed. `age_seconds` is how old the statement can be by the way it took; none where
/// it may be of any age.
fn require_near(
    bundle: &ActiveBundle,
    peer: &MemberId,
    issued_at: Timestamp,
    age_seconds: Option<u64>,
    now: Timestamp,
) -> Result<(), Problem> {
    let skew = bundle.skew_seconds();
    let early =
        age_seconds.is_some_and(|age| issued_at.plus_seconds(skew.saturating_add(age)) < now);
    if !early && issued_at <= now.plus_seconds(skew) {
        return Ok(());
    }
    Err(ProblemCode::Clock.problem(format!(
        "{peer} says {issued_at} where this node's clock shows {now}: more than {skew} s apart; one of the two is wrong"
    )))
}
