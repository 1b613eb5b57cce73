//! What is to stand still, as it is written on a command line.

use clap::ValueEnum;
use countersign_policy::bundle::PolicyBundle;
use countersign_policy::limits::Measure;
use countersign_policy::statement::FreezeTarget;
use countersign_policy::{
    Amount, HexBytes, KeyId, LimitId, MemberId, Network, RuleId, WalletId, assets,
};

use crate::amount::parse_units;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::policy::entries::{destination, resolve_asset};

/// The kinds of things that can be frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Nothing is signed at all.
    Everything,
    /// Nothing is signed for a wallet.
    Wallet,
    /// Nothing is signed with a key.
    Key,
    /// A member's requests and approvals do not count.
    Member,
    /// What one of a member's statement keys (64 hexadecimal digits) signs does not count.
    MemberKey,
    /// What one of a member's WebAuthn credentials (0x...) signs does not count.
    Credential,
    /// An asset does not move: a CAIP-19 id, or a symbol with --network.
    Asset,
    /// Nothing goes to an address: with --network, the address or its label in the address book.
    Address,
    /// A rule permits nothing.
    Rule,
    /// A limit is lower than the policy says: with --max.
    Limit,
}

/// What a name on the command line may need besides.
pub struct Words<'a> {
    /// What is named.
    pub what: What,
    /// Its name.
    pub name: Option<&'a str>,
    /// The network of an asset's symbol or of an address.
    pub network: Option<Network>,
    /// The lower value of a limit.
    pub max: Option<&'a str>,
}

impl Words<'_> {
    /// The target. Without a policy, names of the address book and symbols that only it knows cannot be used, and the lower
    /// value of a limit is in its smallest units.
    pub fn target(&self, policy: Option<&PolicyBundle>) -> Outcome<FreezeTarget> {
        if self.what != What::Limit && self.max.is_some() {
            return Err(Failure::usage("--max is for a limit"));
        }
        let target = match self.what {
            What::Everything => match self.name {
                None => FreezeTarget::Everything,
                Some(name) => {
                    return Err(Failure::usage(format!(
                        "everything has no name, not {name:?}"
                    )));
                }
            },
            What::Wallet => FreezeTarget::Wallet {
                wallet: WalletId::new(self.name()?).or_fail(Exit::Usage, "the wallet")?,
            },
            What::Key => FreezeTarget::Key {
                key: KeyId::new(self.name()?).or_fail(Exit::Usage, "the key")?,
            },
            What::Member => FreezeTarget::Member {
                member: MemberId::new(self.name()?).or_fail(Exit::Usage, "the member")?,
            },
            What::MemberKey => FreezeTarget::MemberKey {
                public_key: from_text(self.name()?)
                    .or_fail(Exit::Usage, "a statement key is 64 hexadecimal digits")?,
            },
            What::Credential => FreezeTarget::Credential {
                id: from_text::<HexBytes>(self.name()?).or_fail(Exit::Usage, "the credential")?,
            },
            What::Asset => self.asset(policy)?,
            What::Address => self.address(policy)?,
            What::Rule => FreezeTarget::Rule {
                rule: RuleId::new(self.name()?).or_fail(Exit::Usage, "the rule")?,
            },
            What::Limit => self.limit(policy)?,
        };
        if let Some(policy) = policy {
            require_known(policy, &target)?;
        }
        Ok(target)
    }

    fn name(&self) -> Outcome<&str> {
        self.name
            .ok_or_else(|| Failure::usage("say which one: countersign freeze wallet treasury"))
    }

    fn asset(&self, policy: Option<&PolicyBundle>) -> Outcome<FreezeTarget> {
        let known = policy.map_or(&[][..], |policy| &policy.assets);
        let name = self.name()?;
        // An id needs no decimals here, so also an asset that nobody knows can be stopped.
        if let Ok(asset) = name.parse() {
            return Ok(FreezeTarget::Asset { asset });
        }
        let asset = resolve_asset(name, self.network.as_ref(), known).map_err(Failure::usage)?;
        Ok(FreezeTarget::Asset { asset: asset.asset })
    }

    fn address(&self, policy: Option<&PolicyBundle>) -> Outcome<FreezeTarget> {
        let network = self
            .network
            .ok_or_else(|| Failure::usage("name the address's network with --network"))?;
        let book = policy.map_or(&[][..], |policy| &policy.address_book);
        let address = destination(self.name()?, &network, book).map_err(Failure::usage)?;
        Ok(FreezeTarget::Address { network, address })
    }

    fn limit(&self, policy: Option<&PolicyBundle>) -> Outcome<FreezeTarget> {
        let limit = LimitId::new(self.name()?).or_fail(Exit::Usage, "the limit")?;
        let max = self
            .max
            .ok_or_else(|| Failure::usage("say how low the limit is to be: --max 1000"))?;
        let decimals = match policy {
            None => 0,
            Some(policy) => decimals(policy, &limit)?,
        };
        let max: Amount = parse_units(max, decimals).map_err(Failure::usage)?;
        Ok(FreezeTarget::LowerLimit { limit, max })
    }
}

/// The decimals in which people write a limit's measure.
fn decimals(policy: &PolicyBundle, id: &LimitId) -> Outcome<u8> {
    let limit = policy.limits.iter().find(|limit| limit.id == *id);
    let limit = limit.ok_or_else(|| unknown("limit", id.as_str()))?;
    let decimals = match &limit.measure {
        Measure::Count { .. } => Some(0),
        Measure::Amount { asset, .. } => policy
            .assets
            .iter()
            .find(|known| known.asset == *asset)
            .map(|known| known.decimals),
        Measure::Fee { network, .. } => {
            assets::lookup(&network.native_asset()).map(|known| known.decimals)
        }
        Measure::Value { .. } => policy.reference.as_ref().map(|r| r.decimals),
    };
    decimals.ok_or_else(|| Failure::broken(format!("the decimals of limit {id} are not known")))
}

/// A freeze of something that there is not would be no freeze: better said before it is signed.
fn require_known(policy: &PolicyBundle, target: &FreezeTarget) -> Outcome {
    let known = match target {
        FreezeTarget::Wallet { wallet } => policy.wallets.iter().any(|w| w.id == *wallet),
        FreezeTarget::Key { key } => policy.keys.iter().any(|k| k.id == *key),
        FreezeTarget::Member { member } => policy.members.iter().any(|m| m.id == *member),
        FreezeTarget::Rule { rule } => {
            let cedar = format!("@id(\"{rule}\")");
            policy.rules.iter().any(|r| r.id == *rule)
                || policy.cedar.iter().any(|file| file.text.contains(&cedar))
        }
        FreezeTarget::LowerLimit { limit, .. } => policy.limits.iter().any(|l| l.id == *limit),
        _ => true,
    };
    if known {
        return Ok(());
    }
    Err(Failure::new(
        Exit::NotFound,
        format!("the policy knows nothing of this: {target}"),
    ))
}

fn unknown(what: &str, name: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("the policy has no {what} {name}"))
}

fn from_text<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
}
