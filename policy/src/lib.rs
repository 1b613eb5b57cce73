//! What everybody in Countersign agrees on, without I/O: statements and their envelopes, what transactions mean, the policy
//! bundle, and the decision.
//!
//! The crate reads no clock, opens no file and has no async code, so that coordinator, signer, command line and offline
//! machine come to the same answer from the same bytes.
//!
//! ```
//! use countersign_policy::{Hash, IdentityKey, IdentityPublicKey};
//!
//! let key = IdentityKey::from_seed(&[7; 32]);
//! let public: IdentityPublicKey = key.public();
//! assert!(public.is_usable());
//! assert_ne!(Hash::derive("a", &[b"b"]), Hash::sha256(b"ab"));
//! ```
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

pub mod access;
mod address;
mod amount;
pub mod approvals;
pub mod assets;
mod caip;
mod children;
mod derive;
mod intent;
mod key;
mod text;
mod tx;

pub use address::{Address, AddressError};
pub use amount::{Amount, AmountError};
pub use assets::Asset;
pub use caip::{AssetId, CaipError, Network, SolanaCluster, TronNetwork};
pub use children::ChildKeys;
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

pub mod bundle;
pub mod canonical;
pub mod cold;
mod decide;
mod envelope;
mod freeze;
mod hash;
mod id;
pub mod limits;
mod plain;
mod protocol;
pub mod rules;
pub mod statement;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
pub mod webauthn;

pub use decide::{
    Change, Considered, Decision, Explanation, Facts, FactsError, Finding, Outcome, Reason,
    RuleKind, Standing, WhatIf, decide, explain,
};
pub use envelope::{
    Envelope, EnvelopeError, EnvelopeSignature, IdentityKey, IdentityPublicKey, MAX_PAYLOAD,
    MAX_SIGNATURES, SignatureBytes,
};
pub use freeze::{FreezeHit, FreezeSet, Touched};
pub use hash::{Hash, HashError};
pub use id::{
    ExternalId, GroupId, IdError, KeyId, LedgerGroupId, LimitId, MemberId, RuleId, StatementId,
    WalletId,
};
pub use protocol::Protocol;
pub use time::{Timestamp, TimestampError};
