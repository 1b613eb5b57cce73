//! The service as its users meet it: real coordinators and real nodes as processes, over real TLS, on both databases.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

#[path = "../../../coordinator/tests/support/database.rs"]
mod database;
#[path = "../../../coordinator/tests/support/http.rs"]
mod web;

mod arena;
mod crashes;
mod faults;
mod payments;
mod relay;
mod several;
mod stops;

#[tokio::test]
async fn child_entry() {
    countersign_tests::cluster::child_entry().await;
}
