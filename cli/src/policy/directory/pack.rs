//! From what people write to the content of a bundle. The same directory after the same predecessor gives the same bytes.

use std::collections::BTreeSet;

use countersign_policy::bundle::{
    ActiveBundle, AssetRecord, CedarFile, KeyRecord, PolicyBundle, Role, WalletTier,
};
use countersign_policy::limits::Reference;
use countersign_policy::{Hash, KeyId, MemberId, Network, Protocol, PublicKey, Timestamp};

use super::document::{Document, FILE};
use super::locate::Source;
use super::problem::Problem;
use crate::policy::entries::{Names, Wrong, in_order, sorted};

/// What a policy follows: what it takes over from the version before.
#[derive(Debug, Clone)]
pub struct Basis {
    version: u64,
    predecessor: Option<Hash>,
    /// The pinned keys; none when there is no version before.
    keys: Option<Vec<KeyRecord>>,
}

impl Basis {
    /// The successor of a bundle.
    pub fn after(active: &ActiveBundle) -> Self {
        Self {
            version: active.content().version.saturating_add(1),
            predecessor: Some(active.digest()),
            keys: Some(active.content().keys.clone()),
        }
    }

    /// Nothing is known about the version before: keys are made up, so that everything else can be looked at.
    pub fn unknown() -> Self {
        Self {
            version: 1,
            predecessor: None,
            keys: None,
        }
    }

    /// Whether pinned keys are known.
    pub fn is_known(&self) -> bool {
        self.keys.is_some()
    }
}

/// Without a time of its own, an entry of the address book is usable from the beginning.
const AT_ONCE: i64 = 0;

/// Puts the content together.
pub fn pack(
    document: &Document,
    cedar: &[CedarFile],
    source: &Source<'_>,
    basis: &Basis,
) -> Result<PolicyBundle, Vec<Problem>> {
    let mut packer = Packer {
        source,
        problems: Vec::new(),
        assets: document.assets.clone(),
    };
    let bundle = packer.bundle(document, cedar, basis);
    if packer.problems.is_empty() {
        Ok(bundle)
    } else {
        Err(packer.problems)
    }
}

struct Packer<'a> {
    source: &'a Source<'a>,
    problems: Vec<Problem>,
    /// Listed, and what entries name besides.
    assets: Vec<AssetRecord>,
}

impl Packer<'_> {
    fn bundle(&mut self, document: &Document, cedar: &[CedarFile], basis: &Basis) -> PolicyBundle {
        let mut members: Vec<_> = document.members.iter().map(|m| m.record()).collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let mut groups = document.groups.clone();
        for group in &mut groups {
            group.members = sorted(&group.members);
        }
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        let mut wallets: Vec<_> = document.wallets.iter().map(|w| w.record()).collect();
        wallets.sort_by(|a, b| a.id.cmp(&b.id));
        let mut ledger_groups = document.ledger_groups.clone();
        for group in &mut ledger_groups {
            group.nodes = sorted(&group.nodes);
        }
        ledger_groups.sort_by(|a, b| a.id.cmp(&b.id));
        let mut webauthn = document.webauthn.clone();
        if let Some(policy) = &mut webauthn {
            policy.origins = sorted(&policy.origins);
        }
        let mut cedar = cedar.to_vec();
        cedar.sort_by(|a, b| a.name.cmp(&b.name));
        let mut nonce_leads: Vec<_> = document.nonce_leads.iter().map(in_order).collect();
        nonce_leads.sort_by(|a, b| a.id.cmp(&b.id));

        let mut bundle = PolicyBundle {
            version: basis.version,
            predecessor: basis.predecessor,
            supersedes: Vec::new(),
            organisation: document.organisation.clone(),
            members,
            groups,
            webauthn,
            quorums: document.quorums.clone(),
            timing: document.timing.clone(),
            keys: Vec::new(),
            wallets,
            assets: Vec::new(),
            address_book: Vec::new(),
            rules: Vec::new(),
            cedar,
            ledger_groups,
            limits: Vec::new(),
            nonce_leads,
            reference: None,
            fee_caps: Vec::new(),
        };
        bundle.keys = self.keys(document, basis, &bundle);
        self.money(document, &mut bundle);
        self.assets.sort_by_key(|asset| asset.asset);
        bundle.assets = std::mem::take(&mut self.assets);
        bundle
    }

    fn money(&mut self, document: &Document, bundle: &mut PolicyBundle) {
        for entry in &document.address_book {
            let at = format!("address_book[{}]", entry.label);
            let record = entry.record(Timestamp::from_millis(AT_ONCE));
            bundle.address_book.extend(self.told(&at, record));
        }
        let order = |e: &countersign_policy::bundle::AddressBookEntry| (e.label.clone(), e.network);
        bundle.address_book.sort_by_key(order);
        for entry in &document.rules {
            let at = format!("rules[{}]", entry.id);
            let record = entry.record(&self.assets);
            if let Some((rule, asset)) = self.told(&at, record) {
                self.name_asset(asset);
                bundle.rules.push(rule);
            }
        }
        for entry in &document.fee_caps {
            let at = format!("fee_caps[{}]", entry.network);
            bundle.fee_caps.extend(self.told(&at, entry.record()));
        }
        bundle.fee_caps.sort_by_key(|cap| cap.network);
        bundle.reference = self.reference(document);
        for entry in &document.limits {
            let at = format!("limits[{}]", entry.id);
            let names = Names {
                assets: &self.assets,
                address_book: &bundle.address_book,
                reference: bundle.reference.as_ref(),
            };
            let record = entry.record(names);
            if let Some((limit, asset)) = self.told(&at, record) {
                asset.into_iter().for_each(|asset| self.name_asset(asset));
                bundle.limits.push(limit);
            }
        }
        bundle.limits.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn reference(&mut self, document: &Document) -> Option<Reference> {
        let entry = document.reference.as_ref()?;
        match entry.record(&self.assets) {
            Ok((reference, named)) => {
                named.into_iter().for_each(|asset| self.name_asset(asset));
                Some(reference)
            }
            Err((index, wrong)) => {
                self.problem(&format!("reference.prices[{index}]"), &wrong);
                None
            }
        }
    }

    /// The pinned keys, with the states that the document gives them.
    fn keys(
        &mut self,
        document: &Document,
        basis: &Basis,
        bundle: &PolicyBundle,
    ) -> Vec<KeyRecord> {
        let mut keys = match &basis.keys {
            Some(keys) => keys.clone(),
            None => made_up(bundle),
        };
        for entry in &document.keys {
            match keys.iter_mut().find(|key| key.id == entry.id) {
                Some(key) => key.state = entry.state,
                None if basis.is_known() => self.problem(
                    &format!("keys[{}]", entry.id),
                    &Wrong {
                        field: "id",
                        what: format!(
                            "there is no key {}: keys are made by countersign ceremony, and only their state stands here",
                            entry.id
                        ),
                    },
                ),
                None => {}
            }
        }
        keys
    }

    fn name_asset(&mut self, asset: AssetRecord) {
        if self.assets.iter().all(|known| known.asset != asset.asset) {
            self.assets.push(asset);
        }
    }

    fn told<T>(&mut self, at: &str, record: Result<T, Wrong>) -> Option<T> {
        match record {
            Ok(record) => Some(record),
            Err(wrong) => {
                self.problem(at, &wrong);
                None
            }
        }
    }

    fn problem(&mut self, at: &str, wrong: &Wrong) {
        let at = format!("{at}.{}", wrong.field);
        self.problems.push(Problem {
            file: FILE.to_owned(),
            line: self.source.find(&at),
            at,
            what: wrong.what.clone(),
        });
    }
}

/// Keys in the place of those that wallets name, when nobody knows the true ones: nobody has their secrets.
fn made_up(bundle: &PolicyBundle) -> Vec<KeyRecord> {
    let holders = |role: Role| -> Vec<MemberId> {
        let members = bundle.members.iter();
        members
            .filter(|member| member.roles.contains(&role))
            .map(|member| member.id.clone())
            .collect()
    };
    let nodes = holders(Role::Node);
    let count = u16::try_from(nodes.len()).unwrap_or(u16::MAX);
    let threshold = (count / 2).saturating_add(1).max(2);
    let ids: BTreeSet<&KeyId> = bundle.wallets.iter().map(|wallet| &wallet.key).collect();
    let key = |id: &KeyId| {
        let ed25519 = bundle.wallets.iter().any(|wallet| {
            wallet.key == *id && matches!(wallet.networks.first(), Some(Network::Solana(_)))
        });
        let seed = |counter: u64| {
            let counter = counter.to_be_bytes();
            Hash::derive(
                "countersign/policy-directory/made-up-key",
                &[id.as_str().as_bytes(), &counter],
            )
        };
        let wallet = bundle.wallets.iter().find(|wallet| wallet.key == *id)?;
        let protocol = match (wallet.tier, ed25519) {
            (WalletTier::Hot, true) => Protocol::FrostEd25519,
            (WalletTier::Hot, false) => Protocol::Dkls23,
            (WalletTier::Warm | WalletTier::Cold, true) => Protocol::Pkcs11Ed25519,
            (WalletTier::Warm | WalletTier::Cold, false) => Protocol::Pkcs11Secp256k1,
        };
        Some(KeyRecord {
            id: id.clone(),
            protocol,
            threshold: if protocol.is_hsm() { 1 } else { threshold },
            max_faulty: 0,
            nodes: match wallet.tier {
                WalletTier::Hot => nodes.clone(),
                // Any node of the wallet's ledger group; which one holds the token is not known here.
                WalletTier::Warm => {
                    let group = wallet.ledger_group.as_ref();
                    let mut groups = bundle.ledger_groups.iter();
                    let group = groups.find(|g| Some(&g.id) == group);
                    group.map_or_else(|| nodes.clone(), |g| g.nodes.clone())
                }
                WalletTier::Cold => holders(Role::OfflineNode),
            },
            purpose: "made up for a look without the deployment".to_owned(),
            environment: countersign_policy::bundle::Environment::Test,
            state: countersign_policy::bundle::KeyState::Active,
            // About every second candidate is a point.
            group_key: (0..256).find_map(|counter| point(&seed(counter), ed25519))?,
            chain_code: protocol
                .has_children()
                .then(|| countersign_policy::ChainCode(*seed(0).as_bytes())),
            transcript: Hash::ZERO,
        })
    };
    ids.into_iter().filter_map(key).collect()
}

fn point(candidate: &Hash, ed25519: bool) -> Option<PublicKey> {
    if ed25519 {
        return PublicKey::ed25519(*candidate.as_bytes()).ok();
    }
    let mut bytes = [2u8; 33];
    bytes.get_mut(1..)?.copy_from_slice(candidate.as_bytes());
    PublicKey::secp256k1(bytes).ok()
}
