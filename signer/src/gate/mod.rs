//! The gate: the only way to a key.

use crate::threshold::{Digest, ExecutionId};

/// Proof that the gate released one digest for one execution. Only the gate makes it; whoever uses a share demands it.
#[derive(Debug)]
pub struct Released {
    digest: Digest,
    execution: ExecutionId,
}

impl Released {
    /// For the gate alone, after all of its checks.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) fn new(digest: Digest, execution: ExecutionId) -> Self {
        Self { digest, execution }
    }

    /// What may be signed.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The execution it may be signed in.
    pub fn execution(&self) -> &ExecutionId {
        &self.execution
    }
}
