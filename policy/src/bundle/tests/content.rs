//! Every rule on a bundle's content, broken once.

use crate::bundle::validate::validate;
use crate::bundle::{
    BundleProblem, Destinations, Domains, FeeCap, Member, MemberKey, PolicyBundle, Role,
    TransferRule, Wallet,
};
use crate::testing::{
    APPROVERS, AUTHOR, OFFICER, PAYMENTS, SingleKey, TestDeployment, WALLET, key_id, member,
    wallet_id,
};
use crate::{Address, Amount, IdentityKey, IdentityPublicKey, Network};

pub(super) fn problems(change: impl FnOnce(&mut PolicyBundle)) -> Vec<BundleProblem> {
    let mut content = TestDeployment::with_single_keys(3, 2).content().clone();
    assert!(validate(&content).is_ok(), "the bundle is sound");
    change(&mut content);
    validate(&content).map_or_else(|e| e.problems, |_| Vec::new())
}

/// The change leads to a problem at `at` that says `what`.
pub(super) fn refused(at: &str, what: &str, change: impl FnOnce(&mut PolicyBundle)) {
    let found = problems(change);
    assert!(
        found.iter().any(|p| p.at == at && p.what.contains(what)),
        "expected {at}: ..{what}.. among {found:#?}"
    );
}

pub(super) fn accepted(change: impl FnOnce(&mut PolicyBundle)) {
    assert_eq!(problems(change), []);
}

pub(super) fn of<'a>(content: &'a mut PolicyBundle, id: &str) -> &'a mut Member {
    let id = member(id);
    content.members.iter_mut().find(|m| m.id == id).unwrap()
}

pub(super) fn hot(content: &mut PolicyBundle) -> &mut Wallet {
    content
        .wallets
        .iter_mut()
        .find(|w| w.id == wallet_id(WALLET))
        .unwrap()
}

pub(super) fn usdt_rule(content: &mut PolicyBundle) -> &mut TransferRule {
    let rule = content.rules.iter_mut();
    rule.into_iter()
        .find(|r| r.id.as_str() == "hot-usdt-eip155-1")
        .unwrap()
}

#[test]
fn names_must_show_what_they_are() {
    refused("organisation", "1 to 128", |c| c.organisation.clear());
    refused("members[author].name", "1 to 128", |c| {
        of(c, AUTHOR).name = "x".repeat(129);
    });
    refused("address_book[exch\u{200b}ange]", "does not show", |c| {
        c.address_book[0].label = "exch\u{200b}ange".into();
    });
    refused("wallets[hot].name", "white space", |c| {
        hot(c).name = "hot ".into();
    });
    refused("keys[hot-ecdsa].purpose", "does not show", |c| {
        c.keys[0].purpose = "a\u{202e}b".into();
    });
    refused("members[node-1].domains.hosting", "1 to 128", |c| {
        of(c, "node-1").domains.as_mut().unwrap().hosting.clear();
    });
    refused("members[node-1].domains.administration", "1 to 128", |c| {
        of(c, "node-1")
            .domains
            .as_mut()
            .unwrap()
            .administration
            .clear();
    });
}

#[test]
fn lists_are_sorted_and_name_each_thing_once() {
    let order = "ascending";
    refused("members", order, |c| c.members.reverse());
    refused("members", order, |c| {
        c.members.push(c.members.last().unwrap().clone())
    });
    refused("keys", order, |c| c.keys.reverse());
    refused("wallets", order, |c| c.wallets.reverse());
    refused("assets", order, |c| c.assets.reverse());
    refused("keys[hot-ecdsa].nodes", order, |c| {
        c.keys[0].nodes.reverse()
    });
    refused("wallets[hot].networks", order, |c| {
        hot(c).networks.reverse()
    });
    refused("rules[hot-usdt-eip155-1].initiators", order, |c| {
        usdt_rule(c).initiators = vec![member(PAYMENTS), member(PAYMENTS)];
    });
    refused("rules[hot-usdt-eip155-1].destinations", order, |c| {
        let labels = vec!["exchange".into(), "exchange".into()];
        usdt_rule(c).destinations = Destinations::Labels { labels };
    });
    refused("rules[hot-usdt-eip155-1]", "same rule id", |c| {
        let again = usdt_rule(c).clone();
        c.rules.push(again);
    });
}

#[test]
fn nobody_holds_roles_that_exclude_each_other() {
    use Role::*;
    for (a, b) in [
        (PolicyAuthor, PolicyApprover),
        (PaymentService, SecurityOfficer),
        (PaymentService, PolicyAuthor),
        (PaymentService, PolicyApprover),
        (PaymentService, Operator),
        (Operator, SecurityOfficer),
    ] {
        refused("members[officer].roles", "nobody", |c| {
            of(c, OFFICER).roles = [a, b].into();
        });
    }
    // Machines, auditors and observers have one role.
    for alone in [Node, Coordinator, Auditor, ChainObserver] {
        for other in Role::ALL.into_iter().filter(|r| *r != alone) {
            let found = problems(|c| of(c, OFFICER).roles = [alone, other].into());
            assert!(
                found.iter().any(|p| p.at == "members[officer].roles"),
                "{alone:?} and {other:?}"
            );
        }
    }
    accepted(|c| of(c, OFFICER).roles = [SecurityOfficer, PolicyApprover].into());
    refused("members[officer].roles", "does nothing", |c| {
        of(c, OFFICER).roles.clear();
    });
}

#[test]
fn one_key_belongs_to_one_member() {
    refused("members[author].keys", "at least one", |c| {
        of(c, AUTHOR).keys.clear()
    });
    refused("members[author].keys", "also a key of approver-1", |c| {
        of(c, AUTHOR).keys = of(c, APPROVERS[0]).keys.clone();
    });
    refused("members[author].keys", "also a key of author", |c| {
        let twice = of(c, AUTHOR).keys[0].clone();
        of(c, AUTHOR).keys.push(twice);
    });
    accepted(|c| {
        let key = IdentityKey::from_seed(&[0x71; 32]).public();
        let algorithm = of(c, AUTHOR).keys[0].algorithm;
        of(c, AUTHOR).keys.push(MemberKey {
            algorithm,
            public_key: key,
        });
    });
}

/// Points with which anybody could forge, or whose one key has two texts.
#[test]
fn unusable_statement_keys_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    // Below 19 a y coordinate has a second text, p + y: one that is on the curve is usable, its other text is not.
    let mut canonical = [0; 32];
    canonical[0] = (2..19)
        .find(|y| {
            canonical[0] = *y;
            IdentityPublicKey::from_bytes(canonical).is_usable()
        })
        .unwrap();
    let mut non_canonical = [0xff; 32];
    non_canonical[0] = 0xed + canonical[0];
    non_canonical[31] = 0x7f;
    for bytes in [[0; 32], identity, [0xff; 32], non_canonical] {
        assert!(!IdentityPublicKey::from_bytes(bytes).is_usable());
        refused("members[author].keys", "no usable Ed25519 key", |c| {
            of(c, AUTHOR).keys[0].public_key = IdentityPublicKey::from_bytes(bytes);
        });
    }
}

#[test]
fn nodes_and_only_nodes_declare_domains() {
    refused("members[node-1].domains", "declares who", |c| {
        of(c, "node-1").domains = None;
    });
    refused("members[author].domains", "only nodes", |c| {
        of(c, AUTHOR).domains = Some(Domains {
            administration: "a".into(),
            hosting: "b".into(),
        });
    });
}

#[test]
fn quorums_can_be_met_and_are_never_empty() {
    refused("quorums.policy", "at least one", |c| c.quorums.policy = 0);
    refused("quorums.ceremony", "at least one", |c| {
        c.quorums.ceremony = 0
    });
    refused("quorums.policy", "never be met", |c| c.quorums.policy = 4);
    refused("quorums.ceremony", "never be met", |c| {
        c.quorums.ceremony = 4
    });
    refused("members", "without a node", |c| {
        c.members.retain(|m| !m.roles.contains(&Role::Node));
    });
    refused("members", "without a policy author", |c| {
        c.members.retain(|m| m.id != member(AUTHOR));
    });
    // 64 approvers exist, but with the author's no envelope holds their signatures.
    let crowd = |needed: u16| {
        move |c: &mut PolicyBundle| {
            for i in 0..70_u8 {
                let mut m = of(c, APPROVERS[0]).clone();
                m.id = member(&format!("crowd-{i:02}"));
                m.keys[0].public_key = IdentityKey::from_seed(&[i; 32]).public();
                c.members.push(m);
            }
            c.members.sort_by(|a, b| a.id.cmp(&b.id));
            c.quorums.policy = needed;
        }
    };
    accepted(crowd(63));
    refused("quorums.policy", "an envelope holds", crowd(64));
}

#[test]
fn times_are_bounded() {
    refused("timing.max_clock_skew_seconds", "1 to 60", |c| {
        c.timing.max_clock_skew_seconds = 0
    });
    refused("timing.max_clock_skew_seconds", "1 to 60", |c| {
        c.timing.max_clock_skew_seconds = 61
    });
    refused("timing.max_request_life_seconds", "86400", |c| {
        c.timing.max_request_life_seconds = 86_401;
    });
    refused("timing.max_request_life_seconds", "86400", |c| {
        c.timing.max_request_life_seconds = 0;
    });
    refused("timing.max_authorization_life_seconds", "600", |c| {
        c.timing.max_authorization_life_seconds = 601;
    });
    refused("timing.max_authorization_life_seconds", "600", |c| {
        c.timing.max_authorization_life_seconds = 0;
    });
}

#[test]
fn keys_fit_their_protocol_and_group() {
    refused("keys[hot-ecdsa].threshold", "from 2", |c| {
        c.keys[0].threshold = 1
    });
    refused("keys[hot-ecdsa].threshold", "from 2", |c| {
        c.keys[0].threshold = 4
    });
    refused("keys[hot-ecdsa].threshold", "below the threshold", |c| {
        c.keys[0].max_faulty = 2
    });
    refused("keys[hot-ecdsa].threshold", "2 to 16", |c| {
        c.keys[0].nodes.clear()
    });
    refused("keys[hot-ecdsa].group_key", "curve", |c| {
        c.keys[0].group_key = SingleKey::eddsa().public_key();
    });
    refused("keys[hot-ecdsa].chain_code", "have a chain code", |c| {
        c.keys[0].chain_code = None
    });
    refused("keys[hot-eddsa].chain_code", "have none", |c| {
        c.keys[1].chain_code = SingleKey::ecdsa().chain_code();
    });
    refused("keys[hot-second].group_key", "same public key", |c| {
        let mut copy = c.keys[1].clone();
        copy.id = key_id("hot-second");
        c.keys.push(copy);
    });
}

#[test]
fn no_domain_controls_a_threshold() {
    refused("keys[hot-ecdsa].nodes", "node-9 is no member", |c| {
        c.keys[0].nodes[2] = member("node-9");
    });
    refused(
        "keys[hot-ecdsa].nodes",
        "officer is no member with the role node",
        |c| {
            c.keys[0].nodes[2] = member(OFFICER);
        },
    );
    refused(
        "keys[hot-ecdsa].nodes",
        "share the administration domain",
        |c| {
            for node in ["node-1", "node-2"] {
                of(c, node).domains.as_mut().unwrap().administration = "ops".into();
            }
        },
    );
    refused(
        "keys[hot-ecdsa].nodes",
        "share the hosting domain \"aws\"",
        |c| {
            of(c, "node-1").domains.as_mut().unwrap().hosting = "AWS".into();
            of(c, "node-3").domains.as_mut().unwrap().hosting = "aws".into();
        },
    );
}

#[test]
fn wallets_never_overlap() {
    refused("wallets[hot].networks", "at least one", |c| {
        hot(c).networks.clear()
    });
    refused("wallets[hot].key", "no key", |c| {
        hot(c).key = key_id("nothing")
    });
    refused("wallets[hot].networks", "does not use the curve", |c| {
        hot(c).networks.push(Network::SOLANA);
    });
    refused("wallets[hot-solana].path", "no children", |c| {
        c.wallets[1].path = "m/0".parse().unwrap();
    });
    let second = |own: &'static str, other: &'static str| {
        move |c: &mut PolicyBundle| {
            hot(c).path = own.parse().unwrap();
            let mut wallet = hot(c).clone();
            wallet.id = wallet_id("hot-2");
            wallet.path = other.parse().unwrap();
            c.wallets.insert(1, wallet);
            let mut rule = usdt_rule(c).clone();
            rule.id = "second".parse().unwrap();
            rule.wallet = wallet_id("hot-2");
            c.rules.push(rule);
        }
    };
    for (own, other) in [
        ("m", "m"),
        ("m", "m/0"),
        ("m/0", "m"),
        ("m/0/7", "m/0"),
        ("m/3", "m/3"),
    ] {
        refused(
            "wallets[hot].path",
            "overlaps with wallet hot-2",
            second(own, other),
        );
    }
    for (own, other) in [("m/0", "m/1"), ("m/0/1", "m/0/10"), ("m/1", "m/10")] {
        accepted(second(own, other));
    }
}

#[test]
fn assets_are_what_they_are_called() {
    refused("assets[eip155:1/slip44:60]", "ETH with 18 decimals", |c| {
        c.assets[1].decimals = 6
    });
    refused("assets[eip155:1/slip44:60]", "ETH with 18 decimals", |c| {
        c.assets[1].symbol = "WETH".into();
    });
    let unknown = |symbol: &'static str| {
        move |c: &mut PolicyBundle| {
            let mut record = c.assets[0].clone();
            record.asset = "eip155:1/erc20:0x6666666666666666666666666666666666666666"
                .parse()
                .unwrap();
            record.symbol = symbol.into();
            record.decimals = 9;
            c.assets.insert(0, record);
            c.assets.sort_by_key(|a| a.asset);
        }
    };
    let at = "assets[eip155:1/erc20:0x6666666666666666666666666666666666666666].symbol";
    // It borrows the name of USDC, which this bundle does not even list.
    refused(at, "call this asset something else", unknown("usdc"));
    refused(at, "1 to 128", unknown(""));
    accepted(unknown("XYZ"));
    let found = problems(unknown("USDT"));
    assert!(
        found.iter().any(|p| p.what.contains("same symbol")),
        "{found:?}"
    );
}

#[test]
fn the_address_book_is_unambiguous() {
    let at = "address_book[exchange]";
    refused(at, "no address of", |c| {
        c.address_book[0].network = Network::ETHEREUM
    });
    refused(at, "zero address", |c| {
        c.address_book[1].address = Address::Evm([0; 20])
    });
    refused("address_book[again]", "same address twice", |c| {
        let mut entry = c.address_book[0].clone();
        entry.label = "again".into();
        c.address_book.push(entry);
    });
    refused(at, "same label twice", |c| {
        let mut entry = c.address_book[1].clone();
        entry.address = Address::Evm([7; 20]);
        c.address_book.push(entry);
    });
}

#[test]
fn fee_caps_are_complete() {
    refused("fee_caps[eip155:1]", "one fee cap", |c| {
        c.fee_caps.push(c.fee_caps[0].clone())
    });
    let tron = |seconds: Option<u64>| {
        move |c: &mut PolicyBundle| {
            let cap = c.fee_caps.iter_mut().find(|c| c.network == Network::TRON);
            cap.unwrap().max_lifetime_seconds = seconds;
        }
    };
    for seconds in [None, Some(0), Some(86_401), Some(u64::MAX)] {
        let at = "fee_caps[tron:0x2b6653dc].max_lifetime_seconds";
        refused(at, "1 to 86400", tron(seconds));
    }
    accepted(tron(Some(86_400)));
    refused(
        "fee_caps[eip155:1].max_lifetime_seconds",
        "no expiration",
        |c| {
            c.fee_caps[0].max_lifetime_seconds = Some(60);
        },
    );
    accepted(|c| {
        c.fee_caps.push(FeeCap {
            network: Network::evm(10).unwrap(),
            max_fee: Amount::ZERO,
            max_lifetime_seconds: None,
        });
    });
}

#[test]
fn rules_refer_to_what_exists() {
    let at = |field: &str| format!("rules[hot-usdt-eip155-1]{field}");
    refused(&at(".initiators"), "officer is no payment service", |c| {
        usdt_rule(c).initiators = vec![member(OFFICER)];
    });
    refused(&at(".initiators"), "nobody is no payment service", |c| {
        usdt_rule(c).initiators = vec![member("nobody")];
    });
    refused(&at(".initiators"), "who may ask", |c| {
        usdt_rule(c).initiators.clear()
    });
    refused(&at(".kinds"), "kinds of transaction", |c| {
        usdt_rule(c).kinds.clear()
    });
    refused(&at(".wallet"), "no wallet", |c| {
        usdt_rule(c).wallet = wallet_id("nothing")
    });
    refused(&at(".asset"), "not used on eip155:1", |c| {
        hot(c).networks.retain(|n| *n != Network::ETHEREUM);
    });
    refused(&at(".asset"), "not in assets", |c| {
        c.assets
            .retain(|a| a.symbol != "USDT" || *a.asset.network() != Network::ETHEREUM);
    });
    refused(&at(".asset"), "no fee cap", |c| {
        c.fee_caps.remove(0).network = Network::ETHEREUM
    });
    refused(&at(".destinations"), "no \"elsewhere\"", |c| {
        let labels = vec!["elsewhere".into()];
        usdt_rule(c).destinations = Destinations::Labels { labels };
    });
    refused(&at(".destinations"), "no labels", |c| {
        usdt_rule(c).destinations = Destinations::Labels { labels: vec![] };
    });
}

#[test]
fn all_problems_are_reported_at_once() {
    let found = problems(|c| {
        c.organisation.clear();
        c.quorums.policy = 0;
        c.timing.max_clock_skew_seconds = 0;
    });
    assert_eq!(found.len(), 3, "{found:?}");
    let text = crate::bundle::ValidationError { problems: found }.to_string();
    assert!(text.contains("3 problem(s)") && text.contains("quorums.policy"));
}
