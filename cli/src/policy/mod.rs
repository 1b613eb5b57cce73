//! `countersign policy`: the policy as a directory that people edit, test, review, sign and activate.

mod cases;
mod diff;
mod directory;
pub mod entries;
mod explain;
mod init;
mod log;
mod propose;
mod sandbox;
mod validate;

pub use diff::text as changes_text;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::failure::Outcome;

/// The policy as a directory that people edit and review: who is who, which wallets exist, where money may go, how much, and who
/// must look first.
///
/// A policy directory has policy.toml, rules/*.cedar, tests/*.toml and chain.json, the public chain of bundles that it continues.
/// It is packed to one statement: the same directory after the same version gives the same bytes. An author proposes it,
/// approvers see what it changes and sign, every node verifies and acknowledges it, and after a delay in which any approver may
/// veto it, it counts. It never holds a secret.
#[derive(Debug, Parser)]
#[command(after_help = "A change, from edit to effect:\n  \
    countersign policy init policy           the active policy as a directory\n  \
    $EDITOR policy/policy.toml\n  \
    countersign policy validate policy && countersign policy test policy\n  \
    countersign policy diff policy           what becomes allowed that was not\n  \
    countersign policy propose policy        an author signs\n  \
    countersign policy approve               each approver sees the difference and signs\n  \
    countersign policy activate              until every node follows it")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Validate(validate::Args),
    Test(cases::Args),
    Diff(diff::Args),
    Propose(propose::ProposeArgs),
    Approve(propose::ApproveArgs),
    Veto(propose::VetoArgs),
    Activate(propose::ActivateArgs),
    Log(log::Args),
    Explain(explain::Args),
}

/// The option by which commands find their policy directory.
#[derive(Debug, Clone, clap::Args)]
pub struct DirectoryArg {
    /// The policy directory.
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    match args.command {
        Command::Init(args) => init::run(args).await,
        Command::Validate(args) => validate::run(args).await,
        Command::Test(args) => cases::run(&args),
        Command::Diff(args) => diff::run(args).await,
        Command::Propose(args) => propose::propose(args).await,
        Command::Approve(args) => propose::approve(args).await,
        Command::Veto(args) => propose::veto(args).await,
        Command::Activate(args) => propose::activate(args).await,
        Command::Log(args) => log::run(args).await,
        Command::Explain(args) => explain::run(args).await,
    }
}
