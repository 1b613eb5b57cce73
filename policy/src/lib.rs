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
mod caip;
mod derive;
mod intent;
mod key;
mod text;

pub use address::{Address, AddressError};
pub use amount::{Amount, AmountError};
pub use caip::{AssetId, CaipError, Network, SolanaCluster, TronNetwork};
pub use derive::{ChainCode, ChainCodeError, DerivationError, DerivationPath, ExtendedPublicKey};
pub use intent::{
    Allowance, ContractCall, Fee, HexBytes, HexError, Intent, IntentKind, Lifetime, Selector,
    SenderMismatch, Transfer, Warning,
};
pub use key::{
    Ed25519Point, PublicKey, PublicKeyError, Secp256k1Point, Signature, SignatureFormatError,
};
