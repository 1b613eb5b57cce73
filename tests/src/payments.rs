//! Payments from a cluster's wallets: requests, attempts to sign them, and what comes out.

use std::time::{Duration, Instant};

use countersign_policy::statement::SignRequest;
use countersign_policy::testing::transaction::{EXCHANGE, sol, usdt_erc20};
use countersign_policy::testing::{PAYMENTS, SOLANA_WALLET, WALLET};
use countersign_policy::{Envelope, ExternalId, Facts, Hash, MemberId, Network, Signature};
use countersign_signer::clock::now;
use countersign_signer::net::CallError;
use countersign_signer::wire::{Problem, ProblemCode};

use crate::cluster::Cluster;

/// A signed request for USDT on Ethereum, to the exchange.
pub fn usdt(cluster: &mut Cluster, external_id: &str, amount: u64, nonce: u64) -> Envelope {
    let transaction = usdt_erc20(&EXCHANGE, amount, nonce);
    request(cluster, WALLET, Network::ETHEREUM, transaction, external_id)
}

/// A signed request for SOL from the cluster's Ed25519 key, to the exchange.
pub fn solana(cluster: &mut Cluster, external_id: &str, lamports: u64) -> Envelope {
    let content = cluster.active().content();
    let wallet = content
        .wallets
        .iter()
        .find(|w| w.id.as_str() == SOLANA_WALLET)
        .expect("a Solana wallet");
    let key = cluster
        .active()
        .key(&wallet.key)
        .expect("its key")
        .group_key;
    let mut message = sol(&EXCHANGE, lamports);
    // Legacy message: header (3), count (1), then the first account is the payer.
    message[4..36].copy_from_slice(key.as_bytes());
    request(
        cluster,
        SOLANA_WALLET,
        Network::SOLANA,
        message,
        external_id,
    )
}

/// A signed request for any transaction, from a wallet's own address.
pub fn request(
    cluster: &mut Cluster,
    wallet: &str,
    network: Network,
    transaction: Vec<u8>,
    external_id: &str,
) -> Envelope {
    cluster.deployment.set_now(now());
    let content = cluster.chain.active().content();
    let wallet = content.wallets.iter().find(|w| w.id.as_str() == wallet);
    let wallet = wallet.expect("the wallet").clone();
    let path = wallet.path.clone();
    let deployment = &cluster.deployment;
    let mut body = deployment.sign_request("x", &wallet, &path, network, transaction);
    body.external_id = ExternalId::new(external_id).expect("an external id");
    deployment.sign(PAYMENTS, 600, body)
}

/// The signature verifies under the pinned key over the bytes of the request, and makes a transaction: its id.
pub fn assemble(cluster: &Cluster, request: &Envelope, signature: &Signature) -> String {
    let directory = cluster.active().directory();
    let opened = directory.open::<SignRequest>(request).expect("a request");
    let facts = Facts::establish(cluster.active(), opened.body()).expect("facts");
    let transaction = facts.transaction();
    let signed = transaction.assemble(signature, facts.public_key());
    signed.expect("a valid signature").tx_id
}

/// One attempt: prepare at all participants and sign at all of them. The transaction's id when every one of them has the
/// same valid signature.
///
/// # Errors
/// The first answer without a signature.
pub async fn pay(
    cluster: &mut Cluster,
    request: &Envelope,
    participants: &[MemberId],
    attempt: u32,
) -> Result<String, CallError> {
    let authorization = cluster.authorize(request, participants, attempt);
    finish(cluster, &authorization, request, participants).await
}

/// The same with an authorization that exists.
///
/// # Errors
/// The first answer without a signature.
pub async fn finish(
    cluster: &Cluster,
    authorization: &Envelope,
    request: &Envelope,
    participants: &[MemberId],
) -> Result<String, CallError> {
    let answers = cluster.sign(authorization, request, participants).await?;
    let mut ids = Vec::new();
    for answer in answers {
        ids.push(assemble(cluster, request, &answer?[0]));
    }
    assert!(
        ids.windows(2).all(|two| two[0] == two[1]),
        "one session, one signature: {ids:?}"
    );
    Ok(ids.swap_remove(0))
}

/// Further attempts, from `attempt` on, while nodes come back and earlier sessions end: what a coordinator does.
pub async fn pay_in_the_end(
    cluster: &mut Cluster,
    request: &Envelope,
    participants: &[MemberId],
    attempt: u32,
) -> String {
    let until = Instant::now() + Duration::from_secs(40);
    let mut attempt = attempt;
    loop {
        match pay(cluster, request, participants, attempt).await {
            Ok(id) => return id,
            Err(error) => assert!(Instant::now() < until, "no signature: {error:?}"),
        }
        attempt += 1;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The problem that a node answered with.
pub fn problem<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Problem {
    match answer {
        Err(CallError::Problem(problem)) => *problem,
        other => panic!("a problem was expected, not {other:?}"),
    }
}

/// Its code.
pub fn code<T: std::fmt::Debug>(answer: Result<T, CallError>) -> ProblemCode {
    problem(answer).code().expect("a node's code")
}

/// Presignatures of a key that all these signers hold, waiting until there are as many.
pub async fn presignatures(
    cluster: &Cluster,
    key: &str,
    signers: &[MemberId],
    at_least: usize,
) -> Vec<Hash> {
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        let mut common: Option<Vec<Hash>> = None;
        for node in signers {
            let pools = cluster.pools(node).await.pools;
            let held = pools.into_iter();
            let held = held.filter(|p| p.key.as_str() == key && p.signers == signers);
            let held: Vec<Hash> = held.flat_map(|p| p.available).collect();
            common = Some(match common {
                None => held,
                Some(ids) => ids.into_iter().filter(|id| held.contains(id)).collect(),
            });
        }
        let common = common.unwrap_or_default();
        if common.len() >= at_least {
            return common;
        }
        assert!(
            Instant::now() < until,
            "the pool of {signers:?} stays at {}",
            common.len()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
