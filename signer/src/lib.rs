//! The signer node: verifies everything itself, then takes part in a signature.
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

pub mod ceremony;
pub mod clock;
pub mod cold;
pub mod files;
pub mod gate;
pub mod net;
pub mod node;
mod plain;
pub mod process;
pub mod session;
pub mod store;
pub mod threshold;
pub mod token;
pub mod wire;
