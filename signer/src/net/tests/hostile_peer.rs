//! Frames that must not get through, straight into the routing of one node.

use countersign_policy::testing::member;
use countersign_policy::{Hash, MemberId};

use super::fixtures::*;
use crate::net::*;
use crate::wire::{ProblemCode, path};

fn give(node: &TestNode, sender: &str, frames: &[Frame]) -> Vec<Verdict> {
    let batch = encode_batch(frames.iter()).unwrap();
    node.network.receive(&member(sender), &batch).unwrap()
}

async fn lone(limits: PeerLimits) -> (Deployment, Vec<TestNode>) {
    let deployment = Deployment::new(3);
    let options = Options {
        limits,
        faults: None,
    };
    let nodes = deployment.cluster(3, options).await;
    (deployment, nodes)
}

fn open(node: &TestNode, channel: Hash) -> Channel {
    let terms = ChannelTerms {
        channel,
        execution: hash("execution"),
        peers: members(&["node-2"]),
        deadline: soon(),
    };
    node.network.open_channel(terms).unwrap()
}

#[tokio::test]
async fn a_repetition_is_dropped_and_a_different_body_is_reported_once() {
    let (_deployment, nodes) = lone(PeerLimits::default()).await;
    let node = &nodes[0];
    let channel = open(node, hash("c"));
    let first = frame("node-2", "node-1", hash("c"), b"one");
    let other = frame("node-2", "node-1", hash("c"), b"two");
    let third = frame("node-2", "node-1", hash("c"), b"three");
    let verdicts = give(
        node,
        "node-2",
        &[first.clone(), first.clone(), other, third],
    );
    assert_eq!(
        verdicts,
        [
            Verdict::Taken,
            Verdict::Taken,
            Verdict::Dropped,
            Verdict::Dropped
        ]
    );
    let received = |event| match event {
        ChannelEvent::Frame(received) | ChannelEvent::Equivocation(received) => received.body,
        ChannelEvent::ExecutionMismatch { .. } => panic!("mismatch"),
    };
    let event = channel.recv(Lane::Protocol).await.unwrap();
    assert!(matches!(event, ChannelEvent::Frame(_)));
    assert_eq!(received(event), b"one");
    let event = channel.recv(Lane::Protocol).await.unwrap();
    assert!(matches!(event, ChannelEvent::Equivocation(_)));
    assert_eq!(received(event), b"two");
    // Taken frames are remembered.
    assert_eq!(give(node, "node-2", &[first]), [Verdict::Taken]);
    assert_eq!(get(&node.network.counters().duplicates), 2);
    assert_eq!(get(&node.network.counters().equivocations), 2);
    channel.close();
}

#[tokio::test]
async fn another_execution_is_reported_without_blame_and_never_delivered() {
    let (_deployment, nodes) = lone(PeerLimits::default()).await;
    let node = &nodes[0];
    let channel = open(node, hash("c"));
    let foreign = Frame {
        execution: hash("yesterday"),
        ..frame("node-2", "node-1", hash("c"), b"x")
    };
    assert_eq!(
        give(node, "node-2", &[foreign.clone(), foreign]),
        [Verdict::Dropped; 2]
    );
    let event = channel.recv(Lane::Protocol).await.unwrap();
    assert_eq!(
        event,
        ChannelEvent::ExecutionMismatch {
            peer: member("node-2"),
            execution: hash("yesterday"),
        }
    );
    assert_eq!(get(&node.network.counters().mismatches), 2);
    assert_eq!(get(&node.network.counters().delivered), 0);
}

#[tokio::test]
async fn a_stranger_never_disturbs_a_session() {
    let (_deployment, nodes) = lone(PeerLimits::default()).await;
    let node = &nodes[0];
    let channel = open(node, hash("c"));
    let dropped = [Verdict::Dropped];
    // A node that is no peer of this channel, in its own name and in the peer's.
    let own = frame("node-3", "node-1", hash("c"), b"x");
    assert_eq!(give(node, "node-3", &[own]), dropped);
    let forged = frame("node-2", "node-1", hash("c"), b"x");
    assert_eq!(give(node, "node-3", &[forged]), dropped);
    // The peer, but for somebody else.
    let misaddressed = frame("node-2", "node-3", hash("c"), b"x");
    assert_eq!(give(node, "node-2", &[misaddressed]), dropped);
    assert_eq!(get(&node.network.counters().strangers), 3);
    let honest = frame("node-2", "node-1", hash("c"), b"honest");
    assert_eq!(give(node, "node-2", &[honest]), [Verdict::Taken]);
    let event = channel.recv(Lane::Protocol).await.unwrap();
    assert!(matches!(event, ChannelEvent::Frame(r) if r.body == b"honest"));
}

#[tokio::test]
async fn yesterdays_channel_is_neither_parked_nor_opened_again() {
    let (_deployment, nodes) = lone(PeerLimits::default()).await;
    let node = &nodes[0];
    drop(open(node, hash("c")));
    let replay = frame("node-2", "node-1", hash("c"), b"x");
    assert_eq!(give(node, "node-2", &[replay]), [Verdict::Dropped]);
    assert_eq!(get(&node.network.counters().late), 1);
    assert_eq!(get(&node.network.counters().parked), 0);
    let terms = |peers, channel| ChannelTerms {
        channel,
        execution: hash("execution"),
        peers,
        deadline: soon(),
    };
    let open = |terms| node.network.open_channel(terms).map(|_| ());
    let peers = members(&["node-2"]);
    assert_eq!(
        open(terms(peers.clone(), hash("c"))),
        Err(OpenError::Used(hash("c")))
    );
    let held = node.network.open_channel(terms(peers.clone(), hash("d")));
    assert_eq!(
        open(terms(peers, hash("d"))),
        Err(OpenError::Open(hash("d")))
    );
    drop(held);
    for stranger in ["node-1", "node-9"] {
        assert_eq!(
            open(terms(members(&[stranger]), hash("e"))),
            Err(OpenError::UnknownPeer(member(stranger)))
        );
    }
}

#[tokio::test]
async fn a_flood_fills_only_its_senders_share() {
    let limits = PeerLimits {
        parked_frames: 10,
        channel_frames: 5,
        channel_rounds: 8,
        max_channels: 2,
        ..PeerLimits::default()
    };
    let (_deployment, nodes) = lone(limits).await;
    let node = &nodes[0];
    let nth = |from: &str, channel: &str, round| Frame {
        round,
        ..frame(from, "node-1", hash(channel), b"x")
    };
    // Early frames: five for a channel, ten in all.
    let early: Vec<Verdict> = (0..6)
        .flat_map(|round| give(node, "node-2", &[nth("node-2", "c", round)]))
        .collect();
    assert_eq!(early[..5], [Verdict::Taken; 5]);
    assert_eq!(early[5], Verdict::Busy);
    for i in 0..5 {
        let channel = format!("d{i}");
        assert_eq!(
            give(node, "node-2", &[nth("node-2", &channel, 0)]),
            [Verdict::Taken]
        );
    }
    assert_eq!(
        give(node, "node-2", &[nth("node-2", "e", 0)]),
        [Verdict::Busy]
    );
    // A resend of a parked frame takes no room and is taken; another peer has room.
    assert_eq!(
        give(node, "node-2", &[nth("node-2", "c", 0)]),
        [Verdict::Taken]
    );
    assert_eq!(
        give(node, "node-3", &[nth("node-3", "c", 0)]),
        [Verdict::Taken]
    );
    // The open channel holds five of them until the session reads, and eight different rounds in all.
    let channel = open(node, hash("c"));
    assert_eq!(
        give(node, "node-2", &[nth("node-2", "c", 5)]),
        [Verdict::Busy]
    );
    for _ in 0..5 {
        channel.recv(Lane::Protocol).await.unwrap();
    }
    let after: Vec<Verdict> = (5..9)
        .flat_map(|round| give(node, "node-2", &[nth("node-2", "c", round)]))
        .collect();
    assert_eq!(after[..3], [Verdict::Taken; 3]);
    assert_eq!(after[3], Verdict::Busy);
    let second = open(node, hash("d0"));
    let third = node.network.open_channel(ChannelTerms {
        channel: hash("d1"),
        ..second.terms().clone()
    });
    assert_eq!(third.map(|_| ()), Err(OpenError::TooMany(2)));
}

#[tokio::test]
async fn garbage_oversize_and_uninvited_batches_are_refused_over_the_wire() {
    let (deployment, nodes) = lone(PeerLimits::default()).await;
    let node = &nodes[0];
    let channel = open(node, hash("c"));
    let port = node.server.local_address().port();
    let peer = deployment.client("node-2", "node-1", port);
    let code = |answer: Result<_, CallError>| match answer {
        Err(CallError::Problem(problem)) => problem.code(),
        Ok(_) => panic!("taken"),
        Err(_) => None,
    };
    for body in [vec![], b"CSF1".to_vec(), vec![0xff; 5000]] {
        let answer = peer.post_bytes(path::FRAMES, body, SOON).await;
        assert_eq!(code(answer), Some(ProblemCode::Malformed));
    }
    let oversize = vec![0; MAX_BATCH_BYTES + 1];
    let answer = peer.post_bytes(path::FRAMES, oversize, SOON).await;
    assert!(answer.is_err());
    let coordinator = deployment.client("coordinator-1", "node-1", port);
    let honest = encode_batch([frame("node-2", "node-1", hash("c"), b"x")].iter()).unwrap();
    let answer = coordinator
        .post_bytes(path::FRAMES, honest.clone(), SOON)
        .await;
    assert_eq!(code(answer), Some(ProblemCode::Forbidden));
    assert!(get(&node.network.counters().garbage) >= 3);
    let verdicts = peer.post_bytes(path::FRAMES, honest, SOON).await.unwrap();
    assert_eq!(decode_verdicts(&verdicts).unwrap(), [Verdict::Taken]);
    let event = channel.recv(Lane::Protocol).await.unwrap();
    assert!(matches!(event, ChannelEvent::Frame(_)));
}

#[tokio::test]
async fn a_session_cannot_send_beyond_its_peers_or_the_size_limit() {
    let (_deployment, nodes) = lone(PeerLimits::default()).await;
    let channel = open(&nodes[0], hash("c"));
    let to: MemberId = member("node-3");
    let refused = channel.send(&to, 0, FrameKind::Broadcast, vec![]).await;
    assert_eq!(refused, Err(ChannelError::NotAPeer(to)));
    let large = vec![0; MAX_BODY_BYTES + 1];
    let peer = member("node-2");
    let refused = channel.send(&peer, 0, FrameKind::Broadcast, large).await;
    assert_eq!(refused, Err(ChannelError::TooLarge(MAX_BODY_BYTES + 1)));
}
