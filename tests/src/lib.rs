//! Whole-system tests of Countersign, and what they share: generators, and the bodies of the fuzz targets.

pub mod fuzz_bodies;
pub mod transactions;
