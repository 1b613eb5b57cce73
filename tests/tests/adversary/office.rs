//! A deployment where payments need approvals: two of treasury and one of security, of people with several keys.

use countersign_policy::bundle::{
    Group, Member, MemberKey, MemberKeyAlgorithm, PolicyBundle, Role,
};
use countersign_policy::statement::{Approval, Body, Verdict};
use countersign_policy::testing::{
    OFFICER, OTHER_OFFICERS, SECURITY, TREASURY, TestAuthenticator, member,
};
use countersign_policy::{Envelope, GroupId, IdentityKey, StatementId};

use crate::arena::{Arena, OpenSession};

/// A third member of treasury.
pub const FOURTH: &str = "officer-4";
/// A fourth one.
pub const SIXTH: &str = "officer-6";
/// An officer who leaves.
pub const FIFTH: &str = "officer-5";

/// The officers' keys beside those of the test deployment.
pub struct Office {
    /// The second statement key of [`OFFICER`].
    pub second: IdentityKey,
    /// The statement key of [`FOURTH`].
    pub fourth: IdentityKey,
    /// The statement key of [`SIXTH`].
    pub sixth: IdentityKey,
    /// The statement key of [`FIFTH`].
    pub fifth: IdentityKey,
    /// The device of [`OFFICER`].
    pub treasurer: TestAuthenticator,
    /// The device of the second of [`OTHER_OFFICERS`], who alone is in security but for somebody of treasury.
    pub guard: TestAuthenticator,
    /// A second device of the same.
    pub spare: TestAuthenticator,
}

fn statement_key(key: &IdentityKey) -> MemberKey {
    MemberKey {
        algorithm: MemberKeyAlgorithm::Ed25519,
        public_key: key.public(),
    }
}

/// A security officer whom the genesis does not know.
pub fn officer(id: &str, key: &IdentityKey) -> Member {
    Member {
        id: member(id),
        name: id.to_owned(),
        roles: [Role::SecurityOfficer].into(),
        keys: vec![statement_key(key)],
        credentials: Vec::new(),
        domains: None,
    }
}

/// A member of the bundle, to change.
pub fn member_of<'a>(content: &'a mut PolicyBundle, id: &str) -> &'a mut Member {
    let found = content.members.iter_mut().find(|m| m.id.as_str() == id);
    found.expect("a member")
}

/// The members in the order that bundles have.
pub fn sorted(content: &mut PolicyBundle) {
    content.members.sort_by(|a, b| a.id.cmp(&b.id));
}

impl Office {
    /// Every rule needs two of treasury and one of security from here on; [`FIFTH`] was an officer and is none any more.
    pub async fn open(arena: &mut Arena) -> Self {
        let office = Self {
            second: IdentityKey::from_seed(&[22; 32]),
            fourth: IdentityKey::from_seed(&[24; 32]),
            sixth: IdentityKey::from_seed(&[26; 32]),
            fifth: IdentityKey::from_seed(&[25; 32]),
            treasurer: TestAuthenticator::es256("treasurer"),
            guard: TestAuthenticator::eddsa("guard"),
            spare: TestAuthenticator::es256("spare"),
        };
        arena
            .policy(|content| {
                content.members.push(officer(FOURTH, &office.fourth));
                content.members.push(officer(SIXTH, &office.sixth));
                content.members.push(officer(FIFTH, &office.fifth));
                sorted(content);
                office.equip(content);
                let group = |id: &str, members: &[&str]| Group {
                    id: GroupId::new(id).unwrap(),
                    members: members.iter().map(|m| member(m)).collect(),
                };
                let [second, third] = OTHER_OFFICERS;
                content.groups = vec![
                    group(SECURITY, &[second, third]),
                    group(TREASURY, &[OFFICER, second, FOURTH, SIXTH]),
                ];
                for rule in &mut content.rules {
                    let needs = format!("{TREASURY}:2,{SECURITY}:1");
                    rule.needs = Some(needs.parse().unwrap());
                }
            })
            .await;
        office
    }

    fn equip(&self, content: &mut PolicyBundle) {
        content.webauthn = Some(self.guard.policy());
        let treasurer = member_of(content, OFFICER);
        treasurer.keys.push(statement_key(&self.second));
        treasurer.credentials.push(self.treasurer.credential());
        let guard = member_of(content, OTHER_OFFICERS[1]);
        guard.credentials.push(self.guard.credential());
        guard.credentials.push(self.spare.credential());
    }

    /// What an officer approves.
    pub fn body(&self, arena: &Arena, request: &Envelope) -> Approval {
        let active = arena.cluster.active();
        let deployment = &arena.cluster.deployment;
        deployment.approval_body(active, request, Verdict::Approve)
    }

    /// The approvals that are enough: by two of treasury with their keys, and by the guard with a device.
    pub fn enough(&mut self, arena: &mut Arena, request: &Envelope) -> Vec<Envelope> {
        let first = arena.approval(OFFICER, request);
        let second = arena.approval(OTHER_OFFICERS[0], request);
        vec![first, second, self.by_guard(arena, request)]
    }

    /// An approval with the guard's device.
    pub fn by_guard(&mut self, arena: &Arena, request: &Envelope) -> Envelope {
        let body = self.body(arena, request);
        let deployment = &arena.cluster.deployment;
        deployment.sign_with(OTHER_OFFICERS[1], 3_600, body, &mut self.guard)
    }

    /// The same approvals with another one at a place.
    pub fn with(
        &mut self,
        arena: &mut Arena,
        request: &Envelope,
        (place, other): (usize, Envelope),
    ) -> Vec<Envelope> {
        let mut approvals = self.enough(arena, request);
        approvals[place] = other;
        approvals
    }

    /// A session with enough approvals.
    pub async fn session(&mut self, arena: &mut Arena) -> OpenSession {
        let request = arena.payment();
        let approvals = self.enough(arena, &request);
        let call = arena.approved(&request, &approvals);
        let pair = arena.pair();
        arena.session_by(call, &pair).await
    }

    /// With enough approvals a payment is signed.
    pub async fn an_approved_payment_is_signed(&mut self, arena: &mut Arena) {
        let session = self.session(arena).await;
        let pair = arena.pair();
        arena.is_signed(&session, &pair).await;
    }
}

/// Says something in a member's name with any key.
pub fn said<B: Body>(arena: &Arena, (issuer, key): (&str, &IdentityKey), body: B) -> Envelope {
    let id = StatementId::random(&mut rand_core::OsRng);
    let deployment = &arena.cluster.deployment;
    let statement = deployment.statement(issuer, id.as_str(), 3_600, body);
    statement.sign(key).unwrap()
}
