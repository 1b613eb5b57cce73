//! What fits, as a real book says.

use std::cell::RefCell;
use std::collections::HashMap;

use countersign_policy::limits::{Limit, LimitBook, LimitScope, Measure, Period, Spend};
use countersign_policy::statement::Reservation;
use countersign_policy::{
    Address, Amount, AssetId, ExternalId, Hash, Lifetime, Network, Timestamp, Transfer,
};

use super::model::Payment;

/// Asks a [`LimitBook`], and remembers what it said.
pub struct Judge {
    spends: Vec<Spend>,
    empty: LimitBook,
    said: RefCell<HashMap<(Payment, u32), bool>>,
}

impl Judge {
    pub fn new(amounts: &[u64], cap: u64) -> Self {
        let asset: AssetId = "eip155:1/slip44:60".parse().expect("an asset");
        let limit = Limit {
            id: "all".parse().expect("an id"),
            ledger_group: "all".parse().expect("an id"),
            scope: LimitScope::default(),
            measure: Measure::Amount {
                asset,
                max: Amount::from(cap),
            },
            period: Period::Rolling { seconds: 3600 },
        };
        Self {
            spends: (0..)
                .zip(amounts)
                .map(|(n, amount)| spend(n, *amount, asset))
                .collect(),
            empty: LimitBook::new(&[limit], None, &[], &[], 1),
            said: RefCell::default(),
        }
    }

    pub fn fits(&self, payment: Payment, others: &[Payment]) -> bool {
        let set = others.iter().fold(0_u32, |set, other| set | 1 << other);
        let mut said = self.said.borrow_mut();
        *said.entry((payment, set)).or_insert_with(|| {
            let others = others.iter().map(|other| &self.spends[usize::from(*other)]);
            let book = self.empty.clone().with_spends(others);
            let spend = &self.spends[usize::from(payment)];
            book.hits(spend, spend.at(), &|_| None).is_empty()
        })
    }
}

fn spend(nonce: u64, amount: u64, asset: AssetId) -> Spend {
    let digest = Hash::sha256(&nonce.to_be_bytes());
    let reservation = Reservation {
        session: digest,
        authorization: digest,
        nonce: digest,
        request: digest,
        initiator: "shop".parse().expect("an id"),
        external_id: ExternalId::new("payment").expect("an id"),
        wallet: "hot".parse().expect("an id"),
        key: "key".parse().expect("an id"),
        digests: vec![digest],
        network: Network::ETHEREUM,
        source: Address::Evm([1; 20]),
        transfers: vec![Transfer {
            asset,
            from: None,
            to: Address::Evm([2; 20]),
            amount: Amount::from(amount),
        }],
        approvals: Vec::new(),
        max_fee: Amount::ZERO,
        lifetime: Lifetime::Evm {
            chain_id: 1,
            nonce,
            account: None,
        },
        participants: Vec::new(),
        expires_at: Timestamp::from_millis(0),
        presignature: None,
    };
    Spend::of(&reservation, Timestamp::from_millis(1_795_000_000_000))
}
