//! What is said about a limit that a spend would pass.

use serde::{Deserialize, Serialize};

use crate::Amount;
use crate::id::LimitId;
use crate::time::Timestamp;

/// A limit that a spend would pass.
///
/// Officers and auditors see all of it; who asked for the spend is told the limit's id alone, because the numbers are the
/// organisation's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitHit {
    /// The limit.
    pub limit: LimitId,
    /// The most that is allowed: of the bundle, or less where a freeze lowered it.
    pub max: Amount,
    /// What others used of it; [`Amount::MAX`] when it is that much or more, or cannot be counted.
    pub used: Amount,
    /// What the spend asks of it; [`Amount::MAX`] when it is that much or more, or cannot be counted.
    pub requested: Amount,
    /// From when on the spend would fit, if nothing else is spent. `None` when time alone never makes room.
    pub resets_at: Option<Timestamp>,
}

impl LimitHit {
    /// What is left of the limit.
    pub fn remaining(&self) -> Amount {
        self.max.checked_sub(self.used).unwrap_or(Amount::ZERO)
    }
}

impl std::fmt::Display for LimitHit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            limit,
            max,
            used,
            requested,
            ..
        } = self;
        write!(
            f,
            "limit {limit} would be passed: {requested} asked, {used} of {max} used"
        )?;
        match self.resets_at {
            Some(at) => write!(f, ", fits from {at}"),
            None => Ok(()),
        }
    }
}
