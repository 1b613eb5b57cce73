//! The threshold libraries alone: one signature of all signers on one thread, structs passed by value, nothing encoded, sent or
//! stored. What a whole system spends is measured against these.

use std::collections::BTreeMap;
use std::time::Duration;

use dkls23::SignSession;
use dkls23::protocols::re_key::re_key;
use dkls23::protocols::signing::SignData;
use dkls23::protocols::{Parameters, PartyIndex};
use dkls23::secp256k1::Party;

use crate::thread_cpu;

/// What one signature costs.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU of all signers together.
    pub cpu: Duration,
    /// The shortest time in which signers with a processor each and a free network would be done: the sum over the rounds of
    /// the slowest signer's CPU.
    pub critical: Duration,
}

/// Measures rounds, each the work of all signers one after the other.
struct Rounds(Cost);

impl Rounds {
    fn new() -> Self {
        Self(Cost {
            cpu: Duration::ZERO,
            critical: Duration::ZERO,
        })
    }

    fn each<I, T>(
        &mut self,
        signers: impl IntoIterator<Item = I>,
        mut work: impl FnMut(I) -> T,
    ) -> Vec<T> {
        let mut slowest = Duration::ZERO;
        let results = signers
            .into_iter()
            .map(|signer| {
                let before = thread_cpu();
                let result = work(signer);
                let spent = thread_cpu() - before;
                self.0.cpu += spent;
                slowest = slowest.max(spent);
                result
            })
            .collect();
        self.0.critical += slowest;
        results
    }
}

/// A DKLs23 key of a known secret, for all `n` parties.
pub fn dkls23_key(t: u8, n: u8) -> Vec<Party> {
    let parameters = Parameters::new(t, n).unwrap();
    // Any secret will do.
    let secret = k256_14::Scalar::from(12_345_u64);
    re_key(&parameters, b"bench", &secret, None, |_| String::new()).0
}

/// One DKLs23 signature by the first `t` parties; each verifies it.
pub fn dkls23(parties: &[Party], t: u8) -> Cost {
    let everyone: Vec<PartyIndex> = (1..=t).map(|i| PartyIndex::new(i).unwrap()).collect();
    let mut rounds = Rounds::new();
    let (mut sessions, first): (Vec<_>, Vec<_>) = rounds
        .each(&everyone, |me| {
            let data = SignData {
                sign_id: b"bench".to_vec(),
                counterparties: everyone.iter().copied().filter(|p| p != me).collect(),
                message_hash: [7; 32],
            };
            SignSession::new(&parties[usize::from(me.as_u8()) - 1], data).unwrap()
        })
        .into_iter()
        .unzip();
    let first: Vec<_> = first.into_iter().flatten().collect();
    let second: Vec<_> = rounds
        .each(sessions.iter_mut().zip(&everyone), |(session, me)| {
            let mine: Vec<_> = first
                .iter()
                .filter(|m| m.parties.receiver == *me)
                .cloned()
                .collect();
            session.phase2(&mine).unwrap()
        })
        .into_iter()
        .flatten()
        .collect();
    let third = rounds.each(sessions.iter_mut().zip(&everyone), |(session, me)| {
        let mine: Vec<_> = second
            .iter()
            .filter(|m| m.parties.receiver == *me)
            .cloned()
            .collect();
        session.phase3(&mine).unwrap()
    });
    rounds.each(sessions, |session| session.phase4(&third, true).unwrap());
    rounds.0
}

/// A FROST key: every party's package, and the group's.
pub type FrostKey = (
    Vec<(frost_ed25519::Identifier, frost_ed25519::keys::KeyPackage)>,
    frost_ed25519::keys::PublicKeyPackage,
);

/// A FROST key of a dealer.
pub fn frost_key(t: u16, n: u16) -> FrostKey {
    let list = frost_ed25519::keys::IdentifierList::Default;
    let (shares, public) =
        frost_ed25519::keys::generate_with_dealer(n, t, list, rand_core::OsRng).unwrap();
    let keys = shares
        .into_iter()
        .map(|(id, share)| (id, share.try_into().unwrap()))
        .collect();
    (keys, public)
}

/// One FROST signature by the first `t` parties; each aggregates and verifies, as in the driver.
pub fn frost((keys, public): &FrostKey, t: usize) -> Cost {
    let signers = &keys[..t];
    let mut rounds = Rounds::new();
    let opened = rounds.each(signers, |(id, key)| {
        let (nonces, commitments) =
            frost_ed25519::round1::commit(key.signing_share(), &mut rand_core::OsRng);
        (nonces, (*id, commitments))
    });
    let (nonces, commitments): (Vec<_>, BTreeMap<_, _>) = opened.into_iter().unzip();
    let package = frost_ed25519::SigningPackage::new(commitments, &[7; 200]);
    let shares = rounds.each(signers.iter().zip(&nonces), |((id, key), nonces)| {
        (
            *id,
            frost_ed25519::round2::sign(&package, nonces, key).unwrap(),
        )
    });
    let shares = shares.into_iter().collect();
    rounds.each(signers, |_| {
        frost_ed25519::aggregate(&package, &shares, public).unwrap()
    });
    rounds.0
}
