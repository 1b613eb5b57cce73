//! What there is: keys and wallets.

use std::collections::BTreeSet;

use super::super::model::{KeyRecord, PolicyBundle, Wallet};
use super::hsm;
use super::{Findings, unfit_holders};
use crate::statement::check_group;
use crate::{Network, PublicKey};

pub(super) fn keys(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "keys",
        &bundle.keys.iter().map(|k| &k.id).collect::<Vec<_>>(),
    );
    let mut seen = BTreeSet::new();
    for key in &bundle.keys {
        let at = format!("keys[{}]", key.id);
        findings.ascending(format!("{at}.nodes"), &key.nodes);
        findings.text(format!("{at}.purpose"), &key.purpose);
        if let Err(what) = check_group(key.protocol, key.threshold, key.max_faulty, key.nodes.len())
        {
            findings.add(format!("{at}.threshold"), what);
        }
        findings.require(
            seen.insert(key.group_key.to_string()),
            format!("{at}.group_key"),
            "another key has the same public key",
        );
        let matches =
            matches!(key.group_key, PublicKey::Secp256k1(_)) == key.protocol.is_secp256k1();
        findings.require(
            matches,
            format!("{at}.group_key"),
            "the public key's curve is not the protocol's",
        );
        let chain = key.chain_code.is_some() == key.protocol.has_children();
        findings.require(
            chain,
            format!("{at}.chain_code"),
            "secp256k1 keys of a threshold protocol have a chain code, all others have none",
        );
        // The nodes of a key that ended may be gone.
        if !key.state.is_final() {
            for problem in unfit_holders(bundle, key.protocol, &key.nodes, key.threshold) {
                findings.add(format!("{at}.nodes"), problem);
            }
        }
    }
}

pub(super) fn wallets(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "wallets",
        &bundle.wallets.iter().map(|w| &w.id).collect::<Vec<_>>(),
    );
    for (i, wallet) in bundle.wallets.iter().enumerate() {
        let at = format!("wallets[{}]", wallet.id);
        findings.text(format!("{at}.name"), &wallet.name);
        findings.require(
            !wallet.networks.is_empty(),
            format!("{at}.networks"),
            "a wallet names at least one network",
        );
        findings.ascending(format!("{at}.networks"), &wallet.networks);
        match bundle.keys.iter().find(|k| k.id == wallet.key) {
            None => findings.add(
                format!("{at}.key"),
                format!("there is no key {}", wallet.key),
            ),
            Some(key) => {
                wallet_key(findings, &at, wallet, key);
                hsm::wallet_tier(findings, bundle, &at, wallet, key);
            }
        }
        for other in bundle
            .wallets
            .iter()
            .skip(i.saturating_add(1))
            .filter(|w| w.key == wallet.key)
        {
            let overlap =
                wallet.path.starts_with(&other.path) || other.path.starts_with(&wallet.path);
            findings.require(
                !overlap,
                format!("{at}.path"),
                format!(
                    "overlaps with wallet {}: an address would belong to both",
                    other.id
                ),
            );
        }
    }
}

fn wallet_key(findings: &mut Findings, at: &str, wallet: &Wallet, key: &KeyRecord) {
    for network in &wallet.networks {
        let secp256k1 = matches!(network, Network::Evm { .. } | Network::Tron(_));
        findings.require(
            secp256k1 == key.protocol.is_secp256k1(),
            format!("{at}.networks"),
            format!(
                "{network} does not use the curve of protocol {}",
                key.protocol
            ),
        );
    }
    let children = key.protocol.has_children() || wallet.path.is_master();
    findings.require(
        children,
        format!("{at}.path"),
        "Ed25519 keys and keys in an HSM have no children: use the path \"m\"",
    );
}
