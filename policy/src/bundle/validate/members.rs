//! Who is who: roles that exclude each other, keys that are nobody else's, quorums that can be met.

use std::collections::BTreeMap;

use super::super::model::{Domains, Member, PolicyBundle, Role};
use super::Findings;
use crate::Protocol;
use crate::envelope::MAX_SIGNATURES;
use crate::id::MemberId;

/// Pairs of roles that nobody holds together.
const CONFLICTS: [(Role, Role, &str); 6] = [
    (
        Role::PolicyAuthor,
        Role::PolicyApprover,
        "writes and approves the rules",
    ),
    (
        Role::PaymentService,
        Role::SecurityOfficer,
        "initiates and approves payments",
    ),
    (
        Role::PaymentService,
        Role::PolicyAuthor,
        "initiates payments and writes the rules",
    ),
    (
        Role::PaymentService,
        Role::PolicyApprover,
        "initiates payments and approves the rules",
    ),
    (
        Role::PaymentService,
        Role::Operator,
        "initiates payments and operates the nodes that sign them",
    ),
    (
        Role::Operator,
        Role::SecurityOfficer,
        "operates nodes and approves payments",
    ),
];

/// Roles that nobody holds beside another one.
const ALONE: [(Role, &str); 5] = [
    (Role::Node, "a machine's role stands alone"),
    (
        Role::OfflineNode,
        "a machine's role stands alone: one with a network is a node, one without is an offline-node",
    ),
    (Role::Coordinator, "a machine's role stands alone"),
    (
        Role::Auditor,
        "nobody audits what they do themselves: an auditor has no other role",
    ),
    (
        Role::ChainObserver,
        "nobody observes the fate of what they initiate, approve or sign: an observer has no other role",
    ),
];

pub(super) fn members(findings: &mut Findings, bundle: &PolicyBundle) {
    findings.ascending(
        "members",
        &bundle.members.iter().map(|m| &m.id).collect::<Vec<_>>(),
    );
    let mut owners = BTreeMap::new();
    for member in &bundle.members {
        let at = format!("members[{}]", member.id);
        findings.text(format!("{at}.name"), &member.name);
        findings.require(
            !member.roles.is_empty(),
            format!("{at}.roles"),
            "a member without a role does nothing; leave it out",
        );
        findings.require(
            !member.keys.is_empty(),
            format!("{at}.keys"),
            "a member needs at least one key",
        );
        for (a, b, does) in CONFLICTS {
            let both = member.roles.contains(&a) && member.roles.contains(&b);
            findings.require(
                !both,
                format!("{at}.roles"),
                format!("nobody {does}: give one of the roles to somebody else"),
            );
        }
        for (alone, why) in ALONE {
            let mixed = member.roles.contains(&alone) && member.roles.len() > 1;
            findings.require(!mixed, format!("{at}.roles"), why);
        }
        for key in &member.keys {
            findings.require(
                key.public_key.is_usable(),
                format!("{at}.keys"),
                format!("{} is no usable Ed25519 key", key.public_key),
            );
            if let Some(other) = owners.insert(key.public_key, &member.id) {
                findings.add(
                    format!("{at}.keys"),
                    format!(
                        "{} is also a key of {other}: one key, one use",
                        key.public_key
                    ),
                );
            }
        }
        domains(findings, &at, member);
    }
}

fn domains(findings: &mut Findings, at: &str, member: &Member) {
    let machine = member.roles.contains(&Role::Node) || member.roles.contains(&Role::OfflineNode);
    match (&member.domains, machine) {
        (
            Some(Domains {
                administration,
                hosting,
            }),
            true,
        ) => {
            findings.text(format!("{at}.domains.administration"), administration);
            findings.text(format!("{at}.domains.hosting"), hosting);
        }
        (None, false) => {}
        (None, true) => findings.add(
            format!("{at}.domains"),
            "a node declares who administers and who hosts it",
        ),
        (Some(_), false) => findings.add(format!("{at}.domains"), "only nodes declare domains"),
    }
}

pub(super) fn quorums(findings: &mut Findings, bundle: &PolicyBundle) {
    let approvers = holders(bundle, Role::PolicyApprover);
    for (name, needed) in [
        ("policy", bundle.quorums.policy),
        ("ceremony", bundle.quorums.ceremony),
    ] {
        let at = format!("quorums.{name}");
        findings.require(needed >= 1, &at, "at least one approver besides the author");
        findings.require(
            usize::from(needed) <= approvers,
            &at,
            format!("{needed} approvers are needed and {approvers} exist: it could never be met"),
        );
        findings.require(
            usize::from(needed) < MAX_SIGNATURES,
            &at,
            format!("an envelope holds {MAX_SIGNATURES} signatures, the author's among them: it could never be met"),
        );
    }
    officers(findings, bundle);
    observers(findings, bundle);
    let authors = bundle
        .members
        .iter()
        .any(|m| m.roles.contains(&Role::PolicyAuthor));
    findings.require(
        authors,
        "members",
        "without a policy author no later bundle could be proposed",
    );
    findings.require(
        holders(bundle, Role::Node) > 0,
        "members",
        "without a node nobody could acknowledge a later bundle: none could follow this one",
    );
}

/// One officer freezes alone; ending a freeze takes more, as soon as there are more.
fn officers(findings: &mut Findings, bundle: &PolicyBundle) {
    let (officers, needed) = (
        holders(bundle, Role::SecurityOfficer),
        usize::from(bundle.quorums.unfreeze),
    );
    let at = "quorums.unfreeze";
    findings.require(needed >= 1, at, "at least one security officer");
    findings.require(
        officers < 2 || needed >= 2,
        at,
        format!(
            "{officers} officers exist: ask for at least two, so that nobody ends a freeze alone"
        ),
    );
    findings.require(
        officers == 0 || needed <= officers,
        at,
        format!("{needed} officers are needed and {officers} exist: no freeze could ever be ended"),
    );
    findings.require(
        needed <= MAX_SIGNATURES,
        at,
        format!("an envelope holds {MAX_SIGNATURES} signatures: it could never be met"),
    );
}

/// A quorum of observers gives amounts back to limits: never one alone.
fn observers(findings: &mut Findings, bundle: &PolicyBundle) {
    let (observers, needed) = (
        holders(bundle, Role::ChainObserver),
        usize::from(bundle.quorums.observation),
    );
    let at = "quorums.observation";
    findings.require(
        observers == 0 || needed >= 2,
        at,
        "there are chain observers: ask for at least two, so that nobody gives amounts back to limits alone",
    );
    findings.require(
        needed <= observers && needed <= MAX_SIGNATURES,
        at,
        format!(
            "{needed} observers are needed and {observers} exist: it could never be met; name more, or none and 0"
        ),
    );
}

fn holders(bundle: &PolicyBundle, role: Role) -> usize {
    let members = bundle.members.iter();
    members.filter(|m| m.roles.contains(&role)).count()
}

/// How many nodes share a domain, by what it is ("administration" or "hosting") and its name.
type DomainCounts = BTreeMap<(&'static str, String), usize>;

/// What keeps these from being nodes, and how many of them share a domain.
pub(super) fn domain_counts(
    bundle: &PolicyBundle,
    nodes: &[MemberId],
) -> (Vec<String>, DomainCounts) {
    let mut problems = Vec::new();
    let mut counts = DomainCounts::new();
    for node in nodes {
        let member = bundle
            .members
            .iter()
            .find(|m| m.id == *node && m.roles.contains(&Role::Node));
        let Some(member) = member else {
            problems.push(format!("{node} is no member with the role node"));
            continue;
        };
        let Some(domains) = &member.domains else {
            problems.push(format!("{node} declares no domains"));
            continue;
        };
        for (what, name) in [
            ("administration", &domains.administration),
            ("hosting", &domains.hosting),
        ] {
            // "AWS" and "aws" are the same provider.
            let count = counts.entry((what, name.to_lowercase())).or_default();
            *count = count.saturating_add(1);
        }
    }
    (problems, counts)
}

/// What keeps these nodes from holding a key: strangers among them, an administrator or host who would control a threshold of
/// them, or for an HSM key machines with and without a network.
pub(in crate::bundle) fn unfit_holders(
    bundle: &PolicyBundle,
    protocol: Protocol,
    nodes: &[MemberId],
    threshold: u16,
) -> Vec<String> {
    match protocol.is_hsm() {
        true => unfit_machines(bundle, nodes),
        false => shared_domains(bundle, nodes, threshold),
    }
}

/// Each machine of an HSM key signs alone, so there is nothing that domains could keep apart.
fn unfit_machines(bundle: &PolicyBundle, nodes: &[MemberId]) -> Vec<String> {
    let has = |id: &MemberId, role| {
        let members = bundle.members.iter();
        members
            .filter(|m| m.id == *id)
            .any(|m| m.roles.contains(&role))
    };
    let online = nodes.iter().filter(|n| has(n, Role::Node)).count();
    let offline = nodes.iter().filter(|n| has(n, Role::OfflineNode)).count();
    let strangers = nodes
        .iter()
        .filter(|n| !has(n, Role::Node) && !has(n, Role::OfflineNode));
    let mut problems: Vec<String> = strangers
        .map(|n| format!("{n} is no member with the role node or offline-node"))
        .collect();
    if online > 0 && offline > 0 {
        problems.push(
            "some of its machines have a network and some have none: a key is warm or cold, not both"
                .to_owned(),
        );
    }
    problems
}

fn shared_domains(bundle: &PolicyBundle, nodes: &[MemberId], threshold: u16) -> Vec<String> {
    let (mut problems, counts) = domain_counts(bundle, nodes);
    for ((what, name), count) in counts {
        if count >= usize::from(threshold) {
            problems.push(format!(
                "{count} nodes share the {what} domain {name:?} and could sign together"
            ));
        }
    }
    problems
}
