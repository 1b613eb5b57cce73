//! What arrives, exactly once, whatever the wire does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fixtures::*;
use crate::net::*;

async fn next(channel: &Channel, lane: Lane) -> Received {
    match channel.recv(lane).await.unwrap() {
        ChannelEvent::Frame(received) => received,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn frames_arrive_with_their_sender_round_and_kind_on_their_lane() {
    let deployment = Deployment::new(3);
    let nodes = deployment.cluster(2, Options::default()).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    let (channel, execution) = (hash("c"), hash("e"));
    let at_a = a.open(channel, execution, &[b]);
    let at_b = b.open(channel, execution, &[a]);
    for (round, kind) in [
        (0, FrameKind::Broadcast),
        (7, FrameKind::Confirm),
        (3, FrameKind::PointToPoint),
        (4, FrameKind::Echo),
        (0, FrameKind::Control),
    ] {
        at_a.send(&b.id, round, kind, vec![round as u8, kind as u8])
            .await
            .unwrap();
    }
    // Each lane is read without the other.
    for (lane, expected) in [
        (
            Lane::Session,
            vec![(7, FrameKind::Confirm), (0, FrameKind::Control)],
        ),
        (
            Lane::Protocol,
            vec![
                (0, FrameKind::Broadcast),
                (3, FrameKind::PointToPoint),
                (4, FrameKind::Echo),
            ],
        ),
    ] {
        let mut arrived = BTreeMap::new();
        for _ in &expected {
            let received = next(&at_b, lane).await;
            assert_eq!(received.from, a.id);
            let body = vec![received.round as u8, received.kind as u8];
            assert_eq!(received.body, body);
            arrived.insert((received.round, received.kind), ());
        }
        assert!(expected.iter().all(|key| arrived.contains_key(key)));
    }
    eventually("the backlog is gone", || a.network.backlog(&b.id) == 0).await;
}

/// Sends 300 frames from a to b and checks that each arrives once.
async fn exchange(a: &TestNode, b: &TestNode, trouble: impl AsyncFn(u16)) {
    let at_a = a.open(hash("c"), hash("e"), &[b]);
    let at_b = b.open(hash("c"), hash("e"), &[a]);
    let receiving = tokio::spawn(async move {
        let mut rounds = Vec::new();
        for _ in 0..300 {
            rounds.push(next(&at_b, Lane::Protocol).await.round);
        }
        // Whatever is still on its way is a repetition.
        let more = tokio::time::timeout(Duration::from_millis(300), at_b.recv(Lane::Protocol));
        assert!(more.await.is_err(), "more than was sent");
        rounds
    });
    for round in 0..300 {
        let body = vec![round as u8; 100];
        at_a.send(&b.id, round, FrameKind::PointToPoint, body)
            .await
            .unwrap();
        trouble(round).await;
    }
    let mut rounds = receiving.await.unwrap();
    rounds.sort_unstable();
    assert_eq!(rounds, (0..300).collect::<Vec<u16>>());
}

#[tokio::test]
async fn a_connection_that_breaks_again_and_again_loses_and_repeats_nothing() {
    let deployment = Deployment::new(3);
    let nodes = deployment.cluster(2, Options::default()).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    let cutting = async |round: u16| {
        if round % 20 == 10 {
            a.wires[0].cut();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    exchange(a, b, cutting).await;
    assert!(get(&a.server.counters().accepted) + get(&b.server.counters().accepted) > 1);
}

#[tokio::test]
async fn a_peer_that_was_down_gets_everything_when_it_is_back() {
    let deployment = Deployment::new(3);
    let nodes = deployment.cluster(2, Options::default()).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    a.wires[0].set_down(true);
    let rising = async |round: u16| {
        if round == 250 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            a.wires[0].set_down(false);
        }
    };
    exchange(a, b, rising).await;
    assert!(get(&a.network.counters().resent) > 0);
}

#[tokio::test]
async fn lost_repeated_shuffled_delayed_and_damaged_batches_change_nothing() {
    let deployment = Deployment::new(3);
    let options = Options {
        faults: Some(
            "drop=15,forget=15,duplicate=15,reorder=30,delay=20,delay_ms=5,garbage=10,oversize=1",
        ),
        ..Options::default()
    };
    let nodes = deployment.cluster(2, options).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    exchange(a, b, async |_| {
        tokio::time::sleep(Duration::from_millis(1)).await;
    })
    .await;
    let counters = b.network.counters();
    assert_eq!(get(&counters.delivered), 300);
    assert!(get(&counters.duplicates) > 0);
    assert!(get(&counters.garbage) > 0);
    assert_eq!(get(&counters.equivocations), 0);
}

#[tokio::test]
async fn frames_that_come_early_wait_for_their_channel() {
    let deployment = Deployment::new(3);
    let nodes = deployment.cluster(2, Options::default()).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    let at_a = a.open(hash("c"), hash("e"), &[b]);
    at_a.send(&b.id, 1, FrameKind::Confirm, vec![1])
        .await
        .unwrap();
    eventually("parked", || get(&b.network.counters().parked) == 1).await;
    let at_b = b.open(hash("c"), hash("e"), &[a]);
    assert_eq!(next(&at_b, Lane::Session).await.body, [1]);
}

#[tokio::test]
async fn what_was_handed_over_is_delivered_after_the_channel_is_closed() {
    let deployment = Deployment::new(3);
    let nodes = deployment.cluster(2, Options::default()).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    let at_b = b.open(hash("c"), hash("e"), &[a]);
    let at_a = a.open(hash("c"), hash("e"), &[b]);
    at_a.send(&b.id, 1, FrameKind::Broadcast, vec![9])
        .await
        .unwrap();
    drop(at_a);
    assert_eq!(next(&at_b, Lane::Protocol).await.body, [9]);
    at_b.close();
    assert_eq!(at_b.recv(Lane::Protocol).await, Err(ChannelError::Closed));
    let refused = at_b.send(&a.id, 1, FrameKind::Broadcast, vec![]).await;
    assert_eq!(refused, Err(ChannelError::Closed));
    assert_eq!(b.network.open_channels() + a.network.open_channels(), 0);
}

#[tokio::test]
async fn nothing_is_sent_or_awaited_after_the_deadline() {
    let deployment = Deployment::new(3);
    let options = Options {
        limits: PeerLimits {
            queue_frames: 2,
            ..PeerLimits::default()
        },
        faults: None,
    };
    let nodes = deployment.cluster(2, options).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    a.wires[0].set_down(true);
    let terms = ChannelTerms {
        channel: hash("c"),
        execution: hash("e"),
        peers: members(&["node-2"]),
        deadline: Instant::now() + Duration::from_millis(200),
    };
    let at_a = a.network.open_channel(terms).unwrap();
    for round in 0..2 {
        at_a.send(&b.id, round, FrameKind::Broadcast, vec![])
            .await
            .unwrap();
    }
    // The queue is full: the sender waits, and not for ever.
    let full = at_a.send(&b.id, 2, FrameKind::Broadcast, vec![]).await;
    assert_eq!(full, Err(ChannelError::Deadline));
    let waited = at_a.recv(Lane::Protocol).await;
    assert_eq!(waited, Err(ChannelError::Deadline));
    eventually("given up", || get(&a.network.counters().expired) == 2).await;
    assert_eq!(a.network.backlog(&b.id), 0);
}

#[tokio::test]
async fn a_thousand_channels_at_once_deliver_all_and_keep_nothing() {
    let deployment = Deployment::new(3);
    let nodes = deployment.cluster(2, Options::default()).await;
    let [a, b] = &nodes[..] else { unreachable!() };
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..1000 {
        let channel = hash(&format!("channel {i}"));
        for (here, there) in [(a, b), (b, a)] {
            let open = here.open(channel, hash("e"), &[there]);
            let to = there.id.clone();
            tasks.spawn(async move {
                for round in 0..3 {
                    let body = vec![round as u8; 1024];
                    open.send(&to, round, FrameKind::Broadcast, body)
                        .await
                        .unwrap();
                    let received = next(&open, Lane::Protocol).await;
                    assert_eq!(received.body.len(), 1024);
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for node in [a, b] {
        assert_eq!(get(&node.network.counters().delivered), 3000);
        assert_eq!(node.network.open_channels(), 0);
        let peer = if node.id == a.id { &b.id } else { &a.id };
        eventually("backlog gone", || node.network.backlog(peer) == 0).await;
    }
}
