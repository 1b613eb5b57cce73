//! How many nodes are enough.

use std::collections::BTreeSet;

use super::super::chain::is_offline;
use super::super::model::{KeyRecord, PolicyBundle, Role};
use crate::id::{KeyId, MemberId};

/// How many of which nodes must stand behind a successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckQuorum {
    /// The key whose nodes these are; none: all nodes, where the bundle has no key.
    pub key: Option<KeyId>,
    /// The nodes.
    pub nodes: BTreeSet<MemberId>,
    /// How many of them are enough.
    pub needed: usize,
    /// How many of them may lie.
    pub max_faulty: usize,
}

impl AckQuorum {
    /// Those that a bundle asks for: all of them must be met.
    pub(in crate::bundle) fn of(bundle: &PolicyBundle) -> Vec<Self> {
        // A machine with no network hears of a successor from the packages that are carried to it, and answers nobody.
        let keys = bundle
            .keys
            .iter()
            .filter(|k| !k.state.is_final() && !is_offline(bundle, k));
        let quorums: Vec<_> = keys.map(Self::of_key).collect();
        if !quorums.is_empty() {
            return quorums;
        }
        let nodes = all_nodes(bundle);
        vec![Self {
            key: None,
            needed: majority(nodes.len(), 0),
            nodes,
            max_faulty: 0,
        }]
    }

    fn of_key(key: &KeyRecord) -> Self {
        let max_faulty = usize::from(key.max_faulty);
        Self {
            key: Some(key.id.clone()),
            nodes: key.nodes.iter().cloned().collect(),
            needed: key.stop_quorum().max(majority(key.nodes.len(), max_faulty)),
            max_faulty,
        }
    }

    /// How many of its nodes are among these.
    pub(super) fn have(&self, nodes: &BTreeSet<&MemberId>) -> usize {
        self.nodes.iter().filter(|n| nodes.contains(n)).count()
    }

    pub(super) fn is_met(&self, nodes: &BTreeSet<&MemberId>) -> bool {
        self.have(nodes) >= self.needed
    }
}

/// All nodes of a bundle.
pub(super) fn all_nodes(bundle: &PolicyBundle) -> BTreeSet<MemberId> {
    let nodes = bundle
        .members
        .iter()
        .filter(|m| m.roles.contains(&Role::Node));
    nodes.map(|m| m.id.clone()).collect()
}

/// The smallest number of which any two sets among `n` share more than `f`.
fn majority(n: usize, f: usize) -> usize {
    (n.saturating_add(f) / 2).saturating_add(1)
}
