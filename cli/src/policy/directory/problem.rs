//! What is wrong with a policy directory: where, what, and how to mend it.

use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Format;

/// One thing wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, below the policy's folder.
    pub file: String,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Which part of the policy, if it is about one: `rules[usdt].max`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// What is wrong, and what to do about it.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.at.is_empty() {
            write!(f, ": {}", self.at)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Everything that is wrong; at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// In the order of files and lines.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self(problems)
    }

    /// Shows them all, each on a line of its own, and gives the exit code for a file that makes no sense.
    pub fn show(&self, format: Format) -> Outcome<Failure> {
        let object = serde_json::json!({ "ok": false, "problems": self.0 });
        format.show(&object, |_| self.to_string())?;
        Ok(Failure::quiet(Exit::Usage))
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 problem"),
            count => write!(f, "{count} problems"),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Failure::new(
            Exit::Usage,
            format!("this policy cannot be used\n{problems}"),
        )
    }
}
