//! Who signs: a set of participants, and for CGGMP24 a presignature that all of them hold.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign_policy::bundle::{ActiveBundle, KeyRecord};
use countersign_policy::limits::{LedgerGroup, Limit, LimitBook, Spend};
use countersign_policy::statement::{SignRequest, Verified};
use countersign_policy::{
    DerivationPath, Facts, Hash, KeyId, LedgerGroupId, LimitId, MemberId, Protocol,
};
use countersign_signer::wire::Pools;
use tokio::task::JoinSet;

use crate::core::{Core, now};

/// How long what the nodes said about their pools is believed when nothing is left of it.
const POOLS_AGE: Duration = Duration::from_millis(200);
/// Presignatures named in authorizations that are remembered, so that none is named twice.
const MAX_NAMED: usize = 65_536;

/// Who signs, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// In ascending order.
    pub(crate) participants: Vec<MemberId>,
    /// Further nodes that reserve and confirm, in ascending order.
    pub(crate) witnesses: Vec<MemberId>,
    pub(crate) presignature: Option<Hash>,
}

/// Why nobody can be chosen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoChoice {
    /// Fewer than t nodes answer.
    TooFewNodes { up: usize, needed: usize },
    /// No signer set has a presignature.
    NoPresignature,
    /// Nodes refuse to sign with each other.
    Banned,
    /// Fewer nodes of a ledger group answer than must reserve.
    TooFewWitnesses {
        group: LedgerGroupId,
        up: usize,
        needed: usize,
    },
}

impl std::fmt::Display for NoChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooFewNodes { up, needed } => {
                write!(f, "{up} of the key's nodes answer, {needed} are needed")
            }
            Self::NoPresignature => {
                f.write_str("no signer set has a presignature for this path yet")
            }
            Self::Banned => f.write_str("every signer set has a node that another one banned"),
            Self::TooFewWitnesses { group, up, needed } => write!(
                f,
                "{up} nodes of ledger group {group} answer, {needed} must reserve for its limits"
            ),
        }
    }
}

/// What a signature needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: &'a KeyRecord,
    pub(crate) path: &'a DerivationPath,
    /// The ledger groups of the limits that apply: of each, its quorum reserves, signing or not.
    pub(crate) ledgers: &'a [LedgerGroup],
}

/// Chooses participants and witnesses. Those in `avoid` come last; `among` restricts who signs.
pub(crate) async fn choose(
    core: &Core,
    wanted: &Wanted<'_>,
    avoid: &BTreeSet<MemberId>,
    among: Option<&BTreeSet<MemberId>>,
) -> Result<Choice, NoChoice> {
    let Wanted { key, path, ledgers } = *wanted;
    if core.bundle.current().is_offline(key) {
        return offline(core, key, ledgers, avoid);
    }
    let needed = usize::from(key.threshold);
    let bundle = core.bundle.current().digest();
    let mut order = core.health.order(&key.nodes, avoid, bundle);
    order.retain(|node| among.is_none_or(|set| set.contains(node)));
    // A node that never answered a status call may just not have been asked yet.
    let down: Vec<_> = order.iter().filter(|n| core.health.is_down(n)).collect();
    let up = order.len().saturating_sub(down.len());
    if up < needed {
        return Err(NoChoice::TooFewNodes { up, needed });
    }
    // Before a presignature is taken for nothing.
    witnesses(core, ledgers, &[], avoid)?;
    let mut refusal = NoChoice::Banned;
    for fresh in [false, true] {
        if fresh {
            if key.protocol != Protocol::Cggmp24 || refusal != NoChoice::NoPresignature {
                break;
            }
            core.pools.refresh(core, key).await;
        }
        match pick(core, key, path, &order, needed) {
            Ok(choice) => {
                let witnesses = witnesses(core, ledgers, &choice.participants, avoid)?;
                return Ok(Choice {
                    witnesses,
                    ..choice
                });
            }
            Err(reason) => refusal = reason,
        }
    }
    Err(refusal)
}

/// One machine of the key, which nobody can ask, and a quorum of witnesses for it.
fn offline(
    core: &Core,
    key: &KeyRecord,
    ledgers: &[LedgerGroup],
    avoid: &BTreeSet<MemberId>,
) -> Result<Choice, NoChoice> {
    // Which of several machines the package goes to is for people to say: the first one, until they do.
    let participants: Vec<MemberId> = key.nodes.iter().take(1).cloned().collect();
    Ok(Choice {
        witnesses: witnesses(core, ledgers, &participants, avoid)?,
        participants,
        presignature: None,
    })
}

/// The ledger groups of the limits that count this request, and that of a wallet whose key lies in an HSM.
pub(crate) fn ledgers(
    bundle: &ActiveBundle,
    verified: &Verified<SignRequest>,
    facts: &Facts,
) -> Vec<LedgerGroup> {
    let content = bundle.content();
    let wallet = bundle.wallet(&verified.body().wallet);
    let own = wallet.and_then(|w| w.ledger_group.as_ref());
    if content.limits.is_empty() && own.is_none() {
        return Vec::new();
    }
    let limits = limits_of(bundle, verified, facts);
    let groups = content.ledger_groups.iter().filter(|group| {
        let of_group = |l: &&Limit| l.ledger_group == group.id && limits.contains(&l.id);
        own == Some(&group.id) || content.limits.iter().any(|l| of_group(&l))
    });
    groups.cloned().collect()
}

/// The limits that count this request.
pub(crate) fn limits_of(
    bundle: &ActiveBundle,
    verified: &Verified<SignRequest>,
    facts: &Facts,
) -> BTreeSet<LimitId> {
    let digests = [Hash::from_bytes(*facts.transaction().digest().as_bytes())];
    let body = verified.body();
    let spend = Spend::asked(facts, &body.wallet, verified.issuer(), &digests, now());
    let book = LimitBook::of(bundle.content());
    book.applies(&spend).cloned().collect()
}

/// Whom it takes besides the participants so that the quorum of every ledger group reserves. The best nodes come first, and
/// one may stand for several groups.
fn witnesses(
    core: &Core,
    ledgers: &[LedgerGroup],
    participants: &[MemberId],
    avoid: &BTreeSet<MemberId>,
) -> Result<Vec<MemberId>, NoChoice> {
    let bundle = core.bundle.current().digest();
    let mut chosen: BTreeSet<MemberId> = BTreeSet::new();
    for group in ledgers {
        let needed = usize::from(group.quorum);
        let reserves = |node: &&MemberId| participants.contains(node) || chosen.contains(*node);
        let have = group.nodes.iter().filter(reserves).count();
        let missing = needed.saturating_sub(have);
        let more: Vec<MemberId> = core
            .health
            .order_again(&group.nodes, avoid, bundle)
            .into_iter()
            .filter(|node| !reserves(&node) && !core.health.is_down(node))
            .take(missing)
            .collect();
        if more.len() < missing {
            return Err(NoChoice::TooFewWitnesses {
                group: group.id.clone(),
                up: have.saturating_add(more.len()),
                needed,
            });
        }
        chosen.extend(more);
    }
    Ok(chosen.into_iter().collect())
}

fn pick(
    core: &Core,
    key: &KeyRecord,
    path: &DerivationPath,
    order: &[MemberId],
    needed: usize,
) -> Result<Choice, NoChoice> {
    let mut refusal = NoChoice::Banned;
    for set in Subsets::new(order.len(), needed) {
        let mut participants: Vec<MemberId> =
            set.iter().filter_map(|i| order.get(*i)).cloned().collect();
        participants.sort();
        let banned = participants.iter().enumerate().any(|(i, a)| {
            let others = participants.iter().skip(i.saturating_add(1));
            others
                .into_iter()
                .any(|b| core.health.banned(&key.id, a, b))
        });
        if banned {
            continue;
        }
        if key.protocol != Protocol::Cggmp24 {
            return Ok(Choice {
                participants,
                witnesses: Vec::new(),
                presignature: None,
            });
        }
        match core.pools.take(&key.id, path, &participants) {
            Some(id) => {
                return Ok(Choice {
                    participants,
                    witnesses: Vec::new(),
                    presignature: Some(id),
                });
            }
            None => refusal = NoChoice::NoPresignature,
        }
    }
    Err(refusal)
}

/// The subsets of `size` of `0..count` in lexicographic order: the best ranked first.
struct Subsets {
    count: usize,
    next: Option<Vec<usize>>,
}

impl Subsets {
    fn new(count: usize, size: usize) -> Self {
        let next = (size <= count && size > 0).then(|| (0..size).collect());
        Self { count, next }
    }
}

impl Iterator for Subsets {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.take()?;
        let size = current.len();
        // The last place that can still move up.
        let place = (0..size).rev().find(|place| {
            let room = self.count.saturating_sub(size.saturating_sub(*place));
            current.get(*place).is_some_and(|value| *value < room)
        });
        if let Some(place) = place {
            let start = current.get(place).map_or(0, |v| v.saturating_add(1));
            let mut next: Vec<usize> = current.iter().copied().take(place).collect();
            let more = size.saturating_sub(place);
            next.extend((0..more).map(|i| start.saturating_add(i)));
            self.next = Some(next);
        }
        Some(current)
    }
}

type PoolKey = (KeyId, DerivationPath, Vec<MemberId>);

/// What the nodes said about their presignature pools, less what this process named already. Another coordinator may name
/// the same one at the same time: the nodes burn it for one of the two and refuse the other, which tries again.
#[derive(Debug, Default)]
pub(crate) struct PresignaturePools {
    inner: Mutex<Inner>,
    refreshing: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Inner {
    available: HashMap<PoolKey, VecDeque<Hash>>,
    named: HashSet<Hash>,
    named_order: VecDeque<Hash>,
    /// A node refused a presignature that it was believed to have.
    doubted: bool,
}

impl PresignaturePools {
    /// Forgets what the nodes said about a key's pools: one of them had less than that. The next choice asks again.
    pub(crate) fn doubt(&self, key: &KeyId) {
        let mut inner = self.lock();
        inner.available.retain(|(of, _, _), _| of != key);
        inner.doubted = true;
    }

    fn take(&self, key: &KeyId, path: &DerivationPath, signers: &[MemberId]) -> Option<Hash> {
        let mut inner = self.lock();
        let pool = (key.clone(), path.clone(), signers.to_vec());
        let id = inner.available.get_mut(&pool)?.pop_front()?;
        inner.named.insert(id);
        inner.named_order.push_back(id);
        if inner.named_order.len() > MAX_NAMED
            && let Some(old) = inner.named_order.pop_front()
        {
            inner.named.remove(&old);
        }
        Some(id)
    }

    /// Asks the key's nodes what they have. A presignature counts when every node of its signer set has it.
    pub(crate) async fn refresh(&self, core: &Core, key: &KeyRecord) {
        let mut last = self.refreshing.lock().await;
        let doubted = std::mem::take(&mut self.lock().doubted);
        if !doubted && last.is_some_and(|at| at.elapsed() < POOLS_AGE) {
            return;
        }
        let mut calls = JoinSet::new();
        for node in &key.nodes {
            let (name, call) = (node.clone(), core.nodes.pools(node));
            calls.spawn(async move { (name, call.await) });
        }
        let mut answers = BTreeMap::new();
        while let Some(answer) = calls.join_next().await {
            if let Ok((node, Ok(pools))) = answer {
                answers.insert(node, pools);
            }
        }
        self.learn(&answers);
        *last = Some(Instant::now());
    }

    fn learn(&self, answers: &BTreeMap<MemberId, Pools>) {
        let mut held: HashMap<PoolKey, BTreeMap<&MemberId, &Vec<Hash>>> = HashMap::new();
        for (node, pools) in answers {
            for entry in &pools.pools {
                let pool = (entry.key.clone(), entry.path.clone(), entry.signers.clone());
                held.entry(pool).or_default().insert(node, &entry.available);
            }
        }
        let mut inner = self.lock();
        for (pool, by_node) in held {
            let complete = pool.2.iter().all(|node| by_node.contains_key(node));
            let first = pool.2.first().and_then(|node| by_node.get(node));
            let ids: VecDeque<Hash> = match (complete, first) {
                (true, Some(first)) => first
                    .iter()
                    .filter(|id| by_node.values().all(|ids| ids.contains(id)))
                    .filter(|id| !inner.named.contains(id))
                    .copied()
                    .collect(),
                _ => VecDeque::new(),
            };
            inner.available.insert(pool, ids);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic between the calls of one change could at worst forget a named presignature; nodes refuse it then.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the pools of all CGGMP24 keys fresh.
pub(crate) async fn refresh_pools(core: &Arc<Core>) {
    let bundle = core.bundle.current();
    for key in &bundle.content().keys {
        if key.protocol == Protocol::Cggmp24 {
            core.pools.refresh(core, key).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_signer::wire::PoolEntry;

    #[test]
    fn subsets_come_in_order_of_rank_and_none_is_left_out() {
        let all: Vec<Vec<usize>> = Subsets::new(4, 2).collect();
        assert_eq!(all, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert_eq!(Subsets::new(5, 3).count(), 10);
        assert_eq!(Subsets::new(3, 3).count(), 1);
        assert_eq!(Subsets::new(2, 3).count(), 0);
    }

    #[test]
    fn a_presignature_is_named_once_and_only_if_all_signers_have_it() {
        let pools = PresignaturePools::default();
        let members = |names: &[&str]| -> Vec<MemberId> {
            names.iter().map(|n| MemberId::new(*n).unwrap()).collect()
        };
        let signers = members(&["a", "b"]);
        let key = KeyId::new("k").unwrap();
        let (one, two) = (Hash::sha256(b"1"), Hash::sha256(b"2"));
        let entry = |available: Vec<Hash>| Pools {
            process: Hash::ZERO,
            pools: vec![PoolEntry {
                key: key.clone(),
                path: DerivationPath::master(),
                signers: signers.clone(),
                available,
            }],
        };
        let answers = BTreeMap::from([
            (signers[0].clone(), entry(vec![one, two])),
            (signers[1].clone(), entry(vec![two])),
        ]);
        pools.learn(&answers);
        let take = || pools.take(&key, &DerivationPath::master(), &signers);
        assert_eq!(take(), Some(two));
        assert_eq!(take(), None);
        pools.learn(&answers);
        assert_eq!(take(), None, "named already");
        let three = Hash::sha256(b"3");
        let answers = signers
            .iter()
            .map(|node| (node.clone(), entry(vec![three])))
            .collect();
        pools.learn(&answers);
        pools.doubt(&key);
        assert_eq!(take(), None, "no node is believed about the key");
        pools.learn(&answers);
        assert_eq!(take(), Some(three));
    }
}
