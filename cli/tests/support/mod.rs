//! `countersign up` as a process, and the command against it.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The command.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");

/// `countersign up`. Dropping it ends it as Ctrl-C would, and waits.
pub struct Live {
    up: Child,
    /// The deployment's folder.
    pub dir: PathBuf,
}

impl Live {
    pub fn start(arguments: &[&str], folder: &Path) -> Self {
        let mut up = Command::new(PROGRAM)
            .args(["up", "--json"])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(up.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(said["ok"], true);
        assert_eq!(said["processes"].as_object().unwrap().len(), 4);
        let dir = PathBuf::from(said["dir"].as_str().unwrap());
        Self { up, dir }
    }

    pub fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .env("COUNTERSIGN_PROFILE", self.dir.join("client.toml"))
            .current_dir(&self.dir)
            .output()
            .unwrap()
    }

    /// Runs a command as people do and as scripts do, both must end with `code`; the text and the object they get. For
    /// commands that can be repeated.
    pub fn both(&self, arguments: &[&str], code: i32) -> (String, Value) {
        (self.text(arguments, code), self.json(arguments, code))
    }

    /// What a person reads: the answer, or the line on standard error.
    pub fn text(&self, arguments: &[&str], code: i32) -> String {
        let ended = self.run(arguments);
        let (out, err) = (text(&ended.stdout), text(&ended.stderr));
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {out}{err}");
        if out.is_empty() { err } else { out }
    }

    /// What a script reads: one object on standard output, whatever happens.
    pub fn json(&self, arguments: &[&str], code: i32) -> Value {
        let ended = self.run(&[arguments, &["--json"]].concat());
        let (out, err) = (text(&ended.stdout), text(&ended.stderr));
        assert_eq!(ended.status.code(), Some(code), "{arguments:?}: {out}{err}");
        assert!(err.is_empty(), "{arguments:?}: {err}");
        assert_eq!(out.lines().count(), 1, "{arguments:?}: {out}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let pid = self.up.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.up.wait();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A key for EVM and Tron, one for Solana, and the demonstration's policy.
pub fn with_keys() -> Live {
    let live = Live::start(&["--ephemeral"], Path::new("/"));
    let policy = include_str!("../../src/demo/policy.toml");
    std::fs::write(live.dir.join("demo.toml"), policy).unwrap();
    let order = ["ceremony", "--key", "hot", "--protocol", "dkls23"];
    let made = live.json(&order, 0);
    assert_eq!(made["key"]["threshold"], 2);
    let order = [
        "ceremony",
        "--key",
        "sol",
        "--protocol",
        "frost-ed25519",
        "--change",
        "demo.toml",
    ];
    let made = live.json(&order, 0);
    assert_eq!(made["bundle"]["version"], 3);
    live
}

impl Live {
    /// A script's call with the profile of a member.
    pub fn as_member(&self, member: &str, words: &[&str], code: i32) -> Value {
        let profile = self.file(&format!("members/{member}/client.toml"));
        self.json(&[words, &["--profile", &profile]].concat(), code)
    }
}
