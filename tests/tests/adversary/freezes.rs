//! The emergency brake: pulled by those who may not, released by too few, held back, forgotten, or used to loosen something.

use countersign_policy::bundle::MemberKey;
use countersign_policy::limits::{LedgerGroup, Limit, LimitScope, Measure, Period};
use countersign_policy::statement::{Freeze, FreezeTarget, Kind, LedgerEvent, Statement, Unfreeze};
use countersign_policy::testing::transaction::{EXCHANGE, usdt_erc20};
use countersign_policy::testing::{
    APPROVERS, AUDITOR, AUTHOR, COORDINATOR, OFFICER, OPERATOR, OTHER_OFFICERS, PAYMENTS, WALLET,
    key_id, member, usdt, wallet_id,
};
use countersign_policy::{
    Address, Amount, Envelope, Hash, IdentityKey, LedgerGroupId, LimitId, Network, RuleId,
};
use countersign_signer::net::{CallError, EmergencyError};
use countersign_signer::wire::{EntriesKnown, ProblemCode, PushEntries, StatementTaken, path};

use crate::arena::{Arena, CALL, tampered};
use crate::hands::{forged, restated, strangers_key};
use crate::office::{FIFTH, member_of, officer, said, sorted};

const NO_STATEMENT: ProblemCode = ProblemCode::Statement;
/// In base units of USDT, in an hour.
const CAP: u64 = 50_000_000;

/// Three nodes that count USDT, a second key of [`OFFICER`], and an officer who was there and is gone.
async fn opened() -> (Arena, IdentityKey, IdentityKey) {
    let mut arena = Arena::with_dkls23().await;
    let (second, former) = (
        IdentityKey::from_seed(&[22; 32]),
        IdentityKey::from_seed(&[25; 32]),
    );
    let nodes = arena.cluster.members();
    let key = MemberKey {
        algorithm: countersign_policy::bundle::MemberKeyAlgorithm::Ed25519,
        public_key: second.public(),
    };
    arena
        .policy(|content| {
            member_of(content, OFFICER).keys.push(key);
            content.members.push(officer(FIFTH, &former));
            sorted(content);
            content.ledger_groups.push(LedgerGroup {
                id: LedgerGroupId::new("all").unwrap(),
                nodes,
                quorum: 2,
                max_faulty: 0,
            });
            content.limits.push(Limit {
                id: LimitId::new("usdt-hourly").unwrap(),
                ledger_group: LedgerGroupId::new("all").unwrap(),
                scope: LimitScope {
                    wallets: vec![wallet_id(WALLET)],
                    ..LimitScope::default()
                },
                measure: Measure::Amount {
                    asset: usdt(),
                    max: Amount::from(CAP),
                },
                period: Period::Rolling { seconds: 3_600 },
            });
        })
        .await;
    arena
        .policy(|content| content.members.retain(|m| m.id.as_str() != FIFTH))
        .await;
    (arena, second, former)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_stops_what_they_may_not_and_nobody_starts_again_what_is_stopped() {
    let (mut arena, second, former) = opened().await;
    forged_freezes(&mut arena, &former).await;
    targets(&mut arena).await;
    lowered_limits(&mut arena).await;
    let everything = arena.freeze(FreezeTarget::Everything).await;
    few_unfreeze(&mut arena, everything, &second, &former).await;
    let attack = "payment while everything is frozen";
    payment_is_frozen(&mut arena, attack, "everything is frozen").await;
    named_freezes(&mut arena, everything).await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

/// A payment is policy's no, with the freeze in the reason.
async fn payment_is_frozen(arena: &mut Arena, attack: &str, words: &str) {
    let request = arena.payment();
    let authorization = arena.authorize(&request);
    let expected = (ProblemCode::Policy, words);
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
}

async fn forged_freezes(arena: &mut Arena, former: &IdentityKey) {
    let all = || Freeze {
        target: FreezeTarget::Everything,
        reason: "because".to_owned(),
    };
    let honest = arena.signed(OFFICER, all());
    for issuer in [
        PAYMENTS,
        COORDINATOR,
        OPERATOR,
        AUTHOR,
        APPROVERS[0],
        AUDITOR,
    ] {
        let freeze = arena.signed(issuer, all());
        let attack = format!("freeze of everything by {issuer}");
        let expected = (NO_STATEMENT, "no role that may issue");
        arena
            .giving_is_refused(&attack, (path::FREEZE, &freeze), expected)
            .await;
    }
    type Change = fn(&mut Statement<Freeze>);
    let changes: [(&str, Change, &str); 4] = [
        (
            "freeze under another genesis",
            |s| s.genesis = Hash::sha256(b"another deployment"),
            "the statement is for genesis",
        ),
        (
            "freeze that expired",
            |s| {
                s.issued_at = s.issued_at.minus_seconds(7_200);
                s.expires_at = s.issued_at.plus_seconds(3_600);
            },
            "expired",
        ),
        (
            "freeze from the future",
            |s| s.issued_at = s.issued_at.plus_seconds(60),
            "check the clocks",
        ),
        (
            "freeze by a node of an officer",
            |s| {
                s.issuer = member("node-2");
                s.body.target = FreezeTarget::Member {
                    member: member(OFFICER),
                };
            },
            "is a node and froze more than a payment service",
        ),
    ];
    let mut cases: Vec<(&str, Envelope, &str)> = changes
        .into_iter()
        .map(|(attack, change, words)| (attack, restated(arena, &honest, change), words))
        .collect();
    let node = arena.signed("node-2", all());
    let wider = |t: &str| t.replace("because", "becausf");
    cases.extend([
        ("freeze of everything by a node", node, "froze more than"),
        (
            "freeze by an officer whom a later bundle removed",
            said(arena, (FIFTH, former), all()),
            "is not a member",
        ),
        (
            "freeze with a forged signature",
            forged(&honest, OFFICER, &strangers_key()),
            "does not verify",
        ),
        (
            "freeze changed after signing",
            tampered(&honest, wider),
            "does not verify",
        ),
        (
            "unfreeze in the place of a freeze",
            arena.unfreeze_by(&[OFFICER, OTHER_OFFICERS[0]], Hash::ZERO),
            "payload type",
        ),
    ]);
    for (attack, freeze, words) in cases {
        arena
            .giving_is_refused(attack, (path::FREEZE, &freeze), (NO_STATEMENT, words))
            .await;
    }
    // The open door takes no more than the other one.
    let node = arena.node(1);
    let attack = "freeze by a payment service at the emergency port";
    let freeze = arena.signed(PAYMENTS, all());
    let answer = arena.give_openly(&node, path::FREEZE, &freeze).await;
    refused_openly(arena, attack, answer, "no role that may issue").await;
}

/// A refusal at the emergency port of node 1.
async fn refused_openly(
    arena: &mut Arena,
    attack: &str,
    answer: Result<StatementTaken, EmergencyError>,
    words: &str,
) {
    let node = arena.node(1);
    let answer = answer.map_err(|error| match error {
        EmergencyError::Problem(problem) => CallError::Problem(problem),
        other => panic!("{attack}: {other}"),
    });
    let place = ("freeze", "emergency port");
    arena
        .refused(attack, &node, place, answer, (NO_STATEMENT, words))
        .await;
}

/// Everything that can be stopped is.
async fn targets(arena: &mut Arena) {
    let rule = {
        let rules = &arena.cluster.active().content().rules;
        let rule = rules.iter().find(|r| r.asset == usdt()).unwrap();
        rule.id.clone()
    };
    let public_key = arena.cluster.deployment.identity(PAYMENTS).public();
    let targets: [(&str, FreezeTarget, &str); 7] = [
        (
            "request by a frozen member",
            FreezeTarget::Member {
                member: member(PAYMENTS),
            },
            "member payments is frozen",
        ),
        (
            "request with a frozen statement key",
            FreezeTarget::MemberKey { public_key },
            "statement key",
        ),
        (
            "payment from a frozen wallet",
            FreezeTarget::Wallet {
                wallet: wallet_id(WALLET),
            },
            "wallet hot is frozen",
        ),
        (
            "payment with a frozen key",
            FreezeTarget::Key {
                key: key_id("hot-ecdsa"),
            },
            "key hot-ecdsa is frozen",
        ),
        (
            "payment of a frozen asset",
            FreezeTarget::Asset { asset: usdt() },
            "is frozen",
        ),
        (
            "payment to a frozen address",
            FreezeTarget::Address {
                network: Network::ETHEREUM,
                address: Address::Evm(EXCHANGE),
            },
            "is frozen",
        ),
        (
            "payment that only a frozen rule permits",
            FreezeTarget::Rule { rule },
            "is frozen",
        ),
    ];
    for (attack, target, words) in targets {
        let freeze = arena.freeze(target).await;
        payment_is_frozen(arena, attack, words).await;
        arena.unfreeze(freeze).await;
    }
    // Of something else, and the payment goes on.
    let rule = RuleId::new("no-such-rule").unwrap();
    let freeze = arena.freeze(FreezeTarget::Rule { rule }).await;
    arena.an_honest_payment_is_signed().await;
    arena.unfreeze(freeze).await;
}

/// Tightening only ever denies.
async fn lowered_limits(arena: &mut Arena) {
    let lower = |max: u64| FreezeTarget::LowerLimit {
        limit: LimitId::new("usdt-hourly").unwrap(),
        max: Amount::from(max),
    };
    let pay = |arena: &mut Arena, amount: u64| {
        let nonce = arena.payments + 5_000;
        let body = arena.body_of(usdt_erc20(&EXCHANGE, amount, nonce));
        let request = arena.signed(PAYMENTS, body);
        let authorization = arena.authorize(&request);
        (request, authorization)
    };
    let freeze = arena.freeze(lower(CAP * 1_000)).await;
    let (request, authorization) = pay(arena, CAP + 1);
    let expected = (
        ProblemCode::Policy,
        "limit usdt-hourly would be passed: 50000001 asked",
    );
    let attack = "tightening that would raise a limit";
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
    let tight = arena.freeze(lower(1_500_000)).await;
    let (request, authorization) = pay(arena, 1_600_000);
    let expected = (ProblemCode::Policy, "of 1500000 used");
    let attack = "amount above a lowered limit";
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
    // The lowest counts, whichever came last.
    let loose = arena.freeze(lower(CAP)).await;
    let (request, authorization) = pay(arena, 1_600_000);
    let attack = "tightening that would raise a lowered limit again";
    arena
        .prepare_is_refused(attack, &authorization, &request, expected)
        .await;
    for freeze in [freeze, tight, loose] {
        arena.unfreeze(freeze).await;
    }
}

async fn few_unfreeze(arena: &mut Arena, freeze: Hash, second: &IdentityKey, former: &IdentityKey) {
    let other = OTHER_OFFICERS[0];
    let alone = arena.unfreeze_by(&[OFFICER], freeze);
    let honest = arena.unfreeze_by(&[OFFICER, other], freeze);
    let with = |keyid: &str, key: &IdentityKey| {
        let mut unfreeze = alone.clone();
        unfreeze.add_signature(keyid, key).unwrap();
        unfreeze
    };
    let own = arena.cluster.deployment.identity(OFFICER);
    let twice = "counted already";
    let mut cases: Vec<(&str, Envelope, &str)> = vec![
        (
            "unfreeze by one officer",
            alone.clone(),
            "1 members signed the unfreeze, 2 are needed",
        ),
        ("unfreeze by one officer twice", with(OFFICER, own), twice),
        (
            "unfreeze by one officer with two keys",
            with(OFFICER, second),
            twice,
        ),
        (
            "unfreeze with a second signature in another officer's name",
            with(other, second),
            "the signature of officer-2 does not verify",
        ),
        (
            "unfreeze by an officer and one whom a later bundle removed",
            with(FIFTH, former),
            "not a member",
        ),
        (
            "unfreeze with a forged signature",
            with(other, &strangers_key()),
            "the signature of officer-2 does not verify",
        ),
        (
            "unfreeze changed after signing",
            tampered(&honest, |t| t.replace("they were ours", "they were mine")),
            "does not verify",
        ),
        (
            "freeze in the place of an unfreeze",
            arena.signed(
                OFFICER,
                Freeze {
                    target: FreezeTarget::Everything,
                    reason: "because".to_owned(),
                },
            ),
            "payload type",
        ),
    ];
    for helper in [APPROVERS[0], COORDINATOR, PAYMENTS] {
        let attack = match helper {
            COORDINATOR => "unfreeze by an officer and the coordinator",
            PAYMENTS => "unfreeze by an officer and a payment service",
            _ => "unfreeze by an officer and a policy approver",
        };
        let unfreeze = arena.unfreeze_by(&[OFFICER, helper], freeze);
        cases.push((attack, unfreeze, "and is no security-officer"));
    }
    let approvers = arena.unfreeze_by(&APPROVERS, freeze);
    cases.push((
        "unfreeze by two policy approvers",
        approvers,
        "and is no security-officer",
    ));
    for (attack, change, words) in moved_unfreezes() {
        let mut statement: Statement<Unfreeze> = serde_json::from_slice(honest.payload()).unwrap();
        change(&mut statement);
        let moved = arena.cluster.deployment.sign_by(&statement, &[other]);
        cases.push((attack, moved, words));
    }
    for (attack, unfreeze, words) in cases {
        arena
            .giving_is_refused(attack, (path::UNFREEZE, &unfreeze), (NO_STATEMENT, words))
            .await;
    }
    let node = arena.node(1);
    let attack = "unfreeze by one officer at the emergency port";
    let answer = arena.give_openly(&node, path::UNFREEZE, &alone).await;
    refused_openly(arena, attack, answer, "2 are needed").await;
}

/// By a whole quorum, for another place or time.
fn moved_unfreezes() -> [(&'static str, fn(&mut Statement<Unfreeze>), &'static str); 3] {
    [
        (
            "unfreeze under another genesis",
            |s| s.genesis = Hash::sha256(b"another deployment"),
            "the statement is for genesis",
        ),
        (
            "unfreeze that expired",
            |s| {
                s.issued_at = s.issued_at.minus_seconds(7_200);
                s.expires_at = s.issued_at.plus_seconds(3_600);
            },
            "expired",
        ),
        (
            "unfreeze from the future",
            |s| s.issued_at = s.issued_at.plus_seconds(60),
            "check the clocks",
        ),
    ]
}

/// An unfreeze ends what it names, once, and a freeze is in force once.
async fn named_freezes(arena: &mut Arena, everything: Hash) {
    let officers = [OFFICER, OTHER_OFFICERS[0]];
    let node = arena.node(1);
    let elsewhere = arena.unfreeze_by(&officers, Hash::sha256(b"another freeze"));
    arena.give(&node, path::UNFREEZE, &elsewhere).await.unwrap();
    let attack = "unfreeze that names another freeze";
    payment_is_frozen(arena, attack, "everything is frozen").await;

    // Ended by name, and said again: it stays ended.
    let kept = arena.freezes(&node).await.in_force.remove(0);
    assert_eq!(kept.digest(), everything);
    let ended = arena.unfreeze_by(&officers, everything);
    let taken = arena.give(&node, path::UNFREEZE, &ended).await.unwrap();
    assert_eq!(taken.freeze_head, Hash::ZERO);
    arena.wait_for_freezes(Hash::ZERO).await;
    let again = arena.give(&node, path::FREEZE, &kept).await.unwrap();
    let what = "a freeze that a quorum ended by name is not in force again";
    let holds = again.freeze_head == Hash::ZERO;
    let attack = "freeze replayed after its end";
    arena.answered(attack, node.as_str(), (what, holds));

    // The same freeze once more, under a name of its own: the old unfreeze does not end it.
    let anew = arena.freeze(FreezeTarget::Everything).await;
    arena.give(&node, path::UNFREEZE, &ended).await.unwrap();
    let attack = "unfreeze replayed against a later freeze";
    payment_is_frozen(arena, attack, "everything is frozen").await;
    entries(arena).await;
    arena.unfreeze(anew).await;
}

/// Ledger entries that are genuine, and another node's or old.
async fn entries(arena: &mut Arena) {
    let (one, three) = (arena.node(1), arena.node(3));
    let rule = RuleId::new("no-such-rule").unwrap();
    arena
        .cluster
        .deployment
        .set_now(countersign_signer::clock::now());
    let freeze = arena
        .cluster
        .deployment
        .freeze(OFFICER, FreezeTarget::Rule { rule });
    let taken = arena.give(&three, path::FREEZE, &freeze).await.unwrap();
    arena.wait_for_freezes(taken.freeze_head).await;
    let entry = taken.entry.unwrap();
    let opened: Statement<countersign_policy::statement::LedgerEntry> =
        serde_json::from_slice(entry.payload()).unwrap();
    assert_eq!(opened.kind, Kind::LedgerEntry);
    assert!(matches!(opened.body.event, LedgerEvent::Frozen { .. }));
    arena.wait_until_all_told().await;
    let push = |entries: Vec<Envelope>, head: u64| PushEntries {
        entries,
        known: 0,
        head,
        incarnation: 1,
    };
    let status = arena.cluster.status(&arena.node(2)).await;
    let call = push(vec![entry.clone()], status.ledger_sequence + 1);
    let client = arena.cluster.client_as("node-2", &one);
    let answer: Result<EntriesKnown, CallError> =
        client.post_json(path::ENTRIES, &call, CALL).await;
    let attack = "genuine ledger entry transplanted from another node";
    let expected = (
        ProblemCode::Protocol,
        "an entry given as node-2's is by node-3",
    );
    arena
        .refused(attack, &one, ("peer", "node-2"), answer, expected)
        .await;

    let before = arena.cluster.status(&three).await.ledger_sequence;
    let call = push(vec![entry.clone(), entry], before + 2);
    let client = arena.cluster.client_as("node-3", &one);
    let told: EntriesKnown = client.post_json(path::ENTRIES, &call, CALL).await.unwrap();
    let what = "entries that are there already add nothing";
    let attack = "genuine ledger entry replayed";
    arena.answered(attack, one.as_str(), (what, told.known == before));
    arena.unfreeze(freeze.digest()).await;
}
