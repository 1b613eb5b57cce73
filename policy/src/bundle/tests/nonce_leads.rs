//! Bounds on nonces, as bundles may have them and as changes of them are told.

use super::content::{accepted, refused};
use crate::bundle::{Direction, PolicyBundle, Role, changes};
use crate::limits::{FirstNonce, NonceLead};
use crate::testing::{SOLANA_WALLET, TestDeployment, USDT_LIMIT, WALLET, wallet_id};
use crate::{Address, Network};

fn lead() -> NonceLead {
    NonceLead {
        id: "nonces".parse().unwrap(),
        network: Network::ETHEREUM,
        wallets: vec![wallet_id(WALLET)],
        max: 4,
        first: vec![FirstNonce {
            account: Address::Evm([7; 20]),
            nonce: 3,
        }],
    }
}

fn bound(change: impl FnOnce(&mut NonceLead)) -> impl FnOnce(&mut PolicyBundle) {
    |c| {
        c.nonce_leads.push(lead());
        change(&mut c.nonce_leads[0]);
    }
}

#[test]
fn bounds_on_nonces_are_about_evm_accounts_that_somebody_observes() {
    let at = |field: &str| format!("nonce_leads[nonces].{field}");
    accepted(bound(|_| {}));
    accepted(bound(|l| (l.wallets.clear(), l.first.clear()).1));
    refused(&at("max"), "allow no transaction", bound(|l| l.max = 0));
    refused(
        &at("network"),
        "no nonces",
        bound(|l| l.network = Network::SOLANA),
    );
    refused(
        &at("network"),
        "no wallet is used",
        bound(|l| l.network = Network::evm(8_217).unwrap()),
    );
    refused(
        &at("wallets"),
        "there is no wallet nothing",
        bound(|l| l.wallets = vec![wallet_id("nothing")]),
    );
    refused(
        &at("wallets"),
        "is not used on eip155:1",
        bound(|l| l.wallets = vec![wallet_id(SOLANA_WALLET)]),
    );
    refused(
        &at("wallets"),
        "ascending",
        bound(|l| l.wallets.push(wallet_id(WALLET))),
    );
    refused(
        &at("first"),
        "ascending",
        bound(|l| l.first.push(l.first[0])),
    );
    refused(
        &at("first"),
        "no address of eip155:1",
        bound(|l| l.first[0].account = Address::Solana([7; 32])),
    );
    refused("nonce_leads", "ascending", |c: &mut PolicyBundle| {
        c.nonce_leads = vec![lead(), lead()];
    });
    refused(&at("id"), "same id", |c: &mut PolicyBundle| {
        let limited = TestDeployment::with_limit(3, 2, 1_000, 86_400);
        c.ledger_groups = limited.content().ledger_groups.clone();
        c.limits = limited.content().limits.clone();
        c.limits[0].id = lead().id;
        c.nonce_leads.push(lead());
        assert_ne!(USDT_LIMIT, lead().id.as_str());
    });
    refused("nonce_leads", "without chain observers", |c| {
        c.nonce_leads.push(lead());
        c.members
            .retain(|m| !m.roles.contains(&Role::ChainObserver));
        c.quorums.observation = 0;
    });
}

#[test]
fn a_change_of_a_bound_says_which_way_it_points() {
    use Direction::{Loosens, Tightens};
    type Edit = fn(&mut Vec<NonceLead>);
    let cases: [(&str, Direction, &str, Edit); 6] = [
        ("nonce_leads[nonces]", Loosens, "left out", |l| l.clear()),
        ("nonce_leads[nonces].max", Loosens, "from 4 to 9", |l| {
            l[0].max = 9;
        }),
        ("nonce_leads[nonces].max", Tightens, "from 4 to 1", |l| {
            l[0].max = 1;
        }),
        ("nonce_leads[nonces]", Loosens, "of all wallets", |l| {
            l[0].wallets.clear();
        }),
        (
            "nonce_leads[nonces].first[0x0707070707070707070707070707070707070707]",
            Loosens,
            "raised from 3 to 5",
            |l| l[0].first[0].nonce = 5,
        ),
        (
            "nonce_leads[nonces].first[0x0707070707070707070707070707070707070707]",
            Tightens,
            "lowered from 3 to 0",
            |l| l[0].first.clear(),
        ),
    ];
    let mut before = TestDeployment::with_single_keys(3, 2).content().clone();
    let without = before.clone();
    before.nonce_leads.push(lead());
    let added = changes(&without, &before);
    assert_eq!((added.len(), added[0].direction), (1, Tightens));
    assert!(added[0].what.contains("by at most 4"), "{added:?}");
    for (at, direction, words, edit) in cases {
        let mut after = before.clone();
        edit(&mut after.nonce_leads);
        let found = changes(&before, &after);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].at.as_str(), found[0].direction), (at, direction));
        assert!(found[0].what.contains(words), "{found:?}");
    }
}
