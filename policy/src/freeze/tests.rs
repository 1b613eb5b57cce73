//! What freezes stop, and that their order does not matter.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::HexBytes;
use crate::bundle::ActiveBundle;
use crate::statement::{LedgerEvent, Statement};
use crate::testing::transaction::{self, EXCHANGE, Tron, address_on};
use crate::testing::{
    ECDSA_KEY, EDDSA_KEY, OFFICER, OTHER_OFFICERS, OTHER_PAYMENTS, PAYMENTS, SOLANA_WALLET,
    TestAuthenticator, TestDeployment, WALLET, key_id, member, samples, wallet_id,
};
use crate::{Facts, assets};

struct Scene {
    deployment: TestDeployment,
    bundle: ActiveBundle,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let bundle = deployment.bundle();
    Scene { deployment, bundle }
});

fn freeze(target: FreezeTarget) -> Verified<Freeze> {
    let body = Freeze {
        target,
        reason: "alarm".to_owned(),
    };
    let envelope = SCENE.deployment.sign(OFFICER, 60, body);
    SCENE.bundle.open_freeze(&envelope).unwrap()
}

fn unfreeze(mut freezes: Vec<Hash>) -> Verified<Unfreeze> {
    freezes.sort();
    freezes.dedup();
    let body = Unfreeze {
        freezes,
        reason: "over".to_owned(),
    };
    let statement: Statement<Unfreeze> = SCENE.deployment.statement(OFFICER, "u", 60, body);
    let envelope = SCENE.deployment.sign_by(&statement, &OTHER_OFFICERS[..1]);
    SCENE.bundle.open_unfreeze(&envelope).unwrap()
}

fn set(targets: impl IntoIterator<Item = FreezeTarget>) -> FreezeSet {
    let mut set = FreezeSet::default();
    for target in targets {
        set.insert(&freeze(target));
    }
    set
}

/// Asked for by `payments` from the wallet of the network.
fn request(network: Network, bytes: Vec<u8>) -> (Verified<SignRequest>, Intent) {
    let wallet = if network == Network::SOLANA {
        SOLANA_WALLET
    } else {
        WALLET
    };
    let envelope = SCENE.deployment.request("p-1", wallet, network, bytes);
    let request = SCENE.bundle.directory().open(&envelope).unwrap();
    let request: Verified<SignRequest> = request;
    let facts = Facts::establish(&SCENE.bundle, request.body()).unwrap();
    let intent = facts.transaction().intent().clone();
    (request, intent)
}

fn usdt() -> (Verified<SignRequest>, Intent) {
    request(Network::ETHEREUM, transaction::usdt_erc20(&EXCHANGE, 7, 0))
}

/// Whether a freeze of one thing stops a request that one rule permits.
fn stops(target: FreezeTarget, (request, intent): &(Verified<SignRequest>, Intent)) -> bool {
    let rules = [rule("hot-usdt")];
    let touched = Touched::by_request(request, intent, &rules);
    let hits = set([target.clone()]).blocks(&touched);
    assert!(hits.iter().all(|hit| hit.target == target));
    !hits.is_empty()
}

fn rule(id: &str) -> RuleId {
    RuleId::new(id).unwrap()
}

fn asset(text: &str) -> FreezeTarget {
    FreezeTarget::Asset {
        asset: text.parse().unwrap(),
    }
}

fn address(network: Network, bytes: &[u8; 20]) -> FreezeTarget {
    FreezeTarget::Address {
        network,
        address: address_on(&network, bytes),
    }
}

const USDT: &str = "eip155:1/erc20:0xdac17f958d2ee523a2206206994597c13d831ec7";
const ETHER: &str = "eip155:1/slip44:60";

#[test]
fn nothing_is_frozen_at_first() {
    let set = FreezeSet::default();
    let (request, intent) = usdt();
    assert!(set.is_empty());
    assert_eq!(set.head(), Hash::ZERO);
    assert!(
        set.blocks(&Touched::by_request(&request, &intent, &[]))
            .is_empty()
    );
    assert!(set.blocks_member(&member(PAYMENTS), None).is_empty());
    assert_eq!(set.lower(&LimitId::new("daily").unwrap()), None);
}

#[test]
fn every_target_stops_what_it_names_and_nothing_else() {
    let eth = Network::ETHEREUM;
    let bsc = Network::evm(56).unwrap();
    let public_key = SCENE.deployment.identity(PAYMENTS).public();
    let other_key = SCENE.deployment.identity(OFFICER).public();
    let wallet = |id| FreezeTarget::Wallet {
        wallet: wallet_id(id),
    };
    let key = |id| FreezeTarget::Key { key: key_id(id) };
    let member = |id| FreezeTarget::Member { member: member(id) };
    let stopped = [
        FreezeTarget::Everything,
        wallet(WALLET),
        key(ECDSA_KEY),
        asset(USDT),
        member(PAYMENTS),
        FreezeTarget::MemberKey { public_key },
        address(eth, &EXCHANGE),
        FreezeTarget::Rule {
            rule: rule("hot-usdt"),
        },
    ];
    let untouched = [
        wallet(SOLANA_WALLET),
        key(EDDSA_KEY),
        // The coin that only pays the fee.
        asset(ETHER),
        asset("eip155:56/erc20:0x55d398326f99059ff775485246999027b3197955"),
        member(OTHER_PAYMENTS),
        member(OFFICER),
        FreezeTarget::MemberKey {
            public_key: other_key,
        },
        FreezeTarget::Credential {
            id: HexBytes(public_key.as_bytes().to_vec()),
        },
        address(eth, &[0x77; 20]),
        // The same bytes on another network are another address.
        address(bsc, &EXCHANGE),
        FreezeTarget::Rule {
            rule: rule("hot-eth"),
        },
        FreezeTarget::LowerLimit {
            limit: LimitId::new("daily").unwrap(),
            max: Amount::from(0_u64),
        },
    ];
    let usdt = usdt();
    for target in stopped {
        assert!(stops(target.clone(), &usdt), "{target}");
    }
    for target in untouched {
        assert!(!stops(target.clone(), &usdt), "{target}");
    }
}

#[test]
fn an_allowance_is_a_movement() {
    let spender = [0x55; 20];
    let approve = request(Network::ETHEREUM, transaction::usdt_approve(&spender, 7, 0));
    assert!(stops(asset(USDT), &approve));
    assert!(stops(address(Network::ETHEREUM, &spender), &approve));
    assert!(!stops(address(Network::ETHEREUM, &EXCHANGE), &approve));
}

#[test]
fn a_call_that_nobody_understands_could_move_anything_of_its_network() {
    let call = request(
        Network::ETHEREUM,
        transaction::evm_call(&[0x33; 20], 0, vec![1, 2, 3, 4], 0),
    );
    assert!(stops(asset(USDT), &call));
    assert!(stops(asset(ETHER), &call));
    assert!(stops(address(Network::ETHEREUM, &EXCHANGE), &call));
    assert!(!stops(
        asset("eip155:56/erc20:0x55d398326f99059ff775485246999027b3197955"),
        &call
    ));
    assert!(!stops(address(Network::TRON, &EXCHANGE), &call));
}

#[test]
fn other_networks_are_frozen_the_same_way() {
    let tron = Tron::at(SCENE.deployment.now());
    let trx = request(Network::TRON, tron.trx(&EXCHANGE, 7));
    let sol = request(Network::SOLANA, transaction::sol(&EXCHANGE, 7));
    for (network, request, other) in [
        (Network::TRON, &trx, Network::SOLANA),
        (Network::SOLANA, &sol, Network::TRON),
    ] {
        let coin = |network: Network| FreezeTarget::Asset {
            asset: network.native_asset(),
        };
        assert!(assets::lookup(&network.native_asset()).is_some());
        assert!(stops(coin(network), request));
        assert!(stops(address(network, &EXCHANGE), request));
        assert!(!stops(coin(other), request));
        assert!(!stops(address(other, &EXCHANGE), request));
    }
}

#[test]
fn a_reservation_is_frozen_like_its_request() {
    let reserved = samples(&SCENE.deployment)
        .into_iter()
        .find(|s| s.name == "ledger-entry-reserved")
        .unwrap();
    let entry: Statement<crate::statement::LedgerEntry> =
        serde_json::from_slice(reserved.envelope.payload()).unwrap();
    let LedgerEvent::Reserved(reservation) = entry.body.event else {
        panic!("a reservation");
    };
    let touched = Touched::by_reservation(&reservation);
    let stops = |target| !set([target]).blocks(&touched).is_empty();
    assert!(stops(FreezeTarget::Everything));
    assert!(stops(asset(USDT)));
    assert!(stops(address(Network::ETHEREUM, &EXCHANGE)));
    assert!(stops(FreezeTarget::Member {
        member: member(PAYMENTS)
    }));
    assert!(!stops(asset(ETHER)));
    assert!(!stops(FreezeTarget::Member {
        member: member(OTHER_PAYMENTS)
    }));
}

#[test]
fn members_keys_and_credentials_are_told_apart() {
    let public_key = SCENE.deployment.identity(OFFICER).public();
    let id = TestAuthenticator::es256("key").credential().id;
    let signed = SignerKey::Statement(public_key);
    let asserted = SignerKey::Credential {
        id: id.clone(),
        counter: 3,
    };
    let officer = member(OFFICER);
    let blocks = |target: FreezeTarget, key: Option<&SignerKey>| {
        !set([target]).blocks_member(&officer, key).is_empty()
    };
    let key = FreezeTarget::MemberKey { public_key };
    let credential = FreezeTarget::Credential { id };
    let person = FreezeTarget::Member {
        member: officer.clone(),
    };
    for (target, by_key, by_credential, by_none) in [
        (&key, true, false, false),
        (&credential, false, true, false),
        (&person, true, true, true),
        // Everything stops requests, not people.
        (&FreezeTarget::Everything, false, false, false),
    ] {
        assert_eq!(blocks(target.clone(), Some(&signed)), by_key, "{target}");
        assert_eq!(blocks(target.clone(), Some(&asserted)), by_credential);
        assert_eq!(blocks(target.clone(), None), by_none);
    }
}

#[test]
fn a_frozen_officer_still_signs_an_unfreeze() {
    let frozen = [OFFICER, OTHER_OFFICERS[0]].map(|id| FreezeTarget::Member { member: member(id) });
    let mut set = set(frozen);
    let digests: Vec<_> = set.in_force().map(|hit| hit.freeze).collect();
    // By the two of them, and nobody asks whether they are frozen.
    set.end(&unfreeze(digests));
    assert!(set.is_empty());
}

#[test]
fn the_lowest_of_lowered_limits_counts() {
    let limit = |id: &str| LimitId::new(id).unwrap();
    let lowered = |id: &str, max: u64| FreezeTarget::LowerLimit {
        limit: limit(id),
        max: Amount::from(max),
    };
    let mut set = set([
        lowered("daily", 500),
        lowered("daily", 200),
        lowered("daily", 900),
        lowered("hourly", 7),
    ]);
    assert_eq!(set.lower(&limit("daily")), Some(Amount::from(200_u64)));
    assert_eq!(set.lower(&limit("hourly")), Some(Amount::from(7_u64)));
    assert_eq!(set.lower(&limit("weekly")), None);
    let lowest = set
        .in_force()
        .find(|hit| hit.target == lowered("daily", 200))
        .unwrap()
        .freeze;
    set.end(&unfreeze(vec![lowest]));
    assert_eq!(set.lower(&limit("daily")), Some(Amount::from(500_u64)));
}

#[test]
fn a_frozen_rule_is_named() {
    let set = set([FreezeTarget::Rule {
        rule: rule("hot-usdt"),
    }]);
    let hit = set.blocks_rule(&rule("hot-usdt")).unwrap();
    assert_eq!(hit.by, member(OFFICER));
    assert_eq!(hit.reason, "alarm");
    assert_eq!(hit.to_string(), "rule hot-usdt is frozen by officer: alarm");
    assert!(set.blocks_rule(&rule("hot-eth")).is_none());
}

#[test]
fn what_has_ended_does_not_come_back() {
    let first = freeze(FreezeTarget::Everything);
    let second = freeze(FreezeTarget::Everything);
    let mut set = FreezeSet::default();
    set.insert(&first);
    set.end(&unfreeze(vec![first.digest()]));
    set.insert(&first);
    assert!(set.is_empty() && set.has_ended(&first.digest()));
    // A freeze that came meanwhile stays, and so does one that is made anew.
    set.insert(&second);
    set.end(&unfreeze(vec![first.digest()]));
    assert!(set.contains(&second.digest()));
    // An unfreeze that is there first.
    let third = freeze(FreezeTarget::Everything);
    set.end(&unfreeze(vec![third.digest()]));
    set.insert(&third);
    assert!(!set.contains(&third.digest()));
}

#[test]
fn clones_do_not_share_what_comes_later() {
    let before = set([FreezeTarget::Everything]);
    let mut after = before.clone();
    after.insert(&freeze(FreezeTarget::Everything));
    assert_eq!(before.in_force().count(), 1);
    assert_ne!(before.head(), after.head());
}

type Statements = (Vec<Verified<Freeze>>, Vec<Verified<Unfreeze>>);

/// Statements of which every test below takes some: freezes, and unfreezes of one, two or unknown ones.
static STATEMENTS: LazyLock<Statements> = LazyLock::new(|| {
    let freezes: Vec<_> = (0..5)
        .map(|i| {
            freeze(FreezeTarget::Wallet {
                wallet: wallet_id(&format!("w{i}")),
            })
        })
        .collect();
    let digest = |i: usize| freezes[i].digest();
    let unfreezes = vec![
        unfreeze(vec![digest(0)]),
        unfreeze(vec![digest(1), digest(2)]),
        unfreeze(vec![digest(2), digest(3)]),
        unfreeze(vec![Hash::sha256(b"unknown")]),
    ];
    (freezes, unfreezes)
});

fn apply(order: &[usize]) -> FreezeSet {
    let (freezes, unfreezes) = &*STATEMENTS;
    let mut set = FreezeSet::default();
    for i in order {
        match i.checked_sub(freezes.len()) {
            None => set.insert(&freezes[*i]),
            Some(i) => set.end(&unfreezes[i]),
        }
    }
    set
}

proptest! {
    #[test]
    fn the_same_statements_in_any_order_and_number_give_the_same_set(
        order in prop::collection::vec(0..9_usize, 0..20),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let (freezes, unfreezes) = &*STATEMENTS;
        let set = apply(&order);
        // Each once, in another order.
        let mut once: Vec<usize> = order.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let turn = if once.is_empty() { 0 } else { shuffled.index(once.len()) };
        once.rotate_left(turn);
        let again = apply(&once);
        prop_assert_eq!(&again, &set);
        prop_assert_eq!(again.head(), set.head());
        once.reverse();
        prop_assert_eq!(&apply(&once), &set);
        // In force is what was frozen and not ended, and the head is ZERO exactly when that is nothing.
        let given: BTreeSet<usize> = order.into_iter().collect();
        let ended: BTreeSet<Hash> = given
            .iter()
            .filter_map(|i| unfreezes.get(i.checked_sub(freezes.len())?))
            .flat_map(|u| u.body().freezes.clone())
            .collect();
        let expected: BTreeSet<Hash> = given
            .iter()
            .filter_map(|i| Some(freezes.get(*i)?.digest()))
            .filter(|digest| !ended.contains(digest))
            .collect();
        let found: BTreeSet<Hash> = set.in_force().map(|hit| hit.freeze).collect();
        prop_assert_eq!(set.head() == Hash::ZERO, expected.is_empty());
        prop_assert_eq!(found, expected);
    }

    /// The head names the freezes in force and nothing else: what ended leaves no trace in it.
    #[test]
    fn the_head_is_the_same_exactly_when_the_same_is_in_force(
        a in prop::collection::vec(0..9_usize, 0..12),
        b in prop::collection::vec(0..9_usize, 0..12),
    ) {
        let (a, b) = (apply(&a), apply(&b));
        let digests = |set: &FreezeSet| set.in_force().map(|hit| hit.freeze).collect::<Vec<_>>();
        prop_assert_eq!(a.head() == b.head(), digests(&a) == digests(&b));
    }
}
