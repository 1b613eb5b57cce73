//! Frames to the parent, one at a time.

use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use crate::protocol::{FromWorker, write_frame};

/// What all threads answer through.
pub(super) struct Outlet(Mutex<UnixStream>);

impl Outlet {
    pub fn new(parent: UnixStream) -> Self {
        Self(Mutex::new(parent))
    }

    /// Says something. A parent that is gone is noticed by the first thread.
    pub fn say(&self, frame: &FromWorker) {
        let mut parent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write_frame(&mut *parent, frame);
    }
}
