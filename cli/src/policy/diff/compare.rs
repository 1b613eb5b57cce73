//! Two policies, part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use countersign_policy::bundle::{
    AddressBookEntry, Destinations, FeeCap, Group, KeyState, Member, PolicyBundle, TransferRule,
    Wallet,
};
use serde::Serialize;

use super::Effect::{Narrower, Other, Wider};
use super::describe::{amount, breadth, destinations, join, json, native, rule};
use super::{Difference, Effect};

/// An old policy and a new one.
pub struct Comparison<'a> {
    pub(super) old: &'a PolicyBundle,
    pub(super) new: &'a PolicyBundle,
    found: Vec<Difference>,
}

impl<'a> Comparison<'a> {
    /// Of two policies.
    pub fn new(old: &'a PolicyBundle, new: &'a PolicyBundle) -> Self {
        Self {
            old,
            new,
            found: Vec::new(),
        }
    }

    /// All differences.
    pub fn all(mut self) -> Vec<Difference> {
        let (old, new) = (self.old, self.new);
        if old.organisation != new.organisation {
            self.add(
                Other,
                "organisation",
                format!("becomes {:?}", new.organisation),
            );
        }
        self.members();
        self.groups();
        self.bounds();
        self.keys();
        self.wallets();
        self.money();
        self.cedar();
        self.limits();
        self.opaque("webauthn", &old.webauthn, &new.webauthn);
        self.opaque("reference", &old.reference, &new.reference);
        self.opaque("assets", &old.assets, &new.assets);
        self.found
    }

    pub(super) fn add(&mut self, effect: Effect, at: impl Into<String>, what: impl Into<String>) {
        self.found.push(Difference {
            effect,
            at: at.into(),
            what: what.into(),
        });
    }

    /// A part whose effect only people can judge.
    pub(super) fn opaque<T: PartialEq + Serialize>(&mut self, at: &str, old: &T, new: &T) {
        if old != new {
            let (old, new) = (json(old), json(new));
            self.add(Other, at, format!("{old} becomes {new}"));
        }
    }

    /// More of it allows more.
    fn grows<T: Ord + Display>(&mut self, at: &str, what: &str, old: T, new: T) {
        let effect = match new.cmp(&old) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => Wider,
            std::cmp::Ordering::Less => Narrower,
        };
        self.add(effect, at, format!("{what} {old} becomes {new}"));
    }

    /// Less of it allows more.
    pub(super) fn shrinks<T: Ord + Display>(&mut self, at: &str, what: &str, old: T, new: T) {
        let effect = match new.cmp(&old) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => Narrower,
            std::cmp::Ordering::Less => Wider,
        };
        self.add(effect, at, format!("{what} {old} becomes {new}"));
    }

    /// More elements allow more.
    fn set<T: Ord + Display>(&mut self, at: &str, what: &str, old: BTreeSet<T>, new: BTreeSet<T>) {
        for added in new.difference(&old) {
            self.add(Wider, at, format!("{what} {added} is added"));
        }
        for gone in old.difference(&new) {
            self.add(Narrower, at, format!("{what} {gone} is taken out"));
        }
    }

    /// Entries by name: those that come, those that go, those in both.
    pub(super) fn entries<T: PartialEq + 'a>(
        &mut self,
        section: &str,
        old: &'a [T],
        new: &'a [T],
        name: impl Fn(&T) -> String,
        (comes, goes): (Effect, Effect),
        describe: impl Fn(&T) -> String,
    ) -> Vec<(String, &'a T, &'a T)> {
        let by_name = |items: &'a [T]| -> BTreeMap<String, &'a T> {
            items.iter().map(|item| (name(item), item)).collect()
        };
        let (before, after) = (by_name(old), by_name(new));
        let mut both = Vec::new();
        for (name, item) in &after {
            let at = format!("{section}[{name}]");
            match before.get(name) {
                None => self.add(comes, at, format!("new: {}", describe(item))),
                Some(was) if was != item => both.push((at, *was, *item)),
                Some(_) => {}
            }
        }
        for (name, item) in &before {
            if !after.contains_key(name) {
                let at = format!("{section}[{name}]");
                self.add(goes, at, format!("is taken out: {}", describe(item)));
            }
        }
        both
    }

    fn members(&mut self) {
        let describe = |m: &Member| {
            let roles: Vec<&str> = m.roles.iter().map(|r| r.as_str()).collect();
            format!("{:?}, {}", m.name, roles.join(", "))
        };
        let both = self.entries(
            "members",
            &self.old.members,
            &self.new.members,
            |m| m.id.to_string(),
            (Wider, Narrower),
            describe,
        );
        for (at, old, new) in both {
            let roles = |m: &Member| m.roles.iter().map(|r| r.as_str()).collect();
            self.set(&at, "role", roles(old), roles(new));
            let keys = |m: &Member| m.keys.iter().map(|k| k.public_key.to_string()).collect();
            self.set(&at, "statement key", keys(old), keys(new));
            let credentials = |m: &Member| m.credentials.iter().map(|c| c.id.to_string()).collect();
            self.set(&at, "credential", credentials(old), credentials(new));
            self.opaque(&format!("{at}.name"), &old.name, &new.name);
            self.opaque(&format!("{at}.domains"), &old.domains, &new.domains);
        }
    }

    fn groups(&mut self) {
        let list = |g: &Group| join(&g.members);
        let both = self.entries(
            "groups",
            &self.old.groups,
            &self.new.groups,
            |g| g.id.to_string(),
            (Other, Other),
            list,
        );
        for (at, old, new) in both {
            let members = |g: &Group| g.members.iter().map(ToString::to_string).collect();
            self.set(&at, "approver", members(old), members(new));
        }
    }

    fn bounds(&mut self) {
        let (old, new) = (&self.old.quorums, &self.new.quorums);
        for (what, old, new) in [
            ("policy", old.policy, new.policy),
            ("ceremony", old.ceremony, new.ceremony),
            ("unfreeze", old.unfreeze, new.unfreeze),
            ("observation", old.observation, new.observation),
        ] {
            self.shrinks(&format!("quorums.{what}"), "needs", old, new);
        }
        let (old, new) = (&self.old.timing, &self.new.timing);
        for (what, old, new) in [
            (
                "max_clock_skew_seconds",
                old.max_clock_skew_seconds,
                new.max_clock_skew_seconds,
            ),
            (
                "max_request_life_seconds",
                old.max_request_life_seconds,
                new.max_request_life_seconds,
            ),
            (
                "max_authorization_life_seconds",
                old.max_authorization_life_seconds,
                new.max_authorization_life_seconds,
            ),
            (
                "max_approval_life_seconds",
                old.max_approval_life_seconds,
                new.max_approval_life_seconds,
            ),
        ] {
            self.grows(&format!("timing.{what}"), "seconds", old, new);
        }
        self.shrinks(
            "timing.activation_delay_seconds",
            "seconds for a veto",
            old.activation_delay_seconds,
            new.activation_delay_seconds,
        );
    }

    fn keys(&mut self) {
        let both = self.entries(
            "keys",
            &self.old.keys,
            &self.new.keys,
            |k| k.id.to_string(),
            (Wider, Narrower),
            |k| format!("{}, {} of {}", k.protocol, k.threshold, k.nodes.len()),
        );
        for (at, old, new) in both {
            let effect = match (old.state, new.state) {
                (_, KeyState::Active) => Wider,
                (KeyState::Active, _) => Narrower,
                _ => Other,
            };
            let (old, new) = (json(&old.state), json(&new.state));
            self.add(effect, at, format!("state {old} becomes {new}"));
        }
    }

    fn wallets(&mut self) {
        let describe = |w: &Wallet| format!("key {} at {} on {}", w.key, w.path, join(&w.networks));
        let both = self.entries(
            "wallets",
            &self.old.wallets,
            &self.new.wallets,
            |w| w.id.to_string(),
            (Wider, Narrower),
            describe,
        );
        for (at, old, new) in both {
            let networks = |w: &Wallet| w.networks.iter().map(ToString::to_string).collect();
            self.set(&at, "network", networks(old), networks(new));
            self.opaque(&format!("{at}.name"), &old.name, &new.name);
            self.opaque(&format!("{at}.tier"), &old.tier, &new.tier);
            if (&old.key, &old.path) != (&new.key, &new.path) {
                self.add(
                    Wider,
                    &at,
                    format!(
                        "key {} at {} becomes key {} at {}: other money",
                        old.key, old.path, new.key, new.path
                    ),
                );
            }
        }
    }

    fn money(&mut self) {
        let both = self.entries(
            "address_book",
            &self.old.address_book,
            &self.new.address_book,
            |e| format!("{} on {}", e.label, e.network),
            (Wider, Narrower),
            |e| e.address.to_string(),
        );
        for (at, old, new) in both {
            self.address(&at, old, new);
        }
        let (o, n) = (self.old, self.new);
        let both = self.entries(
            "rules",
            &o.rules,
            &n.rules,
            |r| r.id.to_string(),
            (Wider, Narrower),
            |r| rule(if o.rules.contains(r) { o } else { n }, r),
        );
        for (at, old, new) in both {
            self.rule(&at, old, new);
        }
        let both = self.entries(
            "fee_caps",
            &self.old.fee_caps,
            &self.new.fee_caps,
            |c| c.network.to_string(),
            (Wider, Narrower),
            |c| native(&c.network, c.max_fee),
        );
        for (at, old, new) in both {
            self.fee_cap(&at, old, new);
        }
    }

    fn address(&mut self, at: &str, old: &AddressBookEntry, new: &AddressBookEntry) {
        if old.address != new.address {
            self.add(
                Wider,
                at,
                format!("{} becomes ANOTHER ADDRESS: {}", old.address, new.address),
            );
        }
        self.shrinks(at, "active from", old.active_from, new.active_from);
    }

    fn rule(&mut self, at: &str, old: &TransferRule, new: &TransferRule) {
        if (&old.wallet, old.asset) != (&new.wallet, new.asset) {
            self.add(
                Wider,
                at,
                format!(
                    "{} paying {} becomes {} paying {}",
                    old.wallet, old.asset, new.wallet, new.asset
                ),
            );
            return;
        }
        if old.max_amount != new.max_amount {
            let effect = if new.max_amount > old.max_amount {
                Wider
            } else {
                Narrower
            };
            let (before, after) = (
                amount(self.old, &old.asset, old.max_amount),
                amount(self.new, &new.asset, new.max_amount),
            );
            self.add(effect, at, format!("at most {before} becomes {after}"));
        }
        let initiators = |r: &TransferRule| r.initiators.iter().map(ToString::to_string).collect();
        self.set(at, "initiator", initiators(old), initiators(new));
        match (&old.destinations, &new.destinations) {
            (a, b) if a == b => {}
            (Destinations::Labels { labels: a }, Destinations::Labels { labels: b }) => {
                let labels = |l: &[String]| l.iter().cloned().collect();
                self.set(at, "destination", labels(a), labels(b));
            }
            (a, b) => {
                let effect = if breadth(b) > breadth(a) {
                    Wider
                } else {
                    Narrower
                };
                self.add(
                    effect,
                    at,
                    format!("to {} becomes to {}", destinations(a), destinations(b)),
                );
            }
        }
        self.needs(at, old, new);
        self.opaque(&format!("{at}.kinds"), &old.kinds, &new.kinds);
    }

    fn needs(&mut self, at: &str, old: &TransferRule, new: &TransferRule) {
        let (what, effect) = match (&old.needs, &new.needs) {
            (a, b) if a == b => return,
            (Some(a), None) => (format!("approvals of {a} are no longer needed"), Wider),
            (None, Some(b)) => (format!("approvals of {b} are needed now"), Narrower),
            (Some(a), Some(b)) => (
                format!("approvals of {a} become {b}"),
                // Alternatives that are new can be easier than all there were.
                if b.alternatives()
                    .iter()
                    .all(|x| a.alternatives().contains(x))
                {
                    Narrower
                } else {
                    Wider
                },
            ),
            (None, None) => return,
        };
        self.add(effect, at, what);
    }

    fn fee_cap(&mut self, at: &str, old: &FeeCap, new: &FeeCap) {
        if old.max_fee != new.max_fee {
            let effect = if new.max_fee > old.max_fee {
                Wider
            } else {
                Narrower
            };
            let (before, after) = (
                native(&old.network, old.max_fee),
                native(&new.network, new.max_fee),
            );
            self.add(effect, at, format!("{before} becomes {after}"));
        }
        self.grows(
            at,
            "seconds to a transaction's expiration",
            old.max_lifetime_seconds.unwrap_or(0),
            new.max_lifetime_seconds.unwrap_or(0),
        );
    }
}
