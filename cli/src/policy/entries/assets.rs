//! Which asset a text names.

use countersign_policy::bundle::AssetRecord;
use countersign_policy::{Amount, AssetId, Network, assets};

use super::Units;
use crate::amount::parse_units;

/// The asset that `text` names: a CAIP-19 id, or a symbol on `network`. The bundle's own list comes before the registry; nothing
/// is guessed.
pub fn resolve_asset(
    text: &str,
    network: Option<&Network>,
    bundle: &[AssetRecord],
) -> Result<AssetRecord, String> {
    let registered = assets::registry().iter().map(|asset| AssetRecord {
        asset: asset.id,
        symbol: asset.symbol.to_owned(),
        decimals: asset.decimals,
    });
    let known: Vec<AssetRecord> = bundle
        .iter()
        .cloned()
        .chain(registered.filter(|asset| bundle.iter().all(|b| b.asset != asset.asset)))
        .collect();
    if text.contains('/') {
        let id: AssetId = text.parse().map_err(|e| format!("{e}"))?;
        if network.is_some_and(|network| network != id.network()) {
            return Err(format!("{id} is no asset of the network named beside it"));
        }
        let found = known.into_iter().find(|asset| asset.asset == id);
        return found.ok_or_else(|| {
            format!("{id} is unknown: its decimals are never guessed; list it under assets in a policy bundle")
        });
    }
    let network = network.ok_or_else(|| format!("{text} is a symbol: name the network too"))?;
    let mut found = known
        .into_iter()
        .filter(|asset| asset.symbol == text && asset.asset.network() == network);
    match (found.next(), found.next()) {
        (Some(asset), None) => Ok(asset),
        (None, _) => Err(format!(
            "{text} is not known on {network}: give its CAIP-19 id"
        )),
        (Some(a), Some(b)) => Err(format!(
            "{text} on {network} is {} or {}: give the CAIP-19 id",
            a.asset, b.asset
        )),
    }
}

/// Whole units of a network's native coin.
pub(super) fn native_units(network: &Network, units: &Units) -> Result<Amount, String> {
    let native = network.native_asset();
    let known = assets::lookup(&native)
        .ok_or_else(|| format!("the decimals of the native coin of {network} are not known"))?;
    parse_units(&units.0, known.decimals)
}
