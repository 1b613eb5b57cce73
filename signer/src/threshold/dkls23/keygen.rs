//! DKLs23 distributed key generation (protocol 9.1 of ePrint 2023/602, with the setup of its two-party multiplications).
//!
//! What must be the same for everybody (commitments, then their openings, chain-code parts) is echoed; nothing is opened
//! before everybody's commitments are known to be one set.

use std::collections::BTreeMap;

use dkls23::DkgSession;
use dkls23::protocols::PartiesMessage;
use dkls23::protocols::dkg::{
    BroadcastDerivationPhase2to4, BroadcastDerivationPhase3to4, ProofCommitment,
    TransmitInitMulPhase3to4, TransmitInitZeroSharePhase2to4, TransmitInitZeroSharePhase3to4,
};
use dkls23::utilities::proofs::DLogProof;
use k256_14::Scalar;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Curve, Share, blame, decode, encode, index};
use crate::threshold::exchange::{Exchange, HASH, Round, broadcast, p2p};
use crate::threshold::fault::Fault;
use crate::threshold::keygen::{GeneratedKey, Setup};
use crate::threshold::{KeyShare, Link, Parameters, PartyIndex, Protocol};

mod round {
    pub(super) const AGREE: u16 = 0;
    pub(super) const FRAGMENT: u16 = 1;
    pub(super) const COMMIT: u16 = 2;
    pub(super) const COMMIT_PAIR: u16 = 3;
    pub(super) const COMMIT_ECHO: u16 = 4;
    pub(super) const REVEAL: u16 = 5;
    pub(super) const REVEAL_PAIR: u16 = 6;
    pub(super) const REVEAL_ECHO: u16 = 7;
    pub(super) const RESULT: u16 = 8;
}

fn rounds(parameters: Parameters) -> Vec<Round> {
    let echo = usize::from(parameters.parties()).saturating_mul(HASH);
    vec![
        broadcast(HASH),
        p2p(64),
        broadcast(256),
        p2p(256),
        broadcast(echo),
        // A Fischlin proof: tens of kilobytes.
        broadcast(64 << 10),
        p2p(512 << 10),
        broadcast(echo),
        broadcast(HASH),
    ]
}

#[derive(Serialize, Deserialize)]
struct Commit {
    point: [u8; HASH],
    chain_code: [u8; HASH],
}

#[derive(Serialize, Deserialize)]
struct Reveal {
    #[serde(bound = "")]
    proof: DLogProof<Curve>,
    chain_code: [u8; HASH],
    salt: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct RevealPair {
    zero: TransmitInitZeroSharePhase3to4,
    multiplication: TransmitInitMulPhase3to4<Curve>,
}

pub(in crate::threshold) fn keygen(
    setup: &Setup,
    link: &mut dyn Link,
) -> Result<GeneratedKey, Fault> {
    let (parameters, me) = (setup.parameters, setup.me);
    let mut exchange = Exchange::new(link, me, parameters.everyone(), rounds(parameters));
    exchange.agree(round::AGREE, &setup.tag)?;
    let (share, peers) = run(setup, &mut exchange)?;
    debug_assert_eq!(
        peers.len(),
        usize::from(parameters.parties()).saturating_sub(1)
    );
    let public = share.group_key().map_err(Fault::local)?;
    exchange.agree_on_result(round::RESULT, &public.transcript())?;
    Ok(GeneratedKey {
        public,
        share: KeyShare::new(Protocol::Dkls23, parameters, me, share.encode()?),
    })
}

fn run(setup: &Setup, exchange: &mut Exchange<'_>) -> Result<(Share, Vec<PartyIndex>), Fault> {
    let me = setup.me;
    let peers: Vec<PartyIndex> = exchange.peers().collect();
    let mut session = DkgSession::<Curve>::new(
        library_parameters(setup.parameters)?,
        index(me)?,
        setup.execution.as_bytes().to_vec(),
    );
    let fragments = exchange_fragments(&session, exchange)?;
    let (own_proof, zero, chain_code) = session
        .phase2(&fragments)
        .map_err(|abort| blame(&abort, me, peers.iter().copied()))?;

    let own_commit = Commit {
        point: own_proof.commitment,
        chain_code: chain_code.cc_commitment,
    };
    for message in zero {
        send_to_receiver(exchange, round::COMMIT_PAIR, &message.parties, &message)?;
    }
    let mut commits = exchange.broadcast_echoed(
        round::COMMIT,
        round::COMMIT_ECHO,
        encode(&own_commit)?,
        |from, body| decode::<Commit>(from, round::COMMIT, body),
    )?;
    let zero_commits = exchange.collect(round::COMMIT_PAIR, |from, body| {
        let message: TransmitInitZeroSharePhase2to4 = decode(from, round::COMMIT_PAIR, body)?;
        check_parties(&message.parties, from, me, round::COMMIT_PAIR)?;
        Ok(message)
    })?;
    commits.insert(me, own_commit);

    let (zero, multiplications, chain_code) = session
        .phase3()
        .map_err(|abort| blame(&abort, me, peers.iter().copied()))?;
    let own_reveal = Reveal {
        proof: own_proof.proof,
        chain_code: chain_code.aux_chain_code,
        salt: chain_code.cc_salt,
    };
    send_reveal_pairs(exchange, zero, multiplications)?;
    let mut reveals = exchange.broadcast_echoed(
        round::REVEAL,
        round::REVEAL_ECHO,
        encode(&own_reveal)?,
        |from, body| decode::<Reveal>(from, round::REVEAL, body),
    )?;
    let pairs = exchange.collect(round::REVEAL_PAIR, |from, body| {
        let message: RevealPair = decode(from, round::REVEAL_PAIR, body)?;
        check_parties(&message.zero.parties, from, me, round::REVEAL_PAIR)?;
        check_parties(
            &message.multiplication.parties,
            from,
            me,
            round::REVEAL_PAIR,
        )?;
        Ok(message)
    })?;
    reveals.insert(me, own_reveal);

    let opened = Opened::assemble(commits, reveals)?;
    let (zero_reveals, multiplications): (Vec<_>, Vec<_>) = pairs
        .into_values()
        .map(|pair| (pair.zero, pair.multiplication))
        .unzip();
    let (party, public) = session
        .phase4(
            &opened.proofs,
            &zero_commits.into_values().collect::<Vec<_>>(),
            &zero_reveals,
            &multiplications,
            &opened.chain_code_commits,
            &opened.chain_code_reveals,
            |_| String::new(),
        )
        .map_err(|abort| blame(&abort, me, peers.iter().copied()))?;
    Ok((Share { party, public }, peers))
}

/// Phase 1: everybody evaluates its polynomial for everybody.
fn exchange_fragments(
    session: &DkgSession<Curve>,
    exchange: &mut Exchange<'_>,
) -> Result<Zeroizing<Vec<Scalar>>, Fault> {
    let me = exchange.me();
    let evaluations = Zeroizing::new(session.phase1());
    let mut fragments = Zeroizing::new(Vec::with_capacity(evaluations.len()));
    for (position, evaluation) in (0..).zip(evaluations.iter()) {
        match PartyIndex(position) {
            own if own == me => fragments.push(*evaluation),
            peer => exchange.unicast(round::FRAGMENT, peer, encode(evaluation)?)?,
        }
    }
    let mut received = exchange.collect(round::FRAGMENT, |from, body| {
        decode::<Scalar>(from, round::FRAGMENT, body)
    })?;
    for fragment in received.values_mut() {
        fragments.push(*fragment);
        fragment.zeroize();
    }
    Ok(fragments)
}

fn send_reveal_pairs(
    exchange: &mut Exchange<'_>,
    zero: Vec<TransmitInitZeroSharePhase3to4>,
    multiplications: Vec<TransmitInitMulPhase3to4<Curve>>,
) -> Result<(), Fault> {
    let mut by_receiver: BTreeMap<_, _> = multiplications
        .into_iter()
        .map(|message| (message.parties.receiver, message))
        .collect();
    for zero in zero {
        let multiplication = by_receiver
            .remove(&zero.parties.receiver)
            .ok_or_else(|| Fault::local("no multiplication setup for a peer"))?;
        let parties = zero.parties.clone();
        let pair = RevealPair {
            zero,
            multiplication,
        };
        send_to_receiver(exchange, round::REVEAL_PAIR, &parties, &pair)?;
    }
    Ok(())
}

/// The opened commitments in the shape of the library's phase 4.
struct Opened {
    proofs: Vec<ProofCommitment<Curve>>,
    chain_code_commits: BTreeMap<dkls23::protocols::PartyIndex, BroadcastDerivationPhase2to4>,
    chain_code_reveals: BTreeMap<dkls23::protocols::PartyIndex, BroadcastDerivationPhase3to4>,
}

impl Opened {
    fn assemble(
        commits: BTreeMap<PartyIndex, Commit>,
        reveals: BTreeMap<PartyIndex, Reveal>,
    ) -> Result<Self, Fault> {
        let mut opened = Self {
            proofs: Vec::with_capacity(commits.len()),
            chain_code_commits: BTreeMap::new(),
            chain_code_reveals: BTreeMap::new(),
        };
        for ((from, commit), reveal) in commits.into_iter().zip(reveals.into_values()) {
            let sender_index = index(from)?;
            opened.proofs.push(ProofCommitment {
                index: sender_index,
                proof: reveal.proof,
                commitment: commit.point,
            });
            let commit = BroadcastDerivationPhase2to4 {
                sender_index,
                cc_commitment: commit.chain_code,
            };
            opened.chain_code_commits.insert(sender_index, commit);
            let reveal = BroadcastDerivationPhase3to4 {
                sender_index,
                aux_chain_code: reveal.chain_code,
                cc_salt: reveal.salt,
            };
            opened.chain_code_reveals.insert(sender_index, reveal);
        }
        Ok(opened)
    }
}

fn library_parameters(parameters: Parameters) -> Result<dkls23::protocols::Parameters, Fault> {
    let small = |value: u16| u8::try_from(value).map_err(Fault::local);
    dkls23::protocols::Parameters::new(small(parameters.threshold())?, small(parameters.parties())?)
        .map_err(Fault::local)
}

fn send_to_receiver<T: Serialize>(
    exchange: &mut Exchange<'_>,
    round: u16,
    parties: &PartiesMessage,
    message: &T,
) -> Result<(), Fault> {
    exchange.unicast(round, super::party(parties.receiver), encode(message)?)
}

/// The library trusts these fields; the envelope decides.
pub(super) fn check_parties(
    parties: &PartiesMessage,
    from: PartyIndex,
    me: PartyIndex,
    round: u16,
) -> Result<(), Fault> {
    if super::party(parties.sender) == from && super::party(parties.receiver) == me {
        Ok(())
    } else {
        Err(Fault::malformed(
            from,
            round,
            "names another sender or recipient",
        ))
    }
}
