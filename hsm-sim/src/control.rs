//! The control socket: one line in, one line out, over a Unix socket of the process in a folder that the plan or the environment names.
//! Both ends are here.

use crate::plan::Plan;
use crate::sim::Sim;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A request of more bytes is refused.
const MAX_LINE: u64 = 4096;
/// Nobody waits longer for the other end.
const PATIENCE: Duration = Duration::from_secs(10);
const PREFIX: &str = "hsm-sim-";
const SUFFIX: &str = ".sock";

/// What can be asked for.
#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    Status,
    Release,
    RemoveToken,
    ReturnToken,
    DropSessions,
    LockPin,
    UnlockPin,
    Plan(&'a Path),
}

impl<'a> Command<'a> {
    /// Exactly these words.
    fn parse(line: &'a str) -> Option<Self> {
        Some(match line {
            "status" => Self::Status,
            "release" => Self::Release,
            "remove-token" => Self::RemoveToken,
            "return-token" => Self::ReturnToken,
            "drop-sessions" => Self::DropSessions,
            "lock-pin" => Self::LockPin,
            "unlock-pin" => Self::UnlockPin,
            _ => Self::Plan(
                line.strip_prefix("plan ")
                    .filter(|path| !path.is_empty())
                    .map(Path::new)?,
            ),
        })
    }

    fn carry_out(self, sim: &Sim) -> Result<String, String> {
        match self {
            Self::Status => return Ok(sim.status()),
            Self::Release => return Ok(format!("released={}", sim.release())),
            Self::RemoveToken => sim.take_token_out(),
            Self::ReturnToken => sim.put_token_back(),
            Self::DropSessions => sim.drop_sessions(),
            Self::LockPin => sim.lock_pin(true),
            Self::UnlockPin => sim.lock_pin(false),
            Self::Plan(path) => sim.act_by(Plan::read(path)?),
        }
        Ok(String::new())
    }
}

/// Opens the socket of this process in the folder, for its owner only.
pub(crate) fn listen(folder: &Path) -> Result<UnixListener, String> {
    let path = folder.join(format!("{PREFIX}{}{SUFFIX}", std::process::id()));
    let problem = |e: std::io::Error| format!("control socket {}: {e}", path.display());
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(problem(e)),
        // One that an earlier process with this number left.
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(problem)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(problem)?;
    Ok(listener)
}

/// Answers on a thread of its own until the process ends.
pub(crate) fn serve(listener: UnixListener, sim: &'static Sim) -> std::io::Result<()> {
    let serve = move || {
        for stream in listener.incoming() {
            // Whoever connects is answered one at a time; somebody who does not speak is left after a while.
            if let Err(e) = stream.and_then(|stream| converse(stream, sim)) {
                eprintln!("hsm-sim: control socket: {e}");
            }
        }
    };
    std::thread::Builder::new()
        .name("hsm-sim-control".into())
        .spawn(serve)
        .map(|_| ())
}

fn converse(mut stream: UnixStream, sim: &Sim) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(MAX_LINE)).read_line(&mut line)?;
    let complete = line.ends_with('\n');
    let answer = match line.strip_suffix('\n').map(Command::parse) {
        Some(Some(command)) => command.carry_out(sim),
        Some(None) => Err("unknown command".to_owned()),
        None => Err(format!("a command is one line of at most {MAX_LINE} bytes")),
    };
    // Problems may quote several lines of a plan, and an answer is one.
    let line = match answer {
        Ok(facts) if facts.is_empty() => "ok".to_owned(),
        Ok(facts) => format!("ok {facts}"),
        Err(problem) => format!("error {}", problem.replace('\n', " ")),
    };
    stream.write_all(format!("{line}\n").as_bytes())?;
    if !complete {
        // Closing over unread bytes would take the answer away from whoever sent them.
        stream.shutdown(std::net::Shutdown::Write)?;
        std::io::copy(&mut (&stream).take(MAX_LINE << 4), &mut std::io::sink())?;
    }
    Ok(())
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No simulator listens there, or it stopped in the middle.
    #[error("control socket {0}")]
    Socket(PathBuf, #[source] std::io::Error),
    /// The simulator says why not.
    #[error("refused: {0}")]
    Refused(String),
    /// Something else listens there.
    #[error("not understood: {0:?}")]
    Answer(String),
}

/// The sockets in a folder, those of processes that ended included.
///
/// # Errors
/// The folder cannot be read.
pub fn sockets(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .file_name()
            .and_then(|n| n.to_str())
            .is_some_and(|n| n.starts_with(PREFIX) && n.ends_with(SUFFIX))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Sends one command to the simulator at this socket; what it says after `ok`.
///
/// # Errors
/// Nobody listens, or the command is refused.
pub fn command(socket: &Path, command: &str) -> Result<String, ControlError> {
    let problem = |e| ControlError::Socket(socket.into(), e);
    let mut stream = UnixStream::connect(socket).map_err(problem)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(problem)?;
    stream
        .write_all(format!("{command}\n").as_bytes())
        .map_err(problem)?;
    let mut answer = String::new();
    BufReader::new(&stream)
        .read_line(&mut answer)
        .map_err(problem)?;
    let line = answer.trim_end_matches('\n');
    match line.split_once(' ').unwrap_or((line, "")) {
        ("ok", facts) => Ok(facts.to_owned()),
        ("error", why) => Err(ControlError::Refused(why.to_owned())),
        _ => Err(ControlError::Answer(line.to_owned())),
    }
}

/// Sends one command to every simulator that listens in the folder; their answers. Sockets of processes that ended are skipped.
///
/// # Errors
/// The folder cannot be read, or a simulator that listens does not carry it out.
pub fn command_all(folder: &Path, line: &str) -> Result<Vec<String>, ControlError> {
    let mut answers = Vec::new();
    for socket in sockets(folder).map_err(|e| ControlError::Socket(folder.into(), e))? {
        match command(&socket, line) {
            Err(ControlError::Socket(_, e))
                if e.kind() == std::io::ErrorKind::ConnectionRefused => {}
            answer => answers.push(answer?),
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_exactly_these_words() {
        assert_eq!(Command::parse("release"), Some(Command::Release));
        assert_eq!(
            Command::parse("plan a b.toml"),
            Some(Command::Plan(Path::new("a b.toml")))
        );
        for bad in [
            "",
            "Release",
            "release ",
            " release",
            "release now",
            "plan",
            "plan ",
            "quit",
        ] {
            assert_eq!(Command::parse(bad), None, "{bad:?}");
        }
    }
}
