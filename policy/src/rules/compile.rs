//! From reviewed files to rules that can be evaluated: parsed, strictly validated, linted, and sorted by what they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use cedar_policy::pst::{self, EntityOrSlot, PrincipalConstraint, ResourceConstraint};
use cedar_policy::{
    Effect, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode,
    Validator,
};
use miette::Diagnostic;

use super::lint::Walk;
use super::problem::RuleProblem;
use super::schema::{TIERS, Types, schema, tier_name};
use super::source::{Source, split};
use super::{Rule, RuleEffect, RuleSet, Slices, Who};
use crate::approvals::Needs;
use crate::bundle::{CedarFile, PolicyBundle, Wallet, WalletTier, needs_problems};
use crate::id::{GroupId, MemberId, RuleId, WalletId};
use crate::plain::{hides, plain_text};

/// The greatest size of one file of rules, in bytes.
const MAX_FILE: usize = 256 * 1024;
/// The greatest number of rules in a bundle.
const MAX_RULES: usize = 10_000;
/// The greatest length of one rule, without spaces, comments and what is in quotes.
const MAX_LENGTH: usize = 2_048;
/// The deepest nesting of brackets in a rule.
const MAX_NESTING: usize = 32;
/// The stack on which rules are parsed, in bytes: Cedar's parser and validator recurse without a bound of their own, and a
/// rule of the greatest length nests no deeper than fits.
const STACK: usize = 64 * 1024 * 1024;

/// What rules may name.
pub(super) struct Names<'a> {
    bundle: &'a PolicyBundle,
    pub(super) members: BTreeSet<&'a str>,
    pub(super) groups: BTreeSet<&'a str>,
    pub(super) wallets: BTreeSet<&'a str>,
    pub(super) labels: BTreeSet<&'a str>,
    transfer_rules: BTreeSet<&'a RuleId>,
}

impl<'a> Names<'a> {
    fn of(bundle: &'a PolicyBundle) -> Self {
        Self {
            bundle,
            members: bundle.members.iter().map(|m| m.id.as_str()).collect(),
            groups: bundle.groups.iter().map(|g| g.id.as_str()).collect(),
            wallets: bundle.wallets.iter().map(|w| w.id.as_str()).collect(),
            labels: bundle
                .address_book
                .iter()
                .map(|e| e.label.as_str())
                .collect(),
            transfer_rules: bundle.rules.iter().map(|r| &r.id).collect(),
        }
    }
}

impl RuleSet {
    /// Compiles the rules of a bundle.
    ///
    /// # Errors
    /// Everything that is wrong with them, in the order of files and lines.
    pub fn compile(bundle: &PolicyBundle) -> Result<Self, Vec<RuleProblem>> {
        if bundle.cedar.is_empty() {
            return Self::compile_here(bundle);
        }
        stacker::grow(STACK, || Self::compile_here(bundle))
    }

    fn compile_here(bundle: &PolicyBundle) -> Result<Self, Vec<RuleProblem>> {
        let engine = |problem: Box<RuleProblem>| vec![*problem];
        let schema = schema(bundle.groups.iter().map(|g| &g.id)).map_err(engine)?;
        let types = Types::new().map_err(engine)?;
        let entities = entities(bundle, &types, &schema).map_err(engine)?;
        let names = Names::of(bundle);
        let mut problems = Vec::new();
        let mut parsed = Vec::new();
        for source in sources(&bundle.cedar, &mut problems) {
            match parse(&source, &names) {
                Ok(rule) => parsed.push((source, rule)),
                Err(found) => problems.extend(found),
            }
        }
        unique(&parsed, &names, &mut problems);
        validate(&parsed, &schema, &mut problems);
        if !problems.is_empty() {
            problems.sort();
            problems.dedup();
            return Err(problems);
        }
        let rules: Vec<Rule> = parsed.into_iter().map(|(_, rule)| rule).collect();
        Ok(Self {
            slices: Slices::of(&rules),
            depth: rules.iter().map(|rule| rule.depth).max().unwrap_or(0),
            rules,
            entities,
            schema,
            types,
            groups: bundle.groups.iter().map(|g| g.id.clone()).collect(),
        })
    }
}

#[cfg(test)]
impl RuleSet {
    /// The rules of a bundle with one more, of which nothing is checked: to see what happens if one got through.
    pub(crate) fn with_unchecked(bundle: &PolicyBundle, rules: &str) -> Self {
        let mut set = Self::compile(bundle).unwrap();
        let names = Names::of(bundle);
        for source in split("unchecked.cedar", rules) {
            let policy = Policy::parse(None, source.rule).unwrap();
            let tree = policy.to_pst().unwrap();
            let mut walk = Walk::through(&tree, &names);
            let (principal, resource) = scope(&tree, &mut walk);
            let marks = Marks::read(&source, &policy, &mut Vec::new());
            set.rules
                .push(Rule::new(&source, policy, marks, &walk, principal, resource).unwrap());
        }
        set.slices = Slices::of(&set.rules);
        set
    }
}

/// The rules of all files, and what is wrong with files as such.
fn sources<'a>(files: &'a [CedarFile], problems: &mut Vec<RuleProblem>) -> Vec<Source<'a>> {
    let mut rules = Vec::new();
    for file in files {
        let mut problem = |line, what: &str, mend: &str| {
            problems.push(RuleProblem {
                file: file.name.clone(),
                line,
                what: what.to_owned(),
                mend: mend.to_owned(),
            });
        };
        if file.text.len() > MAX_FILE {
            problem(1, "the file is larger than 256 KiB", "split it");
            continue;
        }
        let hidden = |line: &str| line.chars().any(|c| c != '\t' && hides(c));
        // A file with letters that do not show could say something else than its reviewers read.
        if let Some(at) = file.text.split('\n').position(hidden) {
            let line = at.saturating_add(1);
            problem(
                line,
                "the line contains characters that do not show",
                "remove them",
            );
            continue;
        }
        rules.extend(split(&file.name, &file.text));
    }
    if rules.len() > MAX_RULES {
        problems.push(RuleProblem {
            file: files.last().map(|f| f.name.clone()).unwrap_or_default(),
            line: 1,
            what: format!("there are more than {MAX_RULES} rules"),
            mend: "write rules for groups of wallets or members".to_owned(),
        });
        rules.clear();
    }
    rules
}

/// One rule, parsed and looked through.
fn parse(source: &Source<'_>, names: &Names<'_>) -> Result<Rule, Vec<RuleProblem>> {
    if source.length() > MAX_LENGTH {
        let what = format!("the rule is longer than {MAX_LENGTH} characters outside of quotes");
        return Err(vec![source.problem(what, "split it")]);
    }
    if source.nesting() > MAX_NESTING {
        let what = format!("brackets are nested more than {MAX_NESTING} levels deep");
        return Err(vec![source.problem(what, "split the rule")]);
    }
    let policy = Policy::parse(None, source.rule).map_err(|errors| {
        let errors: Vec<_> = errors.iter().collect();
        errors
            .into_iter()
            .map(|error| located(source, error, "correct the syntax"))
            .collect::<Vec<_>>()
    })?;
    let tree = policy
        .to_pst()
        .map_err(|e| vec![source.problem(e.to_string(), "write the rule in another way")])?;
    let mut walk = Walk::through(&tree, names);
    let (principal, resource) = scope(&tree, &mut walk);
    let mut problems: Vec<_> = std::mem::take(&mut walk.problems)
        .into_iter()
        .map(|(what, mend)| source.problem(what, mend))
        .collect();
    let marks = Marks::read(source, &policy, &mut problems);
    if policy.effect() == Effect::Permit {
        let wrong = needs_problems(names.bundle, resource.tier(names), marks.needs.as_ref());
        problems.extend(wrong.into_iter().map(|what| {
            source.problem(
                what,
                "correct @needs, or name other tiers or wallets in the scope",
            )
        }));
    }
    match Rule::new(source, policy, marks, &walk, principal, resource) {
        Some(rule) if problems.is_empty() => Ok(rule),
        _ => Err(problems),
    }
}

impl Rule {
    /// `None` without an id, which is a problem that was told already.
    fn new(
        source: &Source<'_>,
        policy: Policy,
        marks: Marks,
        walk: &Walk<'_>,
        principal: Who,
        resource: Resource,
    ) -> Option<Self> {
        let id = marks.id?;
        let policy = policy.new_id(PolicyId::new(id.as_str()));
        Some(Self {
            effect: match policy.effect() {
                Effect::Permit => RuleEffect::Permit,
                Effect::Forbid => RuleEffect::Forbid,
            },
            reason: marks.reason,
            needs: marks.needs,
            file: source.file.to_owned(),
            line: source.first_line(),
            mentions: walk.mentions.clone(),
            depth: walk.depth,
            principal,
            resource,
            alone: PolicySet::from_policies([policy.clone()]).ok()?,
            policy,
            id,
        })
    }
}

/// What a rule's annotations say.
struct Marks {
    id: Option<RuleId>,
    reason: Option<String>,
    needs: Option<Needs>,
}

impl Marks {
    fn read(source: &Source<'_>, policy: &Policy, problems: &mut Vec<RuleProblem>) -> Self {
        let mut marks = Self {
            id: None,
            reason: None,
            needs: None,
        };
        let mut annotations: Vec<_> = policy.annotations().collect();
        annotations.sort_unstable();
        if !annotations.iter().any(|(name, _)| *name == "id") {
            problems.push(source.problem(
                "the rule has no @id",
                "put @id(\"its-name\") in front of it: decisions and freezes name rules by it",
            ));
        }
        for (name, value) in annotations {
            match name {
                "id" => match RuleId::new(value) {
                    Ok(id) => marks.id = Some(id),
                    Err(e) => problems.push(source.problem(e.to_string(), "rename the rule")),
                },
                "reason" => match plain_text(value) {
                    Ok(()) => marks.reason = Some(value.to_owned()),
                    Err(e) => {
                        problems
                            .push(source.problem(format!("@reason {e}"), "write it in one line"));
                    }
                },
                "needs" if policy.effect() == Effect::Forbid => problems.push(source.problem(
                    "no approval lifts a forbid",
                    "put @needs on the permit, or compare context.approvals in the condition",
                )),
                "needs" => match Needs::from_str(value) {
                    Ok(needs) => marks.needs = Some(needs),
                    Err(e) => problems.push(source.problem(format!("@needs: {e}"), "correct it")),
                },
                other => problems.push(source.problem(
                    format!("there is no annotation @{other}"),
                    "use @id, @reason and @needs",
                )),
            }
        }
        marks
    }
}

/// Rule ids name transfer rules and Cedar rules alike, so each stands once.
fn unique(parsed: &[(Source<'_>, Rule)], names: &Names<'_>, problems: &mut Vec<RuleProblem>) {
    let mut seen: BTreeMap<&RuleId, &Source<'_>> = BTreeMap::new();
    for (source, rule) in parsed {
        let other = match seen.insert(&rule.id, source) {
            Some(first) => format!("{}:{}", first.file, first.first_line()),
            None if names.transfer_rules.contains(&rule.id) => "a transfer rule".to_owned(),
            None => continue,
        };
        let what = format!("the id {} is taken by {other}", rule.id);
        problems.push(source.problem(what, "give every rule its own id"));
    }
}

/// Strict validation of each rule by Cedar itself. A warning refuses too: it tells of a rule that can never apply, or of
/// text that looks like what it is not.
fn validate(parsed: &[(Source<'_>, Rule)], schema: &Schema, problems: &mut Vec<RuleProblem>) {
    let validator = Validator::new(schema.clone());
    for (source, rule) in parsed {
        let result = validator.validate(&rule.alone, ValidationMode::Strict);
        for error in result.validation_errors() {
            problems.push(located(source, error, "correct it after the schema"));
        }
        for warning in result.validation_warnings() {
            problems.push(located(
                source,
                warning,
                "correct the rule, or leave it out",
            ));
        }
    }
}

/// A problem that Cedar found, with its line and its own advice where it has one.
fn located(
    source: &Source<'_>,
    error: &(impl Diagnostic + std::fmt::Display + ?Sized),
    mend: &str,
) -> RuleProblem {
    let offset = error
        .labels()
        .and_then(|mut labels| labels.next())
        .map(|label| label.offset());
    let line = offset.map_or_else(|| source.first_line(), |at| source.line_at(at));
    let mend = error
        .help()
        .map_or_else(|| mend.to_owned(), |help| help.to_string());
    let what = error.to_string();
    source.problem_at(line, what, mend)
}

/// Which wallets a rule is about, by its scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    Any,
    Tier(String),
    Wallet(WalletId),
}

impl Resource {
    /// Whether the scope lets a wallet in.
    pub(super) fn reaches(&self, wallet: &Wallet) -> bool {
        match self {
            Self::Any => true,
            Self::Tier(tier) => tier == tier_name(wallet.tier),
            Self::Wallet(id) => *id == wallet.id,
        }
    }

    /// The coldest tier that the scope lets in.
    fn tier(&self, names: &Names<'_>) -> Option<WalletTier> {
        let wallets = names.bundle.wallets.iter();
        match self {
            Self::Any => wallets.map(|wallet| wallet.tier).max(),
            Self::Tier(tier) => TIERS.into_iter().find(|known| tier_name(*known) == tier),
            Self::Wallet(id) => wallets.into_iter().find(|w| w.id == *id).map(|w| w.tier),
        }
    }
}

fn scope(policy: &pst::Policy, walk: &mut Walk<'_>) -> (Who, Resource) {
    let pst::Policy::Static(policy) = policy else {
        return (Who::Any, Resource::Any);
    };
    let body = policy.body();
    let (who, resource) = (
        principal(&body.principal, walk),
        wallet(&body.resource, walk),
    );
    match &body.action {
        pst::ActionConstraint::Any => {}
        pst::ActionConstraint::Eq(action) => walk.entity(action),
        pst::ActionConstraint::In(actions) => actions.iter().for_each(|a| walk.entity(a)),
    }
    (who, resource)
}

fn principal(constraint: &PrincipalConstraint, walk: &mut Walk<'_>) -> Who {
    let (PrincipalConstraint::Eq(EntityOrSlot::Entity(uid))
    | PrincipalConstraint::In(EntityOrSlot::Entity(uid))
    | PrincipalConstraint::IsIn(_, EntityOrSlot::Entity(uid))) = constraint
    else {
        return Who::Any;
    };
    walk.entity(uid);
    let id = uid.eid.as_str();
    match uid.ty.to_string().as_str() {
        "Countersign::Member" => MemberId::new(id).map_or(Who::Any, Who::Member),
        "Countersign::Role" => Who::Role(id.to_owned()),
        "Countersign::Group" => GroupId::new(id).map_or(Who::Any, Who::Group),
        _ => Who::Any,
    }
}

fn wallet(constraint: &ResourceConstraint, walk: &mut Walk<'_>) -> Resource {
    let (ResourceConstraint::Eq(EntityOrSlot::Entity(uid))
    | ResourceConstraint::In(EntityOrSlot::Entity(uid))
    | ResourceConstraint::IsIn(_, EntityOrSlot::Entity(uid))) = constraint
    else {
        return Resource::Any;
    };
    walk.entity(uid);
    let id = uid.eid.as_str();
    match uid.ty.to_string().as_str() {
        "Countersign::Wallet" => WalletId::new(id).map_or(Resource::Any, Resource::Wallet),
        "Countersign::Tier" => Resource::Tier(id.to_owned()),
        _ => Resource::Any,
    }
}

/// Members in their roles and groups, wallets in their tiers.
fn entities(
    bundle: &PolicyBundle,
    types: &Types,
    schema: &Schema,
) -> Result<Entities, Box<RuleProblem>> {
    let mut parents: BTreeMap<&MemberId, Vec<EntityUid>> = BTreeMap::new();
    for group in &bundle.groups {
        for member in &group.members {
            parents.entry(member).or_default().push(types.group(group));
        }
    }
    let members = bundle.members.iter().map(|member| {
        let groups = parents.remove(&member.id).unwrap_or_default();
        let roles = member.roles.iter().map(|role| types.role(*role));
        Entity::new_no_attrs(
            types.member(&member.id),
            groups.into_iter().chain(roles).collect(),
        )
    });
    let members: Vec<_> = members.collect();
    let groups = bundle
        .groups
        .iter()
        .map(|group| Entity::new_no_attrs(types.group(group), Default::default()));
    let wallets = bundle.wallets.iter().map(|wallet| {
        Entity::new_no_attrs(types.wallet(&wallet.id), [types.tier(wallet.tier)].into())
    });
    // A bundle with the same member twice is refused elsewhere, with a better message than Cedar's.
    let mut seen = BTreeSet::new();
    let all = members
        .into_iter()
        .chain(groups)
        .chain(wallets)
        .filter(|entity| seen.insert(entity.uid().to_string()));
    Entities::from_entities(all.collect::<Vec<_>>(), Some(schema))
        .map_err(|e| Box::new(RuleProblem::of_engine(e.to_string())))
}
