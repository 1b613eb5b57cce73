//! How fast statements are opened and decisions made: `cargo bench -p countersign-bench --bench policy`.
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;

use countersign_policy::bundle::{ActiveBundle, PolicyBundle};
use countersign_policy::statement::{SignRequest, Statement};
use countersign_policy::testing::{TestDeployment, samples};
use countersign_policy::{
    Amount, Envelope, Facts, MAX_PAYLOAD, RuleId, Standing, Timestamp, canonical, decide,
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

/// A bundle with `count` rules, of which the last alone allows the request, and as many destinations.
fn with_rules(count: usize) -> TestDeployment {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let content = deployment.content_mut();
    let usdt = content
        .rules
        .iter()
        .find(|r| r.id.as_str() == "hot-usdt-eip155-1")
        .expect("the standard rule")
        .clone();
    let exchange = content.address_book.clone();
    content.rules.retain(|r| r.wallet != usdt.wallet);
    content.address_book.clear();
    for i in 1..count {
        let mut rule = usdt.clone();
        rule.id = RuleId::new(format!("rule-{i}")).expect("a rule id");
        rule.max_amount = Amount::ZERO;
        content.rules.push(rule);
        let mut entry = exchange.last().expect("a destination").clone();
        let mut account = [0_u8; 20];
        for (to, from) in account
            .iter_mut()
            .zip(u64::try_from(i).expect("small").to_be_bytes())
        {
            *to = from;
        }
        entry.network = countersign_policy::Network::ETHEREUM;
        entry.address = countersign_policy::Address::Evm(account);
        entry.label = format!("destination {i}");
        content.address_book.push(entry);
    }
    content.rules.push(usdt);
    content.address_book.extend(exchange);
    deployment
}

fn decisions(criterion: &mut Criterion) {
    for count in [10, 100, 1_000] {
        let deployment = with_rules(count);
        let bundle: ActiveBundle = deployment.bundle();
        let request = deployment.usdt_request("payment-1", 1_000_000);
        let request = bundle
            .directory()
            .open::<SignRequest>(&request)
            .expect("valid");
        let now: Timestamp = deployment.now();
        let standing = Standing::unencumbered();
        let facts = Facts::establish(&bundle, request.body()).expect("facts");
        criterion.bench_function(&format!("decide/rules={count}"), |b| {
            b.iter(|| decide(&bundle, black_box(&request), &facts, &standing, now));
        });
        if count == 10 {
            criterion.bench_function("facts/establish", |b| {
                b.iter(|| Facts::establish(&bundle, black_box(request.body())).expect("facts"));
            });
        }
    }
}

criterion_group!(policy, statements, decisions);
criterion_main!(policy);
