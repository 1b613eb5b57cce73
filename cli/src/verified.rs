//! The policy as this client verified it. The coordinator is only asked for bytes: every signature, from the pinned genesis
//! on, is checked here, and a chain that is older than one seen before is refused.

use std::path::Path;

use countersign_coordinator::BundleList;
use countersign_policy::Hash;
use countersign_policy::bundle::{ActiveBundle, BundleChain};
use countersign_signer::wire::path;
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::profile::Profile;

/// The newest bundle this client has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    version: u64,
    digest: Hash,
}

/// Fetches the chain of bundles and verifies it from the genesis hash of the profile.
pub async fn chain(api: &Api, profile: &Profile) -> Outcome<BundleChain> {
    let told: BundleList = api.get(path::BUNDLES).await?;
    let (first, rest) = told
        .chain
        .split_first()
        .ok_or_else(|| Failure::broken("the coordinator's chain of bundles is empty"))?;
    let mut chain = BundleChain::from_genesis(first, profile.genesis_hash)
        .or_fail(Exit::Refused, "the genesis bundle is refused")?;
    for envelope in rest {
        chain
            .append(envelope, clock::now())
            .or_fail(Exit::Refused, "the chain of bundles is refused")?;
    }
    remember(&profile.memory_file, &chain)?;
    Ok(chain)
}

/// Refuses a chain that lacks the newest bundle seen before; otherwise remembers this one's newest.
fn remember(file: &Path, chain: &BundleChain) -> Outcome {
    let known: Option<Memory> = match std::fs::read(file) {
        Ok(bytes) => Some(
            serde_json::from_slice(&bytes)
                .or_fail(Exit::Usage, format!("cannot read {}", file.display()))?,
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).or_broken(format!("cannot read {}", file.display())),
    };
    let has = |memory: &Memory| {
        let same = |link: &&ActiveBundle| link.digest() == memory.digest;
        chain
            .links()
            .iter()
            .find(same)
            .is_some_and(|link| link.content().version == memory.version)
    };
    if let Some(memory) = &known
        && !has(memory)
    {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "the coordinator shows a chain without version {} ({}), which this client has seen: it is old or forged",
                memory.version, memory.digest
            ),
        ));
    }
    let newest = Memory {
        version: chain.active().content().version,
        digest: chain.active().digest(),
    };
    if known.as_ref() == Some(&newest) {
        return Ok(());
    }
    let text = serde_json::to_vec(&newest).or_broken("cannot write JSON")?;
    // Written beside and renamed, so that a crash leaves the old memory or the new one.
    let beside = file.with_extension("new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, file))
        .or_broken(format!("cannot write {}", file.display()))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
mod tests;
