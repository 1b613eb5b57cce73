#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "tests"
)]
//! Whole-system tests of Countersign, and what they share: generators, and the bodies of the fuzz targets.

pub mod cluster;
pub mod coordinators;
pub mod fuzz_bodies;
pub mod payments;
pub mod transactions;
