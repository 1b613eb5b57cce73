//! What strict validation does not see: rules that could fail while they are evaluated, and names that nothing has.
//!
//! Cedar skips a rule that fails, a `forbid` like any other, so a rule that can fail is not accepted at all. Everything
//! that this walk does not know is refused.

use std::collections::BTreeSet;

use cedar_policy::pst::{BinaryOp, Clause, EntityUID, Expr, Literal, Policy, UnaryOp, Var};

use super::compile::Names;
use super::schema::{TIERS, tier_name};
use crate::bundle::Role;
use crate::{Address, AssetId, IntentKind, Network};

/// Levels of an expression: more could exhaust the stack of whoever evaluates it.
const MAX_DEPTH: usize = 64;

/// What was found in one rule.
pub(super) struct Walk<'a> {
    names: &'a Names<'a>,
    /// The attributes of the context that the rule mentions.
    pub(super) mentions: BTreeSet<String>,
    /// How many levels deep the conditions are.
    pub(super) depth: usize,
    /// What is wrong, and what to do about it; each once.
    pub(super) problems: BTreeSet<(String, String)>,
}

impl<'a> Walk<'a> {
    /// Looks through all conditions of a rule.
    pub(super) fn through(policy: &Policy, names: &'a Names<'a>) -> Self {
        let mut walk = Self {
            names,
            mentions: BTreeSet::new(),
            depth: 0,
            problems: BTreeSet::new(),
        };
        let Policy::Static(policy) = policy else {
            walk.refuse("a template is not a rule", "write the rule out");
            return walk;
        };
        for clause in policy.body().clauses() {
            match clause {
                Clause::When(expr) | Clause::Unless(expr) => walk.expr(expr, MAX_DEPTH),
            }
        }
        walk
    }

    fn refuse(&mut self, what: impl Into<String>, mend: impl Into<String>) {
        self.problems.insert((what.into(), mend.into()));
    }

    fn expr(&mut self, expr: &Expr, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            let what = format!("the condition is nested more than {MAX_DEPTH} levels deep");
            return self.refuse(what, "split the rule, or write long alternatives as a set");
        };
        self.depth = self.depth.max(MAX_DEPTH.saturating_sub(depth));
        match expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Var(_) => {}
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, depth),
            Expr::BinaryOp { op, left, right } => {
                self.binary(*op, left, right);
                self.expr(left, depth);
                self.expr(right, depth);
            }
            Expr::GetAttr { expr, attr } => {
                self.mention(expr, attr);
                self.expr(expr, depth);
            }
            Expr::HasAttr { expr, attrs } => {
                self.mention(expr, attrs.first());
                self.expr(expr, depth);
            }
            Expr::Like { expr, .. } => self.expr(expr, depth),
            Expr::Is { expr, in_expr, .. } => {
                self.expr(expr, depth);
                if let Some(group) = in_expr {
                    self.expr(group, depth);
                }
            }
            Expr::IfThenElse {
                cond,
                then_expr,
                else_expr,
            } => {
                for part in [cond, then_expr, else_expr] {
                    self.expr(part, depth);
                }
            }
            Expr::Set(items) => items.iter().for_each(|item| self.expr(item, depth)),
            Expr::Record(fields) => fields.values().for_each(|field| self.expr(field, depth)),
            _ => self.refuse(
                "the rule uses a form that is not evaluated here",
                "write it with comparisons, sets, && and ||",
            ),
        }
    }

    fn mention(&mut self, of: &Expr, attribute: &str) {
        if matches!(of, Expr::Var(Var::Context)) {
            self.mentions.insert(attribute.to_owned());
        }
    }

    fn unary(&mut self, op: UnaryOp, expr: &Expr, depth: usize) {
        match op {
            UnaryOp::Not
            | UnaryOp::IsEmpty
            | UnaryOp::ToDate
            | UnaryOp::ToTime
            | UnaryOp::ToMilliseconds
            | UnaryOp::ToSeconds
            | UnaryOp::ToMinutes
            | UnaryOp::ToHours
            | UnaryOp::ToDays => self.expr(expr, depth),
            UnaryOp::Datetime | UnaryOp::Duration | UnaryOp::Decimal => {
                if !matches!(expr, Expr::Literal(Literal::String(_))) {
                    self.refuse(
                        format!("{op}() of a value could fail when the rule is evaluated"),
                        "give it a text in quotes",
                    );
                }
            }
            UnaryOp::Neg => self.arithmetic("-"),
            _ => self.unknown_function(&op.to_string()),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) {
        match op {
            BinaryOp::Eq
            | BinaryOp::NotEq
            | BinaryOp::Contains
            | BinaryOp::ContainsAll
            | BinaryOp::ContainsAny => {
                self.value_of(left, right);
                self.value_of(right, left);
            }
            BinaryOp::Less
            | BinaryOp::LessEq
            | BinaryOp::Greater
            | BinaryOp::GreaterEq
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::In
            | BinaryOp::DurationSince
            | BinaryOp::DecimalLessThan
            | BinaryOp::DecimalLessEq
            | BinaryOp::DecimalGreater
            | BinaryOp::DecimalGreaterEq => {}
            BinaryOp::Add => self.arithmetic("+"),
            BinaryOp::Sub => self.arithmetic("-"),
            BinaryOp::Mul => self.arithmetic("*"),
            BinaryOp::Offset => self.refuse(
                "offset() can overflow, and a rule that overflows is skipped",
                "compare durationSince() with a duration",
            ),
            _ => self.unknown_function(&op.to_string()),
        }
    }

    fn arithmetic(&mut self, operator: &str) {
        self.refuse(
            format!("arithmetic ({operator}) can overflow, and a rule that overflows is skipped"),
            "compare each value with a number; sums over time are limits of the bundle",
        );
    }

    fn unknown_function(&mut self, name: &str) {
        self.refuse(
            format!("{name} is not available in rules"),
            "write the rule with the attributes of the schema",
        );
    }

    /// Texts that are compared with an attribute whose values are known.
    fn value_of(&mut self, attribute: &Expr, compared: &Expr) {
        let Expr::GetAttr { expr, attr } = attribute else {
            return;
        };
        if !matches!(**expr, Expr::Var(Var::Context)) {
            return;
        }
        let texts: Vec<&str> = match compared {
            Expr::Set(items) => items.iter().filter_map(|item| text(item)).collect(),
            other => text(other).into_iter().collect(),
        };
        for text in texts {
            match attr.as_str() {
                "kind" if !IntentKind::NAMES.contains(&text) => self.refuse(
                    format!("no transaction is of the kind {text:?}"),
                    format!("use one of {}", IntentKind::NAMES.join(", ")),
                ),
                "destinationLabels" if !self.names.labels.contains(text) => self.refuse(
                    format!("no address book entry has the label {text:?}"),
                    "correct the label, or add the entry",
                ),
                "network" => self.canonical::<Network>(text, "network", true),
                "assets" => self.canonical::<AssetId>(text, "asset", true),
                "source" | "contract" => self.canonical::<Address>(text, "address", true),
                _ => {}
            }
        }
    }

    fn literal(&mut self, literal: &Literal) {
        match literal {
            Literal::Bool(_) | Literal::Long(_) => {}
            Literal::String(text) => {
                self.canonical::<AssetId>(text, "asset", false);
            }
            Literal::EntityUID(uid) => self.entity(uid),
            _ => self.unknown_function("this literal"),
        }
    }

    /// A text that means something and is written another way never equals what the engine writes.
    fn canonical<T: std::str::FromStr + ToString>(&mut self, text: &str, what: &str, must: bool) {
        match text.parse::<T>() {
            Ok(value) if value.to_string() == text => {}
            Ok(value) => self.refuse(
                format!("{text:?} never equals this {what}"),
                format!("write it as {:?}", value.to_string()),
            ),
            Err(_) if must => self.refuse(
                format!("{text:?} is no {what}"),
                "check it for typing errors",
            ),
            Err(_) => {}
        }
    }

    /// An entity that does not exist is a typing error.
    pub(super) fn entity(&mut self, uid: &EntityUID) {
        let id = uid.eid.as_str();
        let known = match uid.ty.to_string().as_str() {
            "Countersign::Member" => self.names.members.contains(id),
            "Countersign::Group" => self.names.groups.contains(id),
            "Countersign::Wallet" => self.names.wallets.contains(id),
            "Countersign::Role" => Role::ALL.iter().any(|role| role.as_str() == id),
            "Countersign::Tier" => TIERS.into_iter().any(|tier| tier_name(tier) == id),
            "Countersign::Action" => id == "sign",
            _ => false,
        };
        if !known {
            self.refuse(
                format!("there is no {uid}"),
                "correct the name, or add it to the bundle",
            );
        }
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}
