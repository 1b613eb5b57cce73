//! The content of the test deployment's genesis bundle.

use std::collections::{BTreeMap, BTreeSet};

use super::single_key::SingleKey;
use super::transaction::{EXCHANGE, address_on};
use super::{
    APPROVERS, AUDITOR, AUTHOR, COORDINATOR, EXCHANGE_LABEL, OBSERVER, OFFICER, OPERATOR,
    OTHER_COORDINATOR, OTHER_OBSERVER, OTHER_OFFICERS, OTHER_PAYMENTS, PAYMENTS, SOLANA_WALLET,
    SPARE_APPROVER, WALLET, member, wallet_id,
};
use crate::bundle::{
    AddressBookEntry, AssetRecord, Destinations, Domains, Environment, FeeCap, KeyRecord, KeyState,
    Member, MemberKey, MemberKeyAlgorithm, PolicyBundle, Quorums, Role, Timing, TransferKind,
    TransferRule, Wallet, WalletTier,
};
use crate::{
    Amount, AssetId, DerivationPath, Hash, IdentityKey, KeyId, MemberId, Network, RuleId,
    Timestamp, WalletId, assets,
};

const PEOPLE: [(&str, Role); 15] = [
    (AUTHOR, Role::PolicyAuthor),
    (APPROVERS[0], Role::PolicyApprover),
    (APPROVERS[1], Role::PolicyApprover),
    (SPARE_APPROVER, Role::PolicyApprover),
    (PAYMENTS, Role::PaymentService),
    (OTHER_PAYMENTS, Role::PaymentService),
    (COORDINATOR, Role::Coordinator),
    (OTHER_COORDINATOR, Role::Coordinator),
    (OFFICER, Role::SecurityOfficer),
    (OTHER_OFFICERS[0], Role::SecurityOfficer),
    (OTHER_OFFICERS[1], Role::SecurityOfficer),
    (OBSERVER, Role::ChainObserver),
    (OTHER_OBSERVER, Role::ChainObserver),
    (OPERATOR, Role::Operator),
    (AUDITOR, Role::Auditor),
];

/// The networks on which a secp256k1 wallet is used, with the assets that rules allow and the fee cap.
const SECP256K1_NETWORKS: [(&str, &[&str], u64, Option<u64>); 3] = [
    (
        "eip155:1",
        &[
            "eip155:1/slip44:60",
            "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7",
        ],
        50_000_000_000_000_000,
        None,
    ),
    (
        "eip155:56",
        &["eip155:56/erc20:0x55d398326f99059ff775485246999027b3197955"],
        10_000_000_000_000_000,
        None,
    ),
    (
        "tron:0x2b6653dc",
        &[
            "tron:0x2b6653dc/slip44:195",
            "tron:0x2b6653dc/trc20:TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
        ],
        150_000_000,
        Some(3_600),
    ),
];

/// One statement key per member, made from the member's name.
pub(super) fn identities(nodes: usize) -> BTreeMap<MemberId, IdentityKey> {
    let people = PEOPLE.iter().map(|(name, _)| (*name).to_owned());
    let nodes = (1..=nodes).map(|i| format!("node-{i}"));
    people
        .chain(nodes)
        .map(|name| {
            let seed = Hash::derive("countersign/testing/identity", &[name.as_bytes()]);
            (member(&name), IdentityKey::from_seed(seed.as_bytes()))
        })
        .collect()
}

/// Members, quorums, times and the address book.
pub(super) fn without_keys(identities: &BTreeMap<MemberId, IdentityKey>) -> PolicyBundle {
    let members = identities
        .iter()
        .map(|(id, key)| describe(id, key))
        .collect();
    PolicyBundle {
        version: 1,
        predecessor: None,
        supersedes: Vec::new(),
        organisation: "Test".to_owned(),
        members,
        groups: Vec::new(),
        webauthn: None,
        quorums: Quorums {
            policy: 2,
            ceremony: 2,
            unfreeze: 2,
            observation: 2,
        },
        timing: Timing {
            max_clock_skew_seconds: 5,
            max_request_life_seconds: 3_600,
            max_authorization_life_seconds: 60,
            max_cold_authorization_life_seconds: None,
            max_approval_life_seconds: 86_400,
            activation_delay_seconds: 0,
        },
        keys: Vec::new(),
        wallets: Vec::new(),
        assets: Vec::new(),
        address_book: address_book(),
        rules: Vec::new(),
        cedar: Vec::new(),
        ledger_groups: Vec::new(),
        limits: Vec::new(),
        nonce_leads: Vec::new(),
        reference: None,
        fee_caps: Vec::new(),
    }
}

fn describe(id: &MemberId, key: &IdentityKey) -> Member {
    let role = PEOPLE
        .iter()
        .find(|(name, _)| *name == id.as_str())
        .map_or(Role::Node, |(_, role)| *role);
    described(id, key, role)
}

/// A machine with an HSM and no network.
pub(super) fn describe_machine(id: &MemberId, key: &IdentityKey) -> Member {
    described(id, key, Role::OfflineNode)
}

fn described(id: &MemberId, key: &IdentityKey, role: Role) -> Member {
    let machine = matches!(role, Role::Node | Role::OfflineNode);
    let domains = machine.then(|| Domains {
        administration: format!("team-{id}"),
        hosting: format!("site-{id}"),
    });
    Member {
        id: id.clone(),
        name: id.to_string(),
        roles: BTreeSet::from([role]),
        keys: vec![MemberKey {
            algorithm: MemberKeyAlgorithm::Ed25519,
            public_key: key.public(),
        }],
        credentials: Vec::new(),
        domains,
    }
}

/// The exchange on every network, usable since 1970.
fn address_book() -> Vec<AddressBookEntry> {
    [Network::SOLANA]
        .into_iter()
        .chain(SECP256K1_NETWORKS.iter().map(|row| network(row.0)))
        .map(|network| AddressBookEntry {
            label: EXCHANGE_LABEL.to_owned(),
            network,
            address: address_on(&network, &EXCHANGE),
            active_from: Timestamp::from_millis(0),
        })
        .collect()
}

pub(super) fn nodes(content: &PolicyBundle) -> Vec<MemberId> {
    let nodes = content
        .members
        .iter()
        .filter(|m| m.roles.contains(&Role::Node));
    nodes.map(|m| m.id.clone()).collect()
}

pub(super) fn key_record(
    id: KeyId,
    key: &SingleKey,
    nodes: Vec<MemberId>,
    threshold: u16,
) -> KeyRecord {
    KeyRecord {
        transcript: Hash::derive("countersign/testing/transcript", &[id.as_str().as_bytes()]),
        id,
        protocol: key.protocol(),
        threshold,
        max_faulty: 0,
        nodes,
        purpose: "tests".to_owned(),
        environment: Environment::Test,
        state: KeyState::Active,
        group_key: key.public_key(),
        chain_code: key.chain_code(),
    }
}

pub(super) fn add_key_with_wallet(content: &mut PolicyBundle, record: KeyRecord) -> WalletId {
    let secp256k1 = record.protocol.is_secp256k1();
    let base = if secp256k1 { WALLET } else { SOLANA_WALLET };
    let taken = content
        .wallets
        .iter()
        .filter(|w| w.id.as_str().trim_end_matches(['-', '2', '3', '4']) == base)
        .count();
    let id = match taken {
        0 => wallet_id(base),
        more => wallet_id(&format!("{base}-{}", more.saturating_add(1))),
    };
    add_wallet(content, record, id.clone());
    id
}

/// A wallet of this name, on every network of the key's curve, with a rule per asset.
pub(super) fn add_wallet(content: &mut PolicyBundle, record: KeyRecord, id: WalletId) {
    let secp256k1 = record.protocol.is_secp256k1();
    let wallet = Wallet {
        id: id.clone(),
        name: id.to_string(),
        tier: WalletTier::Hot,
        key: record.id.clone(),
        path: DerivationPath::master(),
        networks: if secp256k1 {
            SECP256K1_NETWORKS
                .iter()
                .map(|row| network(row.0))
                .collect()
        } else {
            vec![Network::SOLANA]
        },
        ledger_group: None,
        offline_operators: None,
    };
    content.keys.push(record);
    content.keys.sort_by(|a, b| a.id.cmp(&b.id));
    content.wallets.push(wallet);
    content.wallets.sort_by(|a, b| a.id.cmp(&b.id));
    if secp256k1 {
        for (name, allowed, max_fee, max_lifetime) in SECP256K1_NETWORKS {
            allow(content, &id, name, allowed, max_fee, max_lifetime);
        }
    } else {
        let name = Network::SOLANA.to_string();
        let coin = Network::SOLANA.native_asset().to_string();
        allow(content, &id, &name, &[&coin], 10_000, None);
    }
}

/// Assets, fee cap and one rule per asset: up to 1,000 units to the address book, asked for by `payments`.
fn allow(
    content: &mut PolicyBundle,
    wallet: &WalletId,
    name: &str,
    allowed: &[&str],
    max_fee: u64,
    max_lifetime_seconds: Option<u64>,
) {
    let network = network(name);
    if !content.fee_caps.iter().any(|c| c.network == network) {
        content.fee_caps.push(FeeCap {
            network,
            max_fee: Amount::from(max_fee),
            max_lifetime_seconds,
        });
    }
    for asset in allowed {
        let asset: AssetId = asset.parse().expect("a CAIP-19 asset");
        let known = assets::lookup(&asset).expect("an asset of the registry");
        if !content.assets.iter().any(|a| a.asset == asset) {
            content.assets.push(AssetRecord {
                asset,
                symbol: known.symbol.to_owned(),
                decimals: known.decimals,
            });
            content.assets.sort_by_key(|a| a.asset);
        }
        let kind = if asset.is_native() {
            TransferKind::NativeTransfer
        } else {
            TransferKind::TokenTransfer
        };
        let chain: String = name.replace(':', "-").chars().take(15).collect();
        let id = format!("{wallet}-{}-{chain}", known.symbol).to_lowercase();
        content.rules.push(TransferRule {
            id: RuleId::new(id).expect("a rule id"),
            wallet: wallet.clone(),
            initiators: vec![member(PAYMENTS)],
            asset,
            kinds: BTreeSet::from([kind]),
            destinations: Destinations::AddressBook,
            max_amount: thousand_units(known.decimals),
            needs: None,
        });
    }
}

/// 1,000 whole units of an asset, in base units.
fn thousand_units(decimals: u8) -> Amount {
    let ten = Amount::from(10_u64);
    (0..decimals).fold(Amount::from(1_000_u64), |amount, _| {
        amount.checked_mul(ten).expect("fits in 256 bits")
    })
}

fn network(name: &str) -> Network {
    name.parse().expect("a CAIP-2 network")
}
