//! The signer process: configuration, start, API.

mod bundles;
mod config;
mod service;
mod start;
mod status;

pub use bundles::FollowedChain;
pub(crate) use config::MAX_HIGH;
pub use config::{ConfigError, NodeConfig, PresignatureConfig, ResourceConfig};
pub use service::Service;
pub use start::{Node, StartError, create_store, run};
