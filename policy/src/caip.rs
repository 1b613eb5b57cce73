//! Networks and assets by their chain-agnostic names (CAIP-2, CAIP-19).

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use crate::address::{Address, AddressError};
use crate::text::serde_as_text;

/// A blockchain network, written as its [CAIP-2](https://chainagnostic.org/CAIPs/caip-2) name: `eip155:1`,
/// `tron:0x2b6653dc`, `solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp`. Ordered as these texts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// An EVM chain by its EIP-155 chain id. Id 0 is no chain: signatures for it would hold on every chain.
    Evm {
        /// The EIP-155 chain id.
        chain_id: NonZeroU64,
    },
    /// A Tron network.
    Tron(TronNetwork),
    /// A Solana cluster.
    Solana(SolanaCluster),
}

/// The Tron networks, each named by the last four bytes of its genesis block's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TronNetwork {
    /// `tron:0x2b6653dc`
    Mainnet,
    /// `tron:0xcd8690dc`, a test network.
    Nile,
    /// `tron:0x94a9059e`, a test network.
    Shasta,
}

/// The Solana clusters, each named by the first 32 characters of its genesis hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SolanaCluster {
    /// `solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp`
    Mainnet,
    /// `solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1`
    Devnet,
    /// `solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z`
    Testnet,
}

/// Why a text names no network or asset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaipError {
    /// Not `namespace:reference`.
    #[error(
        "{0:?} is no CAIP-2 network: expected namespace:reference such as eip155:1 or tron:0x2b6653dc"
    )]
    NotANetwork(String),
    /// A namespace that Countersign does not sign for.
    #[error("network namespace {0:?} is not supported: use eip155, tron or solana")]
    UnknownNamespace(String),
    /// `eip155:` with something else than a canonical decimal number of 64 bits.
    #[error(
        "{0:?} is no EIP-155 chain id: expected a decimal number without leading zeros, at most 2^64 - 1"
    )]
    BadChainId(String),
    /// Chain id 0.
    #[error("chain id 0 is refused: a signature for it is valid on every chain")]
    ChainIdZero,
    /// A Tron or Solana reference that is not in the list.
    #[error("{namespace} has no known network {reference:?}")]
    UnknownReference {
        /// `tron` or `solana`.
        namespace: &'static str,
        /// What was given.
        reference: String,
    },
    /// Not `network/namespace:reference`.
    #[error(
        "{0:?} is no CAIP-19 asset: expected network/namespace:reference such as eip155:1/erc20:0x.."
    )]
    NotAnAsset(String),
    /// An asset namespace that this network does not have.
    #[error("network {network} has no assets of kind {namespace:?}")]
    WrongAssetKind {
        /// The network part.
        network: Network,
        /// The asset namespace part.
        namespace: String,
    },
    /// `slip44:` with a coin type other than the network's own coin.
    #[error("the native coin of {network} is slip44:{expected}, not slip44:{found}")]
    WrongCoin {
        /// The network part.
        network: Network,
        /// Its coin type (SLIP-44).
        expected: u32,
        /// What was given.
        found: String,
    },
    /// A token contract that is no address of its network.
    #[error("the token contract is no address of its network")]
    BadContract(#[from] AddressError),
}

impl Network {
    /// Ethereum mainnet.
    pub const ETHEREUM: Self = Self::Evm {
        chain_id: NonZeroU64::MIN,
    };
    /// Tron mainnet.
    pub const TRON: Self = Self::Tron(TronNetwork::Mainnet);
    /// Solana mainnet.
    pub const SOLANA: Self = Self::Solana(SolanaCluster::Mainnet);

    /// The EVM chain with this EIP-155 id.
    ///
    /// # Errors
    /// [`CaipError::ChainIdZero`] for 0.
    pub const fn evm(chain_id: u64) -> Result<Self, CaipError> {
        match NonZeroU64::new(chain_id) {
            Some(chain_id) => Ok(Self::Evm { chain_id }),
            None => Err(CaipError::ChainIdZero),
        }
    }

    /// The EIP-155 chain id of an EVM network.
    #[must_use]
    pub const fn chain_id(&self) -> Option<u64> {
        match self {
            Self::Evm { chain_id } => Some(chain_id.get()),
            Self::Tron(_) | Self::Solana(_) => None,
        }
    }

    /// The network's own coin, in which fees are paid.
    #[must_use]
    pub const fn native_asset(&self) -> AssetId {
        AssetId {
            network: *self,
            kind: AssetKind::Native,
        }
    }

    /// The SLIP-44 coin type of the native coin. EVM chains whose coin has a type of its own (BNB 714, POL 966) use it,
    /// as CAIP-19 asks; all others count as ether, 60.
    #[must_use]
    pub const fn coin_type(&self) -> u32 {
        match self {
            Self::Evm { chain_id } => match chain_id.get() {
                56 | 97 => 714,
                137 | 80002 => 966,
                _ => 60,
            },
            Self::Tron(_) => 195,
            Self::Solana(_) => 501,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evm { chain_id } => write!(f, "eip155:{chain_id}"),
            Self::Tron(TronNetwork::Mainnet) => f.write_str("tron:0x2b6653dc"),
            Self::Tron(TronNetwork::Nile) => f.write_str("tron:0xcd8690dc"),
            Self::Tron(TronNetwork::Shasta) => f.write_str("tron:0x94a9059e"),
            Self::Solana(SolanaCluster::Mainnet) => {
                f.write_str("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp")
            }
            Self::Solana(SolanaCluster::Devnet) => {
                f.write_str("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1")
            }
            Self::Solana(SolanaCluster::Testnet) => {
                f.write_str("solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z")
            }
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({self})")
    }
}

impl FromStr for Network {
    type Err = CaipError;

    fn from_str(text: &str) -> Result<Self, CaipError> {
        let (namespace, reference) = text
            .split_once(':')
            .ok_or_else(|| CaipError::NotANetwork(shortened(text)))?;
        match namespace {
            "eip155" => {
                let canonical = reference.bytes().all(|b| b.is_ascii_digit())
                    && (reference.len() == 1 || !reference.starts_with('0'));
                let chain_id = reference.parse::<u64>().ok().filter(|_| canonical);
                Self::evm(chain_id.ok_or_else(|| CaipError::BadChainId(shortened(reference)))?)
            }
            "tron" => match reference {
                "0x2b6653dc" => Ok(Self::Tron(TronNetwork::Mainnet)),
                "0xcd8690dc" => Ok(Self::Tron(TronNetwork::Nile)),
                "0x94a9059e" => Ok(Self::Tron(TronNetwork::Shasta)),
                _ => Err(CaipError::UnknownReference {
                    namespace: "tron",
                    reference: shortened(reference),
                }),
            },
            "solana" => match reference {
                "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp" => Ok(Self::Solana(SolanaCluster::Mainnet)),
                "EtWTRABZaYq6iMfeYKouRu166VU2xqa1" => Ok(Self::Solana(SolanaCluster::Devnet)),
                "4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z" => Ok(Self::Solana(SolanaCluster::Testnet)),
                _ => Err(CaipError::UnknownReference {
                    namespace: "solana",
                    reference: shortened(reference),
                }),
            },
            _ => Err(CaipError::UnknownNamespace(shortened(namespace))),
        }
    }
}

serde_as_text!(Network, "a CAIP-2 network such as eip155:1");

/// An asset, written as its [CAIP-19](https://chainagnostic.org/CAIPs/caip-19) name:
/// `eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7` (contract in lower case; EIP-55 mixed case is read and its
/// checksum verified), `eip155:1/slip44:60`, `tron:0x2b6653dc/trc20:T..`. Ordered as these texts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AssetId {
    network: Network,
    kind: AssetKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum AssetKind {
    /// The network's own coin.
    Native,
    /// An ERC-20 or TRC-20 contract.
    Contract([u8; 20]),
    /// An SPL token mint.
    Mint([u8; 32]),
}

impl AssetId {
    /// The token at `contract` (for Solana: with this mint) on `network`.
    ///
    /// # Errors
    /// [`AddressError::OtherNetwork`] when `contract` is no address of `network`.
    pub fn token(network: &Network, contract: &Address) -> Result<Self, AddressError> {
        let kind = match (network, contract) {
            (Network::Evm { .. }, Address::Evm(bytes))
            | (Network::Tron(_), Address::Tron(bytes)) => AssetKind::Contract(*bytes),
            (Network::Solana(_), Address::Solana(bytes)) => AssetKind::Mint(*bytes),
            _ => return Err(AddressError::OtherNetwork { network: *network }),
        };
        Ok(Self {
            network: *network,
            kind,
        })
    }

    /// Where the asset lives.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// True for the network's own coin.
    #[must_use]
    pub const fn is_native(&self) -> bool {
        matches!(self.kind, AssetKind::Native)
    }

    /// The token contract or mint; `None` for the native coin.
    #[must_use]
    pub const fn contract(&self) -> Option<Address> {
        match (&self.kind, &self.network) {
            (AssetKind::Native, _) => None,
            (AssetKind::Contract(bytes), Network::Tron(_)) => Some(Address::Tron(*bytes)),
            (AssetKind::Contract(bytes), _) => Some(Address::Evm(*bytes)),
            (AssetKind::Mint(bytes), _) => Some(Address::Solana(*bytes)),
        }
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = &self.network;
        match self.contract() {
            None => write!(f, "{network}/slip44:{}", network.coin_type()),
            Some(Address::Evm(bytes)) => write!(f, "{network}/erc20:0x{}", hex::encode(bytes)),
            Some(contract @ Address::Tron(_)) => write!(f, "{network}/trc20:{contract}"),
            Some(contract @ Address::Solana(_)) => write!(f, "{network}/token:{contract}"),
        }
    }
}

impl fmt::Debug for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssetId({self})")
    }
}

impl FromStr for AssetId {
    type Err = CaipError;

    fn from_str(text: &str) -> Result<Self, CaipError> {
        let malformed = || CaipError::NotAnAsset(shortened(text));
        let (network, asset) = text.split_once('/').ok_or_else(malformed)?;
        let (namespace, reference) = asset.split_once(':').ok_or_else(malformed)?;
        let network: Network = network.parse()?;
        let token = |network: &Network| {
            let contract = Address::parse(network, reference)?;
            Ok(Self::token(network, &contract)?)
        };
        match (namespace, &network) {
            ("slip44", _) => {
                let expected = network.coin_type();
                if reference == expected.to_string() {
                    Ok(network.native_asset())
                } else {
                    Err(CaipError::WrongCoin {
                        network,
                        expected,
                        found: shortened(reference),
                    })
                }
            }
            ("erc20", Network::Evm { .. })
            | ("trc20", Network::Tron(_))
            | ("token", Network::Solana(_)) => token(&network),
            _ => Err(CaipError::WrongAssetKind {
                network,
                namespace: shortened(namespace),
            }),
        }
    }
}

serde_as_text!(AssetId, "a CAIP-19 asset such as eip155:1/slip44:60");

// Maps keyed by these types reach signed JSON, whose keys are ordered as text: the types follow.
impl Ord for Network {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl PartialOrd for Network {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for AssetId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl PartialOrd for AssetId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Hostile text in an error message, bounded.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_back_as_written() {
        for text in [
            "eip155:1",
            "eip155:56",
            "eip155:18446744073709551615",
            "tron:0x2b6653dc",
            "tron:0xcd8690dc",
            "tron:0x94a9059e",
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp",
            "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1",
            "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z",
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn chain_id_zero_and_other_spellings_are_refused() {
        assert_eq!("eip155:0".parse::<Network>(), Err(CaipError::ChainIdZero));
        for text in [
            "eip155:01",
            "eip155:",
            "eip155:+1",
            "eip155:0x1",
            "eip155:18446744073709551616",
        ] {
            assert!(
                matches!(text.parse::<Network>(), Err(CaipError::BadChainId(_))),
                "{text}"
            );
        }
        assert!(matches!(
            "eip155".parse::<Network>(),
            Err(CaipError::NotANetwork(_))
        ));
        assert!(matches!(
            "EIP155:1".parse::<Network>(),
            Err(CaipError::UnknownNamespace(_))
        ));
        assert!(matches!(
            "tron:728126428".parse::<Network>(),
            Err(CaipError::UnknownReference { .. })
        ));
        assert!(matches!(
            "solana:mainnet".parse::<Network>(),
            Err(CaipError::UnknownReference { .. })
        ));
    }

    #[test]
    fn assets_are_read_back_as_written() {
        for text in [
            "eip155:1/slip44:60",
            "eip155:56/slip44:714",
            "eip155:137/slip44:966",
            "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7",
            "tron:0x2b6653dc/slip44:195",
            "tron:0x2b6653dc/trc20:TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/slip44:501",
            "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/token:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
        ] {
            assert_eq!(text.parse::<AssetId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_checksummed_contract_becomes_lower_case_and_a_wrong_checksum_is_refused() {
        let id: AssetId = "eip155:1/erc20:0xdAC17F958D2ee523a2206206994597C13D831ec7"
            .parse()
            .unwrap();
        assert_eq!(
            id.to_string(),
            "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7"
        );
        assert!(
            "eip155:1/erc20:0xDAC17F958D2ee523a2206206994597C13D831ec7"
                .parse::<AssetId>()
                .is_err()
        );
    }

    #[test]
    fn assets_of_another_network_are_refused() {
        for text in [
            "eip155:1/trc20:TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
            "tron:0x2b6653dc/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7",
            "eip155:1/slip44:195",
            "eip155:1/slip44:060",
            "eip155:1/erc721:0xdac17f958d2ee523a2206206994597c13d831ec7",
            "eip155:1",
            "eip155:1/erc20",
        ] {
            assert!(text.parse::<AssetId>().is_err(), "{text}");
        }
    }

    #[test]
    fn order_is_that_of_the_text() {
        let (one, ten, two) = (
            Network::ETHEREUM,
            Network::evm(10).unwrap(),
            Network::evm(2).unwrap(),
        );
        assert!(one < ten && ten < two);
    }
}
