//! Every signer counts the approvals itself: none more, none less, none in another's place.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::time::Duration;

use countersign_policy::bundle::Group;
use countersign_policy::statement::{FreezeTarget, Verdict};
use countersign_policy::testing::{OFFICER, OTHER_OFFICERS, member};
use countersign_policy::{Envelope, GroupId, MemberId, Protocol};
use countersign_signer::clock::now;
use countersign_signer::net::CallError;
use countersign_signer::wire::{
    GiveStatement, Prepare, Prepared, ProblemCode, StatementTaken, path,
};
use countersign_tests::cluster::{Cluster, Place};
use countersign_tests::payments::{code, usdt};

const CALL: Duration = Duration::from_secs(10);

async fn with_two_of_treasury() -> Cluster {
    let mut cluster = Cluster::start(3, 2, Place::Inside).await;
    cluster.make_key("hot-ecdsa", Protocol::Dkls23, 2).await;
    cluster.deployment.set_now(now());
    let asking = cluster
        .deployment
        .successor(cluster.chain.active(), |content| {
            content.groups = vec![Group {
                id: GroupId::new("treasury").unwrap(),
                members: vec![member(OFFICER), member(OTHER_OFFICERS[0])],
            }];
            for rule in &mut content.rules {
                rule.needs = Some("treasury:2".parse().unwrap());
            }
        });
    cluster.follow(asking, Vec::new()).await;
    cluster
}

fn approval(cluster: &Cluster, officer: &str, request: &Envelope) -> Envelope {
    let active = cluster.active();
    let deployment = &cluster.deployment;
    deployment.approval_under(active, officer, request, Verdict::Approve)
}

/// Prepares with these approvals, of which the authorization names `named`.
async fn prepare(
    cluster: &mut Cluster,
    node: &MemberId,
    request: &Envelope,
    named: &[Envelope],
    given: &[Envelope],
    attempt: u32,
) -> Result<Envelope, CallError> {
    let pair = cluster.members()[..2].to_vec();
    let authorization = cluster.authorize_with(request, &pair, attempt, |body| {
        body.approvals = named.iter().map(Envelope::digest).collect();
    });
    let call = Prepare {
        authorization,
        request: request.clone(),
        approvals: given.to_vec(),
    };
    let client = cluster.client(node);
    let prepared: Prepared = client.post_json(path::PREPARE, &call, CALL).await?;
    Ok(prepared.receipt)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_signer_counts_exactly_the_approvals_that_the_authorization_names() {
    let mut cluster = with_two_of_treasury().await;
    let node = cluster.members()[0].clone();
    let request = usdt(&mut cluster, "needs-two", 1, 1);
    let other = usdt(&mut cluster, "another", 2, 2);
    let one = approval(&cluster, OFFICER, &request);
    let two = approval(&cluster, OTHER_OFFICERS[0], &request);
    let elsewhere = approval(&cluster, OTHER_OFFICERS[0], &other);
    let twice = approval(&cluster, OFFICER, &request);
    let both = [one.clone(), two.clone()];
    let only = [one.clone()];
    for (named, given, expected) in [
        (&[][..], &[][..], ProblemCode::Approval),
        (&only[..], &only[..], ProblemCode::Approval),
        (&both[..], &only[..], ProblemCode::Authorization),
        (&only[..], &both[..], ProblemCode::Authorization),
        (
            &[one.clone(), elsewhere.clone()][..],
            &[one.clone(), elsewhere.clone()][..],
            ProblemCode::Approval,
        ),
        (
            &[one.clone(), twice.clone()][..],
            &[one.clone(), twice.clone()][..],
            ProblemCode::Approval,
        ),
        (
            &both[..],
            &[two.clone(), one.clone()][..],
            ProblemCode::Authorization,
        ),
    ] {
        let answer = prepare(&mut cluster, &node, &request, named, given, 1).await;
        assert_eq!(code(answer), expected, "{} named", named.len());
    }
    let receipt = prepare(&mut cluster, &node, &request, &both, &both, 2).await;
    receipt.expect("two of treasury approved");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_approval_of_a_frozen_officer_does_not_count() {
    let mut cluster = with_two_of_treasury().await;
    let nodes = cluster.members();
    let request = usdt(&mut cluster, "by-a-frozen-officer", 1, 1);
    let both = [
        approval(&cluster, OFFICER, &request),
        approval(&cluster, OTHER_OFFICERS[0], &request),
    ];
    let freeze = cluster.deployment.freeze(
        OTHER_OFFICERS[1],
        FreezeTarget::Member {
            member: member(OTHER_OFFICERS[0]),
        },
    );
    let call = GiveStatement { statement: freeze };
    let client = cluster.client(&nodes[0]);
    let _: StatementTaken = client.post_json(path::FREEZE, &call, CALL).await.unwrap();
    let answer = prepare(&mut cluster, &nodes[0], &request, &both, &both, 1).await;
    assert_eq!(code(answer), ProblemCode::Approval);
}
