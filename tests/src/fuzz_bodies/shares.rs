//! Bodies for what the threshold protocols read: stored shares, and the messages of a hostile peer.

use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use countersign_signer::threshold::{
    ExecutionId, Incoming, KeyShare, Kind, Link, LinkError, Outgoing, Parameters, PartyIndex,
    Protocol, Recipient, keygen,
};

const PROTOCOLS: [Protocol; 3] = [Protocol::Dkls23, Protocol::Cggmp24, Protocol::FrostEd25519];

struct Pair {
    me: PartyIndex,
    out: Sender<Incoming>,
    inbox: Receiver<Incoming>,
}

impl Link for Pair {
    fn send(&mut self, message: Outgoing) -> Result<(), LinkError> {
        let kind = match message.recipient {
            Recipient::All => Kind::Broadcast,
            Recipient::One(_) => Kind::P2p,
        };
        let incoming = Incoming {
            round: message.round,
            from: self.me,
            kind,
            body: message.body,
        };
        self.out.send(incoming).map_err(|_| LinkError::Closed)
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        let longest = Duration::from_secs(60);
        self.inbox
            .recv_timeout(longest)
            .map_err(|_| LinkError::Deadline)
    }
}

/// One share of a 2-of-2 key of each protocol, as it is sealed.
static SHARES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| PROTOCOLS.map(made).to_vec());

fn made(protocol: Protocol) -> Vec<u8> {
    let (to_second, second_inbox) = channel();
    let (to_first, first_inbox) = channel();
    let execution = ExecutionId::derive("fuzz", [b"keygen".as_slice()]);
    let parameters = Parameters::new(2, 2).expect("2 of 2");
    let run = move |me: u16, out, inbox| {
        let me = PartyIndex(me);
        let mut link = Pair { me, out, inbox };
        keygen(protocol, parameters, me, execution, &mut link)
    };
    let second = std::thread::spawn(move || run(1, to_first, second_inbox));
    let first = run(0, to_second, first_inbox).expect("an honest key generation");
    second
        .join()
        .expect("no panic")
        .expect("an honest key generation");
    first.share.to_sealed_bytes().to_vec()
}

/// The first byte chooses the protocol and whether the rest are edits (position, new byte) of a share or one as it is: what is
/// read belongs to the protocol that was asked for, and loads or says why not.
pub fn read_share(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    let which = usize::from(choice % 3);
    let bytes = match choice & 0x80 {
        0 => rest.to_vec(),
        _ => super::statements::edited(&SHARES[which], rest),
    };
    for protocol in PROTOCOLS {
        if let Ok(share) = KeyShare::from_bytes(protocol, &bytes) {
            assert_eq!(share.protocol(), protocol);
            let _ = share.load();
        }
    }
    if rest.is_empty() && choice & 0x80 != 0 {
        let share = KeyShare::from_bytes(PROTOCOLS[which], &bytes).expect("an honest share");
        share.load().expect("an honest share loads");
    }
}

/// A peer that says what the input says, in the rounds it says.
struct Hostile<'a>(&'a [u8]);

impl Link for Hostile<'_> {
    fn send(&mut self, _: Outgoing) -> Result<(), LinkError> {
        Ok(())
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        let Some((head, rest)) = self.0.split_first_chunk::<3>() else {
            return Err(LinkError::Deadline);
        };
        let length = usize::from(u16::from_be_bytes([head[1], head[2]])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        self.0 = rest;
        Ok(Incoming {
            round: u16::from(head[0] & 0x0f),
            from: PartyIndex(u16::from(head[0] >> 4 & 0x03)),
            kind: if head[0] & 0x80 == 0 {
                Kind::Broadcast
            } else {
                Kind::P2p
            },
            body: body.to_vec(),
        })
    }
}

/// The first byte chooses the protocol, the rest are messages of a peer (round, sender and kind in one byte, length in two,
/// body): a key generation with it ends in a fault that blames no honest party, and makes no key.
pub fn answer_key_generation(input: &[u8]) {
    let Some((choice, messages)) = input.split_first() else {
        return;
    };
    let protocol = PROTOCOLS[usize::from(choice % 3)];
    let parameters = Parameters::new(2, 2).expect("2 of 2");
    let execution = ExecutionId::derive("fuzz", [b"hostile".as_slice()]);
    let me = PartyIndex(0);
    let made = keygen(protocol, parameters, me, execution, &mut Hostile(messages));
    match made {
        Ok(_) => panic!("a key was made with a peer that knows no protocol"),
        Err(fault) => assert!(!fault.culprits.contains(&me), "{fault}"),
    }
}
