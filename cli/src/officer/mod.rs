//! What security officers do: look at a request and approve or reject it, stop something at once, and end a freeze together.

pub mod approve;
mod ask;
pub mod dossier;
pub mod freeze;
mod show;
mod target;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
mod tests;
pub mod unfreeze;

pub use ask::{Consent, confirm};
