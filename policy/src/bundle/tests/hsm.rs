//! Keys in HSMs, and the wallets that have them.

use super::content::{accepted, hot, problems, refused};
use crate::bundle::succession::AckQuorum;
use crate::bundle::{PolicyBundle, WalletTier};
use crate::testing::cold::{VAULT, set_tier};
use crate::testing::{ECDSA_KEY, OPERATOR, WALLET, member};
use crate::{ChainCode, Protocol};

/// The wallet as `tier`, with its rules' approvals, and then changed.
fn tiered(
    tier: WalletTier,
    change: impl FnOnce(&mut PolicyBundle),
) -> impl FnOnce(&mut PolicyBundle) {
    move |c| {
        set_tier(c, WALLET, tier);
        c.groups = vec![crate::bundle::Group {
            id: "treasury".parse().unwrap(),
            members: ["officer", "officer-2", "officer-3"].map(member).to_vec(),
        }];
        for rule in c.rules.iter_mut().filter(|r| r.wallet.as_str() == WALLET) {
            rule.needs = Some("treasury:2".parse().unwrap());
        }
        change(c);
    }
}

fn key(c: &mut PolicyBundle) -> &mut crate::bundle::KeyRecord {
    c.keys
        .iter_mut()
        .find(|k| k.id.as_str() == ECDSA_KEY)
        .unwrap()
}

#[test]
fn warm_and_cold_wallets_with_all_that_belongs_to_them_are_accepted() {
    accepted(tiered(WalletTier::Warm, |_| {}));
    accepted(tiered(WalletTier::Cold, |_| {}));
    accepted(tiered(WalletTier::Cold, |c| {
        hot(c).offline_operators = Some(1)
    }));
}

#[test]
fn a_tier_and_the_place_of_its_key_belong_together() {
    refused("wallets[hot].tier", "it is warm or cold", |c| {
        set_tier(c, WALLET, WalletTier::Warm);
        hot(c).tier = WalletTier::Hot;
    });
    refused("wallets[hot].tier", "so it is hot", |c| {
        hot(c).tier = WalletTier::Cold
    });
    refused(
        "wallets[hot].tier",
        "so it is cold",
        tiered(WalletTier::Cold, |c| {
            hot(c).tier = WalletTier::Warm;
        }),
    );
    refused(
        "wallets[hot].tier",
        "or call it warm",
        tiered(WalletTier::Warm, |c| {
            hot(c).tier = WalletTier::Cold;
        }),
    );
}

#[test]
fn one_machine_is_never_alone_with_an_hsm_key() {
    let at = "wallets[hot].ledger_group";
    for tier in [WalletTier::Warm, WalletTier::Cold] {
        refused(
            at,
            "names the ledger group",
            tiered(tier, |c| hot(c).ledger_group = None),
        );
        refused(
            at,
            "there is no ledger group",
            tiered(tier, |c| {
                hot(c).ledger_group = Some("nowhere".parse().unwrap());
            }),
        );
    }
    refused(
        at,
        "the machine with the HSM alone",
        tiered(WalletTier::Warm, |c| {
            c.ledger_groups[0].nodes = vec![member("node-1")];
            c.ledger_groups[0].quorum = 1;
        }),
    );
    refused(
        at,
        "would not be counted",
        tiered(WalletTier::Warm, |c| {
            c.ledger_groups[0].nodes = vec![member("node-2"), member("node-3")];
        }),
    );
    refused(
        "ledger_groups[ledgers].nodes",
        "no member with the role node",
        tiered(WalletTier::Cold, |c| {
            c.ledger_groups[0].nodes.push(member(VAULT));
            c.ledger_groups[0].quorum = 3;
        }),
    );
}

#[test]
fn an_hsm_key_has_one_signer_no_liars_no_children_and_machines_of_one_kind() {
    let at = "keys[hot-ecdsa].threshold";
    refused(
        at,
        "threshold 1",
        tiered(WalletTier::Warm, |c| key(c).threshold = 2),
    );
    refused(
        at,
        "threshold 1",
        tiered(WalletTier::Warm, |c| key(c).max_faulty = 1),
    );
    refused(
        "keys[hot-ecdsa].chain_code",
        "all others have none",
        tiered(WalletTier::Warm, |c| {
            key(c).chain_code = Some(ChainCode([1; 32]));
        }),
    );
    refused(
        "wallets[hot].path",
        "have no children",
        tiered(WalletTier::Cold, |c| {
            hot(c).path = "m/0".parse().unwrap();
        }),
    );
    refused(
        "keys[hot-ecdsa].nodes",
        "warm or cold, not both",
        tiered(WalletTier::Cold, |c| {
            key(c).nodes = vec![member("node-1"), member(VAULT)];
        }),
    );
    refused(
        "keys[hot-ecdsa].nodes",
        "no member with the role node or offline-node",
        tiered(WalletTier::Warm, |c| key(c).nodes = vec![member(OPERATOR)]),
    );
    refused("keys[hot-ecdsa].threshold", "2 to 16 nodes", |c| {
        key(c).threshold = 1
    });
    assert!(!Protocol::Pkcs11Secp256k1.has_children() && Protocol::Dkls23.has_children());
}

#[test]
fn a_cold_wallet_says_how_long_its_authorizations_live() {
    let at = "timing.max_cold_authorization_life_seconds";
    refused(
        at,
        "is cold",
        tiered(WalletTier::Cold, |c| {
            c.timing.max_cold_authorization_life_seconds = None;
        }),
    );
    for seconds in [59, 3 * 86_400 + 1] {
        refused(
            at,
            "three days",
            tiered(WalletTier::Cold, move |c| {
                c.timing.max_cold_authorization_life_seconds = Some(seconds);
            }),
        );
    }
}

#[test]
fn operators_at_the_machine_exist_and_are_for_cold_wallets() {
    let at = "wallets[hot].offline_operators";
    for needed in [0, 2] {
        refused(
            at,
            "operators must agree",
            tiered(WalletTier::Cold, move |c| {
                hot(c).offline_operators = Some(needed);
            }),
        );
    }
    refused(
        at,
        "only a cold wallet",
        tiered(WalletTier::Warm, |c| {
            hot(c).offline_operators = Some(1);
        }),
    );
}

#[test]
fn nobody_waits_for_a_machine_without_a_network_to_acknowledge_a_bundle() {
    let mut deployment = crate::testing::TestDeployment::with_single_keys(3, 2);
    let mut content = deployment.content().clone();
    tiered(WalletTier::Cold, |_| {})(&mut content);
    *deployment.content_mut() = content;
    let quorums = AckQuorum::of(deployment.content());
    assert_eq!(quorums.len(), 1, "of the other key alone");
    assert!(!quorums[0].nodes.contains(&member(VAULT)));
    assert_eq!(problems(|_| {}), []);
}
