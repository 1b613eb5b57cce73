//! The offline gate against packages that open, and must not be signed all the same; and against its own past.

mod gate;
mod memory;
mod support;

use support::{Vault, taken};

#[tokio::test]
async fn an_honest_package_is_signed_and_the_answer_verifies() {
    let vault = Vault::new();
    let package = vault.usdt("withdrawal-1", 1_000_000);
    let mut machine = vault.machine().await;
    let answer = taken(&vault, &mut machine, &package).await.unwrap();
    assert!(vault.verifies(&package, &answer));
    assert_eq!(answer.answers, countersign_policy::Hash::sha256(&package));
    assert_eq!(answer.bundle_version, 1);
}
