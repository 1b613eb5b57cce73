//! A change of the policy as people write it (TOML), and what it makes of the active bundle.

use std::path::Path;

use countersign_policy::bundle::{
    ActiveBundle, AddressBookEntry, AssetRecord, Group, KeyRecord, PolicyBundle,
};
use countersign_policy::limits::{LedgerGroup, NonceLead};
use countersign_policy::{
    DerivationPath, GroupId, KeyId, LedgerGroupId, LimitId, Network, RuleId, Timestamp, WalletId,
};
use serde::Deserialize;

use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::policy::entries::{
    AddressEntry, FeeCapEntry, LimitEntry, Names, ReferenceEntry, RuleEntry, WalletEntry, Wrong,
    in_order, sorted,
};

/// What to add to the policy, replace in it and take out of it. The entries are those of a policy directory.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// Approval groups, by id.
    pub groups: Vec<Group>,
    /// Wallets, by id.
    pub wallets: Vec<WalletEntry>,
    /// Tokens that the built-in registry does not know, by id. Known ones are added when a rule names them.
    pub assets: Vec<AssetRecord>,
    /// Destinations, by network and label.
    pub address_book: Vec<AddressEntry>,
    /// Rules, by id.
    pub rules: Vec<RuleEntry>,
    /// Fee caps, by network.
    pub fee_caps: Vec<FeeCapEntry>,
    /// Nodes that keep ledgers together, by id.
    pub ledger_groups: Vec<LedgerGroup>,
    /// Cumulative limits, by id.
    pub limits: Vec<LimitEntry>,
    /// How far nonces may run ahead, by id.
    pub nonce_leads: Vec<NonceLead>,
    /// Reference prices; they replace all that there were.
    pub reference: Option<ReferenceEntry>,
    /// What no longer holds.
    pub remove: Removal,
}

/// What to take out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Removal {
    /// Approval groups by id.
    pub groups: Vec<GroupId>,
    /// Wallets by id.
    pub wallets: Vec<WalletId>,
    /// Rules by id.
    pub rules: Vec<RuleId>,
    /// Address book entries by label, on every network.
    pub labels: Vec<String>,
    /// Ledger groups by id.
    pub ledger_groups: Vec<LedgerGroupId>,
    /// Limits by id.
    pub limits: Vec<LimitId>,
    /// Bounds on nonces by id.
    pub nonce_leads: Vec<LimitId>,
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
        self.wallets.push(WalletEntry {
            id: WalletId::new(id).map_err(|e| e.to_string())?,
            name: None,
            tier: countersign_policy::bundle::WalletTier::Hot,
            key: key.clone(),
            path: DerivationPath::master(),
            networks: networks.map_err(|e| e.to_string())?,
            ledger_group: None,
            offline_operators: None,
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
        next.supersedes = Vec::new();
        next.keys.extend(keys);
        next.keys.sort_by(|a, b| a.id.cmp(&b.id));
        self.remove(&mut next);
        self.put(&mut next, now)?;
        next.assets.sort_by_key(|a| a.asset);
        Ok(next)
    }

    fn remove(&self, next: &mut PolicyBundle) {
        let gone = &self.remove;
        next.groups.retain(|g| !gone.groups.contains(&g.id));
        next.rules.retain(|r| !gone.rules.contains(&r.id));
        next.wallets.retain(|w| !gone.wallets.contains(&w.id));
        next.address_book
            .retain(|e| !gone.labels.contains(&e.label));
        next.limits.retain(|l| !gone.limits.contains(&l.id));
        next.nonce_leads
            .retain(|l| !gone.nonce_leads.contains(&l.id));
        next.ledger_groups
            .retain(|g| !gone.ledger_groups.contains(&g.id));
    }

    fn put(&self, next: &mut PolicyBundle, now: Timestamp) -> Outcome {
        for group in &self.groups {
            let group = Group {
                members: sorted(&group.members),
                ..group.clone()
            };
            replace(&mut next.groups, group, |a, b| a.id == b.id);
        }
        next.groups.sort_by(|a, b| a.id.cmp(&b.id));
        for wallet in &self.wallets {
            replace(&mut next.wallets, wallet.record(), |a, b| a.id == b.id);
        }
        next.wallets.sort_by(|a, b| a.id.cmp(&b.id));
        for asset in &self.assets {
            name_asset(next, asset.clone());
        }
        for entry in &self.address_book {
            let same = |a: &AddressBookEntry, b: &AddressBookEntry| {
                a.network == b.network && a.label == b.label
            };
            let record = entry
                .record(now)
                .map_err(|e| at("address book entry", &format!("{:?}", entry.label), e))?;
            replace(&mut next.address_book, record, same);
        }
        for cap in &self.fee_caps {
            let record = cap
                .record()
                .map_err(|e| at("fee cap of", &cap.network.to_string(), e))?;
            replace(&mut next.fee_caps, record, |a, b| a.network == b.network);
        }
        for rule in &self.rules {
            let (rule, asset) = rule
                .record(&next.assets)
                .map_err(|e| at("rule", rule.id.as_str(), e))?;
            name_asset(next, asset);
            replace(&mut next.rules, rule, |a, b| a.id == b.id);
        }
        self.put_limits(next)
    }

    fn put_limits(&self, next: &mut PolicyBundle) -> Outcome {
        for group in &self.ledger_groups {
            let group = LedgerGroup {
                nodes: sorted(&group.nodes),
                ..group.clone()
            };
            replace(&mut next.ledger_groups, group, |a, b| a.id == b.id);
        }
        next.ledger_groups.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(entry) = &self.reference {
            let (reference, named) = entry
                .record(&next.assets)
                .map_err(|(index, e)| at("reference price", &format!("{index}"), e))?;
            named.into_iter().for_each(|asset| name_asset(next, asset));
            next.reference = Some(reference);
        }
        for limit in &self.limits {
            let names = Names {
                assets: &next.assets,
                address_book: &next.address_book,
                reference: next.reference.as_ref(),
            };
            let (record, asset) = limit
                .record(names)
                .map_err(|e| at("limit", limit.id.as_str(), e))?;
            asset.into_iter().for_each(|asset| name_asset(next, asset));
            replace(&mut next.limits, record, |a, b| a.id == b.id);
        }
        next.limits.sort_by(|a, b| a.id.cmp(&b.id));
        for lead in &self.nonce_leads {
            replace(&mut next.nonce_leads, in_order(lead), |a, b| a.id == b.id);
        }
        next.nonce_leads.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(())
    }
}

fn at(what: &str, name: &str, wrong: Wrong) -> Failure {
    Failure::usage(format!("{what} {name}: {}: {}", wrong.field, wrong.what))
}

fn name_asset(next: &mut PolicyBundle, asset: AssetRecord) {
    replace(&mut next.assets, asset, |a, b| a.asset == b.asset);
}

/// Puts `new` in the place of the item that is the same thing, or at the end.
fn replace<T>(items: &mut Vec<T>, new: T, same: impl Fn(&T, &T) -> bool) {
    match items.iter_mut().find(|item| same(item, &new)) {
        Some(old) => *old = new,
        None => items.push(new),
    }
}
