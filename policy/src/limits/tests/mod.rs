//! Limits, checked rule by rule and against a model that adds everything up anew each time.

mod bounds;
mod model;
mod rules;

use super::{Limit, LimitBook, LimitHit, LimitScope, Measure, Period, Price, Reference, Spend};
use crate::bundle::{AssetRecord, Wallet, WalletTier};
use crate::statement::Reservation;
use crate::{
    Address, Allowance, Amount, AssetId, ExternalId, Hash, HexBytes, Lifetime, Network, Timestamp,
    Transfer,
};

pub(super) const USDT: &str = "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7";
pub(super) const ETH: &str = "eip155:1/slip44:60";
/// A token without a price.
pub(super) const USDC: &str = "eip155:1/erc20:0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48";
pub(super) const SKEW: u64 = 5;

/// One transaction, by what tests vary.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub wallet: &'static str,
    pub initiator: &'static str,
    pub tron: bool,
    pub nonce: u64,
    pub moves: Vec<(&'static str, u8, Amount)>,
    pub approves: Vec<(&'static str, u8, Amount)>,
    pub fee: Amount,
}

pub(super) fn amount(value: u64) -> Amount {
    Amount::from(value)
}

pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000).plus_seconds(seconds)
}

pub(super) fn address(number: u8) -> Address {
    Address::Evm([number; 20])
}

pub(super) fn asset(text: &str) -> AssetId {
    text.parse().unwrap()
}

/// `value` of USDT from wallet `hot` to address 1, with this nonce and a fee of 1.
pub(super) fn pays(nonce: u64, value: u64) -> Payment {
    Payment {
        wallet: "hot",
        initiator: "shop",
        tron: false,
        nonce,
        moves: vec![(USDT, 1, amount(value))],
        approves: Vec::new(),
        fee: amount(1),
    }
}

impl Payment {
    /// Names the bytes: whatever differs, the digest differs.
    pub fn digest(&self) -> Hash {
        let Self { tron, nonce, .. } = self;
        let bytes = format!(
            "{tron} {nonce} {} {:?} {:?} {}",
            self.wallet, self.moves, self.approves, self.fee
        );
        Hash::sha256(bytes.as_bytes())
    }

    pub fn reservation(&self) -> Reservation {
        let moved = |(of, to, value): &(&str, u8, Amount)| Transfer {
            asset: asset(of),
            from: None,
            to: address(*to),
            amount: *value,
        };
        let allowed = |(of, to, value): &(&str, u8, Amount)| Allowance {
            asset: asset(of),
            spender: address(*to),
            amount: *value,
        };
        let evm = Lifetime::Evm {
            chain_id: 1,
            nonce: self.nonce,
            account: None,
        };
        let tron = Lifetime::Tron {
            expires_at_ms: self.nonce,
            timestamp_ms: 0,
            ref_block_bytes: HexBytes(vec![1, 2]),
            ref_block_hash: HexBytes(vec![3; 8]),
        };
        let digest = self.digest();
        Reservation {
            session: digest,
            authorization: digest,
            nonce: digest,
            request: digest,
            initiator: self.initiator.parse().unwrap(),
            external_id: ExternalId::new("payment").unwrap(),
            wallet: self.wallet.parse().unwrap(),
            key: "key".parse().unwrap(),
            digests: vec![digest],
            network: if self.tron {
                Network::TRON
            } else {
                Network::ETHEREUM
            },
            source: address(if self.wallet == "hot" { 200 } else { 201 }),
            transfers: self.moves.iter().map(moved).collect(),
            approvals: self.approves.iter().map(allowed).collect(),
            max_fee: self.fee,
            lifetime: if self.tron { tron } else { evm },
            participants: Vec::new(),
            expires_at: at(0),
            presignature: None,
        }
    }

    pub fn at(&self, seconds: u64) -> Spend {
        Spend::of(&self.reservation(), at(seconds))
    }
}

pub(super) fn limit(id: &str, scope: LimitScope, measure: Measure, period: Period) -> Limit {
    Limit {
        id: id.parse().unwrap(),
        ledger_group: "all".parse().unwrap(),
        scope,
        measure,
        period,
    }
}

pub(super) fn everything() -> LimitScope {
    LimitScope::default()
}

pub(super) fn of(text: &str, max: u64) -> Measure {
    Measure::Amount {
        asset: asset(text),
        max: amount(max),
    }
}

pub(super) fn rolling(seconds: u64) -> Period {
    Period::Rolling { seconds }
}

/// USDT costs 1.01 per unit of 10^6, ETH 3,000 per unit of 10^18, in hundredths.
pub(super) fn reference() -> Reference {
    let price = |text, per_unit| Price {
        asset: asset(text),
        per_unit: amount(per_unit),
    };
    Reference {
        currency: "USD".into(),
        decimals: 2,
        prices: vec![price(ETH, 300_000), price(USDT, 101)],
    }
}

pub(super) fn wallets() -> Vec<Wallet> {
    let wallet = |id: &str, tier| Wallet {
        id: id.parse().unwrap(),
        name: id.into(),
        tier,
        key: "key".parse().unwrap(),
        path: "m".parse().unwrap(),
        networks: vec![Network::ETHEREUM],
        ledger_group: None,
        offline_operators: None,
    };
    vec![
        wallet("hot", WalletTier::Hot),
        wallet("warm", WalletTier::Warm),
    ]
}

pub(super) fn assets() -> Vec<AssetRecord> {
    let record = |text, symbol: &str, decimals| AssetRecord {
        asset: asset(text),
        symbol: symbol.into(),
        decimals,
    };
    vec![
        record(USDT, "USDT", 6),
        record(ETH, "ETH", 18),
        record(USDC, "USDC", 6),
    ]
}

pub(super) fn book(limits: &[Limit]) -> LimitBook {
    LimitBook::new(limits, Some(&reference()), &wallets(), &assets(), SKEW)
}

/// No freeze lowers anything.
pub(super) fn as_is(_: &crate::LimitId) -> Option<Amount> {
    None
}

/// What is used, as a hit of a spend that asks for more than everything says; 0 when nothing is.
pub(super) fn used(book: &LimitBook, probe: &Payment, seconds: u64) -> u64 {
    let zero = |_: &crate::LimitId| Some(Amount::ZERO);
    let hits = book.hits(&probe.at(seconds), at(seconds), &zero);
    let hit = hits.first().expect("any charge passes a cap of nothing");
    u64::try_from(hit.used.to_u128().unwrap()).unwrap()
}

pub(super) fn hit(
    limit: &str,
    max: u64,
    used: u64,
    requested: u64,
    resets: Option<Timestamp>,
) -> LimitHit {
    LimitHit {
        limit: limit.parse().unwrap(),
        max: amount(max),
        used: amount(used),
        requested: amount(requested),
        resets_at: resets,
    }
}

pub(super) fn just_after(seconds: u64) -> Timestamp {
    Timestamp::from_millis(at(seconds).as_millis() + 1)
}
