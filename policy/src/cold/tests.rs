//! Packages made or changed by a hostile hand: each is refused, with the reason that is true.

mod chains;
mod form;
mod said;

use super::*;
use crate::testing::TestDeployment;
use crate::testing::cold::VAULT;
use crate::testing::member;
use crate::{Envelope, Network};

/// A package about a USDT withdrawal on Ethereum, and its bytes.
fn usdt(deployment: &TestDeployment) -> RequestPackage {
    let bundle = deployment.bundle();
    deployment.cold_package(&bundle, &request(deployment, "withdrawal-1"))
}

fn request(deployment: &TestDeployment, external_id: &str) -> Envelope {
    let transaction = crate::testing::transaction::usdt_erc20(
        &crate::testing::transaction::EXCHANGE,
        1_000_000,
        0,
    );
    deployment.request(
        external_id,
        crate::testing::cold::COLD_WALLET,
        Network::ETHEREUM,
        transaction,
    )
}

fn opened(
    deployment: &TestDeployment,
    package: &RequestPackage,
) -> Result<OpenedPackage, PackageError> {
    opened_bytes(deployment, &package.to_bytes().unwrap())
}

fn opened_bytes(deployment: &TestDeployment, bytes: &[u8]) -> Result<OpenedPackage, PackageError> {
    let trust = Trust {
        me: &member(VAULT),
        genesis: deployment.genesis_hash(),
        known: None,
    };
    open(bytes, &trust, deployment.now())
}

/// The reason for which a package is refused.
#[track_caller]
fn refused(deployment: &TestDeployment, package: &RequestPackage) -> PackageError {
    opened(deployment, package).expect_err("the package was taken")
}

macro_rules! assert_refused {
    ($deployment:expr, $package:expr, $reason:pat $(if $guard:expr)?) => {
        let why = refused($deployment, $package);
        assert!(matches!(why, $reason $(if $guard)?), "{why:?}");
    };
}
use assert_refused;

#[test]
fn an_honest_package_opens_and_is_small() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let package = usdt(&deployment);
    let bytes = package.to_bytes().unwrap();
    assert!(bytes.len() <= 64 << 10, "{} bytes", bytes.len());
    assert_eq!(RequestPackage::from_bytes(&bytes).unwrap(), package);
    let opened = opened_bytes(&deployment, &bytes).unwrap();
    assert_eq!(opened.terms().participants, [member(VAULT)]);
    assert_eq!(opened.terms().witnesses.len(), 2);
    assert_eq!(opened.newest_signed(), deployment.now());
}

#[test]
fn the_same_content_is_the_same_bytes() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let package = usdt(&deployment);
    let again = RequestPackage::from_bytes(&package.to_bytes().unwrap()).unwrap();
    assert_eq!(again.to_bytes().unwrap(), package.to_bytes().unwrap());
}
