//! A spend: what limits count.

use crate::bundle::WalletTier;
use crate::decide::Facts;
use crate::hash::Hash;
use crate::id::{MemberId, WalletId};
use crate::statement::Reservation;
use crate::time::Timestamp;
use crate::{Address, Allowance, Amount, Lifetime, Network, Transfer};

/// One version of one payment, as a ledger entry reserves it.
///
/// Versions of a payment that exclude each other on chain share an [`id`](Spend::id) and count once, with the highest fee:
/// the same EVM account and nonce, and the same value to the same receivers. A transaction of the same account and nonce
/// with other outputs has another id and counts besides, because nobody knows yet which of them will be in a block. On
/// other networks a replacement is another transaction that could be in a block as well, so every digest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    pub(super) id: Hash,
    pub(super) digest: Hash,
    pub(super) slot: Option<Hash>,
    pub(super) wallet: WalletId,
    pub(super) tier: Option<WalletTier>,
    pub(super) initiator: MemberId,
    pub(super) network: Network,
    pub(super) source: Address,
    pub(super) transfers: Vec<Transfer>,
    pub(super) approvals: Vec<Allowance>,
    pub(super) fee: Amount,
    pub(super) at: Timestamp,
}

impl Spend {
    /// The spend of a ledger entry that reserves it at `at`.
    pub fn of(reservation: &Reservation, at: Timestamp) -> Self {
        let mut spend = Self {
            id: Hash::ZERO,
            digest: Self::digest_of(&reservation.digests),
            slot: slot(
                reservation.network,
                reservation.source,
                &reservation.lifetime,
            ),
            wallet: reservation.wallet.clone(),
            tier: None,
            initiator: reservation.initiator.clone(),
            network: reservation.network,
            source: reservation.source,
            transfers: reservation.transfers.clone(),
            approvals: reservation.approvals.clone(),
            fee: reservation.max_fee,
            at,
        };
        spend.id = spend.identity();
        spend
    }

    /// The spend that a request would be: to explain a decision before anything is reserved.
    pub fn asked(
        facts: &Facts,
        wallet: &WalletId,
        initiator: &MemberId,
        digests: &[Hash],
        at: Timestamp,
    ) -> Self {
        let intent = facts.transaction().intent();
        let mut spend = Self {
            id: Hash::ZERO,
            digest: Self::digest_of(digests),
            slot: slot(intent.network, *facts.source(), &intent.lifetime),
            wallet: wallet.clone(),
            tier: None,
            initiator: initiator.clone(),
            network: intent.network,
            source: *facts.source(),
            transfers: intent.transfers.clone(),
            approvals: intent.approvals.clone(),
            fee: intent.max_fee.amount,
            at,
        };
        spend.id = spend.identity();
        spend
    }

    /// The one name of a version: its signing digest, or the hash of all of them where a transaction has several.
    pub fn digest_of(digests: &[Hash]) -> Hash {
        if let [digest] = digests {
            return *digest;
        }
        let parts: Vec<&[u8]> = digests.iter().map(|d| d.as_bytes().as_slice()).collect();
        Hash::derive("countersign/limits/digests/v1", &parts)
    }

    /// What all versions of the payment share.
    pub fn id(&self) -> Hash {
        self.id
    }

    /// The version: see [`Spend::digest_of`].
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// When it was reserved.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The slot or else the digest, and everything that decides which limits count it and how much. Entries of two nodes
    /// that disagree about one digest are two spends: what a liar says of a payment takes nothing from what is true.
    fn identity(&self) -> Hash {
        let kind: &[u8] = if self.slot.is_some() {
            b"slot"
        } else {
            b"digest"
        };
        let what = self.slot.unwrap_or(self.digest);
        let mut parts: Vec<Vec<u8>> = vec![
            kind.to_vec(),
            what.as_bytes().to_vec(),
            self.network.to_string().into_bytes(),
            self.source.as_bytes().to_vec(),
            self.wallet.as_str().as_bytes().to_vec(),
            self.initiator.as_str().as_bytes().to_vec(),
            (self.transfers.len() as u64).to_be_bytes().to_vec(),
        ];
        for transfer in &self.transfers {
            parts.push(transfer.asset.to_string().into_bytes());
            parts.push(
                transfer
                    .from
                    .map_or_else(Vec::new, |a| a.as_bytes().to_vec()),
            );
            parts.push(transfer.to.as_bytes().to_vec());
            parts.push(transfer.amount.to_be_bytes().to_vec());
        }
        for allowance in &self.approvals {
            parts.push(allowance.asset.to_string().into_bytes());
            parts.push(allowance.spender.as_bytes().to_vec());
            parts.push(allowance.amount.to_be_bytes().to_vec());
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        Hash::derive("countersign/limits/spend/v1", &parts)
    }
}

/// What only one transaction can ever use: an EVM account's nonce. Transactions of other networks have none.
fn slot(network: Network, source: Address, lifetime: &Lifetime) -> Option<Hash> {
    match lifetime {
        Lifetime::Evm { nonce, .. } => {
            let network = network.to_string();
            let parts: [&[u8]; 3] = [network.as_bytes(), source.as_bytes(), &nonce.to_be_bytes()];
            Some(Hash::derive("countersign/limits/slot/v1", &parts))
        }
        Lifetime::Tron { .. } | Lifetime::Solana { .. } => None,
    }
}
