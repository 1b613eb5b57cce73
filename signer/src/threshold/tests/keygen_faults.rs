//! Key generation among parties who cheat.

use std::collections::BTreeMap;

use super::fixtures::fresh;
use super::network::{Delivery, Network};
use crate::threshold::{
    Fault, FaultReason, GeneratedKey, Parameters, PartyIndex, Protocol, keygen,
};

const CHEAT: PartyIndex = PartyIndex(1);
const PROTOCOLS: [Protocol; 3] = [Protocol::Cggmp24, Protocol::Dkls23, Protocol::FrostEd25519];

fn run(network: &Network, protocol: Protocol) -> BTreeMap<PartyIndex, Result<GeneratedKey, Fault>> {
    let parameters = Parameters::new(2, 3).unwrap();
    let parties: Vec<PartyIndex> = parameters.everyone().collect();
    let execution = fresh("keygen");
    network.run(&parties, |me, link| {
        keygen(protocol, parameters, me, execution, link)
    })
}

fn honest_faults(network: &Network, protocol: Protocol) -> Vec<Fault> {
    run(network, protocol)
        .into_iter()
        .filter(|(party, _)| *party != CHEAT)
        .map(|(_, result)| result.unwrap_err())
        .collect()
}

fn corrupting(round: u16, corrupt: impl Fn(&mut Delivery) + Send + Sync + 'static) -> Network {
    Network::sabotaged(move |mut delivery| {
        if delivery.from == CHEAT && delivery.round == round {
            corrupt(&mut delivery);
        }
        vec![delivery]
    })
}

/// Number of rounds of each protocol, and of those in which any bytes parse.
fn rounds(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Cggmp24 => 7,
        Protocol::Dkls23 => 9,
        Protocol::FrostEd25519 => 5,
        Protocol::Pkcs11Secp256k1 | Protocol::Pkcs11Ed25519 => 0,
    }
}

#[test]
fn repeated_messages_do_no_harm() {
    for protocol in PROTOCOLS {
        let network = Network::sabotaged(|delivery| vec![delivery.clone(), delivery]);
        for result in run(&network, protocol).into_values() {
            result.unwrap();
        }
    }
}

#[test]
fn an_execution_mismatch_ends_without_blame() {
    let parameters = Parameters::new(2, 3).unwrap();
    let parties: Vec<PartyIndex> = parameters.everyone().collect();
    for protocol in PROTOCOLS {
        let ours = fresh("ours");
        let results = Network::honest().run(&parties, |me, link| {
            let execution = if me == CHEAT { fresh("theirs") } else { ours };
            keygen(protocol, parameters, me, execution, link)
        });
        for result in results.into_values() {
            let fault = result.unwrap_err();
            assert_eq!(fault.reason, FaultReason::ExecutionMismatch, "{protocol}");
            assert!(fault.culprits.is_empty() && !fault.ban);
        }
    }
}

#[test]
fn truncated_and_oversized_messages_name_their_sender_in_every_round() {
    for protocol in PROTOCOLS {
        // DKLs23 rounds cost seconds: its first and its dearest.
        let chosen: Vec<u16> = match protocol {
            Protocol::Dkls23 => vec![1, 6],
            _ => (0..rounds(protocol)).collect(),
        };
        for round in chosen {
            let short = corrupting(round, |delivery| delivery.body.truncate(5));
            let huge = corrupting(round, |delivery| delivery.body.resize(3 << 20, 0));
            for (network, what) in [(short, "short"), (huge, "huge")] {
                for fault in honest_faults(&network, protocol) {
                    assert!(
                        fault.culprits.contains(&CHEAT),
                        "{protocol} round {round} {what}: {fault}"
                    );
                }
            }
        }
    }
}

/// Sends a different, well-formed broadcast to one party alone.
fn equivocating(round: u16, from_end: usize) -> Network {
    corrupting(round, move |delivery| {
        if delivery.to == PartyIndex(0) {
            let place = delivery.body.len() - from_end;
            delivery.body[place] ^= 1;
        }
    })
}

#[test]
fn an_equivocating_broadcast_is_detected_by_echo() {
    for (protocol, round, from_end) in [
        (Protocol::FrostEd25519, 1, 32),
        (Protocol::Dkls23, 2, 1),
        (Protocol::Cggmp24, 1, 1),
    ] {
        for fault in honest_faults(&equivocating(round, from_end), protocol) {
            assert_eq!(
                fault.reason,
                FaultReason::Equivocation { round },
                "{protocol}"
            );
            assert!(fault.culprits.contains(&CHEAT), "{protocol}: {fault}");
        }
    }
}

#[test]
fn a_wrong_share_of_the_secret_is_detected() {
    for (protocol, round) in [
        (Protocol::FrostEd25519, 3),
        (Protocol::Dkls23, 1),
        (Protocol::Cggmp24, 4),
    ] {
        let network = corrupting(round, |delivery| {
            if delivery.to == PartyIndex(0) {
                // The low end of the scalar, wherever its encoding puts it.
                let length = delivery.body.len();
                let place = if length > 40 {
                    length - 20
                } else {
                    length - 16
                };
                delivery.body[place] ^= 1;
            }
        });
        let results = run(&network, protocol);
        let victim = results[&PartyIndex(0)].as_ref().unwrap_err();
        assert!(victim.culprits.contains(&CHEAT), "{protocol}: {victim}");
        assert!(!victim.ban);
    }
}

#[test]
fn a_false_claim_about_the_result_is_detected() {
    for protocol in [Protocol::FrostEd25519, Protocol::Cggmp24] {
        let network = corrupting(rounds(protocol) - 1, |delivery| delivery.body[0] ^= 1);
        for fault in honest_faults(&network, protocol) {
            assert!(matches!(fault.reason, FaultReason::InvalidResult { .. }));
            assert!(fault.culprits.contains(&CHEAT));
        }
    }
}

#[test]
fn a_silent_party_is_named_as_missing() {
    for protocol in PROTOCOLS {
        let network = Network::sabotaged(|delivery| {
            let silent = delivery.from == CHEAT && delivery.round == 2;
            if silent { Vec::new() } else { vec![delivery] }
        });
        let results = run(&network, protocol);
        for honest in [0, 2].map(PartyIndex) {
            let fault = results[&honest].as_ref().unwrap_err();
            assert_eq!(
                fault.reason,
                FaultReason::Timeout { round: 2 },
                "{protocol}"
            );
            assert_eq!(fault.culprits, [CHEAT].into(), "{protocol}");
        }
    }
}
