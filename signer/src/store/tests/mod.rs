//! The store against real files.

pub(super) mod support;

mod counters;
mod crash;
mod ledger;
mod limits;
mod machine;
mod material;
mod model;
mod nonce_lead;
mod opening;
mod peers;
mod sealing;
mod starts;
mod statements;
