//! `countersign cold`: a withdrawal from a cold wallet is exported, signed on a machine with no network, and imported.

mod carry;
mod consent;
mod key;
mod machine;
mod qr;
mod show;
mod sign;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use countersign_policy::cold::MAX_PACKAGE;

use crate::failure::{Exit, Failure, OrFail as _, Outcome};

/// Withdrawals from cold wallets: packages to and from a machine with no network.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  countersign cold export 4f..e1 -o withdrawal.json        (online)
  countersign cold inspect withdrawal.json                 (anywhere)
  countersign cold sign withdrawal.json -o answer.json     (on the machine with the HSM)
  countersign cold import answer.json                      (online)")]
pub struct Args {
    #[command(subcommand)]
    command: Cold,
}

#[derive(Debug, Subcommand)]
enum Cold {
    Export(carry::ExportArgs),
    Inspect(show::Args),
    Consent(consent::Args),
    Sign(sign::Args),
    Import(carry::ImportArgs),
    Journal(machine::JournalArgs),
    Qr(qr::QrArgs),
    Scan(qr::ScanArgs),
    Order(key::OrderArgs),
    Key(key::KeyArgs),
    Pin(key::PinArgs),
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    match args.command {
        Cold::Export(args) => carry::export(args).await,
        Cold::Inspect(args) => show::run(&args),
        Cold::Consent(args) => consent::run(&args),
        Cold::Sign(args) => sign::run(args).await,
        Cold::Import(args) => carry::import(args).await,
        Cold::Qr(args) => qr::show(&args),
        Cold::Scan(args) => qr::scan(&args),
        Cold::Journal(args) => machine::journal(args).await,
        Cold::Order(args) => key::order(args).await,
        Cold::Key(args) => key::key(args).await,
        Cold::Pin(args) => key::pin(args).await,
    }
}

/// Reads a package; not more than any has.
fn read(path: &Path) -> Outcome<Vec<u8>> {
    let what = || format!("cannot read {}", path.display());
    let file = fs::File::open(path).or_fail(Exit::Usage, what())?;
    let most = u64::try_from(MAX_PACKAGE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .or_fail(Exit::Usage, what())?;
    Ok(bytes)
}

/// Writes a new file: what is there already is never overwritten.
fn write(path: &PathBuf, bytes: &[u8]) -> Outcome {
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{} exists already: name another file", path.display()),
            ));
        }
        Err(error) => {
            return Err(error).or_fail(Exit::Usage, format!("cannot write {}", path.display()));
        }
    };
    std::io::Write::write_all(&mut file, bytes)
        .and_then(|()| file.sync_all())
        .or_broken(format!("cannot write {}", path.display()))
}
