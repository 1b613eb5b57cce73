//! The one place where "may this be signed?" is answered.
//!
//! [`decide`] is pure and total: the same bundle, request, facts and time give the same [`Decision`], on every machine.
//! Whatever is not allowed by a rule is blocked.

use serde::{Deserialize, Serialize};

use crate::bundle::{ActiveBundle, Destinations, KeyState, Role, TransferKind, TransferRule};
use crate::id::{MemberId, RuleId};
use crate::statement::{SignRequest, StatedIntent, Verified};
use crate::{
    Address, Amount, DecodeError, DecodedTransaction, Intent, IntentKind, Lifetime, Network,
    PublicKey, Timestamp, Transfer, decode,
};

/// What the engine computed from the bytes and the bundle; nothing in it was taken on trust.
#[derive(Debug, Clone)]
pub struct Facts {
    transaction: DecodedTransaction,
    public_key: PublicKey,
    source: Address,
}

impl Facts {
    /// Decodes the request's transaction and derives the address that would sign it.
    ///
    /// # Errors
    /// When the bytes are refused by the decoder, or wallet, key, path and network do not belong together. These are
    /// refusals of the request as such: no bundle could allow it.
    pub fn establish(bundle: &ActiveBundle, request: &SignRequest) -> Result<Self, FactsError> {
        let wallet = bundle
            .wallet(&request.wallet)
            .ok_or(FactsError::UnknownWallet)?;
        if wallet.key != request.key {
            return Err(FactsError::OtherKey);
        }
        let key = bundle.key(&request.key).ok_or(FactsError::UnknownKey)?;
        if !wallet.networks.contains(&request.network) {
            return Err(FactsError::Network(request.network));
        }
        if !request.path.starts_with(&wallet.path) {
            return Err(FactsError::Path {
                path: request.path.to_string(),
                wallet: wallet.path.to_string(),
            });
        }
        let public_key = key
            .extended_public_key()
            .derive(&request.path)
            .map_err(|e| FactsError::Derivation(e.to_string()))?
            .public_key;
        let source = public_key
            .address(&request.network)
            .map_err(|e| FactsError::Derivation(e.to_string()))?;
        let transaction = decode(&request.network, request.transaction.as_bytes())?;
        if let Some(from) = &transaction.intent().from
            && *from != source
        {
            return Err(FactsError::Source {
                from: *from,
                source_address: source,
            });
        }
        Ok(Self {
            transaction,
            public_key,
            source,
        })
    }

    /// The transaction as decoded from the very bytes that would be signed.
    pub fn transaction(&self) -> &DecodedTransaction {
        &self.transaction
    }

    /// The child public key that would sign.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The address that pays.
    pub fn source(&self) -> &Address {
        &self.source
    }
}

/// Why no facts could be established.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// No such wallet.
    #[error("the policy bundle has no such wallet")]
    UnknownWallet,
    /// No such key.
    #[error("the policy bundle has no such key")]
    UnknownKey,
    /// The wallet has another key.
    #[error("the wallet's key is another one than the request names")]
    OtherKey,
    /// The wallet is not used there.
    #[error("the wallet is not used on {0}")]
    Network(Network),
    /// A path outside the wallet.
    #[error("path {path} is not below the wallet's {wallet}")]
    Path {
        /// Of the request.
        path: String,
        /// Of the wallet.
        wallet: String,
    },
    /// The child key or its address cannot be derived.
    #[error("the signing address cannot be derived: {0}")]
    Derivation(String),
    /// The bytes name another payer.
    #[error(
        "the transaction is from {from}, the wallet's address at this path is {source_address}"
    )]
    Source {
        /// In the bytes.
        from: Address,
        /// Derived.
        source_address: Address,
    },
    /// The decoder refused the bytes.
    #[error("the transaction is refused: {0}")]
    Transaction(#[from] DecodeError),
}

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
        /// The amount asked for, in base units.
        amount: Amount,
        /// The cap, in base units.
        cap: Amount,
    },
    /// A transfer needs special permission that transfer rules cannot give (a memo-bearing permission, a foreign account).
    Feature {
        /// Which.
        feature: String,
    },
}

/// Decides whether `request` may be signed under `bundle` at time `now`.
pub fn decide(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    facts: &Facts,
    now: Timestamp,
) -> Decision {
    let mut reasons = Vec::new();
    let intent = facts.transaction.intent();
    standing(bundle, request, now, &mut reasons);
    agreement(&request.body().intent, intent, &mut reasons);
    cost_and_life(bundle, intent, now, &mut reasons);
    let rules = transfers(bundle, request, intent, now, &mut reasons);
    let outcome = if reasons.is_empty() {
        Outcome::Allow
    } else {
        Outcome::Blocked
    };
    Decision {
        outcome,
        rules,
        reasons,
    }
}

/// Who asks, under which bundle, with which key, and when.
fn standing(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) {
    if now >= bundle.expires_at() {
        reasons.push(Reason::BundleExpired {
            expired_at: bundle.expires_at(),
        });
    }
    let timing = &bundle.content().timing;
    if let Err(error) = request
        .require_current(now, 0)
        .or_else(|_| request.require_current(now, timing.max_clock_skew_seconds))
    {
        reasons.push(Reason::RequestTime {
            detail: error.to_string(),
        });
    }
    let statement = request.statement();
    if statement.expires_at
        > statement
            .issued_at
            .plus_seconds(timing.max_request_life_seconds)
    {
        reasons.push(Reason::RequestLife {
            max_seconds: timing.max_request_life_seconds,
        });
    }
    if !bundle.has_role(request.issuer(), Role::PaymentService) {
        reasons.push(Reason::InitiatorRole {
            initiator: request.issuer().clone(),
        });
    }
    match bundle.key(&request.body().key) {
        Some(key) if key.state == KeyState::Active => {}
        Some(key) => reasons.push(Reason::KeyState { state: key.state }),
        None => reasons.push(Reason::KeyState {
            state: KeyState::PreActive,
        }),
    }
}

/// Bytes and stated meaning must say the same, field by field.
fn agreement(stated: &StatedIntent, decoded: &Intent, reasons: &mut Vec<Reason>) {
    let mut differ = |field: &str, stated: String, decoded: String| {
        if stated != decoded {
            reasons.push(Reason::IntentMismatch {
                field: field.to_owned(),
                stated,
                decoded,
            });
        }
    };
    differ("kind", describe(&stated.kind), describe(&decoded.kind));
    differ(
        "max_fee",
        stated.max_fee.to_string(),
        decoded.max_fee.amount.to_string(),
    );
    differ(
        "transfers",
        stated.transfers.len().to_string(),
        decoded.transfers.len().to_string(),
    );
    differ(
        "approvals",
        format!("{:?}", stated.approvals),
        format!("{:?}", decoded.approvals),
    );
    for (i, (s, d)) in stated.transfers.iter().zip(&decoded.transfers).enumerate() {
        differ(
            &format!("transfers[{i}].asset"),
            s.asset.to_string(),
            d.asset.to_string(),
        );
        differ(
            &format!("transfers[{i}].from"),
            format!("{:?}", s.from),
            format!("{:?}", d.from),
        );
        differ(
            &format!("transfers[{i}].to"),
            s.to.to_string(),
            d.to.to_string(),
        );
        differ(
            &format!("transfers[{i}].amount"),
            s.amount.to_string(),
            d.amount.to_string(),
        );
    }
}

/// A kind with its data, so that two different contract calls differ.
fn describe(kind: &IntentKind) -> String {
    match kind {
        IntentKind::ContractCall(_) | IntentKind::OtherContract { .. } => format!("{kind:?}"),
        _ => kind.name().to_owned(),
    }
}

fn cost_and_life(
    bundle: &ActiveBundle,
    intent: &Intent,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) {
    let cap = bundle.fee_cap(&intent.network);
    if cap.is_none_or(|cap| intent.max_fee.amount > cap.max_fee) {
        reasons.push(Reason::FeeCap {
            max_fee: intent.max_fee.amount,
            cap: cap.map(|c| c.max_fee),
        });
    }
    if let Lifetime::Tron { expires_at_ms, .. } = intent.lifetime {
        let left = i64::try_from(expires_at_ms)
            .unwrap_or(i64::MAX)
            .saturating_sub(now.as_millis());
        if left <= 0 {
            reasons.push(Reason::TransactionExpired);
        }
        let cap_seconds = cap.and_then(|c| c.max_lifetime_seconds).unwrap_or(0);
        let cap_millis = i64::try_from(cap_seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        if left > cap_millis {
            reasons.push(Reason::LifetimeCap {
                lifetime_millis: left,
                cap_seconds,
            });
        }
    }
    if let Some(permission) = intent.permission_id
        && permission != 0
    {
        reasons.push(Reason::Feature {
            feature: format!("Tron permission id {permission}"),
        });
    }
}

/// Every transfer needs a rule, and a transaction that is none needs one that no bundle of this version can give.
fn transfers(
    bundle: &ActiveBundle,
    request: &Verified<SignRequest>,
    intent: &Intent,
    now: Timestamp,
    reasons: &mut Vec<Reason>,
) -> Vec<RuleId> {
    let mut used = Vec::new();
    let kind = TransferKind::of(&intent.kind)
        .filter(|_| !intent.transfers.is_empty() && intent.approvals.is_empty());
    let Some(kind) = kind else {
        reasons.push(Reason::KindNotAllowed {
            kind: intent.kind.name().to_owned(),
        });
        return used;
    };
    for transfer in &intent.transfers {
        let applicable: Vec<&TransferRule> = bundle
            .content()
            .rules
            .iter()
            .filter(|rule| {
                rule.wallet == request.body().wallet
                    && rule.asset == transfer.asset
                    && rule.initiators.contains(request.issuer())
                    && rule.kinds.contains(&kind)
            })
            .collect();
        if applicable.is_empty() {
            reasons.push(Reason::NoRule {
                asset: transfer.asset.to_string(),
            });
            continue;
        }
        // The first rule without objection decides; otherwise the objections of the rule that came closest are told.
        let objections: Vec<(&TransferRule, Vec<Reason>)> = applicable
            .into_iter()
            .map(|rule| (rule, object(bundle, rule, intent, transfer, now)))
            .collect();
        if let Some((rule, closest)) = objections.into_iter().min_by_key(|(_, found)| found.len()) {
            if !used.contains(&rule.id) {
                used.push(rule.id.clone());
            }
            reasons.extend(closest);
        }
    }
    used
}

fn object(
    bundle: &ActiveBundle,
    rule: &TransferRule,
    intent: &Intent,
    transfer: &Transfer,
    now: Timestamp,
) -> Vec<Reason> {
    let mut found = Vec::new();
    if transfer.amount > rule.max_amount {
        found.push(Reason::AmountCap {
            amount: transfer.amount,
            cap: rule.max_amount,
        });
    }
    let entry = bundle.destination(&intent.network, &transfer.to);
    let listed = match &rule.destinations {
        Destinations::Any => return found,
        Destinations::AddressBook => entry,
        Destinations::Labels { labels } => entry.filter(|e| labels.contains(&e.label)),
    };
    match listed {
        None => found.push(Reason::DestinationNotAllowed {
            address: transfer.to,
        }),
        Some(entry) if entry.active_from > now => {
            found.push(Reason::DestinationNotActive {
                address: transfer.to,
                active_from: entry.active_from,
            });
        }
        Some(_) => {}
    }
    found
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::BundleExpired { expired_at } => {
                write!(f, "the policy bundle expired at {expired_at}")
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
        }
    }
}
