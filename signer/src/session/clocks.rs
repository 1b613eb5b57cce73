//! Whether this node's clock may be believed: it never went back, nobody set it, and the peers' clocks show the same.

use std::time::Instant;

use countersign_policy::Timestamp;

use super::engine::EngineParts;
use crate::clock::now;
use crate::gate::store_fault;
use crate::store::Store;
use crate::wire::{Problem, ProblemCode};

/// A clock that shows less than it has shown before, by more than the skew, went back.
///
/// # Errors
/// [`ProblemCode::Clock`], or a store fault.
pub fn require_not_back(store: &Store, at: Timestamp, skew: u64) -> Result<(), Problem> {
    let floor = store.time_floor().map_err(|e| store_fault(&e))?;
    if at.plus_seconds(skew) < floor {
        return Err(ProblemCode::Clock.problem(format!(
            "this node's clock went back: it shows {at} and has shown {floor}"
        )));
    }
    Ok(())
}

/// The same, and that nobody set the clock meanwhile. One that was set counts again when the peers agree with it, which they
/// are asked at the next use: see [`starts`](super::starts).
///
/// # Errors
/// [`ProblemCode::Clock`], or a store fault.
pub fn require_sound(parts: &EngineParts, at: Timestamp, skew: u64) -> Result<(), Problem> {
    if let Some(step) = parts.watch.stepped(at, Instant::now(), skew) {
        tracing::warn!(
            milliseconds = step,
            "this machine's clock was set, or the machine slept; the peers are asked for the time again"
        );
        parts.registration.forget_all();
    }
    require_not_back(&parts.store, at, skew)
}

/// Between signatures: notices a clock that was set, and lets the time floor rise while the clock is trusted.
pub async fn tend(parts: &EngineParts) {
    let bundle = parts.bundle.current();
    let at = now();
    let sound = require_sound(parts, at, bundle.skew_seconds());
    if sound.is_ok() && parts.registration.is_complete(&bundle, &parts.store) {
        // A store fault shows at the next thing that matters.
        let _ = parts.store.raise_time_floor(at).await;
    }
}
