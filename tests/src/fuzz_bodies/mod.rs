//! What must hold for every input, however hostile. libFuzzer (`fuzz/`) and the bounded property tests
//! (`tests/fuzz_bodies.rs`) run the same functions; each panics when its claim is false.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod access;
mod assertions;
mod frames;
mod messages;
mod packages;
mod shares;
mod statements;
mod transactions;

pub use access::{mutate_token, read_cursor};
pub use assertions::{mutate_assertion, read_assertion};
pub use frames::decode_frames;
pub use messages::{MESSAGES, mutate_certificate, read_configuration, read_message};
pub use packages::{mutate_package, read_package};
pub use shares::{answer_key_generation, answer_signing, make_shares, read_share};
pub use statements::{judge_bundle, mutate_statement, read_envelope, read_statement};
pub use transactions::{decode_evm, decode_solana, decode_tron, mutate_transaction, read_names};
