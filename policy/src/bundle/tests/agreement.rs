//! Whatever happens in whichever order, two honest nodes never follow different successors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use crate::bundle::{ActiveBundle, BundleChain, Succession};
use crate::statement::{AckStage, BundleAck, Statement};
use crate::testing::{APPROVERS, TestDeployment, member};
use crate::{Envelope, Hash, Timestamp};

const DELAY: u64 = 3_600;

/// Four successors of one bundle: two forks, one that names the first, one that names both.
struct World {
    deployment: TestDeployment,
    chain: BundleChain,
    genesis: Hash,
    successors: Vec<Envelope>,
    vetoes: Vec<Envelope>,
    lies: Vec<Envelope>,
    /// Each honest node, knowing all successors and nothing else.
    honest: Vec<Succession>,
    faulty: usize,
}

static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| SHAPES.map(World::new).into());

/// n nodes, t sign, f lie; and whether there is a delay.
const SHAPES: [(usize, u16, u16, bool); 8] = [
    (3, 2, 0, false),
    (3, 2, 0, true),
    (4, 3, 0, true),
    (5, 4, 0, false),
    (4, 3, 1, false),
    (4, 3, 1, true),
    (5, 3, 1, false),
    (5, 4, 1, true),
];

impl World {
    fn new(shape: (usize, u16, u16, bool)) -> Self {
        let (n, t, f, delayed) = shape;
        let mut deployment = TestDeployment::with_single_keys(n, t);
        deployment.set_max_faulty(f);
        let timing = &mut deployment.content_mut().timing;
        timing.activation_delay_seconds = if delayed { DELAY } else { 0 };
        let chain = deployment.chain();
        let make = |name: &str, forks: &[&Envelope]| {
            let mut supersedes: Vec<_> = forks.iter().map(|f| f.digest()).collect();
            supersedes.sort_unstable();
            deployment.successor(chain.active(), |c| {
                c.organisation = name.to_owned();
                c.supersedes = supersedes;
            })
        };
        let a = make("A", &[]);
        let b = make("B", &[]);
        let c = make("C", &[&a]);
        let d = make("D", &[&a, &b]);
        let successors = vec![a, b, c, d];
        let vetoes = successors.iter();
        let vetoes = vetoes.map(|s| deployment.veto(APPROVERS[0], s)).collect();
        let liars = deployment.nodes().split_off(n - usize::from(f));
        let lies = liars
            .iter()
            .flat_map(|liar| lies(&deployment, chain.active(), &successors, liar.as_str()))
            .collect();
        let start = deployment.now();
        let mut known = Succession::new(chain.active(), None);
        for successor in &successors {
            known.propose(&chain, successor, start).unwrap();
        }
        let honest = deployment.nodes().into_iter().take(n - usize::from(f));
        let honest = honest.map(|id| known.as_node(id)).collect();
        Self {
            honest,
            genesis: deployment.genesis_hash(),
            deployment,
            chain,
            successors,
            vetoes,
            lies,
            faulty: usize::from(f),
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// A node is asked to acknowledge a successor.
    Ask { node: usize, successor: usize },
    /// A node hears the pool's statements from one index on, up to a number of them.
    Hear {
        node: usize,
        from: usize,
        count: usize,
    },
    /// A veto of a successor reaches one node.
    Veto { node: usize, successor: usize },
    /// A node's own clock, which may be off by the skew, goes on.
    Wait { seconds: u64 },
    /// A node confirms what it owes.
    Due { node: usize },
    /// A node loses what it held in memory, and reads back what it stored itself.
    Restart { node: usize },
}

fn events(nodes: usize) -> impl Strategy<Value = Vec<Event>> {
    let node = 0..nodes;
    let event = prop_oneof![
        3 => (node.clone(), 0..4_usize).prop_map(|(node, successor)| Event::Ask { node, successor }),
        4 => (node.clone(), 0..30_usize, 1..30_usize)
            .prop_map(|(node, from, count)| Event::Hear { node, from, count }),
        1 => (node.clone(), 0..3_usize).prop_map(|(node, successor)| Event::Veto { node, successor }),
        2 => (0..DELAY * 2).prop_map(|seconds| Event::Wait { seconds }),
        3 => node.clone().prop_map(|node| Event::Due { node }),
        1 => node.prop_map(|node| Event::Restart { node }),
    ];
    prop::collection::vec(event, 20..70)
}

struct Node {
    id: String,
    succession: Succession,
    /// Its own acknowledgements and the successors it saw: what it stored.
    stored: Vec<Envelope>,
    /// What it heard since its last start, by place in the pool.
    heard: BTreeSet<usize>,
    followed: Option<Hash>,
}

/// Runs the events and returns what each honest node followed.
fn run(world: &World, events: &[Event]) -> BTreeMap<String, Hash> {
    let mut now = world.deployment.now();
    let honest = world.honest.len();
    let mut nodes: Vec<Node> = world
        .deployment
        .nodes()
        .iter()
        .zip(&world.honest)
        .map(|(id, succession)| Node {
            id: id.to_string(),
            succession: succession.clone(),
            stored: Vec::new(),
            heard: BTreeSet::new(),
            followed: None,
        })
        .collect();
    let mut pool = world.lies.clone();
    for event in events {
        match *event {
            Event::Wait { seconds } => now = now.plus_seconds(seconds),
            Event::Ask { node, successor } => {
                let node = &mut nodes[node % honest];
                let successor = &world.successors[successor];
                if node.followed.is_none()
                    && let Ok(body) = node.succession.acknowledge(&world.chain, successor, now)
                {
                    pool.push(say(world, node, body, now));
                }
            }
            Event::Hear { node, from, count } => {
                let node = &mut nodes[node % honest];
                for (i, ack) in pool.iter().enumerate().skip(from).take(count) {
                    if node.heard.insert(i) {
                        node.succession.take_ack(ack, now).unwrap();
                    }
                }
            }
            Event::Veto { node, successor } => {
                let veto = &world.vetoes[successor];
                let node = &mut nodes[node % honest];
                node.succession.take_veto(veto, now).unwrap();
            }
            Event::Due { node } => {
                let node = &mut nodes[node % honest];
                if node.followed.is_none()
                    && let Some(body) = node.succession.due(now)
                {
                    pool.push(say(world, node, body, now));
                }
            }
            Event::Restart { node } => {
                let node = node % honest;
                restart(world, node, &mut nodes[node], now);
            }
        }
        for node in &mut nodes {
            follow(world, node, now);
        }
    }
    nodes
        .into_iter()
        .filter_map(|n| Some((n.id, n.followed?)))
        .collect()
}

/// A liar confirms everything at once and has given up nothing.
fn lies(
    deployment: &TestDeployment,
    active: &ActiveBundle,
    successors: &[Envelope],
    liar: &str,
) -> Vec<Envelope> {
    let stages = [AckStage::Kept, AckStage::Confirmed];
    let acks = successors
        .iter()
        .flat_map(|s| stages.map(|stage| (s, stage)));
    acks.map(|(s, stage)| deployment.ack(liar, active, s, stage))
        .collect()
}

fn say(world: &World, node: &mut Node, body: BundleAck, now: Timestamp) -> Envelope {
    let me = member(&node.id);
    let ends = now.plus_seconds(86_400);
    let statement = Statement::new(world.genesis, me, now, ends, body, &mut rand_core::OsRng);
    let ack = world.deployment.sign_by(&statement, &[]);
    node.succession.take_ack(&ack, now).unwrap();
    node.stored.push(ack.clone());
    ack
}

fn restart(world: &World, index: usize, node: &mut Node, now: Timestamp) {
    node.heard.clear();
    node.succession = world.honest[index].clone();
    for own in &node.stored {
        node.succession.take_ack(own, now).unwrap();
    }
}

fn follow(world: &World, node: &mut Node, now: Timestamp) {
    if node.followed.is_some() {
        return;
    }
    let digests = world.successors.iter().map(Envelope::digest);
    let found: BTreeSet<_> = digests
        .filter(|d| node.succession.activatable(d, now).is_ok())
        .collect();
    assert!(found.len() < 2, "{} may follow two successors", node.id);
    node.followed = found.first().copied();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn two_honest_nodes_never_follow_different_successors(
        shape in 0..SHAPES.len(),
        events in events(5),
    ) {
        let followed = run(&WORLDS[shape], &events);
        let different: BTreeSet<_> = followed.values().collect();
        prop_assert!(different.len() < 2, "{followed:?} in {:?}", SHAPES[shape]);
    }
}

/// The check above says something: such runs do end with a successor, and with each of the four.
#[test]
fn every_successor_is_followed_in_some_run() {
    let mut followed = BTreeSet::new();
    for (shape, world) in SHAPES.iter().zip(WORLDS.iter()) {
        for (i, first) in world.successors.iter().enumerate() {
            let mut events: Vec<_> = match i {
                // The two that supersede come after others.
                2 | 3 => vec![Event::Ask {
                    node: 0,
                    successor: 0,
                }],
                _ => Vec::new(),
            };
            events.extend((0..5).map(|node| Event::Ask { node, successor: i }));
            let all = |node| Event::Hear {
                node,
                from: 0,
                count: 100,
            };
            events.extend((0..5).map(all));
            events.push(Event::Wait { seconds: DELAY });
            events.extend((0..5).map(|node| Event::Due { node }));
            events.extend((0..5).map(all));
            let honest = shape.0 - world.faulty;
            let end = run(world, &events);
            assert_eq!(end.len(), honest, "{shape:?} {i}");
            assert!(end.values().all(|d| *d == first.digest()), "{shape:?} {i}");
            followed.extend(end.into_values());
        }
    }
    assert_eq!(followed.len(), 4 * SHAPES.len());
}

/// Enough nodes confirm A and then C, which supersedes it; one that was away is told of A alone, the others of C alone.
#[test]
fn a_replacement_does_not_race_what_it_replaces() {
    for (shape, world) in SHAPES.iter().zip(WORLDS.iter()) {
        if shape.3 {
            continue;
        }
        let honest = world.honest.len();
        let lies = world.lies.len();
        let ask = |successor| move |node| Event::Ask { node, successor };
        let mut events: Vec<_> = (0..honest - 1).map(ask(0)).collect();
        events.extend((0..honest - 1).map(ask(2)));
        let hear = |node, from, count| Event::Hear { node, from, count };
        // The last one hears of A, and the liars; the others of C, and the liars.
        events.push(hear(honest - 1, 0, lies + honest - 1));
        for node in 0..honest - 1 {
            events.push(hear(node, 0, lies));
            events.push(hear(node, lies + honest - 1, honest - 1));
        }
        let followed = run(world, &events);
        let a = world.successors[0].digest();
        assert!(followed.values().all(|d| *d == a), "{shape:?} {followed:?}");
        assert_eq!(followed.len(), 1, "{shape:?}");
    }
}
