//! What the active bundle says about limits, ready to be counted by.

use std::collections::BTreeMap;

use countersign_policy::bundle::PolicyBundle;
use countersign_policy::limits::{LimitBook, NonceLead, Period, Spend};
use countersign_policy::{LedgerGroupId, LimitId, MemberId};

/// The limits of one bundle with an empty book, and who must reserve what they count.
#[derive(Debug)]
pub(in crate::store) struct Rules {
    pub book: LimitBook,
    /// How far nonces may run ahead.
    pub leads: Vec<NonceLead>,
    /// Of the cumulative limits; one of a single transaction needs no ledger.
    quorums: BTreeMap<LimitId, Quorum>,
    /// Whether a limit counts until chain observers say what became of a transaction.
    pub holds_outstanding: bool,
    /// Of how many authors a claim may be a lie.
    pub max_faulty: usize,
}

#[derive(Debug)]
struct Quorum {
    group: LedgerGroupId,
    nodes: Vec<MemberId>,
    needed: usize,
}

/// Too few nodes of a limit's ledger group reserve a spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct TooFew {
    pub limit: LimitId,
    pub group: LedgerGroupId,
    pub needed: usize,
    pub found: usize,
}

impl Rules {
    /// What a bundle says.
    pub fn of(bundle: &PolicyBundle) -> Self {
        let mut quorums = BTreeMap::new();
        for limit in &bundle.limits {
            let group = bundle
                .ledger_groups
                .iter()
                .find(|g| g.id == limit.ledger_group);
            if limit.period == Period::Transaction {
                continue;
            }
            // A bundle with a limit of no group is not valid; if there were one, nobody could meet its quorum.
            let (nodes, needed) = group.map_or((Vec::new(), usize::MAX), |g| {
                (g.nodes.clone(), usize::from(g.quorum))
            });
            let quorum = Quorum {
                group: limit.ledger_group.clone(),
                nodes,
                needed,
            };
            quorums.insert(limit.id.clone(), quorum);
        }
        let groups = bundle.ledger_groups.iter();
        Self {
            book: LimitBook::of(bundle),
            leads: bundle.nonce_leads.clone(),
            quorums,
            holds_outstanding: holds_outstanding(bundle),
            max_faulty: groups.map(|g| usize::from(g.max_faulty)).max().unwrap_or(0),
        }
    }

    /// The first limit that counts `spend` and of whose group too few nodes are among `reservers`.
    pub fn too_few(&self, spend: &Spend, reservers: &[&MemberId]) -> Option<TooFew> {
        self.book.applies(spend).find_map(|limit| {
            let quorum = self.quorums.get(limit)?;
            let among = |node: &&&MemberId| quorum.nodes.contains(node);
            let found = reservers.iter().filter(among).count();
            (found < quorum.needed).then(|| TooFew {
                limit: limit.clone(),
                group: quorum.group.clone(),
                needed: quorum.needed,
                found,
            })
        })
    }
}

/// Whether a bundle has a limit that counts what is outstanding.
pub(in crate::store) fn holds_outstanding(bundle: &PolicyBundle) -> bool {
    let mut limits = bundle.limits.iter();
    limits.any(|limit| limit.period == Period::Outstanding)
}
