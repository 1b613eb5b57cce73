//! Each reason not to sign.

use super::{code, codes, decide_at, with};
use crate::approvals::{MissingApprovals, Rejection};
use crate::bundle::{Destinations, KeyState, PolicyBundle, TransferRule};
use crate::freeze::FreezeHit;
use crate::limits::LimitHit;
use crate::statement::FreezeTarget;
use crate::testing::transaction::{self, EXCHANGE, STRANGER, Tron};
use crate::testing::{OFFICER, PAYMENTS, SOLANA_WALLET, TestDeployment, WALLET, member};
use crate::{Address, Amount, Decision, Hash, LimitId, Network, Outcome, Reason, Timestamp};

/// The decision on a USDT transfer of 5 to the exchange under an edited bundle.
fn usdt_under(edit: impl FnOnce(&mut PolicyBundle)) -> Decision {
    let deployment = with(edit);
    let request = deployment.usdt_request("p", 5);
    decide_at(&deployment.bundle(), &request, deployment.now())
}

fn usdt_rule(content: &mut PolicyBundle) -> &mut crate::bundle::TransferRule {
    let rule = content.rules.iter_mut();
    rule.into_iter()
        .find(|r| r.id.as_str() == "hot-usdt-eip155-1")
        .unwrap()
}

fn tron(deployment: &TestDeployment, edit: impl FnOnce(&mut Tron)) -> Decision {
    let mut tron = Tron::at(deployment.now());
    edit(&mut tron);
    let request = deployment.request("p", WALLET, Network::TRON, tron.trx(&EXCHANGE, 1));
    decide_at(&deployment.bundle(), &request, deployment.now())
}

#[test]
fn the_deciding_rule_is_named() {
    let decision = usdt_under(|_| ());
    assert_eq!(decision.outcome, Outcome::Allow);
    assert_eq!(decision.rules[0].as_str(), "hot-usdt-eip155-1");
    assert_eq!(decision.reasons, []);
}

#[test]
fn no_rules_no_signatures() {
    let usdt = |rule: &TransferRule| rule.id.as_str() == "hot-usdt-eip155-1";
    let decision = usdt_under(|c| c.rules.retain(|r| !usdt(r)));
    assert_eq!(decision.outcome, Outcome::Blocked);
    assert!(
        matches!(&decision.reasons[..], [Reason::NoRule { asset }] if asset.contains("dac17f"))
    );
}

#[test]
fn an_expired_bundle_allows_nothing() {
    let mut deployment = with(|_| ());
    let bundle = deployment.bundle();
    let last = Timestamp::from_millis(bundle.expires_at().as_millis() - 1);
    let request_at = |deployment: &mut TestDeployment, now| {
        // The statement's genesis stays that of the bundle.
        let mut statement: crate::statement::Statement<crate::statement::SignRequest> =
            serde_json::from_slice(deployment.usdt_request("p", 5).payload()).unwrap();
        statement.issued_at = now;
        statement.expires_at = now.plus_seconds(60);
        deployment.sign_by(&statement, &[])
    };
    let request = request_at(&mut deployment, last);
    assert_eq!(decide_at(&bundle, &request, last).outcome, Outcome::Allow);
    let expired = bundle.expires_at();
    let request = request_at(&mut deployment, expired);
    let decision = decide_at(&bundle, &request, expired);
    assert_eq!(
        decision.reasons,
        [Reason::BundleExpired {
            expired_at: expired
        }]
    );
}

#[test]
fn a_request_counts_in_its_own_time() {
    let deployment = with(|_| ());
    let bundle = deployment.bundle();
    let request = deployment.usdt_request("p", 5);
    let at = |millis: i64| Timestamp::from_millis(deployment.now().as_millis() + millis);
    for (millis, ok) in [
        (-5_000, true),
        (-5_001, false),
        (604_999, true),
        (605_000, false),
    ] {
        let decision = decide_at(&bundle, &request, at(millis));
        assert_eq!(decision.outcome == Outcome::Allow, ok, "{millis}");
        if !ok {
            assert_eq!(codes(&decision), ["request-time"]);
        }
    }
    for extreme in [i64::MIN, i64::MAX] {
        let decision = decide_at(&bundle, &request, Timestamp::from_millis(extreme));
        assert_eq!(decision.outcome, Outcome::Blocked);
    }
}

#[test]
fn a_request_lives_no_longer_than_the_bundle_allows() {
    let deployment = with(|_| ());
    let bundle = deployment.bundle();
    let max = bundle.content().timing.max_request_life_seconds;
    let wallet = deployment.wallet(WALLET);
    let bytes = transaction::usdt_erc20(&EXCHANGE, 5, 0);
    let body = deployment.sign_request("p", wallet, &wallet.path, Network::ETHEREUM, bytes);
    for (life, ok) in [(max, true), (max + 1, false), (u64::MAX, false)] {
        let request = deployment.sign(PAYMENTS, life, body.clone());
        let decision = decide_at(&bundle, &request, deployment.now());
        assert_eq!(decision.outcome == Outcome::Allow, ok, "{life}");
        if !ok {
            assert_eq!(decision.reasons, [Reason::RequestLife { max_seconds: max }]);
        }
    }
}

#[test]
fn only_a_payment_service_asks() {
    let deployment = with(|_| ());
    let wallet = deployment.wallet(WALLET);
    let bytes = transaction::usdt_erc20(&EXCHANGE, 5, 0);
    let body = deployment.sign_request("p", wallet, &wallet.path, Network::ETHEREUM, bytes);
    let request = deployment.sign(OFFICER, 60, body);
    let decision = decide_at(&deployment.bundle(), &request, deployment.now());
    assert_eq!(codes(&decision), ["initiator-role", "no-rule"]);
    assert!(
        matches!(&decision.reasons[0], Reason::InitiatorRole { initiator } if *initiator == member(OFFICER))
    );
}

#[test]
fn only_an_active_key_signs() {
    use KeyState::{Compromised, Deactivated, Destroyed, PreActive, Suspended};
    for state in [PreActive, Suspended, Deactivated, Compromised, Destroyed] {
        let decision = usdt_under(|c| c.keys.iter_mut().for_each(|k| k.state = state));
        assert_eq!(decision.reasons, [Reason::KeyState { state }]);
    }
}

#[test]
fn fees_are_capped() {
    let cap = |fee: u64| {
        move |c: &mut PolicyBundle| {
            let entry = c
                .fee_caps
                .iter_mut()
                .find(|f| f.network == Network::ETHEREUM);
            entry.unwrap().max_fee = Amount::from(fee);
        }
    };
    // 100,000 gas at 30 gwei.
    let exact = 3_000_000_000_000_000;
    assert_eq!(usdt_under(cap(exact)).outcome, Outcome::Allow);
    assert_eq!(
        usdt_under(cap(exact - 1)).reasons,
        [Reason::FeeCap {
            max_fee: Amount::from(exact),
            cap: Some(Amount::from(exact - 1)),
        }]
    );
    // No cap at all is no permission. Rules demand one, so only without rules can it be missing.
    let decision = usdt_under(|c| {
        c.rules.retain(|r| *r.asset.network() != Network::ETHEREUM);
        c.fee_caps.retain(|c| c.network != Network::ETHEREUM);
    });
    assert_eq!(codes(&decision), ["fee-cap", "no-rule"]);
    assert!(matches!(
        decision.reasons[0],
        Reason::FeeCap { cap: None, .. }
    ));
}

#[test]
fn a_tron_transaction_lives_no_longer_than_its_cap() {
    let deployment = with(|_| ());
    let now = deployment.now().as_millis();
    let cap = 3_600_000;
    assert_eq!(
        tron(&deployment, |t| t.expiration = now + cap).outcome,
        Outcome::Allow
    );
    assert_eq!(
        tron(&deployment, |t| t.expiration = now + cap + 1).reasons,
        [Reason::LifetimeCap {
            lifetime_millis: cap + 1,
            cap_seconds: 3_600
        }]
    );
    // Its own timestamp may lie in the future as it likes: what counts is the time from now.
    let decision = tron(&deployment, |t| {
        t.timestamp = now + 10 * cap;
        t.expiration = now + 10 * cap + 60_000;
    });
    assert_eq!(codes(&decision), ["lifetime-cap"]);
    let decision = tron(&deployment, |t| {
        t.timestamp = 253_402_300_799_000;
        t.expiration = 253_402_300_799_999;
    });
    assert_eq!(codes(&decision), ["lifetime-cap"]);
    // Or in the past.
    let decision = tron(&deployment, |t| t.timestamp = now - 80_000_000);
    assert_eq!(decision.outcome, Outcome::Allow);
}

#[test]
fn a_tron_transaction_that_has_expired_is_not_signed() {
    let deployment = with(|_| ());
    let now = deployment.now().as_millis();
    for (expiration, ok) in [
        (now + 1, true),
        (now, false),
        (now - 1, false),
        (1_000, false),
    ] {
        let decision = tron(&deployment, |t| {
            t.timestamp = expiration - 1_000;
            t.expiration = expiration;
        });
        assert_eq!(decision.outcome == Outcome::Allow, ok, "{expiration}");
        if !ok {
            assert_eq!(decision.reasons, [Reason::TransactionExpired]);
        }
    }
}

#[test]
fn another_permission_of_a_tron_account_is_not_used() {
    let deployment = with(|_| ());
    let decision = tron(&deployment, |t| t.permission_id = 2);
    assert_eq!(
        decision.reasons,
        [Reason::Feature {
            feature: "Tron permission id 2".into()
        }]
    );
}

#[test]
fn amounts_are_capped() {
    for (cap, ok) in [(6_u64, true), (5, true), (4, false), (0, false)] {
        let decision = usdt_under(|c| usdt_rule(c).max_amount = Amount::from(cap));
        assert_eq!(decision.outcome == Outcome::Allow, ok, "{cap}");
        if !ok {
            let (amount, cap) = (Amount::from(5_u64), Amount::from(cap));
            assert_eq!(decision.reasons, [Reason::AmountCap { amount, cap }]);
        }
    }
}

/// No decoder of today gives two transfers of an allowed kind; the cap does not rely on it.
#[test]
fn the_cap_is_on_the_whole_transaction() {
    let bytes = transaction::usdt_erc20(&EXCHANGE, 5, 0);
    let mut intent = crate::decode(&Network::ETHEREUM, &bytes)
        .unwrap()
        .intent()
        .clone();
    let asset = intent.transfers[0].asset;
    assert_eq!(
        super::super::transfers::moved(&intent, &asset),
        Amount::from(5_u64)
    );
    intent.transfers.push(intent.transfers[0].clone());
    assert_eq!(
        super::super::transfers::moved(&intent, &asset),
        Amount::from(10_u64)
    );
    intent.transfers[0].amount = Amount::MAX;
    assert_eq!(super::super::transfers::moved(&intent, &asset), Amount::MAX);
    let other = Network::ETHEREUM.native_asset();
    assert_eq!(
        super::super::transfers::moved(&intent, &other),
        Amount::ZERO
    );
}

#[test]
fn destinations_must_be_listed_labelled_and_active() {
    let decide = |to: &[u8; 20], edit: &dyn Fn(&mut PolicyBundle)| {
        let deployment = with(edit);
        let bytes = transaction::usdt_erc20(to, 5, 0);
        let request = deployment.request("p", WALLET, Network::ETHEREUM, bytes);
        decide_at(&deployment.bundle(), &request, deployment.now())
    };
    let stranger = Address::Evm(STRANGER);
    assert_eq!(
        decide(&STRANGER, &|_| ()).reasons,
        [Reason::DestinationNotAllowed { address: stranger }]
    );
    let anywhere = |c: &mut PolicyBundle| usdt_rule(c).destinations = Destinations::Any;
    assert_eq!(decide(&STRANGER, &anywhere).outcome, Outcome::Allow);
    let labelled = |c: &mut PolicyBundle| {
        let mut entry = c
            .address_book
            .iter()
            .find(|e| e.network == Network::ETHEREUM)
            .unwrap()
            .clone();
        entry.label = "treasury".into();
        entry.address = Address::Evm([7; 20]);
        c.address_book.push(entry);
        let labels = vec!["treasury".into()];
        usdt_rule(c).destinations = Destinations::Labels { labels };
    };
    assert_eq!(decide(&[7; 20], &labelled).outcome, Outcome::Allow);
    assert_eq!(
        codes(&decide(&EXCHANGE, &labelled)),
        ["destination-not-allowed"]
    );
    // Listed on another network only.
    let elsewhere =
        |c: &mut PolicyBundle| c.address_book.retain(|e| e.network != Network::ETHEREUM);
    assert_eq!(
        codes(&decide(&EXCHANGE, &elsewhere)),
        ["destination-not-allowed"]
    );
    let now = with(|_| ()).now();
    for (from, ok) in [(now, true), (now.plus_seconds(1), false)] {
        let later =
            |c: &mut PolicyBundle| c.address_book.iter_mut().for_each(|e| e.active_from = from);
        let decision = decide(&EXCHANGE, &later);
        assert_eq!(decision.outcome == Outcome::Allow, ok);
        if !ok {
            let address = Address::Evm(EXCHANGE);
            let active_from = from;
            assert_eq!(
                decision.reasons,
                [Reason::DestinationNotActive {
                    address,
                    active_from
                }]
            );
        }
    }
}

#[test]
fn anywhere_is_not_nowhere() {
    let deployment = with(|c| {
        for rule in &mut c.rules {
            rule.destinations = Destinations::Any;
        }
    });
    let usdt = [
        0xda, 0xc1, 0x7f, 0x95, 0x8d, 0x2e, 0xe5, 0x23, 0xa2, 0x20, 0x62, 0x06, 0x99, 0x45, 0x97,
        0xc1, 0x3d, 0x83, 0x1e, 0xc7,
    ];
    for to in [[0; 20], usdt] {
        let bytes = transaction::usdt_erc20(&to, 5, 0);
        let request = deployment.request("p", WALLET, Network::ETHEREUM, bytes);
        let decision = decide_at(&deployment.bundle(), &request, deployment.now());
        assert_eq!(codes(&decision), ["destination-not-allowed"], "{to:?}");
    }
}

#[test]
fn of_several_rules_one_suffices_and_the_closest_explains() {
    let two = |second: u64| {
        move |c: &mut PolicyBundle| {
            usdt_rule(c).max_amount = Amount::from(1_u64);
            usdt_rule(c).destinations = Destinations::Labels {
                labels: vec!["exchange".into()],
            };
            let mut rule = usdt_rule(c).clone();
            rule.id = crate::RuleId::new("second").unwrap();
            rule.max_amount = Amount::from(second);
            c.rules.push(rule);
        }
    };
    let decision = usdt_under(two(5));
    assert_eq!(decision.outcome, Outcome::Allow);
    assert_eq!(decision.rules[0].as_str(), "second");
    let decision = usdt_under(two(4));
    assert_eq!(codes(&decision), ["amount-cap"]);
}

#[test]
fn a_rule_is_for_its_wallet_asset_initiator_and_kind() {
    for edit in [
        (|c| usdt_rule(c).initiators = vec![member("payments-2")]) as fn(&mut PolicyBundle),
        |c| usdt_rule(c).kinds = [crate::bundle::TransferKind::NativeTransfer].into(),
        |c| usdt_rule(c).asset = Network::ETHEREUM.native_asset(),
        |c| {
            usdt_rule(c).wallet = crate::testing::wallet_id(SOLANA_WALLET);
            usdt_rule(c).asset = Network::SOLANA.native_asset();
        },
    ] {
        assert_eq!(codes(&usdt_under(edit)), ["no-rule"]);
    }
}

#[test]
fn every_reason_says_something_and_is_read_back() {
    let rule = || crate::RuleId::new("r").unwrap();
    let address = Address::Evm(EXCHANGE);
    let now = Timestamp::from_millis(0);
    let amount = Amount::from(5_u64);
    let all = [
        Reason::BundleExpired { expired_at: now },
        Reason::OtherFacts,
        Reason::RequestTime {
            detail: "late".into(),
        },
        Reason::RequestLife { max_seconds: 1 },
        Reason::InitiatorRole {
            initiator: member("x"),
        },
        Reason::KeyState {
            state: KeyState::Suspended,
        },
        Reason::IntentMismatch {
            field: "a".into(),
            stated: "b".into(),
            decoded: "c".into(),
        },
        Reason::KindNotAllowed {
            kind: "contract-call".into(),
        },
        Reason::FeeCap {
            max_fee: amount,
            cap: None,
        },
        Reason::FeeCap {
            max_fee: amount,
            cap: Some(amount),
        },
        Reason::LifetimeCap {
            lifetime_millis: 1,
            cap_seconds: 0,
        },
        Reason::TransactionExpired,
        Reason::NoRule { asset: "a".into() },
        Reason::DestinationNotAllowed { address },
        Reason::DestinationNotActive {
            address,
            active_from: now,
        },
        Reason::AmountCap {
            amount,
            cap: amount,
        },
        Reason::Feature {
            feature: "f".into(),
        },
        Reason::Frozen(FreezeHit {
            freeze: Hash::ZERO,
            target: FreezeTarget::Everything,
            reason: "an intruder".into(),
            by: member("x"),
        }),
        Reason::Limit(LimitHit {
            limit: LimitId::new("daily").unwrap(),
            max: amount,
            used: amount,
            requested: amount,
            resets_at: Some(now),
        }),
        Reason::Rejected(Rejection {
            member: member("x"),
            reason: "not ours".into(),
            approval: Hash::ZERO,
        }),
        Reason::Forbidden {
            rule: rule(),
            reason: Some("holidays".into()),
        },
        Reason::Forbidden {
            rule: rule(),
            reason: None,
        },
        Reason::RuleError {
            rule: Some(rule()),
            detail: "overflow".into(),
        },
        Reason::RuleError {
            rule: None,
            detail: "no context".into(),
        },
        Reason::NotNamed {
            rule: rule(),
            attribute: "kind".into(),
        },
        Reason::ColdWithoutApprovals { rule: rule() },
        Reason::MissingApprovals(MissingApprovals {
            group: crate::GroupId::new("treasury").unwrap(),
            needed: 2,
            have: 1,
        }),
    ];
    let mut lines = String::new();
    for reason in all {
        let json = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason);
        lines += &format!("{}: {reason}\n", code(&reason));
    }
    insta::assert_snapshot!(lines);
}
