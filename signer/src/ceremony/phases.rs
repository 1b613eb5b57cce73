//! Channels of a ceremony: one per phase, each with an execution id of its own, all opened before anything is sent, so
//! that a faster node's messages find their place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use countersign_policy::{Hash, MemberId};

use crate::net::{
    Channel, ChannelError, ChannelEvent, ChannelTerms, FrameKind, Lane, PeerLink, PeerNetwork,
};
use crate::threshold::{ExecutionId, PartyIndex};

/// Names one phase of one ceremony.
#[derive(Debug, Clone, Copy)]
pub struct Phase<'a> {
    /// Digest of the order.
    pub ceremony: Hash,
    /// What the phase does.
    pub name: &'a str,
    /// Counts phases of one name, from 0.
    pub index: u16,
}

impl Phase<'_> {
    /// The channel's id.
    pub fn channel(&self) -> Hash {
        self.derive("countersign/ceremony/channel/v1")
    }

    /// The execution id.
    pub fn execution(&self) -> ExecutionId {
        ExecutionId(*self.derive("countersign/ceremony/execution/v1").as_bytes())
    }

    fn derive(&self, domain: &str) -> Hash {
        Hash::derive(
            domain,
            &[
                self.ceremony.as_bytes(),
                self.name.as_bytes(),
                &self.index.to_be_bytes(),
            ],
        )
    }

    /// Opens the phase's channel with `nodes`, of which `me` is one.
    pub fn open(
        &self,
        peers: &PeerNetwork,
        me: &MemberId,
        nodes: &[MemberId],
        deadline: Instant,
    ) -> Result<Channel, String> {
        let others: BTreeSet<MemberId> = nodes.iter().filter(|n| *n != me).cloned().collect();
        let execution = Hash::from_bytes(*self.execution().as_bytes());
        peers
            .open_channel(ChannelTerms {
                channel: self.channel(),
                execution,
                peers: others,
                deadline,
            })
            .map_err(|e| e.to_string())
    }
}

/// The protocol's view of a phase's channel.
pub fn link(channel: Channel, nodes: &[MemberId]) -> PeerLink {
    let deadline = channel.terms().deadline;
    let parties = nodes
        .iter()
        .cloned()
        .enumerate()
        .filter_map(|(i, n)| Some((PartyIndex(u16::try_from(i).ok()?), n)));
    PeerLink::new(channel, parties, deadline)
}

/// Sends `own` to everybody and waits for one message of each.
///
/// # Errors
/// Names who was missing or misbehaved.
pub async fn gather(
    channel: &Channel,
    own: Vec<u8>,
) -> Result<BTreeMap<MemberId, Vec<u8>>, String> {
    channel
        .send_to_all(0, FrameKind::Control, &own)
        .await
        .map_err(|e| e.to_string())?;
    let mut missing: BTreeSet<MemberId> = channel.terms().peers.clone();
    let mut heard = BTreeMap::new();
    while !missing.is_empty() {
        match channel.recv(Lane::Session).await {
            Ok(ChannelEvent::Frame(frame)) if frame.kind == FrameKind::Control => {
                if missing.remove(&frame.from) {
                    heard.insert(frame.from, frame.body);
                }
            }
            Ok(ChannelEvent::Frame(frame)) => {
                return Err(format!("{} sent an unexpected message", frame.from));
            }
            Ok(ChannelEvent::ExecutionMismatch { peer, .. }) => {
                return Err(format!("{peer} runs another ceremony"));
            }
            Ok(ChannelEvent::Equivocation(frame)) => {
                return Err(format!("{} sent two different messages", frame.from));
            }
            Err(ChannelError::Closed) => return Err("the channel was closed".to_owned()),
            Err(_) => {
                let names: Vec<&str> = missing.iter().map(MemberId::as_str).collect();
                return Err(format!("no message from {} in time", names.join(", ")));
            }
        }
    }
    Ok(heard)
}

/// Sets of `threshold` nodes that together contain every node.
pub fn covering_sets(nodes: &[MemberId], threshold: u16) -> Vec<Vec<MemberId>> {
    let t = usize::from(threshold);
    let mut sets: Vec<Vec<MemberId>> = nodes
        .chunks_exact(t.max(1))
        .map(<[MemberId]>::to_vec)
        .collect();
    if !nodes.chunks_exact(t.max(1)).remainder().is_empty() {
        sets.push(
            nodes
                .iter()
                .skip(nodes.len().saturating_sub(t))
                .cloned()
                .collect(),
        );
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_sets_have_t_nodes_each_and_cover_all() {
        for (t, n) in [(2, 2), (2, 3), (3, 4), (3, 5), (5, 9), (9, 16)] {
            let nodes: Vec<MemberId> = (10..10 + n)
                .map(|i| MemberId::new(format!("node-{i}")).unwrap())
                .collect();
            let sets = covering_sets(&nodes, t);
            assert!(
                sets.iter()
                    .all(|s| s.len() == usize::from(t) && s.is_sorted())
            );
            let covered: BTreeSet<&MemberId> = sets.iter().flatten().collect();
            assert_eq!(covered.len(), n, "{t}-of-{n}");
        }
    }
}
