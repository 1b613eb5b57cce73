//! The proof that a digest may be signed.

use countersign_policy::statement::KeyCeremony;
use countersign_policy::{Hash, KeyId, MemberId};

use crate::threshold::{Digest, ExecutionId, HashAlgorithm, Preimage, Protocol};

/// Proof that the gate released one digest for one execution. Only the gate makes it; whoever uses a share demands it.
#[derive(Debug)]
pub struct Released {
    digest: Digest,
    execution: ExecutionId,
}

impl Released {
    /// For the gate alone: see [`super::ReservedSpend::release`] and [`TestSpend::release`].
    pub(super) fn new(digest: Digest, execution: ExecutionId) -> Self {
        Self { digest, execution }
    }

    /// For tests of the protocol driver, which have no gate.
    #[cfg(test)]
    pub(crate) fn for_driver_tests(digest: Digest, execution: ExecutionId) -> Self {
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

/// A ceremony's test signature. The preimage is made here and can be no transaction (I8), so nothing else can be
/// signed on this way.
#[derive(Debug)]
pub struct TestSpend {
    preimage: Preimage,
    execution: ExecutionId,
}

impl TestSpend {
    /// The test of one signer set at the end of a ceremony.
    pub fn new(protocol: Protocol, ceremony: Hash, key: &KeyId, signers: &[MemberId]) -> Self {
        let message = KeyCeremony::test_message(ceremony, key, signers);
        let algorithm = if protocol.is_secp256k1() {
            HashAlgorithm::Sha256
        } else {
            HashAlgorithm::Ed25519Message
        };
        let preimage = Preimage::new(algorithm, message);
        let execution = ExecutionId::derive(
            "countersign/execution/key-test/v1",
            [ceremony.as_bytes().as_slice(), preimage.digest()],
        );
        Self {
            preimage,
            execution,
        }
    }

    /// What is signed.
    pub fn preimage(&self) -> &Preimage {
        &self.preimage
    }

    /// The execution it is signed in.
    pub fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// The proof for the backend; used up with it.
    pub fn release(self) -> Released {
        Released::new(*self.preimage.digest(), self.execution)
    }
}
