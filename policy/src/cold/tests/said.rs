//! What the coordinator, the initiator and the nodes said, and did not say.

use super::*;
use crate::statement::{Authorization, Confirm, Receipt, SessionTerms, StatementError};
use crate::testing::cold::{
    COLD_KEY, COLD_LIFE, COLD_WALLET, OTHER_VAULT, cold_confirm, session_terms,
};
use crate::testing::{COORDINATOR, OFFICER, OPERATOR, PAYMENTS, SingleKey, WALLET};
use crate::{Hash, statement::FreezeTarget};

/// The authorization in a package.
fn authorization(deployment: &TestDeployment, package: &RequestPackage) -> Authorization {
    let opened = deployment
        .bundle()
        .directory()
        .open::<Authorization>(&package.authorization);
    opened.unwrap().body().clone()
}

fn terms(deployment: &TestDeployment, package: &RequestPackage) -> SessionTerms {
    let body = authorization(deployment, package);
    session_terms(&package.authorization, &body, Hash::ZERO)
}

fn receipts(package: &RequestPackage) -> Hash {
    SessionTerms::receipts_hash(package.receipts.iter().map(Envelope::digest))
}

#[test]
fn an_authorization_by_nobody_who_may_give_one_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    let body = authorization(&deployment, &package);
    for issuer in [PAYMENTS, OFFICER, "node-1", VAULT] {
        package.authorization = deployment.sign(issuer, COLD_LIFE, body.clone());
        assert_refused!(
            &deployment,
            &package,
            PackageError::Statement {
                source: StatementError::Role { .. },
                ..
            }
        );
    }
}

#[test]
fn an_authorization_of_another_request_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    package.request = request(&deployment, "withdrawal-2");
    assert_refused!(&deployment, &package, PackageError::OtherRequest);
}

#[test]
fn a_request_or_approval_signed_by_somebody_else_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let honest = usdt(&deployment);
    let forged = |envelope: &Envelope, keyid: &str| {
        let (kind, payload) = (envelope.payload_type(), envelope.payload().to_vec());
        Envelope::sign(kind, payload, keyid, deployment.identity("node-1"))
    };
    let mut package = honest.clone();
    package.request = forged(&honest.request, PAYMENTS);
    assert_refused!(
        &deployment,
        &package,
        PackageError::Statement {
            source: StatementError::BadSignature(_),
            ..
        }
    );
    let mut package = honest.clone();
    package.approvals[0] = forged(&honest.approvals[0], OFFICER);
    assert_refused!(
        &deployment,
        &package,
        PackageError::Statement {
            source: StatementError::BadSignature(_),
            ..
        }
    );
}

#[test]
fn a_package_about_a_wallet_that_is_not_cold_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let bundle = deployment.bundle();
    let hot = deployment.usdt_request("payment-1", 1_000_000);
    let body = Authorization {
        participants: vec![member(VAULT)],
        witnesses: vec![member("node-1"), member("node-2")],
        ..deployment.authorization_body(&bundle, &hot, &[member(VAULT)], 1)
    };
    let package = deployment.cold_package_of(&bundle, &hot, Vec::new(), body, &[]);
    let why = refused(&deployment, &package);
    assert!(
        matches!(&why, PackageError::NotCold(wallet) if wallet.as_str() == WALLET),
        "{why:?}"
    );
}

#[test]
fn a_package_for_another_machine_or_its_wallet_is_refused() {
    let mut deployment = TestDeployment::with_cold_wallet(3, 2);
    let other = SingleKey::Ecdsa {
        secret: [0x55; 32],
        chain_code: [0; 32],
    };
    deployment.add_cold_wallet("cold-2", "cold-ecdsa-2", OTHER_VAULT, &other);
    let bundle = deployment.bundle();
    let transaction = crate::testing::transaction::usdt_erc20(
        &crate::testing::transaction::EXCHANGE,
        1_000_000,
        0,
    );
    let request = deployment.request("w-1", "cold-2", Network::ETHEREUM, transaction);
    let package = deployment.cold_package(&bundle, &request);
    assert_refused!(&deployment, &package, PackageError::OtherMachine { .. });
    assert_ne!(COLD_WALLET, "cold-2");
    assert_ne!(COLD_KEY, "cold-ecdsa-2");
}

#[test]
fn fewer_witnesses_than_the_quorum_are_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let bundle = deployment.bundle();
    let request = request(&deployment, "w-1");
    let approvals = deployment.treasury_approves(&bundle, &request);
    let mut body = deployment.cold_authorization(&bundle, &request, &approvals);
    body.witnesses.truncate(1);
    let package = deployment.cold_package_of(&bundle, &request, approvals, body, &[]);
    assert_refused!(
        &deployment,
        &package,
        PackageError::TooFewWitnesses {
            found: 1,
            needed: 2,
            ..
        }
    );
}

#[test]
fn a_witness_from_outside_the_ledger_group_is_refused() {
    let mut deployment = TestDeployment::with_cold_wallet(4, 3);
    let group = &mut deployment.content_mut().ledger_groups[0];
    group.nodes.truncate(3);
    group.quorum = 2;
    let bundle = deployment.bundle();
    let request = request(&deployment, "w-1");
    let approvals = deployment.treasury_approves(&bundle, &request);
    let mut body = deployment.cold_authorization(&bundle, &request, &approvals);
    body.witnesses = vec![member("node-1"), member("node-4")];
    let package = deployment.cold_package_of(&bundle, &request, approvals, body, &[]);
    assert_refused!(&deployment, &package, PackageError::NotAWitness(_));
}

#[test]
fn a_receipt_or_confirm_that_is_missing_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    package.receipts.pop();
    assert_refused!(
        &deployment,
        &package,
        PackageError::Missing {
            what: "receipts",
            ..
        }
    );
    let mut package = usdt(&deployment);
    package.confirms.pop();
    assert_refused!(
        &deployment,
        &package,
        PackageError::Missing {
            what: "confirms",
            ..
        }
    );
    let mut package = usdt(&deployment);
    let again = package.confirms[0].clone();
    package.confirms.push(again);
    assert_refused!(
        &deployment,
        &package,
        PackageError::Missing {
            what: "confirms",
            ..
        }
    );
}

#[test]
fn receipts_and_confirms_in_another_order_or_twice_are_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    package.receipts.reverse();
    assert_refused!(
        &deployment,
        &package,
        PackageError::OutOfPlace {
            what: "receipt",
            ..
        }
    );
    let mut package = usdt(&deployment);
    package.confirms.reverse();
    assert_refused!(
        &deployment,
        &package,
        PackageError::OutOfPlace {
            what: "confirm",
            ..
        }
    );
    let mut package = usdt(&deployment);
    package.confirms[1] = package.confirms[0].clone();
    assert_refused!(
        &deployment,
        &package,
        PackageError::OutOfPlace {
            what: "confirm",
            ..
        }
    );
}

#[test]
fn a_receipt_for_other_terms_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let honest = usdt(&deployment);
    let right = terms(&deployment, &honest);
    let others = [
        SessionTerms {
            attempt: 2,
            ..right.clone()
        },
        SessionTerms {
            offline: false,
            ..right.clone()
        },
        SessionTerms {
            digests: vec![Hash::sha256(b"other")],
            ..right.clone()
        },
    ];
    for other in others {
        let mut package = honest.clone();
        package.receipts[1] = deployment.cold_receipt("node-2", &other);
        assert_refused!(&deployment, &package, PackageError::OtherTerms(_));
    }
}

#[test]
fn a_receipt_of_another_session_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let other = deployment.cold_package(&deployment.bundle(), &request(&deployment, "w-2"));
    let mut package = usdt(&deployment);
    package.receipts = other.receipts;
    assert_refused!(&deployment, &package, PackageError::OtherTerms(_));
}

#[test]
fn confirms_of_another_session_or_after_other_receipts_are_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let other = deployment.cold_package(&deployment.bundle(), &request(&deployment, "w-2"));
    let mut package = usdt(&deployment);
    package.confirms = other.confirms;
    assert_refused!(&deployment, &package, PackageError::OtherConfirm(_));
    // The nodes saw another receipt of the second witness than the one in the package.
    let mut package = usdt(&deployment);
    let right = terms(&deployment, &package);
    let receipt = Receipt {
        terms: right,
        ledger_sequence: 9,
        ledger_head: Hash::sha256(b"another entry"),
    };
    package.receipts[1] = deployment.sign("node-2", COLD_LIFE, receipt);
    assert_refused!(&deployment, &package, PackageError::OtherConfirm(_));
}

#[test]
fn a_confirm_that_clears_nothing_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    let confirm = Confirm {
        cleared: None,
        ..cold_confirm(
            &terms(&deployment, &package),
            receipts(&package),
            deployment.bundle().digest(),
        )
    };
    package.confirms[1] = deployment.sign("node-2", COLD_LIFE, confirm);
    assert_refused!(&deployment, &package, PackageError::NotCleared(_));
}

#[test]
fn a_confirm_under_another_bundle_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    let confirm = cold_confirm(
        &terms(&deployment, &package),
        receipts(&package),
        Hash::sha256(b"another bundle"),
    );
    package.confirms[0] = deployment.sign("node-1", COLD_LIFE, confirm);
    assert_refused!(&deployment, &package, PackageError::ClearedElsewhere { .. });
}

#[test]
fn a_confirm_by_a_member_who_is_no_node_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    let confirm = cold_confirm(
        &terms(&deployment, &package),
        receipts(&package),
        deployment.bundle().digest(),
    );
    for issuer in [COORDINATOR, VAULT] {
        package.confirms[0] = deployment.sign(issuer, COLD_LIFE, confirm.clone());
        assert_refused!(
            &deployment,
            &package,
            PackageError::Statement {
                source: StatementError::Role { .. },
                ..
            }
        );
    }
}

#[test]
fn a_freeze_that_was_left_out_or_put_in_shows_in_the_head() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let bundle = deployment.bundle();
    let request = request(&deployment, "w-1");
    let freeze = deployment.freeze(
        OFFICER,
        FreezeTarget::Wallet {
            wallet: WALLET.parse().unwrap(),
        },
    );
    let approvals = deployment.treasury_approves(&bundle, &request);
    let body = deployment.cold_authorization(&bundle, &request, &approvals);
    let frozen = [freeze.clone()];
    let mut package = deployment.cold_package_of(&bundle, &request, approvals, body, &frozen);
    assert!(
        opened(&deployment, &package).is_ok(),
        "the nodes held it as well"
    );
    package.freezes.clear();
    assert_refused!(&deployment, &package, PackageError::OtherFreezes(_));
    let mut package = usdt(&deployment);
    package.freezes.push(freeze);
    assert_refused!(&deployment, &package, PackageError::OtherFreezes(_));
}

#[test]
fn a_confirm_with_a_stale_freeze_head_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    let mut stale = terms(&deployment, &package);
    stale.freeze_head = Hash::sha256(b"an older set");
    let confirm = cold_confirm(&stale, receipts(&package), deployment.bundle().digest());
    package.confirms[0] = deployment.sign("node-1", COLD_LIFE, confirm);
    assert_refused!(&deployment, &package, PackageError::OtherFreezes(_));
}

#[test]
fn what_was_said_before_what_it_answers_is_refused() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let mut package = usdt(&deployment);
    let early = deployment.now().minus_seconds(60);
    let confirm = cold_confirm(
        &terms(&deployment, &package),
        receipts(&package),
        deployment.bundle().digest(),
    );
    package.confirms[0] = deployment.sign_at(early, "node-1", COLD_LIFE, confirm);
    assert_refused!(
        &deployment,
        &package,
        PackageError::Order {
            what: "confirm",
            ..
        }
    );
}

#[test]
fn a_machine_whose_clock_is_behind_what_was_signed_signs_nothing() {
    let deployment = TestDeployment::with_cold_wallet(3, 2);
    let bytes = usdt(&deployment).to_bytes().unwrap();
    let trust = Trust {
        me: &member(VAULT),
        genesis: deployment.genesis_hash(),
        known: None,
    };
    let behind = deployment.now().minus_seconds(6);
    let why = open(&bytes, &trust, behind).unwrap_err();
    assert!(matches!(why, PackageError::ClockBehind { .. }), "{why:?}");
    assert!(open(&bytes, &trust, deployment.now().minus_seconds(4)).is_ok());
}

#[test]
fn a_wallet_that_demands_operators_signs_with_so_many_different_ones() {
    let mut deployment = TestDeployment::with_cold_wallet(3, 2);
    for wallet in &mut deployment.content_mut().wallets {
        if wallet.id.as_str() == COLD_WALLET {
            wallet.offline_operators = Some(1);
        }
    }
    let package = opened(&deployment, &usdt(&deployment)).unwrap();
    let now = deployment.now();
    let consent = package.consent();
    let why = package.require_consents(&[], now).unwrap_err();
    assert!(
        matches!(
            why,
            PackageError::TooFewConsents {
                found: 0,
                needed: 1
            }
        ),
        "{why:?}"
    );
    let by = |who: &str, consent| deployment.sign(who, 600, consent);
    let why = package
        .require_consents(&[by(OFFICER, consent.clone())], now)
        .unwrap_err();
    assert!(matches!(why, PackageError::Statement { .. }), "{why:?}");
    let other = crate::statement::OfflineConsent {
        package: Hash::sha256(b"another package"),
        ..consent.clone()
    };
    let why = package
        .require_consents(&[by(OPERATOR, other)], now)
        .unwrap_err();
    assert!(matches!(why, PackageError::OtherConsent(_)), "{why:?}");
    let late = now.plus_seconds(3_600);
    let right = by(OPERATOR, consent);
    assert!(
        package
            .require_consents(std::slice::from_ref(&right), late)
            .is_err()
    );
    assert_eq!(
        package
            .require_consents(&[right.clone(), right], now)
            .unwrap()
            .len(),
        1
    );
}
