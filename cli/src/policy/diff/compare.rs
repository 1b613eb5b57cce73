//! Two policies, part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use countersign_policy::bundle::{
    AddressBookEntry, Destinations, FeeCap, Group, KeyState, Member, PolicyBundle, TransferRule,
    Wallet,
};
use countersign_policy::limits::{LedgerGroup, Limit, LimitScope, Measure, Period};
use countersign_policy::rules::{Rule, RuleEffect, RuleSet};
use countersign_policy::{Amount, AssetId, Network, assets};
use serde::Serialize;

use super::{Difference, Effect};
use crate::policy::entries::write_period;

/// An old policy and a new one.
pub struct Comparison<'a> {
    old: &'a PolicyBundle,
    new: &'a PolicyBundle,
    found: Vec<Difference>,
}

use Effect::{Narrower, Other, Wider};

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

    fn add(&mut self, effect: Effect, at: impl Into<String>, what: impl Into<String>) {
        self.found.push(Difference {
            effect,
            at: at.into(),
            what: what.into(),
        });
    }

    /// A part whose effect only people can judge.
    fn opaque<T: PartialEq + Serialize>(&mut self, at: &str, old: &T, new: &T) {
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
    fn shrinks<T: Ord + Display>(&mut self, at: &str, what: &str, old: T, new: T) {
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
    fn entries<T: PartialEq + 'a>(
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

    /// Cedar rules by their ids. What a changed condition does is for people to judge, so it is shown as wider.
    fn cedar(&mut self) {
        let (Ok(old), Ok(new)) = (RuleSet::compile(self.old), RuleSet::compile(self.new)) else {
            self.opaque("rules/", &self.old.cedar, &self.new.cedar);
            return;
        };
        let by_id = |set: &RuleSet| -> BTreeMap<String, Line> {
            set.rules()
                .iter()
                .map(|rule| (rule.id().to_string(), Line::of(rule)))
                .collect()
        };
        let (old, new) = (by_id(&old), by_id(&new));
        for (id, line) in &new {
            let at = format!("rules/{}[{id}]", line.file);
            match old.get(id) {
                None => self.add(line.comes, at, format!("new: {}", line.text)),
                Some(was) if was.text != line.text => {
                    self.add(Wider, at, format!("{} becomes {}", was.text, line.text))
                }
                Some(_) => {}
            }
        }
        for (id, line) in old.iter().filter(|(id, _)| !new.contains_key(*id)) {
            let goes = if line.comes == Wider { Narrower } else { Wider };
            let at = format!("rules/{}[{id}]", line.file);
            self.add(goes, at, format!("is taken out: {}", line.text));
        }
    }

    fn limits(&mut self) {
        let both = self.entries(
            "ledger_groups",
            &self.old.ledger_groups,
            &self.new.ledger_groups,
            |g| g.id.to_string(),
            (Other, Other),
            |g| format!("{} of {}", g.quorum, join(&g.nodes)),
        );
        for (at, old, new) in both {
            let nodes = |g: &LedgerGroup| join(&g.nodes);
            self.shrinks(&at, "quorum", old.quorum, new.quorum);
            self.shrinks(&at, "liars tolerated", old.max_faulty, new.max_faulty);
            self.opaque(&at, &nodes(old), &nodes(new));
        }
        let (o, n) = (self.old, self.new);
        let both = self.entries(
            "limits",
            &o.limits,
            &n.limits,
            |l| l.id.to_string(),
            (Narrower, Wider),
            |l| limit(if o.limits.contains(l) { o } else { n }, l),
        );
        for (at, old, new) in both {
            self.limit(&at, old, new);
        }
    }

    fn limit(&mut self, at: &str, old: &Limit, new: &Limit) {
        let effect = limit_effect(old, new);
        let (before, after) = (limit(self.old, old), limit(self.new, new));
        self.add(effect, at, format!("{before} becomes {after}"));
    }
}

/// A Cedar rule on one line.
struct Line {
    file: String,
    /// What it does when it is new.
    comes: Effect,
    text: String,
}

impl Line {
    fn of(rule: &Rule) -> Self {
        let words: Vec<String> = rule
            .text()
            .split_whitespace()
            .map(ToOwned::to_owned)
            .collect();
        Self {
            file: rule.place().0.to_owned(),
            comes: match rule.effect() {
                RuleEffect::Permit => Wider,
                RuleEffect::Forbid => Narrower,
            },
            text: words.join(" "),
        }
    }
}

/// Narrower only when nothing but the value falls or the span grows.
fn limit_effect(old: &Limit, new: &Limit) -> Effect {
    if (&old.scope, &old.ledger_group) != (&new.scope, &new.ledger_group) {
        return Wider;
    }
    let falls = match (&old.measure, &new.measure) {
        (Measure::Amount { asset: a, max: x }, Measure::Amount { asset: b, max: y }) => {
            a == b && y <= x
        }
        (Measure::Count { max: x }, Measure::Count { max: y }) => y <= x,
        (Measure::Fee { network: a, max: x }, Measure::Fee { network: b, max: y }) => {
            a == b && y <= x
        }
        (Measure::Value { max: x }, Measure::Value { max: y }) => y <= x,
        _ => false,
    };
    let longer = match (&old.period, &new.period) {
        (Period::Rolling { seconds: a }, Period::Rolling { seconds: b }) => b >= a,
        (a, b) => a == b,
    };
    if falls && longer { Narrower } else { Wider }
}

fn rule(policy: &PolicyBundle, rule: &TransferRule) -> String {
    let needs = match &rule.needs {
        Some(needs) => format!(", with approvals of {needs}"),
        None => String::new(),
    };
    format!(
        "{} pays at most {} to {}, asked for by {}{needs}",
        rule.wallet,
        amount(policy, &rule.asset, rule.max_amount),
        destinations(&rule.destinations),
        join(&rule.initiators)
    )
}

fn limit(policy: &PolicyBundle, limit: &Limit) -> String {
    let most = match &limit.measure {
        Measure::Amount { asset, max } => amount(policy, asset, *max),
        Measure::Count { max } => format!("{max} transactions"),
        Measure::Fee { network, max } => format!("{} of fees", native(network, *max)),
        Measure::Value { max } => match &policy.reference {
            Some(reference) => format!(
                "{} {}",
                max.to_units(reference.decimals),
                reference.currency
            ),
            None => format!("{max} of the reference currency"),
        },
    };
    format!(
        "at most {most} over {}{}",
        write_period(&limit.period),
        scope(&limit.scope)
    )
}

fn scope(scope: &LimitScope) -> String {
    if *scope == LimitScope::default() {
        String::new()
    } else {
        format!(" of {}", json(scope))
    }
}

fn destinations(destinations: &Destinations) -> String {
    match destinations {
        Destinations::AddressBook => "the address book".to_owned(),
        Destinations::Labels { labels } => labels.join(", "),
        Destinations::Any => "ANYWHERE".to_owned(),
    }
}

fn breadth(destinations: &Destinations) -> u8 {
    match destinations {
        Destinations::Labels { .. } => 0,
        Destinations::AddressBook => 1,
        Destinations::Any => 2,
    }
}

fn amount(policy: &PolicyBundle, asset: &AssetId, amount: Amount) -> String {
    match policy.assets.iter().find(|known| known.asset == *asset) {
        Some(known) => format!(
            "{} {} on {}",
            amount.to_units(known.decimals),
            known.symbol,
            asset.network()
        ),
        None => format!("{amount} base units of {asset}"),
    }
}

fn native(network: &Network, amount: Amount) -> String {
    match assets::lookup(&network.native_asset()) {
        Some(known) => format!("{} {}", amount.to_units(known.decimals), known.symbol),
        None => format!("{amount} base units"),
    }
}

fn join<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
