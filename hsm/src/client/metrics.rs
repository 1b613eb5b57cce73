//! What is counted, for the node's status.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::protocol::{Answer, Incident, TokenDescription};

/// A snapshot of what has happened since the client was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// The token in use; `None` while there is none.
    pub token: Option<TokenDescription>,
    /// Processes started.
    pub worker_starts: u64,
    /// Processes that died or were killed.
    pub worker_deaths: u64,
    /// Of those, killed because a call did not return.
    pub hangs: u64,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions thrown away.
    pub sessions_dropped: u64,
    /// Logins tried.
    pub logins: u64,
    /// Times that the module was initialized anew.
    pub reinitialisations: u64,
    /// Requests answered well.
    pub done: u64,
    /// Requests that the token, or the process that uses it, answered with a failure.
    pub failed: u64,
    /// Requests whose callers did not get an answer in time.
    pub late: u64,
    /// Signatures that did not verify. None left.
    pub wrong_signatures: u64,
    /// Errors by function and code, also of attempts that were repeated with success: `C_Sign DeviceError`.
    pub errors: BTreeMap<String, u64>,
    /// Requests by the time they took inside the token, in microseconds: up to 250, 500, 1000, and so on by doubling; the last
    /// counts the rest.
    pub latency: [u64; LATENCY_STEPS],
    /// Requests that wait or are under way.
    pub waiting: usize,
}

/// Upper ends of the steps of [`Metrics::latency`]: 250 us times powers of two; the last is open.
pub const LATENCY_STEPS: usize = 16;
/// Different errors that are told apart: a device with made-up codes must not fill the memory.
const MAX_ERRORS: usize = 256;

impl Metrics {
    pub(super) fn answered(&mut self, answer: &Answer) {
        match answer.result {
            Ok(_) => {
                self.done = self.done.saturating_add(1);
                let took = Duration::from_micros(answer.micros);
                if let Some(step) = self.latency.get_mut(step(took)) {
                    *step = step.saturating_add(1);
                }
            }
            Err(_) => self.failed = self.failed.saturating_add(1),
        }
        for incident in &answer.incidents {
            match incident {
                Incident::Trouble(trouble) => {
                    self.trouble(&format!("{} {}", trouble.function, trouble.code))
                }
                Incident::SessionOpened => {
                    self.sessions_opened = self.sessions_opened.saturating_add(1)
                }
                Incident::SessionDropped => {
                    self.sessions_dropped = self.sessions_dropped.saturating_add(1)
                }
                Incident::Reinitialised => {
                    self.reinitialisations = self.reinitialisations.saturating_add(1)
                }
            }
        }
    }

    pub(super) fn trouble(&mut self, name: &str) {
        let name = match self.errors.len() < MAX_ERRORS || self.errors.contains_key(name) {
            true => name,
            false => "other",
        };
        let count = self.errors.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
    }
}

fn step(took: Duration) -> usize {
    let last = LATENCY_STEPS.saturating_sub(1);
    let mut bound = Duration::from_micros(250);
    for step in 0..last {
        if took <= bound {
            return step;
        }
        bound = bound.saturating_mul(2);
    }
    last
}
