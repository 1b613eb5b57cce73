//! The conservative ECDSA protocol: a CGGMP24 key with real safe primes, its pool of presignatures, and signatures from it.

use std::time::{Duration, Instant};

use countersign_coordinator::NodeList;
use countersign_policy::{KeyId, Protocol};

use super::report::Report;
use super::{payments, sign};
use crate::api::Api;
use crate::bundle::change::Change;
use crate::ceremony::{make_key, order_for_all, pin};
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Progress;
use crate::profile::Profile;
use crate::quorum::Signers;
use crate::{verified, wallet};

/// The wallet of the key and what it may do.
const POLICY: &str = include_str!("cggmp.toml");
const KEY: &str = "vault";
/// Presignatures that every node shall hold before the first signature is asked for.
const POOL: u64 = 4;
/// How long the pool may take to fill.
const FILLING: Duration = Duration::from_secs(300);

pub async fn show(api: &Api, profile: &Profile, report: &mut Report) -> Outcome {
    report.title("A CGGMP24 key. Its safe primes take minutes of computing, once for these nodes");
    let progress = Progress::new();
    let key = KeyId::new(KEY).or_broken("cannot name a key")?;
    let chain = verified::chain(api, profile).await?;
    let order = order_for_all(profile, chain.active(), key, Protocol::Cggmp24)?;
    let key = make_key(api, chain.active(), order, &progress).await?;
    report.step(format!(
        "key {KEY}: {}, {} of {}, {}",
        key.record.protocol,
        key.record.threshold,
        key.record.nodes.len(),
        key.record.group_key
    ));
    let change = Change::parse(POLICY)?;
    let submitted = pin(api, profile, vec![key], &change, &Signers::default()).await?;
    report.step(format!("policy version {} pins it", submitted.version));
    let chain = verified::chain(api, profile).await?;
    let active = chain.active();
    let of_the_key = active.content().wallets.iter();
    for listed in of_the_key.filter(|w| w.key.as_str() == KEY) {
        for row in wallet::rows(active, listed)? {
            report.wallet(row);
        }
    }
    let ready = fill(api, &progress).await?;
    report.step(format!(
        "every node holds at least {ready} presignatures, in memory only"
    ));
    sign(api, profile, report, &payments::FROM_THE_VAULT).await
}

/// Waits until every node holds enough presignatures; how many the poorest one has.
async fn fill(api: &Api, progress: &Progress) -> Outcome<u64> {
    let bar = progress.steps("presignatures", POOL);
    let deadline = Instant::now().checked_add(FILLING);
    loop {
        let list: NodeList = api.get("/v1/nodes").await?;
        let held = list.nodes.values().map(|node| {
            let status = node.status.as_ref()?;
            status.background.get("presignatures ready")?.parse().ok()
        });
        let least: u64 = held.map(Option::unwrap_or_default).min().unwrap_or(0);
        bar.set_position(least.min(POOL));
        if least >= POOL {
            bar.finish();
            return Ok(least);
        }
        if deadline.is_none_or(|deadline| Instant::now() > deadline) {
            return Err(Failure::new(
                Exit::Unreachable,
                format!(
                    "the nodes made {least} presignatures in {} s",
                    FILLING.as_secs()
                ),
            ));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
