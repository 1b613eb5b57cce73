//! The request is not what an allowed initiator signed, or what it signed is not allowed.

use countersign_policy::statement::{SignRequest, TransactionHex};
use countersign_policy::testing::transaction::{
    EXCHANGE, STRANGER, Tron, ether, evm_call, usdt_approve, usdt_erc20,
};
use countersign_policy::testing::{
    COORDINATOR, OFFICER, OTHER_PAYMENTS, PAYMENTS, key_id, wallet_id,
};
use countersign_policy::{Amount, Envelope, Hash, IdentityKey, Network};
use countersign_signer::clock::now;
use countersign_signer::wire::ProblemCode;

use crate::arena::{Arena, resigned, tampered};

/// Text in the signed request, and what the coordinator makes of it.
fn swaps() -> Vec<(&'static str, String, String)> {
    let swap = |name, from: &str, to: &str| (name, from.to_owned(), to.to_owned());
    vec![
        swap(
            "destination swapped after signing",
            &"e1".repeat(20),
            &"66".repeat(20),
        ),
        swap(
            "wallet swapped after signing",
            "\"wallet\":\"hot\"",
            "\"wallet\":\"hot-2\"",
        ),
        swap(
            "path swapped after signing",
            "\"path\":\"m\"",
            "\"path\":\"m/7\"",
        ),
        swap("key swapped after signing", "hot-ecdsa", "hot-other"),
        swap("network swapped after signing", "eip155:1\"", "eip155:56\""),
        swap(
            "external id swapped after signing",
            "\"payment-",
            "\"payment-9",
        ),
        swap(
            "stated amount swapped after signing",
            "\"1000000\"",
            "\"999999\"",
        ),
        swap(
            "initiator swapped after signing",
            "\"payments\"",
            "\"payments-2\"",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_was_changed_after_signing_is_refused() {
    let mut arena = Arena::with_dkls23().await;
    for (attack, from, to) in swaps() {
        let honest = arena.payment();
        let request = tampered(&honest, |text| text.replacen(&from, &to, 1));
        let authorization = arena.authorize_like(&request, &honest);
        // The key id is the issuer's alone: an issuer put in later has not signed under its name.
        let words = match attack.starts_with("initiator") {
            true => "signature by",
            false => "the signature of payments does not verify",
        };
        let expected = (ProblemCode::Statement, words);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
    invented_initiators(&mut arena).await;
    forms(&mut arena).await;
    arena.an_honest_payment_is_signed().await;
    arena.finish();
}

async fn invented_initiators(arena: &mut Arena) {
    use ProblemCode::{Policy, Statement};
    let no_service = "is no payment service";
    for (issuer, expected) in [
        (OFFICER, (Policy, no_service)),
        (COORDINATOR, (Policy, no_service)),
        ("node-2", (Policy, no_service)),
        (OTHER_PAYMENTS, (Policy, "no rule lets this initiator")),
    ] {
        let body = arena.payment_body();
        let request = arena.signed(issuer, body);
        let authorization = arena.authorize(&request);
        let attack = format!("request initiated by {issuer}");
        arena
            .prepare_is_refused(&attack, &authorization, &request, expected)
            .await;
    }
    let honest = arena.payment();
    let stranger = IdentityKey::from_seed(&[9; 32]);
    let ghost = resigned(&honest, "ghost", &stranger, |text| {
        text.replace("\"issuer\":\"payments\"", "\"issuer\":\"ghost\"")
    });
    let forged = resigned(&honest, PAYMENTS, &stranger, |text| {
        text.replace("payment-", "payment-8")
    });
    let officer = arena.cluster.deployment.identity(OFFICER);
    let lent = resigned(&honest, OFFICER, officer, |text| {
        text.replace("payment-", "payment-7")
    });
    let mut doubled = honest.clone();
    doubled.add_signature(OFFICER, officer).unwrap();
    for (attack, request, words) in [
        ("request by an unknown member", ghost, "not a member"),
        ("request with a forged signature", forged, "does not verify"),
        ("request signed in another's name", lent, "signature by"),
        (
            "request with a second signature",
            doubled,
            "exactly one signature",
        ),
    ] {
        let authorization = arena.authorize_like(&request, &honest);
        arena
            .prepare_is_refused(attack, &authorization, &request, (Statement, words))
            .await;
    }
}

/// Envelopes that are no sign request of this deployment at all.
async fn forms(arena: &mut Arena) {
    let honest = arena.payment();
    let payments = |arena: &Arena, change: &dyn Fn(&str) -> String| {
        let key = arena.cluster.deployment.identity(PAYMENTS);
        resigned(&honest, PAYMENTS, key, change)
    };
    let genesis = arena.cluster.deployment.genesis_hash().to_string();
    let other = Hash::sha256(b"another deployment").to_string();
    let kind = arena.authorize(&honest);
    let cases: Vec<(&str, Envelope, &str)> = vec![
        (
            "request of another deployment",
            payments(arena, &|t| t.replace(&genesis, &other)),
            "genesis",
        ),
        (
            "request with an unknown field",
            payments(arena, &|t| t.replacen("{\"", "{\"allow\":true,\"", 1)),
            "not acceptable",
        ),
        (
            "request with a duplicate key",
            payments(arena, &|t| {
                t.replacen(
                    "\"wallet\":\"hot\"",
                    "\"wallet\":\"hot\",\"wallet\":\"hot-2\"",
                    1,
                )
            }),
            "not acceptable",
        ),
        (
            "request that is not canonical",
            payments(arena, &|t| t.replacen(':', ": ", 1)),
            "not acceptable",
        ),
        ("authorization in the request's place", kind, "payload type"),
    ];
    for (attack, request, words) in cases {
        let authorization = arena.authorize_like(&request, &honest);
        let expected = (ProblemCode::Statement, words);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}

type Change = fn(&mut SignRequest);

/// What an initiator signed with its own key, and its bytes or its meaning are not allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_policy_does_not_allow_is_refused_whatever_the_coordinator_authorized() {
    let mut arena = Arena::with_dkls23().await;
    use ProblemCode::{Policy, Transaction};
    let differ = "differ from the stated intent";
    let changes: [(&str, Change, (ProblemCode, &str)); 9] = [
        (
            "stated amount too small",
            |b| b.intent.transfers[0].amount = Amount::from(1_u64),
            (Policy, differ),
        ),
        (
            "stated destination another",
            |b| b.intent.transfers[0].to = countersign_policy::Address::Evm(STRANGER),
            (Policy, differ),
        ),
        (
            "stated fee too small",
            |b| b.intent.max_fee = Amount::from(1_u64),
            (Policy, differ),
        ),
        (
            "transfers not stated",
            |b| b.intent.transfers.clear(),
            (Policy, differ),
        ),
        (
            "unknown wallet",
            |b| b.wallet = wallet_id("ghost"),
            (Transaction, "no such wallet"),
        ),
        (
            "another key than the wallet's",
            |b| b.key = key_id("ghost"),
            (Transaction, "another one"),
        ),
        (
            "network the wallet is not used on",
            |b| b.network = "eip155:137".parse().unwrap(),
            (Transaction, "is not used on"),
        ),
        (
            "bytes of another chain",
            |b| b.network = "eip155:56".parse().unwrap(),
            (Transaction, "refused"),
        ),
        (
            "byte after the transaction's end",
            |b| {
                let bytes = [b.transaction.as_bytes(), &[0]].concat();
                b.transaction = TransactionHex::new(bytes);
            },
            (Transaction, "refused"),
        ),
    ];
    for (attack, change, expected) in changes {
        let honest = arena.payment();
        let mut body = arena.payment_body();
        change(&mut body);
        let request = arena.signed(PAYMENTS, body);
        let authorization = arena.authorize_like(&request, &honest);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
    forbidden_transactions(&mut arena).await;
    fees(&mut arena).await;
    tron(&mut arena).await;
    wrong_times(&mut arena).await;
    arena.finish();
}

async fn forbidden_transactions(arena: &mut Arena) {
    let cases = [
        (
            "transfer to a stranger",
            usdt_erc20(&STRANGER, 1_000_000, 900),
            "not among the destinations",
        ),
        (
            "amount above the cap",
            usdt_erc20(&EXCHANGE, 1_000_000_001, 901),
            "above the cap",
        ),
        (
            "ether to a stranger",
            ether(&STRANGER, 1, 902),
            "not among the destinations",
        ),
        (
            "allowance for a stranger",
            usdt_approve(&STRANGER, 1, 903),
            "no rule allows",
        ),
        (
            "call of an unknown contract",
            evm_call(&STRANGER, 0, vec![1, 2, 3, 4], 904),
            "no rule allows",
        ),
    ];
    for (attack, transaction, words) in cases {
        let body = arena.body_of(transaction);
        let request = arena.signed(PAYMENTS, body);
        let authorization = arena.authorize(&request);
        let expected = (ProblemCode::Policy, words);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}

/// Paying miners is paying: a fee is a way to move money out.
async fn fees(arena: &mut Arena) {
    // 30 gwei of `max_fee_per_gas` in the honest transaction.
    let gwei_30 = [0x85, 0x06, 0xfc, 0x23, 0xac, 0x00];
    for (attack, price, expected) in [
        (
            "fee above the cap",
            [0x85, 0x7f, 0xff, 0xff, 0xff, 0xff],
            (ProblemCode::Policy, "the cap is"),
        ),
        (
            "gas at a thousand gwei",
            [0x85, 0xff, 0xff, 0xff, 0xff, 0xff],
            (ProblemCode::Policy, "the cap is"),
        ),
    ] {
        let honest = usdt_erc20(&EXCHANGE, 1_000_000, 910);
        let at = honest.windows(6).position(|w| w == gwei_30).unwrap();
        let changed = [&honest[..at], &price, &honest[at + 6..]].concat();
        let body = arena.body_of(changed);
        let request = arena.signed(PAYMENTS, body);
        let authorization = arena.authorize(&request);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}

/// The caps on Tron's `fee_limit` and lifetime: the chain's own in the decoder, the deployment's in policy.
async fn tron(arena: &mut Arena) {
    use ProblemCode::{Policy, Transaction};
    let owner = {
        let key = &arena.cluster.active().content().keys[0];
        key.group_key.address(&Network::TRON).unwrap()
    };
    let tron = |change: &dyn Fn(&mut Tron)| {
        let mut tron = Tron::at(now());
        tron.owner = owner.as_bytes().try_into().unwrap();
        change(&mut tron);
        tron.usdt_trc20(&EXCHANGE, 1_000_000)
    };
    type Change<'a> = &'a dyn Fn(&mut Tron);
    let cases: [(&str, Change<'_>, (ProblemCode, &str)); 5] = [
        (
            "Tron fee limit above the cap",
            &|t| t.fee_limit = 200_000_000,
            (Policy, "the cap is"),
        ),
        (
            "Tron fee limit above the chain's own",
            &|t| t.fee_limit = 15_000_000_001,
            (Transaction, "refused"),
        ),
        (
            "Tron transaction usable for two hours",
            &|t| t.expiration += 7_200_000,
            (Policy, "usable for"),
        ),
        (
            "Tron transaction usable for two days",
            &|t| t.expiration += 172_800_000,
            (Transaction, "refused"),
        ),
        (
            "Tron transaction that ends before it begins",
            &|t| t.expiration = t.timestamp - 1,
            (Transaction, "refused"),
        ),
    ];
    for (attack, change, expected) in cases {
        let changed = tron(change);
        let decoded = expected.0 == Policy;
        let honest = arena.body_on(Network::TRON, tron(&|_| ()));
        let mut body = match decoded {
            true => arena.body_on(Network::TRON, changed.clone()),
            false => honest.clone(),
        };
        body.transaction = TransactionHex::new(changed);
        let honest = arena.signed(PAYMENTS, honest);
        let request = arena.signed(PAYMENTS, body);
        let authorization = match decoded {
            true => arena.authorize(&request),
            false => arena.authorize_like(&request, &honest),
        };
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}

async fn wrong_times(arena: &mut Arena) {
    let cases = [
        ("yesterday's request", -86_400_i64, 600, "expired"),
        ("tomorrow's request", 86_400, 600, "issued at"),
        ("request for a day", 0, 86_400, "lives longer"),
    ];
    for (attack, shift, life, words) in cases {
        let body = arena.payment_body();
        let at = countersign_policy::Timestamp::from_millis(now().as_millis() + shift * 1_000);
        arena.cluster.deployment.set_now(at);
        let request = arena.cluster.deployment.sign(PAYMENTS, life, body);
        let authorization = arena.authorize(&request);
        let expected = (ProblemCode::Policy, words);
        arena
            .prepare_is_refused(attack, &authorization, &request, expected)
            .await;
    }
}
