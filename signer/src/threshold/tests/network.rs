//! Parties as threads, one shared post room, and a saboteur in it.
//!
//! No clocks: a deadline passes when every party that still runs waits for a message and none is on its way. Tests are as fast
//! as their cryptography, and a slow machine changes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::threshold::{Incoming, Kind, Link, LinkError, Outgoing, PartyIndex, Recipient};

/// One message on its way to one party.
#[derive(Clone)]
pub(super) struct Delivery {
    pub from: PartyIndex,
    pub to: PartyIndex,
    pub round: u16,
    pub kind: Kind,
    pub body: Vec<u8>,
}

/// What the network does with a message: deliver it, several, others, or none.
type Saboteur = Arc<dyn Fn(Delivery) -> Vec<Delivery> + Send + Sync>;

pub(super) struct Network {
    saboteur: Saboteur,
}

impl Network {
    pub(super) fn honest() -> Self {
        Self::sabotaged(|delivery| vec![delivery])
    }

    pub(super) fn sabotaged(
        saboteur: impl Fn(Delivery) -> Vec<Delivery> + Send + Sync + 'static,
    ) -> Self {
        Self {
            saboteur: Arc::new(saboteur),
        }
    }

    /// Runs every party on its own thread to its result.
    pub(super) fn run<T: Send>(
        &self,
        parties: &[PartyIndex],
        party: impl Fn(PartyIndex, &mut SimulatedLink) -> T + Sync,
    ) -> BTreeMap<PartyIndex, T> {
        let office = Arc::new(PostOffice::default());
        office.room.lock().unwrap().running = parties.iter().copied().collect();
        thread::scope(|scope| {
            let running: Vec<_> = parties
                .iter()
                .map(|me| {
                    let mut link = SimulatedLink {
                        me: *me,
                        parties: parties.to_vec(),
                        office: Arc::clone(&office),
                        saboteur: Arc::clone(&self.saboteur),
                    };
                    let party = &party;
                    (*me, scope.spawn(move || party(link.me, &mut link)))
                })
                .collect();
            running
                .into_iter()
                .map(|(me, thread)| (me, thread.join().unwrap()))
                .collect()
        })
    }
}

#[derive(Default)]
struct PostOffice {
    room: Mutex<PostRoom>,
    changed: Condvar,
}

#[derive(Default)]
struct PostRoom {
    running: BTreeSet<PartyIndex>,
    waiting: BTreeSet<PartyIndex>,
    inboxes: BTreeMap<PartyIndex, VecDeque<Incoming>>,
}

impl PostRoom {
    /// Everybody who runs waits, and nothing is there for any of them.
    fn is_stuck(&self) -> bool {
        self.running.iter().all(|party| {
            let empty = self.inboxes.get(party).is_none_or(VecDeque::is_empty);
            empty && self.waiting.contains(party)
        })
    }
}

pub(super) struct SimulatedLink {
    me: PartyIndex,
    parties: Vec<PartyIndex>,
    office: Arc<PostOffice>,
    saboteur: Saboteur,
}

impl Link for SimulatedLink {
    fn send(&mut self, message: Outgoing) -> Result<(), LinkError> {
        let (kind, recipients): (Kind, Vec<PartyIndex>) = match message.recipient {
            Recipient::All => (
                Kind::Broadcast,
                self.parties
                    .iter()
                    .copied()
                    .filter(|p| *p != self.me)
                    .collect(),
            ),
            Recipient::One(to) => (Kind::P2p, vec![to]),
        };
        for to in recipients {
            let delivery = Delivery {
                from: self.me,
                to,
                round: message.round,
                kind,
                body: message.body.clone(),
            };
            for delivery in (self.saboteur)(delivery) {
                let incoming = Incoming {
                    round: delivery.round,
                    from: delivery.from,
                    kind: delivery.kind,
                    body: delivery.body,
                };
                let mut room = self.office.room.lock().unwrap();
                room.inboxes
                    .entry(delivery.to)
                    .or_default()
                    .push_back(incoming);
                self.office.changed.notify_all();
            }
        }
        Ok(())
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        let mut room = self.office.room.lock().unwrap();
        loop {
            let arrived = room.inboxes.get_mut(&self.me).and_then(VecDeque::pop_front);
            if let Some(message) = arrived {
                room.waiting.remove(&self.me);
                return Ok(message);
            }
            room.waiting.insert(self.me);
            if room.is_stuck() {
                // This party goes on, so the others are told by it or by its end.
                room.waiting.remove(&self.me);
                return Err(LinkError::Deadline);
            }
            room = self.office.changed.wait(room).unwrap();
        }
    }
}

impl Drop for SimulatedLink {
    fn drop(&mut self) {
        if let Ok(mut room) = self.office.room.lock() {
            room.running.remove(&self.me);
            room.waiting.remove(&self.me);
        }
        self.office.changed.notify_all();
    }
}
