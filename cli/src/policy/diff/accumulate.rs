//! What adds up and what is written as Cedar: limits, ledger groups and rule files.

use std::collections::BTreeMap;

use countersign_policy::limits::{LedgerGroup, Limit, Measure, Period};
use countersign_policy::rules::{Rule, RuleEffect, RuleSet};

use super::Effect;
use super::Effect::{Narrower, Other, Wider};
use super::compare::Comparison;
use super::describe::{join, limit};

impl Comparison<'_> {
    /// Cedar rules by their ids. What a changed condition does is for people to judge, so it is shown as wider.
    pub(super) fn cedar(&mut self) {
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

    pub(super) fn limits(&mut self) {
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
