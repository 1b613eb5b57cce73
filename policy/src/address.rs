//! Account addresses, canonical per network.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::Address as EvmAddress;

use crate::caip::Network;
use crate::text::serde_as_text;

/// Tron's version byte in front of the 20 address bytes.
pub(crate) const TRON_PREFIX: u8 = 0x41;

/// An account or contract address.
///
/// The text form is canonical per network family: EVM `0x` and 40 hex digits with the EIP-55 checksum, Tron base58check
/// over `0x41` and 20 bytes (`T...`), Solana base58 of 32 bytes. The three forms never overlap, so a text alone tells
/// the family; whether it belongs to a network is [`Address::matches`]. EVM input in one case carries no checksum and is
/// read as such; in mixed case its checksum must hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// 20 bytes: the end of the keccak-256 of the public key, or a contract.
    Evm([u8; 20]),
    /// The same 20 bytes on Tron, without the `0x41` prefix.
    Tron([u8; 20]),
    /// An Ed25519 public key or a program address.
    Solana([u8; 32]),
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No form of any network.
    #[error(
        "not an address: expected 0x and 40 hex digits (EVM), T... (Tron) or base58 of 32 bytes (Solana)"
    )]
    Malformed,
    /// Mixed-case hex whose EIP-55 checksum is wrong: probably a typing error.
    #[error("the EIP-55 checksum of the address is wrong: check it for typing errors")]
    BadChecksum,
    /// Base58check whose checksum or version byte is wrong.
    #[error(
        "the base58check checksum or version of the Tron address is wrong: check it for typing errors"
    )]
    BadBase58Check,
    /// An address of another network family.
    #[error("the address does not belong to network {network}")]
    OtherNetwork {
        /// The network it was meant for.
        network: Network,
    },
}

impl Address {
    /// Reads an address of `network`.
    ///
    /// # Errors
    /// [`AddressError`] when it is malformed, its checksum is wrong, or it belongs to another network family.
    pub fn parse(network: &Network, text: &str) -> Result<Self, AddressError> {
        let address: Self = text.parse()?;
        if address.matches(network) {
            Ok(address)
        } else {
            Err(AddressError::OtherNetwork { network: *network })
        }
    }

    /// True when the address has the form that `network` uses.
    #[must_use]
    pub const fn matches(&self, network: &Network) -> bool {
        matches!(
            (self, network),
            (Self::Evm(_), Network::Evm { .. })
                | (Self::Tron(_), Network::Tron(_))
                | (Self::Solana(_), Network::Solana(_))
        )
    }

    /// The raw bytes: 20 for EVM and Tron (without prefix), 32 for Solana.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Evm(bytes) | Self::Tron(bytes) => bytes,
            Self::Solana(bytes) => bytes,
        }
    }

    fn parse_evm(digits: &str) -> Result<Self, AddressError> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| AddressError::Malformed)?;
        let mixed = digits.bytes().any(|b| b.is_ascii_lowercase())
            && digits.bytes().any(|b| b.is_ascii_uppercase());
        if mixed && EvmAddress::from(bytes).to_checksum(None).strip_prefix("0x") != Some(digits) {
            return Err(AddressError::BadChecksum);
        }
        Ok(Self::Evm(bytes))
    }

    fn parse_tron(text: &str) -> Result<Self, AddressError> {
        let mut bytes = [0; 25];
        let length = bs58::decode(text)
            .with_check(Some(TRON_PREFIX))
            .onto(&mut bytes)
            .map_err(|_| AddressError::BadBase58Check)?;
        let body = bytes
            .get(..length)
            .and_then(<[u8]>::split_first)
            .map(|(_, body)| body);
        body.and_then(|body| body.try_into().ok())
            .map(Self::Tron)
            .ok_or(AddressError::Malformed)
    }

    fn parse_solana(text: &str) -> Result<Self, AddressError> {
        let mut bytes = [0; 32];
        match bs58::decode(text).onto(&mut bytes) {
            Ok(32) => Ok(Self::Solana(bytes)),
            _ => Err(AddressError::Malformed),
        }
    }
}

/// All Tron addresses have 34 characters; 32 bytes in base58 need 32 to 44, and one that begins with `T` at least 43.
const TRON_TEXT_LENGTH: usize = 34;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("0x") {
            Some(digits) => Self::parse_evm(digits),
            None if text.len() == TRON_TEXT_LENGTH && text.starts_with('T') => {
                Self::parse_tron(text)
            }
            None if text.len() <= 44 => Self::parse_solana(text),
            None => Err(AddressError::Malformed),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evm(bytes) => f.write_str(&EvmAddress::from(*bytes).to_checksum(None)),
            Self::Tron(bytes) => f.write_str(
                &bs58::encode(bytes)
                    .with_check_version(TRON_PREFIX)
                    .into_string(),
            ),
            Self::Solana(bytes) => f.write_str(&bs58::encode(bytes).into_string()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

serde_as_text!(Address, "an EVM, Tron or Solana address");

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of EIP-55.
    const EIP55: [&str; 8] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn the_examples_of_eip_55_read_and_write_alike() {
        for text in EIP55 {
            assert_eq!(
                Address::parse(&Network::ETHEREUM, text)
                    .unwrap()
                    .to_string(),
                text
            );
            let lower: Address = text.to_lowercase().parse().unwrap();
            assert_eq!(
                lower.to_string(),
                text,
                "input in one case has no checksum, output always has"
            );
        }
    }

    #[test]
    fn a_wrong_eip_55_checksum_is_refused() {
        let wrong = "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(wrong.parse::<Address>(), Err(AddressError::BadChecksum));
    }

    #[test]
    fn tron_addresses_are_base58check_with_version_0x41() {
        let usdt = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t";
        let address = Address::parse(&Network::TRON, usdt).unwrap();
        assert_eq!(
            hex::encode(address.as_bytes()),
            "a614f803b6fd780986a42c78ec9c7f77e6ded13c"
        );
        assert_eq!(address.to_string(), usdt);
        assert_eq!(
            "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u".parse::<Address>(),
            Err(AddressError::BadBase58Check)
        );
    }

    #[test]
    fn an_address_of_another_network_is_refused() {
        for (network, text) in [
            (Network::TRON, EIP55[4]),
            (Network::ETHEREUM, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"),
            (Network::SOLANA, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"),
            (
                Network::TRON,
                "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
            ),
        ] {
            assert_eq!(
                Address::parse(&network, text),
                Err(AddressError::OtherNetwork { network })
            );
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in [
            "",
            "0x",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
            "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "1111111111111111111111111111111",
            "0l",
            " EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
