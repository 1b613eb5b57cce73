//! Who may do what at an API: one table of roles and actions for every call, read and write.
//!
//! A write is a statement, so its issuer is the one who acts. Whoever brings it may be somebody else (an approver's
//! signature sent by the author, a quorum's bundle sent by an operator): that is [`Action::Carry`], which a read token that
//! comes with a write is asked for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::bundle::{ActiveBundle, Role};
use crate::id::MemberId;

/// What is done at an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Ask for a signature.
    RequestSignature,
    /// Ask what would be decided, without any effect.
    Simulate,
    /// End a request that is not signed yet: one's own, or as an officer anybody's.
    CancelRequest,
    /// Approve or reject a request.
    ApproveRequest,
    /// Stop something at once.
    Freeze,
    /// Sign with others that freezes end.
    Unfreeze,
    /// Propose the next policy bundle.
    ProposePolicy,
    /// Sign a proposed policy bundle.
    ApprovePolicy,
    /// Stop an approved bundle before it counts.
    VetoPolicy,
    /// Order a key to be made.
    OrderCeremony,
    /// Say what became of a transaction.
    Observe,
    /// Bring statements that others signed.
    Carry,
    /// Read requests that one made.
    ReadOwnRequests,
    /// Read everybody's requests.
    ReadAllRequests,
    /// Read the numbers of a limit that was hit: what is left, and when it resets.
    ReadLimitNumbers,
    /// Read which rules were looked at for a request, and what would change the decision.
    ExplainDecision,
    /// Read wallets, addresses, keys, ceremonies and nodes.
    ReadDeployment,
    /// Read policy bundles, proposals and their history.
    ReadPolicy,
    /// Read which freezes are in force.
    ReadFreezes,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 19] = [
        Action::RequestSignature,
        Action::Simulate,
        Action::CancelRequest,
        Action::ApproveRequest,
        Action::Freeze,
        Action::Unfreeze,
        Action::ProposePolicy,
        Action::ApprovePolicy,
        Action::VetoPolicy,
        Action::OrderCeremony,
        Action::Observe,
        Action::Carry,
        Action::ReadOwnRequests,
        Action::ReadAllRequests,
        Action::ReadLimitNumbers,
        Action::ExplainDecision,
        Action::ReadDeployment,
        Action::ReadPolicy,
        Action::ReadFreezes,
    ];

    /// The action's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::RequestSignature => "request-signature",
            Action::Simulate => "simulate",
            Action::CancelRequest => "cancel-request",
            Action::ApproveRequest => "approve-request",
            Action::Freeze => "freeze",
            Action::Unfreeze => "unfreeze",
            Action::ProposePolicy => "propose-policy",
            Action::ApprovePolicy => "approve-policy",
            Action::VetoPolicy => "veto-policy",
            Action::OrderCeremony => "order-ceremony",
            Action::Observe => "observe",
            Action::Carry => "carry",
            Action::ReadOwnRequests => "read-own-requests",
            Action::ReadAllRequests => "read-all-requests",
            Action::ReadLimitNumbers => "read-limit-numbers",
            Action::ExplainDecision => "explain-decision",
            Action::ReadDeployment => "read-deployment",
            Action::ReadPolicy => "read-policy",
            Action::ReadFreezes => "read-freezes",
        }
    }

    /// Whether anything is different afterwards.
    pub const fn changes_something(self) -> bool {
        match self {
            Action::RequestSignature
            | Action::CancelRequest
            | Action::ApproveRequest
            | Action::Freeze
            | Action::Unfreeze
            | Action::ProposePolicy
            | Action::ApprovePolicy
            | Action::VetoPolicy
            | Action::OrderCeremony
            | Action::Observe
            | Action::Carry => true,
            Action::Simulate
            | Action::ReadOwnRequests
            | Action::ReadAllRequests
            | Action::ReadLimitNumbers
            | Action::ExplainDecision
            | Action::ReadDeployment
            | Action::ReadPolicy
            | Action::ReadFreezes => false,
        }
    }
}

/// Whether a role may do it. Everything that is not listed is refused.
pub const fn role_may(role: Role, action: Action) -> bool {
    use Role as R;
    // A machine with no network calls nobody: whoever comes in its name stole its key.
    if matches!(role, R::OfflineNode) {
        return false;
    }
    match action {
        Action::RequestSignature => matches!(role, R::PaymentService),
        Action::Simulate => matches!(
            role,
            R::PaymentService
                | R::SecurityOfficer
                | R::PolicyAuthor
                | R::PolicyApprover
                | R::Operator
                | R::Auditor
        ),
        Action::CancelRequest => matches!(role, R::PaymentService | R::SecurityOfficer),
        Action::ApproveRequest | Action::Unfreeze => matches!(role, R::SecurityOfficer),
        // What a node may freeze by itself is decided with the statement's content.
        Action::Freeze => matches!(role, R::SecurityOfficer | R::Node),
        Action::ProposePolicy | Action::OrderCeremony => matches!(role, R::PolicyAuthor),
        Action::ApprovePolicy | Action::VetoPolicy => matches!(role, R::PolicyApprover),
        Action::Observe => matches!(role, R::ChainObserver),
        // Statements prove themselves, whoever brings them; but who only reads brings nothing.
        Action::Carry => !matches!(role, R::Auditor),
        Action::ReadOwnRequests => matches!(role, R::PaymentService),
        Action::ReadAllRequests => !matches!(role, R::PaymentService | R::Node),
        Action::ReadLimitNumbers => {
            matches!(role, R::SecurityOfficer | R::PolicyApprover | R::Auditor)
        }
        Action::ExplainDecision => matches!(
            role,
            R::SecurityOfficer | R::PolicyAuthor | R::PolicyApprover | R::Auditor
        ),
        // What governs a member is no secret from it: bundles are verified by everybody.
        Action::ReadDeployment | Action::ReadPolicy | Action::ReadFreezes => true,
    }
}

/// Whether one of `roles` may do it.
pub fn roles_may(roles: &BTreeSet<Role>, action: Action) -> bool {
    roles.iter().any(|role| role_may(*role, action))
}

/// Whether a member of `bundle` may do it. Nobody else may do anything.
pub fn member_may(bundle: &ActiveBundle, member: &MemberId, action: Action) -> bool {
    bundle
        .member(member)
        .is_some_and(|m| roles_may(&m.roles, action))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{AUDITOR, OFFICER, PAYMENTS, TestDeployment, member};

    #[test]
    fn the_whole_matrix_is_reviewed() {
        let columns: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
        let mut table = format!("{:20}{}\n", "", columns.join(" "));
        for action in Action::ALL {
            table.push_str(&format!("{:20}", action.as_str()));
            for (role, name) in Role::ALL.into_iter().zip(&columns) {
                let mark = if role_may(role, action) { "yes" } else { "-" };
                table.push_str(&format!("{mark:width$} ", width = name.len()));
            }
            table.truncate(table.trim_end().len());
            table.push('\n');
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn an_auditor_changes_nothing() {
        for action in Action::ALL {
            assert!(
                !(action.changes_something() && role_may(Role::Auditor, action)),
                "{action:?}"
            );
        }
    }

    #[test]
    fn whoever_may_issue_a_statement_by_its_kind_may_by_its_action() {
        use crate::statement::Kind;
        for (action, kind) in [
            (Action::ApproveRequest, Kind::Approval),
            (Action::Freeze, Kind::Freeze),
            (Action::Unfreeze, Kind::Unfreeze),
            (Action::ProposePolicy, Kind::PolicyBundle),
            (Action::OrderCeremony, Kind::KeyCeremony),
            (Action::VetoPolicy, Kind::Veto),
            (Action::Observe, Kind::Observation),
        ] {
            for role in Role::ALL {
                assert_eq!(
                    kind.issuers().contains(&role),
                    role_may(role, action),
                    "{action:?} {role:?}"
                );
            }
        }
    }

    #[test]
    fn who_is_no_member_may_do_nothing() {
        let bundle = TestDeployment::with_single_keys(3, 2).bundle();
        for action in Action::ALL {
            assert!(!member_may(&bundle, &member("stranger"), action));
        }
        assert!(member_may(
            &bundle,
            &member(PAYMENTS),
            Action::RequestSignature
        ));
        assert!(!member_may(
            &bundle,
            &member(AUDITOR),
            Action::RequestSignature
        ));
        assert!(member_may(&bundle, &member(OFFICER), Action::Freeze));
    }

    #[test]
    fn names_are_those_of_the_wire() {
        for action in Action::ALL {
            let json = serde_json::to_string(&action).unwrap();
            assert_eq!(json, format!("\"{}\"", action.as_str()));
        }
    }
}
