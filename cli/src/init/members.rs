//! Who is in a fresh deployment.

use std::path::PathBuf;

use countersign_policy::bundle::{Group, Role};
use countersign_policy::{GroupId, IdentityKey, MemberId};
use rand_core::OsRng;

use crate::failure::{Failure, OrFail as _, Outcome};

/// The policy author.
pub const AUTHOR: &str = "author";
/// The payment service.
pub const PAYMENTS: &str = "payments";
/// The coordinator.
pub const COORDINATOR: &str = "coordinator-1";
/// How many approvers there are; all of them must sign.
pub const APPROVERS: u16 = 2;
/// How many security officers there are: one freezes, two of them unfreeze.
pub const OFFICERS: u16 = 3;
/// How many chain observers there are; both must say what became of a transaction.
pub const OBSERVERS: u16 = 2;

/// A member with its secrets.
pub struct Identity {
    /// The member's id.
    pub id: MemberId,
    /// For people.
    pub name: String,
    /// One role each: nobody holds two.
    pub role: Role,
    /// The statement key.
    pub key: IdentityKey,
    /// The key for reading the coordinator's API; machines have none.
    pub api_key: Option<IdentityKey>,
}

/// Fresh keys for everybody.
pub fn identities(nodes: u16) -> Outcome<Vec<Identity>> {
    let mut all = Vec::new();
    for number in 1..=nodes {
        all.push(identity(
            &format!("node-{number}"),
            &format!("Signer node {number}"),
            Role::Node,
        )?);
    }
    all.push(identity(COORDINATOR, "Coordinator 1", Role::Coordinator)?);
    all.push(identity(PAYMENTS, "Payment service", Role::PaymentService)?);
    all.push(identity(AUTHOR, "Policy author", Role::PolicyAuthor)?);
    for number in 1..=APPROVERS {
        let (id, name) = (
            format!("approver-{number}"),
            format!("Policy approver {number}"),
        );
        all.push(identity(&id, &name, Role::PolicyApprover)?);
    }
    for number in 1..=OFFICERS {
        let (id, name) = (
            format!("officer-{number}"),
            format!("Security officer {number}"),
        );
        all.push(identity(&id, &name, Role::SecurityOfficer)?);
    }
    for number in 1..=OBSERVERS {
        let (id, name) = (
            format!("observer-{number}"),
            format!("Chain observer {number}"),
        );
        all.push(identity(&id, &name, Role::ChainObserver)?);
    }
    all.push(identity("operator-1", "Operator 1", Role::Operator)?);
    all.push(identity("auditor-1", "Auditor 1", Role::Auditor)?);
    Ok(all)
}

fn identity(id: &str, name: &str, role: Role) -> Outcome<Identity> {
    let machine = matches!(role, Role::Node | Role::Coordinator);
    Ok(Identity {
        id: MemberId::new(id).or_broken("cannot name a member")?,
        name: name.to_owned(),
        role,
        key: IdentityKey::generate(&mut OsRng),
        api_key: (!machine).then(|| IdentityKey::generate(&mut OsRng)),
    })
}

/// Who approves what: the first two officers are treasury, the third is security.
pub fn groups() -> Outcome<Vec<Group>> {
    let group = |id: &str, officers: &[u16]| -> Outcome<Group> {
        let members: Result<Vec<MemberId>, _> = officers
            .iter()
            .map(|number| MemberId::new(format!("officer-{number}")))
            .collect();
        Ok(Group {
            id: GroupId::new(id).or_broken("cannot name a group")?,
            members: members.or_broken("cannot name a member")?,
        })
    };
    Ok(vec![group("security", &[3])?, group("treasury", &[1, 2])?])
}

/// The member of this name.
pub fn the<'a>(members: &'a [Identity], id: &str) -> Outcome<&'a Identity> {
    let found = members.iter().find(|m| m.id.as_str() == id);
    found.ok_or_else(|| Failure::broken(format!("there is no member {id}")))
}

impl Identity {
    /// Whether it runs as a process with a TLS certificate.
    pub fn is_machine(&self) -> bool {
        self.is_node() || self.role == Role::Coordinator
    }

    /// Whether it is a signer node.
    pub fn is_node(&self) -> bool {
        self.role == Role::Node
    }

    /// Whether it signs bundles and ceremonies.
    pub fn is_approver(&self) -> bool {
        self.role == Role::PolicyApprover
    }

    /// Where its files are, below the deployment's folder.
    pub fn folder(&self) -> PathBuf {
        let kind = match self.role {
            Role::Node => "nodes",
            Role::Coordinator => "coordinators",
            _ => "members",
        };
        PathBuf::from(kind).join(self.id.as_str())
    }
}
