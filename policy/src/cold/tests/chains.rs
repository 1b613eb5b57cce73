//! Other deployments, forks, bundles that nobody stands behind, old ones.

use super::*;
use crate::bundle::{ActivationEvidence, BundleChain, ChainError, EvidenceError};
use crate::statement::AckStage;

fn successor(
    deployment: &TestDeployment,
    organisation: &str,
    nodes: &[&str],
) -> ActivationEvidence {
    let active = deployment.bundle();
    let bundle = deployment.successor(&active, |c| c.organisation = organisation.to_owned());
    let acks = nodes
        .iter()
        .map(|node| deployment.ack(node, &active, &bundle, AckStage::Confirmed))
        .collect();
    ActivationEvidence { bundle, acks }
}

const ALL: [&str; 3] = ["node-1", "node-2", "node-3"];

fn followed(deployment: &TestDeployment, link: &ActivationEvidence) -> BundleChain {
    let mut chain = deployment.chain();
    chain.append_with_evidence(link, deployment.now()).unwrap();
    chain
}

fn open_on(
    deployment: &TestDeployment,
    known: &BundleChain,
    package: &RequestPackage,
) -> Result<OpenedPackage, PackageError> {
    let trust = Trust {
        me: &member(VAULT),
        genesis: deployment.genesis_hash(),
        known: Some(known),
    };
    open(&package.to_bytes().unwrap(), &trust, deployment.now())
}

#[test]
fn a_package_of_another_deployment_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut other = TestDeployment::with_cold_wallet(3, 2);
    other.content_mut().organisation = "Somebody else".to_owned();
    let mut package = usdt(&other);
    assert_refused!(&deployment, &package, PackageError::Genesis { .. });
    // Also when it calls itself this one.
    package.genesis = deployment.genesis_hash();
    assert_refused!(
        &deployment,
        &package,
        PackageError::Chain(ChainError::Genesis { .. })
    );
}

#[test]
fn a_machine_that_knows_no_bundle_needs_the_genesis() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    package.chain.clear();
    assert_refused!(&deployment, &package, PackageError::NoChain);
    assert!(open_on(&deployment, &deployment.chain(), &package).is_ok());
}

#[test]
fn a_bundle_that_too_few_nodes_stand_behind_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    for nodes in [&ALL[..0], &ALL[..1]] {
        let mut package = usdt(&deployment);
        package
            .chain
            .push(successor(&deployment, "Mine now", nodes));
        assert_refused!(
            &deployment,
            &package,
            PackageError::Bundle(EvidenceError::NotEnough(_))
        );
    }
}

#[test]
fn another_bundle_of_a_version_that_the_machine_followed_is_a_fork() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let known = followed(&deployment, &successor(&deployment, "First", &ALL));
    let fork = successor(&deployment, "Second", &ALL);
    let forked = followed(&deployment, &fork);
    let mut package = deployment.cold_package(forked.active(), &request(&deployment, "w-1"));
    package.chain.push(fork);
    let why = open_on(&deployment, &known, &package).unwrap_err();
    assert!(
        matches!(why, PackageError::Fork { version: 2, .. }),
        "{why:?}"
    );
}

#[test]
fn a_machine_never_goes_back_to_an_older_bundle() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let known = followed(&deployment, &successor(&deployment, "Newer", &ALL));
    let why = open_on(&deployment, &known, &usdt(&deployment)).unwrap_err();
    assert!(matches!(why, PackageError::OtherBundle { .. }), "{why:?}");
}

#[test]
fn a_newer_bundle_is_followed_with_its_acknowledgements() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let link = successor(&deployment, "Newer", &ALL);
    let chain = followed(&deployment, &link);
    let mut package = deployment.cold_package(chain.active(), &request(&deployment, "w-1"));
    package.chain.push(link);
    let opened = opened(&deployment, &package).unwrap();
    assert_eq!(opened.chain().active().content().version, 2);
    // A machine that knows the genesis needs the new link alone.
    package.chain.remove(0);
    assert!(open_on(&deployment, &deployment.chain(), &package).is_ok());
}

#[test]
fn bundles_out_of_order_are_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    package
        .chain
        .insert(0, successor(&deployment, "Newer", &ALL));
    assert!(matches!(
        refused(&deployment, &package),
        PackageError::Chain(ChainError::Genesis { .. })
    ));
}
