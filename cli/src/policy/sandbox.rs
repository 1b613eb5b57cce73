//! A policy that nobody has signed, made active in memory under throw-away statement keys, so that the real engine can be asked
//! what it would say. Nothing signed here means anything outside: the genesis is another one.

use std::collections::BTreeMap;

use countersign_policy::bundle::{
    ActiveBundle, BundleChain, MemberKey, MemberKeyAlgorithm, PolicyBundle, Role,
};
use countersign_policy::statement::{Body, Statement};
use countersign_policy::{Envelope, Hash, IdentityKey, MemberId, Timestamp};

use crate::failure::{Exit, Failure, OrFail as _, Outcome};

/// The policy with keys of its own for every member.
pub struct Sandbox {
    active: ActiveBundle,
    identities: BTreeMap<MemberId, IdentityKey>,
}

/// How long the bundle lasts.
const LIFE: u64 = 365 * 86_400;

impl Sandbox {
    /// Makes a policy active some time before `now`.
    pub fn new(content: &PolicyBundle, now: Timestamp) -> Outcome<Self> {
        let mut content = content.clone();
        content.version = 1;
        content.predecessor = None;
        content.supersedes = Vec::new();
        let identities: BTreeMap<MemberId, IdentityKey> = content
            .members
            .iter()
            .map(|member| {
                let seed = Hash::derive(
                    "countersign/policy-sandbox/identity",
                    &[member.id.as_str().as_bytes()],
                );
                (member.id.clone(), IdentityKey::from_seed(seed.as_bytes()))
            })
            .collect();
        for member in &mut content.members {
            member.keys = identities
                .get(&member.id)
                .map(|key| MemberKey {
                    algorithm: MemberKeyAlgorithm::Ed25519,
                    public_key: key.public(),
                })
                .into_iter()
                .collect();
        }
        let with = |role: Role| {
            let members = content.members.iter();
            members.filter(move |member| member.roles.contains(&role))
        };
        let author = with(Role::PolicyAuthor)
            .next()
            .ok_or_else(|| Failure::usage("the policy has no author"))?;
        let approvers: Vec<MemberId> = with(Role::PolicyApprover).map(|m| m.id.clone()).collect();
        let issued_at = now.minus_seconds(86_400);
        let statement = Statement::new(
            Hash::ZERO,
            author.id.clone(),
            issued_at,
            issued_at.plus_seconds(LIFE),
            content.clone(),
            &mut rand_core::OsRng,
        );
        let mut envelope = statement
            .sign(identity(&identities, &author.id)?)
            .or_broken("cannot sign in memory")?;
        for approver in &approvers {
            envelope
                .add_signature(approver.as_str(), identity(&identities, approver)?)
                .or_broken("cannot sign in memory")?;
        }
        let chain = BundleChain::from_genesis(&envelope, envelope.digest())
            .or_fail(Exit::Usage, "this policy cannot be made active")?;
        Ok(Self {
            active: chain.active().clone(),
            identities,
        })
    }

    /// The policy, active.
    pub fn active(&self) -> &ActiveBundle {
        &self.active
    }

    /// A statement of a member, signed by it and by `others`.
    pub fn sign<B: Body>(
        &self,
        issuer: &MemberId,
        others: &[MemberId],
        at: Timestamp,
        seconds: u64,
        body: B,
    ) -> Outcome<Envelope> {
        let statement = Statement::new(
            self.active.directory().genesis(),
            issuer.clone(),
            at,
            at.plus_seconds(seconds),
            body,
            &mut rand_core::OsRng,
        );
        let mut envelope = statement
            .sign(identity(&self.identities, issuer)?)
            .or_broken("cannot sign in memory")?;
        for other in others {
            envelope
                .add_signature(other.as_str(), identity(&self.identities, other)?)
                .or_broken("cannot sign in memory")?;
        }
        Ok(envelope)
    }
}

fn identity<'a>(
    identities: &'a BTreeMap<MemberId, IdentityKey>,
    member: &MemberId,
) -> Outcome<&'a IdentityKey> {
    identities
        .get(member)
        .ok_or_else(|| Failure::usage(format!("the policy has no member {member}")))
}
