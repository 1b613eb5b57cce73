//! Calls that hang until they are released.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub(crate) struct Hangs {
    inside: Mutex<Inside>,
    released: Condvar,
}

#[derive(Default)]
struct Inside {
    waiting: usize,
    /// Grows with each release, which lets go whoever waited before it.
    releases: u64,
}

impl Hangs {
    /// Waits for the next release.
    pub(crate) fn wait(&self) {
        let mut inside = self.lock();
        let before = inside.releases;
        inside.waiting = inside.waiting.saturating_add(1);
        let inside = self
            .released
            .wait_while(inside, |now| now.releases == before);
        let mut inside = inside.unwrap_or_else(PoisonError::into_inner);
        inside.waiting = inside.waiting.saturating_sub(1);
    }

    /// Lets all go that wait now; how many those are.
    pub(crate) fn release(&self) -> usize {
        let mut inside = self.lock();
        inside.releases = inside.releases.wrapping_add(1);
        self.released.notify_all();
        inside.waiting
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
