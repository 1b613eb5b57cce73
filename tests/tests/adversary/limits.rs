//! More than a limit allows, in parts: over signer sets, over retries and replacements, beside what was given back, or with
//! proofs that prove nothing.

use countersign_policy::bundle::AddressBookEntry;
use countersign_policy::limits::{LedgerGroup, Limit, LimitScope, Measure, Period};
use countersign_policy::statement::{Fate, Observation, SignRequest, Verified};
use countersign_policy::testing::transaction::{EXCHANGE, Tron, ether, usdt_bep20, usdt_erc20};
use countersign_policy::testing::{
    COORDINATOR, OBSERVER, OFFICER, OTHER_OBSERVER, OTHER_OFFICERS, PAYMENTS, WALLET, usdt,
    wallet_id,
};
use countersign_policy::{
    Address, Amount, Envelope, Facts, Hash, LedgerGroupId, Lifetime, LimitId, MemberId, Network,
    Timestamp,
};
use countersign_signer::clock::now;
use countersign_signer::net::CallError;
use countersign_signer::wire::{
    Abort, EntriesKnown, Prepare, ProblemCode, PushEntries, SessionEnded, SessionOutcome, path,
};

use crate::arena::{Arena, CALL, OpenSession};

/// In base units of USDT on Ethereum, in an hour.
const CAP: u64 = 10_000_000;
const FULL: (ProblemCode, &str) = (ProblemCode::Policy, "limit usdt-hourly would be passed");
/// A second destination on Ethereum.
const PARTNER: [u8; 20] = [0xe2; 20];

fn limit(id: &str, network: Option<Network>, measure: Measure, period: Period) -> Limit {
    Limit {
        id: LimitId::new(id).unwrap(),
        ledger_group: LedgerGroupId::new("all").unwrap(),
        scope: LimitScope {
            wallets: vec![wallet_id(WALLET)],
            network,
            ..LimitScope::default()
        },
        measure,
        period,
    }
}

/// One limit for each network that the wallet is used on, and two for Ethereum.
fn limits() -> Vec<Limit> {
    let hour = Period::Rolling { seconds: 3_600 };
    let amount = |asset, max: u64| Measure::Amount {
        asset,
        max: Amount::from(max),
    };
    let bsc: Network = "eip155:56".parse().unwrap();
    vec![
        limit(
            "bsc-count",
            Some(bsc),
            Measure::Count { max: 2 },
            hour.clone(),
        ),
        limit(
            "ether-hourly",
            None,
            amount(Network::ETHEREUM.native_asset(), 1_000),
            hour.clone(),
        ),
        limit(
            "tron-fees",
            None,
            Measure::Fee {
                network: Network::TRON,
                max: Amount::from(250_000_000_u64),
            },
            hour.clone(),
        ),
        limit(
            "trx-outstanding",
            None,
            amount(Network::TRON.native_asset(), 1_000),
            Period::Outstanding,
        ),
        limit("usdt-hourly", None, amount(usdt(), CAP), hour),
    ]
}

async fn opened() -> Arena {
    let mut arena = Arena::with_dkls23().await;
    let nodes = arena.cluster.members();
    arena
        .policy(|content| {
            content.ledger_groups.push(LedgerGroup {
                id: LedgerGroupId::new("all").unwrap(),
                nodes,
                quorum: 2,
                max_faulty: 0,
            });
            content.limits = limits();
            content.address_book.push(AddressBookEntry {
                label: "partner".to_owned(),
                network: Network::ETHEREUM,
                address: Address::Evm(PARTNER),
                active_from: Timestamp::from_millis(0),
            });
        })
        .await;
    arena
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_is_passed_by_no_way_of_cutting_a_sum_in_parts() {
    let mut arena = opened().await;
    parallel(&mut arena).await;
    let paid = signer_sets(&mut arena).await;
    aborts(&mut arena, &paid).await;
    late(&mut arena).await;
    let full = fill(&mut arena).await;
    retries(&mut arena, &full).await;
    replacements(&mut arena).await;
    observations(&mut arena, &paid, &full).await;
    counts_and_fees(&mut arena).await;
    outstanding(&mut arena).await;
    arena.finish();
}

fn set(arena: &Arena, numbers: [usize; 2]) -> Vec<MemberId> {
    numbers.map(|n| arena.node(n)).to_vec()
}

/// A call for a transaction at a signer set.
fn call(
    arena: &mut Arena,
    network: Network,
    transaction: Vec<u8>,
    participants: &[MemberId],
) -> Prepare {
    let body = arena.body_on(network, transaction);
    let request = arena.signed(PAYMENTS, body);
    again(arena, request, participants, 1)
}

fn again(arena: &mut Arena, request: Envelope, participants: &[MemberId], attempt: u32) -> Prepare {
    Prepare {
        authorization: arena.cluster.authorize(&request, participants, attempt),
        request,
        approvals: Vec::new(),
    }
}

/// USDT on Ethereum with a nonce that nobody else uses.
fn pay(arena: &mut Arena, amount: u64, participants: &[MemberId]) -> Prepare {
    let nonce = 1_000 + arena.payments;
    let transaction = usdt_erc20(&EXCHANGE, amount, nonce);
    call(arena, Network::ETHEREUM, transaction, participants)
}

async fn signed(arena: &mut Arena, call: Prepare, nodes: &[MemberId]) -> OpenSession {
    let session = arena.session_by(call, nodes).await;
    arena.is_signed(&session, nodes).await;
    session
}

/// The first node of the set, which knows what all others know, refuses.
async fn is_over(
    arena: &mut Arena,
    attack: &str,
    (call, nodes): (&Prepare, &[MemberId]),
    expected: (ProblemCode, &str),
) {
    arena.wait_until_all_told().await;
    arena
        .prepare_at_is_refused(attack, &nodes[0], call, expected)
        .await;
}

/// Three sessions at once, each pair of nodes with a share in two of them: at most two fit.
async fn parallel(arena: &mut Arena) {
    let attack = "limit split over three sessions at once";
    let sets = [[1, 2], [1, 3], [2, 3]].map(|numbers| set(arena, numbers));
    let calls: Vec<Prepare> = (0..3_u64)
        .map(|i| {
            let transaction = ether(&EXCHANGE, 400 + i, 100 + i);
            call(arena, Network::ETHEREUM, transaction, &sets[i as usize])
        })
        .collect();
    let mut running = tokio::task::JoinSet::new();
    let cluster = &arena.cluster;
    let mut refusals = Vec::new();
    let mut sessions = Vec::new();
    for (call, nodes) in calls.iter().zip(&sets) {
        let mut receipts = Vec::new();
        for node in nodes {
            match cluster
                .prepare(node, &call.authorization, &call.request)
                .await
            {
                Ok(receipt) => receipts.push(receipt),
                Err(error) => {
                    let subject = call.request.digest().to_string();
                    refusals.push((node.clone(), "prepare", subject, error));
                    break;
                }
            }
        }
        if receipts.len() == nodes.len() {
            sessions.push((
                crate::arena::session_id(&call.authorization),
                receipts,
                nodes,
            ));
        }
    }
    for (session, receipts, nodes) in &sessions {
        for node in *nodes {
            let client = cluster.client(node).clone();
            let (session, node) = (*session, node.clone());
            let call = countersign_signer::wire::Sign {
                session,
                receipts: receipts.clone(),
            };
            running.spawn(async move {
                let answer: Result<countersign_signer::wire::Signed, CallError> =
                    client.post_json(path::SIGN, &call, CALL).await;
                (session, node, answer)
            });
        }
    }
    let mut done = std::collections::BTreeSet::new();
    for (session, node, answer) in running.join_all().await {
        match answer {
            Ok(_) => _ = done.insert(session),
            Err(error) => refusals.push((node, "sign", session.to_string(), error)),
        }
    }
    assert!(done.len() <= 2, "{attack}: {} were signed", done.len());
    let words = "limit ether-hourly would be passed";
    let by_limit =
        |error: &CallError| matches!(error, CallError::Problem(p) if p.detail.contains(words));
    let found = refusals.into_iter().find(|r| by_limit(&r.3));
    let (node, operation, subject, error) = found.expect("one was refused by the limit");
    let answer: Result<(), CallError> = Err(error);
    let expected = (ProblemCode::Policy, words);
    arena
        .refused(attack, &node, (operation, &subject), answer, expected)
        .await;
}

/// 4 + 4 + 4 by three different pairs, of which 10 are allowed.
async fn signer_sets(arena: &mut Arena) -> Prepare {
    let [one, two, three] = [[1, 2], [1, 3], [2, 3]].map(|numbers| set(arena, numbers));
    let first = pay(arena, 4_000_000, &one);
    signed(arena, first.clone(), &one).await;
    let second = pay(arena, 4_000_000, &two);
    signed(arena, second, &two).await;
    let third = pay(arena, 4_000_000, &three);
    let attack = "limit split over the three signer sets";
    is_over(arena, attack, (&third, &three), FULL).await;
    let above = pay(arena, 2_000_001, &three);
    let attack = "one base unit above what is left of a limit";
    is_over(arena, attack, (&above, &three), FULL).await;
    first
}

/// What is given up returns when everybody who could have signed it has said so, and not before.
async fn aborts(arena: &mut Arena, paid: &Prepare) {
    let pair = set(arena, [1, 2]);
    let held = pay(arena, 2_000_000, &pair);
    arena.session_by(held.clone(), &pair).await;
    let [one, two, three] = [1, 2, 3].map(|n| arena.node(n));
    let ended = |arena: &Arena, node: &MemberId, call: &Prepare| {
        let client = arena.cluster.client(node).clone();
        let call = Abort {
            authorization: call.authorization.clone(),
            request: call.request.clone(),
        };
        async move {
            let answer: Result<SessionEnded, CallError> =
                client.post_json(path::ABORT, &call, CALL).await;
            answer
        }
    };
    let other = arena.payment();
    let by_officer = {
        let statement: countersign_policy::statement::Statement<
            countersign_policy::statement::Authorization,
        > = serde_json::from_slice(held.authorization.payload()).unwrap();
        arena.signed(OFFICER, statement.body)
    };
    use ProblemCode::{Authorization, Statement};
    for (attack, node, authorization, request, expected) in [
        (
            "abort at a node that is no participant",
            &three,
            &held.authorization,
            &held.request,
            (Authorization, "not among the participants"),
        ),
        (
            "abort with another request's authorization",
            &one,
            &held.authorization,
            &other,
            (Authorization, "another sign request"),
        ),
        (
            "abort under an officer's authorization",
            &one,
            &by_officer,
            &held.request,
            (Statement, "no role that may issue"),
        ),
    ] {
        let forged = Prepare {
            authorization: authorization.clone(),
            request: request.clone(),
            approvals: Vec::new(),
        };
        let answer = ended(arena, node, &forged).await;
        let subject = request.digest().to_string();
        arena
            .refused(attack, node, ("abort", &subject), answer, expected)
            .await;
    }
    let call = PushEntries {
        entries: vec![held.authorization.clone()],
        known: 0,
        head: 100,
        incarnation: 1,
    };
    let client = arena.cluster.client(&one);
    let answer: Result<EntriesKnown, CallError> =
        client.post_json(path::ENTRIES, &call, CALL).await;
    let attack = "aborts of peers forged by the coordinator";
    let expected = (ProblemCode::Forbidden, "does not have the role");
    arena
        .refused(attack, &one, ("peer", COORDINATOR), answer, expected)
        .await;

    // One of two participants said that it will not sign. The other one still could.
    let answer = ended(arena, &one, &held).await.unwrap();
    assert_eq!(answer.outcome, SessionOutcome::Aborted);
    let next = pay(arena, 1, &pair);
    let attack = "abort by a part of the participants";
    is_over(arena, attack, (&next, &pair), FULL).await;

    // What was signed does not come back, whoever gives it up.
    let too_late = ended(arena, &one, paid).await.unwrap();
    let also = ended(arena, &two, paid).await.unwrap();
    let released = [too_late.outcome, also.outcome] == [SessionOutcome::Released; 2];
    let attack = "abort of what was signed";
    let what = "both participants say that they released it";
    arena.answered(attack, "node-1 and node-2", (what, released));
    let attack = "payment after the abort of what was signed";
    is_over(arena, attack, (&next, &pair), FULL).await;

    let answer = ended(arena, &two, &held).await.unwrap();
    assert_eq!(answer.outcome, SessionOutcome::Aborted);
    arena.wait_until_all_told().await;
    signed(arena, next, &pair).await;
}

/// Receipts that are held back until their authorization is over.
async fn late(arena: &mut Arena) {
    let pair = set(arena, [1, 2]);
    let mut call = pay(arena, 1, &pair);
    let active = arena.cluster.active().clone();
    arena.cluster.deployment.set_now(now());
    let deployment = &arena.cluster.deployment;
    let body = deployment.authorization_body(&active, &call.request, &pair, 1);
    call.authorization = deployment.sign(COORDINATOR, 2, body);
    let session = arena.session_by(call, &pair).await;
    tokio::time::sleep(std::time::Duration::from_millis(2_300)).await;
    let attack = "release after the end of the authorization";
    let expected = (ProblemCode::Authorization, "the authorization expired at");
    let answers = arena.cluster.sign_with(&session.receipts, &pair).await;
    let subject = session.id.to_string();
    for (node, answer) in pair.iter().zip(answers) {
        let attack = format!("{attack}, at {node}");
        // Whoever is first has aborted by the time that the other one would release.
        let expected = match &answer {
            Err(CallError::Problem(p)) if p.code() == Some(ProblemCode::Aborted) => {
                (ProblemCode::Aborted, "aborted the session")
            }
            _ => expected,
        };
        arena
            .refused(&attack, node, ("sign", &subject), answer, expected)
            .await;
    }
    arena.wait_until_all_told().await;
}

/// To the last base unit. Returns what filled it.
async fn fill(arena: &mut Arena) -> Prepare {
    let pair = set(arena, [2, 3]);
    let nonce = 777;
    let transaction = usdt_erc20(&EXCHANGE, 1_999_999, nonce);
    let rest = call(arena, Network::ETHEREUM, transaction, &pair);
    signed(arena, rest.clone(), &pair).await;
    rest
}

/// The same again adds nothing, and lets nothing else through.
async fn retries(arena: &mut Arena, full: &Prepare) {
    let pair = set(arena, [1, 2]);
    let retry = again(arena, full.request.clone(), &pair, 2);
    signed(arena, retry, &pair).await;
    let more = pay(arena, 1, &pair);
    let attack = "one base unit after a retry of what filled the limit";
    is_over(arena, attack, (&more, &pair), FULL).await;

    let opened: Verified<SignRequest> = arena
        .cluster
        .active()
        .directory()
        .open(&full.request)
        .unwrap();
    let mut body = opened.body().clone();
    body.external_id = countersign_policy::ExternalId::new("retried-under-another-id").unwrap();
    let twin = arena.signed(PAYMENTS, body);
    let twin = again(arena, twin, &pair, 1);
    let attack = "retry of the same transaction under another external id";
    let expected = (ProblemCode::ExternalId, "was reserved for request");
    is_over(arena, attack, (&twin, &pair), expected).await;

    let mut body = arena.body_of(usdt_erc20(&EXCHANGE, 1, 779));
    body.external_id = opened.body().external_id.clone();
    let request = arena.signed(PAYMENTS, body);
    let other = again(arena, request, &pair, 1);
    let attack = "another transaction as a retry under the same external id";
    let expected = (ProblemCode::ExternalId, "belongs to another request");
    is_over(arena, attack, (&other, &pair), expected).await;
}

/// Another version of what filled the limit: the same nonce.
async fn replacements(arena: &mut Arena) {
    let pair = set(arena, [1, 3]);
    // `max_fee_per_gas` from 30 to 40 gwei: the same payment counts once.
    let dearer = |transaction: Vec<u8>| {
        let (from, to) = (
            [0x85, 0x06, 0xfc, 0x23, 0xac, 0x00],
            [0x85, 0x09, 0x50, 0x2f, 0x90, 0x00],
        );
        let at = transaction.windows(6).position(|w| w == from).unwrap();
        [&transaction[..at], &to, &transaction[at + 6..]].concat()
    };
    let bumped = dearer(usdt_erc20(&EXCHANGE, 1_999_999, 777));
    let bumped = call(arena, Network::ETHEREUM, bumped, &pair);
    signed(arena, bumped, &pair).await;
    for (attack, transaction) in [
        (
            "fee bump with a higher amount",
            dearer(usdt_erc20(&EXCHANGE, 2_000_000, 777)),
        ),
        (
            "fee bump to another destination",
            dearer(usdt_erc20(&PARTNER, 1_999_999, 777)),
        ),
        (
            "fee bump with a smaller amount",
            dearer(usdt_erc20(&EXCHANGE, 1_999_998, 777)),
        ),
        (
            "fee bump under another nonce",
            dearer(usdt_erc20(&EXCHANGE, 1_999_999, 778)),
        ),
    ] {
        let replacement = call(arena, Network::ETHEREUM, transaction, &pair);
        is_over(arena, attack, (&replacement, &pair), FULL).await;
    }
}

fn facts_of(arena: &Arena, request: &Envelope) -> Facts {
    let active = arena.cluster.active();
    let opened: Verified<SignRequest> = active.directory().open(request).unwrap();
    Facts::establish(active, opened.body()).unwrap()
}

fn digest_of(arena: &Arena, request: &Envelope) -> Hash {
    let facts = facts_of(arena, request);
    Hash::from_bytes(*facts.transaction().digest().as_bytes())
}

/// What became of a transaction on its chain, as somebody says.
async fn observations(arena: &mut Arena, paid: &Prepare, full: &Prepare) {
    let facts = facts_of(arena, &paid.request);
    let (digest, account) = (digest_of(arena, &paid.request), *facts.source());
    let Lifetime::Evm { nonce: own, .. } = facts.transaction().intent().lifetime else {
        panic!("a transaction on Ethereum");
    };
    let used = |account: Address, nonce: u64, by_digest: Hash, depth: u64| Fate::NonceUsed {
        account,
        nonce,
        by: "0x01".to_owned(),
        by_digest,
        block: 100,
        depth,
    };
    let theirs = Hash::sha256(b"another transaction");
    let dead = used(account, own, theirs, 12);
    let said = |digest: Hash, fate: &Fate| Observation {
        network: Network::ETHEREUM,
        digest,
        fate: fate.clone(),
    };
    let both = [OBSERVER, OTHER_OBSERVER];
    arena.cluster.deployment.set_now(now());
    let deployment = &arena.cluster.deployment;
    let told = |digest, fate: &Fate| deployment.quorum_signed(&both, said(digest, fate));
    let by = |members: &[&str]| deployment.quorum_signed(members, said(digest, &dead));
    let tron = Fate::Expired {
        block_time_ms: 9_000_000_000_000,
        block: 100,
        depth: 12,
    };
    let cases: Vec<(&str, Envelope, &str)> = vec![
        (
            "observation by one observer",
            by(&[OBSERVER]),
            "1 members signed the observation, 2 are needed",
        ),
        (
            "observation by one observer twice",
            by(&[OBSERVER, OBSERVER]),
            "counted already",
        ),
        (
            "observation by an observer and the coordinator",
            by(&[OBSERVER, COORDINATOR]),
            "coordinator-1 signed the observation and is no chain-observer",
        ),
        (
            "observation by two officers",
            by(&[OFFICER, OTHER_OFFICERS[0]]),
            "officer signed the observation and is no chain-observer",
        ),
        (
            "observation by the payment service itself",
            by(&[PAYMENTS, OBSERVER]),
            "payments signed the observation and is no chain-observer",
        ),
        (
            "observation of a transaction that nobody reserved",
            told(theirs, &dead),
            "proves nothing here",
        ),
        (
            "observation of another account's nonce",
            told(digest, &used(Address::Evm(EXCHANGE), own, theirs, 12)),
            "another account or nonce",
        ),
        (
            "observation of another nonce",
            told(digest, &used(account, own + 1, theirs, 12)),
            "another account or nonce",
        ),
        (
            "observation in a block that is not final",
            told(digest, &used(account, own, theirs, 0)),
            "no block is on top",
        ),
        (
            "observation that the payment itself used the nonce",
            told(digest, &used(account, own, digest, 12)),
            "the nonce was used by the payment itself",
        ),
        (
            "observation of an end that is another chain's",
            told(digest, &tron),
            "transactions of this kind do not end in that way",
        ),
        (
            "observation with a forged signature",
            crate::hands::forged(&by(&[OBSERVER]), OBSERVER, &crate::hands::strangers_key()),
            "the signature of observer does not verify",
        ),
    ];
    let genuine = by(&both);
    let old = {
        let deployment = &mut arena.cluster.deployment;
        deployment.set_now(now().minus_seconds(3 * 86_400));
        deployment.quorum_signed(&both, said(digest, &dead))
    };
    let cases = cases
        .into_iter()
        .chain([("observation that expired", old, "expired at")]);
    for (attack, observation, words) in cases {
        let expected = (ProblemCode::Statement, words);
        arena
            .giving_is_refused(attack, (path::OBSERVATIONS, &observation), expected)
            .await;
    }
    // The payment that filled the limit was signed with two fees: one version is dead, the other one can be in a block.
    arena.cluster.deployment.set_now(now());
    let one_version = {
        let deployment = &arena.cluster.deployment;
        let digest = digest_of(arena, &full.request);
        deployment.quorum_signed(&both, said(digest, &used(account, 777, theirs, 12)))
    };
    for node in arena.cluster.members() {
        let taken = arena.give(&node, path::OBSERVATIONS, &one_version).await;
        taken.expect("a proof of one version's death");
    }
    let pair = set(arena, [1, 2]);
    let call = pay(arena, 1, &pair);
    let attack = "observation of the death of one of two versions of a payment";
    is_over(arena, attack, (&call, &pair), FULL).await;
    // One node that believes it gives nothing back: the limit is counted by the others as well.
    let (one, pair) = (arena.node(1), set(arena, [1, 2]));
    arena
        .give(&one, path::OBSERVATIONS, &genuine)
        .await
        .unwrap();
    let call = pay(arena, 1, &pair);
    arena.session_by(call.clone(), &[one]).await;
    let attack = "observation shown to one node alone";
    arena
        .prepare_at_is_refused(attack, &pair[1], &call, FULL)
        .await;
}

/// Counted by number and by fee, on other networks.
async fn counts_and_fees(arena: &mut Arena) {
    let pair = set(arena, [1, 2]);
    let bsc: Network = "eip155:56".parse().unwrap();
    for nonce in 0..2 {
        let call = call(arena, bsc, usdt_bep20(&EXCHANGE, 5, nonce), &pair);
        signed(arena, call, &pair).await;
    }
    let third = call(arena, bsc, usdt_bep20(&EXCHANGE, 1, 2), &pair);
    let attack = "third payment where two are allowed, however small";
    let expected = (ProblemCode::Policy, "limit bsc-count would be passed");
    is_over(arena, attack, (&third, &pair), expected).await;

    for amount in 1..3 {
        let transaction = tron(arena).usdt_trc20(&EXCHANGE, amount);
        let call = call(arena, Network::TRON, transaction, &pair);
        signed(arena, call, &pair).await;
    }
    let transaction = tron(arena).usdt_trc20(&EXCHANGE, 9);
    let third = call(arena, Network::TRON, transaction, &pair);
    let attack = "money burnt as fees beyond their limit";
    let expected = (ProblemCode::Policy, "limit tron-fees would be passed");
    is_over(arena, attack, (&third, &pair), expected).await;
}

fn tron(arena: &Arena) -> Tron {
    let key = &arena.cluster.active().content().keys[0];
    let owner = key.group_key.address(&Network::TRON).unwrap();
    let mut tron = Tron::at(now());
    tron.owner = owner.as_bytes().try_into().unwrap();
    tron.fee_limit = 100_000_000;
    tron
}

/// What is not confirmed counts as long as it is not.
async fn outstanding(arena: &mut Arena) {
    let pair = set(arena, [2, 3]);
    let transaction = tron(arena).trx(&EXCHANGE, 600);
    let first = call(arena, Network::TRON, transaction, &pair);
    signed(arena, first.clone(), &pair).await;
    let expected = (ProblemCode::Policy, "limit trx-outstanding would be passed");
    let transaction = tron(arena).trx(&EXCHANGE, 601);
    let second = call(arena, Network::TRON, transaction, &pair);
    let attack = "payment beside one that is not confirmed";
    is_over(arena, attack, (&second, &pair), expected).await;

    let digest = digest_of(arena, &first.request);
    arena.cluster.deployment.set_now(now());
    let early = Fate::Expired {
        block_time_ms: u64::try_from(now().as_millis()).unwrap(),
        block: 100,
        depth: 12,
    };
    let unripe = Fate::Confirmed {
        transaction: "00".to_owned(),
        block: 100,
        depth: 0,
        used: None,
    };
    for (attack, fate, words) in [
        (
            "observation before the transaction's end",
            early,
            "the transaction has not expired at that block",
        ),
        (
            "confirmation without a block on top",
            unripe,
            "no block is on top of it",
        ),
    ] {
        let observation = arena.cluster.deployment.quorum_signed(
            &[OBSERVER, OTHER_OBSERVER],
            Observation {
                network: Network::TRON,
                digest,
                fate,
            },
        );
        let expected = (ProblemCode::Statement, words);
        arena
            .giving_is_refused(attack, (path::OBSERVATIONS, &observation), expected)
            .await;
    }
    let attack = "payment after observations that prove nothing";
    is_over(arena, attack, (&second, &pair), expected).await;
}
