//! What no rule can lift: the request's own validity, the key's state, fees and lifetimes.

use super::Reason;
use crate::bundle::{ActiveBundle, KeyState, Role};
use crate::statement::{SignRequest, Verified};
use crate::{Intent, Lifetime, Timestamp};

/// Who asks, under which bundle, with which key, and when.
pub(super) fn validity(
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
    if let Err(error) = request.require_current(now, timing.max_clock_skew_seconds) {
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

/// What the transaction may cost, and how long it may stay usable.
pub(super) fn cost_and_life(
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
}
