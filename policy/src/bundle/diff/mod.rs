//! What a bundle changes against the one before, in words, and which way each change points.
//!
//! Reviewers read first what becomes allowed that was not. A change whose direction cannot be told from the content alone
//! (a Cedar file) counts as loosening: it must be read.

mod holdings;
mod money;
mod people;

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::PolicyBundle;

/// Which way a change points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Something is allowed that was not, or takes less to be allowed.
    Loosens,
    /// Something is no longer allowed, or takes more.
    Tightens,
    /// Neither: names, descriptions.
    Neutral,
}

/// One change between two bundles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BundleChange {
    /// Which way it points; what loosens comes first.
    pub direction: Direction,
    /// Where, as a path into the bundle: `rules[hot-usdt].max_amount`.
    pub at: String,
    /// What changes, in words.
    pub what: String,
}

/// What `after` changes against `before`: what loosens first, then by place.
///
/// ```
/// use countersign_policy::bundle::{Direction, changes};
/// use countersign_policy::testing::TestDeployment;
///
/// let before = TestDeployment::with_single_keys(3, 2).content().clone();
/// let mut after = before.clone();
/// after.quorums.policy = 1;
/// let found = changes(&before, &after);
/// assert_eq!(found[0].direction, Direction::Loosens);
/// assert_eq!(found[0].at, "quorums.policy");
/// ```
pub fn changes(before: &PolicyBundle, after: &PolicyBundle) -> Vec<BundleChange> {
    let mut changes = Changes(Vec::new());
    people::members(&mut changes, before, after);
    people::groups(&mut changes, before, after);
    people::webauthn(&mut changes, before, after);
    people::quorums(&mut changes, before, after);
    people::timing(&mut changes, before, after);
    holdings::keys(&mut changes, before, after);
    holdings::wallets(&mut changes, before, after);
    holdings::ledger_groups(&mut changes, before, after);
    money::assets(&mut changes, before, after);
    money::address_book(&mut changes, before, after);
    money::rules(&mut changes, before, after);
    money::cedar(&mut changes, before, after);
    money::limits(&mut changes, before, after);
    money::nonce_leads(&mut changes, before, after);
    money::reference(&mut changes, before, after);
    money::fee_caps(&mut changes, before, after);
    changes.text("organisation", &before.organisation, &after.organisation);
    changes.0.sort();
    changes.0
}

struct Changes(Vec<BundleChange>);

impl Changes {
    fn add(&mut self, direction: Direction, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(BundleChange {
            direction,
            at: at.into(),
            what: what.into(),
        });
    }

    fn loosens(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.add(Direction::Loosens, at, what);
    }

    fn tightens(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.add(Direction::Tightens, at, what);
    }

    /// A name or description.
    fn text(&mut self, at: impl Into<String>, before: &str, after: &str) {
        if before != after {
            let what = format!("was {before:?}, becomes {after:?}");
            self.add(Direction::Neutral, at, what);
        }
    }

    /// A bound of which more allows more.
    fn cap<T: Ord + std::fmt::Display>(&mut self, at: impl Into<String>, before: &T, after: &T) {
        if before != after {
            let (direction, how) = match after > before {
                true => (Direction::Loosens, "raised"),
                false => (Direction::Tightens, "lowered"),
            };
            self.add(direction, at, format!("{how} from {before} to {after}"));
        }
    }

    /// A demand of which more allows less.
    fn demand<T: Ord + std::fmt::Display>(&mut self, at: impl Into<String>, before: &T, after: &T) {
        if before != after {
            let (direction, how) = match after < before {
                true => (Direction::Loosens, "lowered"),
                false => (Direction::Tightens, "raised"),
            };
            self.add(direction, at, format!("{how} from {before} to {after}"));
        }
    }

    /// What entered and what left a set of which each entry allows something.
    fn members<T: Ord + std::fmt::Display>(
        &mut self,
        at: &str,
        before: impl IntoIterator<Item = T>,
        after: impl IntoIterator<Item = T>,
    ) {
        let before: std::collections::BTreeSet<T> = before.into_iter().collect();
        let after: std::collections::BTreeSet<T> = after.into_iter().collect();
        for new in after.difference(&before) {
            self.loosens(at, format!("{new} is added"));
        }
        for gone in before.difference(&after) {
            self.tightens(at, format!("{gone} is removed"));
        }
    }
}

/// Records of two bundles side by side, by what identifies them.
fn paired<'a, T, K: Ord>(
    before: &'a [T],
    after: &'a [T],
    key: impl Fn(&'a T) -> K,
) -> BTreeMap<K, (Option<&'a T>, Option<&'a T>)> {
    let mut pairs: BTreeMap<K, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for record in before {
        pairs.entry(key(record)).or_default().0 = Some(record);
    }
    for record in after {
        pairs.entry(key(record)).or_default().1 = Some(record);
    }
    pairs
}

fn listed<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|i| i.to_string()).collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(", "),
    }
}
