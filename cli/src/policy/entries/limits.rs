//! Cumulative limits and reference prices.

use countersign_policy::bundle::{AddressBookEntry, AssetRecord, WalletTier};
use countersign_policy::limits::{Limit, LimitScope, Measure, NonceLead, Period, Price, Reference};
use countersign_policy::{Address, Amount, LedgerGroupId, LimitId, MemberId, Network, WalletId};
use serde::Deserialize;

use super::{Units, Wrong, assets, resolve_asset, sorted, wrong};
use crate::amount::parse_units;
use crate::failure::chain;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    /// What moves of one asset.
    Amount,
    /// Transactions.
    Count,
    /// The greatest fees on a network.
    Fee,
    /// Everything, in the reference currency.
    Value,
}

/// A cumulative limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitEntry {
    /// Its id.
    pub id: LimitId,
    /// The nodes whose ledgers are added up.
    pub ledger_group: LedgerGroupId,
    /// What is counted: amount, count, fee or value.
    pub of: Of,
    /// For `amount`: a CAIP-19 id, or a symbol on `network`.
    pub asset: Option<String>,
    /// The network: of the symbol, of the fees, or of what is counted.
    pub network: Option<Network>,
    /// The most: whole units of the asset, of the native coin (fee), of the reference currency (value), or transactions (count).
    pub max: Units,
    /// `transaction`, `outstanding`, or a span such as `90m`, `24h`, `7d`.
    pub over: String,
    /// Only these wallets.
    #[serde(default)]
    pub wallets: Vec<WalletId>,
    /// Only wallets of this tier.
    pub tier: Option<WalletTier>,
    /// Only what these services ask for.
    #[serde(default)]
    pub initiators: Vec<MemberId>,
    /// Only what goes to this label of the address book, or address, on `network`.
    pub destination: Option<String>,
}

/// What a limit's text may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The bundle's assets.
    pub assets: &'a [AssetRecord],
    /// Its address book.
    pub address_book: &'a [AddressBookEntry],
    /// Its reference prices.
    pub reference: Option<&'a Reference>,
}

/// A bound on nonces as a bundle has it: it is written as it stands there, in any order.
pub fn in_order(lead: &NonceLead) -> NonceLead {
    let mut lead = lead.clone();
    lead.wallets = sorted(&lead.wallets);
    lead.first.sort();
    lead
}

impl LimitEntry {
    /// As a bundle has it, and the asset that it names.
    pub fn record(&self, names: Names<'_>) -> Result<(Limit, Option<AssetRecord>), Wrong> {
        let (measure, asset) = self.measure(names)?;
        let counts_network = matches!(self.of, Of::Count | Of::Value);
        let limit = Limit {
            id: self.id.clone(),
            ledger_group: self.ledger_group.clone(),
            scope: LimitScope {
                wallets: sorted(&self.wallets),
                tier: self.tier,
                initiators: sorted(&self.initiators),
                destination: self.destination(names)?,
                network: self.network.filter(|_| counts_network),
            },
            measure,
            period: read_period(&self.over).map_err(|e| wrong("over", e))?,
        };
        Ok((limit, asset))
    }

    fn measure(&self, names: Names<'_>) -> Result<(Measure, Option<AssetRecord>), Wrong> {
        let max = |decimals| parse_units(&self.max.0, decimals).map_err(|e| wrong("max", e));
        if self.of != Of::Amount && self.asset.is_some() {
            return Err(wrong(
                "asset",
                "only a limit of = \"amount\" names an asset",
            ));
        }
        let measure = match self.of {
            Of::Amount => {
                let text = self.asset.as_deref().ok_or_else(|| {
                    wrong(
                        "of",
                        "name the asset that is counted: asset = \"USDT\" and its network",
                    )
                })?;
                let asset = resolve_asset(text, self.network.as_ref(), names.assets)
                    .map_err(|e| wrong("asset", e))?;
                let measure = Measure::Amount {
                    asset: asset.asset,
                    max: max(asset.decimals)?,
                };
                return Ok((measure, Some(asset)));
            }
            Of::Count => Measure::Count {
                max: self.max.0.parse().map_err(|_| {
                    wrong(
                        "max",
                        format!("{:?} is no number of transactions", self.max.0),
                    )
                })?,
            },
            Of::Fee => {
                let network = self
                    .network
                    .ok_or_else(|| wrong("of", "name the network whose fees are counted"))?;
                let max = assets::native_units(&network, &self.max).map_err(|e| wrong("max", e))?;
                Measure::Fee { network, max }
            }
            Of::Value => {
                let reference = names.reference.ok_or_else(|| {
                    wrong("of", "there are no reference prices: add [reference] with a price for each asset")
                })?;
                Measure::Value {
                    max: max(reference.decimals)?,
                }
            }
        };
        Ok((measure, None))
    }

    fn destination(&self, names: Names<'_>) -> Result<Option<Address>, Wrong> {
        let Some(text) = &self.destination else {
            return Ok(None);
        };
        let network = match (&self.network, &self.asset) {
            (Some(network), _) => *network,
            (None, Some(asset)) => *resolve_asset(asset, None, names.assets)
                .map_err(|e| wrong("asset", e))?
                .asset
                .network(),
            (None, None) => return Err(wrong("destination", "name the network too")),
        };
        destination(text, &network, names.address_book)
            .map(Some)
            .map_err(|e| wrong("destination", e))
    }
}

/// The address that `text` names on a network: a label of the address book, or the address itself.
pub fn destination(
    text: &str,
    network: &Network,
    address_book: &[AddressBookEntry],
) -> Result<Address, String> {
    let listed = address_book
        .iter()
        .find(|entry| entry.network == *network && entry.label == text);
    match listed {
        Some(entry) => Ok(entry.address),
        None => Address::parse(network, text).map_err(|e| {
            format!(
                "{text:?} is no label of the address book on {network} and no address: {}",
                chain(&e)
            )
        }),
    }
}

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

fn read_period(text: &str) -> Result<Period, String> {
    match text {
        "transaction" => return Ok(Period::Transaction),
        "outstanding" => return Ok(Period::Outstanding),
        _ => {}
    }
    let seconds = UNITS.iter().find_map(|(unit, seconds)| {
        let number = text.strip_suffix(unit)?;
        let canonical = number.bytes().all(|b| b.is_ascii_digit());
        let number: u64 = number.parse().ok().filter(|_| canonical)?;
        number.checked_mul(*seconds)
    });
    seconds
        .map(|seconds| Period::Rolling { seconds })
        .ok_or_else(|| {
            format!("{text:?}: write \"transaction\", \"outstanding\" or a span such as \"90m\", \"24h\" or \"7d\"")
        })
}

/// A period as [`LimitEntry::over`] has it.
pub fn write_period(period: &Period) -> String {
    match period {
        Period::Transaction => "transaction".to_owned(),
        Period::Outstanding => "outstanding".to_owned(),
        Period::Rolling { seconds } => {
            let fits = |unit: &&(&str, u64)| seconds.checked_rem(unit.1) == Some(0) && *seconds > 0;
            let (unit, size) = UNITS.iter().find(fits).unwrap_or(&("s", 1));
            format!("{}{unit}", seconds.checked_div(*size).unwrap_or(*seconds))
        }
    }
}

/// Reference prices.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceEntry {
    /// For people: "USD".
    pub currency: String,
    /// Decimals of its smallest unit.
    pub decimals: u8,
    /// One for each asset.
    pub prices: Vec<PriceEntry>,
}

/// What one whole unit of an asset is worth.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceEntry {
    /// A CAIP-19 id, or a symbol on `network`.
    pub asset: String,
    /// The network of the symbol.
    pub network: Option<Network>,
    /// In whole units of the reference currency.
    pub per_unit: Units,
}

impl ReferenceEntry {
    /// As a bundle has it, and the assets that it names. `Err` says which price.
    pub fn record(
        &self,
        known: &[AssetRecord],
    ) -> Result<(Reference, Vec<AssetRecord>), (usize, Wrong)> {
        let mut prices = Vec::new();
        let mut named = Vec::new();
        for (index, entry) in self.prices.iter().enumerate() {
            let asset = resolve_asset(&entry.asset, entry.network.as_ref(), known)
                .map_err(|e| (index, wrong("asset", e)))?;
            let per_unit: Amount = parse_units(&entry.per_unit.0, self.decimals)
                .map_err(|e| (index, wrong("per_unit", e)))?;
            prices.push(Price {
                asset: asset.asset,
                per_unit,
            });
            named.push(asset);
        }
        prices.sort_by_key(|price| price.asset);
        let reference = Reference {
            currency: self.currency.clone(),
            decimals: self.decimals,
            prices,
        };
        Ok((reference, named))
    }
}
