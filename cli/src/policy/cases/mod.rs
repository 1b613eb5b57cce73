//! `countersign policy test`: a policy's own tests, answered by the engine that every signer runs.

mod case;
mod run;
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

use clap::Parser;
use serde::Serialize;

use super::DirectoryArg;
use super::directory::{PolicyDirectory, Problems, TESTS};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Format;
use case::Placed;
use run::Answered;

/// Runs a policy's own tests: each case of tests/*.toml is a request, with who approved it, what is frozen and what was signed
/// before, and says what must come out. Exit code 3 when a case fails.
///
/// The answers come from the engine that every signer runs, on the real bytes of a transaction. It needs no deployment.
#[derive(Debug, Parser)]
#[command(after_help = "A case, in tests/payments.toml:\n  \
    [[cases]]\n  \
    name = \"a large payment waits for treasury\"\n  \
    wallet = \"treasury\"\n  \
    network = \"eip155:1\"\n  \
    asset = \"USDT\"\n  \
    to = \"Exchange\"                        a label of the address book, or an address\n  \
    amount = \"20000\"                       or, for the three: transaction = \"0x02f8...\"\n  \
    initiator = \"payments\"\n  \
    time = \"2026-03-02T10:00:00Z\"          without it: a Wednesday at noon\n  \
    approvals = [\"ana\"]                    and: rejections, freezes, before\n  \
    expect = \"needs-approvals\"             allow, needs-approvals or blocked\n  \
    reason = \"missing-approvals\"           the code of one of the reasons; and: rules")]
pub struct Args {
    #[command(flatten)]
    directory: DirectoryArg,
    /// Only cases whose name or file contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    file: String,
    line: usize,
    name: String,
    passed: bool,
    #[serde(flatten)]
    answered: Answered,
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    let directory = PolicyDirectory::read(&args.directory.dir)?;
    let basis = directory.basis()?;
    let bundle = match directory.pack(&basis) {
        Ok(bundle) => bundle,
        Err(problems) => return Err(problems.show(args.format)?),
    };
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    for (file, text) in directory.tests()? {
        match case::read(&file, &text) {
            Ok(cases) => rows.extend(
                cases
                    .iter()
                    .filter(|placed| args.takes(placed))
                    .map(|placed| row(&bundle, placed)),
            ),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Problems::new(problems).show(args.format)?);
    }
    let failed = rows.iter().filter(|row| !row.passed).count();
    let object = serde_json::json!({ "ok": failed == 0, "cases": rows, "failed": failed });
    args.format.show(&object, |_| table(&rows, failed))?;
    if failed > 0 {
        return Err(Failure::quiet(Exit::Refused));
    }
    Ok(())
}

impl Args {
    fn takes(&self, placed: &Placed) -> bool {
        self.only
            .as_ref()
            .is_none_or(|text| placed.case.name.contains(text) || placed.file.contains(text))
    }
}

fn row(bundle: &countersign_policy::bundle::PolicyBundle, placed: &Placed) -> Row {
    let answered = run::answer(bundle, &placed.case);
    Row {
        file: format!("{TESTS}/{}", placed.file),
        line: placed.line,
        name: placed.case.name.clone(),
        passed: answered.is_as_expected(&placed.case),
        answered,
    }
}

fn table(rows: &[Row], failed: usize) -> String {
    let mut out = String::new();
    for row in rows {
        let mark = if row.passed { "ok  " } else { "FAIL" };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{mark}  {:16} {}", row.answered.outcome(), row.name);
        if !row.passed {
            let _ = writeln!(
                out,
                "      {}:{}: {}",
                row.file,
                row.line,
                row.answered.told()
            );
        }
    }
    if rows.is_empty() {
        out.push_str("no cases: write some in tests/*.toml, see --help\n");
    }
    let _ = write!(out, "{} cases, {failed} failed", rows.len());
    out
}
