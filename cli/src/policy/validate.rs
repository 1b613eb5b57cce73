//! `countersign policy validate`: everything wrong with a policy directory.

use clap::Parser;

use super::DirectoryArg;
use super::directory::{Basis, PolicyDirectory, keep_chain};
use crate::api::Api;
use crate::failure::Outcome;
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::verified;

/// Says everything that is wrong with a policy directory, each thing with its file, line and what to do about it. Exit code 2
/// when there is something.
///
/// It needs no deployment: pinned keys come from chain.json beside the policy. With --refresh that file is fetched and verified
/// anew; without the file, keys are made up and everything else is looked at.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign policy validate policy\n  \
    countersign policy validate policy --json          for editors and build pipelines\n  \
    countersign policy validate policy --refresh       after a key ceremony")]
pub struct Args {
    #[command(flatten)]
    directory: DirectoryArg,
    /// Fetches the chain of bundles anew and keeps it in chain.json.
    #[arg(long)]
    refresh: bool,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let directory = PolicyDirectory::read(&args.directory.dir)?;
    if args.refresh {
        let profile = args.profile.load()?;
        let chain = verified::chain(&Api::new(&profile)?, &profile).await?;
        keep_chain(&directory.path, &chain)?;
    }
    let basis = directory.basis()?;
    match directory.pack(&basis) {
        Err(problems) => Err(problems.show(args.format)?),
        Ok(bundle) => {
            let object =
                serde_json::json!({ "ok": true, "problems": [], "version": bundle.version });
            args.format.show(&object, |_| {
                format!(
                    "{}: no problems; {} rules, {} Cedar files, {} limits{}",
                    directory.path.display(),
                    bundle.rules.len(),
                    bundle.cedar.len(),
                    bundle.limits.len(),
                    note(&basis)
                )
            })
        }
    }
}

fn note(basis: &Basis) -> &'static str {
    if basis.is_known() {
        ""
    } else {
        "\nthere is no chain.json: wallet keys were made up (--refresh fetches it)"
    }
}
