//! Officers approve and reject.

use super::*;

const SECOND: &str = OTHER_OFFICERS[0];
const THIRD: &str = OTHER_OFFICERS[1];

fn needing(database: &TestDatabase, needs: &'static str) -> World {
    World::with(database, |deployment| deployment.add_approvals(needs))
}

fn reject() -> Verdict {
    Verdict::Reject {
        reason: "unknown receiver".to_owned(),
    }
}

impl Client<'_> {
    async fn say(&self, officer: &str, request: &Envelope, verdict: Verdict, wait: u64) -> Reply {
        let approval = self.world.deployment.approval(officer, request, verdict);
        self.approve(request, &approval, wait).await
    }

    async fn approve(&self, request: &Envelope, approval: &Envelope, wait: u64) -> Reply {
        let path = format!("/v1/sign-requests/{}/approvals", request.digest());
        self.write(&path, approval, wait).await
    }

    async fn approvals(&self, request: &Envelope) -> ApprovalList {
        let path = format!("/v1/sign-requests/{}/approvals", request.digest());
        self.get_as(AUDITOR, &path, 0).await.json()
    }
}

both!(
    enough_officers_of_each_group_lead_to_a_signature,
    async |database: &TestDatabase| {
        let world = needing(database, "treasury:2,security:1");
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let reply = c.post(&request, "k", 0).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        let view: RequestView = reply.json();
        assert_eq!(view.state, StateName::PendingApproval);
        assert_eq!(view.missing.len(), 2, "by group");
        for (officer, missing) in [(OFFICER, 2), (THIRD, 1)] {
            let said = c.say(officer, &request, Verdict::Approve, 0).await;
            assert_eq!(said.status, StatusCode::ACCEPTED);
            let list = c.approvals(&request).await;
            assert_eq!(list.missing.len(), missing);
            assert!(list.approvals.iter().all(|a| a.counts));
        }
        assert_eq!(world.nodes.prepares(), 0, "nobody was asked before");
        let again = c.say(OFFICER, &request, Verdict::Approve, 0).await;
        assert_eq!(again.status, StatusCode::ACCEPTED);
        assert_eq!(
            c.approvals(&request).await.missing.len(),
            1,
            "one person counts once"
        );
        let said = c.say(SECOND, &request, Verdict::Approve, 20).await;
        let view: RequestView = said.json();
        assert_eq!(view.state, StateName::Signed, "{view:?}");
        assert!(c.approvals(&request).await.missing.is_empty());
        let late = c.say(SECOND, &request, reject(), 0).await;
        assert_eq!(late.problem(), "final");
        running.shutdown().await;
    }
);

both!(
    one_rejection_ends_a_request_once_the_nodes_stopped_it,
    async |database: &TestDatabase| {
        let world = needing(database, "treasury:2");
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        c.post(&request, "k", 0).await;
        for node in ["node-1", "node-2"] {
            world.nodes.fault(node, Some(Fault::DeafToStops));
        }
        let view: RequestView = c.say(SECOND, &request, reject(), 1).await.json();
        assert_eq!(
            (view.state, view.stopping_towards),
            (StateName::Stopping, Some(Goal::Rejected)),
            "not final before the nodes said so"
        );
        world.nodes.fault("node-2", None);
        let view = c.read(request.digest(), 20).await;
        assert_eq!(view.state, StateName::Rejected);
        let reason = view.reason.unwrap();
        assert!(reason.code == "rejected" && reason.detail.contains(SECOND));
        let late = c.say(OFFICER, &request, Verdict::Approve, 0).await;
        assert_eq!(late.problem(), "final");
        assert!(world.nodes.signatures.lock().unwrap().is_empty());
        running.shutdown().await;
    }
);

both!(
    a_request_that_nobody_approves_expires,
    async |database: &TestDatabase| {
        let world = needing(database, "treasury:1");
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.short_request("payment-1", 2);
        c.post(&request, "k", 0).await;
        let view = c.read(request.digest(), 20).await;
        assert_eq!(view.state, StateName::Expired, "{view:?}");
        running.shutdown().await;
    }
);

both!(
    a_new_bundle_ends_the_approvals_given_under_the_old_one,
    async |database: &TestDatabase| {
        let world = needing(database, "treasury:2");
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        c.post(&request, "k", 0).await;
        c.say(OFFICER, &request, Verdict::Approve, 0).await;
        let before = world.deployment.bundle();
        let next = world
            .deployment
            .successor(&before, |b| b.organisation = "Next".to_owned());
        let body = SubmitBundle {
            bundle: next.clone(),
            transcripts: vec![],
        };
        let body = serde_json::to_vec(&body).unwrap();
        let reply = c.send(Method::POST, "/v1/bundles", &[], body).await;
        assert_eq!(reply.status, StatusCode::OK);
        let mut view = c.read(request.digest(), 0).await;
        for _ in 0..100 {
            if view.bundle == next.digest() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            view = c.read(request.digest(), 0).await;
        }
        assert_eq!(view.state, StateName::PendingApproval);
        assert!(
            view.void_approvals[&member(OFFICER)].contains("bundle"),
            "{view:?}"
        );
        let said = c.say(SECOND, &request, Verdict::Approve, 0).await;
        assert_eq!(said.problem(), "approval", "given under the old bundle");
        let mut chain = world.deployment.chain();
        let now = chain.append(&next, clock()).unwrap().clone();
        for (officer, wait) in [(OFFICER, 0), (SECOND, 20)] {
            let d = &world.deployment;
            let approval = d.approval_under(&now, officer, &request, Verdict::Approve);
            let view: RequestView = c.approve(&request, &approval, wait).await.json();
            assert!(wait == 0 || view.state == StateName::Signed, "{view:?}");
        }
        running.shutdown().await;
    }
);

both!(
    a_frozen_officers_approval_counts_no_more,
    async |database: &TestDatabase| {
        let world = needing(database, "treasury:1,security:1");
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        c.post(&request, "k", 0).await;
        c.say(OFFICER, &request, Verdict::Approve, 0).await;
        let target = FreezeTarget::Member {
            member: member(OFFICER),
        };
        let freeze = world.deployment.freeze(THIRD, target);
        let reply = c.write("/v1/freezes", &freeze, 0).await;
        assert_eq!(reply.status, StatusCode::OK);
        let view: RequestView = c.say(SECOND, &request, Verdict::Approve, 2).await.json();
        assert_eq!(view.state, StateName::PendingApproval);
        let list = c.approvals(&request).await;
        let theirs = list.approvals.iter().find(|a| a.member == member(OFFICER));
        assert!(theirs.unwrap().why_not.as_ref().unwrap().contains("frozen"));
        // The other officer of the group stands for it now.
        assert_eq!(list.missing.len(), 1);
        assert_eq!(list.missing[0].group.as_str(), "security");
        running.shutdown().await;
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_that_would_not_count_is_refused_with_the_reason() {
    let database = TestDatabase::new(Kind::Sqlite).await.unwrap();
    let world = needing(&database, "treasury:1");
    let running = world.start().await;
    let c = client(&world, &running);
    let d = &world.deployment;
    let request = d.usdt_request("payment-1", 1_000_000);
    let other = d.usdt_request("payment-2", 2_000_000);
    c.post(&request, "k", 0).await;
    let approve = |body| d.sign(OFFICER, 600, body);
    let body = d.approval_body(&d.bundle(), &request, Verdict::Approve);
    let mut other_bundle = body.clone();
    other_bundle.bundle = countersign_policy::Hash::ZERO;
    let mut other_digest = body.clone();
    other_digest.digests = vec![countersign_policy::Hash::ZERO];
    let mut other_intent = body.clone();
    other_intent.intent.transfers[0].amount = countersign_policy::Amount::from(1_u64);
    let too_long = d.sign(OFFICER, 2 * 86_400, body.clone());
    let by_nobody = d.sign(PAYMENTS, 600, body.clone());
    let elsewhere = d.approval(OFFICER, &other, Verdict::Approve);
    for (approval, status, problem) in [
        (approve(other_bundle), 422, "approval"),
        (approve(other_digest), 422, "approval"),
        (approve(other_intent), 422, "approval"),
        (too_long, 422, "approval"),
        (elsewhere, 422, "approval"),
        (by_nobody, 403, "forbidden"),
        (request.clone(), 422, "statement"),
    ] {
        let reply = c.approve(&request, &approval, 0).await;
        assert_eq!(
            (reply.status.as_u16(), reply.problem().as_str()),
            (status, problem)
        );
    }
    assert!(c.approvals(&request).await.approvals.is_empty());
    let unknown = c.say(OFFICER, &other, Verdict::Approve, 0).await;
    assert_eq!(unknown.problem(), "not-found");
    running.shutdown().await;
}

both!(
    two_approvals_at_two_coordinators_at_once_are_both_counted,
    async |database: &TestDatabase| {
        let world = needing(database, "treasury:2");
        let (one, two) = (
            world.start_as(COORDINATOR).await,
            world.start_as(OTHER_COORDINATOR).await,
        );
        let (a, b) = (client(&world, &one), client(&world, &two));
        for i in 0..5 {
            let request = world
                .deployment
                .usdt_request(&format!("payment-{i}"), 1_000);
            a.post(&request, &format!("k{i}"), 0).await;
            let (x, y) = tokio::join!(
                a.say(OFFICER, &request, Verdict::Approve, 20),
                b.say(SECOND, &request, Verdict::Approve, 20)
            );
            for reply in [x, y] {
                let view: RequestView = reply.json();
                assert_eq!(view.state, StateName::Signed, "{view:?}");
            }
        }
        two.shutdown().await;
        one.shutdown().await;
    }
);

both!(
    what_waits_for_people_survives_a_restart,
    async |database: &TestDatabase| {
        let world = needing(database, "treasury:2");
        let running = world.start().await;
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        let c = client(&world, &running);
        c.post(&request, "k", 0).await;
        c.say(OFFICER, &request, Verdict::Approve, 0).await;
        drop(running);
        let running = world.start().await;
        let c = client(&world, &running);
        let view: RequestView = c.say(SECOND, &request, Verdict::Approve, 20).await.json();
        assert_eq!(view.state, StateName::Signed, "{view:?}");
        running.shutdown().await;
    }
);

both!(
    simulating_and_asking_come_to_the_same_answer,
    async |database: &TestDatabase| {
        let world = World::with(database, |d| {
            d.add_groups();
            let needs = "treasury:1".parse().unwrap();
            let rules = &mut d.content_mut().rules;
            let usdt = rules
                .iter_mut()
                .find(|r| r.asset.to_string().contains("eip155:56"));
            usdt.unwrap().needs = Some(needs);
        });
        let running = world.start().await;
        let c = client(&world, &running);
        let d = &world.deployment;
        let strange = [0x55; 20];
        let requests = [
            d.usdt_request("allowed", 1_000_000),
            d.usdt_request("dear", 2_000_000_000),
            d.request(
                "strange",
                WALLET,
                Network::ETHEREUM,
                usdt_erc20(&strange, 1, 0),
            ),
            d.request(
                "waits",
                WALLET,
                "eip155:56".parse().unwrap(),
                countersign_policy::testing::transaction::usdt_bep20(&EXCHANGE, 1, 0),
            ),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for request in requests {
            let body = serde_json::to_vec(&request).unwrap();
            let simulated = c.send(Method::POST, "/v1/simulate", &[], body).await;
            let simulated: Simulation = simulated.json();
            let key = request.digest().to_hex();
            let real: RequestView = c.post(&request, &key, 10).await.json();
            assert_eq!(simulated.decision, real.decision);
            let expected = match simulated.decision.outcome {
                Outcome::Allow => StateName::Signed,
                Outcome::NeedsApprovals => StateName::PendingApproval,
                Outcome::Blocked => StateName::Blocked,
            };
            assert_eq!(real.state, expected);
            seen.insert(expected);
        }
        assert_eq!(seen.len(), 3, "every answer was seen");
        running.shutdown().await;
    }
);

both!(
    a_decision_is_explained_to_those_who_may_know,
    async |database: &TestDatabase| {
        let world = needing(database, "treasury:2");
        let running = world.start().await;
        let c = client(&world, &running);
        let request = world.deployment.usdt_request("payment-1", 1_000_000);
        c.post(&request, "k", 0).await;
        c.say(OFFICER, &request, Verdict::Approve, 0).await;
        let path = format!("/v1/sign-requests/{}/explanation", request.digest());
        for who in [OFFICER, AUTHOR, APPROVERS[0], AUDITOR] {
            let told: countersign_policy::Explanation = c.get_as(who, &path, 0).await.json();
            assert_eq!(told.decision.outcome, Outcome::NeedsApprovals, "{who}");
            assert_eq!(told.decision.missing[0].have, 1);
            assert!(!told.rules.is_empty() && !told.what_if.is_empty());
        }
        assert_eq!(c.get_as(PAYMENTS, &path, 0).await.problem(), "forbidden");
        let simulate = async |who: Option<&str>| {
            let genesis = world.deployment.genesis_hash();
            let token =
                who.map(|who| support::api_secret(who).token(&member(who), genesis, clock()));
            let token = token.map(|token| format!("Bearer {token}"));
            let headers: Vec<(&str, &str)> = token
                .iter()
                .map(|t| ("authorization", t.as_str()))
                .collect();
            let body = serde_json::to_vec(&request).unwrap();
            let reply = c.send(Method::POST, "/v1/simulate", &headers, body).await;
            reply.json::<Simulation>()
        };
        let told = simulate(Some(AUTHOR)).await;
        assert_eq!(told.explanation.unwrap().decision, told.decision);
        assert!(simulate(Some(PAYMENTS)).await.explanation.is_none());
        assert!(simulate(None).await.explanation.is_none());
        running.shutdown().await;
    }
);
