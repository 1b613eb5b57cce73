//! An operator at the machine agrees with a package, with a key of their own.

use std::path::PathBuf;

use countersign_policy::statement::Statement;
use countersign_policy::{Hash, MemberId};
use countersign_signer::files::read_identity_key;
use rand_core::OsRng;
use serde::Serialize;

use super::show::{dossier, inspected, text};
use super::{read, write};
use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;

/// How long a consent counts, in seconds: an hour.
const LIFE: u64 = 3_600;

/// Agrees with what a package asks the machine to sign, as one of several operators. Shows it first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request package.
    file: PathBuf,
    /// Who agrees.
    #[arg(long, value_name = "MEMBER")]
    operator: MemberId,
    /// The operator's statement key, mode 0600.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The pinned genesis hash.
    #[arg(long, value_name = "HASH")]
    genesis: Hash,
    /// The first eight digits of the package's digest, as it was read.
    #[arg(long, value_name = "DIGITS")]
    confirm: String,
    /// Where to write the consent.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Agreed {
    ok: bool,
    package: Hash,
    operator: MemberId,
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    let package = inspected(&read(&args.file)?, Some(args.genesis))?;
    let shown = text(&package, &dossier(&package, clock::now())?);
    args.format.say(shown.trim_end());
    let digest = package.digest().to_hex();
    if digest.get(..8) != Some(args.confirm.as_str()) {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "--confirm is not the beginning of this package's digest {digest}: read it again"
            ),
        ));
    }
    let key = read_identity_key(&args.key).or_fail(Exit::Usage, "cannot use the operator's key")?;
    let now = clock::now();
    let statement = Statement::new(
        args.genesis,
        args.operator.clone(),
        now,
        now.plus_seconds(LIFE),
        package.consent(),
        &mut OsRng,
    );
    let consent = statement.sign(&key).or_broken("cannot sign the consent")?;
    let bytes = serde_json::to_vec(&consent).or_broken("cannot write the consent")?;
    write(&args.output, &bytes)?;
    let agreed = Agreed {
        ok: true,
        package: package.digest(),
        operator: args.operator.clone(),
    };
    args.format.show(&agreed, |a| {
        format!("agreed    {} with package {}", a.operator, a.package)
    })
}
