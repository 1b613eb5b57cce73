//! What the machine signed before, also in an earlier process.

use countersign_policy::cold::RequestPackage;
use countersign_policy::statement::AckStage;

use super::super::*;
use super::support::{Vault, taken};
use crate::wire::ProblemCode;

#[tokio::test]
async fn the_same_package_gives_the_same_answer_and_no_second_signature() {
    let vault = Vault::new();
    let package = vault.usdt("w-1", 1_000_000);
    let first = {
        let mut machine = vault.machine().await;
        taken(&vault, &mut machine, &package).await.unwrap()
    };
    let mut machine = vault.machine().await;
    let before = machine.ledger().await.unwrap().len();
    let again = taken(&vault, &mut machine, &package).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(
        machine.ledger().await.unwrap().len(),
        before,
        "nothing was reserved"
    );
}

#[tokio::test]
async fn a_request_that_was_signed_is_not_signed_from_another_package() {
    let vault = Vault::new();
    let request = vault.request("w-1", 1_000_000, 0);
    let mut machine = vault.machine().await;
    taken(&vault, &mut machine, &vault.package(&request))
        .await
        .unwrap();
    let another = vault.package_with(&request, vault.approvals(&request), |body| {
        body.attempt = 2;
        body.nonce = countersign_policy::Hash::sha256(b"another");
    });
    let why = taken(&vault, &mut machine, &another).await.unwrap_err();
    assert!(matches!(why, Refusal::AlreadySigned { .. }), "{why:?}");
}

#[tokio::test]
async fn an_authorizations_nonce_is_used_once() {
    let vault = Vault::new();
    let mut machine = vault.machine().await;
    let (one, two) = (vault.request("w-1", 1, 0), vault.request("w-2", 2, 1));
    let nonce = countersign_policy::Hash::sha256(b"one nonce");
    let with = |request| vault.package_with(request, vault.approvals(request), |b| b.nonce = nonce);
    taken(&vault, &mut machine, &with(&one)).await.unwrap();
    let why = taken(&vault, &mut machine, &with(&two)).await.unwrap_err();
    assert_eq!(
        why.code(),
        ProblemCode::Authorization.code(),
        "{}",
        why.line()
    );
}

#[tokio::test]
async fn an_external_id_is_paid_once() {
    let vault = Vault::new();
    let mut machine = vault.machine().await;
    let one = vault.package(&vault.request("w-1", 1, 0));
    let two = vault.package(&vault.request("w-1", 2, 1));
    taken(&vault, &mut machine, &one).await.unwrap();
    let why = taken(&vault, &mut machine, &two).await.unwrap_err();
    assert_eq!(why.code(), ProblemCode::ExternalId.code(), "{}", why.line());
}

#[tokio::test]
async fn the_same_bytes_are_signed_for_one_request() {
    let vault = Vault::new();
    let mut machine = vault.machine().await;
    let one = vault.package(&vault.request("w-1", 1, 0));
    let two = vault.package(&vault.request("w-2", 1, 0));
    taken(&vault, &mut machine, &one).await.unwrap();
    let why = taken(&vault, &mut machine, &two).await.unwrap_err();
    assert_eq!(why.code(), ProblemCode::ExternalId.code(), "{}", why.line());
}

#[tokio::test]
async fn a_clock_that_was_set_back_signs_nothing() {
    let mut vault = Vault::new();
    let early = vault.now();
    let late = early.plus_seconds(3_000);
    vault.deployment.set_now(late);
    {
        let mut machine = vault.machine().await;
        taken(&vault, &mut machine, &vault.usdt("w-1", 1))
            .await
            .unwrap();
    }
    vault.deployment.set_now(early);
    let machine = vault.machine().await;
    let package = vault.package(&vault.request("w-2", 2, 1));
    let why = machine.examine(&package, early).map(|_| ()).unwrap_err();
    assert!(matches!(why, Refusal::Clock { .. }), "{why:?}");
}

#[tokio::test]
async fn the_machine_remembers_the_newest_policy_it_followed() {
    let vault = Vault::new();
    let active = vault.deployment.bundle();
    let bundle = vault
        .deployment
        .successor(&active, |c| c.organisation = "Newer".into());
    let acks = ["node-1", "node-2", "node-3"].map(|node| {
        vault
            .deployment
            .ack(node, &active, &bundle, AckStage::Confirmed)
    });
    let link = countersign_policy::bundle::ActivationEvidence {
        bundle,
        acks: acks.to_vec(),
    };
    let mut chain = vault.deployment.chain();
    chain.append_with_evidence(&link, vault.now()).unwrap();
    let old = vault.usdt("w-1", 1);
    {
        let mut machine = vault.machine().await;
        let request = vault.request("w-2", 2, 1);
        let mut package = vault.deployment.cold_package(chain.active(), &request);
        package.chain.push(link);
        let bytes = package.to_bytes().unwrap();
        let answer = taken(&vault, &mut machine, &bytes).await.unwrap();
        assert_eq!(answer.bundle_version, 2);
    }
    let machine = vault.machine().await;
    assert_eq!(machine.bundle_version(), 2);
    let why = machine.examine(&old, vault.now()).map(|_| ()).unwrap_err();
    assert_eq!(why.code(), "package", "{}", why.line());
    assert!(RequestPackage::from_bytes(&old).is_ok());
}

#[tokio::test]
async fn the_journal_tells_what_was_signed_and_refused_after_the_reservation() {
    let vault = Vault::new();
    let mut machine = vault.machine().await;
    taken(
        &vault,
        &mut machine,
        &vault.package(&vault.request("w-1", 1, 0)),
    )
    .await
    .unwrap();
    let again = vault.package(&vault.request("w-1", 2, 1));
    taken(&vault, &mut machine, &again).await.unwrap_err();
    machine.close().await;
    let machine = vault.machine().await;
    let journal = machine.journal(10).await.unwrap();
    let outcomes: Vec<&str> = journal.iter().map(|r| r.outcome.as_str()).collect();
    assert_eq!(outcomes, ["refused/external-id", "signed"]);
}
