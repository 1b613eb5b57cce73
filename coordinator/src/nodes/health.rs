//! Which nodes to ask: those that answered last, and in turn, so that load spreads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_policy::{Hash, KeyId, MemberId};
use countersign_signer::wire::NodeStatus;

/// How long a node that failed is asked last.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// What is known about each node.
#[derive(Debug, Default)]
pub(crate) struct Health {
    nodes: Mutex<BTreeMap<MemberId, Known>>,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    failed_at: Option<Instant>,
    running: usize,
    status: Option<NodeStatus>,
    error: Option<String>,
    silent: bool,
}

impl Health {
    /// Orders `nodes` from the best to the worst: free of blame, not failing lately, following the active bundle, with
    /// the fewest running sessions, and otherwise in turn.
    pub(crate) fn order(
        &self,
        nodes: &[MemberId],
        avoid: &BTreeSet<MemberId>,
        bundle: Hash,
    ) -> Vec<MemberId> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.rank(nodes, avoid, bundle, turn)
    }

    /// The same without taking a turn: for whoever chooses more nodes for what [`Health::order`] began.
    pub(crate) fn order_again(
        &self,
        nodes: &[MemberId],
        avoid: &BTreeSet<MemberId>,
        bundle: Hash,
    ) -> Vec<MemberId> {
        self.rank(nodes, avoid, bundle, self.turn.load(Ordering::Relaxed))
    }

    fn rank(
        &self,
        nodes: &[MemberId],
        avoid: &BTreeSet<MemberId>,
        bundle: Hash,
        turn: usize,
    ) -> Vec<MemberId> {
        let known = self.lock();
        let count = nodes.len().max(1);
        let mut ranked: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(i, node)| {
                let place = i.wrapping_add(turn).checked_rem(count).unwrap_or(0);
                let k = known.get(node);
                let failing = k
                    .and_then(|k| k.failed_at)
                    .is_some_and(|at| at.elapsed() < COOL_DOWN);
                let behind = k
                    .and_then(|k| k.status.as_ref())
                    .is_some_and(|s| s.bundle != bundle);
                let running = k.map_or(0, |k| k.running);
                (
                    (avoid.contains(node), failing, behind, running, place),
                    node,
                )
            })
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, node)| node.clone()).collect()
    }

    /// Whether one of the two refuses to sign with the other for this key.
    pub(crate) fn banned(&self, key: &KeyId, a: &MemberId, b: &MemberId) -> bool {
        let known = self.lock();
        let bans = |who: &MemberId, whom: &MemberId| {
            let status = known.get(who).and_then(|k| k.status.as_ref());
            status.is_some_and(|s| {
                s.keys
                    .iter()
                    .any(|held| held.key == *key && held.banned.contains(whom))
            })
        };
        bans(a, b) || bans(b, a)
    }

    /// A session starts on these nodes.
    pub(crate) fn started(&self, nodes: &[MemberId]) {
        let mut known = self.lock();
        for node in nodes {
            let k = known.entry(node.clone()).or_default();
            k.running = k.running.saturating_add(1);
        }
    }

    /// It ended.
    pub(crate) fn ended(&self, nodes: &[MemberId]) {
        let mut known = self.lock();
        for node in nodes {
            let k = known.entry(node.clone()).or_default();
            k.running = k.running.saturating_sub(1);
        }
    }

    /// The node did not do what it should: for some time others come first.
    pub(crate) fn failed(&self, node: &MemberId, why: &str) {
        let mut known = self.lock();
        let k = known.entry(node.clone()).or_default();
        k.failed_at = Some(Instant::now());
        k.error = Some(why.to_owned());
    }

    /// The node answered a status call.
    pub(crate) fn answered(&self, node: &MemberId, status: NodeStatus) {
        let mut known = self.lock();
        let k = known.entry(node.clone()).or_default();
        k.status = Some(status);
        if std::mem::take(&mut k.silent) {
            k.failed_at = None;
        }
        if k.failed_at.is_none_or(|at| at.elapsed() >= COOL_DOWN) {
            k.error = None;
        }
    }

    /// The node did not answer a status call.
    pub(crate) fn silent(&self, node: &MemberId, why: &str) {
        self.failed(node, why);
        if let Some(k) = self.lock().get_mut(node) {
            k.status = None;
            k.silent = true;
        }
    }

    /// The last status of a node, or why there is none.
    pub(crate) fn status(&self, node: &MemberId) -> (Option<NodeStatus>, Option<String>) {
        let known = self.lock();
        known
            .get(node)
            .map_or((None, None), |k| (k.status.clone(), k.error.clone()))
    }

    /// Whether the node was asked for its status and did not answer.
    pub(crate) fn is_down(&self, node: &MemberId) -> bool {
        self.lock()
            .get(node)
            .is_some_and(|k| k.status.is_none() && k.silent)
    }

    /// Whether the node answered its last status call.
    pub(crate) fn is_up(&self, node: &MemberId) -> bool {
        self.lock().get(node).is_some_and(|k| k.status.is_some())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<MemberId, Known>> {
        // Each change is complete in itself, so a panic elsewhere leaves the map whole.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> Vec<MemberId> {
        names.iter().map(|n| MemberId::new(*n).unwrap()).collect()
    }

    #[test]
    fn load_goes_around() {
        let health = Health::default();
        let nodes = members(&["a", "b", "c"]);
        let mut first = BTreeSet::new();
        for _ in 0..3 {
            first.insert(health.order(&nodes, &BTreeSet::new(), Hash::ZERO)[0].clone());
        }
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn failing_busy_and_blamed_nodes_come_last() {
        let health = Health::default();
        let nodes = members(&["a", "b", "c", "d"]);
        health.failed(&nodes[0], "x");
        health.started(&nodes[1..2]);
        let avoid = BTreeSet::from([nodes[2].clone()]);
        for _ in 0..4 {
            let order = health.order(&nodes, &avoid, Hash::ZERO);
            assert_eq!(order, members(&["d", "b", "a", "c"]));
        }
    }
}
