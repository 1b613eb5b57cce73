//! Signing over a network that repeats, delays, loses and corrupts, among parties who cheat.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::fixtures::{Key, context, fresh, key, preimage, sign, sign_one};
use super::network::{Delivery, Network};
use crate::gate::Released;
use crate::threshold::{
    Fault, FaultReason, HashAlgorithm, Incoming, Link, LinkError, Material, Outgoing, PartyIndex,
    Preimage, Protocol, open,
};

const CHEAT: PartyIndex = PartyIndex(1);
const WITHOUT_POOL: [Protocol; 2] = [Protocol::Dkls23, Protocol::FrostEd25519];

/// Rounds of signing and whether each carries the execution tag.
fn rounds(protocol: Protocol) -> &'static [bool] {
    match protocol {
        Protocol::Dkls23 => &[true, false, false],
        _ => &[true, false],
    }
}

/// The faults of the honest signers when `corrupt` changes what the cheat sends in `round`.
fn faults_when(
    key: &Key,
    signers: &[u16],
    round: u16,
    corrupt: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
) -> Vec<Fault> {
    let network = Network::sabotaged(move |mut delivery: Delivery| {
        if delivery.from == CHEAT && delivery.round == round {
            corrupt(&mut delivery.body);
        }
        vec![delivery]
    });
    let protocol = key.shares[0].protocol();
    let context = context(key, signers, "m", preimage(protocol));
    sign(&network, key, &context)
        .into_iter()
        .filter(|(party, _)| *party != CHEAT)
        .map(|(_, result)| result.unwrap_err())
        .collect()
}

#[test]
fn repeated_messages_do_no_harm() {
    for protocol in WITHOUT_POOL {
        let key = key(protocol, 2, 3);
        let network = Network::sabotaged(|delivery| vec![delivery.clone(), delivery]);
        let context = context(&key, &[0, 1], "m", preimage(protocol));
        for result in sign(&network, &key, &context).into_values() {
            result.unwrap();
        }
    }
}

#[test]
fn delayed_and_reordered_messages_do_no_harm() {
    let sent = AtomicUsize::new(0);
    let network = Network::sabotaged(move |delivery| {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis([0, 40, 5, 90, 15][number % 5]));
        vec![delivery]
    });
    for protocol in WITHOUT_POOL {
        let key = key(protocol, 3, 5);
        let context = context(&key, &[0, 2, 4], "m", preimage(protocol));
        for result in sign(&network, &key, &context).into_values() {
            result.unwrap();
        }
    }
}

#[test]
fn strangers_messages_are_dropped() {
    for protocol in WITHOUT_POOL {
        let key = key(protocol, 2, 3);
        let network = Network::sabotaged(|delivery| {
            let mut stranger = delivery.clone();
            stranger.from = PartyIndex(2);
            vec![stranger, delivery]
        });
        let context = context(&key, &[0, 1], "m", preimage(protocol));
        for result in sign(&network, &key, &context).into_values() {
            result.unwrap();
        }
    }
}

#[test]
fn garbage_truncation_and_excess_name_their_sender_in_every_round() {
    for protocol in WITHOUT_POOL {
        let key = key(protocol, 2, 3);
        for (round, tagged) in (0_u16..).zip(rounds(protocol)) {
            let kept = if *tagged { 32 } else { 0 };
            let garbage = faults_when(&key, &[0, 1], round, move |body| {
                body[kept..].fill(0xff);
            });
            let truncated = faults_when(&key, &[0, 1], round, |body| body.truncate(31));
            let cut = faults_when(&key, &[0, 1], round, |body| {
                body.pop();
            });
            let longer = faults_when(&key, &[0, 1], round, |body| body.push(0));
            let huge = faults_when(&key, &[0, 1], round, |body| body.resize(10 << 20, 0));
            for fault in [garbage, truncated, cut, longer, huge].concat() {
                assert_eq!(
                    fault.proven_culprit(),
                    Some(CHEAT),
                    "{protocol} round {round}: {fault}"
                );
                assert!(!fault.ban || protocol == Protocol::Dkls23);
            }
        }
    }
}

#[test]
fn two_different_messages_for_one_round_name_their_sender() {
    for protocol in WITHOUT_POOL {
        let key = key(protocol, 2, 3);
        let network = Network::sabotaged(|delivery| {
            if delivery.from != CHEAT || delivery.round != 0 {
                return vec![delivery];
            }
            let mut other = delivery.clone();
            other.body[40] ^= 1;
            vec![delivery, other]
        });
        let context = context(&key, &[0, 1], "m", preimage(protocol));
        let results = sign(&network, &key, &context);
        let fault = results[&PartyIndex(0)].as_ref().unwrap_err();
        assert_eq!(fault.reason, FaultReason::Duplicate { round: 0 });
        assert_eq!(fault.proven_culprit(), Some(CHEAT));
    }
}

#[test]
fn a_wrong_frost_share_names_its_sender_among_many() {
    let key = key(Protocol::FrostEd25519, 3, 5);
    let faults = faults_when(&key, &[0, 1, 4], 1, |body| {
        let scalar = body.len() - 32;
        body[scalar] ^= 1;
    });
    assert_eq!(faults.len(), 2);
    for fault in faults {
        assert_eq!(fault.proven_culprit(), Some(CHEAT), "{fault}");
    }
}

#[test]
fn equivocating_frost_commitments_blame_no_honest_signer() {
    let key = key(Protocol::FrostEd25519, 3, 5);
    let network = Network::sabotaged(|mut delivery| {
        if (delivery.from, delivery.to, delivery.round) == (CHEAT, PartyIndex(0), 0) {
            // Another valid commitment: hiding and binding change places.
            let end = delivery.body.len();
            let (hiding, binding) = delivery.body.split_at_mut(end - 32);
            let start = hiding.len() - 32;
            hiding[start..].swap_with_slice(binding);
        }
        vec![delivery]
    });
    let context = context(&key, &[0, 1, 2], "m", preimage(Protocol::FrostEd25519));
    let results = sign(&network, &key, &context);
    for honest in [0, 2].map(PartyIndex) {
        let fault = results[&honest].as_ref().unwrap_err();
        assert_eq!(fault.reason, FaultReason::Equivocation { round: 0 });
        assert!(fault.culprits.contains(&CHEAT), "{fault}");
        assert!(!fault.culprits.contains(&honest));
    }
}

#[test]
fn cheating_in_a_dkls23_multiplication_bans_the_cheat() {
    let key = key(Protocol::Dkls23, 2, 3);
    // Somewhere in the oblivious transfer of either phase, past the commitments.
    for round in [0, 1] {
        let faults = faults_when(&key, &[0, 1], round, |body| {
            let place = body.len() - 2000;
            body[place] ^= 1;
        });
        for fault in faults {
            assert_eq!(
                fault.proven_culprit(),
                Some(CHEAT),
                "round {round}: {fault}"
            );
            assert!(fault.ban, "round {round}: {fault}");
        }
    }
}

#[test]
fn a_wrong_dkls23_share_suspects_everybody_who_could_have_sent_it() {
    for (signers, suspects) in [(vec![0, 1], vec![1]), (vec![0, 1, 2], vec![1, 2])] {
        let key = if signers.len() == 2 {
            key(Protocol::Dkls23, 2, 3)
        } else {
            key(Protocol::Dkls23, 3, 5)
        };
        let faults = faults_when(&key, &signers, 2, |body| {
            let last = body.len() - 1;
            body[last] ^= 1;
        });
        let suspects: BTreeSet<PartyIndex> = suspects.into_iter().map(PartyIndex).collect();
        assert_eq!(faults[0].culprits, suspects, "{}", faults[0]);
        assert!(faults.iter().all(|fault| fault.culprits.contains(&CHEAT)));
        assert!(faults.iter().all(|fault| !fault.ban));
    }
}

#[test]
fn a_different_execution_preimage_or_path_ends_without_blame() {
    for protocol in WITHOUT_POOL {
        let key = key(protocol, 2, 3);
        let ours = context(&key, &[0, 1], "m", preimage(protocol));
        let mut theirs = vec![ours.clone(), ours.clone()];
        theirs[0].execution = fresh("another attempt");
        theirs[1].preimage = Preimage::new(ours.preimage.algorithm(), b"another".to_vec());
        if protocol == Protocol::Dkls23 {
            let mut other_path = ours.clone();
            other_path.path = "m/1".parse().unwrap();
            theirs.push(other_path);
        }
        for theirs in theirs {
            let results = Network::honest().run(ours.signers.as_slice(), |me, link| {
                let context = if me == CHEAT { &theirs } else { &ours };
                sign_one(&key, context, me, Material::Fresh, link)
            });
            for result in results.into_values() {
                let fault = result.unwrap_err();
                assert_eq!(fault.reason, FaultReason::ExecutionMismatch);
                assert!(fault.culprits.is_empty() && !fault.ban, "{fault}");
            }
        }
    }
}

#[test]
fn a_silent_signer_is_named_as_missing() {
    for protocol in WITHOUT_POOL {
        let key = key(protocol, 2, 3);
        let last = u16::try_from(rounds(protocol).len()).unwrap() - 1;
        let network = Network::sabotaged(move |delivery| {
            let silent = delivery.from == CHEAT && delivery.round == last;
            if silent { Vec::new() } else { vec![delivery] }
        });
        let context = context(&key, &[0, 1], "m", preimage(protocol));
        let results = sign(&network, &key, &context);
        let fault = results[&PartyIndex(0)].as_ref().unwrap_err();
        assert_eq!(fault.reason, FaultReason::Timeout { round: last });
        assert_eq!(fault.culprits, BTreeSet::from([CHEAT]));
        assert_eq!(fault.proven_culprit(), None);
    }
}

/// A link that must not be used.
struct Untouched;

impl Link for Untouched {
    fn send(&mut self, _: Outgoing) -> Result<(), LinkError> {
        panic!("sent without a release")
    }

    fn recv(&mut self) -> Result<Incoming, LinkError> {
        panic!("received without a release")
    }
}

#[test]
fn nothing_is_sent_for_another_digest_or_execution_than_the_released() {
    for protocol in WITHOUT_POOL {
        let key = key(protocol, 2, 3);
        let context = context(&key, &[0, 1], "m", preimage(protocol));
        let releases = [
            Released::for_driver_tests([0; 32], context.execution),
            Released::for_driver_tests(*context.preimage.digest(), fresh("another")),
        ];
        for release in releases {
            let share = Arc::clone(&key.shares[0]);
            let (session, _) = open(share, context.clone(), Material::Fresh).unwrap();
            let fault = session.complete(release, &mut Untouched).unwrap_err();
            assert_eq!(fault.reason, FaultReason::NotReleased);
        }
    }
}

#[test]
fn a_panic_under_the_protocol_becomes_a_fault() {
    let key = key(Protocol::FrostEd25519, 2, 3);
    let context = context(&key, &[0, 1], "m", preimage(Protocol::FrostEd25519));
    let release = super::fixtures::released(&context);
    let share = Arc::clone(&key.shares[0]);
    let (session, _) = open(share, context, Material::Fresh).unwrap();
    let fault = session.complete(release, &mut Untouched).unwrap_err();
    assert_eq!(fault.reason, FaultReason::Panicked);
    assert!(fault.culprits.is_empty());
}

#[test]
fn a_session_refuses_inputs_that_do_not_fit_its_key() {
    let ecdsa = key(Protocol::Dkls23, 2, 3);
    let eddsa = key(Protocol::FrostEd25519, 2, 3);
    let refused = |key: &Key, context| {
        let share = Arc::clone(&key.shares[0]);
        open(share, context, Material::Fresh).unwrap_err().reason
    };
    let wrong_curve = Preimage::new(HashAlgorithm::Ed25519Message, b"message".to_vec());
    let child = context(&eddsa, &[0, 1], "m/0", preimage(Protocol::FrostEd25519));
    let not_me = context(&ecdsa, &[1, 2], "m", preimage(Protocol::Dkls23));
    for reason in [
        refused(&ecdsa, context(&ecdsa, &[0, 1], "m", wrong_curve)),
        refused(&eddsa, child),
        refused(&ecdsa, not_me),
    ] {
        assert!(matches!(reason, FaultReason::Local { .. }), "{reason}");
    }
}
