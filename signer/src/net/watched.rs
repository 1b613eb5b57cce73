//! A value that async tasks and plain threads can both wait for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// A value behind a lock; whoever changes it with [`Watched::update`] wakes everybody who waits for it.
#[derive(Debug, Default)]
pub(super) struct Watched<T> {
    value: Mutex<T>,
    threads: Condvar,
    tasks: Notify,
}

impl<T> Watched<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            threads: Condvar::new(),
            tasks: Notify::new(),
        }
    }

    /// Looks at the value, or changes it in a way that nobody waits for.
    pub(super) fn quietly<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        use_it(&mut self.lock())
    }

    /// Changes the value and wakes everybody who waits.
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.threads.notify_all();
        self.tasks.notify_waiters();
        result
    }

    /// Waits until `ready` returns something, or until the deadline, which gives nothing. `ready` runs at least once.
    pub(super) async fn wait<R>(
        &self,
        deadline: Instant,
        mut ready: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        loop {
            // Registered before the look, so that no change between look and wait is missed.
            let changed = self.tasks.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(result) = self.quietly(&mut ready) {
                return Some(result);
            }
            tokio::time::timeout_at(deadline.into(), changed)
                .await
                .ok()?;
        }
    }

    /// The same for a plain thread.
    pub(super) fn block<R>(
        &self,
        deadline: Instant,
        mut ready: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let mut value = self.lock();
        loop {
            if let Some(result) = ready(&mut value) {
                return Some(result);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            value = self
                .threads
                .wait_timeout(value, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // Every change made under the lock is complete before anything in it can fail.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
