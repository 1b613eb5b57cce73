//! The bundle chain in a package, followed from what the machine trusts.

use super::{PackageError, Trust};
use crate::bundle::{ActivationEvidence, BundleChain};
use crate::time::Timestamp;

/// Follows the package's bundles from the machine's chain, or from the pinned genesis where it has none.
pub(super) fn follow(
    trust: &Trust<'_>,
    package: &[ActivationEvidence],
    now: Timestamp,
) -> Result<BundleChain, PackageError> {
    let (mut chain, links) = match (trust.known, package.split_first()) {
        (Some(known), _) => (known.clone(), package),
        (None, Some((first, rest))) => (
            BundleChain::from_genesis(&first.bundle, trust.genesis)?,
            rest,
        ),
        (None, None) => return Err(PackageError::NoChain),
    };
    for link in links {
        let digest = link.bundle.digest();
        if chain.links().iter().any(|known| known.digest() == digest) {
            continue;
        }
        require_no_fork(&chain, link)?;
        chain.append_with_evidence(link, now)?;
    }
    Ok(chain)
}

/// What the machine followed it never leaves: another bundle of a version that it knows is a fork, whoever signed it.
fn require_no_fork(chain: &BundleChain, link: &ActivationEvidence) -> Result<(), PackageError> {
    let opened = chain.active().directory();
    let Ok(proposed) = opened.open_quorum::<crate::bundle::PolicyBundle>(&link.bundle) else {
        // Appending it says what is wrong with it.
        return Ok(());
    };
    let version = proposed.body().version;
    let known = chain
        .links()
        .iter()
        .find(|known| known.content().version == version);
    match known {
        Some(known) => Err(PackageError::Fork {
            version,
            found: link.bundle.digest(),
            known: known.digest(),
        }),
        None => Ok(()),
    }
}
