//! A transfer is prepared, agreed on, released and signed by real nodes over real TLS, with every protocol.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use countersign_policy::statement::SignRequest;
use countersign_policy::testing::transaction::{EXCHANGE, sol, usdt_erc20};
use countersign_policy::testing::{SOLANA_WALLET, WALLET};
use countersign_policy::{Envelope, ExternalId, Facts, Network, Protocol, Signature};
use countersign_signer::clock::now;
use countersign_tests::cluster::{Cluster, Place, child_entry};

#[tokio::test]
async fn child_entry_point() {
    child_entry().await;
}

fn request(
    cluster: &mut Cluster,
    wallet: &str,
    network: Network,
    transaction: Vec<u8>,
    external_id: &str,
) -> Envelope {
    cluster.deployment.set_now(now());
    let active = cluster.chain.active().clone();
    let wallet = active
        .content()
        .wallets
        .iter()
        .find(|w| w.id.as_str() == wallet)
        .unwrap()
        .clone();
    let mut body =
        cluster
            .deployment
            .sign_request("x", &wallet, &wallet.path, network, transaction);
    body.external_id = ExternalId::new(external_id).unwrap();
    cluster
        .deployment
        .sign(countersign_policy::testing::PAYMENTS, 600, body)
}

/// The signature verifies under the pinned key, over the bytes of the intent, and makes a transaction.
fn assemble(cluster: &Cluster, request: &Envelope, signature: &Signature) -> String {
    let opened = cluster
        .active()
        .directory()
        .open::<SignRequest>(request)
        .unwrap();
    let facts = Facts::establish(cluster.active(), opened.body()).unwrap();
    facts
        .transaction()
        .assemble(signature, facts.public_key())
        .unwrap()
        .tx_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dkls23_two_of_three_signs_with_every_pair() {
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    let nodes = cluster.members();
    for (i, pair) in [[0, 1], [0, 2], [1, 2]].iter().enumerate() {
        let participants = [nodes[pair[0]].clone(), nodes[pair[1]].clone()];
        let transaction = usdt_erc20(&EXCHANGE, 1_000_000, i as u64);
        let request = request(
            &mut cluster,
            WALLET,
            Network::ETHEREUM,
            transaction,
            &format!("payment-{i}"),
        );
        let authorization = cluster.authorize(&request, &participants, 1);
        let started = std::time::Instant::now();
        let answers = cluster
            .sign(&authorization, &request, &participants)
            .await
            .unwrap();
        println!("pair {pair:?}: {:?}", started.elapsed());
        for answer in answers {
            assemble(&cluster, &request, &answer.unwrap()[0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frost_three_of_five_signs() {
    let mut cluster = Cluster::start(5, 3, Place::Inside).await;
    cluster
        .make_key("hot-eddsa", Protocol::FrostEd25519, 3)
        .await;
    let nodes = cluster.members();
    let participants = [nodes[0].clone(), nodes[2].clone(), nodes[4].clone()];
    let record = cluster.active().content().keys[0].clone();
    let _ = &record;
    let transaction = sol_from(&cluster);
    let request = request(
        &mut cluster,
        SOLANA_WALLET,
        Network::SOLANA,
        transaction,
        "payment-1",
    );
    let authorization = cluster.authorize(&request, &participants, 1);
    for answer in cluster
        .sign(&authorization, &request, &participants)
        .await
        .unwrap()
    {
        assemble(&cluster, &request, &answer.unwrap()[0]);
    }
}

/// SOL from the cluster's own key: the sender stands in the bytes.
fn sol_from(cluster: &Cluster) -> Vec<u8> {
    let mut message = sol(&EXCHANGE, 5_000);
    let key = cluster.active().content().keys[0].group_key;
    // Legacy message: header (3), count (1), then the first account is the payer.
    message[4..36].copy_from_slice(key.as_bytes());
    message
}
