//! Who is inside the module. Modules crash when they are finalized under a call (SoftHSM: each time), so finalizing waits until
//! nobody is, and nobody enters meanwhile.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    inside: usize,
    closed: bool,
}

/// One thread is inside.
pub(super) struct Inside<'a>(&'a Gate);

/// Nobody is inside, and nobody enters.
pub(super) struct Alone<'a>(&'a Gate);

impl Gate {
    /// Enters; waits while the gate is closed.
    pub fn enter(&self) -> Inside<'_> {
        let mut state = self.lock();
        while state.closed {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.inside = state.inside.saturating_add(1);
        Inside(self)
    }

    /// Closes the gate and waits until nobody is inside; `None` (and open again) when somebody still is after `patience`.
    pub fn close(&self, patience: Duration) -> Option<Alone<'_>> {
        let deadline = Instant::now().checked_add(patience)?;
        let mut state = self.lock();
        while state.closed {
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.wait(state, left);
        }
        state.closed = true;
        while state.inside > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                state.closed = false;
                self.changed.notify_all();
                return None;
            };
            state = self.wait(state, left);
        }
        Some(Alone(self))
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.changed
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.inside = state.inside.saturating_sub(1);
        if state.closed {
            self.0.changed.notify_all();
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_alone_while_somebody_is_inside_and_nobody_enters_while_somebody_is_alone() {
        let gate = Gate::default();
        let inside = gate.enter();
        assert!(gate.close(Duration::from_millis(20)).is_none());
        drop(inside);
        let alone = gate.close(Duration::from_millis(20)).unwrap();
        std::thread::scope(|scope| {
            let entering = scope.spawn(|| drop(gate.enter()));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!entering.is_finished());
            assert!(
                gate.close(Duration::from_millis(1)).is_none(),
                "one at a time"
            );
            drop(alone);
            entering.join().unwrap();
        });
        drop(gate.enter());
    }
}
