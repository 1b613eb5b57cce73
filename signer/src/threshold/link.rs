//! The seam between protocol code and the network.
//!
//! Protocol code is blocking, straight-line code on dedicated threads; whoever implements [`Link`] moves the bytes. The
//! network layer guarantees an authenticated sender, binding to execution id, round, sender, recipient and kind, and
//! exactly-once delivery. Bodies are hostile all the same, and the driver repeats the cheap checks.

use thiserror::Error;

use super::PartyIndex;

/// Who receives a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    /// Every other party of this execution, the same bytes for each.
    All,
    /// One party; the network layer encrypts to it alone.
    One(PartyIndex),
}

/// How a message was addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The sender addressed everybody.
    Broadcast,
    /// The sender addressed this party alone.
    P2p,
}

/// A message on its way out.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Round of the protocol, as in its schedule.
    pub round: u16,
    /// Who receives it.
    pub recipient: Recipient,
    /// Encoded message. May hold material meant for the recipient only.
    pub body: Vec<u8>,
}

/// A message that arrived.
#[derive(Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Round of the protocol, as authenticated by the network layer.
    pub round: u16,
    /// Authenticated sender.
    pub from: PartyIndex,
    /// How it was addressed.
    pub kind: Kind,
    /// Encoded message, hostile until parsed.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("round", &self.round)
            .field("recipient", &self.recipient)
            .field("bytes", &self.body.len())
            .finish()
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("round", &self.round)
            .field("from", &self.from)
            .field("kind", &self.kind)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// Why the network could not deliver.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkError {
    /// The deadline of this execution passed.
    #[error("the deadline passed")]
    Deadline,
    /// The execution was cancelled or its channel is gone.
    #[error("the link was closed")]
    Closed,
    /// A peer runs another execution on this link: nobody is to blame.
    #[error("a peer runs another execution")]
    ExecutionMismatch,
}

/// One execution's view of the network.
pub trait Link: Send {
    /// Hands a message over for delivery; may block for back-pressure, never for the recipient.
    ///
    /// # Errors
    /// [`LinkError`] when nothing more can be sent.
    fn send(&mut self, message: Outgoing) -> Result<(), LinkError>;

    /// Waits for the next message; the deadline lives inside.
    ///
    /// # Errors
    /// [`LinkError`] when nothing more will arrive in time.
    fn recv(&mut self) -> Result<Incoming, LinkError>;
}
