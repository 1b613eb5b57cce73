//! Keys in a PKCS#11 token, used through a process of their own.
//!
//! A vendor's module is native code that crashes, hangs and lies. So it is loaded by `countersign-hsm-worker`, a small process
//! that holds the login and nothing else; [`HsmClient`] starts it, watches it, starts it again, and **verifies every signature
//! under the pinned public key before it hands it on**. Nothing that the worker or the token says is taken for true where it
//! can be checked.
//!
//! ```no_run
//! use countersign_hsm::{HsmClient, HsmConfig, KeyId, KeyKind, Prehash};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config: HsmConfig = HsmConfig::new("/usr/lib/softhsm/libsofthsm2.so", "pkcs11:token=cold", "hsm.pin")?;
//! let hsm = HsmClient::start(config)?;
//! let id = KeyId::new(b"treasury-1".to_vec())?;
//! // The public key comes from the policy bundle; a key with another one, or one that could be exported, is refused.
//! # let pinned = hsm.describe_blocking(KeyKind::Secp256k1, &id)?.public;
//! let key = hsm.open_key_blocking(&id, pinned)?;
//! let signature = hsm.sign_prehash_blocking(&key, Prehash::new([7; 32]))?;
//! # let _ = signature; Ok(()) }
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

mod client;
mod config;
mod error;
pub mod files;
mod pin;
mod plain;
mod point;
pub mod process;
mod protocol;
mod secret;
mod types;
mod uri;
#[doc(hidden)]
pub mod worker;

pub use client::{Health, HsmClient, KeyHandle, LATENCY_STEPS, Metrics};
pub use config::{
    CountLow, Device, Ed25519Params, GcmIv, HsmConfig, HsmConfigError, KeyAttribute, Quirks,
    find_worker,
};
pub use error::{Failure, HsmError, StopReason, Trouble};
pub use pin::Pin;
pub use point::PointError;
pub use protocol::{
    InspectedMechanism, InspectedModule, InspectedToken, KeyDescription, KeySummary, Provision,
    Sealed, TokenDescription,
};
pub use secret::Secret32;
pub use types::{CanaryId, KeyId, KeyIdError, KeyKind, Prehash, PublicPoint, RecoverableSignature};
pub use uri::{Pkcs11Uri, UriError};
