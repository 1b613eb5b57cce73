//! What the own ledger says that this store keeps is there, and where only the ledger vouches for a row, nothing else is: who
//! writes to the file and has no key takes no freeze out and puts no observation in. Peers hold the ledger's head.

use std::collections::BTreeSet;

use countersign_policy::Hash;
use countersign_policy::statement::LedgerEvent;

use super::StoreError;

/// What own entries say is kept, by digest.
#[derive(Default)]
pub(super) struct Recorded {
    statements: BTreeSet<Hash>,
    bundles: BTreeSet<Hash>,
    observations: BTreeSet<Hash>,
}

impl Recorded {
    /// Takes note of an entry of the own ledger.
    pub fn note(&mut self, event: &LedgerEvent) {
        let _new = match event {
            LedgerEvent::Frozen { freeze } => self.statements.insert(*freeze),
            LedgerEvent::Unfrozen { unfreeze, .. } => self.statements.insert(*unfreeze),
            LedgerEvent::BundleAcknowledged { bundle, .. } => self.statements.insert(*bundle),
            LedgerEvent::BundleAccepted { bundle, .. } => self.bundles.insert(*bundle),
            LedgerEvent::Observed { observation, .. } => self.observations.insert(*observation),
            LedgerEvent::Reserved(_)
            | LedgerEvent::Released { .. }
            | LedgerEvent::Aborted { .. }
            | LedgerEvent::Stopped { .. }
            | LedgerEvent::Started { .. }
            | LedgerEvent::KeyStored { .. } => false,
        };
    }

    /// Every statement that was recorded is there. Most have no entry: who gave them gives them again.
    pub fn require_statements(&self, there: impl Fn(&Hash) -> bool) -> Result<(), StoreError> {
        require("statement", &self.statements, there)
    }

    /// The bundles that were accepted are there, and no other ones.
    pub fn require_bundles(&self, there: &[Hash]) -> Result<(), StoreError> {
        require("bundle", &self.bundles, |digest| there.contains(digest))?;
        refuse_others("bundle", &self.bundles, there)
    }

    /// The observations that were taken are there, and no other ones: nobody verifies their signatures again.
    pub fn require_observations(&self, there: &[Hash]) -> Result<(), StoreError> {
        let known: BTreeSet<&Hash> = there.iter().collect();
        require("observation", &self.observations, |d| known.contains(d))?;
        refuse_others("observation", &self.observations, there)
    }
}

fn require(
    what: &str,
    recorded: &BTreeSet<Hash>,
    there: impl Fn(&Hash) -> bool,
) -> Result<(), StoreError> {
    match recorded.iter().find(|digest| !there(digest)) {
        None => Ok(()),
        Some(gone) => Err(StoreError::Corrupt(format!(
            "{what} {gone} is recorded in the ledger and not there"
        ))),
    }
}

fn refuse_others(what: &str, recorded: &BTreeSet<Hash>, there: &[Hash]) -> Result<(), StoreError> {
    match there.iter().find(|digest| !recorded.contains(digest)) {
        None => Ok(()),
        Some(foreign) => Err(StoreError::Corrupt(format!(
            "{what} {foreign} is there and not recorded in the ledger"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_must_be_there_and_what_nobody_recorded_must_not() {
        let [one, two] = [b"one", b"two"].map(|text| Hash::sha256(text));
        let mut recorded = Recorded::default();
        recorded.note(&LedgerEvent::Frozen { freeze: one });
        recorded.note(&LedgerEvent::BundleAccepted {
            bundle: one,
            version: 1,
        });
        recorded.note(&LedgerEvent::Observed {
            digest: two,
            observation: one,
            dead: true,
        });
        recorded.require_statements(|d| *d == one).unwrap();
        recorded.require_bundles(&[one]).unwrap();
        recorded.require_observations(&[one]).unwrap();
        assert!(recorded.require_statements(|d| *d == two).is_err());
        for wrong in [&[][..], &[two], &[one, two]] {
            assert!(recorded.require_bundles(wrong).is_err(), "{wrong:?}");
            assert!(recorded.require_observations(wrong).is_err(), "{wrong:?}");
        }
    }
}
