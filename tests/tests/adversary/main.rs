//! A hostile coordinator, hostile members and a hostile node against real signers over real TLS. Every attempt must end
//! without a signature, refused by the signers themselves, with the reason in their records (I2, I3).
//!
//! Each attack prints a line `attack refused by node: code, reason`; each table ends with `N attacks, N refused`. A new
//! attack is a call of [`arena::Arena::prepare_is_refused`] or one of its neighbours, there or in `hands`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    // Tables of attacks: name, what is done, what is expected.
    clippy::type_complexity
)]

mod approvals;
mod arena;
mod assertions;
mod authorizations;
mod bundles;
mod ceremonies;
mod clocks;
mod confirms;
mod doors;
mod floods;
mod freezes;
mod hands;
mod ledgers;
mod limits;
mod nodes;
mod office;
mod presignatures;
mod receipts;
mod replays;
mod requests;
mod stops;
mod stores;
mod successions;
mod thefts;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn child_entry() {
    countersign_tests::cluster::child_entry().await;
}
