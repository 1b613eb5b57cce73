//! Operators at the machine, where the wallet demands several of them.

use std::collections::BTreeSet;

use super::open::opened;
use super::{OpenedPackage, PackageError};
use crate::envelope::Envelope;
use crate::id::MemberId;
use crate::statement::{OfflineConsent, Verified};
use crate::time::Timestamp;

impl OpenedPackage {
    /// What an operator signs to agree with this package.
    pub fn consent(&self) -> OfflineConsent {
        OfflineConsent {
            package: self.digest(),
            request: self.request().digest(),
            digests: self.terms().digests.clone(),
            machine: self.machine().clone(),
        }
    }

    /// How many different operators must agree at the machine, besides whoever has the token's PIN.
    pub fn consents_needed(&self) -> usize {
        let wallet = self.chain().active().wallet(&self.request().body().wallet);
        usize::from(wallet.and_then(|w| w.offline_operators).unwrap_or(0))
    }

    /// The operators who agreed; enough of them, each counted once.
    ///
    /// # Errors
    /// One that is not acceptable, too old, about another package or by a member who is frozen; or too few.
    pub fn require_consents(
        &self,
        consents: &[Envelope],
        now: Timestamp,
    ) -> Result<BTreeSet<MemberId>, PackageError> {
        let bundle = self.chain().active();
        let mut agreed = BTreeSet::new();
        for envelope in consents {
            let consent: Verified<OfflineConsent> = opened(bundle, envelope, "consent")?;
            let statement = |source| PackageError::Statement {
                what: "consent".to_owned(),
                source,
            };
            consent
                .require_current(now, bundle.skew_seconds())
                .map_err(statement)?;
            let who = consent.issuer();
            let frozen = self.freezes().blocks_member(who, consent.key_of(who));
            if *consent.body() != self.consent() || !frozen.is_empty() {
                return Err(PackageError::OtherConsent(who.clone()));
            }
            agreed.insert(who.clone());
        }
        let (found, needed) = (agreed.len(), self.consents_needed());
        if found < needed {
            return Err(PackageError::TooFewConsents { found, needed });
        }
        Ok(agreed)
    }
}
