//! What the online nodes said: a quorum that reserved the spend, read each other's ledgers and found nothing in the way.

use super::open::opened;
use super::{PackageError, RequestPackage};
use crate::bundle::ActiveBundle;
use crate::freeze::FreezeSet;
use crate::hash::Hash;
use crate::id::MemberId;
use crate::statement::{
    Authorization, Confirm, Receipt, SessionTerms, SignRequest, Statement, Verified,
};
use crate::time::Timestamp;

/// What the witnesses agree about, and when the last of them spoke.
pub(super) struct Said {
    pub(super) terms: SessionTerms,
    pub(super) receipts: Timestamp,
    pub(super) confirms: Timestamp,
}

/// Checks the receipts and confirms of a session: by a quorum of the wallet's ledger group, one each, in order, all about the
/// same terms, the same freezes and the same bundle, each said after what it answers.
pub(super) fn agree(
    bundle: &ActiveBundle,
    authorization: &Verified<Authorization>,
    request: &Verified<SignRequest>,
    package: &RequestPackage,
    freezes: &FreezeSet,
) -> Result<Said, PackageError> {
    let witnesses = &authorization.body().witnesses;
    require_quorum(bundle, request, witnesses)?;
    let terms = terms(authorization, freezes);
    let earliest = authorization.statement().issued_at;
    let mut digests = Vec::with_capacity(witnesses.len());
    let mut last = earliest;
    require_count("receipts", package.receipts.len(), witnesses.len())?;
    for (witness, envelope) in witnesses.iter().zip(&package.receipts) {
        let what = format!("receipt of {witness}");
        let receipt: Verified<Receipt> = opened(bundle, envelope, &what)?;
        in_place("receipt", witness, receipt.statement())?;
        require_terms(witness, &receipt.body().terms, &terms)?;
        after(bundle, "receipt", receipt.statement(), earliest)?;
        last = last.max(receipt.statement().issued_at);
        digests.push(receipt.digest());
    }
    let hash = SessionTerms::receipts_hash(digests);
    let confirmed = confirms(bundle, witnesses, package, (&terms, hash), last)?;
    Ok(Said {
        terms,
        receipts: last,
        confirms: confirmed,
    })
}

fn confirms(
    bundle: &ActiveBundle,
    witnesses: &[MemberId],
    package: &RequestPackage,
    (terms, receipts): (&SessionTerms, Hash),
    after_receipts: Timestamp,
) -> Result<Timestamp, PackageError> {
    require_count("confirms", package.confirms.len(), witnesses.len())?;
    let mut last = after_receipts;
    for (witness, envelope) in witnesses.iter().zip(&package.confirms) {
        let what = format!("confirm of {witness}");
        let confirm: Verified<Confirm> = opened(bundle, envelope, &what)?;
        in_place("confirm", witness, confirm.statement())?;
        let body = confirm.body();
        if body.session != terms.session || body.receipts != receipts {
            return Err(PackageError::OtherConfirm(witness.clone()));
        }
        let Some(cleared) = &body.cleared else {
            return Err(PackageError::NotCleared(witness.clone()));
        };
        if cleared.bundle != bundle.digest() {
            return Err(PackageError::ClearedElsewhere {
                node: witness.clone(),
                found: cleared.bundle,
                active: bundle.digest(),
            });
        }
        if cleared.freeze_head != terms.freeze_head {
            return Err(PackageError::OtherFreezes(witness.clone()));
        }
        after(bundle, "confirm", confirm.statement(), after_receipts)?;
        last = last.max(confirm.statement().issued_at);
    }
    Ok(last)
}

/// A quorum Q of the wallet's ledger group, with 2Q > N + f: it shares an honest node with every other quorum, and has one
/// itself.
fn require_quorum(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    witnesses: &[MemberId],
) -> Result<(), PackageError> {
    let wallet = bundle.wallet(&request.body().wallet);
    let group = wallet.and_then(|w| bundle.ledger_group_of(w));
    let Some(group) = group else {
        return Err(PackageError::NotCold(request.body().wallet.clone()));
    };
    if let Some(stranger) = witnesses.iter().find(|w| !group.nodes.contains(w)) {
        return Err(PackageError::NotAWitness(stranger.clone()));
    }
    let (found, needed) = (witnesses.len(), usize::from(group.quorum));
    if found < needed {
        return Err(PackageError::TooFewWitnesses {
            group: group.id.clone(),
            found,
            needed,
        });
    }
    Ok(())
}

/// What every receipt must say.
fn terms(authorization: &Verified<Authorization>, freezes: &FreezeSet) -> SessionTerms {
    let body = authorization.body();
    SessionTerms {
        session: SessionTerms::session_id(authorization.digest()),
        authorization: authorization.digest(),
        request: body.request,
        digests: body.digests.clone(),
        bundle: body.bundle,
        freeze_head: freezes.head(),
        presignature: body.presignature,
        checkpoint: None,
        participants: body.participants.clone(),
        witnesses: body.witnesses.clone(),
        attempt: body.attempt,
        offline: true,
    }
}

fn require_terms(
    witness: &MemberId,
    found: &SessionTerms,
    expected: &SessionTerms,
) -> Result<(), PackageError> {
    if found == expected {
        return Ok(());
    }
    let but_for_freezes = SessionTerms {
        freeze_head: expected.freeze_head,
        ..found.clone()
    };
    Err(match but_for_freezes == *expected {
        true => PackageError::OtherFreezes(witness.clone()),
        false => PackageError::OtherTerms(witness.clone()),
    })
}

fn require_count(what: &'static str, found: usize, needed: usize) -> Result<(), PackageError> {
    match found == needed {
        true => Ok(()),
        false => Err(PackageError::Missing {
            what,
            found,
            needed,
        }),
    }
}

fn in_place<B>(
    what: &'static str,
    expected: &MemberId,
    statement: &Statement<B>,
) -> Result<(), PackageError> {
    match statement.issuer == *expected {
        true => Ok(()),
        false => Err(PackageError::OutOfPlace {
            what,
            expected: expected.clone(),
            found: statement.issuer.clone(),
        }),
    }
}

fn after<B>(
    bundle: &ActiveBundle,
    what: &'static str,
    statement: &Statement<B>,
    earlier: Timestamp,
) -> Result<(), PackageError> {
    let at = statement.issued_at;
    match at.plus_seconds(bundle.skew_seconds()) >= earlier {
        true => Ok(()),
        false => Err(PackageError::Order {
            what,
            node: statement.issuer.clone(),
            at,
            after: earlier,
        }),
    }
}
