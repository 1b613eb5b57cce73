//! A policy bundle on its way: proposed by an author, signed by approvers one after the other, and given to the nodes when
//! its quorum is complete.

use std::collections::BTreeMap;

use countersign_policy::access::{Action, member_may};
use countersign_policy::bundle::{ActiveBundle, ChainError, PolicyBundle};
use countersign_policy::statement::Statement;
use countersign_policy::{Envelope, Hash, MemberId};
use countersign_signer::wire::SubmitBundle;

use super::bundles::{BundleError, BundleOutcome, check_transcripts, submit_bundle};
use crate::core::{Core, now};
use crate::db::{DbError, NoticeKind, StoredProposal};

/// Keeps a proposal by its author, with the approvers' signatures that it has already, and gives it to the nodes when they
/// are enough.
pub(crate) async fn propose(
    core: &Core,
    call: &SubmitBundle,
) -> Result<(StoredProposal, Option<BundleOutcome>), BundleError> {
    let (active, next) = {
        let chain = core.chain.lock().await;
        let next = chain.verify_proposal(&call.bundle, now())?;
        (chain.active().clone(), next)
    };
    check_transcripts(&active, next.body(), &call.transcripts).map_err(BundleError::Transcripts)?;
    let proposal = StoredProposal {
        digest: next.digest(),
        version: next.body().version,
        predecessor: active.digest(),
        author: next.issuer().clone(),
        envelope: call.bundle.clone(),
        transcripts: call.transcripts.clone(),
        created_at: now(),
        signatures: BTreeMap::new(),
    };
    core.store.add_proposal(&proposal).await?;
    sign(core, proposal.digest, &call.bundle).await
}

/// Keeps a bundle that came with all its signatures, as if it had been proposed: it stands in the same lists.
pub(super) async fn remember(
    core: &Core,
    call: &SubmitBundle,
    next: &ActiveBundle,
) -> Result<(), DbError> {
    let statement: Statement<PolicyBundle> = serde_json::from_slice(call.bundle.payload())
        .map_err(|e| DbError::Corrupt(format!("a verified bundle cannot be read: {e}")))?;
    let digest = next.digest();
    let proposal = StoredProposal {
        digest,
        version: next.content().version,
        predecessor: next.content().predecessor.unwrap_or(Hash::ZERO),
        author: statement.issuer.clone(),
        envelope: call.bundle.clone(),
        transcripts: call.transcripts.clone(),
        created_at: now(),
        signatures: BTreeMap::new(),
    };
    core.store.add_proposal(&proposal).await?;
    for signature in call.bundle.signatures() {
        let alone = call.bundle.with_signatures(vec![signature.clone()]);
        let (Ok(member), Ok(alone)) = (MemberId::new(signature.keyid.as_str()), alone) else {
            continue;
        };
        if member != statement.issuer {
            core.store
                .add_proposal_signature(digest, &member, &alone)
                .await?;
        }
    }
    Ok(())
}

/// Adds the signatures that an envelope of a known proposal has.
pub(crate) async fn sign(
    core: &Core,
    digest: Hash,
    envelope: &Envelope,
) -> Result<(StoredProposal, Option<BundleOutcome>), BundleError> {
    let unknown = || BundleError::Unknown(digest);
    let proposal = core.store.proposal(digest).await?.ok_or_else(unknown)?;
    if envelope.digest() != digest {
        return Err(BundleError::OtherStatement {
            expected: digest,
            found: envelope.digest(),
        });
    }
    let bundle = core.bundle.current();
    for (member, alone) in approvers(&bundle, &proposal, envelope)? {
        core.store
            .add_proposal_signature(digest, &member, &alone)
            .await?;
    }
    let proposal = core.store.proposal(digest).await?.ok_or_else(unknown)?;
    let outcome = complete(core, &proposal).await?;
    Ok((proposal, outcome))
}

/// The approvers' signatures on an envelope, each verified and alone.
fn approvers(
    bundle: &ActiveBundle,
    proposal: &StoredProposal,
    envelope: &Envelope,
) -> Result<Vec<(MemberId, Envelope)>, BundleError> {
    let mut authors = proposal.envelope.signatures().iter();
    let author = authors
        .find(|s| s.keyid == proposal.author.as_str())
        .cloned();
    let mut signed = Vec::new();
    for signature in envelope.signatures() {
        if signature.keyid == proposal.author.as_str() {
            continue;
        }
        // A quorum-signed statement is opened with its issuer's signature on it.
        let both = author.iter().chain([signature]).cloned().collect();
        let both = envelope
            .with_signatures(both)
            .map_err(BundleError::Envelope)?;
        let opened = bundle.directory().open_quorum::<PolicyBundle>(&both);
        let opened = opened.map_err(ChainError::from)?;
        for member in opened.signers().iter().filter(|m| **m != proposal.author) {
            if !member_may(bundle, member, Action::ApprovePolicy) {
                return Err(BundleError::Chain(ChainError::Approver(member.clone())));
            }
            let alone = envelope
                .with_signatures(vec![signature.clone()])
                .map_err(BundleError::Envelope)?;
            signed.push((member.clone(), alone));
        }
    }
    Ok(signed)
}

/// The proposal with all signatures that came.
pub(crate) fn merged(proposal: &StoredProposal) -> Envelope {
    let mut signatures: Vec<_> = proposal
        .envelope
        .signatures()
        .iter()
        .filter(|s| s.keyid == proposal.author.as_str())
        .cloned()
        .collect();
    let others = proposal.signatures.values();
    signatures.extend(others.flat_map(|(envelope, _)| envelope.signatures().iter().cloned()));
    let merged = proposal.envelope.with_signatures(signatures);
    merged.unwrap_or_else(|_| proposal.envelope.clone())
}

/// Gives a proposal to the nodes when its quorum signed it and nobody vetoed it.
async fn complete(
    core: &Core,
    proposal: &StoredProposal,
) -> Result<Option<BundleOutcome>, BundleError> {
    let vetoes = core.store.notices(NoticeKind::Veto).await?;
    let name = proposal.digest.to_hex();
    if let Some(veto) = vetoes.iter().find(|veto| veto.subject == name) {
        return Err(BundleError::Vetoed(veto.member.clone()));
    }
    let bundle = merged(proposal);
    let active: Hash = core.bundle.current().digest();
    if active != proposal.digest {
        let chain = core.chain.lock().await;
        match chain.verify_successor(&bundle, now()) {
            Ok(_) => {}
            Err(ChainError::Quorum { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let call = SubmitBundle {
        bundle,
        transcripts: proposal.transcripts.clone(),
    };
    submit_bundle(core, &call).await.map(Some)
}
