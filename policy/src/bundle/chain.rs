//! The chain of bundles from the pinned genesis.

use std::sync::Arc;

use super::model::{AddressBookEntry, FeeCap, KeyRecord, Member, PolicyBundle, Role, Wallet};
use super::owners::Owners;
use super::places::Places;
use super::validate::{ValidationError, unfit_holders, validate};
use crate::envelope::{Envelope, IdentityPublicKey, ReadyKey};
use crate::hash::Hash;
use crate::id::{KeyId, MemberId, WalletId};
use crate::limits::{LedgerGroup, LimitBook, Period};
use crate::rules::RuleSet;
use crate::statement::{
    Directory, KeyCeremony, Signer, Signers, StatementError, Verified, open_quorum_in, parse,
};
use crate::webauthn::ReadyCredential;
use crate::{
    Address, ChainCode, ChildKeys, DerivationError, DerivationPath, ExtendedPublicKey, HexBytes,
    Network, PublicKey, Timestamp,
};

/// Why a bundle does not continue the chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The envelope is no acceptable statement.
    #[error("not an acceptable policy bundle")]
    Statement(#[from] StatementError),
    /// Another genesis than the pinned one.
    #[error("the genesis bundle hashes to {found}, pinned is {pinned}")]
    Genesis {
        /// Of the bundle given.
        found: Hash,
        /// From this machine's configuration.
        pinned: Hash,
    },
    /// Not the next version: a gap or a rollback.
    #[error("version {found} cannot follow version {active}")]
    Version {
        /// Of the bundle given.
        found: u64,
        /// Of the active bundle.
        active: u64,
    },
    /// Another predecessor: a fork.
    #[error("version {version} names predecessor {found}, the active bundle is {active}: a fork")]
    Fork {
        /// Of the bundle given.
        version: u64,
        /// Its predecessor.
        found: Hash,
        /// The active bundle.
        active: Hash,
    },
    /// The issuer does not have the role that proposes.
    #[error("{0} is no policy author")]
    Author(MemberId),
    /// A signature by somebody who has no say in it.
    #[error("{0} signed but is no policy approver")]
    Approver(MemberId),
    /// Not enough approvers.
    #[error("{found} policy approvers besides the author signed, {needed} are needed")]
    Quorum {
        /// Valid approvals.
        found: usize,
        /// Demanded.
        needed: u16,
    },
    /// Issued in the future.
    #[error("the bundle was issued at {issued_at}, after the present {now}")]
    NotYetIssued {
        /// Its issue time.
        issued_at: Timestamp,
        /// The present.
        now: Timestamp,
    },
    /// A bundle that would go on for too long without anybody looking at it.
    #[error("the bundle lives for more than {} days: issue it for less, and re-affirm it", MAX_BUNDLE_LIFE_SECONDS / 86_400)]
    Life,
    /// A statement key that was another member's before.
    #[error("{now} has the statement key {public_key}, which was {before}'s: one key, one use")]
    MemberKey {
        /// The key.
        public_key: IdentityPublicKey,
        /// Whose it was.
        before: MemberId,
        /// Whose it would be.
        now: MemberId,
    },
    /// A WebAuthn credential whose key was another member's before.
    #[error(
        "{now} has a credential with the key {public_key}, which was {before}'s: one key, one use"
    )]
    Credential {
        /// The key.
        public_key: HexBytes,
        /// Whose it was.
        before: MemberId,
        /// Whose it would be.
        now: MemberId,
    },
    /// A key changed in a way that keys never change.
    #[error("key {key}: {what}")]
    Key {
        /// The key.
        key: KeyId,
        /// What changed.
        what: &'static str,
    },
    /// A ceremony whose key no valid bundle could pin.
    #[error("the ceremony of key {key} is refused: {what}")]
    Ceremony {
        /// The key.
        key: KeyId,
        /// What to mend.
        what: String,
    },
    /// The content breaks a rule.
    #[error(transparent)]
    Content(#[from] ValidationError),
}

/// The longest time from a bundle's issue to its expiry, in seconds: 400 days.
pub const MAX_BUNDLE_LIFE_SECONDS: u64 = 400 * 86_400;

/// Child keys that a bundle remembers.
const CHILDREN: usize = 1024;

/// A bundle that was verified, chained and validated. Everything is decided under one of these.
#[derive(Debug, Clone)]
pub struct ActiveBundle {
    bundle: PolicyBundle,
    digest: Hash,
    envelope: Envelope,
    issued_at: Timestamp,
    expires_at: Timestamp,
    directory: Directory,
    children: Arc<ChildKeys>,
    rules: Arc<RuleSet>,
    places: Arc<Places>,
    per_transaction: Arc<LimitBook>,
}

/// The chain, oldest first.
#[derive(Debug, Clone)]
pub struct BundleChain {
    links: Vec<ActiveBundle>,
    owners: Owners,
}

impl BundleChain {
    /// Starts at the genesis: its digest must be the pinned one, and its own quorum must have signed it.
    pub fn from_genesis(envelope: &Envelope, pinned: Hash) -> Result<Self, ChainError> {
        let found = envelope.digest();
        if found != pinned {
            return Err(ChainError::Genesis { found, pinned });
        }
        let bundle = parse::<PolicyBundle>(envelope, Hash::ZERO)?.body;
        if bundle.version != 1 {
            return Err(ChainError::Version {
                found: bundle.version,
                active: 0,
            });
        }
        let verified =
            open_quorum_in::<PolicyBundle>(envelope, Hash::ZERO, &statement_signers(&bundle))?;
        require_quorum(&bundle, &verified, bundle.quorums.policy)?;
        require_bounded_life(&verified)?;
        let rules = validate(&bundle)?;
        Ok(Self {
            owners: Owners::of(&bundle),
            links: vec![ActiveBundle::new(verified, pinned, rules)],
        })
    }

    /// Verifies a successor of the newest bundle and appends it without looking for acknowledgements: for reading back a
    /// chain that was followed before. What is new comes in through [`BundleChain::activate`] or
    /// [`BundleChain::append_with_evidence`]. On an error nothing changes.
    ///
    /// An expired bundle can be succeeded (that is how it is re-affirmed), and an expired successor can be appended (that
    /// is how a chain is read again); nothing is allowed under either.
    ///
    /// # Errors
    /// [`ChainError`]: the first check that failed.
    pub fn append(
        &mut self,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<&ActiveBundle, ChainError> {
        let next = self.verify_successor(envelope, now)?;
        self.push(next);
        Ok(self.active())
    }

    /// Appends what was verified as a successor of the newest bundle.
    pub(super) fn push(&mut self, next: ActiveBundle) {
        self.owners.take(&next.bundle);
        self.links.push(next);
    }

    /// Verifies a successor of the newest bundle without appending it.
    pub fn verify_successor(
        &self,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<ActiveBundle, ChainError> {
        let needed = self.active().bundle.quorums.policy;
        let (verified, rules) = self.verify_next(envelope, now, needed)?;
        Ok(ActiveBundle::new(verified, self.genesis(), rules))
    }

    /// Verifies everything about a proposed successor but that enough approvers signed it: that is what a proposal waits
    /// for. Nothing can be decided under what is returned.
    ///
    /// # Errors
    /// [`ChainError`]: the first check that failed.
    pub fn verify_proposal(
        &self,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<Verified<PolicyBundle>, ChainError> {
        self.verify_next(envelope, now, 0)
            .map(|(verified, _)| verified)
    }

    fn verify_next(
        &self,
        envelope: &Envelope,
        now: Timestamp,
        needed: u16,
    ) -> Result<(Verified<PolicyBundle>, RuleSet), ChainError> {
        let active = self.active();
        let verified = active.directory.open_quorum::<PolicyBundle>(envelope)?;
        let next = verified.body();
        if next.version != active.bundle.version.saturating_add(1) {
            return Err(ChainError::Version {
                found: next.version,
                active: active.bundle.version,
            });
        }
        if next.predecessor != Some(active.digest) {
            let found = next.predecessor.unwrap_or(Hash::ZERO);
            return Err(ChainError::Fork {
                version: next.version,
                found,
                active: active.digest,
            });
        }
        require_quorum(&active.bundle, &verified, needed)?;
        let issued_at = verified.statement().issued_at;
        if issued_at > now.plus_seconds(active.bundle.timing.max_clock_skew_seconds) {
            return Err(ChainError::NotYetIssued { issued_at, now });
        }
        require_bounded_life(&verified)?;
        let rules = validate(next)?;
        require_lasting_keys(&active.bundle, next)?;
        self.owners.require(next)?;
        Ok((verified, rules))
    }

    /// The pinned genesis hash.
    pub fn genesis(&self) -> Hash {
        self.links.first().map_or(Hash::ZERO, |first| first.digest)
    }

    /// The newest bundle.
    pub fn active(&self) -> &ActiveBundle {
        match self.links.last() {
            Some(last) => last,
            // from_genesis puts the first link in and nothing ever takes one out.
            None => unreachable!("a bundle chain is never empty"),
        }
    }

    /// All bundles, oldest first.
    pub fn links(&self) -> &[ActiveBundle] {
        &self.links
    }
}

/// The author issues, and enough approvers other than the author sign.
fn require_quorum(
    rules: &PolicyBundle,
    verified: &Verified<PolicyBundle>,
    needed: u16,
) -> Result<(), ChainError> {
    require_author_and_approvers(rules, verified.issuer(), verified.signers(), needed)
}

fn require_author_and_approvers(
    rules: &PolicyBundle,
    author: &MemberId,
    signers: &std::collections::BTreeSet<MemberId>,
    needed: u16,
) -> Result<(), ChainError> {
    let has = |id: &MemberId, role| {
        rules
            .members
            .iter()
            .any(|m| m.id == *id && m.roles.contains(&role))
    };
    if !has(author, Role::PolicyAuthor) || !signers.contains(author) {
        return Err(ChainError::Author(author.clone()));
    }
    let approvers: Vec<_> = signers.iter().filter(|id| *id != author).collect();
    if let Some(other) = approvers.iter().find(|id| !has(id, Role::PolicyApprover)) {
        return Err(ChainError::Approver((*other).clone()));
    }
    if approvers.len() < usize::from(needed) {
        return Err(ChainError::Quorum {
            found: approvers.len(),
            needed,
        });
    }
    Ok(())
}

/// A key never changes its protocol, group or public key, and never leaves the bundle.
fn require_lasting_keys(before: &PolicyBundle, after: &PolicyBundle) -> Result<(), ChainError> {
    for old in &before.keys {
        let fail = |what| ChainError::Key {
            key: old.id.clone(),
            what,
        };
        let new = after
            .keys
            .iter()
            .find(|k| k.id == old.id)
            .ok_or_else(|| fail("was left out; deactivate it instead"))?;
        let unchanged = KeyRecord {
            state: old.state,
            ..new.clone()
        };
        if unchanged != *old {
            return Err(fail("only the state of a pinned key can change"));
        }
        if !old.state.may_become(new.state) {
            return Err(fail(
                "a key that was used is not pre-active again, and one that ended does not come back",
            ));
        }
    }
    Ok(())
}

fn require_bounded_life(bundle: &Verified<PolicyBundle>) -> Result<(), ChainError> {
    let statement = bundle.statement();
    if statement.expires_at > statement.issued_at.plus_seconds(MAX_BUNDLE_LIFE_SECONDS) {
        return Err(ChainError::Life);
    }
    Ok(())
}

fn statement_signers(bundle: &PolicyBundle) -> Signers {
    let signer = |m: &Member| Signer {
        keys: m
            .keys
            .iter()
            .filter_map(|k| ReadyKey::new(&k.public_key))
            .collect(),
        credentials: m.credentials.iter().map(ReadyCredential::new).collect(),
        roles: m.roles.clone(),
    };
    let members = bundle.members.iter();
    Signers {
        members: members.map(|m| (m.id.clone(), signer(m))).collect(),
        webauthn: bundle.webauthn.clone(),
    }
}

/// Whether the machines of a key are offline.
pub(super) fn is_offline(bundle: &PolicyBundle, key: &KeyRecord) -> bool {
    let offline = |id: &MemberId| {
        let members = bundle.members.iter();
        members
            .filter(|m| m.id == *id)
            .any(|m| m.roles.contains(&Role::OfflineNode))
    };
    key.protocol.is_hsm() && key.nodes.iter().any(offline)
}

fn per_transaction(bundle: &PolicyBundle) -> LimitBook {
    let limits = bundle.limits.iter();
    let limits: Vec<_> = limits
        .filter(|limit| limit.period == Period::Transaction)
        .cloned()
        .collect();
    LimitBook::new(
        &limits,
        bundle.reference.as_ref(),
        &bundle.wallets,
        &bundle.assets,
        bundle.timing.max_clock_skew_seconds,
    )
}

impl ActiveBundle {
    fn new(verified: Verified<PolicyBundle>, genesis: Hash, rules: RuleSet) -> Self {
        let directory = Directory::new(genesis, statement_signers(verified.body()));
        Self {
            places: Arc::new(Places::of(verified.body())),
            per_transaction: Arc::new(per_transaction(verified.body())),
            rules: Arc::new(rules),
            bundle: verified.body().clone(),
            digest: verified.digest(),
            envelope: verified.envelope().clone(),
            issued_at: verified.statement().issued_at,
            expires_at: verified.statement().expires_at,
            directory,
            children: Arc::new(ChildKeys::bounded(CHILDREN)),
        }
    }

    /// The content.
    pub fn content(&self) -> &PolicyBundle {
        &self.bundle
    }

    /// The bundle's digest: its name in authorizations and receipts.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The envelope as received.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// When its author issued it.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// Nothing is allowed under it from this time on.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Opens statements with the members' keys of this bundle.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// How far two clocks may differ, in seconds.
    pub fn skew_seconds(&self) -> u64 {
        self.bundle.timing.max_clock_skew_seconds
    }

    /// A member by id.
    pub fn member(&self, id: &MemberId) -> Option<&Member> {
        self.bundle.members.get(self.places.member(id)?)
    }

    /// Whether a member has a role.
    pub fn has_role(&self, id: &MemberId, role: Role) -> bool {
        self.member(id).is_some_and(|m| m.roles.contains(&role))
    }

    /// A key by id.
    pub fn key(&self, id: &KeyId) -> Option<&KeyRecord> {
        self.bundle.keys.iter().find(|k| k.id == *id)
    }

    /// The public key at `path` of one of this bundle's keys.
    ///
    /// # Errors
    /// Those of [`ExtendedPublicKey::derive`].
    pub fn public_key_at(
        &self,
        key: &KeyRecord,
        path: &DerivationPath,
    ) -> Result<PublicKey, DerivationError> {
        // Nobody has a chain code of a key in a token: whatever were derived, no token could sign for it.
        if !key.protocol.has_children() {
            return match path.is_master() {
                true => Ok(key.group_key),
                false => Err(DerivationError::NoChildren),
            };
        }
        self.children.derive(&key.extended_public_key(), path)
    }

    /// Whether a key lies in machines without a network: what it signs is carried to and from them.
    pub fn is_offline(&self, key: &KeyRecord) -> bool {
        is_offline(&self.bundle, key)
    }

    /// The ledger group of a wallet whose key lies in an HSM: a quorum of it reserves every spend.
    pub fn ledger_group_of(&self, wallet: &Wallet) -> Option<&LedgerGroup> {
        let id = wallet.ledger_group.as_ref()?;
        self.bundle.ledger_groups.iter().find(|g| g.id == *id)
    }

    /// A wallet by id.
    pub fn wallet(&self, id: &WalletId) -> Option<&Wallet> {
        self.bundle.wallets.get(self.places.wallet(id)?)
    }

    /// The fee cap of a network.
    pub fn fee_cap(&self, network: &Network) -> Option<&FeeCap> {
        self.bundle.fee_caps.iter().find(|c| c.network == *network)
    }

    /// The address book entry of an address.
    pub fn destination(&self, network: &Network, address: &Address) -> Option<&AddressBookEntry> {
        let place = self.places.destination(network, address)?;
        self.bundle.address_book.get(place)
    }

    /// The same bundle with an address book that nobody signed and that no statement could carry: for measurements.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_address_book(mut self, entries: Vec<AddressBookEntry>) -> Self {
        self.bundle.address_book = entries;
        self.places = Arc::new(Places::of(&self.bundle));
        self
    }

    /// The same bundle with other rules, which nobody checked.
    #[cfg(test)]
    pub(crate) fn with_rule_set(mut self, rules: RuleSet) -> Self {
        self.rules = Arc::new(rules);
        self
    }

    /// The limits that one transaction can pass by itself; nothing is ever recorded in it.
    pub(crate) fn per_transaction_limits(&self) -> &LimitBook {
        &self.per_transaction
    }

    /// The compiled Cedar rules.
    pub fn rule_set(&self) -> &RuleSet {
        &self.rules
    }

    /// Opens a ceremony order: issued by a policy author, signed by the ceremony quorum of approvers, for a new key that a
    /// bundle with these members could pin. The time is not looked at: see [`Verified::require_current`].
    ///
    /// # Errors
    /// [`ChainError`]: the first check that failed.
    pub fn open_ceremony(&self, envelope: &Envelope) -> Result<Verified<KeyCeremony>, ChainError> {
        let order = self.directory.open_quorum::<KeyCeremony>(envelope)?;
        require_author_and_approvers(
            &self.bundle,
            order.issuer(),
            order.signers(),
            self.bundle.quorums.ceremony,
        )?;
        let body = order.body();
        let key = body.key.clone();
        if self.key(&key).is_some() {
            return Err(ChainError::Key {
                key,
                what: "exists already; a key is made once",
            });
        }
        let problems = unfit_holders(&self.bundle, body.protocol, &body.nodes, body.threshold);
        if !problems.is_empty() {
            let what = problems.join("; ");
            return Err(ChainError::Ceremony { key, what });
        }
        Ok(order)
    }
}

impl KeyRecord {
    /// The root from which addresses are derived. Ed25519 keys have no children, so their chain code is never used.
    pub fn extended_public_key(&self) -> ExtendedPublicKey {
        ExtendedPublicKey {
            public_key: self.group_key,
            chain_code: self.chain_code.unwrap_or(ChainCode([0; 32])),
        }
    }

    /// How many nodes must durably stop a request before no signature can exist: n - t + 1 + f.
    pub fn stop_quorum(&self) -> usize {
        self.nodes
            .len()
            .saturating_add(1)
            .saturating_add(usize::from(self.max_faulty))
            .saturating_sub(usize::from(self.threshold))
    }
}
