//! What an unsigned transaction means: the thing that people approve and policy decides on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::Address;
use crate::amount::Amount;
use crate::caip::{AssetId, Network};
use crate::text::serde_as_text;

/// The meaning of one unsigned transaction, decoded from its bytes by [`decode`](crate::decode).
///
/// Two transactions with equal intents may still have different bytes (an access list, for example): what is signed is
/// named by the digest, never by the intent. Everything that moves value or permits to move it is listed; what the decoder
/// does not understand is an explicit kind of its own, never an empty list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The only network on which the signature will be valid.
    pub network: Network,
    /// What the transaction does.
    pub kind: IntentKind,
    /// The account that signs and pays the fee. EVM transactions do not name it: `None` until
    /// [`Intent::with_sender`] puts in the address of the signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
    /// Every movement of value in the order in which it happens; also native coin sent along with a contract call.
    pub transfers: Vec<Transfer>,
    /// Every allowance given to somebody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Allowance>,
    /// The most that the network may charge as a fee, in its native coin.
    pub max_fee: Fee,
    /// How long a signature could be used on chain.
    pub lifetime: Lifetime,
    /// A text or data that the chain publishes with the transaction (Tron `data`), as `0x` hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<HexBytes>,
    /// The account permission under which it is signed (Tron `Permission_id`, when not 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_id: Option<i32>,
    /// What a person should look at before approving, in the order of [`Warning`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What a transaction does. Everything that is not understood completely is its own kind, which policy denies unless a rule
/// names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum IntentKind {
    /// The network's own coin moves from the signer; nothing is called with data.
    NativeTransfer,
    /// `transfer(address,uint256)` of a token contract.
    TokenTransfer,
    /// `transferFrom(address,address,uint256)`: moves what another account allowed. The same selector moves an ERC-721
    /// token, whose id is then shown as the amount: only a known asset tells which.
    TokenTransferFrom,
    /// `approve(address,uint256)`: lets somebody else move tokens later.
    TokenApprove,
    /// A call of a contract with any other data.
    ContractCall(ContractCall),
    /// A Tron contract type other than a transfer or a smart contract call (staking, delegation, permission changes ...).
    OtherContract {
        /// The number of the type in Tron's `ContractType` enum.
        contract_type: i32,
        /// The message name in the `type_url`.
        name: String,
        /// keccak-256 of the message, so that a rule or an approval can name it exactly.
        data_hash: HexBytes,
    },
}

/// A call that the decoder does not interpret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractCall {
    /// The account called. It may also be one without code.
    pub contract: Address,
    /// The first four bytes of the data, or `None` when it is shorter.
    pub selector: Option<Selector>,
    /// keccak-256 of the whole data, so that a rule or an approval can name it exactly.
    pub data_hash: HexBytes,
}

/// One movement of value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// What moves.
    pub asset: AssetId,
    /// Whose it is, when it is not the signer's (`transferFrom`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
    /// Who receives it.
    pub to: Address,
    /// How much, in base units.
    pub amount: Amount,
}

/// An allowance: `spender` may move up to `amount` of `asset` later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// What may be moved.
    pub asset: AssetId,
    /// Who may move it.
    pub spender: Address,
    /// How much, in base units; 2^256 - 1 is without limit.
    pub amount: Amount,
}

/// An upper bound of what a transaction costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fee {
    /// The native coin.
    pub asset: AssetId,
    /// In base units.
    pub amount: Amount,
}

/// How long a signature could be used on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Lifetime {
    /// For ever, until the account uses this nonce for another transaction.
    Evm {
        /// EIP-155 chain id.
        #[serde(with = "decimal_u64")]
        chain_id: u64,
        /// The account's transaction counter.
        #[serde(with = "decimal_u64")]
        nonce: u64,
        /// The signing account, once known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<Address>,
    },
    /// Until a time, on the fork that contains the reference block.
    Tron {
        /// Milliseconds since 1970 after which no block may include it.
        expires_at_ms: u64,
        /// Milliseconds since 1970 at which it says it was made.
        timestamp_ms: u64,
        /// Bytes 6 and 7 of the reference block's number.
        ref_block_bytes: HexBytes,
        /// Bytes 8 to 15 of the reference block's hash.
        ref_block_hash: HexBytes,
    },
    /// About 150 blocks (a minute) from the block with this hash.
    Solana {
        /// The recent blockhash, base58.
        blockhash: String,
    },
}

/// What a person should look at. Sorted, without duplicates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Warning {
    /// The token is not in the asset registry: its name, decimals and behaviour are unknown.
    UnknownToken(AssetId),
    /// This selector means an amount for ERC-20 and a token id for ERC-721, and the contract is unknown.
    AmountMayBeTokenId(AssetId),
    /// An allowance of 2^256 - 1.
    UnlimitedApproval(AssetId),
    /// The data of the call was not interpreted: it can do anything that the account may do.
    UnknownCall,
    /// A transaction type that is not interpreted beyond its name.
    UninterpretedContract,
    /// Value goes to the zero address: it is lost.
    ZeroAddress,
    /// Tokens go to their own contract: they are most probably lost.
    TokenToItsContract(AssetId),
    /// The chain publishes a memo with the transaction.
    Memo,
    /// It is signed under another permission of the account than the owner's.
    NonDefaultPermission,
    /// A rollup charges for its layer 1 data besides, which no field of the transaction bounds.
    UnboundedDataFee,
    /// A token call that may burn nothing: the fee limit is 0, so the call fails unless the account staked for energy.
    NoFeeLimit,
}

/// The transaction names another sender than the account that shall sign it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transaction is from {stated} but the signing account is {signer}")]
pub struct SenderMismatch {
    /// In the bytes.
    pub stated: Address,
    /// Of the key.
    pub signer: Address,
}

impl Intent {
    /// The same intent with the signing account filled in where the bytes do not carry it (EVM).
    ///
    /// # Errors
    /// [`SenderMismatch`] when the bytes name another account, or `sender` has the form of another network.
    pub fn with_sender(mut self, sender: &Address) -> Result<Self, SenderMismatch> {
        match self.from {
            Some(stated) if stated != *sender => {
                return Err(SenderMismatch {
                    stated,
                    signer: *sender,
                });
            }
            _ => {}
        }
        if let Lifetime::Evm { account, .. } = &mut self.lifetime {
            *account = Some(*sender);
        }
        self.from = Some(*sender);
        Ok(self)
    }

    /// What this transaction competes with: of all EVM transactions with one key (`eip155:1/<account>/<nonce>`) the chain
    /// takes only one. `None` where a transaction cannot be replaced (Tron, Solana), or before the sender is known.
    #[must_use]
    pub fn replacement_key(&self) -> Option<String> {
        match &self.lifetime {
            Lifetime::Evm {
                nonce,
                account: Some(account),
                ..
            } => Some(format!("{}/{account}/{nonce}", self.network)),
            _ => None,
        }
    }

    /// Every asset that the transaction moves or permits to move, without the fee, sorted.
    #[must_use]
    pub fn assets(&self) -> Vec<AssetId> {
        let moved = self.transfers.iter().map(|transfer| transfer.asset);
        let allowed = self.approvals.iter().map(|allowance| allowance.asset);
        let mut assets: Vec<_> = moved.chain(allowed).collect();
        assets.sort();
        assets.dedup();
        assets
    }
}

impl IntentKind {
    /// All names that [`IntentKind::name`] gives.
    pub const NAMES: [&'static str; 6] = [
        "native-transfer",
        "token-transfer",
        "token-transfer-from",
        "token-approve",
        "contract-call",
        "other-contract",
    ];

    /// The kind without its data: `native-transfer`, `token-transfer`, `token-transfer-from`, `token-approve`,
    /// `contract-call`, `other-contract`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NativeTransfer => "native-transfer",
            Self::TokenTransfer => "token-transfer",
            Self::TokenTransferFrom => "token-transfer-from",
            Self::TokenApprove => "token-approve",
            Self::ContractCall(_) => "contract-call",
            Self::OtherContract { .. } => "other-contract",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownToken(asset) => write!(
                f,
                "{asset} is not in the asset registry: check the contract address"
            ),
            Self::AmountMayBeTokenId(asset) => {
                write!(
                    f,
                    "{asset} may be an ERC-721 contract: the amount would be a token id"
                )
            }
            Self::UnlimitedApproval(asset) => write!(f, "the allowance of {asset} has no limit"),
            Self::UnknownCall => f.write_str(
                "the call data is not interpreted: it can do anything the account may do",
            ),
            Self::UninterpretedContract => {
                f.write_str("this type of transaction is not interpreted: it may do anything and cost more than the maximum fee")
            }
            Self::ZeroAddress => f.write_str("value goes to the zero address, where it is lost"),
            Self::TokenToItsContract(asset) => write!(
                f,
                "{asset} goes to its own contract, where it is probably lost"
            ),
            Self::Memo => f.write_str("the chain publishes a memo with the transaction"),
            Self::NonDefaultPermission => {
                f.write_str("it is signed under another permission than the owner's")
            }
            Self::UnboundedDataFee => f.write_str(
                "the rollup charges for layer 1 data besides the maximum fee, without a bound",
            ),
            Self::NoFeeLimit => f.write_str(
                "the fee limit is 0: the call fails unless the account has staked energy",
            ),
        }
    }
}

/// The first four bytes of call data; text form `0x` and 8 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(pub [u8; 4]);

/// Bytes with the text form `0x` and lower-case hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HexBytes(pub Vec<u8>);

/// The text is not `0x` and an even number of lower-case hex digits of the right length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 0x and lower-case hex digits of the right length")]
pub struct HexError;

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Selector {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let bytes: HexBytes = text.parse()?;
        bytes.0.try_into().map(Self).map_err(|_| HexError)
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(&self.0))
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HexBytes {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let digits = text.strip_prefix("0x").ok_or(HexError)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(HexError);
        }
        hex::decode(digits).map(Self).map_err(|_| HexError)
    }
}

serde_as_text!(Selector, "0x and 8 hex digits");
serde_as_text!(HexBytes, "0x and hex digits");

/// 64-bit integers that may exceed 2^53 travel as decimal strings (RFC 8785 numbers are doubles).
mod decimal_u64 {
    use super::{Deserializer, Serialize, Serializer};
    use crate::amount::Amount;

    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        Amount::from(*value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        crate::text::parse(
            deserializer,
            "a 64-bit number as a decimal string",
            |text| {
                let number = Amount::from_decimal(text).map_err(|error| error.to_string())?;
                number
                    .to_u128()
                    .and_then(|n| u64::try_from(n).ok())
                    .ok_or_else(|| "the number is above 2^64 - 1".to_owned())
            },
        )
    }
}
