//! Drives a `round-based` state machine over an [`Exchange`].

use std::collections::BTreeSet;
use std::fmt::Debug;

use round_based::state_machine::{ProceedResult, StateMachine};
use round_based::{Incoming, MessageDestination, MessageType, ProtocolMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::threshold::PartyIndex;
use crate::threshold::exchange::Exchange;
use crate::threshold::fault::{Fault, FaultReason};

/// Where a protocol's messages go on the wire.
///
/// The library numbers messages in the order of an enum; the wire numbers them in the order in which they happen, so that the
/// first incomplete round tells who is late.
pub(super) struct Layout {
    /// Wire round of each library message, by library number.
    pub wire: &'static [u16],
    /// Library messages that are broadcasts, by library number.
    pub broadcast: &'static [bool],
    /// Wire rounds in order.
    pub order: &'static [u16],
}

impl Layout {
    fn wire_round(&self, library: u16) -> Option<u16> {
        self.wire.get(usize::from(library)).copied()
    }

    fn message_type(&self, library: u16) -> MessageType {
        match self.broadcast.get(usize::from(library)) {
            Some(true) => MessageType::Broadcast,
            _ => MessageType::P2P,
        }
    }
}

/// Runs a machine to its output. `parties` maps the library's positions to party indexes; `inspect` sees every message, with its
/// sender's position, before the machine does.
pub(super) fn run<S, T, E>(
    mut machine: S,
    exchange: &mut Exchange<'_>,
    layout: &Layout,
    parties: &[PartyIndex],
    mut inspect: impl FnMut(u16, &S::Msg) -> Result<(), Fault>,
) -> Result<T, Fault>
where
    S: StateMachine<Output = Result<T, E>>,
    S::Msg: Serialize + DeserializeOwned + ProtocolMessage,
    E: Debug,
{
    let mut id = 0_u64;
    loop {
        match machine.proceed() {
            ProceedResult::SendMsg(message) => {
                let round = layout
                    .wire_round(message.msg.round())
                    .ok_or_else(|| Fault::local("the library sent an unknown message"))?;
                let mut body = Vec::new();
                ciborium::into_writer(&message.msg, &mut body).map_err(Fault::local)?;
                match message.recipient {
                    MessageDestination::AllParties => exchange.broadcast(round, body)?,
                    MessageDestination::OneParty(position) => {
                        let to = parties
                            .get(usize::from(position))
                            .ok_or_else(|| Fault::local("the library addressed a stranger"))?;
                        exchange.unicast(round, *to, body)?;
                    }
                }
            }
            ProceedResult::NeedsOneMoreMessage => {
                let (round, from, body) = exchange.next_of(layout.order)?;
                let msg: S::Msg = parse(from, round, body)?;
                if layout.wire_round(msg.round()) != Some(round) {
                    return Err(Fault::malformed(from, round, "message of another round"));
                }
                let sender = parties
                    .iter()
                    .position(|party| *party == from)
                    .and_then(|position| u16::try_from(position).ok())
                    .ok_or_else(|| Fault::local("message from a stranger"))?;
                inspect(sender, &msg)?;
                id = id.saturating_add(1);
                let incoming = Incoming {
                    id,
                    sender,
                    msg_type: layout.message_type(msg.round()),
                    msg,
                };
                machine
                    .received_msg(incoming)
                    .map_err(|_| Fault::local("the state machine refused a message"))?;
            }
            ProceedResult::Yielded => {}
            ProceedResult::Output(output) => {
                return output.map_err(|error| blame(&error, exchange, parties));
            }
            ProceedResult::Error(error) => return Err(Fault::local(error)),
        }
    }
}

fn parse<M: DeserializeOwned>(from: PartyIndex, round: u16, body: &[u8]) -> Result<M, Fault> {
    let mut rest = body;
    let message = ciborium::from_reader(&mut rest)
        .map_err(|_| Fault::malformed(from, round, "unreadable message"))?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(Fault::malformed(from, round, "trailing bytes"))
    }
}

/// The library keeps whom it blames in private types; their `Debug` form is all that it shows, and the version is pinned.
/// A test with a tampered message fails when this changes.
fn blame(error: &impl Debug, exchange: &Exchange<'_>, parties: &[PartyIndex]) -> Fault {
    let text = format!("{error:?}");
    let reason = FaultReason::InvalidContribution {
        what: summary(&text),
    };
    if text.contains("NotReliable") {
        let round = 1;
        return Fault::among(exchange.peers(), FaultReason::Equivocation { round });
    }
    let named = named_parties(&text, parties);
    if !named.is_empty() {
        return Fault::among(named, reason);
    }
    if text.contains("Abort") {
        return Fault::among(exchange.peers(), reason);
    }
    Fault::local(summary(&text))
}

fn named_parties(text: &str, parties: &[PartyIndex]) -> BTreeSet<PartyIndex> {
    const MARK: &str = "faulty_party: ";
    text.split(MARK)
        .skip(1)
        .filter_map(|rest| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            parties.get(digits.parse::<usize>().ok()?).copied()
        })
        .collect()
}

/// The variant names at the head of the error: enough to find it, nothing of its data.
fn summary(text: &str) -> String {
    const LONGEST: usize = 80;
    text.split([' ', '[', '{'])
        .next()
        .unwrap_or_default()
        .chars()
        .take(LONGEST)
        .collect()
}
