//! The coordinator: takes signed sign requests over HTTPS, decides, authorizes, drives the signer nodes, verifies and
//! stores what comes out.
//!
//! It is untrusted for safety (I3): signers check everything themselves. What it is trusted for is to be honest about what
//! it knows; a final state without a signature is reported only when enough signers durably said that there never will be
//! one ([`lifecycle`](State)).
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use countersign_coordinator::{Coordinator, CoordinatorConfig};
//!
//! let config = CoordinatorConfig::load("coordinator.toml".as_ref())?;
//! let running = Coordinator::start(config).await?;
//! println!("listening on {}", running.address());
//! running.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod api;
mod config;
mod coordinator;
mod core;
mod db;
mod freezes;
mod judge;
mod lifecycle;
mod nodes;
mod orchestrate;

pub use api::{
    AddressList, AddressView, ApiProblem, ApiProblemCode, ApiSecret, ApprovalList, ApprovalView,
    AttemptView, BundleList, BundleReport, CeremonyNode, CeremonyReport, EventView, FreezeList,
    FreezeView, Health, KeyList, KeyView, MAX_TOKEN_SECONDS, NodeList, NodeReport, NodeView,
    NoticeReport, PolicyLog, PolicyLogEntry, ProposalList, ProposalState, ProposalView,
    RequestList, RequestView, ServerError, SignatureView, Simulation, VetoView, WalletList,
    WalletView, openapi, verify_token,
};
pub use config::{ApiKey, ConfigError, CoordinatorConfig, LimitsConfig, TimingConfig};
pub use coordinator::{Coordinator, Running, StartError};
pub use db::{Datastore, DbError, NoCursor, PageCursor};
pub use lifecycle::{Goal, SignedData, State, StateName, StopStanding, Waiting, Why};
pub use nodes::{Answer, Given, NodeApi, NodeError, TlsNodes};
