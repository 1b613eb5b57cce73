//! `countersign freeze` and `countersign freezes`: one officer stops something at once, everywhere.

use std::collections::BTreeMap;

use clap::Parser;
use countersign_coordinator::{FreezeList, NoticeReport};
use countersign_policy::bundle::BundleChain;
use countersign_policy::statement::{Freeze, Statement};
use countersign_policy::{Envelope, Hash, Network};
use countersign_signer::wire::{Freezes, GiveStatement, StatementTaken, path};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dossier::FREEZES;
use super::target::{What, Words};
use super::{Consent, confirm};
use crate::api::{Api, read_json};
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::https::{Call, Https};
use crate::output::Format;
use crate::profile::{Profile, ProfileArg};
use crate::quorum::issue;
use crate::verified;

/// Stops something at once. One officer is enough; only a quorum of officers ends it.
///
/// The freeze is given to the coordinator, or with --signer directly to signers, which spread it among each other: nobody in
/// between can hold it back. It survives restarts and holds until an unfreeze names it.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign freeze everything --reason \"we are under attack\"\n  \
    countersign freeze wallet treasury --reason \"strange payouts\"\n  \
    countersign freeze member payments --reason \"its key may be stolen\"\n  \
    countersign freeze asset USDT --network eip155:1 --reason \"depegged\"\n  \
    countersign freeze address 0x7099... --network eip155:1 --reason \"sanctioned\"\n  \
    countersign freeze limit usdt-day --max 1000 --reason \"until the audit is done\"\n  \
    countersign freeze everything --signer all --reason \"the coordinator is taken over\"")]
pub struct FreezeArgs {
    /// What kind of thing.
    #[arg(value_enum)]
    what: What,
    /// Which one.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The network of an asset's symbol, or of an address.
    #[arg(long, value_name = "CAIP-2")]
    network: Option<Network>,
    /// For a limit: the most from now on, in whole units of what it counts. With --signer in its smallest units.
    #[arg(long, value_name = "AMOUNT")]
    max: Option<String>,
    /// Why, for people; 1 to 128 bytes.
    #[arg(long)]
    reason: String,
    /// Gives it to a signer directly, at its emergency address: https://host:port, a node of the profile, or all. Repeat it for
    /// more. The coordinator is left out.
    #[arg(long = "signer", value_name = "URL|NODE|all")]
    signers: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Lists the freezes in force, verified here. An unfreeze names their digests.
#[derive(Debug, Parser)]
pub struct FreezesArgs {
    /// Asks this signer's emergency address instead of the coordinator: https://host:port, or a node of the profile.
    #[arg(long = "signer", value_name = "URL|NODE")]
    signer: Option<String>,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// How long the statement says that it counts, in seconds. Nobody looks at it: a freeze holds until it is ended.
const LIFE: u64 = 86_400;

/// What became of a freeze or an unfreeze.
#[derive(Debug, Serialize)]
pub struct Given {
    ok: bool,
    /// Its digest.
    pub digest: Hash,
    /// What each node, or each address asked, said.
    pub nodes: BTreeMap<String, String>,
}

/// Runs `freeze`.
pub async fn run(args: FreezeArgs) -> Outcome {
    let profile = args.profile.load()?;
    let words = Words {
        what: args.what,
        name: args.name.as_deref(),
        network: args.network,
        max: args.max.as_deref(),
    };
    // In an emergency nothing may depend on the coordinator.
    let chain = if args.signers.is_empty() {
        Some(verified::chain(&Api::new(&profile)?, &profile).await?)
    } else {
        None
    };
    let target = words.target(chain.as_ref().map(|chain| chain.active().content()))?;
    args.format
        .say(format!("freeze    {target}\nreason    {}", args.reason));
    confirm(args.consent, args.format, "Freeze this at once?")?;
    let body = Freeze {
        target,
        reason: args.reason,
    };
    let envelope = issue(&profile, body, LIFE)?;
    if let Some(chain) = &chain {
        chain
            .active()
            .open_freeze(&envelope)
            .or_fail(Exit::Refused, "this freeze would be refused")?;
    }
    let to = Recipients {
        signers: &profile.emergency(&args.signers)?,
        signer_path: path::FREEZE,
        coordinator_path: FREEZES,
    };
    let given = give(&profile, &envelope, to).await?;
    args.format.show(&given, |given| given.text("frozen"))?;
    given.result()
}

/// To whom a statement is given.
pub struct Recipients<'a> {
    /// Emergency addresses of signers; without any, the coordinator.
    pub signers: &'a [String],
    /// The signers' path.
    pub signer_path: &'a str,
    /// The coordinator's.
    pub coordinator_path: &'a str,
}

/// Gives a statement to the coordinator or to signers.
pub async fn give(profile: &Profile, envelope: &Envelope, to: Recipients<'_>) -> Outcome<Given> {
    let mut nodes = BTreeMap::new();
    if to.signers.is_empty() {
        let report: NoticeReport = Api::new(profile)?
            .post(to.coordinator_path, envelope)
            .await?;
        for (node, said) in report.nodes {
            let said = said.error.unwrap_or_else(|| HOLDS.to_owned());
            nodes.insert(node.to_string(), said);
        }
    }
    for url in to.signers {
        let statement = envelope.clone();
        let call = GiveStatement { statement };
        let said = match post::<StatementTaken>(profile, url, to.signer_path, &call).await {
            Ok(_) => HOLDS.to_owned(),
            Err(failure) => failure.message,
        };
        nodes.insert(url.clone(), said);
    }
    Ok(Given {
        ok: nodes.values().all(|said| said == HOLDS),
        digest: envelope.digest(),
        nodes,
    })
}

const HOLDS: &str = "holds it";

impl Given {
    /// For people.
    pub fn text(&self, done: &str) -> String {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|(node, said)| format!("  {node:24} {said}"))
            .collect();
        format!("{done}    {}\n{}", self.digest, nodes.join("\n"))
    }

    /// Success when everybody holds it; what one node holds spreads, so it is pending when one does.
    pub fn result(&self) -> Outcome {
        if self.ok {
            return Ok(());
        }
        let one = self.nodes.values().any(|said| said == HOLDS);
        Err(Failure::quiet(if one {
            Exit::Pending
        } else {
            Exit::Unreachable
        }))
    }
}

async fn post<T: DeserializeOwned>(
    profile: &Profile,
    url: &str,
    path: &str,
    body: &impl Serialize,
) -> Outcome<T> {
    let body = serde_json::to_vec(body).or_broken("cannot write JSON")?;
    ask(profile, url, Method::POST, path, Some(body)).await
}

/// Asks a signer's emergency address.
async fn ask<T: DeserializeOwned>(
    profile: &Profile,
    url: &str,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Outcome<T> {
    let https = Https::new(url, &profile.ca_file, "signer")?;
    let call = Call {
        method,
        path,
        headers: &[],
        body,
        patience: std::time::Duration::ZERO,
    };
    read_json(&https.call(call).await?.body)
}

/// One freeze in the list.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its digest.
    pub digest: Hash,
    /// What stands still.
    pub target: String,
    /// Why.
    pub reason: String,
    /// Who froze it.
    pub by: String,
    /// Since when.
    pub issued_at: countersign_policy::Timestamp,
    /// Nodes that hold it, as the coordinator heard.
    pub held_by: Vec<String>,
    /// Whether its signature was verified here.
    pub verified: bool,
}

/// Runs `freezes`.
pub async fn list(args: FreezesArgs) -> Outcome {
    let profile = args.profile.load()?;
    let rows = match &args.signer {
        None => {
            let api = Api::new(&profile)?;
            let chain = verified::chain(&api, &profile).await?;
            rows(&chain, api.get(FREEZES).await?)?
        }
        Some(signer) => {
            let urls = profile.emergency(std::slice::from_ref(signer))?;
            let [url] = urls.as_slice() else {
                return Err(Failure::usage("--signer names one signer here"));
            };
            let told: Freezes = ask(&profile, url, Method::GET, path::FREEZES, None).await?;
            let rows = told.in_force.iter();
            rows.map(|envelope| row(envelope, Vec::new(), false))
                .collect::<Outcome<_>>()?
        }
    };
    let object = serde_json::json!({ "ok": true, "freezes": rows });
    args.format.show(&object, |_| {
        if rows.is_empty() {
            return "nothing is frozen".to_owned();
        }
        let lines: Vec<String> = rows.iter().map(Row::text).collect();
        lines.join("\n")
    })
}

/// The coordinator's list, each freeze verified.
pub fn rows(chain: &BundleChain, list: FreezeList) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for view in list.in_force {
        chain.active().open_freeze(&view.statement).or_fail(
            Exit::Refused,
            "the coordinator shows a freeze that nobody signed",
        )?;
        let held_by = view.held_by.iter().map(ToString::to_string).collect();
        rows.push(row(&view.statement, held_by, true)?);
    }
    Ok(rows)
}

/// The freezes that signers of the profile hold and the coordinator does not show, each verified: it may not know of them, or not
/// want to. A signer that does not answer is passed over.
pub async fn rows_of_signers(profile: &Profile, chain: &BundleChain, known: &mut Vec<Row>) {
    for url in profile.emergency.values() {
        let told: Outcome<Freezes> = ask(profile, url, Method::GET, path::FREEZES, None).await;
        let Ok(told) = told else { continue };
        for envelope in &told.in_force {
            let new = known.iter().all(|row| row.digest != envelope.digest());
            if new && chain.active().open_freeze(envelope).is_ok() {
                known.extend(row(envelope, Vec::new(), true));
            }
        }
    }
}

fn row(envelope: &Envelope, held_by: Vec<String>, verified: bool) -> Outcome<Row> {
    let said: Statement<Freeze> =
        serde_json::from_slice(envelope.payload()).or_broken("this is no freeze")?;
    Ok(Row {
        digest: envelope.digest(),
        target: said.body.target.to_string(),
        reason: said.body.reason,
        by: said.issuer.to_string(),
        issued_at: said.issued_at,
        held_by,
        verified,
    })
}

impl Row {
    /// For people.
    pub fn text(&self) -> String {
        let held = match (self.verified, self.held_by.is_empty()) {
            (false, _) => "\n          not verified here: as the signer says it".to_owned(),
            (true, true) => String::new(),
            (true, false) => format!("\n          held by {}", self.held_by.join(", ")),
        };
        format!(
            "{}\n          {}\n          by {} at {}: {}{held}",
            self.digest, self.target, self.by, self.issued_at, self.reason
        )
    }
}
