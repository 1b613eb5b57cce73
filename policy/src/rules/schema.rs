//! The schema: a reviewed file, and the bundle's groups.

use std::collections::BTreeMap;
use std::str::FromStr;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema, SchemaFragment};

use super::problem::RuleProblem;
use crate::bundle::{Group, Role, WalletTier};
use crate::id::{GroupId, MemberId, WalletId};

/// The part of the schema that is the same for every bundle.
const FIXED: &str = include_str!("schema.cedarschema");

/// The schema for these groups.
pub(super) fn schema<'a>(
    groups: impl Iterator<Item = &'a GroupId>,
) -> Result<Schema, Box<RuleProblem>> {
    let fail = |what: String| Box::new(RuleProblem::of_engine(what));
    let counts: BTreeMap<&str, ()> = groups.map(|group| (group.as_str(), ())).collect();
    let fields: Vec<String> = counts
        .keys()
        .map(|group| format!("{group:?}: Long"))
        .collect();
    let approvals = format!(
        "namespace Countersign {{ type Approvals = {{ {} }}; }}",
        fields.join(", ")
    );
    let mut fragments = Vec::new();
    for text in [FIXED, &approvals] {
        let (fragment, _) =
            SchemaFragment::from_cedarschema_str(text).map_err(|e| fail(e.to_string()))?;
        fragments.push(fragment);
    }
    Schema::from_schema_fragments(fragments).map_err(|e| fail(e.to_string()))
}

/// The names of the schema's entity types, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Types {
    member: EntityTypeName,
    role: EntityTypeName,
    group: EntityTypeName,
    wallet: EntityTypeName,
    tier: EntityTypeName,
    action: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Result<Self, Box<RuleProblem>> {
        let name = |name: &str| {
            EntityTypeName::from_str(&format!("Countersign::{name}"))
                .map_err(|e| Box::new(RuleProblem::of_engine(e.to_string())))
        };
        Ok(Self {
            member: name("Member")?,
            role: name("Role")?,
            group: name("Group")?,
            wallet: name("Wallet")?,
            tier: name("Tier")?,
            action: name("Action")?,
        })
    }

    pub(super) fn member(&self, id: &MemberId) -> EntityUid {
        uid(&self.member, id.as_str())
    }

    pub(super) fn role(&self, role: Role) -> EntityUid {
        uid(&self.role, role.as_str())
    }

    pub(super) fn group(&self, group: &Group) -> EntityUid {
        uid(&self.group, group.id.as_str())
    }

    pub(super) fn wallet(&self, id: &WalletId) -> EntityUid {
        uid(&self.wallet, id.as_str())
    }

    pub(super) fn tier(&self, tier: WalletTier) -> EntityUid {
        uid(&self.tier, tier_name(tier))
    }

    pub(super) fn sign(&self) -> EntityUid {
        uid(&self.action, "sign")
    }
}

fn uid(name: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}

/// All tiers.
pub(super) const TIERS: [WalletTier; 3] = [WalletTier::Hot, WalletTier::Warm, WalletTier::Cold];

/// The tier's name in the schema, which is its name in the bundle.
pub(super) const fn tier_name(tier: WalletTier) -> &'static str {
    match tier {
        WalletTier::Hot => "hot",
        WalletTier::Warm => "warm",
        WalletTier::Cold => "cold",
    }
}
