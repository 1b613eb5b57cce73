//! How fast statements are opened and decisions made: `cargo bench -p countersign-bench --bench policy`.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;

use countersign_policy::bundle::{ActiveBundle, AddressBookEntry, CedarFile, PolicyBundle};
use countersign_policy::limits::{Measure, Period};
use countersign_policy::rules::RuleSet;
use countersign_policy::statement::{SignRequest, Statement};
use countersign_policy::testing::{TestDeployment, samples, usdt, with_address_book};
use countersign_policy::{
    Address, Amount, Envelope, Facts, MAX_PAYLOAD, Network, Outcome, RuleId, Standing, Timestamp,
    WalletId, canonical, decide,
};
use criterion::{Criterion, criterion_group, criterion_main};

fn statements(criterion: &mut Criterion) {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let bundle = deployment.bundle();
    let request = deployment.usdt_request("payment-1", 1_000_000);
    let json = serde_json::to_vec(&request).expect("JSON");
    criterion.bench_function("envelope/read/sign-request", |b| {
        b.iter(|| serde_json::from_slice::<Envelope>(black_box(&json)).expect("an envelope"));
    });
    criterion.bench_function("statement/open/sign-request", |b| {
        b.iter(|| {
            bundle
                .directory()
                .open::<SignRequest>(black_box(&request))
                .expect("valid")
        });
    });
    let signer = deployment.identity("payments");
    let statement: Statement<SignRequest> =
        serde_json::from_slice(request.payload()).expect("a statement");
    criterion.bench_function("statement/sign/sign-request", |b| {
        b.iter(|| black_box(&statement).sign(signer).expect("signed"));
    });
    for name in ["sign-request", "receipt", "policy-bundle-genesis"] {
        let sample = samples(&deployment).into_iter().find(|s| s.name == name);
        let payload = sample.expect("a sample").envelope.payload().to_vec();
        criterion.bench_function(&format!("canonical/parse/{name}"), |b| match name {
            "policy-bundle-genesis" => b.iter(|| {
                canonical::from_slice::<Statement<PolicyBundle>>(&payload, MAX_PAYLOAD).is_ok()
            }),
            "receipt" => b.iter(|| {
                canonical::from_slice::<Statement<countersign_policy::statement::Receipt>>(
                    &payload,
                    MAX_PAYLOAD,
                )
                .is_ok()
            }),
            _ => b.iter(|| {
                canonical::from_slice::<Statement<SignRequest>>(&payload, MAX_PAYLOAD).is_ok()
            }),
        });
    }
    let genesis = deployment.genesis();
    criterion.bench_function("bundle/verify/genesis", |b| {
        b.iter(|| {
            countersign_policy::bundle::BundleChain::from_genesis(
                black_box(&genesis),
                genesis.digest(),
            )
            .expect("valid")
        });
    });
}

/// A bundle with `count` transfer rules, of which the last alone allows the request.
fn with_rules(count: usize) -> TestDeployment {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let content = deployment.content_mut();
    let usdt = content
        .rules
        .iter()
        .find(|r| r.id.as_str() == "hot-usdt-eip155-1")
        .expect("the standard rule")
        .clone();
    for i in 1..count {
        let mut rule = usdt.clone();
        rule.id = RuleId::new(format!("rule-{i}")).expect("a rule id");
        rule.max_amount = Amount::ZERO;
        content.rules.insert(0, rule);
    }
    deployment
}

/// The bundle with `count` more destinations on Ethereum.
fn with_destinations(bundle: ActiveBundle, count: u64) -> ActiveBundle {
    let mut book = bundle.content().address_book.clone();
    book.extend((1..=count).map(|i| {
        let mut account = [1_u8; 20];
        for (to, from) in account.iter_mut().zip(i.to_be_bytes()) {
            *to = from;
        }
        AddressBookEntry {
            label: format!("destination {i}"),
            network: Network::ETHEREUM,
            address: Address::Evm(account),
            active_from: Timestamp::from_millis(0),
        }
    }));
    with_address_book(bundle, book)
}

/// Adds `count` limits per transaction, which `decide` looks at itself, and the ledger group that limits need.
fn add_limits(deployment: &mut TestDeployment, count: u64) {
    for i in 0..count {
        let measure = Measure::Amount {
            asset: usdt(),
            max: Amount::from(u64::MAX),
        };
        deployment.add_limit(&format!("limit-{i:03}"), measure, Period::Transaction);
    }
}

/// Adds `count` Cedar rules. Each has a wallet of its own when `scoped`; otherwise all are about the wallet that pays.
fn add_cedar(content: &mut PolicyBundle, count: usize, scoped: bool) {
    let template = content.wallets.first().expect("a wallet").clone();
    // No wallet is without a rule that could permit something.
    let mut text =
        "@id(\"permit\") permit (principal, action, resource) when { context.lost };\n".to_owned();
    for i in 0..count {
        let mut wallet = template.id.to_string();
        if scoped && i > 0 {
            wallet = format!("w-{i:04}");
            let mut another = template.clone();
            another.id = WalletId::new(&wallet).expect("a wallet id");
            another.path = format!("m/7/{i}").parse().expect("a path");
            content.wallets.push(another);
        }
        text.push_str(&format!(
            "@id(\"cedar-{i}\") @reason(\"one of many\")
             forbid (principal in Countersign::Role::\"payment-service\", action, resource == Countersign::Wallet::\"{wallet}\")
             when {{ context.kind == \"token-transfer\" && !context.destinationListed
                 || context has amountMicro && context.amountMicro > {} }};\n",
            9_000_000_000_u64.saturating_add(u64::try_from(i).expect("small")),
        ));
    }
    if scoped {
        if let Some(wallet) = content.wallets.first_mut() {
            wallet.path = "m/1".parse().expect("a path");
        }
        content.wallets.sort_by(|a, b| a.id.cmp(&b.id));
    }
    // Files have a greatest size: a few hundred rules each.
    let rules: Vec<&str> = text.split_inclusive(";\n").collect();
    for (i, part) in rules.chunks(400).enumerate() {
        content.cedar.push(CedarFile {
            name: format!("rules-{i:02}.cedar"),
            text: part.concat(),
        });
    }
}

fn bench_decide(criterion: &mut Criterion, name: &str, deployment: &TestDeployment, more: u64) {
    let bundle = with_destinations(deployment.bundle(), more);
    let request = deployment.usdt_request("payment-1", 1_000_000);
    let request = bundle
        .directory()
        .open::<SignRequest>(&request)
        .expect("valid");
    let now: Timestamp = deployment.now();
    let standing = Standing::unencumbered();
    let facts = Facts::establish(&bundle, request.body()).expect("facts");
    let decision = decide(&bundle, &request, &facts, &standing, now);
    assert_eq!(decision.outcome, Outcome::Allow, "{:?}", decision.reasons);
    criterion.bench_function(name, |b| {
        b.iter(|| decide(&bundle, black_box(&request), &facts, &standing, now));
    });
}

fn decisions(criterion: &mut Criterion) {
    let deployment = TestDeployment::with_single_keys(3, 2);
    let bundle = deployment.bundle();
    let request = deployment.usdt_request("payment-1", 1_000_000);
    let request = bundle
        .directory()
        .open::<SignRequest>(&request)
        .expect("valid");
    criterion.bench_function("facts/establish", |b| {
        b.iter(|| Facts::establish(&bundle, black_box(request.body())).expect("facts"));
    });
    for count in [10, 100, 1_000] {
        bench_decide(
            criterion,
            &format!("decide/rules={count}"),
            &with_rules(count),
            0,
        );
    }
    for (kind, scoped) in [("scoped", true), ("matching", false)] {
        for count in [10, 100, 1_000] {
            let mut deployment = TestDeployment::with_single_keys(3, 2);
            add_cedar(deployment.content_mut(), count, scoped);
            let name = format!("decide/cedar-{kind}={count}");
            bench_decide(criterion, &name, &deployment, 0);
        }
    }
    // Everything at once. No statement could carry so large an address book: it is put into the verified bundle.
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    add_cedar(deployment.content_mut(), 1_000, true);
    add_limits(&mut deployment, 100);
    bench_decide(
        criterion,
        "decide/cedar-scoped=1000,destinations=100000,limits=100",
        &deployment,
        100_000,
    );
}

/// Compiling rules: once per bundle.
fn compilation(criterion: &mut Criterion) {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    add_cedar(deployment.content_mut(), 1_000, false);
    let mut group = criterion.benchmark_group("rules");
    group.sample_size(10);
    group.bench_function("compile/rules=1000", |b| {
        b.iter(|| RuleSet::compile(black_box(deployment.content())).expect("valid"));
    });
    group.finish();
}

criterion_group!(policy, statements, decisions, compilation);
criterion_main!(policy);
