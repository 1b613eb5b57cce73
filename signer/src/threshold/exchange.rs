//! Rounds over a [`Link`]: one message per party and round, size caps, echo, agreement on the execution.
//!
//! Each protocol states its rounds as a table; a message the table does not expect fails closed, a stranger's message is
//! dropped, an identical repetition is ignored, a different one names its sender.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::{Fault, FaultReason};
use super::link::{Incoming, Kind, Link, Outgoing, Recipient};
use super::protocol::{PartyIndex, hash_fields};

/// One row of a protocol's table of rounds; its position is the round number on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// How messages of this round are addressed.
    pub kind: Kind,
    /// Largest body, in bytes.
    pub limit: usize,
}

/// A round of broadcasts.
pub(crate) const fn broadcast(limit: usize) -> Round {
    Round {
        kind: Kind::Broadcast,
        limit,
    }
}

/// A round of messages to one party each.
pub(crate) const fn p2p(limit: usize) -> Round {
    Round {
        kind: Kind::P2p,
        limit,
    }
}

/// Bytes of an agreement tag or of one echo entry.
pub(crate) const HASH: usize = 32;

/// The hashes of everybody's broadcasts of one round, by sender: what an echo carries.
pub(crate) type Heard = BTreeMap<PartyIndex, [u8; HASH]>;

/// One execution's messages at one party.
pub(crate) struct Exchange<'l> {
    link: &'l mut dyn Link,
    me: PartyIndex,
    peers: BTreeSet<PartyIndex>,
    rounds: Vec<Round>,
    /// Kept for the whole execution, so that a late repetition can be compared.
    inbox: BTreeMap<(u16, PartyIndex), Vec<u8>>,
    delivered: BTreeSet<(u16, PartyIndex)>,
}

impl<'l> Exchange<'l> {
    pub(crate) fn new(
        link: &'l mut dyn Link,
        me: PartyIndex,
        parties: impl IntoIterator<Item = PartyIndex>,
        rounds: Vec<Round>,
    ) -> Self {
        Self {
            link,
            me,
            peers: parties.into_iter().filter(|party| *party != me).collect(),
            rounds,
            inbox: BTreeMap::new(),
            delivered: BTreeSet::new(),
        }
    }

    pub(crate) fn me(&self) -> PartyIndex {
        self.me
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        self.peers.iter().copied()
    }

    /// Sends the same bytes to everybody else.
    pub(crate) fn broadcast(&mut self, round: u16, body: Vec<u8>) -> Result<(), Fault> {
        self.send(round, Recipient::All, body)
    }

    /// Sends to one party.
    pub(crate) fn unicast(
        &mut self,
        round: u16,
        to: PartyIndex,
        body: Vec<u8>,
    ) -> Result<(), Fault> {
        self.send(round, Recipient::One(to), body)
    }

    fn send(&mut self, round: u16, recipient: Recipient, body: Vec<u8>) -> Result<(), Fault> {
        let message = Outgoing {
            round,
            recipient,
            body,
        };
        self.link
            .send(message)
            .map_err(|error| Fault::link(error, round, BTreeSet::new()))
    }

    /// Waits for the message of every peer in `round` and parses each.
    pub(crate) fn collect<T>(
        &mut self,
        round: u16,
        parse: impl Fn(PartyIndex, &[u8]) -> Result<T, Fault>,
    ) -> Result<BTreeMap<PartyIndex, T>, Fault> {
        while !self.missing(round).is_empty() {
            self.accept_one(round)?;
        }
        let mut parsed = BTreeMap::new();
        for peer in &self.peers {
            if let Some(body) = self.inbox.get(&(round, *peer)) {
                parsed.insert(*peer, parse(*peer, body)?);
            }
        }
        Ok(parsed)
    }

    /// Next message of any of these rounds (listed in the order in which they happen) that was not delivered yet.
    pub(crate) fn next_of(&mut self, rounds: &[u16]) -> Result<(u16, PartyIndex, &[u8]), Fault> {
        loop {
            let fresh = self
                .inbox
                .keys()
                .find(|key| rounds.contains(&key.0) && !self.delivered.contains(*key))
                .copied();
            if let Some(key) = fresh {
                self.delivered.insert(key);
                let body = self.inbox.get(&key).map_or(&[][..], Vec::as_slice);
                return Ok((key.0, key.1, body));
            }
            let awaited = rounds
                .iter()
                .copied()
                .find(|round| !self.missing(*round).is_empty())
                .unwrap_or_default();
            self.accept_one(awaited)?;
        }
    }

    /// Everybody sends `tag` and must send the same one: different tags mean different executions, and no blame.
    pub(crate) fn agree(&mut self, round: u16, tag: &[u8; HASH]) -> Result<(), Fault> {
        self.broadcast(round, tag.to_vec())?;
        self.collect(round, |from, body| {
            untag(tag, from, round, body).and_then(|rest| match rest {
                [] => Ok(()),
                _ => Err(Fault::malformed(from, round, "agreement is not 32 bytes")),
            })
        })?;
        Ok(())
    }

    /// Everybody sends the hash of its result; a difference means that somebody cheated, whoever reports it.
    pub(crate) fn agree_on_result(&mut self, round: u16, result: &[u8]) -> Result<(), Fault> {
        let mine = hash_fields("countersign/threshold/result/v1", [result]);
        self.broadcast(round, mine.to_vec())?;
        let theirs = self.collect(round, |_, body| Ok(body == mine.as_slice()))?;
        if theirs.values().all(|same| *same) {
            return Ok(());
        }
        let what = "the parties hold different results";
        Err(Fault::among(
            self.peers(),
            FaultReason::InvalidResult { what },
        ))
    }

    /// What this party heard in a broadcast round, its own message included.
    pub(crate) fn heard(&self, round: u16, own: &[u8]) -> Heard {
        let digest = |body: &[u8]| {
            hash_fields(
                "countersign/threshold/echo/v1",
                [round.to_be_bytes().as_slice(), body],
            )
        };
        let mut heard: Heard = self
            .peers
            .iter()
            .filter_map(|peer| {
                let body = self.inbox.get(&(round, *peer))?;
                Some((*peer, digest(body)))
            })
            .collect();
        heard.insert(self.me, digest(own));
        heard
    }

    /// Reliable broadcast: sends `own` in `round`, collects the others', then exchanges in `echo_round` what each heard.
    pub(crate) fn broadcast_echoed<T>(
        &mut self,
        round: u16,
        echo_round: u16,
        own: Vec<u8>,
        parse: impl Fn(PartyIndex, &[u8]) -> Result<T, Fault>,
    ) -> Result<BTreeMap<PartyIndex, T>, Fault> {
        self.broadcast(round, own.clone())?;
        let parsed = self.collect(round, parse)?;
        self.echo(round, echo_round, &own)?;
        Ok(parsed)
    }

    /// Exchanges and compares what each party heard in a broadcast round.
    pub(crate) fn echo(&mut self, round: u16, echo_round: u16, own: &[u8]) -> Result<(), Fault> {
        let heard = self.heard(round, own);
        self.broadcast(echo_round, encode_heard(&heard))?;
        let me = self.me;
        self.collect(echo_round, |from, body| {
            compare_heard(me, round, &heard, from, body)
        })?;
        Ok(())
    }

    fn missing(&self, round: u16) -> BTreeSet<PartyIndex> {
        self.peers
            .iter()
            .filter(|peer| !self.inbox.contains_key(&(round, **peer)))
            .copied()
            .collect()
    }

    fn accept_one(&mut self, awaited: u16) -> Result<(), Fault> {
        let message = self
            .link
            .recv()
            .map_err(|error| Fault::link(error, awaited, self.missing(awaited)))?;
        self.accept(message)
    }

    fn accept(&mut self, message: Incoming) -> Result<(), Fault> {
        let Incoming {
            round,
            from,
            kind,
            body,
        } = message;
        if !self.peers.contains(&from) {
            tracing::debug!(party = %from, round, "dropped a stranger's message");
            return Ok(());
        }
        let Some(expected) = self.rounds.get(usize::from(round)) else {
            return Err(Fault::by(from, FaultReason::Unexpected { round }));
        };
        if kind != expected.kind {
            return Err(Fault::by(from, FaultReason::Unexpected { round }));
        }
        if body.len() > expected.limit {
            let (bytes, limit) = (body.len(), expected.limit);
            return Err(Fault::by(
                from,
                FaultReason::Oversized {
                    round,
                    bytes,
                    limit,
                },
            ));
        }
        match self.inbox.get(&(round, from)) {
            None => {
                self.inbox.insert((round, from), body);
                Ok(())
            }
            Some(earlier) if *earlier == body => Ok(()),
            Some(_) => Err(Fault::by(from, FaultReason::Duplicate { round })),
        }
    }
}

/// The body of an echo: the hashes in party order.
pub(crate) fn encode_heard(heard: &Heard) -> Vec<u8> {
    heard.values().flatten().copied().collect()
}

/// Compares what `from` says it heard with what we heard.
///
/// Blame: about our own broadcast, the reporter lies; about its own, it equivocated; about a third party's, one of the two.
pub(crate) fn compare_heard(
    me: PartyIndex,
    round: u16,
    mine: &Heard,
    from: PartyIndex,
    theirs: &[u8],
) -> Result<(), Fault> {
    let (entries, rest) = theirs.as_chunks::<HASH>();
    if entries.len() != mine.len() || !rest.is_empty() {
        return Err(Fault::malformed(from, round, "echo of the wrong length"));
    }
    for ((sender, ours), reported) in mine.iter().zip(entries) {
        if ours != reported {
            let suspects = [*sender, from].into_iter().filter(|party| *party != me);
            return Err(Fault::among(suspects, FaultReason::Equivocation { round }));
        }
    }
    Ok(())
}

/// A first message that carries the commitment to its execution.
pub(crate) fn tagged(tag: &[u8; HASH], body: &[u8]) -> Vec<u8> {
    [tag.as_slice(), body].concat()
}

/// Checks and removes the tag of a first message.
pub(crate) fn untag<'b>(
    tag: &[u8; HASH],
    from: PartyIndex,
    round: u16,
    body: &'b [u8],
) -> Result<&'b [u8], Fault> {
    match body.split_first_chunk::<HASH>() {
        Some((theirs, rest)) if theirs == tag => Ok(rest),
        Some(_) => Err(Fault::blameless(FaultReason::ExecutionMismatch)),
        None => Err(Fault::malformed(from, round, "no execution tag")),
    }
}

#[cfg(test)]
mod tests;
