//! One attempt at a signature: prepare at every participant, receipts to every participant, the first signature that
//! verifies (DESIGN section 4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign_policy::bundle::{ActiveBundle, Role};
use countersign_policy::statement::{Authorization, Receipt, SessionTerms};
use countersign_policy::{
    Envelope, Facts, Hash, LimitId, MemberId, Network, Reason, SignedTransaction, Timestamp,
};
use countersign_signer::wire::{Prepare, ProblemCode, Sign, Signed};
use tokio::task::JoinSet;

use crate::api::limits;
use crate::core::{Core, now};
use crate::lifecycle::{SignedData, Why};
use crate::nodes::NodeError;

/// An authorization that is stored, and what everybody must agree on about it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) authorization: Envelope,
    pub(crate) terms: SessionTerms,
    /// Digests of the approvals that the authorization names, in its order.
    pub(crate) approvals: Vec<Hash>,
    pub(crate) expires_at: Timestamp,
}

impl Session {
    /// What every participant's receipt must say about `authorization`.
    pub(crate) fn new(
        authorization: Envelope,
        body: &Authorization,
        expires_at: Timestamp,
        bundle: &ActiveBundle,
    ) -> Self {
        let offline = |node: &MemberId| bundle.has_role(node, Role::OfflineNode);
        let digest = authorization.digest();
        let terms = SessionTerms {
            session: SessionTerms::session_id(digest),
            authorization: digest,
            request: body.request,
            digests: body.digests.clone(),
            bundle: body.bundle,
            // The nodes say which freezes they hold; see `require_one_freeze_head`.
            freeze_head: Hash::ZERO,
            presignature: body.presignature,
            checkpoint: None,
            participants: body.participants.clone(),
            witnesses: body.witnesses.clone(),
            attempt: body.attempt,
            offline: body.participants.iter().any(offline),
        };
        Self {
            authorization,
            terms,
            approvals: body.approvals.clone(),
            expires_at,
        }
    }

    /// Reads a stored authorization back.
    pub(crate) fn restore(bundle: &ActiveBundle, authorization: &Envelope) -> Option<Self> {
        let opened = bundle
            .directory()
            .open::<Authorization>(authorization)
            .ok()?;
        let expires_at = opened.statement().expires_at;
        Some(Self::new(
            authorization.clone(),
            opened.body(),
            expires_at,
            bundle,
        ))
    }
}

/// How an attempt went.
#[derive(Debug)]
pub(crate) enum AttemptEnd {
    /// A signature that verifies against the pinned key and the intent's bytes.
    Signed(Box<SignedData>),
    /// A signer's own check of policy or transaction said no.
    Denied(Why),
    /// A signer was told to stop the request.
    Stopped(Why),
    /// Enough witnesses cleared it; a machine with no network is to sign.
    Cleared,
    /// It broke; another attempt may succeed.
    Broke(Broken),
}

/// What is known about an attempt that broke.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    /// For the request's record.
    pub(crate) why: Why,
    /// Nodes that come last in the next attempt.
    pub(crate) avoid: BTreeSet<MemberId>,
    /// Whether waiting may help more than another signer set.
    pub(crate) wait: bool,
    /// A node refused the presignature that it was believed to have.
    pub(crate) presignature: bool,
}

/// Prepares at every participant and witness at once, and verifies the receipts. They come in the order of the session's
/// reservers.
pub(crate) async fn prepare(
    core: &Core,
    bundle: &ActiveBundle,
    session: &Session,
    request: &Envelope,
    approvals: &[Envelope],
) -> Result<Vec<Envelope>, AttemptEnd> {
    let mut calls = JoinSet::new();
    for node in session.terms.reservers() {
        let call = Prepare {
            authorization: session.authorization.clone(),
            request: request.clone(),
            approvals: approvals.to_vec(),
        };
        let (node, answer) = (node.clone(), core.nodes.prepare(node, call));
        calls.spawn(async move { (node, answer.await) });
    }
    let mut receipts = BTreeMap::new();
    let mut heads = BTreeMap::new();
    let mut failures = BTreeMap::new();
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        match answer {
            Ok(prepared) => match check_receipt(bundle, session, &node, &prepared.receipt) {
                Ok(freeze_head) => {
                    heads.insert(node.clone(), freeze_head);
                    receipts.insert(node, prepared.receipt);
                }
                Err(wrong) => {
                    failures.insert(node, NodeError::Protocol(wrong));
                }
            },
            Err(error) => {
                failures.insert(node, error);
            }
        }
        if !failures.is_empty() {
            // The others go on; what they reserved ends with the next attempt or with the authorization.
            calls.detach_all();
            return Err(judge(core, session, "prepare", failures));
        }
    }
    require_one_freeze_head(&heads).map_err(AttemptEnd::Broke)?;
    let ordered: Vec<Envelope> = session
        .terms
        .reservers()
        .filter_map(|node| receipts.remove(node))
        .collect();
    if ordered.len() < session.terms.reservers().count() {
        let why = Why::new("internal", "a call to a node was lost");
        return Err(AttemptEnd::Broke(Broken {
            why,
            ..Broken::default()
        }));
    }
    Ok(ordered)
}

/// The nodes must hold the same freezes, whichever: one of them has not heard of the newest yet, and will soon.
fn require_one_freeze_head(heads: &BTreeMap<MemberId, Hash>) -> Result<(), Broken> {
    let distinct: BTreeSet<&Hash> = heads.values().collect();
    if distinct.len() <= 1 {
        return Ok(());
    }
    let mut why = Why::new(
        "freezes-differ",
        "the nodes do not hold the same freezes yet",
    );
    let texts = heads
        .iter()
        .map(|(node, head)| (node.clone(), format!("holds the freezes {head}")));
    why.nodes.extend(texts);
    Err(Broken {
        why,
        wait: true,
        ..Broken::default()
    })
}

fn check_receipt(
    bundle: &ActiveBundle,
    session: &Session,
    node: &MemberId,
    receipt: &Envelope,
) -> Result<Hash, String> {
    let opened = bundle.directory().open::<Receipt>(receipt);
    let opened = opened.map_err(|e| format!("its receipt is not acceptable: {e}"))?;
    if opened.issuer() != node {
        return Err(format!("its receipt is signed by {}", opened.issuer()));
    }
    let terms = &opened.body().terms;
    let expected = SessionTerms {
        freeze_head: terms.freeze_head,
        ..session.terms.clone()
    };
    if *terms != expected {
        return Err("its receipt is for other terms than the authorization's".to_owned());
    }
    Ok(terms.freeze_head)
}

/// Hands all receipts to every participant and takes the first signature that verifies.
pub(crate) async fn sign(
    core: &Core,
    session: &Session,
    facts: &Facts,
    receipts: &[Envelope],
    ask: &[MemberId],
) -> AttemptEnd {
    let mut calls = JoinSet::new();
    for node in ask {
        let call = Sign {
            session: session.terms.session,
            receipts: receipts.to_vec(),
        };
        let (node, answer) = (node.clone(), core.nodes.sign(node, call));
        calls.spawn(async move { (node, answer.await) });
    }
    let mut failures = BTreeMap::new();
    while let Some(answer) = calls.join_next().await {
        let Ok((node, answer)) = answer else { continue };
        // A witness confirms, and has no signature to answer with.
        if answer.is_ok() && session.terms.witnesses.contains(&node) {
            continue;
        }
        let verified =
            answer.and_then(|signed| verify(session, facts, &signed).map_err(NodeError::Protocol));
        match verified {
            Ok(data) => {
                blame_in_spite_of_success(core, session, &failures);
                // The other calls go on, so that no node sees its session broken off, and what they blame is still told.
                tokio::spawn(hear_out(session.terms.request, calls));
                return AttemptEnd::Signed(Box::new(data));
            }
            Err(error) => {
                failures.insert(node, error);
            }
        }
    }
    judge(core, session, "sign", failures)
}

/// I4: the signature must verify against the key derived from the pinned one and the bytes that were decoded.
fn verify(session: &Session, facts: &Facts, signed: &Signed) -> Result<SignedData, String> {
    let [signature] = signed.signatures.as_slice() else {
        return Err(format!(
            "{} signatures for one digest",
            signed.signatures.len()
        ));
    };
    let assembled = facts.transaction().assemble(signature, facts.public_key());
    let SignedTransaction { bytes, tx_id } =
        assembled.map_err(|e| format!("its signature is wrong: {e}"))?;
    Ok(SignedData {
        signature: *signature,
        signed: transaction_text(&facts.transaction().intent().network, &bytes),
        tx_id,
        attempt: session.terms.attempt,
        participants: session.terms.participants.clone(),
    })
}

/// Hexadecimal; with `0x` in front for EVM networks.
pub(super) fn transaction_text(network: &Network, bytes: &[u8]) -> String {
    match network {
        Network::Evm { .. } => format!("0x{}", hex::encode(bytes)),
        Network::Tron(_) | Network::Solana(_) => hex::encode(bytes),
    }
}

/// A signature came out, and some node was wrong all the same.
fn blame_in_spite_of_success(
    core: &Core,
    session: &Session,
    failures: &BTreeMap<MemberId, NodeError>,
) {
    for (node, error) in failures {
        if let NodeError::Protocol(what) = error {
            core.health.failed(node, what);
            tracing::error!(%node, what, request = %session.terms.request, "a node sent something wrong");
        }
        blame_by(session.terms.request, node, error);
    }
}

/// Names the nodes that another one proves to have sent something wrong.
fn blame_by(request: Hash, by: &MemberId, error: &NodeError) {
    let NodeError::Problem(problem) = error else {
        return;
    };
    for node in &problem.culprits {
        tracing::error!(%node, %by, %request, detail = problem.detail, "a node sent something wrong in a session");
    }
}

/// Waits for the nodes whose answers are not needed any more.
async fn hear_out(request: Hash, mut calls: JoinSet<(MemberId, Result<Signed, NodeError>)>) {
    while let Some(answer) = calls.join_next().await {
        if let Ok((node, Err(error))) = answer {
            blame_by(request, &node, &error);
        }
    }
}

/// What the refusals and failures of one step mean for the request.
pub(super) fn judge(
    core: &Core,
    session: &Session,
    step: &str,
    failures: BTreeMap<MemberId, NodeError>,
) -> AttemptEnd {
    let mut broken = Broken {
        why: Why::new(
            "attempt-failed",
            format!("attempt {} failed at {step}", session.terms.attempt),
        ),
        ..Broken::default()
    };
    let mut culprits = BTreeSet::new();
    for (node, error) in &failures {
        broken.why.nodes.insert(node.clone(), error.to_string());
        match error {
            NodeError::Problem(problem) => {
                if let Some(end) = denial(node, problem) {
                    return end;
                }
                culprits.extend(problem.culprits.iter().cloned());
                broken.avoid.extend(problem.culprits.iter().cloned());
                broken.avoid.extend(problem.missing.iter().cloned());
                weigh(core, node, problem, &mut broken);
            }
            NodeError::Protocol(_) => {
                culprits.insert(node.clone());
                broken.avoid.insert(node.clone());
                core.health.failed(node, &error.to_string());
            }
            NodeError::Unreachable(_) | NodeError::Timeout => {
                broken.avoid.insert(node.clone());
                core.health.failed(node, &error.to_string());
            }
        }
    }
    for culprit in &culprits {
        core.health.failed(culprit, "sent something wrong");
        tracing::error!(node = %culprit, request = %session.terms.request, attempt = session.terms.attempt,
            "a node sent something wrong in a session");
    }
    tracing::warn!(request = %session.terms.request, attempt = session.terms.attempt, step,
        nodes = ?broken.why.nodes, "attempt failed");
    broken.why.culprits = culprits.into_iter().collect();
    AttemptEnd::Broke(broken)
}

/// Refusals that another signer set would give as well.
fn denial(node: &MemberId, problem: &countersign_signer::wire::Problem) -> Option<AttemptEnd> {
    let why = |code: &str| Why {
        nodes: BTreeMap::from([(node.clone(), problem.detail.clone())]),
        reasons: problem.reasons.clone(),
        ..Why::new(code, format!("{node} refuses: {}", problem.detail))
    };
    match problem.code()? {
        // A request that merely got too old on the way ends as expired; the runner sees to it.
        ProblemCode::Policy if only_time(&problem.reasons) => None,
        ProblemCode::Policy if !limits(&problem.reasons).is_empty() => {
            Some(AttemptEnd::Denied(limit(node, problem)))
        }
        ProblemCode::Policy => Some(AttemptEnd::Denied(why("policy"))),
        ProblemCode::Transaction => Some(AttemptEnd::Denied(why("transaction"))),
        ProblemCode::ExternalId => Some(AttemptEnd::Denied(why("external-id"))),
        ProblemCode::StoppedRequest => Some(AttemptEnd::Stopped(why("stopped"))),
        _ => None,
    }
}

/// A limit would be passed. The numbers stand among the reasons alone: whoever may not see them is not told in words.
fn limit(node: &MemberId, problem: &countersign_signer::wire::Problem) -> Why {
    let names = limits(&problem.reasons);
    let names: Vec<&str> = names.iter().map(LimitId::as_str).collect();
    let names = names.join(", ");
    Why {
        nodes: BTreeMap::from([(node.clone(), format!("refuses: limit {names}"))]),
        reasons: problem.reasons.clone(),
        ..Why::new("limit", format!("limit {names} would be passed"))
    }
}

fn only_time(reasons: &[Reason]) -> bool {
    reasons
        .iter()
        .all(|r| matches!(r, Reason::RequestTime { .. }))
}

/// Whether a refusal is the node's fault, and whether waiting helps.
fn weigh(
    core: &Core,
    node: &MemberId,
    problem: &countersign_signer::wire::Problem,
    broken: &mut Broken,
) {
    match problem.code() {
        Some(
            ProblemCode::Internal
            | ProblemCode::Clock
            | ProblemCode::Forbidden
            | ProblemCode::Malformed
            | ProblemCode::Statement
            | ProblemCode::Bundle,
        )
        | None => {
            broken.avoid.insert(node.clone());
            core.health.failed(node, &problem.detail);
        }
        Some(ProblemCode::Busy) => {
            broken.avoid.insert(node.clone());
            broken.wait = true;
        }
        Some(
            ProblemCode::Authorization
            | ProblemCode::NotFound
            | ProblemCode::Policy
            | ProblemCode::Frozen
            // It died on the way; the request is decided again.
            | ProblemCode::Approval,
        ) => {
            broken.wait = true;
        }
        // It started a moment ago.
        Some(ProblemCode::Unregistered) => {
            broken.avoid.insert(node.clone());
            broken.wait = true;
        }
        // Freezes may have differed.
        Some(ProblemCode::Receipts) => broken.wait = true,
        // Somebody else was faster, or the node restarted.
        Some(ProblemCode::Presignature) => broken.presignature = true,
        // The session's failure, not this node's.
        Some(
            ProblemCode::Protocol
            | ProblemCode::Timeout
            | ProblemCode::Aborted
            | ProblemCode::Transaction
            | ProblemCode::ExternalId
            | ProblemCode::StoppedRequest,
        ) => {}
    }
}

/// Whether there is still time to do something under a session's authorization.
pub(crate) fn has_time(session: &Session) -> bool {
    session.expires_at > now().plus_seconds(1)
}

/// The wait before another attempt: short while other signer sets may do better, growing when nothing helps.
pub(crate) fn pause(failed: u32, wait: bool) -> Duration {
    if failed <= 1 && !wait {
        return Duration::ZERO;
    }
    let doubled = 100_u64.saturating_mul(1_u64 << failed.min(7));
    Duration::from_millis(doubled.min(10_000))
}
