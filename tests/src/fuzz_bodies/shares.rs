//! Bodies for what the threshold protocols read: stored shares, and the messages of a hostile peer.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use countersign_policy::{DerivationPath, Hash, KeyId, MemberId};
use countersign_signer::gate::TestSpend;
use countersign_signer::threshold::{
    ExecutionId, Incoming, KeyShare, Kind, Link, LinkError, LoadedShare, Material, Outgoing,
    Parameters, PartyIndex, Protocol, Recipient, SigningContext, keygen, open,
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

/// Both shares of a 2-of-2 key of each protocol, as they are sealed.
static SHARES: LazyLock<Vec<[Vec<u8>; 2]>> = LazyLock::new(|| PROTOCOLS.map(made).to_vec());

/// Runs both parties of something, the second on a thread of its own.
fn both<T: Send>(run: impl Fn(PartyIndex, &mut dyn Link) -> T + Sync, edits: &[u8]) -> [T; 2] {
    let (to_second, second_inbox) = channel();
    let (to_first, first_inbox) = channel();
    let mut first = Edited {
        inner: Pair {
            me: PartyIndex(0),
            out: to_second,
            inbox: first_inbox,
        },
        edits,
        received: 0,
    };
    std::thread::scope(|scope| {
        let run = &run;
        let second = scope.spawn(move || {
            let me = PartyIndex(1);
            let mut link = Pair {
                me,
                out: to_first,
                inbox: second_inbox,
            };
            run(me, &mut link)
        });
        let one = run(PartyIndex(0), &mut first);
        // Nobody speaks to the second party any more.
        drop(first);
        [one, second.join().expect("no panic")]
    })
}

fn made(protocol: Protocol) -> [Vec<u8>; 2] {
    let execution = ExecutionId::derive("fuzz", [b"keygen".as_slice()]);
    let parameters = Parameters::new(2, 2).expect("2 of 2");
    let outputs = both(
        |me, link| keygen(protocol, parameters, me, execution, link),
        &[],
    );
    outputs.map(|output| {
        let share = output.expect("an honest key generation").share;
        share.to_sealed_bytes().to_vec()
    })
}

/// What one party hears, with edits: number of the message, position (two bytes), new byte.
struct Edited<'a> {
    inner: Pair,
    edits: &'a [u8],
    received: u8,
}

impl Link for Edited<'_> {
    fn send(&mut self, message: Outgoing) -> Result<(), LinkError> {
        self.inner.send(message)
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        let mut message = self.inner.recv()?;
        let mine = self
            .edits
            .chunks_exact(4)
            .filter(|edit| edit[0] == self.received);
        for edit in mine {
            message.body = super::statements::edited(&message.body, &edit[1..]);
        }
        self.received = self.received.wrapping_add(1);
        Ok(message)
    }
}

/// Loaded shares of the protocols that sign without presignatures.
static LOADED: LazyLock<Vec<[Arc<LoadedShare>; 2]>> = LazyLock::new(|| {
    let signing = [(0, Protocol::Dkls23), (2, Protocol::FrostEd25519)];
    let load = |(which, protocol): (usize, Protocol)| {
        SHARES[which].each_ref().map(|bytes| {
            let share = KeyShare::from_bytes(protocol, bytes).expect("an honest share");
            Arc::new(share.load().expect("it loads"))
        })
    };
    signing.map(load).to_vec()
});

/// Makes the keys of these bodies. With a sanitizer that takes seconds, which are no input's fault.
pub fn make_shares() {
    LazyLock::force(&LOADED);
}

/// The first byte chooses the protocol, the rest are edits (number of the message, position in two bytes, new byte) of what one of
/// two signers hears: it signs what both agreed on, or ends in a fault that does not blame itself.
pub fn answer_signing(input: &[u8]) {
    let Some((choice, edits)) = input.split_first() else {
        return;
    };
    let shares = &LOADED[usize::from(choice % 2)];
    let key: KeyId = "fuzz-key".parse().expect("a key id");
    let names: Vec<MemberId> = ["node-1", "node-2"]
        .map(|n| n.parse().expect("a name"))
        .into();
    let ceremony = Hash::sha256(b"fuzz");
    // What a ceremony signs to test a key is the only thing that can be released without a request.
    let test = || TestSpend::new(shares[0].protocol(), ceremony, &key, &names);
    let signed = both(
        |me, link| {
            let share = Arc::clone(&shares[me.position()]);
            let context = SigningContext {
                execution: test().execution(),
                signers: share
                    .signers(&[PartyIndex(0), PartyIndex(1)])
                    .expect("both"),
                path: DerivationPath::master(),
                preimage: test().preimage().clone(),
            };
            let (session, first) = open(share, context, Material::Fresh).expect("a session");
            for message in first {
                // The other one may have ended already.
                let _ = link.send(message);
            }
            session.complete(test().release(), link)
        },
        edits,
    );
    for (me, end) in signed.iter().enumerate() {
        match end {
            // The driver verified it against the group key.
            Ok(_) => {}
            Err(fault) => {
                assert!(!edits.is_empty(), "{fault}");
                assert!(fault.culprits.iter().all(|p| p.position() != me), "{fault}");
            }
        }
    }
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
        _ => super::statements::edited(&SHARES[which][0], rest),
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
