//! How machines talk: certificates that carry their holder's word, the HTTPS server and client, and the transport of
//! protocol frames between nodes.
//!
//! Everything here is about who said which bytes to whom, in time and within limits. What the bytes mean is decided elsewhere.

mod bundle;
mod channel;
mod client;
mod emergency;
mod emergency_client;
#[cfg(any(test, feature = "fault-injection"))]
pub mod fault;
mod frame;
mod identity;
mod link;
mod outbound;
mod parking;
mod peer;
mod refusals;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod watched;

pub use bundle::BundleHandle;
pub use channel::{Channel, ChannelError, ChannelEvent, ChannelTerms, Lane, Received};
pub use client::{CallError, ClientError, ClientLimits, NodeClient};
pub use emergency::EmergencyServer;
pub use emergency_client::{EmergencyClient, EmergencyError};
pub use frame::{
    Frame, FrameError, FrameKind, MAX_BATCH_BYTES, MAX_BATCH_FRAMES, MAX_BODY_BYTES, Verdict,
    decode_batch, decode_verdicts, encode_batch, encode_verdicts,
};
pub use identity::{
    CertificateAuthority, CertificatePair, CertificateRequest, IdentityError, PeerIdentity,
    TlsIdentity, VOUCHER_OID,
};
pub use link::PeerLink;
pub use peer::{OpenError, PeerCounters, PeerLimits, PeerNetwork};
pub use refusals::{Refusals, Refused};
pub use server::{Server, ServerCounters, ServerError, ServerLimits};
