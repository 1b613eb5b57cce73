//! A channel as the threshold driver sees it.

use std::collections::BTreeMap;
use std::time::Instant;

use countersign_policy::MemberId;

use super::channel::{Channel, ChannelError, ChannelEvent, Lane, Received};
use super::frame::FrameKind;
use crate::threshold::{Incoming, Kind, Link, LinkError, Outgoing, PartyIndex, Recipient};

/// The blocking [`Link`] of one execution over a [`Channel`], for a worker thread.
///
/// A second, different body for a round is passed on too: the driver compares it with the first and names the sender.
#[derive(Debug)]
pub struct PeerLink {
    channel: Channel,
    parties: BTreeMap<PartyIndex, MemberId>,
    deadline: Instant,
}

impl PeerLink {
    /// A link to those members of `parties` (by their position in the key's list of nodes) that are peers of the channel.
    pub fn new(
        channel: Channel,
        parties: impl IntoIterator<Item = (PartyIndex, MemberId)>,
        deadline: Instant,
    ) -> Self {
        let peers = &channel.terms().peers;
        let parties = parties
            .into_iter()
            .filter(|(_, member)| peers.contains(member))
            .collect();
        Self {
            channel,
            parties,
            deadline,
        }
    }

    fn incoming(&self, received: Received) -> Option<Incoming> {
        let from = self
            .parties
            .iter()
            .find(|(_, member)| **member == received.from)
            .map(|(party, _)| *party)?;
        let kind = match received.kind {
            FrameKind::PointToPoint => Kind::P2p,
            _ => Kind::Broadcast,
        };
        Some(Incoming {
            round: received.round,
            from,
            kind,
            body: received.body,
        })
    }

    fn send_to(
        &self,
        to: &MemberId,
        kind: FrameKind,
        round: u16,
        body: Vec<u8>,
    ) -> Result<(), LinkError> {
        self.channel
            .send_blocking(to, round, kind, body)
            .map_err(link_error)
    }
}

impl Link for PeerLink {
    fn send(&mut self, message: Outgoing) -> Result<(), LinkError> {
        let Outgoing {
            round,
            recipient,
            body,
        } = message;
        match recipient {
            Recipient::All => self
                .parties
                .values()
                .try_for_each(|to| self.send_to(to, FrameKind::Broadcast, round, body.clone())),
            Recipient::One(party) => {
                let to = self.parties.get(&party).ok_or(LinkError::Closed)?;
                self.send_to(to, FrameKind::PointToPoint, round, body)
            }
        }
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        loop {
            let event = self
                .channel
                .recv_blocking(Lane::Protocol, self.deadline)
                .map_err(link_error)?;
            let received = match event {
                ChannelEvent::Frame(received) | ChannelEvent::Equivocation(received) => received,
                ChannelEvent::ExecutionMismatch { peer, execution } => {
                    tracing::warn!(%peer, %execution, "peer runs another execution");
                    return Err(LinkError::ExecutionMismatch);
                }
            };
            if let Some(incoming) = self.incoming(received) {
                return Ok(incoming);
            }
        }
    }
}

fn link_error(error: ChannelError) -> LinkError {
    match error {
        ChannelError::Deadline => LinkError::Deadline,
        ChannelError::Closed | ChannelError::NotAPeer(_) | ChannelError::TooLarge(_) => {
            LinkError::Closed
        }
    }
}
