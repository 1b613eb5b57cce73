//! Each thing that an approval must say, said otherwise, and the reason that names it.

use proptest::prelude::*;

use crate::approvals::{ApprovalProblem, ApprovalTally, MAX_APPROVALS, RejectedApproval};
use crate::bundle::{ActiveBundle, MemberKey, MemberKeyAlgorithm};
use crate::statement::{
    Approval, Freeze, FreezeTarget, SignRequest, SignerKey, Statement, StatementError, Verdict,
};
use crate::testing::{
    APPROVERS, AUDITOR, COORDINATOR, OFFICER, OPERATOR, OTHER_OFFICERS, PAYMENTS,
    TestAuthenticator, TestDeployment, member,
};
use crate::{Envelope, Facts, FreezeSet, Hash, IdentityKey, Timestamp};

struct Scene {
    deployment: TestDeployment,
    bundle: ActiveBundle,
    request: Envelope,
    freezes: FreezeSet,
    now: Timestamp,
}

fn scene() -> Scene {
    Scene::of(TestDeployment::with_single_keys(3, 2))
}

impl Scene {
    fn of(deployment: TestDeployment) -> Self {
        Self {
            bundle: deployment.bundle(),
            request: deployment.usdt_request("payment-1", 1_000_000),
            freezes: FreezeSet::default(),
            now: deployment.now(),
            deployment,
        }
    }

    fn body(&self) -> Approval {
        self.deployment
            .approval_body(&self.bundle, &self.request, Verdict::Approve)
    }

    fn approval(&self, officer: &str) -> Envelope {
        self.deployment.sign(officer, 600, self.body())
    }

    fn rejection(&self, officer: &str) -> Envelope {
        self.deployment.sign(officer, 600, no(self.body()))
    }

    fn count(&self, approvals: &[Envelope]) -> (ApprovalTally, Vec<RejectedApproval>) {
        let request = self
            .bundle
            .directory()
            .open::<SignRequest>(&self.request)
            .unwrap();
        let facts = Facts::establish(&self.bundle, request.body()).unwrap();
        ApprovalTally::count(
            &self.bundle,
            &request,
            &facts,
            approvals,
            &self.freezes,
            self.now,
        )
    }

    /// Why the one statement does not count.
    fn why(&self, approval: Envelope) -> ApprovalProblem {
        let (tally, mut refused) = self.count(&[approval]);
        assert_eq!(tally, ApprovalTally::default());
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].index, 0);
        refused.remove(0).why
    }

    /// Why an approval that was changed before it was signed does not count.
    fn changed(&self, change: impl FnOnce(&mut Approval)) -> ApprovalProblem {
        let mut body = self.body();
        change(&mut body);
        self.why(self.deployment.sign(OFFICER, 600, body))
    }

    fn freeze(&mut self, target: FreezeTarget) -> Hash {
        let freeze = Freeze {
            target,
            reason: "alarm".to_owned(),
        };
        let envelope = self.deployment.sign(OTHER_OFFICERS[1], 60, freeze);
        let freeze = self.bundle.open_freeze(&envelope).unwrap();
        self.freezes.insert(&freeze);
        freeze.digest()
    }
}

fn no(body: Approval) -> Approval {
    Approval {
        verdict: Verdict::Reject {
            reason: "unknown destination".to_owned(),
        },
        ..body
    }
}

fn members(tally: &ApprovalTally) -> Vec<&str> {
    tally.members().map(|m| m.as_str()).collect()
}

#[test]
fn officers_approvals_count_with_what_signed_them() {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let mut key = TestAuthenticator::es256("key");
    deployment.add_credential(OTHER_OFFICERS[0], &key);
    let scene = Scene::of(deployment);
    let by_key = scene.approval(OFFICER);
    let by_credential = scene
        .deployment
        .sign_with(OTHER_OFFICERS[0], 600, scene.body(), &mut key);
    let (tally, refused) = scene.count(&[by_key.clone(), by_credential]);
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(members(&tally), [OFFICER, OTHER_OFFICERS[0]]);
    let counted: Vec<_> = tally.approvals().map(|(_, counted)| counted).collect();
    assert_eq!(counted[0].approval, by_key.digest());
    let public = scene.deployment.identity(OFFICER).public();
    assert_eq!(counted[0].key, SignerKey::Statement(public));
    assert!(matches!(
        counted[1].key,
        SignerKey::Credential { counter: 1, .. }
    ));
    assert_eq!(tally.rejections().count(), 0);
}

#[test]
fn an_approval_is_for_one_request() {
    let scene = scene();
    let other = scene.deployment.usdt_request("payment-2", 1_000_000);
    let approval =
        scene
            .deployment
            .approval_under(&scene.bundle, OFFICER, &other, Verdict::Approve);
    assert!(matches!(
        scene.why(approval),
        ApprovalProblem::OtherRequest { found } if found == other.digest()
    ));
}

#[test]
fn an_approval_of_something_shown_as_something_else_does_not_count() {
    let scene = scene();
    let other = scene.deployment.usdt_request("payment-2", 1_000_001);
    let shown = scene
        .deployment
        .approval_body(&scene.bundle, &other, Verdict::Approve);
    let digests = shown.digests.clone();
    assert!(matches!(
        scene.changed(|body| body.digests = digests),
        ApprovalProblem::OtherDigests
    ));
    assert!(matches!(
        scene.changed(|body| body.digests.push(Hash::sha256(b"one more"))),
        ApprovalProblem::OtherDigests
    ));
    assert!(matches!(
        scene.changed(|body| body.intent = shown.intent),
        ApprovalProblem::OtherIntent
    ));
    // The paying address was not shown.
    assert!(matches!(
        scene.changed(|body| body.intent.from = None),
        ApprovalProblem::OtherIntent
    ));
}

#[test]
fn an_approval_dies_with_its_bundle_and_with_the_officers_membership() {
    let mut scene = scene();
    let before = [scene.approval(OFFICER), scene.approval(OTHER_OFFICERS[0])];
    let old = scene.bundle.digest();
    let successor = scene.deployment.successor(&scene.bundle, |content| {
        content.members.retain(|m| m.id != member(OFFICER));
    });
    let mut chain = scene.deployment.chain();
    scene.bundle = chain.append(&successor, scene.now).unwrap().clone();
    let (tally, refused) = scene.count(&before);
    assert_eq!(tally, ApprovalTally::default());
    assert!(matches!(
        &refused[0].why,
        ApprovalProblem::Statement(StatementError::UnknownMember(id)) if *id == member(OFFICER)
    ));
    assert!(matches!(
        refused[1].why,
        ApprovalProblem::OtherBundle { found } if found == old
    ));
}

#[test]
fn time_that_may_be_over_is_over() {
    let mut scene = scene();
    let approval = scene.approval(OFFICER);
    let issued = scene.now;
    let at = |millis: i64| Timestamp::from_millis(issued.as_millis() + millis);
    // Ten minutes, and clocks that may differ by 5 seconds.
    scene.now = at(594_999);
    assert_eq!(
        members(&scene.count(std::slice::from_ref(&approval)).0),
        [OFFICER]
    );
    scene.now = at(595_000);
    assert!(matches!(
        scene.why(approval.clone()),
        ApprovalProblem::Expired { expires_at } if expires_at == at(600_000)
    ));
    scene.now = at(-5_000);
    assert_eq!(
        members(&scene.count(std::slice::from_ref(&approval)).0),
        [OFFICER]
    );
    scene.now = at(-5_001);
    assert!(matches!(
        scene.why(approval),
        ApprovalProblem::NotYetValid { issued_at } if issued_at == issued
    ));
}

#[test]
fn an_approval_lives_no_longer_than_the_bundle_allows() {
    let scene = scene();
    let life = |seconds| scene.deployment.sign(OFFICER, seconds, scene.body());
    assert_eq!(members(&scene.count(&[life(86_400)]).0), [OFFICER]);
    assert!(matches!(
        scene.why(life(86_401)),
        ApprovalProblem::Life {
            max_seconds: 86_400
        }
    ));
}

#[test]
fn only_security_officers_approve() {
    let scene = scene();
    for other in [
        PAYMENTS,
        COORDINATOR,
        APPROVERS[0],
        OPERATOR,
        AUDITOR,
        "node-1",
    ] {
        assert!(matches!(
            scene.why(scene.approval(other)),
            ApprovalProblem::NotAnOfficer(found) if found == member(other)
        ));
        // Neither do they end a request this way.
        assert!(matches!(
            scene.why(scene.rejection(other)),
            ApprovalProblem::NotAnOfficer(_)
        ));
    }
}

#[test]
fn the_initiator_never_counts() {
    let mut scene = scene();
    // Anybody may ask; whoever does is no approver of it, whatever the roles.
    let asked = scene
        .bundle
        .directory()
        .open::<SignRequest>(&scene.request)
        .unwrap();
    scene.request = scene.deployment.sign(OFFICER, 600, asked.body().clone());
    assert!(matches!(
        scene.why(scene.approval(OFFICER)),
        ApprovalProblem::Initiator(found) if found == member(OFFICER)
    ));
    let (tally, _) = scene.count(&[scene.approval(OTHER_OFFICERS[0])]);
    assert_eq!(members(&tally), [OTHER_OFFICERS[0]]);
}

#[test]
fn the_same_person_counts_once() {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let mut device = TestAuthenticator::eddsa("device");
    deployment.add_credential(OFFICER, &device);
    let second = IdentityKey::from_seed(&[42; 32]);
    let officer = deployment
        .content_mut()
        .members
        .iter_mut()
        .find(|m| m.id == member(OFFICER))
        .unwrap();
    officer.keys.push(MemberKey {
        algorithm: MemberKeyAlgorithm::Ed25519,
        public_key: second.public(),
    });
    let scene = Scene::of(deployment);
    let first = scene.approval(OFFICER);
    let statement = scene
        .deployment
        .statement(OFFICER, "again", 600, scene.body());
    let all = [
        first.clone(),
        first,
        scene.approval(OFFICER),
        statement.sign(&second).unwrap(),
        scene
            .deployment
            .sign_with(OFFICER, 600, scene.body(), &mut device),
    ];
    let (tally, refused) = scene.count(&all);
    assert_eq!(members(&tally), [OFFICER]);
    assert_eq!(refused.len(), 4);
    for (refused, index) in refused.iter().zip(1..) {
        assert_eq!(refused.index, index);
        assert!(matches!(
            &refused.why,
            ApprovalProblem::Duplicate(found) if *found == member(OFFICER)
        ));
    }
}

#[test]
fn a_frozen_officer_or_key_does_not_count() {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    let mut device = TestAuthenticator::es256("device");
    deployment.add_credential(OFFICER, &device);
    let key = deployment.identity(OFFICER).public();
    let mut by_key = Scene::of(deployment);
    let other = by_key.approval(OTHER_OFFICERS[0]);
    let signed = by_key.approval(OFFICER);
    let asserted = by_key
        .deployment
        .sign_with(OFFICER, 600, by_key.body(), &mut device);
    let frozen = |scene: &Scene, approval: &Envelope, freeze: Hash| {
        assert!(matches!(
            scene.why(approval.clone()),
            ApprovalProblem::Frozen { member: found, freeze: by }
                if found == member(OFFICER) && by == freeze
        ));
    };
    // One key: the officer's other means still count.
    let freeze = by_key.freeze(FreezeTarget::MemberKey { public_key: key });
    frozen(&by_key, &signed, freeze);
    let both = [asserted.clone(), other.clone()];
    assert_eq!(by_key.count(&both).0.members().count(), 2);
    by_key.freezes = FreezeSet::default();
    let id = device.credential().id;
    let freeze = by_key.freeze(FreezeTarget::Credential { id });
    frozen(&by_key, &asserted, freeze);
    assert_eq!(
        by_key
            .count(&[signed.clone(), other.clone()])
            .0
            .members()
            .count(),
        2
    );
    // The person: nothing of theirs counts, not even a no.
    by_key.freezes = FreezeSet::default();
    let freeze = by_key.freeze(FreezeTarget::Member {
        member: member(OFFICER),
    });
    for approval in [&signed, &asserted, &by_key.rejection(OFFICER)] {
        frozen(&by_key, approval, freeze);
    }
    assert_eq!(members(&by_key.count(&[other]).0), [OTHER_OFFICERS[0]]);
}

#[test]
fn forged_approvals_are_named() {
    let scene = scene();
    let statement = scene
        .deployment
        .statement(OFFICER, "forged", 600, scene.body());
    let forged = statement.sign(scene.deployment.identity(PAYMENTS)).unwrap();
    assert!(matches!(
        scene.why(forged),
        ApprovalProblem::Statement(StatementError::BadSignature(id)) if id == member(OFFICER)
    ));
    assert!(matches!(
        scene.why(scene.request.clone()),
        ApprovalProblem::Statement(StatementError::PayloadType { .. })
    ));
    let mut stranger: Statement<Approval> = statement;
    stranger.issuer = member("stranger");
    let stranger = stranger.sign(&IdentityKey::from_seed(&[9; 32])).unwrap();
    assert!(matches!(
        scene.why(stranger),
        ApprovalProblem::Statement(StatementError::UnknownMember(_))
    ));
}

#[test]
fn one_no_ends_it_however_late_or_inexact() {
    let mut scene = scene();
    let mut inexact = no(scene.body());
    inexact.bundle = Hash::sha256(b"an older bundle");
    inexact.digests = vec![Hash::ZERO];
    let inexact = scene.deployment.sign(OFFICER, 10, inexact);
    let yes = [OFFICER, OTHER_OFFICERS[0]].map(|officer| scene.approval(officer));
    for days in [0, 30] {
        scene.now = scene.deployment.now().plus_seconds(days * 86_400);
        let mut all = yes.to_vec();
        all.push(inexact.clone());
        let (tally, _) = scene.count(&all);
        let rejections: Vec<_> = tally.rejections().collect();
        assert_eq!(rejections.len(), 1);
        assert_eq!(rejections[0].member, member(OFFICER));
        assert_eq!(rejections[0].reason, "unknown destination");
        assert_eq!(rejections[0].approval, inexact.digest());
    }
    // But it is about this request or about none.
    let mut other = no(scene.body());
    other.request = Hash::sha256(b"another request");
    let other = scene.deployment.sign(OFFICER, 600, other);
    assert!(matches!(
        scene.why(other),
        ApprovalProblem::OtherRequest { .. }
    ));
    let twice = [scene.rejection(OFFICER), scene.rejection(OFFICER)];
    let (tally, refused) = scene.count(&twice);
    assert_eq!(tally.rejections().count(), 1);
    assert!(matches!(refused[0].why, ApprovalProblem::Duplicate(_)));
}

#[test]
fn only_so_many_statements_are_looked_at() {
    let scene = scene();
    let mut all = vec![scene.request.clone(); MAX_APPROVALS - 1];
    all.push(scene.approval(OFFICER));
    all.push(scene.approval(OTHER_OFFICERS[0]));
    let (tally, refused) = scene.count(&all);
    assert_eq!(members(&tally), [OFFICER]);
    let last = refused.last().unwrap();
    assert_eq!(last.index, MAX_APPROVALS);
    assert!(matches!(last.why, ApprovalProblem::TooMany));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever orders the statements does not choose who counts.
    #[test]
    fn the_order_of_statements_does_not_matter(
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
        taken in 0..=6_usize,
    ) {
        let scene = scene();
        let all = [
            scene.approval(OFFICER),
            scene.approval(OFFICER),
            scene.rejection(OFFICER),
            scene.approval(OTHER_OFFICERS[0]),
            scene.approval(PAYMENTS),
            scene.rejection(OTHER_OFFICERS[1]),
        ];
        let taken = &order[..taken];
        let who = |envelopes: &[Envelope]| {
            let (tally, _) = scene.count(envelopes);
            let yes: Vec<_> = tally.members().cloned().collect();
            let no: Vec<_> = tally.rejections().cloned().collect();
            (yes, no)
        };
        let mut sorted = taken.to_vec();
        sorted.sort_unstable();
        let pick = |order: &[usize]| order.iter().map(|i| all[*i].clone()).collect::<Vec<_>>();
        prop_assert_eq!(who(&pick(taken)), who(&pick(&sorted)));
    }
}
