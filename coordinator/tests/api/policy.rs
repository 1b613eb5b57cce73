//! A policy bundle from its proposal to the day it counts.

use super::*;

impl Client<'_> {
    async fn proposals(&self, query: &str) -> ProposalList {
        let path = format!("/v1/policy/proposals{query}");
        self.get_as(PAYMENTS, &path, 0).await.json()
    }
}

/// The next bundle with the author's signature alone, and with that of each approver besides.
fn proposed(world: &World, name: &str) -> (Envelope, Vec<Envelope>) {
    let full = world.deployment.successor(&world.deployment.bundle(), |b| {
        b.organisation = name.to_owned()
    });
    let by = |who: &str| {
        let found = full.signatures().iter().find(|s| s.keyid == who);
        found.unwrap().clone()
    };
    let author = full.with_signatures(vec![by(AUTHOR)]).unwrap();
    let alone = |who: &&str| full.with_signatures(vec![by(who)]).unwrap();
    (author, APPROVERS.iter().map(alone).collect())
}

both!(
    a_proposal_is_signed_one_by_one_and_followed_when_its_quorum_is_complete,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let (proposal, signatures) = proposed(&world, "Next");
        let reply = c.write("/v1/policy/proposals", &proposal, 0).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        let view: ProposalView = reply.json();
        assert_eq!(view.state, ProposalState::Collecting);
        assert_eq!((view.signatures.len(), view.needed), (0, 2));
        let path = format!("/v1/policy/proposals/{}/signatures", proposal.digest());
        for _ in 0..2 {
            let view: ProposalView = c.write(&path, &signatures[0], 0).await.json();
            assert_eq!(
                view.state,
                ProposalState::Collecting,
                "one person signs once"
            );
            assert_eq!(view.signatures.len(), 1);
        }
        let waiting = c.proposals("").await;
        assert_eq!(waiting.proposals.len(), 1);
        assert_eq!(waiting.proposals[0].bundle.signatures().len(), 2);
        let reply = c.write(&path, &signatures[1], 0).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.json::<ProposalView>().state, ProposalState::Active);
        let list: BundleList = c.get_as(AUDITOR, "/v1/bundles", 0).await.json();
        assert_eq!((list.active, list.version), (proposal.digest(), 2));
        assert!(c.proposals("").await.proposals.is_empty());
        assert_eq!(c.proposals("?all=true").await.proposals.len(), 1);
        let log: PolicyLog = c.get_as(AUDITOR, "/v1/policy/log", 0).await.json();
        assert_eq!(log.entries.len(), 2);
        assert_eq!(log.entries[1].author, member(AUTHOR));
        assert_eq!(log.entries[1].approvers.len(), 2);
        assert!(log.entries[1].activated_at.is_some());
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let view: RequestView = c.post(&request, "k1", 10).await.json();
        assert_eq!(view.state, StateName::Signed);
        running.shutdown().await;
    }
);

both!(
    a_veto_stops_a_proposal_for_good,
    async |database: &TestDatabase| {
        let world = World::new(database);
        let running = world.start().await;
        let c = client(&world, &running);
        let (proposal, signatures) = proposed(&world, "Next");
        c.write("/v1/policy/proposals", &proposal, 0).await;
        let path = format!("/v1/policy/proposals/{}", proposal.digest());
        let veto = world.deployment.veto(APPROVERS[1], &proposal);
        let (sign, stop) = (format!("{path}/signatures"), format!("{path}/veto"));
        assert_eq!(c.write(&stop, &veto, 0).await.status, StatusCode::OK);
        for signature in &signatures {
            let refused = c.write(&sign, signature, 0).await;
            assert_eq!(refused.problem(), "bundle");
        }
        let list = c.proposals("").await;
        assert_eq!(list.version, 1);
        assert_eq!(list.proposals[0].state, ProposalState::Vetoed);
        assert_eq!(list.proposals[0].vetoes[0].member, member(APPROVERS[1]));
        let log: PolicyLog = c.get_as(AUDITOR, "/v1/policy/log", 0).await.json();
        assert_eq!(log.entries[1].state, ProposalState::Vetoed);
        // Another one takes its place.
        let (other, signatures) = proposed(&world, "Other");
        c.write("/v1/policy/proposals", &other, 0).await;
        let sign = format!("/v1/policy/proposals/{}/signatures", other.digest());
        for signature in &signatures {
            c.write(&sign, signature, 0).await;
        }
        assert_eq!(c.proposals("").await.version, 2);
        let all = c.proposals("?all=true").await;
        assert!(
            all.proposals
                .iter()
                .any(|p| p.state == ProposalState::Vetoed)
        );
        let late = world.deployment.veto(APPROVERS[1], &other);
        let stop = format!("/v1/policy/proposals/{}/veto", other.digest());
        assert_eq!(c.write(&stop, &late, 0).await.problem(), "bundle");
        running.shutdown().await;
    }
);

both!(
    a_bundle_waits_for_its_delay_and_is_then_followed_by_everybody,
    async |database: &TestDatabase| {
        let world = World::with(database, |d| {
            d.content_mut().timing.activation_delay_seconds = 3;
        });
        let running = world.start().await;
        let c = client(&world, &running);
        let next = world.deployment.successor(&world.deployment.bundle(), |b| {
            b.organisation = "Next".into()
        });
        let body = serde_json::to_vec(&SubmitBundle {
            bundle: next.clone(),
            transcripts: vec![],
        });
        let reply = c
            .send(Method::POST, "/v1/bundles", &[], body.unwrap())
            .await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        assert!(!reply.json::<BundleReport>().active);
        let mut delayed = false;
        for _ in 0..200 {
            let list = c.proposals("?all=true").await;
            if let Some(view) = list.proposals.first()
                && view.state == ProposalState::Delayed
            {
                delayed = view.activates_at.is_some();
            }
            if list.version == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(delayed, "when is told");
        let list: BundleList = c.get_as(AUDITOR, "/v1/bundles", 0).await.json();
        assert_eq!((list.active, list.version), (next.digest(), 2));
        running.shutdown().await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_say_in_the_policy_is_refused() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = World::new(&database);
    let running = world.start().await;
    let c = client(&world, &running);
    let d = &world.deployment;
    let (proposal, _) = proposed(&world, "Next");
    let path = format!("/v1/policy/proposals/{}", proposal.digest());
    let sign = format!("{path}/signatures");
    let unknown = c.write(&sign, &proposal, 0).await;
    assert_eq!(unknown.problem(), "not-found");
    c.write("/v1/policy/proposals", &proposal, 0).await;
    let mut by_officer = proposal.clone();
    by_officer
        .add_signature(OFFICER, d.identity(OFFICER))
        .unwrap();
    assert_eq!(c.write(&sign, &by_officer, 0).await.problem(), "forbidden");
    let mut forged = proposal.clone();
    forged
        .add_signature(APPROVERS[0], d.identity(OFFICER))
        .unwrap();
    assert_eq!(c.write(&sign, &forged, 0).await.problem(), "statement");
    let (other, _) = proposed(&world, "Other");
    assert_eq!(c.write(&sign, &other, 0).await.problem(), "statement");
    let veto = countersign_policy::statement::Veto {
        bundle: proposal.digest(),
        reason: "no".to_owned(),
    };
    let by_author = d.sign(AUTHOR, 60, veto);
    let veto = format!("{path}/veto");
    assert_eq!(c.write(&veto, &by_author, 0).await.problem(), "forbidden");
    // An officer proposes nothing, and what would be refused at the end is refused at the beginning.
    let content = d.successor(&d.bundle(), |_| {});
    let content: countersign_policy::statement::Statement<
        countersign_policy::bundle::PolicyBundle,
    > = serde_json::from_slice(content.payload()).unwrap();
    let by_officer = d.sign(OFFICER, 60, content.body.clone());
    let refused = c.write("/v1/policy/proposals", &by_officer, 0).await;
    assert_eq!(refused.problem(), "forbidden");
    let mut broken = content.body;
    broken.quorums.policy = 9;
    let broken = d.sign(AUTHOR, 86_400, broken);
    let refused = c.write("/v1/policy/proposals", &broken, 0).await;
    assert_eq!(refused.problem(), "bundle");
    assert_eq!(c.proposals("").await.proposals.len(), 1);
    running.shutdown().await;
}
