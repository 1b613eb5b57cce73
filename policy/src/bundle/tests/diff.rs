//! Each change of a bundle, and which way it points.

use crate::bundle::{
    AddressBookEntry, CedarFile, Destinations, Direction, Group, KeyState, PolicyBundle,
    TransferRule, WalletTier, WebAuthnPolicy, changes,
};
use crate::limits::{Measure, Period, Price, Reference};
use crate::testing::{
    APPROVERS, AUTHOR, LEDGERS, OFFICER, OTHER_PAYMENTS, PAYMENTS, TestDeployment, USDT_LIMIT,
    member, usdt,
};
use crate::{Address, Amount, IdentityKey, Network, Timestamp};
use Direction::{Loosens, Neutral, Tightens};

/// A deployment with groups, needs, a limit, prices, a Cedar file and a second destination.
fn base() -> PolicyBundle {
    let mut deployment = TestDeployment::with_limit(3, 2, 1_000, 86_400);
    deployment.add_approvals("treasury:2");
    let content = deployment.content_mut();
    content.address_book.push(AddressBookEntry {
        label: "bank".into(),
        network: Network::ETHEREUM,
        address: Address::Evm([7; 20]),
        active_from: Timestamp::from_millis(1_000),
    });
    content.reference = Some(Reference {
        currency: "USD".into(),
        decimals: 2,
        prices: vec![Price {
            asset: usdt(),
            per_unit: Amount::from(100_u64),
        }],
    });
    content.cedar = vec![CedarFile {
        name: "a.cedar".into(),
        text: "// nothing".into(),
    }];
    content.timing.activation_delay_seconds = 60;
    content.clone()
}

/// Applies the change, and its reverse, and compares both directions.
fn changed(
    at: &str,
    (there, back): (Direction, Direction),
    words: &str,
    change: impl FnOnce(&mut PolicyBundle),
) {
    let before = base();
    let mut after = before.clone();
    change(&mut after);
    for (from, to, expected, say) in [(&before, &after, there, words), (&after, &before, back, "")]
    {
        let found = changes(from, to);
        assert!(
            found
                .iter()
                .any(|c| c.at == at && c.direction == expected && c.what.contains(say)),
            "{at} {expected:?} {say}: {found:#?}"
        );
        assert_eq!(found.len(), 1, "{at}: {found:#?}");
    }
}

fn rule(c: &mut PolicyBundle) -> &mut TransferRule {
    let mut rules = c.rules.iter_mut();
    rules
        .find(|r| r.id.as_str() == "hot-usdt-eip155-1")
        .unwrap()
}

const MORE: (Direction, Direction) = (Loosens, Tightens);
const LESS: (Direction, Direction) = (Tightens, Loosens);
/// What must be read either way.
const READ: (Direction, Direction) = (Loosens, Loosens);

#[test]
fn nothing_changes_nothing() {
    assert_eq!(changes(&base(), &base()), []);
}

#[test]
fn people_and_quorums() {
    changed("members[observer]", LESS, "no longer a member", |c| {
        c.members.retain(|m| m.id != member("observer"));
    });
    let of = |c: &mut PolicyBundle, id: &str| {
        let id = member(id);
        c.members.iter().position(|m| m.id == id).unwrap()
    };
    changed("members[officer].roles", MORE, "policy-approver", |c| {
        let i = of(c, OFFICER);
        c.members[i]
            .roles
            .insert(crate::bundle::Role::PolicyApprover);
    });
    changed("members[author].keys", MORE, "is added", |c| {
        let i = of(c, AUTHOR);
        let mut key = c.members[i].keys[0].clone();
        key.public_key = IdentityKey::from_seed(&[3; 32]).public();
        c.members[i].keys.push(key);
    });
    changed(
        "members[approver-1].name",
        (Neutral, Neutral),
        "Anna",
        |c| {
            let i = of(c, APPROVERS[0]);
            c.members[i].name = "Anna".into();
        },
    );
    changed("members[node-1].domains", READ, "becomes", |c| {
        let i = of(c, "node-1");
        c.members[i].domains.as_mut().unwrap().hosting = "elsewhere".into();
    });
    changed(
        "groups[treasury].members",
        LESS,
        "officer is removed",
        |c| {
            c.groups[1].members.remove(0);
        },
    );
    changed("groups[board].members", MORE, "officer is added", |c| {
        c.groups.insert(
            0,
            Group {
                id: "board".parse().unwrap(),
                members: vec![member(OFFICER)],
            },
        );
    });
    changed("quorums.policy", MORE, "lowered from 2 to 1", |c| {
        c.quorums.policy = 1
    });
    changed("quorums.ceremony", MORE, "lowered", |c| {
        c.quorums.ceremony = 1
    });
    changed("quorums.unfreeze", LESS, "raised", |c| {
        c.quorums.unfreeze = 3
    });
    changed("quorums.observation", LESS, "no longer", |c| {
        c.quorums.observation = 0;
    });
    changed("webauthn", MORE, "credentials count", |c| {
        c.webauthn = Some(WebAuthnPolicy {
            rp_id: "example.com".into(),
            origins: vec!["https://example.com".into()],
            allow_backup_eligible: false,
        });
    });
    changed(
        "timing.activation_delay_seconds",
        MORE,
        "lowered from 60 to 0",
        |c| {
            c.timing.activation_delay_seconds = 0;
        },
    );
    changed("timing.max_approval_life_seconds", MORE, "raised", |c| {
        c.timing.max_approval_life_seconds += 1;
    });
    changed("organisation", (Neutral, Neutral), "Other", |c| {
        c.organisation = "Other".into();
    });
}

#[test]
fn keys_wallets_and_ledgers() {
    changed("keys[hot-ecdsa].state", LESS, "suspended", |c| {
        c.keys[0].state = KeyState::Suspended;
    });
    changed("keys[hot-eddsa]", LESS, "left out", |c| {
        c.keys.pop();
    });
    changed("wallets[hot].tier", LESS, "was hot, becomes cold", |c| {
        c.wallets[0].tier = WalletTier::Cold;
    });
    changed("wallets[hot].networks", LESS, "eip155:56 is removed", |c| {
        c.wallets[0].networks.remove(1);
    });
    changed("wallets[hot-solana]", LESS, "nothing leaves it", |c| {
        c.wallets.pop();
    });
    changed("wallets[hot]", READ, "other addresses", |c| {
        c.wallets[0].path = "m/1".parse().unwrap();
    });
    let group = format!("ledger_groups[{LEDGERS}]");
    changed(&format!("{group}.quorum"), LESS, "raised", |c| {
        c.ledger_groups[0].quorum = 3;
    });
    changed(&group, READ, "becomes", |c| {
        c.ledger_groups[0].nodes.pop();
    });
}

#[test]
fn rules_and_destinations() {
    let at = |field: &str| format!("rules[hot-usdt-eip155-1]{field}");
    changed(
        &at(""),
        LESS,
        "payments may move up to 1000000000 of",
        |c| {
            c.rules.retain(|r| r.id.as_str() != "hot-usdt-eip155-1");
        },
    );
    changed(
        &at(".max_amount"),
        MORE,
        "raised from 1000000000 to 2000000000",
        |c| {
            rule(c).max_amount = Amount::from(2_000_000_000_u64);
        },
    );
    changed(&at(".initiators"), MORE, "payments-2 is added", |c| {
        rule(c).initiators = vec![member(PAYMENTS), member(OTHER_PAYMENTS)];
    });
    changed(&at(".destinations"), MORE, "becomes anywhere", |c| {
        rule(c).destinations = Destinations::Any;
    });
    changed(&at(".destinations"), LESS, "becomes bank", |c| {
        let labels = vec!["bank".into()];
        rule(c).destinations = Destinations::Labels { labels };
    });
    for (text, direction) in [
        ("treasury:1", MORE),
        ("treasury:3", LESS),
        ("treasury:2,security:1", LESS),
        // Another way to get there is an easier way.
        ("treasury:2|security:1", MORE),
        // Other people: to be read either way.
        ("security:2", READ),
    ] {
        changed(&at(".needs"), direction, text, |c| {
            rule(c).needs = Some(text.parse().unwrap());
        });
    }
    changed(&at(".needs"), MORE, "nobody's approval", |c| {
        rule(c).needs = None
    });
    changed(&at(""), READ, "from hot-solana", |c| {
        rule(c).wallet = "hot-solana".parse().unwrap();
    });
    changed("address_book[bank]", LESS, "no destination any more", |c| {
        c.address_book.pop();
    });
    changed("address_book[bank].active_from", LESS, "raised", |c| {
        c.address_book.last_mut().unwrap().active_from = Timestamp::from_millis(2_000);
    });
    changed("rules/a.cedar", READ, "changed", |c| {
        c.cedar[0].text.push('x')
    });
    changed("rules/a.cedar", READ, "left out", |c| c.cedar.clear());
}

#[test]
fn limits_prices_and_fees() {
    let at = format!("limits[{USDT_LIMIT}]");
    changed(&at, MORE, "left out: at most 1000 of", |c| c.limits.clear());
    changed(&at, MORE, "at most 2000", |c| {
        let max = Amount::from(2_000_u64);
        c.limits[0].measure = Measure::Amount { asset: usdt(), max };
    });
    // A longer span with the same value counts more; what else changes cannot be told: read it.
    changed(&at, READ, "in any 60 seconds", |c| {
        c.limits[0].period = Period::Rolling { seconds: 60 };
    });
    changed(&at, READ, "for payments", |c| {
        c.limits[0].scope.initiators = vec![member(PAYMENTS)];
    });
    let price = format!("reference.prices[{}]", usdt());
    changed(&price, MORE, "lowered from 100 to 50", |c| {
        c.reference.as_mut().unwrap().prices[0].per_unit = Amount::from(50_u64);
    });
    changed(&price, LESS, "no price", |c| {
        c.reference.as_mut().unwrap().prices.clear();
    });
    changed("reference", READ, "EUR", |c| {
        c.reference.as_mut().unwrap().currency = "EUR".into();
    });
    changed("fee_caps[eip155:1].max_fee", LESS, "lowered", |c| {
        let cap = c
            .fee_caps
            .iter_mut()
            .find(|f| f.network == Network::ETHEREUM);
        cap.unwrap().max_fee = Amount::from(1_u64);
    });
}

#[test]
fn what_loosens_comes_first() {
    let before = base();
    let mut after = before.clone();
    after.organisation = "Other".into();
    after.quorums.unfreeze = 3;
    after.timing.activation_delay_seconds = 0;
    let found: Vec<_> = changes(&before, &after)
        .into_iter()
        .map(|c| c.direction)
        .collect();
    assert_eq!(found, [Loosens, Tightens, Neutral]);
}
