//! What security officers do: look at a request and approve or reject it, stop something at once, and end a freeze together.

pub mod approve;
mod ask;
pub mod dossier;
pub mod freeze;
mod show;
mod target;
#[cfg(test)]
mod tests;
pub mod unfreeze;

pub use ask::{Consent, confirm};
