//! A request from a cold wallet: the witnesses reserve and clear it, a package is carried to a machine with no network, and
//! what it answers is verified here.
//!
//! Receipts and confirms of such a session are stored together, in the order in which they came: each says in its payload
//! type which it is.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_policy::bundle::{ActivationEvidence, ActiveBundle};
use countersign_policy::cold::{MachineAnswer, RequestPackage, ResponsePackage, SessionEvidence};
use countersign_policy::statement::{BundleAck, Confirm, Kind, Receipt, SessionTerms};
use countersign_policy::{Envelope, Facts, Hash, MemberId, SignedTransaction};
use countersign_signer::wire::Sign;
use tokio::task::JoinSet;

use super::attempt::{AttemptEnd, Session, judge, transaction_text};
use crate::core::{Core, now};
use crate::db::{Change, DbError, StoredRequest};
use crate::lifecycle::{SignedData, State};
use crate::nodes::NodeError;

/// How often an import tries to take the request over.
const IMPORTS: usize = 20;

/// Why there is no package, or an answer does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ColdError {
    /// The request is not waiting for a machine.
    #[error("{0}")]
    NotWaiting(&'static str),
    /// No node that answers holds what is needed.
    #[error("the nodes do not hold what the package needs: {0}")]
    Incomplete(String),
    /// The package or the answer is none.
    #[error(transparent)]
    Package(#[from] countersign_policy::cold::PackageError),
    /// The answer is about something else, or its signature does not fit.
    #[error("the answer is refused: {0}")]
    Answer(String),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Hands all receipts to every witness, and takes the confirm of each, in their order.
pub(super) async fn clear(
    core: &Core,
    bundle: &ActiveBundle,
    session: &Session,
    receipts: &[Envelope],
) -> Result<Vec<Envelope>, AttemptEnd> {
    let mut calls = JoinSet::new();
    for node in session.terms.reservers() {
        let call = Sign {
            session: session.terms.session,
            receipts: receipts.to_vec(),
        };
        let (node, answer) = (node.clone(), core.nodes.sign(node, call));
        calls.spawn(async move { (node, answer.await) });
    }
    let (mut confirms, mut failures) = (BTreeMap::new(), BTreeMap::new());
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        let confirm = answer.and_then(|signed| {
            let confirm = signed.confirm;
            let confirm =
                confirm.ok_or_else(|| NodeError::Protocol("it did not confirm".into()))?;
            check(bundle, session, &node, receipts, &confirm).map_err(NodeError::Protocol)?;
            Ok(confirm)
        });
        match confirm {
            Ok(confirm) => drop(confirms.insert(node, confirm)),
            Err(error) => drop(failures.insert(node, error)),
        }
    }
    if !failures.is_empty() {
        return Err(judge(core, session, "clear", failures));
    }
    let witnesses = session.terms.reservers();
    Ok(witnesses.filter_map(|w| confirms.remove(w)).collect())
}

fn check(
    bundle: &ActiveBundle,
    session: &Session,
    node: &MemberId,
    receipts: &[Envelope],
    confirm: &Envelope,
) -> Result<(), String> {
    let opened = bundle.directory().open::<Confirm>(confirm);
    let opened = opened.map_err(|e| format!("its confirm is not acceptable: {e}"))?;
    let body = opened.body();
    let expected = SessionTerms::receipts_hash(receipts.iter().map(Envelope::digest));
    let fits = opened.issuer() == node
        && body.session == session.terms.session
        && body.receipts == expected
        && body.cleared.is_some();
    match fits {
        true => Ok(()),
        false => Err("its confirm is for something else, or clears nothing".to_owned()),
    }
}

/// What was stored about an offline session: receipts, confirms.
pub(super) fn parts(stored: &[Envelope]) -> (Vec<Envelope>, Vec<Envelope>) {
    let confirm = Kind::Confirm.payload_type();
    let stored = stored.iter().cloned();
    stored.partition(|envelope| envelope.payload_type() != confirm)
}

/// Whether the witnesses held these freezes.
pub(super) fn held(bundle: &ActiveBundle, receipts: &[Envelope], head: Hash) -> bool {
    freeze_head(bundle, receipts) == Some(head)
}

fn freeze_head(bundle: &ActiveBundle, receipts: &[Envelope]) -> Option<Hash> {
    let opened = bundle.directory().open::<Receipt>(receipts.first()?);
    Some(opened.ok()?.body().terms.freeze_head)
}

/// The package about a request that waits for its machine. The chain starts after version `after`, which the machine follows.
pub(crate) async fn package(
    core: &Core,
    request: &StoredRequest,
    after: u64,
) -> Result<RequestPackage, ColdError> {
    let bundle = core.bundle.current();
    let attempts = core.store.attempts(request.id).await?;
    let newest = attempts.iter().rev().find_map(|attempt| {
        let session = Session::restore(&bundle, &attempt.authorization)?;
        let (receipts, confirms) = parts(attempt.receipts.as_deref()?);
        let whole = session.terms.offline && !confirms.is_empty();
        whole.then_some((session, receipts, confirms))
    });
    let (session, receipts, confirms) = newest.ok_or(ColdError::NotWaiting(
        "no quorum of nodes has cleared the request yet, or it is not from a cold wallet",
    ))?;
    if session.terms.bundle != bundle.digest() {
        return Err(ColdError::NotWaiting(
            "the policy changed since it was cleared; it is being cleared again",
        ));
    }
    let stored = core.store.approvals(request.id).await?;
    let approvals: Vec<Envelope> = session
        .approvals
        .iter()
        .filter_map(|digest| stored.iter().find(|a| a.digest == *digest))
        .map(|approval| approval.envelope.clone())
        .collect();
    let freezes = freezes(core, &bundle, &session, &receipts).await?;
    let genesis = core.chain.lock().await.genesis();
    let chain = chain(core, &session.terms.witnesses, after).await;
    let evidence = SessionEvidence {
        request: request.envelope.clone(),
        approvals,
        authorization: session.authorization,
        freezes,
        receipts,
        confirms,
    };
    Ok(RequestPackage::new(genesis, chain, evidence))
}

/// The freezes that the witnesses held when they cleared it.
async fn freezes(
    core: &Core,
    bundle: &ActiveBundle,
    session: &Session,
    receipts: &[Envelope],
) -> Result<Vec<Envelope>, ColdError> {
    let head = freeze_head(bundle, receipts);
    if head == Some(Hash::ZERO) {
        return Ok(Vec::new());
    }
    for node in session.terms.reservers() {
        if let Ok(held) = core.nodes.freezes(node).await
            && Some(held.head) == head
        {
            return Ok(held.in_force);
        }
    }
    Err(ColdError::Incomplete(
        "the freezes changed since it was cleared; it is cleared again when its authorization ends"
            .into(),
    ))
}

/// The bundles after a version with the acknowledgements that made each count; nodes keep those for ever.
pub(crate) async fn chain(core: &Core, nodes: &[MemberId], after: u64) -> Vec<ActivationEvidence> {
    let chain = core.chain.lock().await.clone();
    let wanted = |version: u64| version > after;
    let mut acks: Vec<Envelope> = Vec::new();
    if chain.active().content().version > 1 {
        for node in nodes {
            if let Ok(bundles) = core.nodes.bundles(node).await {
                acks.extend(bundles.acks);
            }
        }
    }
    let mut links: Vec<ActivationEvidence> = Vec::new();
    let mut before: Option<&ActiveBundle> = None;
    for link in chain.links() {
        if wanted(link.content().version) {
            links.push(ActivationEvidence {
                bundle: link.envelope().clone(),
                acks: acks_of(before, link, &acks),
            });
        }
        before = Some(link);
    }
    links
}

/// The newest acknowledgement of each node, in order of the nodes: the same package each time.
fn acks_of(before: Option<&ActiveBundle>, link: &ActiveBundle, acks: &[Envelope]) -> Vec<Envelope> {
    let Some(before) = before else {
        return Vec::new();
    };
    let mut by_node: BTreeMap<MemberId, (countersign_policy::statement::AckStage, Envelope)> =
        BTreeMap::new();
    for envelope in acks {
        let Ok(ack) = before.directory().open::<BundleAck>(envelope) else {
            continue;
        };
        if ack.body().bundle != link.digest() {
            continue;
        }
        let stage = ack.body().stage;
        let entry = by_node
            .entry(ack.issuer().clone())
            .or_insert_with(|| (stage, envelope.clone()));
        if stage > entry.0 {
            *entry = (stage, envelope.clone());
        }
    }
    by_node
        .into_values()
        .map(|(_, envelope)| envelope)
        .collect()
}

/// What a machine answered about a request, verified against the pinned key and the bytes that were asked for (I4). Who
/// brought it does not matter.
pub(crate) fn verify(
    request: &StoredRequest,
    facts: &Facts,
    genesis: Hash,
    answer: &ResponsePackage,
) -> Result<SignedData, ColdError> {
    let refuse = |what: String| ColdError::Answer(what);
    if answer.genesis != genesis {
        return Err(refuse("it is of another deployment".to_owned()));
    }
    if answer.request != request.id {
        return Err(refuse(format!("it answers request {}", answer.request)));
    }
    let signature = match &answer.outcome {
        MachineAnswer::Signed { signature, .. } => signature,
        MachineAnswer::Refused { code, detail } => {
            return Err(refuse(format!(
                "the machine did not sign ({code}): {detail}"
            )));
        }
    };
    let assembled = facts.transaction().assemble(signature, facts.public_key());
    let SignedTransaction { bytes, tx_id } =
        assembled.map_err(|e| refuse(format!("its signature does not fit: {e}")))?;
    Ok(SignedData {
        signature: *signature,
        signed: transaction_text(&facts.transaction().intent().network, &bytes),
        tx_id,
        attempt: request.attempt,
        participants: vec![answer.machine.clone()],
    })
}

/// Takes an answer: verifies it, and ends the request as signed. A signature that exists is reported also while the request is
/// being stopped.
pub(crate) async fn import(
    core: &Core,
    request: StoredRequest,
    answer: &ResponsePackage,
) -> Result<StoredRequest, ColdError> {
    if let State::Signed(_) = request.state {
        return Ok(request);
    }
    let (_, facts) = super::reopen(core, &request).map_err(|why| ColdError::Answer(why.detail))?;
    let genesis = core.chain.lock().await.genesis();
    let bundle = core.bundle.current();
    let key = bundle.key(&request.key);
    if !key.is_some_and(|key| bundle.is_offline(key) && key.nodes.contains(&answer.machine)) {
        return Err(ColdError::Answer(format!(
            "{} holds no key of this request",
            answer.machine
        )));
    }
    let signed = verify(&request, &facts, genesis, answer)?;
    for _ in 0..IMPORTS {
        let Some(current) = core.store.claim(&core.lease, request.id).await? else {
            // Another coordinator works on it for the moment.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        if current.state.is_final() {
            return match current.state {
                State::Signed(_) => Ok(current),
                _ => {
                    tracing::error!(request = %current.id, state = current.state.name().as_str(), "a signature came for a request that is final");
                    Err(ColdError::Answer(format!(
                        "the request ended as {} before; the signature exists all the same: {}",
                        current.state.name().as_str(),
                        signed.tx_id
                    )))
                }
            };
        }
        let change = Change {
            outcome: Some("signed"),
            ..Change::default()
        };
        let next = State::Signed(signed.clone());
        match core
            .store
            .advance(&core.lease, &current, &next, &change)
            .await
        {
            Ok(ended) => {
                if let Some(work) = core.works.get(&ended.id) {
                    work.changed.notify_one();
                }
                return Ok(ended);
            }
            Err(DbError::LostLease(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(ColdError::Incomplete(
        "another coordinator works on the request; bring the answer again".into(),
    ))
}

/// Whether no machine can sign any more: every authorization ended, also by the clock of a machine that is behind by as much as
/// two clocks may differ. A machine whose clock is further behind is beyond what anybody here can know (SECURITY.md).
pub(super) async fn all_ended(
    core: &Core,
    bundle: &ActiveBundle,
    request: &StoredRequest,
) -> Result<bool, DbError> {
    let attempts = core.store.attempts(request.id).await?;
    let skew = bundle.skew_seconds().saturating_mul(2);
    let ended = attempts.iter().all(|attempt| {
        let session = Session::restore(bundle, &attempt.authorization);
        session.is_some_and(|s| now() > s.expires_at.plus_seconds(skew))
    });
    Ok(ended)
}
