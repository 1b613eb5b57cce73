//! What an observation proves about a reserved transaction: its fate must fit the transaction's own lifetime.

use crate::hash::Hash;
use crate::statement::{Fate, Observation, UsedNonce};
use crate::{Address, Lifetime, Network};

/// A reserved transaction, as far as its fate depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The network.
    pub network: Network,
    /// The account that pays.
    pub source: Address,
    /// The signing digest.
    pub digest: Hash,
    /// How long a signature could be used on chain.
    pub lifetime: &'a Lifetime,
}

/// What an observation proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The transaction is in a final block.
    Confirmed,
    /// The transaction can never be in a block.
    Dead,
    /// Nothing, and why.
    Nothing(&'static str),
}

/// Holds what observers saw against what a ledger reserved. The observers' signatures must have been verified before.
///
/// `same_payment` says whether a digest is another version of the same payment: where that one is in a block, the payment
/// was made, and what it reserved does not return.
///
/// ```
/// use countersign_policy::limits::{Evidence, Subject, evidence};
/// use countersign_policy::statement::{Fate, Observation};
/// use countersign_policy::{Hash, Lifetime, Network};
///
/// let lifetime = Lifetime::Solana { blockhash: "9aE".into() };
/// let subject = Subject {
///     network: Network::SOLANA,
///     source: "11111111111111111111111111111111".parse().unwrap(),
///     digest: Hash::sha256(b"transaction"),
///     lifetime: &lifetime,
/// };
/// let fate = Fate::BlockhashExpired { blockhash: "9aE".into(), last_valid_block_height: 150, block: 151 };
/// let seen = Observation { network: Network::SOLANA, digest: subject.digest, fate };
/// assert_eq!(evidence(&seen, &subject, &|_| false), Evidence::Dead);
/// ```
pub fn evidence(
    observation: &Observation,
    subject: &Subject<'_>,
    same_payment: &dyn Fn(&Hash) -> bool,
) -> Evidence {
    if observation.digest != subject.digest {
        return Evidence::Nothing("it is about another transaction");
    }
    if observation.network != subject.network {
        return Evidence::Nothing("it is about another network");
    }
    match (&observation.fate, subject.lifetime) {
        (Fate::Confirmed { depth: 0, .. }, _) => Evidence::Nothing("no block is on top of it"),
        (
            Fate::Confirmed {
                used: Some(used), ..
            },
            lifetime,
        ) if !uses(subject, lifetime, used) => {
            Evidence::Nothing("the transaction has another account or nonce")
        }
        (Fate::Confirmed { .. }, _) => Evidence::Confirmed,
        (Fate::NonceUsed { depth: 0, .. } | Fate::Expired { depth: 0, .. }, _) => {
            Evidence::Nothing("no block is on top of the one that shows it")
        }
        (Fate::NonceUsed { by_digest, .. }, _)
            if *by_digest == subject.digest || same_payment(by_digest) =>
        {
            Evidence::Nothing("the nonce was used by the payment itself")
        }
        (Fate::NonceUsed { account, nonce, .. }, lifetime @ Lifetime::Evm { .. }) => {
            let used = UsedNonce {
                account: *account,
                nonce: *nonce,
            };
            match uses(subject, lifetime, &used) {
                true => Evidence::Dead,
                false => Evidence::Nothing("the transaction has another account or nonce"),
            }
        }
        (Fate::Expired { block_time_ms, .. }, Lifetime::Tron { expires_at_ms, .. }) => {
            match block_time_ms > expires_at_ms {
                true => Evidence::Dead,
                false => Evidence::Nothing("the transaction has not expired at that block"),
            }
        }
        (
            Fate::BlockhashExpired {
                blockhash,
                last_valid_block_height,
                block,
            },
            Lifetime::Solana { blockhash: own },
        ) => {
            if blockhash != own {
                return Evidence::Nothing("the transaction has another blockhash");
            }
            match block > last_valid_block_height {
                true => Evidence::Dead,
                false => Evidence::Nothing("the blockhash is still valid at that block"),
            }
        }
        _ => Evidence::Nothing("transactions of this kind do not end in that way"),
    }
}

/// Whether a nonce is the transaction's own.
fn uses(subject: &Subject<'_>, lifetime: &Lifetime, used: &UsedNonce) -> bool {
    let Lifetime::Evm { nonce, account, .. } = lifetime else {
        return false;
    };
    let stated = account.unwrap_or(subject.source);
    used.account == stated && used.account == subject.source && used.nonce == *nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(last: u8) -> Address {
        format!("0x{}{last:02x}", "28c6c06298d514db089934071355e5743bf21d")
            .parse()
            .unwrap()
    }

    fn hash(text: &str) -> Hash {
        Hash::sha256(text.as_bytes())
    }

    fn told(network: Network, lifetime: &Lifetime, fate: Fate) -> Evidence {
        let subject = Subject {
            network,
            source: account(1),
            digest: hash("ours"),
            lifetime,
        };
        let observation = Observation {
            network,
            digest: hash("ours"),
            fate,
        };
        evidence(&observation, &subject, &|digest| *digest == hash("bumped"))
    }

    fn evm() -> Lifetime {
        Lifetime::Evm {
            chain_id: 1,
            nonce: 7,
            account: None,
        }
    }

    fn nonce_used(account: Address, nonce: u64, by: &str, depth: u64) -> Fate {
        Fate::NonceUsed {
            account,
            nonce,
            by: "0x01".into(),
            by_digest: hash(by),
            block: 100,
            depth,
        }
    }

    #[test]
    fn a_nonce_that_another_transaction_used_kills_ours_and_nothing_less_does() {
        let eth = Network::ETHEREUM;
        let dead = |fate| told(eth, &evm(), fate) == Evidence::Dead;
        assert!(dead(nonce_used(account(1), 7, "theirs", 12)));
        assert!(!dead(nonce_used(account(1), 7, "theirs", 0)));
        assert!(!dead(nonce_used(account(2), 7, "theirs", 12)));
        assert!(!dead(nonce_used(account(1), 8, "theirs", 12)));
        assert!(!dead(nonce_used(account(1), 7, "ours", 12)));
        assert!(!dead(nonce_used(account(1), 7, "bumped", 12)));
        let elsewhere = Lifetime::Evm {
            chain_id: 1,
            nonce: 7,
            account: Some(account(2)),
        };
        let fate = nonce_used(account(2), 7, "theirs", 12);
        assert!(matches!(told(eth, &elsewhere, fate), Evidence::Nothing(_)));
    }

    #[test]
    fn a_confirmation_that_names_a_nonce_names_the_transactions_own() {
        let confirmed = |account, nonce| Fate::Confirmed {
            transaction: "0x01".into(),
            block: 1,
            depth: 1,
            used: Some(UsedNonce { account, nonce }),
        };
        let eth = Network::ETHEREUM;
        let proof = told(eth, &evm(), confirmed(account(1), 7));
        assert_eq!(proof, Evidence::Confirmed);
        for other in [confirmed(account(1), 8), confirmed(account(2), 7)] {
            assert!(matches!(told(eth, &evm(), other), Evidence::Nothing(_)));
        }
        let solana = Lifetime::Solana {
            blockhash: "A".into(),
        };
        let no_nonce = told(Network::SOLANA, &solana, confirmed(account(1), 7));
        assert!(matches!(no_nonce, Evidence::Nothing(_)));
    }

    #[test]
    fn tron_and_solana_transactions_die_after_their_time_and_not_at_it() {
        let tron = Lifetime::Tron {
            expires_at_ms: 1000,
            timestamp_ms: 1,
            ref_block_bytes: "0x0102".parse().unwrap(),
            ref_block_hash: "0x0102030405060708".parse().unwrap(),
        };
        let network: Network = "tron:0x2b6653dc".parse().unwrap();
        let expired = |block_time_ms, depth| Fate::Expired {
            block_time_ms,
            block: 5,
            depth,
        };
        assert_eq!(told(network, &tron, expired(1001, 1)), Evidence::Dead);
        for fate in [expired(1000, 1), expired(1001, 0)] {
            assert!(matches!(told(network, &tron, fate), Evidence::Nothing(_)));
        }
        let solana = Lifetime::Solana {
            blockhash: "A".into(),
        };
        let over = |blockhash: &str, block| Fate::BlockhashExpired {
            blockhash: blockhash.into(),
            last_valid_block_height: 10,
            block,
        };
        assert_eq!(
            told(Network::SOLANA, &solana, over("A", 11)),
            Evidence::Dead
        );
        for fate in [over("A", 10), over("B", 11), expired(2000, 1)] {
            assert!(matches!(
                told(Network::SOLANA, &solana, fate),
                Evidence::Nothing(_)
            ));
        }
    }

    #[test]
    fn an_observation_of_another_transaction_or_network_proves_nothing() {
        let lifetime = evm();
        let subject = Subject {
            network: Network::ETHEREUM,
            source: account(1),
            digest: hash("ours"),
            lifetime: &lifetime,
        };
        let confirmed = |network, digest, depth| Observation {
            network,
            digest,
            fate: Fate::Confirmed {
                transaction: "0x01".into(),
                block: 1,
                depth,
                used: None,
            },
        };
        let proves = |seen: &Observation| evidence(seen, &subject, &|_| false);
        let seen = confirmed(Network::ETHEREUM, hash("ours"), 1);
        assert_eq!(proves(&seen), Evidence::Confirmed);
        for seen in [
            confirmed(Network::ETHEREUM, hash("other"), 1),
            confirmed(Network::SOLANA, hash("ours"), 1),
            confirmed(Network::ETHEREUM, hash("ours"), 0),
        ] {
            assert!(matches!(proves(&seen), Evidence::Nothing(_)));
        }
    }
}
