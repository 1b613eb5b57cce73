//! A change of the policy as people write it (TOML), and what it makes of the active bundle.

use std::path::Path;

use countersign_policy::bundle::{
    ActiveBundle, AddressBookEntry, AssetRecord, Destinations, FeeCap, KeyRecord, PolicyBundle,
    TransferKind, TransferRule, Wallet, WalletTier,
};
use countersign_policy::{
    Address, AssetId, DerivationPath, KeyId, MemberId, Network, RuleId, Timestamp, WalletId, assets,
};
use serde::Deserialize;

use crate::amount::parse_units;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};

/// What to add to the policy, replace in it and take out of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// Wallets, by id.
    pub wallets: Vec<WalletChange>,
    /// Tokens that the built-in registry does not know, by id. Known ones are added when a rule names them.
    pub assets: Vec<AssetRecord>,
    /// Destinations, by network and label.
    pub address_book: Vec<AddressChange>,
    /// Rules, by id.
    pub rules: Vec<RuleChange>,
    /// Fee caps, by network.
    pub fee_caps: Vec<FeeCapChange>,
    /// What no longer holds.
    pub remove: Removal,
}

/// A wallet.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletChange {
    /// Its id.
    pub id: WalletId,
    /// For people.
    pub name: String,
    /// Its key.
    pub key: KeyId,
    /// The path of its own address.
    #[serde(default = "DerivationPath::master")]
    pub path: DerivationPath,
    /// Where it is used.
    pub networks: Vec<Network>,
}

/// A destination.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressChange {
    /// Its name.
    pub label: String,
    /// The network.
    pub network: Network,
    /// The address.
    pub address: String,
    /// Not before this time; without it: at once.
    pub active_from: Option<Timestamp>,
}

/// A rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleChange {
    /// Its id.
    pub id: RuleId,
    /// The wallet that pays.
    pub wallet: WalletId,
    /// Who may ask.
    pub initiators: Vec<MemberId>,
    /// The network, when `asset` is a symbol.
    pub network: Option<Network>,
    /// A CAIP-19 id, or a symbol on `network`.
    pub asset: String,
    /// Where to.
    pub destinations: Destinations,
    /// The most that one transaction may move, in whole units of the asset.
    pub max: String,
}

/// A fee cap.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeCapChange {
    /// The network.
    pub network: Network,
    /// In whole units of its native coin.
    pub max_fee: String,
    /// The longest time to a transaction's expiration (Tron), in seconds.
    pub max_lifetime_seconds: Option<u64>,
}

/// What to take out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Removal {
    /// Wallets by id.
    pub wallets: Vec<WalletId>,
    /// Rules by id.
    pub rules: Vec<RuleId>,
    /// Address book entries by label, on every network.
    pub labels: Vec<String>,
}

impl Change {
    /// Reads a file.
    pub fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path)
            .or_fail(Exit::Usage, format!("cannot read {}", path.display()))?;
        Self::parse(&text)
            .map_err(|failure| Failure::new(failure.exit, format!("{}: {failure}", path.display())))
    }

    /// Reads the text.
    pub fn parse(text: &str) -> Outcome<Self> {
        toml::from_str(text).or_fail(Exit::Usage, "this is no change of the policy")
    }

    /// Adds a wallet of `key` at `m`, written as `ID=NETWORK[+NETWORK...]`.
    pub fn add_wallet(&mut self, text: &str, key: &KeyId) -> Result<(), String> {
        let (id, networks) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?}: a wallet is written ID=NETWORK[+NETWORK...]"))?;
        let networks: Result<Vec<Network>, _> = networks.split('+').map(str::parse).collect();
        self.wallets.push(WalletChange {
            id: WalletId::new(id).map_err(|e| e.to_string())?,
            name: id.to_owned(),
            key: key.clone(),
            path: DerivationPath::master(),
            networks: networks.map_err(|e| e.to_string())?,
        });
        Ok(())
    }

    /// The content of the next version: the active one, with `keys` pinned and this change made.
    pub fn apply(
        &self,
        active: &ActiveBundle,
        keys: Vec<KeyRecord>,
        now: Timestamp,
    ) -> Outcome<PolicyBundle> {
        let mut next = active.content().clone();
        next.version = next.version.saturating_add(1);
        next.predecessor = Some(active.digest());
        next.keys.extend(keys);
        next.keys.sort_by(|a, b| a.id.cmp(&b.id));

        next.rules.retain(|r| !self.remove.rules.contains(&r.id));
        next.wallets
            .retain(|w| !self.remove.wallets.contains(&w.id));
        next.address_book
            .retain(|e| !self.remove.labels.contains(&e.label));

        for wallet in &self.wallets {
            replace(&mut next.wallets, wallet.record(), |a, b| a.id == b.id);
        }
        next.wallets.sort_by(|a, b| a.id.cmp(&b.id));
        for asset in &self.assets {
            replace(&mut next.assets, asset.clone(), |a, b| a.asset == b.asset);
        }
        for entry in &self.address_book {
            let same = |a: &AddressBookEntry, b: &AddressBookEntry| {
                a.network == b.network && a.label == b.label
            };
            replace(&mut next.address_book, entry.record(now)?, same);
        }
        for cap in &self.fee_caps {
            replace(&mut next.fee_caps, cap.record()?, |a, b| {
                a.network == b.network
            });
        }
        for rule in &self.rules {
            let (rule, asset) = rule.record(&next.assets)?;
            replace(&mut next.assets, asset, |a, b| a.asset == b.asset);
            replace(&mut next.rules, rule, |a, b| a.id == b.id);
        }
        next.assets.sort_by_key(|a| a.asset);
        Ok(next)
    }
}

/// Puts `new` in the place of the item that is the same thing, or at the end.
fn replace<T>(items: &mut Vec<T>, new: T, same: impl Fn(&T, &T) -> bool) {
    match items.iter_mut().find(|item| same(item, &new)) {
        Some(old) => *old = new,
        None => items.push(new),
    }
}

impl WalletChange {
    fn record(&self) -> Wallet {
        let mut networks = self.networks.clone();
        networks.sort();
        Wallet {
            id: self.id.clone(),
            name: self.name.clone(),
            tier: WalletTier::Hot,
            key: self.key.clone(),
            path: self.path.clone(),
            networks,
        }
    }
}

impl AddressChange {
    fn record(&self, now: Timestamp) -> Outcome<AddressBookEntry> {
        let address = Address::parse(&self.network, &self.address)
            .or_fail(Exit::Usage, format!("address book entry {:?}", self.label))?;
        Ok(AddressBookEntry {
            label: self.label.clone(),
            network: self.network,
            address,
            active_from: self.active_from.unwrap_or(now),
        })
    }
}

impl RuleChange {
    fn record(&self, known: &[AssetRecord]) -> Outcome<(TransferRule, AssetRecord)> {
        let at = |what: String| Failure::usage(format!("rule {}: {what}", self.id));
        let asset = resolve_asset(&self.asset, self.network.as_ref(), known).map_err(at)?;
        let max_amount = parse_units(&self.max, asset.decimals).map_err(at)?;
        let mut initiators = self.initiators.clone();
        initiators.sort();
        let native = asset.asset == asset.asset.network().native_asset();
        let kind = if native {
            TransferKind::NativeTransfer
        } else {
            TransferKind::TokenTransfer
        };
        let rule = TransferRule {
            id: self.id.clone(),
            wallet: self.wallet.clone(),
            initiators,
            asset: asset.asset,
            kinds: [kind].into(),
            destinations: self.destinations.clone(),
            max_amount,
            needs: None,
        };
        Ok((rule, asset))
    }
}

impl FeeCapChange {
    fn record(&self) -> Outcome<FeeCap> {
        let native = self.network.native_asset();
        let at = |what: String| Failure::usage(format!("fee cap of {}: {what}", self.network));
        let decimals = assets::lookup(&native)
            .map(|asset| asset.decimals)
            .ok_or_else(|| at("the decimals of its native coin are not known".to_owned()))?;
        Ok(FeeCap {
            network: self.network,
            max_fee: parse_units(&self.max_fee, decimals).map_err(at)?,
            max_lifetime_seconds: self.max_lifetime_seconds,
        })
    }
}

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
