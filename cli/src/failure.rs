//! How a command ends when it does not succeed: an exit code that scripts can rely on, and one text that says what to do.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use countersign_coordinator::ApiProblem;

/// The exit codes of every command. 0 is success; 2 is clap's for a command line that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Something broke.
    Failed = 1,
    /// The command line or a file given to it makes no sense.
    Usage = 2,
    /// The decoder, the policy or a person said no.
    Refused = 3,
    /// Nothing is known by this name.
    NotFound = 4,
    /// The other side cannot be reached, or did not answer in time.
    Unreachable = 5,
    /// It exists already, or the name belongs to something else.
    Conflict = 6,
    /// It is under way and not final yet; ask again.
    Pending = 7,
}

/// Why a command did not succeed.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// What happened and what to do about it.
    pub message: String,
    /// The problem as the other side told it.
    pub problem: Option<Box<ApiProblem>>,
    /// Whether the answer was shown already, so that only the exit code is left to give.
    pub shown: bool,
}

/// What every command's work returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with its exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            problem: None,
            shown: false,
        }
    }

    /// Only an exit code: the answer, with its reasons, was shown.
    pub fn quiet(exit: Exit) -> Self {
        Self {
            shown: true,
            ..Self::new(exit, "")
        }
    }

    /// Something broke.
    pub fn broken(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line or a file given to it makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The problem another side told, under the exit code that its status stands for.
    pub fn from_problem(problem: ApiProblem) -> Self {
        let exit = match problem.status {
            404 => Exit::NotFound,
            409 => Exit::Conflict,
            400..=403 | 422 => Exit::Refused,
            502..=504 => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let reasons: Vec<String> = problem.reasons.iter().map(ToString::to_string).collect();
        let mut message = problem.to_string();
        if !reasons.is_empty() {
            message = format!("{message} ({})", reasons.join("; "));
        }
        Self {
            exit,
            message,
            problem: Some(Box::new(problem)),
            shown: false,
        }
    }

    /// Says it, as one JSON object on standard output or as a line on standard error, and gives the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if self.shown {
            return ExitCode::from(self.exit as u8);
        }
        if json {
            let mut object = serde_json::json!({ "ok": false, "error": self.message });
            if let (Some(problem), Some(map)) = (&self.problem, object.as_object_mut()) {
                let problem = serde_json::to_value(problem).unwrap_or_default();
                map.insert("problem".to_owned(), problem);
            }
            let _ = writeln!(std::io::stdout(), "{object}");
        } else {
            let _ = writeln!(std::io::stderr(), "countersign: {}", self.message);
        }
        ExitCode::from(self.exit as u8)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Turns an error into a [`Failure`] that names what was attempted and the whole chain of causes.
pub trait OrFail<T> {
    /// The error becomes "`what`: error: cause".
    fn or_fail(self, exit: Exit, what: impl Display) -> Outcome<T>;

    /// The same for what just broke.
    fn or_broken(self, what: impl Display) -> Outcome<T>
    where
        Self: Sized,
    {
        self.or_fail(Exit::Failed, what)
    }
}

impl<T, E: std::error::Error> OrFail<T> for Result<T, E> {
    fn or_fail(self, exit: Exit, what: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(exit, format!("{what}: {}", chain(&error))))
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
