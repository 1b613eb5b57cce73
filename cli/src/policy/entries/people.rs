//! Members, and the states of keys.

use std::collections::BTreeSet;

use countersign_policy::bundle::{
    Credential, Domains, KeyState, Member, MemberKey, MemberKeyAlgorithm, Role,
};
use countersign_policy::{IdentityPublicKey, KeyId, MemberId};
use serde::Deserialize;

use super::sorted;

/// A member. Keys are public ones: a policy directory never holds a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// Its id.
    pub id: MemberId,
    /// For people; without it, the id.
    pub name: Option<String>,
    /// What the member may do.
    pub roles: BTreeSet<Role>,
    /// Public Ed25519 statement keys, 64 hexadecimal digits each.
    pub keys: Vec<IdentityPublicKey>,
    /// WebAuthn credentials.
    #[serde(default)]
    pub credentials: Vec<Credential>,
    /// For nodes: who administers and who hosts it.
    pub domains: Option<Domains>,
}

impl MemberEntry {
    /// As a bundle has it.
    pub fn record(&self) -> Member {
        let key = |public_key: &IdentityPublicKey| MemberKey {
            algorithm: MemberKeyAlgorithm::Ed25519,
            public_key: *public_key,
        };
        Member {
            id: self.id.clone(),
            name: self.name.clone().unwrap_or_else(|| self.id.to_string()),
            roles: self.roles.clone(),
            keys: self.keys.iter().map(key).collect(),
            credentials: sorted(&self.credentials),
            domains: self.domains.clone(),
        }
    }
}

/// The state of a pinned key. Everything else about it comes from its ceremony and never changes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyStateEntry {
    /// The key.
    pub id: KeyId,
    /// Its state.
    pub state: KeyState,
}
