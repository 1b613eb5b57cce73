//! The signer process: configuration, start, API.

mod bundles;
mod config;
mod emergency;
mod sealing;
mod service;
mod spread;
mod start;
mod status;
mod stops;

pub use bundles::FollowedChain;
pub(crate) use config::MAX_HIGH;
pub use config::{ConfigError, NodeConfig, PresignatureConfig, ResourceConfig};
pub use sealing::start_hsm;
pub use service::Service;
pub use spread::Spread;
pub use start::{Node, StartError, create_store, rekey_store, run};
