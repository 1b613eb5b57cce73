//! An explicit yes.

use std::io::{BufRead as _, Write as _};

use clap::Args;

use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;

/// How a signature is consented to.
#[derive(Debug, Clone, Copy, Args)]
pub struct Consent {
    /// Signs without asking. For scripts: what is shown is what is signed, so look at it some other way.
    #[arg(long)]
    pub yes: bool,
}

/// Asks a question that only `yes` answers. What is to be signed was shown before.
pub fn confirm(consent: Consent, format: Format, question: &str) -> Outcome {
    if consent.yes {
        return Ok(());
    }
    if format.json {
        return Err(Failure::usage(
            "with --json nobody can be asked: say --yes when you have looked at what is signed",
        ));
    }
    let mut error = std::io::stderr();
    let _ = write!(error, "{question} Type yes to sign: ");
    let _ = error.flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .or_broken("cannot read the answer")?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "nothing was signed"))
}
