//! A real protocol over real links.

use std::time::{Duration, Instant};

use super::fixtures::*;
use crate::net::*;
use crate::threshold::{
    ExecutionId, GeneratedKey, Link as _, LinkError, Outgoing, Parameters, PartyIndex, Protocol,
    Recipient, keygen,
};

/// DKLs23 key generation among three nodes, each on a thread of its own.
async fn generate(faults: Option<&'static str>) -> Vec<GeneratedKey> {
    let deployment = Deployment::new(3);
    let options = Options {
        faults,
        ..Options::default()
    };
    let nodes = deployment.cluster(3, options).await;
    let parties: Vec<_> = (0..)
        .map(PartyIndex)
        .zip(nodes.iter().map(|n| n.id.clone()))
        .collect();
    let execution = ExecutionId::derive("test", [b"execution".as_slice()]);
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut threads = Vec::new();
    for (party, node) in parties.iter().map(|(party, _)| *party).zip(&nodes) {
        let others = nodes.iter().filter(|other| other.id != node.id);
        let terms = ChannelTerms {
            channel: hash("keygen"),
            execution: hash("execution"),
            peers: others.map(|other| other.id.clone()).collect(),
            deadline,
        };
        let channel = node.network.open_channel(terms).unwrap();
        let mut link = PeerLink::new(channel, parties.clone(), deadline);
        threads.push(tokio::task::spawn_blocking(move || {
            let parameters = Parameters::new(2, 3).unwrap();
            let protocol = Protocol::Dkls23;
            keygen(protocol, parameters, party, execution, &mut link)
        }));
    }
    let mut keys = Vec::new();
    for thread in threads {
        keys.push(thread.await.unwrap().unwrap());
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_make_one_key_over_tls() {
    let keys = generate(None).await;
    assert!(keys.iter().all(|key| key.public == keys[0].public));
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_make_one_key_over_a_bad_network() {
    let bad = "drop=15,forget=15,duplicate=15,reorder=30,delay=30,delay_ms=10,garbage=10";
    let keys = generate(Some(bad)).await;
    assert!(keys.iter().all(|key| key.public == keys[0].public));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_at_its_deadline_at_a_mismatch_and_when_it_is_closed() {
    let deployment = Deployment::new(3);
    let nodes = deployment.cluster(2, Options::default()).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    let parties = [(PartyIndex(0), a.id.clone()), (PartyIndex(1), b.id.clone())];
    let silent = a.open(hash("silent"), hash("e"), &[b]);
    let deadline = Instant::now() + Duration::from_millis(100);
    let mut link = PeerLink::new(silent, parties.clone(), deadline);
    let (ended, mut link) = tokio::task::spawn_blocking(move || (link.recv(), link))
        .await
        .unwrap();
    assert_eq!(ended, Err(LinkError::Deadline));
    let to_nobody = Outgoing {
        round: 0,
        recipient: Recipient::One(PartyIndex(7)),
        body: vec![],
    };
    assert_eq!(link.send(to_nobody), Err(LinkError::Closed));

    let mine = a.open(hash("c"), hash("mine"), &[b]);
    let theirs = b.open(hash("c"), hash("theirs"), &[a]);
    let mut link = PeerLink::new(mine, parties.clone(), soon());
    theirs
        .send(&a.id, 0, FrameKind::Broadcast, vec![1])
        .await
        .unwrap();
    let ended = tokio::task::spawn_blocking(move || link.recv());
    assert_eq!(ended.await.unwrap(), Err(LinkError::ExecutionMismatch));

    let channel = a.open(hash("d"), hash("e"), &[b]);
    let mut link = PeerLink::new(channel.clone(), parties, soon());
    let waiting = tokio::task::spawn_blocking(move || link.recv());
    tokio::time::sleep(Duration::from_millis(50)).await;
    channel.close();
    assert_eq!(waiting.await.unwrap(), Err(LinkError::Closed));
}
