//! What the demonstration shows, and what it leaves behind.

use std::path::Path;
use std::time::{Duration, Instant};

use countersign_coordinator::StateName;
use countersign_policy::{Address, Hash, MemberId, Network};
use serde::Serialize;

use crate::failure::{OrFail as _, Outcome};
use crate::output::{Format, line};
use crate::request::view::names;
use crate::wallet::WalletRow;

/// Collects the result and tells it as it goes.
pub struct Report {
    format: Format,
    started: Instant,
    last: Instant,
    result: ResultFile,
    participants: Vec<MemberId>,
}

/// `result.json`.
#[derive(Debug, Default, Serialize)]
struct ResultFile {
    wallets: Vec<WalletRow>,
    requests: Vec<Done>,
}

/// A request that came to its end.
#[derive(Debug, Serialize)]
pub struct Done {
    /// Digest of the sign-request statement.
    pub id: Hash,
    /// The network.
    pub network: Network,
    /// How it ended.
    pub state: StateName,
    /// The unsigned transaction in hex; with `0x` in front for EVM networks.
    pub unsigned: String,
    /// The signed transaction in hex; with `0x` in front for EVM networks.
    pub signed: Option<String>,
    /// The transaction's id.
    pub tx_id: Option<String>,
    /// The paying account.
    pub from: Address,
    /// Why it was refused.
    pub reason: Option<String>,
    /// Who signed.
    #[serde(skip)]
    pub participants: Vec<MemberId>,
    /// From sending the request to its final state.
    #[serde(skip)]
    pub took: Duration,
}

impl Report {
    /// Starts the clock.
    pub fn new(format: Format) -> Self {
        let now = Instant::now();
        Self {
            format,
            started: now,
            last: now,
            result: ResultFile::default(),
            participants: Vec::new(),
        }
    }

    /// A heading.
    pub fn title(&self, text: &str) {
        self.format.say(format!("\n{text}"));
    }

    /// Something is done; shown with the time since the step before.
    pub fn step(&mut self, text: impl AsRef<str>) {
        let took = self.last.elapsed();
        self.last = Instant::now();
        self.format
            .say(format!("{} {}", milliseconds(took), text.as_ref()));
    }

    /// A wallet on one network.
    pub fn wallet(&mut self, row: WalletRow) {
        self.format.say(format!("           {}", row.line()));
        self.result.wallets.push(row);
        self.last = Instant::now();
    }

    /// A request at its end.
    pub fn request(&mut self, what: &str, done: Done) {
        self.last = Instant::now();
        let outcome = match (&done.tx_id, &done.reason) {
            (Some(tx_id), _) => tx_id.clone(),
            (None, Some(reason)) => reason.clone(),
            (None, None) => String::new(),
        };
        let by = match names(&done.participants) {
            by if by.is_empty() => by,
            by => format!(" by {by}"),
        };
        self.format.say(format!(
            "{} {what}: {}{by}\n           {outcome}",
            milliseconds(done.took),
            done.state.as_str()
        ));
        if !done.participants.is_empty() {
            self.participants.clone_from(&done.participants);
        }
        self.result.requests.push(done);
    }

    /// A node that took part in the last signature.
    pub fn last_participant(&self) -> Option<MemberId> {
        self.participants.first().cloned()
    }

    /// Writes the result, and says how long everything took.
    pub fn write(&mut self, file: &Path) -> Outcome {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .or_broken(format!("cannot make {}", folder.display()))?;
        }
        let json = serde_json::to_string_pretty(&self.result).or_broken("cannot write JSON")?;
        std::fs::write(file, format!("{json}\n"))
            .or_broken(format!("cannot write {}", file.display()))?;
        if self.format.json {
            let compact = serde_json::to_string(&self.result).or_broken("cannot write JSON")?;
            line(&compact);
        }
        let signed = self
            .result
            .requests
            .iter()
            .filter(|r| r.signed.is_some())
            .count();
        let refused = self.result.requests.len().saturating_sub(signed);
        self.format.say(format!(
            "\n{signed} signed, {refused} refused, {} in all; written to {}",
            milliseconds(self.started.elapsed()).trim_start(),
            file.display()
        ));
        Ok(())
    }
}

/// `   123 ms`, nine characters wide at least.
fn milliseconds(duration: Duration) -> String {
    format!("{:>7} ms", duration.as_millis())
}
