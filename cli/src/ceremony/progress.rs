//! A progress bar for each node of a ceremony.

use std::collections::BTreeMap;

use countersign_policy::statement::KeyCeremony;
use countersign_policy::{MemberId, Protocol};
use countersign_signer::wire::{CeremonyStatus, CeremonyStep};
use indicatif::ProgressBar;

use crate::output::Progress;

pub struct Bars {
    bars: BTreeMap<MemberId, ProgressBar>,
    /// Steps before the key generation: four primes and the auxiliary data, for CGGMP.
    before: u64,
}

impl Bars {
    pub fn new(progress: &Progress, order: &KeyCeremony) -> Self {
        let cggmp = order.protocol == Protocol::Cggmp24;
        let before: u64 = if cggmp { 5 } else { 0 };
        let length = before.saturating_add(3);
        let bars = order
            .nodes
            .iter()
            .map(|node| (node.clone(), progress.steps(node.as_str(), length)))
            .collect();
        Self { bars, before }
    }

    pub fn show(&mut self, statuses: &BTreeMap<MemberId, CeremonyStatus>) {
        for (node, status) in statuses {
            let Some(bar) = self.bars.get(node) else {
                continue;
            };
            let (done, text) = match &status.step {
                CeremonyStep::Primes { found, .. } => (u64::from(*found), "safe primes"),
                CeremonyStep::Auxiliary => (4, "auxiliary data"),
                CeremonyStep::KeyGeneration => (self.before, "key generation"),
                CeremonyStep::TestSignatures => (self.before.saturating_add(1), "test signatures"),
                CeremonyStep::Complete => (self.before.saturating_add(3), "done"),
                CeremonyStep::Failed { .. } => (bar.position(), "failed"),
            };
            bar.set_position(done);
            bar.set_message(text);
        }
    }

    pub fn finish(&self) {
        for bar in self.bars.values() {
            bar.finish();
        }
    }
}
