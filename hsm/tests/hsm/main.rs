//! The client against a real SoftHSM: each test has a token directory and worker processes of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod deaths;
mod devices;
mod keys;
mod matrix;
mod pins;
mod sealing;
mod signing;
mod simulated;
mod token;
