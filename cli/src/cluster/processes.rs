//! The processes of a local cluster: started, watched, and always ended by their ids.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use countersign_policy::MemberId;
use tokio::process::{Child, Command};

use crate::failure::{Exit, Failure, OrFail as _, Outcome};

/// How long a process gets to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// Signers and coordinators of one deployment. Dropping it ends them all.
pub struct Processes {
    running: Vec<Process>,
    logs: PathBuf,
}

struct Process {
    member: MemberId,
    child: Child,
    log: PathBuf,
}

impl Processes {
    /// Starts every node and every coordinator that has a configuration below `dir`. Their logs are below `dir/logs`.
    pub fn start(dir: &Path) -> Outcome<Self> {
        let logs = dir.join("logs");
        std::fs::create_dir_all(&logs).or_broken(format!("cannot make {}", logs.display()))?;
        let mut all = Self {
            running: Vec::new(),
            logs,
        };
        for (folder, role, file) in [
            ("nodes", "node", "node.toml"),
            ("coordinators", "coordinator", "coordinator.toml"),
        ] {
            for (member, config) in configurations(&dir.join(folder), file)? {
                all.spawn(member, role, &config)?;
            }
        }
        if all.running.is_empty() {
            return Err(Failure::usage(format!(
                "{} holds no deployment: make one with countersign init",
                dir.display()
            )));
        }
        Ok(all)
    }

    fn spawn(&mut self, member: MemberId, role: &str, config: &Path) -> Outcome {
        let program = std::env::current_exe().or_broken("cannot find this program")?;
        let log = self.logs.join(format!("{member}.log"));
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .or_broken(format!("cannot write {}", log.display()))?;
        let output = file.try_clone().or_broken("cannot share a log file")?;
        let child = Command::new(program)
            .arg(role)
            .arg("--config")
            .arg(config)
            // The child ends when this pipe closes: also when this process is killed.
            .arg("--until-input-ends")
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(file)
            // Ctrl-C in a terminal reaches the whole process group: only this process shall act on it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .or_broken(format!("cannot start {member}"))?;
        self.running.push(Process { member, child, log });
        Ok(())
    }

    /// The members that run, with their process ids.
    pub fn members(&self) -> Vec<(MemberId, u32)> {
        self.running
            .iter()
            .map(|p| (p.member.clone(), p.child.id().unwrap_or_default()))
            .collect()
    }

    /// Fails with the end of its log when a process has ended by itself.
    pub fn check(&mut self) -> Outcome {
        for process in &mut self.running {
            if let Some(status) = process
                .child
                .try_wait()
                .or_broken("cannot watch a process")?
            {
                return Err(Failure::broken(format!(
                    "{} ended ({status}); the end of {}:\n{}",
                    process.member,
                    process.log.display(),
                    tail(&process.log)
                )));
            }
        }
        Ok(())
    }

    /// Kills one process at once (SIGKILL), as a crash would.
    pub async fn kill(&mut self, member: &MemberId) -> Outcome {
        let position = self.running.iter().position(|p| p.member == *member);
        let Some(position) = position else {
            return Err(Failure::new(
                Exit::NotFound,
                format!("{member} does not run"),
            ));
        };
        let mut process = self.running.remove(position);
        process
            .child
            .kill()
            .await
            .or_broken(format!("cannot kill {member}"))
    }

    /// Asks all processes to end, coordinators first, and kills those that do not.
    pub async fn stop(mut self) {
        let deadline = Instant::now().checked_add(GRACE);
        for process in self.running.iter_mut().rev() {
            drop(process.child.stdin.take());
        }
        for process in &mut self.running {
            let left = deadline.map_or(Duration::ZERO, |d| {
                d.saturating_duration_since(Instant::now())
            });
            if tokio::time::timeout(left, process.child.wait())
                .await
                .is_err()
            {
                let _ = process.child.kill().await;
            }
        }
    }
}

/// The configurations of one kind: each member's folder holds one.
fn configurations(folder: &Path, file: &str) -> Outcome<Vec<(MemberId, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).or_broken(format!("cannot read {}", folder.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.or_broken(format!("cannot read {}", folder.display()))?;
        let config = entry.path().join(file);
        let name = entry.file_name().to_string_lossy().into_owned();
        if let (true, Ok(member)) = (config.is_file(), MemberId::new(name)) {
            found.push((member, config));
        }
    }
    found.sort();
    Ok(found)
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(15);
    lines.get(from..).unwrap_or_default().join("\n")
}
