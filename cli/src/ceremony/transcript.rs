//! What the nodes say came out of a ceremony, and why it can be believed.

use std::collections::BTreeSet;

use countersign_policy::bundle::{ActiveBundle, KeyRecord, KeyState};
use countersign_policy::statement::{CeremonyTranscript, KeyCeremony, Verified};
use countersign_policy::{Envelope, Hash};

use crate::failure::{Exit, Failure, OrFail as _, Outcome};

/// A key that every one of its nodes vouches for.
#[derive(Debug)]
pub struct MadeKey {
    /// As a bundle pins it.
    pub record: KeyRecord,
    /// The transcripts of all nodes.
    pub transcripts: Vec<Envelope>,
}

fn refused(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Refused, format!("the ceremony is refused: {what}"))
}

impl MadeKey {
    /// Verifies the transcripts: all nodes of the order signed one each, all with the same content, which is about this order; and
    /// the test signatures hold for the group key and together need every node.
    pub fn verify(
        active: &ActiveBundle,
        order: &Verified<KeyCeremony>,
        transcripts: Vec<Envelope>,
    ) -> Outcome<Self> {
        let mut said: Option<(Hash, CeremonyTranscript)> = None;
        let mut vouched = BTreeSet::new();
        for envelope in &transcripts {
            let transcript = active
                .directory()
                .open::<CeremonyTranscript>(envelope)
                .or_fail(Exit::Refused, "a transcript is refused")?;
            let (node, body) = (transcript.issuer(), transcript.body());
            if !order.body().nodes.contains(node) || !vouched.insert(node.clone()) {
                return Err(refused(format!("{node} has no part in it, or spoke twice")));
            }
            if body.ceremony != order.digest() || body.order != *order.body() {
                return Err(refused(format!("{node} speaks about another order")));
            }
            let content = body.content_hash().or_broken("cannot hash a transcript")?;
            match &said {
                None => said = Some((content, body.clone())),
                Some((first, _)) if *first == content => {}
                Some(_) => {
                    return Err(refused(format!(
                        "{node} says something else than the nodes before it"
                    )));
                }
            }
        }
        let missing = order.body().nodes.iter().find(|n| !vouched.contains(*n));
        if let Some(node) = missing {
            return Err(refused(format!("{node} does not vouch for it")));
        }
        let (transcript, content) = said.ok_or_else(|| refused("there is no transcript"))?;
        if let Err(signers) = content.verify_tests() {
            return Err(refused(format!(
                "the test signature of {signers:?} does not hold"
            )));
        }
        Ok(Self {
            record: record(&content, transcript),
            transcripts,
        })
    }
}

fn record(content: &CeremonyTranscript, transcript: Hash) -> KeyRecord {
    let order = &content.order;
    KeyRecord {
        id: order.key.clone(),
        protocol: order.protocol,
        threshold: order.threshold,
        max_faulty: order.max_faulty,
        nodes: order.nodes.clone(),
        purpose: order.purpose.clone(),
        environment: order.environment,
        state: KeyState::Active,
        group_key: content.group_key,
        chain_code: content.chain_code,
        transcript,
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod tests;
