//! `countersign policy diff`: what becomes allowed that was not.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Parser;
use countersign_policy::bundle::{BundleChange, Direction, PolicyBundle, changes};

use super::DirectoryArg;
use super::directory::{Basis, PolicyDirectory};
use crate::api::Api;
use crate::failure::{Failure, Outcome};
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::verified;

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

/// For people.
pub fn text(changes: &[BundleChange]) -> String {
    if changes.is_empty() {
        return "nothing changes".to_owned();
    }
    let mut out = String::new();
    for (direction, title, mark) in [
        (Direction::Loosens, "becomes possible", '+'),
        (Direction::Tightens, "no longer possible", '-'),
        (Direction::Neutral, "changes", '~'),
    ] {
        let mut of_it = changes
            .iter()
            .filter(|c| c.direction == direction)
            .peekable();
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
    let changes = changes(&old, &new);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use countersign_policy::testing::TestDeployment;

    use super::*;

    #[test]
    fn what_becomes_possible_comes_first_and_a_difference_is_never_silent() {
        let old = TestDeployment::with_approvals(3, 2, "treasury:2")
            .content()
            .clone();
        assert_eq!(text(&changes(&old, &old)), "nothing changes");
        let mut new = old.clone();
        new.organisation = "Another name".to_owned();
        new.quorums.unfreeze = 3;
        new.rules[0].needs = None;
        let said = text(&changes(&old, &new));
        let at = |what: &str| said.find(what).unwrap();
        assert!(at("becomes possible") < at("no longer possible"), "{said}");
        assert!(at("no longer possible") < at("\nchanges"), "{said}");
        let loosened = format!("  + rules[{}]", old.rules[0].id);
        assert!(said.contains(&loosened), "{said}");
        assert!(said.contains("  - quorums.unfreeze"), "{said}");
        assert!(said.contains("  ~ organisation"), "{said}");
    }
}
