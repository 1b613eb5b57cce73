//! Packages that open, and that policy, time or a person refuses.

use std::sync::Arc;

use countersign_policy::Hash;
use countersign_policy::cold::{PackageError, RequestPackage};
use countersign_policy::statement::FreezeTarget;
use countersign_policy::testing::cold::{COLD_LIFE, COLD_WALLET};
use countersign_policy::testing::{COORDINATOR, OFFICER, TestDeployment};

use super::super::*;
use super::support::{SoftToken, Vault};
use crate::token::{TokenError, TokenKeys};
use crate::wire::ProblemCode;

async fn refused(vault: &Vault, package: &[u8]) -> Refusal {
    let machine = vault.machine().await;
    machine
        .examine(package, vault.now())
        .map(|_| ())
        .expect_err("the package was taken")
}

async fn refused_by_the_gate(vault: &Vault, package: &[u8], code: ProblemCode) {
    let why = refused(vault, package).await;
    assert_eq!(why.code(), code.code(), "{}", why.line());
}

#[tokio::test]
async fn a_missing_approval_is_refused() {
    let vault = Vault::new();
    let request = vault.request("w-1", 1_000_000, 0);
    let mut one = vault.approvals(&request);
    one.truncate(1);
    let package = vault.package_with(&request, one, |_| {});
    refused_by_the_gate(&vault, &package, ProblemCode::Approval).await;
    let package = vault.package_with(&request, Vec::new(), |_| {});
    refused_by_the_gate(&vault, &package, ProblemCode::Approval).await;
}

#[tokio::test]
async fn one_officer_twice_is_one_approval() {
    let vault = Vault::new();
    let request = vault.request("w-1", 1_000_000, 0);
    let bundle = vault.deployment.bundle();
    let verdict = countersign_policy::statement::Verdict::Approve;
    let twice = (0..2)
        .map(|_| {
            vault
                .deployment
                .approval_under(&bundle, OFFICER, &request, verdict.clone())
        })
        .collect();
    let package = vault.package_with(&request, twice, |_| {});
    refused_by_the_gate(&vault, &package, ProblemCode::Approval).await;
}

#[tokio::test]
async fn approvals_of_another_request_are_refused() {
    let vault = Vault::new();
    let request = vault.request("w-1", 1_000_000, 0);
    let others = vault.approvals(&vault.request("w-2", 2_000_000, 1));
    let package = vault.package_with(&request, others, |_| {});
    refused_by_the_gate(&vault, &package, ProblemCode::Approval).await;
}

#[tokio::test]
async fn approvals_that_the_authorization_does_not_name_or_in_another_order_are_refused() {
    let vault = Vault::new();
    let request = vault.request("w-1", 1_000_000, 0);
    let package = vault.package_with(&request, vault.approvals(&request), |body| {
        body.approvals.truncate(1);
    });
    refused_by_the_gate(&vault, &package, ProblemCode::Authorization).await;
    let package = vault.package_with(&request, vault.approvals(&request), |body| {
        body.approvals.reverse();
    });
    refused_by_the_gate(&vault, &package, ProblemCode::Authorization).await;
}

#[tokio::test]
async fn an_authorization_for_other_digests_is_refused() {
    let vault = Vault::new();
    let request = vault.request("w-1", 1_000_000, 0);
    let package = vault.package_with(&request, vault.approvals(&request), |body| {
        body.digests = vec![Hash::sha256(b"something else")];
    });
    refused_by_the_gate(&vault, &package, ProblemCode::Authorization).await;
}

#[tokio::test]
async fn an_authorization_that_lives_too_long_is_refused() {
    let vault = Vault::new();
    let request = vault.request("w-1", 1_000_000, 0);
    let mut package = RequestPackage::from_bytes(&vault.package(&request)).unwrap();
    let opened = vault
        .deployment
        .bundle()
        .directory()
        .open::<countersign_policy::statement::Authorization>(&package.authorization)
        .unwrap();
    package.authorization =
        vault
            .deployment
            .sign(COORDINATOR, COLD_LIFE + 1, opened.body().clone());
    // The witnesses would have refused it; here the machine finds other terms in their receipts.
    let why = refused(&vault, &package.to_bytes().unwrap()).await;
    assert!(
        matches!(why, Refusal::Package(PackageError::OtherTerms(_))),
        "{why:?}"
    );
}

#[tokio::test]
async fn an_expired_authorization_or_request_is_refused() {
    let mut vault = Vault::new();
    let package = vault.usdt("w-1", 1_000_000);
    let later = vault.now().plus_seconds(COLD_LIFE);
    vault.deployment.set_now(later);
    refused_by_the_gate(&vault, &package, ProblemCode::Authorization).await;
    // The request of this deployment lives for ten minutes.
    let mut vault = Vault::new();
    let package = vault.usdt("w-1", 1_000_000);
    let later = vault.now().plus_seconds(700);
    vault.deployment.set_now(later);
    refused_by_the_gate(&vault, &package, ProblemCode::Policy).await;
}

#[tokio::test]
async fn more_than_the_rule_allows_is_refused_whoever_approved() {
    let vault = Vault::new();
    let package = vault.usdt("w-1", 1_000_000_001);
    refused_by_the_gate(&vault, &package, ProblemCode::Policy).await;
}

#[tokio::test]
async fn a_frozen_wallet_is_refused_by_the_freeze_in_the_package() {
    let vault = Vault::new();
    let (deployment, bundle) = (&vault.deployment, vault.deployment.bundle());
    let request = vault.request("w-1", 1_000_000, 0);
    let approvals = vault.approvals(&request);
    let body = deployment.cold_authorization(&bundle, &request, &approvals);
    let target = FreezeTarget::Wallet {
        wallet: COLD_WALLET.parse().unwrap(),
    };
    let freezes = [deployment.freeze(OFFICER, target)];
    let package = deployment.cold_package_of(&bundle, &request, approvals, body, &freezes);
    refused_by_the_gate(&vault, &package.to_bytes().unwrap(), ProblemCode::Policy).await;
}

#[tokio::test]
async fn a_yes_to_something_else_is_none() {
    let vault = Vault::new();
    let machine = vault.machine().await;
    let one = machine.examine(&vault.usdt("w-1", 1), vault.now()).unwrap();
    let two = machine.examine(&vault.usdt("w-2", 2), vault.now()).unwrap();
    for typed in ["", "yes", "y", &two.package().digest().to_hex()[..8]] {
        assert!(Confirmed::by_typing(&one, typed).is_none(), "{typed}");
    }
    let yes = Confirmed::by_typing(&one, &one.package().digest().to_hex()[..8]).unwrap();
    let mut machine = machine;
    let tokens = TokenKeys::new(Arc::new(SoftToken::honest()));
    let why = machine
        .sign(two, yes, &[], &tokens, vault.now())
        .await
        .unwrap_err();
    assert_eq!(why.code(), ProblemCode::Forbidden.code());
}

#[tokio::test]
async fn a_wallet_that_demands_operators_is_not_signed_without_them() {
    let mut deployment = TestDeployment::with_cold_wallet(3, 2);
    for wallet in &mut deployment.content_mut().wallets {
        if wallet.id.as_str() == COLD_WALLET {
            wallet.offline_operators = Some(1);
        }
    }
    let vault = Vault::of(deployment);
    let mut machine = vault.machine().await;
    let package = vault.usdt("w-1", 1_000_000);
    let why = super::taken(&vault, &mut machine, &package)
        .await
        .unwrap_err();
    assert!(
        matches!(why, Refusal::Package(PackageError::TooFewConsents { .. })),
        "{why:?}"
    );
}

#[tokio::test]
async fn a_token_without_the_pinned_key_or_one_that_lies_gives_no_answer() {
    for (token, expected) in [
        (SoftToken::of_another_key(), "other"),
        (SoftToken::lying(), "wrong"),
    ] {
        let vault = Vault::new();
        let mut machine = vault.machine().await;
        let examined = machine.examine(&vault.usdt("w-1", 1), vault.now()).unwrap();
        let digest = examined.package().digest().to_hex();
        let yes = Confirmed::by_typing(&examined, &digest[..8]).unwrap();
        let tokens = TokenKeys::new(Arc::new(token));
        let why = machine
            .sign(examined, yes, &[], &tokens, vault.now())
            .await
            .unwrap_err();
        match expected {
            "other" => assert!(
                matches!(why, Refusal::Token(TokenError::Other { .. })),
                "{why:?}"
            ),
            _ => assert!(
                matches!(why, Refusal::Token(TokenError::WrongSignature(_))),
                "{why:?}"
            ),
        }
    }
}
