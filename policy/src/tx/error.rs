//! Why a transaction is refused. Every message says what is wrong, where, and where it helps what to do.

use crate::address::AddressError;
use crate::caip::Network;
use crate::intent::SenderMismatch;
use crate::key::PublicKeyError;

/// Why bytes are not accepted as an unsigned transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes.
    #[error("there are no bytes to decode")]
    Empty,
    /// More than [`MAX_TRANSACTION_BYTES`](crate::MAX_TRANSACTION_BYTES).
    #[error("the transaction has {found} bytes, more than the {max} that are accepted")]
    TooLarge {
        /// Bytes given.
        found: usize,
        /// Bytes accepted.
        max: usize,
    },
    /// A signed transaction where an unsigned one is wanted.
    #[error("the transaction is signed already: give the unsigned transaction")]
    AlreadySigned,
    /// Decoding and encoding again gives other bytes (I4): a non-canonical form, unknown fields or trailing bytes.
    #[error(
        "the bytes are not the canonical encoding of the {what} in them: encode it again without unknown or repeated fields"
    )]
    NotCanonical {
        /// The part that differs.
        what: &'static str,
    },
    /// A token call that cannot be trusted to do what it says.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Refused by the rules for EVM chains.
    #[error(transparent)]
    Evm(#[from] EvmError),
    /// Refused by the rules for Tron.
    #[error(transparent)]
    Tron(#[from] TronError),
    /// Refused by the rules for Solana.
    #[error(transparent)]
    Solana(#[from] SolanaError),
    /// A value that belongs to another network.
    #[error("an address in the transaction does not fit its network")]
    Address(#[from] AddressError),
}

/// Why call data with the selector of `transfer`, `transferFrom` or `approve` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Too short, or bytes behind the last argument.
    #[error(
        "{method} takes exactly {expected} bytes of call data, found {found}: no missing or trailing bytes"
    )]
    Length {
        /// Solidity signature.
        method: &'static str,
        /// Bytes that the ABI gives.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// The twelve bytes in front of an address are not all zero.
    #[error(
        "argument {argument} of {method} is no clean address: the 12 bytes in front of it must be zero"
    )]
    DirtyAddress {
        /// Solidity signature.
        method: &'static str,
        /// Counted from 1.
        argument: usize,
    },
    /// Native coin sent along with a token call, which would be lost or refused by the contract.
    #[error("{method} carries native coin (value {value}): a token call must have value 0")]
    CarriesValue {
        /// Solidity signature.
        method: &'static str,
        /// Base units.
        value: String,
    },
}

/// Why an EVM transaction is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvmError {
    /// No valid RLP.
    #[error("malformed RLP in the transaction: {0}")]
    Rlp(alloy_rlp::Error),
    /// Bytes behind the outer list.
    #[error("{0} bytes follow the end of the transaction")]
    TrailingBytes(usize),
    /// A list of another length than the type has.
    #[error("an unsigned {form} transaction has {expected} fields, found {found}")]
    FieldCount {
        /// `legacy`, `EIP-2930` or `EIP-1559`.
        form: &'static str,
        /// By the standard.
        expected: usize,
        /// In the bytes.
        found: usize,
    },
    /// A legacy transaction without chain id.
    #[error(
        "the transaction has no chain id (pre-EIP-155), so its signature is valid on every chain: add chain id, 0, 0"
    )]
    PreEip155,
    /// Chain id 0.
    #[error(
        "the transaction has chain id 0, so its signature may be valid on every chain: use the chain's own id"
    )]
    ChainIdZero,
    /// Made for another chain.
    #[error("the transaction is for eip155:{found}, not for {network}")]
    OtherChain {
        /// The network asked for.
        network: Network,
        /// The chain id in the bytes.
        found: u64,
    },
    /// EIP-4844.
    #[error("blob transactions (type 0x03, EIP-4844) are not signed")]
    Blob,
    /// EIP-7702, transaction.
    #[error(
        "set-code transactions (type 0x04, EIP-7702) hand the account over to a contract and are not signed"
    )]
    SetCode,
    /// EIP-7702, authorization (magic 0x05).
    #[error(
        "this is an EIP-7702 authorization (0x05), which hands the account over to a contract, not a transaction"
    )]
    Delegation,
    /// EIP-191 or EIP-712 data.
    #[error("this is signed data (0x19, EIP-191 or EIP-712), not a transaction")]
    SignedData,
    /// Any other first byte.
    #[error(
        "unknown transaction type 0x{0:02x}: legacy, EIP-2930 (0x01) and EIP-1559 (0x02) are supported"
    )]
    UnknownType(u8),
    /// No destination.
    #[error("contract creation is not signed: the transaction has no destination")]
    ContractCreation,
    /// EIP-1559 forbids it.
    #[error("the priority fee per gas ({priority}) is above the maximum fee per gas ({max})")]
    PriorityAboveMax {
        /// Wei.
        priority: u128,
        /// Wei.
        max: u128,
    },
    /// Value and fee exceed 2^256 - 1.
    #[error("the maximum fee and the value do not fit in 256 bits together")]
    FeeOverflow,
    /// EIP-2681.
    #[error("the nonce is 2^64 - 1, which no account can use (EIP-2681)")]
    NonceTooHigh,
}

/// Why a Tron transaction is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TronError {
    /// No valid protobuf.
    #[error("malformed protobuf in {what}: {reason}")]
    Protobuf {
        /// The message.
        what: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// The outer `Transaction` message instead of its `raw_data`.
    #[error("this is a whole Transaction message: give the bytes of its raw_data field")]
    Wrapped,
    /// Not exactly one contract.
    #[error("the transaction has {0} contracts: exactly one is signed")]
    ContractCount(usize),
    /// A number that is no contract type.
    #[error("{0} is no known Tron contract type")]
    UnknownContractType(i32),
    /// Enum and `type_url` disagree.
    #[error("contract type {contract_type} is {expected} but its type_url says {type_url:?}")]
    TypeMismatch {
        /// The number.
        contract_type: i32,
        /// The full URL it stands for.
        expected: String,
        /// The text found, shortened.
        type_url: String,
    },
    /// A field that must be absent.
    #[error("field {0} is set: it is not understood, so nothing with it is signed")]
    UnexpectedField(&'static str),
    /// An int64 below zero.
    #[error("{0} is negative")]
    Negative(&'static str),
    /// A field of the wrong length.
    #[error("{field} has {found} bytes, expected {expected}")]
    Length {
        /// The field.
        field: &'static str,
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// An address without the 0x41 prefix.
    #[error("{0} is no Tron address: expected 0x41 and 20 bytes")]
    BadAddress(&'static str),
    /// Above the chain's own maximum.
    #[error("fee_limit {found} sun is above the chain's maximum of {max} sun")]
    FeeLimit {
        /// Sun.
        found: u64,
        /// Sun.
        max: u64,
    },
    /// Expires before it was made, or at no time at all.
    #[error("expiration is not after timestamp: set both, in milliseconds since 1970")]
    ExpirationBeforeTimestamp,
    /// Lives longer than the chain allows.
    #[error(
        "the transaction lives {found_ms} ms from timestamp to expiration, more than the {max_ms} ms that are signed"
    )]
    LivesTooLong {
        /// Milliseconds.
        found_ms: u64,
        /// Milliseconds.
        max_ms: u64,
    },
    /// A time after the year 9999.
    #[error("{0} is after the year 9999: times are in milliseconds since 1970")]
    TimeOutOfRange(&'static str),
    /// TRC-10 tokens sent along with a call.
    #[error("the call carries TRC-10 tokens (call_token_value, token_id), which are not signed")]
    CarriesToken,
}

/// Why a Solana message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolanaError {
    /// Ends too early, or is followed by bytes.
    #[error("malformed Solana message at {0}")]
    Malformed(&'static str),
    /// Valid or not, something else than a plain transfer.
    #[error(
        "not supported yet: {0}; only a legacy message with one System Program transfer and one signer is signed"
    )]
    NotSupported(&'static str),
}

/// Why a signature does not make a signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// The key or the signature is for the other curve.
    #[error("the signature or the public key is not of the curve that {network} uses")]
    WrongCurve {
        /// The transaction's network.
        network: Network,
    },
    /// ECDSA `s` in the upper half of the order (BIP-62, EIP-2): malleable.
    #[error("the signature has a high s: only the lower half of the order is accepted (EIP-2)")]
    HighS,
    /// It does not verify.
    #[error("the signature does not hold for this key and transaction")]
    Invalid,
    /// The bytes name another sender.
    #[error(transparent)]
    Sender(#[from] SenderMismatch),
    /// The key has no address on the network.
    #[error(transparent)]
    Key(#[from] PublicKeyError),
}
