//! The bundle that peers are judged by, shared by everything that talks to them.

use std::sync::{Arc, PoisonError, RwLock};

use countersign_policy::bundle::ActiveBundle;

/// A handle to the active policy bundle. Handshakes and requests read it each time, so that a replaced bundle counts at
/// once, also on connections that stand already.
#[derive(Clone)]
pub struct BundleHandle(Arc<RwLock<Arc<ActiveBundle>>>);

impl BundleHandle {
    /// A handle that starts with `bundle`.
    pub fn new(bundle: ActiveBundle) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(bundle))))
    }

    /// The active bundle.
    pub fn current(&self) -> Arc<ActiveBundle> {
        // The lock guards one assignment, which leaves no half-written state behind.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes `bundle` the active one.
    pub fn replace(&self, bundle: ActiveBundle) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(bundle);
    }
}

impl std::fmt::Debug for BundleHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BundleHandle({})", self.current().digest())
    }
}
