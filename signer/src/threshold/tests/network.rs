//! Parties as threads, links as channels, and a saboteur between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

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
pub(super) type Saboteur = Arc<dyn Fn(Delivery) -> Vec<Delivery> + Send + Sync>;

pub(super) struct Network {
    saboteur: Saboteur,
    time: Duration,
    lingering: bool,
}

impl Network {
    pub(super) fn honest() -> Self {
        Self {
            saboteur: Arc::new(|delivery| vec![delivery]),
            time: Duration::from_secs(120),
            lingering: false,
        }
    }

    /// A network that misbehaves, with a deadline short enough for a test.
    pub(super) fn sabotaged(
        saboteur: impl Fn(Delivery) -> Vec<Delivery> + Send + Sync + 'static,
    ) -> Self {
        Self {
            saboteur: Arc::new(saboteur),
            time: Duration::from_secs(20),
            lingering: false,
        }
    }

    pub(super) fn deadline(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Peers that have ended stay connected and silent, as processes do.
    pub(super) fn lingering(mut self) -> Self {
        self.lingering = true;
        self
    }

    /// Runs every party on its own thread to its result.
    pub(super) fn run<T: Send>(
        &self,
        parties: &[PartyIndex],
        party: impl Fn(PartyIndex, &mut SimulatedLink) -> T + Sync,
    ) -> BTreeMap<PartyIndex, T> {
        let (senders, receivers): (BTreeMap<_, _>, Vec<_>) = parties
            .iter()
            .map(|party| {
                let (sender, receiver) = channel();
                ((*party, sender), (*party, receiver))
            })
            .unzip();
        let links: Vec<SimulatedLink> = receivers
            .into_iter()
            .map(|(me, inbox)| SimulatedLink {
                me,
                // Not to itself: a party whose peers have all ended must not wait for ever.
                peers: senders
                    .iter()
                    .filter(|(peer, _)| **peer != me)
                    .map(|(peer, sender)| (*peer, sender.clone()))
                    .collect(),
                inbox,
                saboteur: Arc::clone(&self.saboteur),
                deadline: Instant::now() + self.time,
                lingering: self.lingering,
            })
            .collect();
        drop(senders);
        thread::scope(|scope| {
            let running: Vec<_> = links
                .into_iter()
                .map(|mut link| {
                    let party = &party;
                    let me = link.me;
                    (me, scope.spawn(move || party(me, &mut link)))
                })
                .collect();
            running
                .into_iter()
                .map(|(me, thread)| (me, thread.join().unwrap()))
                .collect()
        })
    }
}

pub(super) struct SimulatedLink {
    me: PartyIndex,
    peers: BTreeMap<PartyIndex, Sender<Incoming>>,
    inbox: Receiver<Incoming>,
    saboteur: Saboteur,
    deadline: Instant,
    lingering: bool,
}

impl Link for SimulatedLink {
    fn send(&mut self, message: Outgoing) -> Result<(), LinkError> {
        let (kind, recipients): (Kind, Vec<PartyIndex>) = match message.recipient {
            Recipient::All => (Kind::Broadcast, self.peers.keys().copied().collect()),
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
                // A party that has ended hears nothing more.
                let _ = self.peers[&delivery.to].send(incoming);
            }
        }
        Ok(())
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.inbox.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => LinkError::Deadline,
            RecvTimeoutError::Disconnected if self.lingering => LinkError::Deadline,
            RecvTimeoutError::Disconnected => LinkError::Closed,
        })
    }
}
