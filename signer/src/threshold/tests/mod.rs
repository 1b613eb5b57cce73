//! The protocols over an in-process network: honest runs, then every fault.

#[cfg(feature = "test-primes")]
mod cggmp24;
mod faults;
mod fixtures;
mod honest;
mod keygen_faults;
mod network;
mod primes;
