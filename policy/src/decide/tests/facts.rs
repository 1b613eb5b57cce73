//! What cannot even be judged: wallet, key, path, network and bytes that do not belong together.

use super::decide_at;
use crate::bundle::ActiveBundle;
use crate::statement::SignRequest;
use crate::testing::transaction::{self, EXCHANGE, Tron};
use crate::testing::{EDDSA_KEY, SingleKey, TestDeployment, WALLET, key_id, wallet_id};
use crate::{
    DecodeError, DerivationPath, Facts, FactsError, Network, Outcome, Reason, Standing, decide,
};

fn deployment() -> TestDeployment {
    TestDeployment::with_single_keys(3, 2)
}

fn request(deployment: &TestDeployment) -> SignRequest {
    let wallet = deployment.wallet(WALLET);
    let bytes = transaction::usdt_erc20(&EXCHANGE, 5, 0);
    deployment.sign_request("p", wallet, &wallet.path, Network::ETHEREUM, bytes)
}

fn refusal(edit: impl FnOnce(&mut SignRequest)) -> FactsError {
    let deployment = deployment();
    let mut request = request(&deployment);
    edit(&mut request);
    Facts::establish(&deployment.bundle(), &request).expect_err("must be refused")
}

fn path(text: &str) -> DerivationPath {
    text.parse().unwrap()
}

#[test]
fn what_does_not_belong_together() {
    assert!(matches!(
        refusal(|r| r.wallet = wallet_id("nothing")),
        FactsError::UnknownWallet
    ));
    assert!(matches!(
        refusal(|r| r.key = key_id("nothing")),
        FactsError::OtherKey
    ));
    assert!(matches!(
        refusal(|r| r.key = key_id(EDDSA_KEY)),
        FactsError::OtherKey
    ));
    let polygon = Network::evm(137).unwrap();
    assert!(matches!(
        refusal(|r| r.network = polygon),
        FactsError::Network(found) if found == polygon
    ));
    // Bytes of another chain of the same wallet: the decoder sees it.
    let bsc = transaction::usdt_bep20(&EXCHANGE, 5, 0);
    assert!(matches!(
        refusal(|r| r.transaction = crate::statement::TransactionHex::new(bsc)),
        FactsError::Transaction(_)
    ));
    assert!(matches!(
        refusal(|r| r.transaction = crate::statement::TransactionHex::new(vec![])),
        FactsError::Transaction(DecodeError::Empty)
    ));
}

#[test]
fn a_path_outside_of_the_wallet() {
    let mut deployment = deployment();
    deployment.content_mut().wallets[0].path = path("m/0/7");
    let bundle = deployment.bundle();
    for (text, ok) in [
        ("m/0/7", true),
        ("m/0/7/123", true),
        ("m/0/70", false),
        ("m/0", false),
        ("m", false),
        ("m/1/7", false),
    ] {
        let mut request = request(&deployment);
        request.path = path(text);
        let facts = Facts::establish(&bundle, &request);
        match facts {
            Ok(facts) => {
                assert!(ok, "{text}");
                let expected = SingleKey::ecdsa().public_key_at(&path(text));
                assert_eq!(facts.public_key(), &expected);
                let address = expected.address(&Network::ETHEREUM).unwrap();
                assert_eq!(facts.source(), &address);
            }
            Err(error) => assert!(!ok && matches!(error, FactsError::Path { .. }), "{text}"),
        }
    }
}

#[test]
fn an_ed25519_key_has_no_children_to_pay_from() {
    let deployment = deployment();
    let wallet = deployment.wallet(crate::testing::SOLANA_WALLET);
    let bytes = transaction::sol(&EXCHANGE, 1);
    let request = deployment.sign_request("p", wallet, &path("m/1"), Network::SOLANA, bytes);
    assert!(matches!(
        Facts::establish(&deployment.bundle(), &request),
        Err(FactsError::Derivation(_))
    ));
}

#[test]
fn somebody_elses_money() {
    let deployment = deployment();
    let wallet = deployment.wallet(WALLET);
    let theirs = Tron {
        owner: [0x55; 20],
        ..Tron::at(deployment.now())
    };
    for bytes in [theirs.trx(&EXCHANGE, 1), theirs.usdt_trc20(&EXCHANGE, 1)] {
        let request = deployment.sign_request("p", wallet, &wallet.path, Network::TRON, bytes);
        assert!(matches!(
            Facts::establish(&deployment.bundle(), &request),
            Err(FactsError::Source { .. })
        ));
    }
    // The wallet's own account, but the request names a deposit address as the payer.
    let own = Tron::at(deployment.now()).trx(&EXCHANGE, 1);
    let request = deployment.sign_request("p", wallet, &path("m/3"), Network::TRON, own);
    assert!(matches!(
        Facts::establish(&deployment.bundle(), &request),
        Err(FactsError::Source { .. })
    ));
}

/// A wallet whose key is not there cannot be in a valid bundle; if it were, nothing could be established.
#[test]
fn a_bundle_without_the_wallets_key_is_not_valid() {
    let mut deployment = deployment();
    deployment.content_mut().keys.clear();
    let genesis = deployment.genesis();
    assert!(crate::bundle::BundleChain::from_genesis(&genesis, genesis.digest()).is_err());
    assert_eq!(
        FactsError::UnknownKey.to_string(),
        "the policy bundle has no such key"
    );
}

#[test]
fn facts_of_another_request_or_bundle_allow_nothing() {
    let deployment = deployment();
    let bundle = deployment.bundle();
    let open = |bundle: &ActiveBundle, envelope: &crate::Envelope| {
        bundle.directory().open::<SignRequest>(envelope).unwrap()
    };
    // The same intent, another nonce: other bytes.
    let one = open(&bundle, &deployment.usdt_request("p", 5));
    let wallet = deployment.wallet(WALLET);
    let bytes = transaction::usdt_erc20(&EXCHANGE, 5, 1);
    let other = deployment.request("p", WALLET, Network::ETHEREUM, bytes.clone());
    let other = open(&bundle, &other);
    let facts = Facts::establish(&bundle, one.body()).unwrap();
    assert!(facts.are_about(&bundle, one.body()));
    assert_eq!(
        decide(
            &bundle,
            &one,
            &facts,
            &Standing::unencumbered(),
            deployment.now()
        )
        .outcome,
        Outcome::Allow
    );
    let decision = decide(
        &bundle,
        &other,
        &facts,
        &Standing::unencumbered(),
        deployment.now(),
    );
    assert_eq!(decision.reasons, [Reason::OtherFacts]);
    // The same bytes from another address of the wallet.
    let child = deployment.sign_request("p", wallet, &path("m/1"), Network::ETHEREUM, bytes);
    assert!(!facts.are_about(&bundle, &child));
    // The same request under the next bundle.
    let mut chain = deployment.chain();
    let next = deployment.successor(chain.active(), |_| ());
    let next = chain.append(&next, deployment.now()).unwrap();
    let decision = decide(
        next,
        &one,
        &facts,
        &Standing::unencumbered(),
        deployment.now(),
    );
    assert_eq!(decision.reasons, [Reason::OtherFacts]);
}

#[test]
fn a_deposit_address_pays_like_its_wallet() {
    let deployment = deployment();
    let wallet = deployment.wallet(WALLET);
    let bytes = transaction::usdt_erc20(&EXCHANGE, 5, 0);
    let body = deployment.sign_request("p", wallet, &path("m/0/41"), Network::ETHEREUM, bytes);
    let request = deployment.sign("payments", 600, body);
    let decision = decide_at(&deployment.bundle(), &request, deployment.now());
    assert_eq!(decision.outcome, Outcome::Allow);
}
