//! What of a decision is shown to whom: who asks for signatures learns which limit was hit, not how much the organisation
//! spent or may spend.

use countersign_policy::{Decision, LimitId, Reason};

use crate::lifecycle::Why;

/// How much of a decision is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Everything.
    Numbers,
    /// Limits by their name alone.
    NamesOnly,
}

impl Sight {
    /// The decision as it is shown. What is left out stands in the second part by name.
    pub(crate) fn decision(self, decision: &Decision) -> (Decision, Vec<LimitId>) {
        let (reasons, limits) = self.reasons(&decision.reasons);
        let shown = Decision {
            reasons,
            ..decision.clone()
        };
        (shown, limits)
    }

    /// The reason for an end as it is shown.
    pub(crate) fn why(self, why: &Why) -> (Why, Vec<LimitId>) {
        let (reasons, limits) = self.reasons(&why.reasons);
        let mut shown = Why {
            reasons,
            ..why.clone()
        };
        if self == Self::NamesOnly && !limits.is_empty() {
            // Nodes say in their own words what they refused, numbers among them.
            for text in shown.nodes.values_mut() {
                *text = "refuses: a limit would be passed".to_owned();
            }
        }
        (shown, limits)
    }

    fn reasons(self, reasons: &[Reason]) -> (Vec<Reason>, Vec<LimitId>) {
        let limits = limits(reasons);
        let shown = reasons.iter().filter(|reason| match self {
            Self::Numbers => true,
            Self::NamesOnly => !matches!(reason, Reason::Limit(_)),
        });
        (shown.cloned().collect(), limits)
    }
}

/// The limits that were hit, by name.
pub(crate) fn limits(reasons: &[Reason]) -> Vec<LimitId> {
    let hits = reasons.iter().filter_map(|reason| match reason {
        Reason::Limit(hit) => Some(hit.limit.clone()),
        _ => None,
    });
    let mut limits: Vec<LimitId> = hits.collect();
    limits.sort();
    limits.dedup();
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use countersign_policy::limits::LimitHit;
    use countersign_policy::{Amount, MemberId, Outcome};

    fn hit() -> Reason {
        Reason::Limit(LimitHit {
            limit: LimitId::new("usdt-day").unwrap(),
            max: Amount::from(777_u64),
            used: Amount::from(555_u64),
            requested: Amount::from(333_u64),
            resets_at: None,
        })
    }

    #[test]
    fn numbers_of_limits_are_shown_to_whom_they_are_for() {
        let decision = Decision {
            outcome: Outcome::Blocked,
            rules: Vec::new(),
            reasons: vec![hit(), Reason::TransactionExpired],
            missing: Vec::new(),
        };
        let (shown, limits) = Sight::NamesOnly.decision(&decision);
        assert_eq!(shown.reasons, [Reason::TransactionExpired]);
        assert_eq!(limits, [LimitId::new("usdt-day").unwrap()]);
        assert_eq!(Sight::Numbers.decision(&decision).0, decision);
    }

    #[test]
    fn no_number_leaks_through_what_nodes_say() {
        let node = MemberId::new("node-1").unwrap();
        let why = Why {
            reasons: vec![hit()],
            nodes: BTreeMap::from([(node, hit().to_string())]),
            ..Why::new("limit", "a limit would be passed")
        };
        let text = serde_json::to_string(&Sight::NamesOnly.why(&why).0).unwrap();
        for number in ["777", "555", "333"] {
            assert!(!text.contains(number), "{text}");
        }
        let text = serde_json::to_string(&Sight::Numbers.why(&why).0).unwrap();
        assert!(text.contains("777"));
    }
}
