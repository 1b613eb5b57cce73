//! The nodes as the coordinator sees them.

mod health;
mod tls;

pub(crate) use health::Health;
pub use tls::TlsNodes;

use std::future::Future;
use std::pin::Pin;

use countersign_policy::{Hash, MemberId};
use countersign_signer::wire;

/// A call's answer, some time later.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, NodeError>> + Send>>;

/// How a call to a node can end without its answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NodeError {
    /// The node cannot be reached.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time; the call may have had its effect.
    #[error("did not answer in time")]
    Timeout,
    /// It said no, or has a fault, and says what.
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Box<wire::Problem>),
    /// What it said is not of its API.
    #[error("answered outside the protocol: {0}")]
    Protocol(String),
}

impl NodeError {
    /// The node's own code for the refusal, if it gave one.
    pub fn code(&self) -> Option<wire::ProblemCode> {
        match self {
            Self::Problem(problem) => problem.code(),
            Self::Unreachable(_) | Self::Timeout | Self::Protocol(_) => None,
        }
    }
}

/// What is given to a node as it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// A freeze.
    Freeze,
    /// An unfreeze.
    Unfreeze,
    /// A veto of a bundle.
    Veto,
    /// What chain observers say became of a transaction.
    Observation,
}

/// The API of the nodes. There is one implementation, over TLS; tests put faults in between.
pub trait NodeApi: Send + Sync + 'static {
    /// Asks a node to check and reserve.
    fn prepare(&self, node: &MemberId, call: wire::Prepare) -> Answer<wire::Prepared>;
    /// Hands a node all receipts and waits for the signature.
    fn sign(&self, node: &MemberId, call: wire::Sign) -> Answer<wire::Signed>;
    /// Asks a node never to sign a request.
    fn stop(&self, node: &MemberId, call: wire::Stop) -> Answer<wire::Stopped>;
    /// Asks a participant never to send its share for a session, so that what it reserved can return.
    fn abort(&self, node: &MemberId, call: wire::Abort) -> Answer<wire::SessionEnded>;
    /// Gives a node the next bundle.
    fn submit_bundle(&self, node: &MemberId, call: wire::SubmitBundle) -> Answer<wire::BundleAck>;
    /// Makes a node follow a bundle that enough nodes stand behind.
    fn activate_bundle(
        &self,
        node: &MemberId,
        call: wire::ActivateBundle,
    ) -> Answer<wire::BundleAck>;
    /// Gives a node a statement that it has to know.
    fn give(
        &self,
        node: &MemberId,
        what: Given,
        call: wire::GiveStatement,
    ) -> Answer<wire::StatementTaken>;
    /// The freezes in force on a node.
    fn freezes(&self, node: &MemberId) -> Answer<wire::Freezes>;
    /// The chain a node follows.
    fn bundles(&self, node: &MemberId) -> Answer<wire::Bundles>;
    /// Gives a node a ceremony order.
    fn start_ceremony(
        &self,
        node: &MemberId,
        call: wire::StartCeremony,
    ) -> Answer<wire::CeremonyStatus>;
    /// Where a ceremony stands on a node.
    fn ceremony_status(&self, node: &MemberId, ceremony: Hash) -> Answer<wire::CeremonyStatus>;
    /// What a node says about itself.
    fn status(&self, node: &MemberId) -> Answer<wire::NodeStatus>;
    /// Presignatures that can be named in an authorization.
    fn pools(&self, node: &MemberId) -> Answer<wire::Pools>;
}
