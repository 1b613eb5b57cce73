//! The answer, and its reasons.

use serde::{Deserialize, Serialize};

use crate::approvals::{MissingApprovals, Rejection};
use crate::bundle::KeyState;
use crate::freeze::FreezeHit;
use crate::id::{MemberId, RuleId};
use crate::limits::{LimitHit, NonceAhead};
use crate::{Address, Amount, Timestamp};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Allow, blocked, or needs approvals.
    pub outcome: Outcome,
    /// The rules that decided it.
    pub rules: Vec<RuleId>,
    /// Why not; empty when allowed.
    pub reasons: Vec<Reason>,
    /// Whose approvals it waits for; empty unless it needs approvals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingApprovals>,
}

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It may be signed.
    Allow,
    /// Policy says no, and no approval would change that.
    Blocked,
    /// It may be signed once the approvals named in the reasons are there.
    NeedsApprovals,
}

/// Why something is not allowed. Stable codes, with what a person needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reason {
    /// The bundle is past its expiry.
    BundleExpired {
        /// Since when.
        expired_at: Timestamp,
    },
    /// The facts are not about this request under this bundle.
    OtherFacts,
    /// The request is past its expiry or not valid yet.
    RequestTime {
        /// What is wrong.
        detail: String,
    },
    /// The request lives longer than the bundle allows.
    RequestLife {
        /// The bundle's bound in seconds.
        max_seconds: u64,
    },
    /// The issuer is no payment service.
    InitiatorRole {
        /// The issuer.
        initiator: MemberId,
    },
    /// The key is not active.
    KeyState {
        /// Its state.
        state: KeyState,
    },
    /// Bytes and stated intent differ.
    IntentMismatch {
        /// The part that differs.
        field: String,
        /// As stated.
        stated: String,
        /// As decoded.
        decoded: String,
    },
    /// No rule allows this kind of transaction.
    KindNotAllowed {
        /// The kind.
        kind: String,
    },
    /// The transaction can cost more than the bundle allows.
    FeeCap {
        /// The transaction's greatest fee in base units.
        max_fee: Amount,
        /// The bundle's cap; none means that the network may not be used.
        cap: Option<Amount>,
    },
    /// The transaction stays usable for longer than the bundle allows.
    LifetimeCap {
        /// In milliseconds.
        lifetime_millis: i64,
        /// The bundle's cap in seconds.
        cap_seconds: u64,
    },
    /// The transaction's own expiration has passed already.
    TransactionExpired,
    /// No rule lets this initiator move this asset from this wallet.
    NoRule {
        /// The asset.
        asset: String,
    },
    /// The destination is not one the rules allow.
    DestinationNotAllowed {
        /// The address.
        address: Address,
    },
    /// The destination is listed but not usable yet.
    DestinationNotActive {
        /// The address.
        address: Address,
        /// From when on it is.
        active_from: Timestamp,
    },
    /// More than the cap per transaction.
    AmountCap {
        /// The amount that the whole transaction moves of the asset, in base units.
        amount: Amount,
        /// The cap, in base units.
        cap: Amount,
    },
    /// A transfer needs special permission that transfer rules cannot give (a memo-bearing permission, a foreign account).
    Feature {
        /// Which.
        feature: String,
    },
    /// Something that it touches is frozen.
    Frozen(FreezeHit),
    /// A limit would be passed.
    Limit(LimitHit),
    /// The transaction's nonce is too far ahead of the last one that chain observers saw used.
    NonceAhead(NonceAhead),
    /// A security officer said no.
    Rejected(Rejection),
    /// A Cedar rule forbids it.
    Forbidden {
        /// The rule.
        rule: RuleId,
        /// What the rule gives as its reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A Cedar rule could not be evaluated: nobody knows whether it forbids.
    RuleError {
        /// The rule; none when the question could not even be asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<RuleId>,
        /// What went wrong.
        detail: String,
    },
    /// A Cedar rule would permit it by words that are wide enough, and does not name what is dangerous about it.
    NotNamed {
        /// The rule.
        rule: RuleId,
        /// The attribute that its conditions must mention.
        attribute: String,
    },
    /// A rule would let a cold wallet pay without anybody's approval.
    ColdWithoutApprovals {
        /// The rule.
        rule: RuleId,
    },
    /// A group has to approve.
    MissingApprovals(MissingApprovals),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::BundleExpired { expired_at } => {
                write!(f, "the policy bundle expired at {expired_at}")
            }
            Reason::OtherFacts => {
                f.write_str("the facts were established for another request or bundle")
            }
            Reason::RequestTime { detail } | Reason::Feature { feature: detail } => {
                f.write_str(detail)
            }
            Reason::RequestLife { max_seconds } => write!(
                f,
                "the request lives longer than the {max_seconds} s the bundle allows"
            ),
            Reason::InitiatorRole { initiator } => write!(f, "{initiator} is no payment service"),
            Reason::KeyState { state } => write!(f, "the key is {state:?}, not active"),
            Reason::IntentMismatch {
                field,
                stated,
                decoded,
            } => {
                write!(
                    f,
                    "the bytes differ from the stated intent: {field} is stated as {stated}, the bytes say {decoded}"
                )
            }
            Reason::KindNotAllowed { kind } => {
                write!(f, "no rule allows transactions of the kind {kind}")
            }
            Reason::FeeCap {
                max_fee,
                cap: Some(cap),
            } => write!(f, "the transaction can cost {max_fee}, the cap is {cap}"),
            Reason::FeeCap { cap: None, .. } => {
                f.write_str("the network has no fee cap, so nothing is signed for it")
            }
            Reason::LifetimeCap {
                lifetime_millis,
                cap_seconds,
            } => {
                write!(
                    f,
                    "the transaction stays usable for {lifetime_millis} ms, the cap is {cap_seconds} s"
                )
            }
            Reason::TransactionExpired => {
                f.write_str("the transaction's own expiration has passed")
            }
            Reason::NoRule { asset } => write!(
                f,
                "no rule lets this initiator move {asset} from this wallet"
            ),
            Reason::DestinationNotAllowed { address } => write!(
                f,
                "{address} is not among the destinations that the rules allow"
            ),
            Reason::DestinationNotActive {
                address,
                active_from,
            } => write!(f, "{address} may not be used before {active_from}"),
            Reason::AmountCap { amount, cap } => write!(
                f,
                "the amount {amount} is above the cap {cap} per transaction"
            ),
            Reason::Frozen(hit) => hit.fmt(f),
            Reason::Limit(hit) => hit.fmt(f),
            Reason::NonceAhead(ahead) => ahead.fmt(f),
            Reason::Rejected(Rejection { member, reason, .. }) => {
                write!(f, "{member} rejected it: {reason}")
            }
            Reason::Forbidden {
                rule,
                reason: Some(reason),
            } => write!(f, "rule {rule} forbids it: {reason}"),
            Reason::Forbidden { rule, reason: None } => write!(f, "rule {rule} forbids it"),
            Reason::RuleError {
                rule: Some(rule),
                detail,
            } => write!(f, "rule {rule} could not be evaluated: {detail}"),
            Reason::RuleError { rule: None, detail } => {
                write!(f, "no rule could be evaluated: {detail}")
            }
            Reason::NotNamed { rule, attribute } => write!(
                f,
                "rule {rule} does not name context.{attribute}, so it does not permit this"
            ),
            Reason::ColdWithoutApprovals { rule } => write!(
                f,
                "rule {rule} asks for no approvals, and a cold wallet signs nothing without"
            ),
            Reason::MissingApprovals(MissingApprovals {
                group,
                needed,
                have,
            }) => write!(f, "group {group} has to approve: {have} of {needed} did"),
        }
    }
}
