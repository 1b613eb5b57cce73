//! The protocols over an in-process network: honest runs, then every fault.

mod fixtures;
mod honest;
mod network;
