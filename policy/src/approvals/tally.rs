//! Which approvals count for a request, and whether they are enough.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::matching::filled;
use super::needs::{Need, Needs};
use super::{digests, shown_intent};
use crate::bundle::{ActiveBundle, Group};
use crate::decide::Facts;
use crate::envelope::Envelope;
use crate::freeze::FreezeSet;
use crate::hash::Hash;
use crate::id::{GroupId, MemberId};
use crate::statement::{Approval, SignRequest, SignerKey, StatementError, Verdict, Verified};
use crate::{Intent, Timestamp};

/// The most approvals and rejections that are looked at for one request.
pub const MAX_APPROVALS: usize = 128;

/// The approvals and rejections that count for one request, by person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalTally {
    approved: BTreeMap<MemberId, Option<CountedApproval>>,
    rejected: BTreeMap<MemberId, Rejection>,
}

/// An approval that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedApproval {
    /// Digest of the approval statement.
    pub approval: Hash,
    /// The key or credential that signed it.
    pub key: SignerKey,
    /// From when on it no longer counts.
    pub expires_at: Timestamp,
}

/// An officer's no, which ends the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// Who.
    pub member: MemberId,
    /// Why, in the officer's words.
    pub reason: String,
    /// Digest of the statement.
    pub approval: Hash,
}

/// What a group still has to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingApprovals {
    /// The group.
    pub group: GroupId,
    /// How many of its members must approve.
    pub needed: u16,
    /// How many approved and are not counted for another group of the same alternative.
    pub have: u16,
}

/// A statement that does not count, by its place among those given.
#[derive(Debug)]
pub struct RejectedApproval {
    /// Its place.
    pub index: usize,
    /// Why it does not count.
    pub why: ApprovalProblem,
}

/// Why an approval does not count.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalProblem {
    /// No acceptable approval statement: a bad signature, an unknown member, a form that is not canonical.
    #[error("not an acceptable approval")]
    Statement(#[source] StatementError),
    /// The issuer is no security officer.
    #[error("{0} is no security officer")]
    NotAnOfficer(MemberId),
    /// For another request.
    #[error("it is about request {found}")]
    OtherRequest {
        /// The request that it names.
        found: Hash,
    },
    /// For other bytes.
    #[error("its signing digests are not those of this transaction")]
    OtherDigests,
    /// The officer was shown something else.
    #[error("the intent that the officer was shown is not that of this transaction")]
    OtherIntent,
    /// Under another bundle.
    #[error("it was given under bundle {found}, which is not the active one")]
    OtherBundle {
        /// The bundle that it names.
        found: Hash,
    },
    /// Said in the future.
    #[error("it was issued at {issued_at}, which is later than any clock within bounds says")]
    NotYetValid {
        /// Issue time.
        issued_at: Timestamp,
    },
    /// It expired, or might have by a clock within bounds.
    #[error("it counted until {expires_at}")]
    Expired {
        /// Expiry.
        expires_at: Timestamp,
    },
    /// It would count for longer than the bundle allows.
    #[error("it counts for longer than the {max_seconds} s that the bundle allows")]
    Life {
        /// The bundle's bound.
        max_seconds: u64,
    },
    /// The initiator never counts as an approver.
    #[error("{0} asked for the signature and cannot approve it")]
    Initiator(MemberId),
    /// The officer, or the key used, is frozen.
    #[error("{member} or the key used is frozen")]
    Frozen {
        /// The officer.
        member: MemberId,
        /// Digest of a freeze that says so.
        freeze: Hash,
    },
    /// The same person again. People count, not statements or keys.
    #[error("{0} is counted already")]
    Duplicate(MemberId),
    /// Beyond [`MAX_APPROVALS`].
    #[error("only the first {MAX_APPROVALS} statements are looked at")]
    TooMany,
}

/// What every statement is held against.
struct Count<'a> {
    bundle: &'a ActiveBundle,
    request: &'a Verified<SignRequest>,
    digests: Vec<Hash>,
    intent: Option<Intent>,
    freezes: &'a FreezeSet,
    now: Timestamp,
}

impl ApprovalTally {
    /// Opens the statements given and keeps what counts. Those that do not are told with the reason.
    ///
    /// An approval counts when it is about this request, these bytes, this meaning and this bundle, is certainly current
    /// (a clock that may be wrong within bounds speaks against it), lives no longer than allowed, and comes from a
    /// security officer who is neither frozen nor the initiator. A rejection counts for less: it has to be a security
    /// officer's, neither frozen nor the initiator, about this request. Saying no takes no exactness, and never expires.
    pub fn count(
        bundle: &ActiveBundle,
        request: &Verified<SignRequest>,
        facts: &Facts,
        approvals: &[Envelope],
        freezes: &FreezeSet,
        now: Timestamp,
    ) -> (Self, Vec<RejectedApproval>) {
        let count = Count {
            bundle,
            request,
            digests: digests(facts),
            intent: shown_intent(facts).ok(),
            freezes,
            now,
        };
        let mut tally = Self::default();
        let mut refused = Vec::new();
        for (index, envelope) in approvals.iter().enumerate() {
            let taken = if index < MAX_APPROVALS {
                count
                    .open(envelope)
                    .and_then(|approval| tally.take(&approval))
            } else {
                Err(ApprovalProblem::TooMany)
            };
            if let Err(why) = taken {
                refused.push(RejectedApproval { index, why });
            }
        }
        (tally, refused)
    }

    /// As if everybody in the groups had approved, but the initiator: a request that is denied even so is blocked, and no
    /// approval would help it.
    pub fn saturated(groups: &[Group], initiator: &MemberId) -> Self {
        let everybody = groups.iter().flat_map(|g| &g.members);
        Self {
            approved: everybody
                .filter(|member| *member != initiator)
                .map(|member| (member.clone(), None))
                .collect(),
            rejected: BTreeMap::new(),
        }
    }

    /// Who approved.
    pub fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.approved.keys()
    }

    /// The approvals that count, by person; none in a saturated tally, which has no statements.
    pub fn approvals(&self) -> impl Iterator<Item = (&MemberId, &CountedApproval)> {
        self.approved
            .iter()
            .filter_map(|(member, counted)| Some((member, counted.as_ref()?)))
    }

    /// Who said no. One is enough to end the request.
    pub fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.rejected.values()
    }

    /// How many members of a group approved. Somebody in two groups counts in both here; whether the needs of a rule are
    /// met is for [`ApprovalTally::meets`] to say, where nobody counts for two groups at once.
    pub fn count_in(&self, group: &Group) -> usize {
        let members: BTreeSet<&MemberId> = group.members.iter().collect();
        members
            .into_iter()
            .filter(|member| self.approved.contains_key(*member))
            .count()
    }

    /// Whether one alternative is met by different people for each of its places.
    pub fn meets(&self, needs: &Needs, groups: &[Group]) -> bool {
        needs
            .alternatives()
            .iter()
            .any(|alternative| self.missing_of(alternative, groups).is_empty())
    }

    /// What is missing for the closest alternative: the one that needs the fewest people more, of those that the groups
    /// could meet at all; the first of equals. Empty when the needs are met.
    pub fn missing(&self, needs: &Needs, groups: &[Group]) -> Vec<MissingApprovals> {
        let alternatives = needs.alternatives();
        let everybody = Self::saturated_with(groups);
        let possible =
            |alternative: &&Vec<Need>| everybody.missing_of(alternative, groups).is_empty();
        let closest = |candidates: &mut dyn Iterator<Item = &Vec<Need>>| {
            candidates
                .map(|alternative| self.missing_of(alternative, groups))
                .min_by_key(|missing| people_missing(missing))
        };
        closest(&mut alternatives.iter().filter(possible))
            .or_else(|| closest(&mut alternatives.iter()))
            .unwrap_or_default()
    }

    fn saturated_with(groups: &[Group]) -> Self {
        Self {
            approved: groups
                .iter()
                .flat_map(|g| &g.members)
                .map(|member| (member.clone(), None))
                .collect(),
            rejected: BTreeMap::new(),
        }
    }

    fn missing_of(&self, alternative: &[Need], groups: &[Group]) -> Vec<MissingApprovals> {
        let filled = filled(alternative, groups, self.approved.keys());
        alternative
            .iter()
            .zip(filled)
            .filter(|(need, filled)| *filled < usize::from(need.count))
            .map(|(need, filled)| MissingApprovals {
                group: need.group.clone(),
                needed: need.count,
                have: u16::try_from(filled).unwrap_or(u16::MAX),
            })
            .collect()
    }

    fn take(&mut self, approval: &Verified<Approval>) -> Result<(), ApprovalProblem> {
        let member = approval.issuer().clone();
        if let Verdict::Reject { reason } = &approval.body().verdict {
            if self.rejected.contains_key(&member) {
                return Err(ApprovalProblem::Duplicate(member));
            }
            let rejection = Rejection {
                member: member.clone(),
                reason: reason.clone(),
                approval: approval.digest(),
            };
            self.rejected.insert(member, rejection);
            return Ok(());
        }
        if self.approved.contains_key(&member) {
            return Err(ApprovalProblem::Duplicate(member));
        }
        let key = approval.key_of(&member).cloned();
        let counted = key.map(|key| CountedApproval {
            approval: approval.digest(),
            key,
            expires_at: approval.statement().expires_at,
        });
        self.approved.insert(member, counted);
        Ok(())
    }
}

fn people_missing(missing: &[MissingApprovals]) -> usize {
    missing
        .iter()
        .map(|m| usize::from(m.needed.saturating_sub(m.have)))
        .fold(0, usize::saturating_add)
}

impl Count<'_> {
    fn open(&self, envelope: &Envelope) -> Result<Verified<Approval>, ApprovalProblem> {
        let approval = self
            .bundle
            .open_approval(envelope)
            .map_err(|error| match error {
                StatementError::Role { issuer, .. } => ApprovalProblem::NotAnOfficer(issuer),
                error => ApprovalProblem::Statement(error),
            })?;
        let body = approval.body();
        if body.request != self.request.digest() {
            return Err(ApprovalProblem::OtherRequest {
                found: body.request,
            });
        }
        self.person(&approval)?;
        if body.verdict == Verdict::Approve {
            self.meaning(body)?;
            self.time(&approval)?;
        }
        Ok(approval)
    }

    fn person(&self, approval: &Verified<Approval>) -> Result<(), ApprovalProblem> {
        let member = approval.issuer();
        if member == self.request.issuer() {
            return Err(ApprovalProblem::Initiator(member.clone()));
        }
        let frozen = self
            .freezes
            .blocks_member(member, approval.key_of(member))
            .into_iter()
            .next();
        match frozen {
            None => Ok(()),
            Some(hit) => Err(ApprovalProblem::Frozen {
                member: member.clone(),
                freeze: hit.freeze,
            }),
        }
    }

    fn meaning(&self, body: &Approval) -> Result<(), ApprovalProblem> {
        if body.bundle != self.bundle.digest() {
            return Err(ApprovalProblem::OtherBundle { found: body.bundle });
        }
        if body.digests != self.digests {
            return Err(ApprovalProblem::OtherDigests);
        }
        if self.intent.as_ref() != Some(&body.intent) {
            return Err(ApprovalProblem::OtherIntent);
        }
        Ok(())
    }

    fn time(&self, approval: &Verified<Approval>) -> Result<(), ApprovalProblem> {
        let timing = &self.bundle.content().timing;
        let skew = timing.max_clock_skew_seconds;
        let (issued_at, expires_at) = (
            approval.statement().issued_at,
            approval.statement().expires_at,
        );
        if issued_at > self.now.plus_seconds(skew) {
            return Err(ApprovalProblem::NotYetValid { issued_at });
        }
        if self.now.plus_seconds(skew) >= expires_at {
            return Err(ApprovalProblem::Expired { expires_at });
        }
        let max_seconds = timing.max_approval_life_seconds;
        if expires_at > issued_at.plus_seconds(max_seconds) {
            return Err(ApprovalProblem::Life { max_seconds });
        }
        Ok(())
    }
}
