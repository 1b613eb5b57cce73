//! The signer process: configuration, start, API.

mod config;

pub use config::{ConfigError, NodeConfig, PresignatureConfig, ResourceConfig};
