//! Whose each key is or ever was: what it signed for one member must never count for another.

use std::collections::BTreeMap;

use super::chain::ChainError;
use super::model::PolicyBundle;
use crate::HexBytes;
use crate::envelope::IdentityPublicKey;
use crate::id::MemberId;

/// The owners of all statement keys and WebAuthn credentials of a chain.
#[derive(Debug, Clone, Default)]
pub(super) struct Owners(BTreeMap<HexBytes, MemberId>);

impl Owners {
    pub(super) fn of(bundle: &PolicyBundle) -> Self {
        let mut owners = Self::default();
        owners.take(bundle);
        owners
    }

    /// Remembers the keys of a bundle that was checked with [`Owners::require`].
    pub(super) fn take(&mut self, bundle: &PolicyBundle) {
        let keys = statement_keys(bundle).map(|(key, owner)| (bytes(&key), owner.clone()));
        let credentials = credentials(bundle).map(|(key, owner)| (key.clone(), owner.clone()));
        self.0.extend(keys.chain(credentials));
    }

    /// A key never passes from one member to another.
    pub(super) fn require(&self, next: &PolicyBundle) -> Result<(), ChainError> {
        for (public_key, now) in statement_keys(next) {
            if let Some(before) = self.other(&bytes(&public_key), now) {
                return Err(ChainError::MemberKey {
                    public_key,
                    before,
                    now: now.clone(),
                });
            }
        }
        for (public_key, now) in credentials(next) {
            if let Some(before) = self.other(public_key, now) {
                return Err(ChainError::Credential {
                    public_key: public_key.clone(),
                    before,
                    now: now.clone(),
                });
            }
        }
        Ok(())
    }

    fn other(&self, key: &HexBytes, now: &MemberId) -> Option<MemberId> {
        self.0.get(key).filter(|before| *before != now).cloned()
    }
}

fn bytes(key: &IdentityPublicKey) -> HexBytes {
    HexBytes(key.as_bytes().to_vec())
}

fn statement_keys(
    bundle: &PolicyBundle,
) -> impl Iterator<Item = (IdentityPublicKey, &MemberId)> + '_ {
    let members = bundle.members.iter();
    members.flat_map(|m| m.keys.iter().map(|k| (k.public_key, &m.id)))
}

fn credentials(bundle: &PolicyBundle) -> impl Iterator<Item = (&HexBytes, &MemberId)> + '_ {
    let members = bundle.members.iter();
    members.flat_map(|m| m.credentials.iter().map(|c| (&c.public_key, &m.id)))
}
