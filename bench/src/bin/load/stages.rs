//! What the nodes say of their own work: how long each part of a signature took, and how often they waited for their disks.

use std::collections::BTreeMap;

use countersign_signer::wire::{NodeFigures, NodeStatus, path};
use serde::Serialize;

use crate::deployment::{CALL, Deployment, Outcome};

/// The parts that limits and ledgers add: a reservation, the exchange of ledger heads, a release.
const LEDGER: [&str; 3] = ["reserve", "confirm", "release"];

/// The figures of all nodes, added up.
pub async fn read(deployment: &Deployment) -> Outcome<NodeFigures> {
    let mut all = NodeFigures::default();
    for client in deployment.clients.values() {
        let status: NodeStatus = client.get_json(path::STATUS, CALL).await?;
        all.commits += status.figures.commits;
        all.rows += status.figures.rows;
        for (stage, classes) in status.figures.stages {
            let sums = all.stages.entry(stage).or_default();
            for (micros, count) in classes {
                *sums.entry(micros).or_default() += count;
            }
        }
    }
    Ok(all)
}

/// The nodes' side of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Stages {
    /// Commits of state files per request, each of which waits for the disk, of all nodes together.
    pub commits_per_request: f64,
    /// The median of each part, in milliseconds; classes are a quarter wide.
    pub p50_ms: BTreeMap<String, f64>,
    /// The sum of the medians of what limits and ledgers add.
    pub ledger_ms: f64,
}

impl Stages {
    /// What came between two readings, over so many requests.
    pub fn between(before: &NodeFigures, after: &NodeFigures, requests: usize) -> Self {
        let medians: BTreeMap<String, f64> = after
            .stages
            .iter()
            .filter_map(|(stage, classes)| {
                let earlier = before.stages.get(stage);
                let earlier = |micros: &u64| earlier.and_then(|c| c.get(micros)).copied();
                let counts = classes
                    .iter()
                    .map(|(micros, count)| (*micros, count - earlier(micros).unwrap_or(0)));
                Some((stage.clone(), median(&counts.collect())?))
            })
            .collect();
        let ledger = LEDGER.iter().filter_map(|stage| medians.get(*stage));
        Self {
            commits_per_request: (after.commits - before.commits) as f64 / requests.max(1) as f64,
            ledger_ms: ledger.sum(),
            p50_ms: medians,
        }
    }
}

impl std::fmt::Display for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2} disk commits a request; p50 of",
            self.commits_per_request
        )?;
        for (stage, p50) in &self.p50_ms {
            write!(f, " {stage} {p50:.2}")?;
        }
        write!(f, " ms; ledger together {:.2} ms", self.ledger_ms)
    }
}

fn median(classes: &BTreeMap<u64, u64>) -> Option<f64> {
    let half = classes.values().sum::<u64>().div_ceil(2);
    let mut seen = 0;
    let class = classes.iter().find(|(_, count)| {
        seen += **count;
        half > 0 && seen >= half
    });
    class.map(|(micros, _)| *micros as f64 / 1e3)
}
