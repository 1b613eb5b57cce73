//! `countersign policy log`: the chain of versions, and the proposals that became none.

use clap::Parser;
use countersign_coordinator::{PolicyLog, PolicyLogEntry, ProposalState};
use countersign_policy::{Hash, Timestamp};
use serde::Serialize;

use super::propose::{name, signers};
use crate::api::Api;
use crate::failure::Outcome;
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::verified;

/// Shows every version of the policy, verified here from the pinned genesis: who wrote it, who signed, and when; and the
/// proposals that wait, were vetoed or were overtaken, as the coordinator tells them.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Row {
    version: u64,
    digest: Hash,
    state: ProposalState,
    author: String,
    approvers: Vec<String>,
    issued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_at: Option<Timestamp>,
    vetoes: Vec<String>,
    /// Whether it stands in the chain that was verified here.
    verified: bool,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let chain = verified::chain(&api, &profile).await?;
    let told: PolicyLog = api.get("/v1/policy/log").await?;
    let mut rows = Vec::new();
    for link in chain.links() {
        let entry = told.entries.iter().find(|e| e.digest == link.digest());
        rows.push(Row {
            version: link.content().version,
            digest: link.digest(),
            state: ProposalState::Active,
            author: author(link.envelope()),
            approvers: signers(link.envelope()),
            issued_at: link.issued_at(),
            activated_at: entry.and_then(|e| e.activated_at),
            vetoes: Vec::new(),
            verified: true,
        });
    }
    let known: Vec<Hash> = rows.iter().map(|row| row.digest).collect();
    rows.extend(
        told.entries
            .iter()
            .filter(|entry| !known.contains(&entry.digest))
            .map(Row::told),
    );
    let object =
        serde_json::json!({ "ok": true, "active": chain.active().digest(), "entries": rows });
    args.format.show(&object, |_| {
        let lines: Vec<String> = rows.iter().map(Row::text).collect();
        lines.join("\n")
    })
}

fn author(envelope: &countersign_policy::Envelope) -> String {
    let all = envelope.signatures().iter().map(|s| s.keyid.clone());
    let approvers = signers(envelope);
    all.into_iter()
        .find(|name| !approvers.contains(name))
        .unwrap_or_default()
}

impl Row {
    fn told(entry: &PolicyLogEntry) -> Self {
        let vetoes = entry.vetoes.iter();
        Self {
            version: entry.version,
            digest: entry.digest,
            state: entry.state,
            author: entry.author.to_string(),
            approvers: entry.approvers.iter().map(ToString::to_string).collect(),
            issued_at: entry.issued_at,
            activated_at: entry.activated_at,
            vetoes: vetoes
                .map(|v| format!("{}: {}", v.member, v.reason))
                .collect(),
            verified: false,
        }
    }

    fn text(&self) -> String {
        let state = match (self.verified, self.activated_at) {
            (true, Some(at)) => format!("followed since {at}"),
            (true, None) => "in the chain".to_owned(),
            (false, _) => format!("{}, as the coordinator says", name(self.state)),
        };
        let mut out = format!(
            "{:>4}  {}\n      {state}\n      by {} at {}, signed by {}",
            self.version,
            self.digest,
            self.author,
            self.issued_at,
            if self.approvers.is_empty() {
                "nobody yet".to_owned()
            } else {
                self.approvers.join(", ")
            }
        );
        for veto in &self.vetoes {
            out.push_str(&format!("\n      vetoed by {veto}"));
        }
        out
    }
}
