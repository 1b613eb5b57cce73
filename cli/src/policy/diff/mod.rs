//! `countersign policy diff`: what becomes allowed that was not.

mod accumulate;
mod compare;
mod describe;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
mod tests;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Parser;
use countersign_policy::bundle::PolicyBundle;
use serde::Serialize;

use super::DirectoryArg;
use super::directory::{Basis, PolicyDirectory};
use crate::api::Api;
use crate::failure::{Failure, Outcome};
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::verified;
use compare::Comparison;

/// Says what becomes allowed that was not (+), what is no longer allowed (-), and what else changes (~): between the active
/// policy, verified from the pinned genesis, and a policy directory; or between two directories.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign policy diff policy                     against the active version\n  \
    countersign policy diff policy --against policy.old")]
pub struct Args {
    #[command(flatten)]
    directory: DirectoryArg,
    /// Compares with this directory instead of the active version. Needs no deployment.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// What a difference does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Something is possible that was not.
    Wider,
    /// Something is no longer possible.
    Narrower,
    /// Neither, or nobody can say.
    Other,
}

/// One difference between two policies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// What it does.
    pub effect: Effect,
    /// Which part: `rules[usdt]`.
    pub at: String,
    /// What changes, for people.
    pub what: String,
}

/// All differences: first what becomes possible.
pub fn differences(old: &PolicyBundle, new: &PolicyBundle) -> Vec<Difference> {
    let mut found = Comparison::new(old, new).all();
    found.sort();
    found.dedup();
    found
}

/// For people.
pub fn text(changes: &[Difference]) -> String {
    if changes.is_empty() {
        return "nothing changes".to_owned();
    }
    let mut out = String::new();
    for (effect, title, mark) in [
        (Effect::Wider, "becomes possible", '+'),
        (Effect::Narrower, "no longer possible", '-'),
        (Effect::Other, "changes", '~'),
    ] {
        let mut of_it = changes.iter().filter(|c| c.effect == effect).peekable();
        if of_it.peek().is_none() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{title}");
        for change in of_it {
            let _ = writeln!(out, "  {mark} {}: {}", change.at, change.what);
        }
    }
    out.trim_end().to_owned()
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let directory = PolicyDirectory::read(&args.directory.dir)?;
    let (old, new) = match &args.against {
        Some(other) => {
            let basis = directory.basis()?;
            let other = PolicyDirectory::read(other)?;
            (
                packed(&other, &basis, args.format)?,
                packed(&directory, &basis, args.format)?,
            )
        }
        None => {
            let profile = args.profile.load()?;
            let chain = verified::chain(&Api::new(&profile)?, &profile).await?;
            let basis = Basis::after(chain.active());
            let new = packed(&directory, &basis, args.format)?;
            (chain.active().content().clone(), new)
        }
    };
    let changes = differences(&old, &new);
    let object = serde_json::json!({ "ok": true, "changes": changes });
    args.format.show(&object, |_| text(&changes))
}

fn packed(directory: &PolicyDirectory, basis: &Basis, format: Format) -> Outcome<PolicyBundle> {
    directory.pack(basis).map_err(|problems| {
        problems
            .show(format)
            .unwrap_or_else(|failure: Failure| failure)
    })
}
