//! The assets that are known: their symbols and decimals, pinned.
//!
//! An asset that is not listed is unknown. Nothing about it is guessed, neither from its contract nor from its name.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::caip::{AssetId, Network};

/// An asset that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its CAIP-19 id.
    pub id: AssetId,
    /// For people; not unique (there are several USDC on Arbitrum, Optimism and Polygon).
    pub symbol: &'static str,
    /// Base units per whole unit, as a power of ten.
    pub decimals: u8,
}

/// What is known about `id`, if anything.
#[must_use]
pub fn lookup(id: &AssetId) -> Option<&'static Asset> {
    REGISTRY.by_id.get(id)
}

/// All known assets, sorted by id.
#[must_use]
pub fn registry() -> &'static [Asset] {
    &REGISTRY.sorted
}

struct Registry {
    by_id: HashMap<AssetId, Asset>,
    sorted: Vec<Asset>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let coins = COINS.iter().filter_map(|(network, symbol, decimals)| {
        let network: Network = network.parse().ok()?;
        Some(Asset {
            id: network.native_asset(),
            symbol,
            decimals: *decimals,
        })
    });
    let tokens = TOKENS.iter().filter_map(|(id, symbol, decimals)| {
        Some(Asset {
            id: id.parse().ok()?,
            symbol,
            decimals: *decimals,
        })
    });
    let mut sorted: Vec<_> = coins.chain(tokens).collect();
    sorted.sort_by_key(|asset| asset.id);
    Registry {
        by_id: sorted.iter().map(|asset| (asset.id, *asset)).collect(),
        sorted,
    }
});

/// Native coins: network, symbol, decimals.
const COINS: &[(&str, &str, u8)] = &[
    ("eip155:1", "ETH", 18),
    ("eip155:10", "ETH", 18),
    ("eip155:56", "BNB", 18),
    ("eip155:137", "POL", 18),
    ("eip155:8453", "ETH", 18),
    ("eip155:42161", "ETH", 18),
    ("eip155:11155111", "ETH", 18),
    ("tron:0x2b6653dc", "TRX", 6),
    ("tron:0xcd8690dc", "TRX", 6),
    ("tron:0x94a9059e", "TRX", 6),
    ("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "SOL", 9),
    ("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", "SOL", 9),
    ("solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z", "SOL", 9),
];

/// Tokens: CAIP-19 id (with the EIP-55 checksum, so that a typing error fails the tests), symbol, decimals.
///
/// Sources: Tether's supported protocols (<https://tether.to/en/supported-protocols>), Circle's USDC contract addresses
/// (<https://developers.circle.com/stablecoins/usdc-contract-addresses>), and for what neither issues itself the bridge or
/// peg named beside the entry.
const TOKENS: &[(&str, &str, u8)] = &[
    // Ethereum: Tether, Circle.
    (
        "eip155:1/erc20:0xdAC17F958D2ee523a2206206994597C13D831ec7",
        "USDT",
        6,
    ),
    (
        "eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
        "USDC",
        6,
    ),
    // BSC: Binance-Peg tokens (18 decimals, unlike everywhere else), not issued by Tether or Circle.
    (
        "eip155:56/erc20:0x55d398326f99059fF775485246999027B3197955",
        "USDT",
        18,
    ),
    (
        "eip155:56/erc20:0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d",
        "USDC",
        18,
    ),
    // Polygon: USDT came over the PoS bridge (shown as USDT0 since the migration of 2025, same contract). USDC by Circle;
    // USDC.e is Ethereum's, bridged.
    (
        "eip155:137/erc20:0xc2132D05D31c914a87C6611C10748AEb04B58e8F",
        "USDT",
        6,
    ),
    (
        "eip155:137/erc20:0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359",
        "USDC",
        6,
    ),
    (
        "eip155:137/erc20:0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174",
        "USDC.e",
        6,
    ),
    // Arbitrum One: USDT came over the Arbitrum bridge (USDT0 since 2025, same contract). USDC by Circle; USDC.e bridged.
    (
        "eip155:42161/erc20:0xFd086bC7CD5C481DCC9C85ebE478A1C0b69FCbb9",
        "USDT",
        6,
    ),
    (
        "eip155:42161/erc20:0xaf88d065e77c8cC2239327C5EDb3A432268e5831",
        "USDC",
        6,
    ),
    (
        "eip155:42161/erc20:0xFF970A61A04b1cA14834A43f5dE4533eBDDB5CC8",
        "USDC.e",
        6,
    ),
    // Optimism: USDT over the standard bridge (USDT0 is another contract there and not listed). USDC by Circle; USDC.e
    // bridged.
    (
        "eip155:10/erc20:0x94b008aA00579c1307B0EF2c499aD98a8ce58e58",
        "USDT",
        6,
    ),
    (
        "eip155:10/erc20:0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85",
        "USDC",
        6,
    ),
    (
        "eip155:10/erc20:0x7F5c764cBc14f9669B88837ca1490cCa17c31607",
        "USDC.e",
        6,
    ),
    // Base: USDC by Circle. Tether issues none here: this USDT is Ethereum's, over the standard bridge.
    (
        "eip155:8453/erc20:0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        "USDC",
        6,
    ),
    (
        "eip155:8453/erc20:0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2",
        "USDT",
        6,
    ),
    // Tron: Tether. Circle stopped issuing USDC on Tron in February 2024; the contract still exists.
    (
        "tron:0x2b6653dc/trc20:TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
        "USDT",
        6,
    ),
    (
        "tron:0x2b6653dc/trc20:TEkxiTehnzSmSe2XqrBj4w32RUN966rdz8",
        "USDC",
        6,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Amount;

    #[test]
    fn every_line_of_the_tables_is_a_registered_asset() {
        assert_eq!(registry().len(), COINS.len() + TOKENS.len());
        assert_eq!(REGISTRY.by_id.len(), registry().len(), "no id twice");
        for (id, symbol, decimals) in TOKENS {
            let found = lookup(&id.parse().unwrap()).unwrap();
            assert_eq!((found.symbol, found.decimals), (*symbol, *decimals), "{id}");
        }
    }

    #[test]
    fn usdt_and_usdc_have_18_decimals_on_bsc_and_6_elsewhere() {
        for asset in registry()
            .iter()
            .filter(|asset| asset.symbol.starts_with("USD"))
        {
            let bsc = asset.id.network().chain_id() == Some(56);
            assert_eq!(asset.decimals, if bsc { 18 } else { 6 }, "{}", asset.id);
        }
    }

    #[test]
    fn every_supported_network_has_usdt_and_usdc() {
        for network in [
            "eip155:1",
            "eip155:56",
            "eip155:137",
            "eip155:42161",
            "eip155:10",
            "eip155:8453",
            "tron:0x2b6653dc",
        ] {
            let network: Network = network.parse().unwrap();
            for symbol in ["USDT", "USDC"] {
                let count = registry()
                    .iter()
                    .filter(|a| a.symbol == symbol && *a.id.network() == network)
                    .count();
                assert_eq!(count, 1, "{symbol} on {network}");
            }
        }
    }

    #[test]
    fn the_same_contract_on_another_network_is_unknown() {
        let id: AssetId = "eip155:8453/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7"
            .parse()
            .unwrap();
        assert_eq!(lookup(&id), None);
    }

    #[test]
    fn one_usdt_is_shown_as_1_with_the_pinned_decimals() {
        let bsc: AssetId = "eip155:56/erc20:0x55d398326f99059ff775485246999027b3197955"
            .parse()
            .unwrap();
        let amount: Amount = "1000000000000000000".parse().unwrap();
        assert_eq!(amount.to_units(lookup(&bsc).unwrap().decimals), "1");
    }
}
