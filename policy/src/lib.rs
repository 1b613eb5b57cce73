//! countersign-policy
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod address;
mod amount;
pub mod assets;
mod caip;
mod derive;
mod intent;
mod key;
mod text;
mod tx;

pub use address::{Address, AddressError};
pub use amount::{Amount, AmountError};
pub use assets::Asset;
pub use caip::{AssetId, CaipError, Network, SolanaCluster, TronNetwork};
pub use derive::{ChainCode, ChainCodeError, DerivationError, DerivationPath, ExtendedPublicKey};
pub use intent::{
    Allowance, ContractCall, Fee, HexBytes, HexError, Intent, IntentKind, Lifetime, Selector,
    SenderMismatch, Transfer, Warning,
};
pub use key::{
    Ed25519Point, PublicKey, PublicKeyError, Secp256k1Point, Signature, SignatureFormatError,
};
pub use tx::{
    AssembleError, CallError, DecodeError, DecodedTransaction, EvmError, HashAlgorithm,
    MAX_FEE_LIMIT_SUN, MAX_LIFETIME_MS, MAX_TRANSACTION_BYTES, SignedTransaction, SigningDigest,
    SolanaError, TronError, decode,
};
