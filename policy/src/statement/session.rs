//! What coordinator and nodes say while a signature is made: authorization, receipt, confirm.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ceremony::MAX_GROUP;
use super::{Body, Kind, strictly_ascending};
use crate::hash::Hash;
use crate::id::MemberId;

/// The most digests that one authorization covers (inputs of one transaction).
const MAX_DIGESTS: usize = 256;
/// The most approvals that one authorization names.
const MAX_APPROVALS: usize = 64;

/// A coordinator's go-ahead: single use, short-lived. It can start a signature, never justify one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// Digests of the approvals that count for it.
    pub approvals: Vec<Hash>,
    /// Digest of the policy bundle it was decided under.
    pub bundle: Hash,
    /// The exact signing digests.
    pub digests: Vec<Hash>,
    /// The nodes that sign, in ascending order.
    pub participants: Vec<MemberId>,
    /// Further nodes of the ledger group that reserve and confirm without signing, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<MemberId>,
    /// Counts the attempts at this request, from 1.
    pub attempt: u32,
    /// 32 random bytes, never used again.
    pub nonce: Hash,
    /// The presignature to burn, if one is used.
    pub presignature: Option<Hash>,
}

impl Body for Authorization {
    const KIND: Kind = Kind::Authorization;

    fn check(&self) -> Result<(), String> {
        check_attempt(&self.participants, &self.digests, self.attempt)?;
        check_witnesses(&self.participants, &self.witnesses)?;
        at_most(MAX_APPROVALS, "approvals", self.approvals.len())?;
        each_once("approvals", &self.approvals)
    }
}

/// Everything about a session on which all participants must agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionTerms {
    /// The session's id, derived from the authorization.
    pub session: Hash,
    /// Digest of the authorization statement.
    pub authorization: Hash,
    /// Digest of the sign-request statement.
    pub request: Hash,
    /// The exact signing digests.
    pub digests: Vec<Hash>,
    /// Digest of the active policy bundle.
    pub bundle: Hash,
    /// Hash over the freezes in force; [`Hash::ZERO`] while there is none.
    pub freeze_head: Hash,
    /// The presignature bound to the digest, if one is used.
    pub presignature: Option<Hash>,
    /// The cosigned log checkpoint, once there is a log.
    pub checkpoint: Option<Hash>,
    /// The nodes that sign, in ascending order.
    pub participants: Vec<MemberId>,
    /// The nodes that reserve and confirm without signing, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<MemberId>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The participants have no network: the witnesses reserve, read each other's ledgers and clear the session, and what
    /// they say is carried to a participant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
}

impl SessionTerms {
    /// Everybody who reserves online, gives a receipt and confirms: the participants and then the witnesses, each in order;
    /// of an offline session the witnesses alone.
    pub fn reservers(&self) -> impl Iterator<Item = &MemberId> {
        let participants: &[MemberId] = match self.offline {
            true => &[],
            false => &self.participants,
        };
        participants.iter().chain(&self.witnesses)
    }

    /// The hash that names a session's receipts: over their digests in the order of [`SessionTerms::reservers`].
    pub fn receipts_hash(receipts: impl IntoIterator<Item = Hash>) -> Hash {
        let digests: Vec<Hash> = receipts.into_iter().collect();
        let parts: Vec<&[u8]> = digests.iter().map(|d| d.as_bytes().as_slice()).collect();
        Hash::derive("countersign/receipts/v1", &parts)
    }

    /// The session id of an authorization.
    pub fn session_id(authorization: Hash) -> Hash {
        Hash::derive("countersign/session/v1", &[authorization.as_bytes()])
    }
}

/// A node checked everything itself and durably reserved the spend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// What the node agreed to.
    pub terms: SessionTerms,
    /// Sequence number of the node's reservation in its ledger.
    pub ledger_sequence: u64,
    /// Digest of that ledger entry.
    pub ledger_head: Hash,
}

impl Body for Receipt {
    const KIND: Kind = Kind::Receipt;

    fn check(&self) -> Result<(), String> {
        let terms = &self.terms;
        check_attempt(&terms.participants, &terms.digests, terms.attempt)?;
        check_witnesses(&terms.participants, &terms.witnesses)?;
        if terms.offline && terms.witnesses.is_empty() {
            return Err("an offline session has witnesses".into());
        }
        if terms.session != SessionTerms::session_id(terms.authorization) {
            return Err("the session is not the authorization's".into());
        }
        check_ledger_position(self.ledger_sequence)
    }
}

/// A node saw all receipts of a session, and says where its ledger stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The session.
    pub session: Hash,
    /// Hash over all receipts in participants' order.
    pub receipts: Hash,
    /// The last sequence number of the node's ledger.
    pub ledger_sequence: u64,
    /// Digest of that entry.
    pub ledger_head: Hash,
    /// For an offline session: the node heard this of every other witness as well, read their ledgers, and found no limit,
    /// used nonce, stop, abort or freeze in the way. Nobody else will look: a participant without a network signs on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared: Option<Cleared>,
}

/// What a witness of an offline session found when it looked last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleared {
    /// Digest of the policy bundle that was active.
    pub bundle: Hash,
    /// Hash over the freezes in force.
    pub freeze_head: Hash,
}

impl Body for Confirm {
    const KIND: Kind = Kind::Confirm;

    fn check(&self) -> Result<(), String> {
        check_ledger_position(self.ledger_sequence)
    }
}

fn check_attempt(participants: &[MemberId], digests: &[Hash], attempt: u32) -> Result<(), String> {
    strictly_ascending("participants", participants)?;
    at_most(MAX_GROUP, "participants", participants.len())?;
    check_digests(digests)?;
    if attempt == 0 {
        return Err("attempts count from 1".into());
    }
    Ok(())
}

pub(super) fn check_digests(digests: &[Hash]) -> Result<(), String> {
    if digests.is_empty() {
        return Err("at least one signing digest is named".into());
    }
    at_most(MAX_DIGESTS, "digests", digests.len())?;
    each_once("digests", digests)
}

fn check_witnesses(participants: &[MemberId], witnesses: &[MemberId]) -> Result<(), String> {
    if witnesses.is_empty() {
        return Ok(());
    }
    strictly_ascending("witnesses", witnesses)?;
    at_most(MAX_GROUP, "witnesses", witnesses.len())?;
    if witnesses.iter().any(|w| participants.contains(w)) {
        return Err("a node signs or witnesses, not both".into());
    }
    Ok(())
}

/// A receipt or confirm comes after at least one entry: its own reservation.
fn check_ledger_position(sequence: u64) -> Result<(), String> {
    if sequence == 0 {
        return Err("the ledger's sequence counts from 1".into());
    }
    Ok(())
}

fn at_most(max: usize, what: &str, found: usize) -> Result<(), String> {
    if found > max {
        return Err(format!("{found} {what}: at most {max}"));
    }
    Ok(())
}

fn each_once(what: &str, items: &[Hash]) -> Result<(), String> {
    let distinct: BTreeSet<&Hash> = items.iter().collect();
    if distinct.len() != items.len() {
        return Err(format!("{what} must be listed once each"));
    }
    Ok(())
}
