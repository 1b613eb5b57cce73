//! `countersign unfreeze`: a quorum of officers ends freezes, by name.

use std::path::{Path, PathBuf};

use clap::Parser;
use countersign_coordinator::FreezeList;
use countersign_policy::bundle::{BundleChain, OpenError, Role};
use countersign_policy::statement::{Statement, Unfreeze};
use countersign_policy::{Envelope, Hash};
use countersign_signer::wire::path;

use super::dossier::{FREEZES, read_envelope};
use super::freeze::{Recipients, Row, give, rows, rows_of_signers};
use super::{Consent, confirm};
use crate::api::Api;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;
use crate::profile::{Profile, ProfileArg};
use crate::quorum::issue;
use crate::verified;

/// Ends freezes, by name. It takes as many officers as the policy demands, each on their own machine: the first writes a file,
/// the others add their signatures to it, and the last one sends it.
///
/// What came meanwhile stays frozen: an unfreeze ends exactly the freezes that it names.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign freezes\n  \
    countersign unfreeze 9b1c... --reason \"it was a drill\" --sign unfreeze.json --profile officer-1/client.toml\n  \
    countersign unfreeze --sign unfreeze.json --send --profile officer-2/client.toml")]
pub struct Args {
    /// Digests of the freezes that end. Not needed when the file is there already.
    #[arg(value_name = "DIGEST")]
    freezes: Vec<Hash>,
    /// Why, for people; 1 to 128 bytes. Not needed when the file is there already.
    #[arg(long)]
    reason: Option<String>,
    /// The file that goes from officer to officer. It is written when it does not exist; otherwise a signature is added.
    #[arg(long = "sign", value_name = "FILE")]
    file: PathBuf,
    /// Sends it when enough officers have signed.
    #[arg(long)]
    send: bool,
    /// With --send: gives it to a signer directly: https://host:port, a node of the profile, or all. Repeat it for more.
    #[arg(long = "signer", value_name = "URL|NODE|all", requires = "send")]
    signers: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// How long the statement says that it counts, in seconds. Nobody looks at it.
const LIFE: u64 = 7 * 86_400;

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let chain = verified::chain(&api, &profile).await?;
    if !chain
        .active()
        .has_role(&profile.member, Role::SecurityOfficer)
    {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{} is no security officer: name an officer's profile",
                profile.member
            ),
        ));
    }
    let mut in_force = rows(&chain, api.get::<FreezeList>(FREEZES).await?)?;
    rows_of_signers(&profile, &chain, &mut in_force).await;
    let envelope = args.signed(&profile, &in_force)?;
    let missing = missing(&chain, &envelope)?;
    let json = serde_json::to_string_pretty(&envelope).or_broken("cannot write JSON")?;
    std::fs::write(&args.file, json).or_broken(format!("cannot write {}", args.file.display()))?;
    if !args.send {
        return args.say(&envelope, missing);
    }
    if let Some((found, needed)) = missing {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{found} officers signed, {needed} are needed: let another one add a signature to {}",
                args.file.display()
            ),
        ));
    }
    let to = Recipients {
        signers: &profile.emergency(&args.signers)?,
        signer_path: path::UNFREEZE,
        coordinator_path: "/v1/unfreezes",
    };
    let given = give(&profile, &envelope, to).await?;
    args.format.show(&given, |given| given.text("ended "))?;
    given.result()
}

impl Args {
    /// The unfreeze with this officer's signature on it.
    fn signed(&self, profile: &Profile, in_force: &[Row]) -> Outcome<Envelope> {
        if !self.file.exists() {
            let body = self.body()?;
            self.show(&body, in_force)?;
            confirm(self.consent, self.format, "End exactly these?")?;
            return issue(profile, body, LIFE);
        }
        let mut envelope = read(&self.file)?;
        let said: Statement<Unfreeze> = serde_json::from_slice(envelope.payload())
            .or_fail(Exit::Usage, "this is no unfreeze")?;
        if !self.freezes.is_empty() && sorted(&self.freezes) != said.body.freezes {
            return Err(Failure::usage(format!(
                "{} ends other freezes than those named here",
                self.file.display()
            )));
        }
        let member = profile.member.as_str();
        if envelope.signatures().iter().any(|s| s.keyid == member) {
            // Signed before: only to be sent.
            return Ok(envelope);
        }
        self.show(&said.body, in_force)?;
        confirm(self.consent, self.format, "End exactly these?")?;
        envelope
            .add_signature(member, &profile.statement_key()?)
            .or_broken("cannot sign")?;
        Ok(envelope)
    }

    fn body(&self) -> Outcome<Unfreeze> {
        if self.freezes.is_empty() {
            return Err(Failure::usage(
                "name the freezes that end: countersign freezes lists them",
            ));
        }
        let reason = self
            .reason
            .clone()
            .ok_or_else(|| Failure::usage("say why: --reason TEXT"))?;
        Ok(Unfreeze {
            freezes: sorted(&self.freezes),
            reason,
        })
    }

    fn show(&self, body: &Unfreeze, in_force: &[Row]) -> Outcome {
        self.format.say(format!(
            "ends      {} freezes: {}",
            body.freezes.len(),
            body.reason
        ));
        for digest in &body.freezes {
            let row = in_force.iter().find(|row| row.digest == *digest);
            let row = row.ok_or_else(|| {
                Failure::new(Exit::NotFound, format!("no freeze {digest} is in force"))
            })?;
            self.format.say(row.text());
        }
        Ok(())
    }

    fn say(&self, envelope: &Envelope, missing: Option<(usize, u16)>) -> Outcome {
        let signatures: Vec<&str> = envelope
            .signatures()
            .iter()
            .map(|s| s.keyid.as_str())
            .collect();
        let object = serde_json::json!({
            "ok": true, "file": self.file, "digest": envelope.digest(), "signatures": signatures,
            "enough": missing.is_none(),
        });
        self.format.show(&object, |_| {
            let next = match missing {
                Some((found, needed)) => format!("{found} of {needed} officers signed"),
                None => "enough officers signed: send it with --send".to_owned(),
            };
            format!(
                "wrote     {}, signed by {}\n          {next}",
                self.file.display(),
                signatures.join(", ")
            )
        })
    }
}

fn sorted(digests: &[Hash]) -> Vec<Hash> {
    let mut digests = digests.to_vec();
    digests.sort();
    digests.dedup();
    digests
}

fn read(file: &Path) -> Outcome<Envelope> {
    read_envelope(file)
}

/// How many officers signed and how many are needed, when they are too few. Anything else wrong with it is refused.
fn missing(chain: &BundleChain, envelope: &Envelope) -> Outcome<Option<(usize, u16)>> {
    match chain.active().open_unfreeze(envelope) {
        Ok(_) => Ok(None),
        Err(OpenError::Quorum { found, needed, .. }) => Ok(Some((found, needed))),
        Err(error) => Err(error).or_fail(Exit::Refused, "nothing was signed"),
    }
}
