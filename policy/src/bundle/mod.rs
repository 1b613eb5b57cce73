//! The policy bundle: who is who, which keys and wallets exist, where money may go, and how much at once.
//!
//! A bundle is a quorum-signed statement. Each version names its predecessor; nodes pin the hash of the first one (the
//! genesis) and follow the chain from there. [`ActiveBundle`] is a bundle whose signatures, chain and content were all
//! checked, and the only form that anything is decided under.

mod chain;
mod model;
mod openers;
mod owners;
mod places;
mod succession;
#[cfg(test)]
pub(crate) mod tests;
mod validate;

pub use chain::{ActiveBundle, BundleChain, ChainError, MAX_BUNDLE_LIFE_SECONDS};
pub use model::{
    AddressBookEntry, AssetRecord, CedarFile, Credential, CredentialAlgorithm, Destinations,
    Domains, Environment, FeeCap, Group, KeyRecord, KeyState, Member, MemberKey,
    MemberKeyAlgorithm, PolicyBundle, Quorums, Role, Timing, TransferKind, TransferRule, Wallet,
    WalletTier, WebAuthnPolicy,
};
pub use openers::OpenError;
pub use succession::{
    AckQuorum, Activatable, ActivationEvidence, EvidenceError, Pending, Succession,
    SuccessionError, SuccessionStanding,
};
pub(crate) use validate::needs_problems;
pub use validate::{BundleProblem, ValidationError};
