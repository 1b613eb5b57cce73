//! Approvals, notices and proposals.

use std::collections::BTreeSet;

use countersign_policy::MemberId;
use countersign_policy::statement::{FreezeTarget, Verdict};
use countersign_policy::testing::{AUTHOR, OFFICER, OTHER_OFFICERS};

use super::*;
use crate::lifecycle::Waiting;

impl Fixture {
    /// A request that waits for approvals, held by the fixture.
    async fn waiting(&self, external_id: &str) -> StoredRequest {
        let request = self.stored(external_id).await;
        let next = State::PendingApproval(Waiting::default());
        self.store
            .advance(&self.lease, &request, &next, &Change::default())
            .await
            .unwrap()
    }

    async fn approve(&self, request: &StoredRequest, officer: &str) -> Option<bool> {
        let envelope = self
            .deployment
            .approval(officer, &request.envelope, Verdict::Approve);
        let new = NewApproval {
            request: request.id,
            digest: envelope.digest(),
            member: &member(officer),
            approves: true,
            bundle: request.facts.bundle,
            envelope: &envelope,
        };
        let added = self.store.add_approval(&new).await.unwrap();
        added.map(|(_, fresh)| fresh)
    }
}

both!(
    an_approval_wakes_whoever_waits_for_it,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let request = f.waiting("payment-1").await;
        let until = f.deployment.now().plus_seconds(10_000_000_000);
        // A stranger parks nothing, and neither does who read another revision.
        assert!(!f.store.park(&request, "two", until).await.unwrap());
        let stale = StoredRequest {
            revision: request.revision - 1,
            ..request.clone()
        };
        let me = f.lease.instance();
        assert!(!f.store.park(&stale, me, until).await.unwrap());
        assert!(f.store.park(&request, me, until).await.unwrap());
        assert!(f.store.claim_due(&f.lease, 9).await.unwrap().is_empty());
        assert_eq!(f.approve(&request, OFFICER).await, Some(true));
        let due = f.store.claim_due(&f.lease, 9).await.unwrap();
        assert_eq!(due[0].revision, request.revision + 1);
        // What came between the reading and the parking is not overlooked.
        assert!(!f.store.park(&request, me, until).await.unwrap());
        assert!(f.store.park(&due[0], me, until).await.unwrap());
        assert_eq!(f.store.wake_pending().await.unwrap(), 1);
        assert_eq!(f.store.claim_due(&f.lease, 9).await.unwrap().len(), 1);
    }
);

both!(
    approvals_are_kept_once_and_never_changed,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let request = f.waiting("payment-1").await;
        assert_eq!(f.approve(&request, OFFICER).await, Some(true));
        let stored = f.store.approvals(request.id).await.unwrap();
        assert_eq!((stored.len(), &stored[0].member), (1, &member(OFFICER)));
        let again = NewApproval {
            request: request.id,
            digest: stored[0].digest,
            member: &stored[0].member,
            approves: true,
            bundle: stored[0].bundle,
            envelope: &stored[0].envelope,
        };
        let (_, fresh) = f.store.add_approval(&again).await.unwrap().unwrap();
        assert!(!fresh);
        let unknown = NewApproval {
            request: Hash::ZERO,
            ..again
        };
        assert!(f.store.add_approval(&unknown).await.unwrap().is_none());
        for sql in [
            "UPDATE approvals SET verdict = 'reject'",
            "DELETE FROM approvals",
            "UPDATE notices SET kind = 'veto'",
            "DELETE FROM notices",
            "UPDATE proposals SET version = 9",
            "DELETE FROM proposals",
        ] {
            f.store
                .add_notice(
                    NoticeKind::Freeze,
                    "x",
                    &member(OFFICER),
                    &request.envelope,
                    &[],
                )
                .await
                .unwrap();
            f.store.add_proposal(&proposal(&f)).await.unwrap();
            let done = f
                .store
                .run_tx("tamper", &(sql,), |tx, &(sql,)| {
                    Box::pin(tx.execute(sql, &[]))
                })
                .await;
            assert!(done.is_err(), "{sql}");
        }
    }
);

both!(
    approvals_of_two_coordinators_at_once_are_both_kept,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let other = Fixture {
            store: Datastore::open(&database.url).await.unwrap(),
            deployment: TestDeployment::with_single_keys(3, 2),
            lease: Lease::new("two".into(), 60_000),
        };
        for i in 0..10 {
            let request = f.waiting(&format!("payment-{i}")).await;
            let (a, b) = tokio::join!(
                f.approve(&request, OFFICER),
                other.approve(&request, OTHER_OFFICERS[0])
            );
            assert_eq!((a, b), (Some(true), Some(true)));
            assert_eq!(f.store.approvals(request.id).await.unwrap().len(), 2);
            let now = f.store.request(request.id).await.unwrap().unwrap();
            assert_eq!(now.revision, request.revision + 2);
        }
    }
);

both!(
    a_notice_is_due_at_a_node_until_it_has_it,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let freeze = |target| f.deployment.freeze(OFFICER, target);
        let one = freeze(FreezeTarget::Everything);
        let two = freeze(FreezeTarget::Member {
            member: member(PAYMENTS),
        });
        let (a, b): (MemberId, MemberId) = (member("node-1"), member("node-2"));
        let nodes = [a.clone(), b.clone()];
        for envelope in [&one, &two, &one] {
            f.store
                .add_notice(NoticeKind::Freeze, "x", &member(OFFICER), envelope, &nodes)
                .await
                .unwrap();
        }
        assert_eq!(f.store.count_freezes().await.unwrap(), 2);
        assert!(f.store.notices(NoticeKind::Veto).await.unwrap().is_empty());
        let given = BTreeSet::from([a.clone()]);
        for _ in 0..2 {
            f.store.delivered(one.digest(), &given).await.unwrap();
        }
        let due = f.store.undelivered(&a, 9).await.unwrap();
        assert_eq!((due.len(), due[0].digest), (1, two.digest()));
        assert_eq!(f.store.undelivered(&b, 9).await.unwrap().len(), 2);
        assert_eq!(f.store.undelivered(&b, 1).await.unwrap().len(), 1);
        assert_eq!(f.store.deliveries(one.digest()).await.unwrap(), given);
    }
);

fn proposal(f: &Fixture) -> StoredProposal {
    let active = f.deployment.bundle();
    let envelope = f.deployment.successor(&active, |_| {});
    StoredProposal {
        digest: envelope.digest(),
        version: 2,
        predecessor: active.digest(),
        author: member(AUTHOR),
        envelope,
        transcripts: Vec::new(),
        created_at: f.deployment.now(),
        signatures: BTreeMap::new(),
    }
}

both!(
    a_proposal_collects_one_signature_of_each_approver,
    async |database: &TestDatabase| {
        let f = Fixture::new(database).await;
        let proposal = proposal(&f);
        assert!(f.store.add_proposal(&proposal).await.unwrap());
        assert!(!f.store.add_proposal(&proposal).await.unwrap());
        let (digest, approver) = (proposal.digest, member("approver-1"));
        for fresh in [true, false] {
            let added = f
                .store
                .add_proposal_signature(digest, &approver, &proposal.envelope)
                .await;
            assert_eq!(added.unwrap(), fresh);
        }
        let stored = f.store.proposal(digest).await.unwrap().unwrap();
        assert_eq!(stored.envelope, proposal.envelope);
        assert_eq!(stored.signatures.len(), 1);
        assert!(f.store.proposal(Hash::ZERO).await.unwrap().is_none());
        assert_eq!(f.store.proposals_above(1, None).await.unwrap().len(), 1);
        assert!(f.store.proposals_above(2, None).await.unwrap().is_empty());
        let acks = [(member("node-1"), proposal.envelope.clone())];
        for _ in 0..2 {
            f.store.store_bundle_acks(digest, &acks).await.unwrap();
        }
        assert_eq!(f.store.bundle_acks(digest).await.unwrap().len(), 1);
    }
);
