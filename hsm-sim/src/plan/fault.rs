//! One fault: at which calls it acts, and what it does.

use crate::call::{Call, FunctionName};
use crate::codes::Code;
use std::num::NonZeroU64;
use std::time::Duration;

/// Nothing is delayed, and no token is away, for longer by itself.
pub const MAX_DELAY: Duration = Duration::from_secs(600);

/// A fault of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The function; none means every function.
    pub function: Option<FunctionName>,
    /// Which kind of calls are counted.
    pub calls: Calls,
    /// At which of the counted calls it acts.
    pub selection: Selection,
    /// How often it acts at most.
    pub times: Option<NonZeroU64>,
    /// What it does.
    pub action: Action,
}

impl Fault {
    /// Whether the call is one of those that this fault counts.
    pub(crate) fn counts(&self, call: &Call) -> bool {
        self.function
            .is_none_or(|function| function == call.function)
            && match self.calls {
                Calls::All => true,
                Calls::Size => call.asks_for_size(),
                Calls::Data => !call.asks_for_size(),
            }
    }
}

/// Which calls a fault counts. A function that gives out data is mostly called twice: with a null pointer, for the size, and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calls {
    /// Every call.
    #[default]
    All,
    /// Calls that only ask how large a buffer must be.
    Size,
    /// All others.
    Data,
}

/// At which of the counted calls a fault acts. Counting begins at 1, when the plan is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// At each of them.
    Always,
    /// At these.
    Nth(Vec<NonZeroU64>),
    /// At every nth.
    Every(NonZeroU64),
    /// At one of n on average, drawn from the seed.
    OneIn(NonZeroU64),
}

/// Before the real module sees the call, or after it did what was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The call takes no effect until the fault is over.
    #[default]
    Before,
    /// The call took effect, and its answer is late, lost or replaced.
    After,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answers with this return value; after the call that is a lost answer.
    Error {
        /// The return value.
        code: Code,
        /// Whether the call takes effect.
        when: When,
    },
    /// Takes longer.
    Delay {
        /// By this much.
        time: Duration,
        /// And up to this much more, drawn from the seed.
        jitter: Duration,
        /// Before or after the call took effect.
        when: When,
    },
    /// Does not return until it is released over the control socket.
    Hang {
        /// Before or after the call took effect.
        when: When,
    },
    /// Ends the session of this call.
    DropSession,
    /// Ends every session of the process, and with them the login.
    DropSessions,
    /// Takes the token out of its slot.
    RemoveToken {
        /// It comes back by itself after this time.
        back_after: Option<Duration>,
    },
    /// Puts the token back.
    ReturnToken,
    /// Locks the user's PIN.
    LockPin,
    /// Flips one bit of the signature.
    FlipBit {
        /// Which bit; drawn from the seed if not said.
        bit: Option<u32>,
    },
    /// Turns the ECDSA signature (r, s) over secp256k1 into (r, n - s), which is as valid.
    FlipS,
    /// Adds this to the size that is reported to a caller that asks for one.
    OverReport {
        /// Bytes, or elements of a list.
        extra: u64,
    },
}

impl Action {
    /// Its name in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::Delay { .. } => "delay",
            Self::Hang { .. } => "hang",
            Self::DropSession => "drop-session",
            Self::DropSessions => "drop-sessions",
            Self::RemoveToken { .. } => "remove-token",
            Self::ReturnToken => "return-token",
            Self::LockPin => "lock-pin",
            Self::FlipBit { .. } => "flip-bit",
            Self::FlipS => "flip-s",
            Self::OverReport { .. } => "over-report",
        }
    }
}
