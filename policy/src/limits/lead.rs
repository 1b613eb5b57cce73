//! How far the nonces of EVM accounts may run ahead of what chain observers saw used.
//!
//! A transaction whose nonce is far ahead waits, signed, until everything before it is in a block: nobody sees it until it
//! is too late to stop it. A bound on the lead bounds how many signed transactions of an account can wait so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{LimitId, WalletId};
use crate::statement::{Fate, Observation, Reservation};
use crate::{Address, Lifetime, Network};

/// A bound on nonces: those of an account may lead the last observed one by at most `max`.
///
/// The last observed nonce is the highest that a quorum of chain observers said was used, whatever used it. It is never less
/// than the one before the account's [`first`](NonceLead::first) nonce; without one, an account begins at 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonceLead {
    /// The bound's id, apart from those of limits.
    pub id: LimitId,
    /// The network, an EVM one.
    pub network: Network,
    /// Transactions of these wallets only, in ascending order; without any, of all wallets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wallets: Vec<WalletId>,
    /// The most, at least 1: with 1, a transaction is signed when the one before it is in a block.
    pub max: u64,
    /// Where accounts begin that signed elsewhere before, in ascending order of accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<FirstNonce>,
}

/// The first nonce that an account uses here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstNonce {
    /// The account.
    pub account: Address,
    /// The nonce.
    pub nonce: u64,
}

/// A nonce that is too far ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonceAhead {
    /// The bound.
    pub lead: LimitId,
    /// The network.
    pub network: Network,
    /// The account.
    pub account: Address,
    /// The transaction's nonce.
    pub nonce: u64,
    /// The last nonce that observers saw used; none when they saw none.
    pub observed: Option<u64>,
    /// The greatest nonce that may be signed now.
    pub highest: u64,
}

impl std::fmt::Display for NonceAhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            lead,
            account,
            nonce,
            highest,
            ..
        } = self;
        write!(
            f,
            "bound {lead}: nonce {nonce} of {account} is too far ahead, {highest} is the greatest that may be signed now: "
        )?;
        match self.observed {
            Some(observed) => write!(f, "observers saw nonce {observed} used"),
            None => f.write_str("observers saw none used"),
        }
    }
}

/// The last nonces that chain observers saw used.
///
/// It is monotone: what was said once stays said, in whatever order it comes. So a nonce that was near enough when it was
/// reserved is near enough when it is released.
#[derive(Debug, Clone, Default)]
pub struct NonceBook(BTreeMap<(Network, Address), u64>);

impl NonceBook {
    /// Takes what a quorum of observers said; their signatures must have been verified before.
    pub fn observe(&mut self, said: &Observation) {
        let (account, nonce) = match &said.fate {
            Fate::Confirmed {
                used: Some(used), ..
            } => (used.account, used.nonce),
            Fate::NonceUsed { account, nonce, .. } => (*account, *nonce),
            _ => return,
        };
        let last = self.0.entry((said.network, account)).or_insert(nonce);
        *last = nonce.max(*last);
    }

    /// The last nonce that was seen used.
    pub fn last(&self, network: Network, account: Address) -> Option<u64> {
        self.0.get(&(network, account)).copied()
    }

    /// The first of `leads` that the reserved transaction would pass.
    pub fn ahead(&self, leads: &[NonceLead], reservation: &Reservation) -> Option<NonceAhead> {
        let Lifetime::Evm { nonce, .. } = reservation.lifetime else {
            return None;
        };
        let (network, account) = (reservation.network, reservation.source);
        let observed = self.last(network, account);
        let about = |lead: &&NonceLead| {
            let wallet = lead.wallets.is_empty() || lead.wallets.contains(&reservation.wallet);
            lead.network == network && wallet
        };
        leads.iter().filter(about).find_map(|lead| {
            let highest = lead.highest(account, observed);
            (nonce > highest).then(|| NonceAhead {
                lead: lead.id.clone(),
                network,
                account,
                nonce,
                observed,
                highest,
            })
        })
    }
}

impl NonceLead {
    /// The greatest nonce of an account that may be signed.
    fn highest(&self, account: Address, observed: Option<u64>) -> u64 {
        let named = self.first.iter().find(|first| first.account == account);
        let first = named.map_or(0, |first| first.nonce);
        // What is next on the chain, as far as anybody said.
        let next = observed.map_or(first, |last| last.saturating_add(1).max(first));
        next.saturating_add(self.max.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;
    use crate::statement::UsedNonce;

    const NETWORK: Network = Network::ETHEREUM;

    fn account(last: u8) -> Address {
        Address::Evm([last; 20])
    }

    fn lead(max: u64, first: &[(u8, u64)]) -> NonceLead {
        let first = first.iter().map(|(last, nonce)| FirstNonce {
            account: account(*last),
            nonce: *nonce,
        });
        NonceLead {
            id: LimitId::new("lead").unwrap(),
            network: NETWORK,
            wallets: Vec::new(),
            max,
            first: first.collect(),
        }
    }

    fn confirmed(network: Network, used: Option<(u8, u64)>) -> Observation {
        Observation {
            network,
            digest: Hash::sha256(b"any"),
            fate: Fate::Confirmed {
                transaction: "0x01".into(),
                block: 1,
                depth: 1,
                used: used.map(|(last, nonce)| UsedNonce {
                    account: account(last),
                    nonce,
                }),
            },
        }
    }

    fn reservation(last: u8, nonce: u64) -> Reservation {
        let mut reservation = crate::limits::tests::pays(nonce, 1).reservation();
        reservation.source = account(last);
        reservation
    }

    fn highest(book: &NonceBook, lead: &NonceLead, of: u8) -> u64 {
        let leads = std::slice::from_ref(lead);
        let fits = |nonce: &u64| book.ahead(leads, &reservation(of, *nonce)).is_none();
        (0..1000).take_while(fits).count() as u64 - 1
    }

    #[test]
    fn nonces_lead_the_last_observed_one_by_at_most_the_bound() {
        let mut book = NonceBook::default();
        for max in 1..5 {
            assert_eq!(highest(&book, &lead(max, &[]), 1), max - 1);
            assert_eq!(highest(&book, &lead(max, &[(1, 40)]), 1), 40 + max - 1);
        }
        book.observe(&confirmed(NETWORK, Some((1, 7))));
        // An older statement takes nothing back, nor does one about another account or network, or without a nonce.
        book.observe(&confirmed(NETWORK, Some((1, 3))));
        book.observe(&confirmed(NETWORK, Some((2, 30))));
        book.observe(&confirmed("eip155:137".parse().unwrap(), Some((1, 90))));
        book.observe(&confirmed(NETWORK, None));
        for max in 1..5 {
            assert_eq!(highest(&book, &lead(max, &[]), 1), 7 + max);
            assert_eq!(highest(&book, &lead(max, &[]), 2), 30 + max);
            // Where an account begins does not count once more was seen, and counts while less was.
            assert_eq!(highest(&book, &lead(max, &[(1, 5)]), 1), 7 + max);
            assert_eq!(highest(&book, &lead(max, &[(1, 20)]), 1), 19 + max);
        }
    }

    #[test]
    fn a_nonce_that_another_transaction_used_was_used_as_well() {
        let mut book = NonceBook::default();
        book.observe(&Observation {
            network: NETWORK,
            digest: Hash::sha256(b"ours"),
            fate: Fate::NonceUsed {
                account: account(1),
                nonce: 12,
                by: "0x02".into(),
                by_digest: Hash::sha256(b"theirs"),
                block: 1,
                depth: 1,
            },
        });
        assert_eq!(book.last(NETWORK, account(1)), Some(12));
    }

    #[test]
    fn every_bound_that_is_about_the_wallet_holds_and_says_which_one_does_not() {
        let book = NonceBook::default();
        let this = reservation(1, 3);
        let mut other = lead(1, &[]);
        other.wallets = vec![WalletId::new("another").unwrap()];
        assert_eq!(book.ahead(&[lead(4, &[]), other], &this), None);
        let mut own = lead(2, &[]);
        (own.id, own.wallets) = (LimitId::new("own").unwrap(), vec![this.wallet.clone()]);
        let ahead = book.ahead(&[lead(4, &[]), own], &this).unwrap();
        assert_eq!((ahead.lead.as_str(), ahead.highest), ("own", 1));
        assert_eq!(ahead.observed, None);
        let mut elsewhere = lead(1, &[]);
        elsewhere.network = "eip155:137".parse().unwrap();
        assert_eq!(book.ahead(&[elsewhere], &this), None);
    }

    #[test]
    fn the_greatest_numbers_do_not_wrap() {
        let mut book = NonceBook::default();
        book.observe(&confirmed(NETWORK, Some((1, u64::MAX))));
        let wide = lead(u64::MAX, &[]);
        assert_eq!(book.ahead(&[wide], &reservation(1, u64::MAX)), None);
    }
}
