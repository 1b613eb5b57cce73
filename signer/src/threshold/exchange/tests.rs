use std::collections::VecDeque;

use super::*;
use crate::threshold::LinkError;

/// A link that yields what the test put in and records what was sent.
#[derive(Default)]
struct Script {
    arriving: VecDeque<Incoming>,
    sent: Vec<Outgoing>,
}

impl Link for Script {
    fn send(&mut self, message: Outgoing) -> Result<(), LinkError> {
        self.sent.push(message);
        Ok(())
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        self.arriving.pop_front().ok_or(LinkError::Deadline)
    }
}

fn message(round: u16, from: u16, body: &[u8]) -> Incoming {
    Incoming {
        round,
        from: PartyIndex(from),
        kind: Kind::Broadcast,
        body: body.to_vec(),
    }
}

/// Party 0 of three collects round 1 of a protocol with rounds of at most 8 bytes.
fn collect(arriving: impl IntoIterator<Item = Incoming>) -> Result<Vec<Vec<u8>>, Fault> {
    let mut link = Script {
        arriving: arriving.into_iter().collect(),
        ..Script::default()
    };
    let rounds = vec![broadcast(HASH), broadcast(8), p2p(8)];
    let everyone = (0..3).map(PartyIndex);
    let mut exchange = Exchange::new(&mut link, PartyIndex(0), everyone, rounds);
    let collected = exchange.collect(1, |_, body| Ok(body.to_vec()))?;
    Ok(collected.into_values().collect())
}

fn fault(arriving: impl IntoIterator<Item = Incoming>) -> Fault {
    collect(arriving).unwrap_err()
}

fn parties<const N: usize>(list: [u16; N]) -> BTreeSet<PartyIndex> {
    list.into_iter().map(PartyIndex).collect()
}

#[test]
fn messages_arrive_in_any_order_and_early() {
    let early = Incoming {
        kind: Kind::P2p,
        ..message(2, 1, b"later")
    };
    let got = collect([early, message(1, 2, b"two"), message(1, 1, b"one")]).unwrap();
    assert_eq!(got, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn strangers_and_repetitions_are_dropped() {
    let got = collect([
        message(1, 9, b"stranger"),
        message(1, 0, b"myself"),
        message(1, 1, b"one"),
        message(1, 1, b"one"),
        message(1, 2, b"two"),
    ]);
    assert_eq!(got.unwrap(), [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn a_second_different_message_names_its_sender() {
    let fault = fault([message(1, 1, b"one"), message(1, 1, b"eno")]);
    assert_eq!(fault.proven_culprit(), Some(PartyIndex(1)));
    assert_eq!(fault.reason, FaultReason::Duplicate { round: 1 });
}

#[test]
fn an_oversized_message_names_its_sender() {
    let fault = fault([message(1, 2, b"123456789")]);
    assert_eq!(fault.proven_culprit(), Some(PartyIndex(2)));
    let (round, bytes, limit) = (1, 9, 8);
    assert_eq!(
        fault.reason,
        FaultReason::Oversized {
            round,
            bytes,
            limit
        }
    );
}

#[test]
fn a_round_or_kind_that_the_table_lacks_names_its_sender() {
    let unknown = fault([message(3, 1, b"")]);
    assert_eq!(unknown.reason, FaultReason::Unexpected { round: 3 });
    let wrong_kind = fault([message(2, 1, b"")]);
    assert_eq!(wrong_kind.reason, FaultReason::Unexpected { round: 2 });
    assert_eq!(wrong_kind.proven_culprit(), Some(PartyIndex(1)));
}

#[test]
fn a_deadline_names_who_was_missing_but_proves_nothing() {
    let fault = fault([message(1, 1, b"one")]);
    assert_eq!(fault.culprits, parties([2]));
    assert_eq!(fault.reason, FaultReason::Timeout { round: 1 });
    assert_eq!(fault.proven_culprit(), None);
}

#[test]
fn different_execution_tags_blame_nobody() {
    let tag = [1; HASH];
    let error = untag(&tag, PartyIndex(1), 0, &[2; HASH]).unwrap_err();
    assert_eq!(error.reason, FaultReason::ExecutionMismatch);
    assert!(error.culprits.is_empty());
    assert_eq!(
        untag(&tag, PartyIndex(1), 0, &tagged(&tag, b"x")).unwrap(),
        b"x"
    );
    let short = untag(&tag, PartyIndex(1), 0, &[1; 31]).unwrap_err();
    assert_eq!(short.proven_culprit(), Some(PartyIndex(1)));
}

#[test]
fn an_echo_blames_the_liar_as_far_as_that_is_known() {
    let heard = |bytes: [u8; 3]| -> Heard {
        (0..3)
            .map(PartyIndex)
            .zip(bytes.map(|b| [b; HASH]))
            .collect()
    };
    let me = PartyIndex(0);
    let compare = |from: u16, theirs: [u8; 3]| {
        let theirs = encode_heard(&heard(theirs));
        compare_heard(me, 1, &heard([7, 8, 9]), PartyIndex(from), &theirs)
    };
    assert_eq!(compare(1, [7, 8, 9]), Ok(()));
    // About us: the reporter lies. About itself: it equivocated. About another: one of the two.
    assert_eq!(compare(1, [0, 8, 9]).unwrap_err().culprits, parties([1]));
    assert_eq!(compare(1, [7, 0, 9]).unwrap_err().culprits, parties([1]));
    assert_eq!(compare(1, [7, 8, 0]).unwrap_err().culprits, parties([1, 2]));
    let short = compare_heard(me, 1, &heard([7, 8, 9]), PartyIndex(2), &[0; 95]);
    assert_eq!(short.unwrap_err().culprits, parties([2]));
}
