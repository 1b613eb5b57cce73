//! On the machine: show everything, ask for a yes and the PIN, sign, answer.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use countersign_hsm::{HsmClient, Pin};
use countersign_policy::cold::ResponsePackage;
use countersign_policy::{Envelope, Hash, MemberId};
use countersign_signer::cold::{Confirmed, Examined, Machine, Refusal};
use countersign_signer::token::{HsmToken, TokenKeys};
use serde::Serialize;

use super::machine::{MachineArg, VaultConfig};
use super::show::{dossier, text};
use super::{read, write};
use crate::clock;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;

/// Signs what a package asks for, after this machine came to its own answer and a person said yes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The request package.
    file: PathBuf,
    /// Where to write the answer.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Consents of further operators, where the wallet demands them.
    #[arg(long, value_name = "FILE")]
    consent: Vec<PathBuf>,
    /// The first eight digits of the package's digest, as they were read. Without it they are asked for.
    #[arg(long, value_name = "DIGITS")]
    confirm: Option<String>,
    #[command(flatten)]
    machine: MachineArg,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Answered {
    ok: bool,
    package: Hash,
    request: Hash,
    machine: MemberId,
    file: PathBuf,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let config = args.machine.load()?;
    let bytes = read(&args.file)?;
    let mut consents = Vec::with_capacity(args.consent.len());
    for file in &args.consent {
        let consent: Envelope = serde_json::from_slice(&read(file)?)
            .or_fail(Exit::Usage, format!("{} is no consent", file.display()))?;
        consents.push(consent);
    }
    let mut machine = config.open().await?;
    let examined = machine
        .examine(&bytes, clock::now())
        .map_err(|e| refused(&e))?;
    let answer = match examined.answered() {
        Some(answer) => {
            args.format
                .say("This machine signed this very package before; nothing is signed again.");
            answer.clone()
        }
        None => {
            let signed = sign(&args, &config, &mut machine, examined, &consents).await;
            machine.close().await;
            signed?
        }
    };
    let written = answer.to_bytes().or_broken("cannot write the answer")?;
    write(&args.output, &written)?;
    let answered = Answered {
        ok: true,
        package: answer.answers,
        request: answer.request,
        machine: answer.machine,
        file: args.output,
    };
    args.format.show(&answered, |a| {
        format!(
            "signed    request {} on {}\nwritten   {}",
            a.request,
            a.machine,
            a.file.display()
        )
    })
}

async fn sign(
    args: &Args,
    config: &VaultConfig,
    machine: &mut Machine,
    examined: Examined,
    consents: &[Envelope],
) -> Outcome<ResponsePackage> {
    let shown = text(
        examined.package(),
        &dossier(examined.package(), clock::now())?,
    );
    args.format.say(shown.trim_end());
    let typed = match &args.confirm {
        Some(typed) => typed.clone(),
        None => ask("To sign exactly this, type the first eight digits of the package: ")?,
    };
    let Some(yes) = Confirmed::by_typing(&examined, &typed) else {
        return Err(Failure::new(
            Exit::Refused,
            "not confirmed: nothing was signed",
        ));
    };
    let tokens = tokens(config)?;
    // Read again: a person may have taken an hour, and the authorization may have ended.
    let now = clock::now();
    machine
        .sign(examined, yes, consents, &tokens, now)
        .await
        .map_err(|e| refused(&e))
}

/// Logs in to the token, with the PIN of the file that is configured or the one that a person types.
pub(super) fn tokens(config: &VaultConfig) -> Outcome<TokenKeys> {
    let hsm = config.hsm.clone();
    let client = match hsm.pin_file {
        Some(_) => HsmClient::start(hsm),
        None => HsmClient::start_with_pin(hsm, pin()?),
    };
    let client = client.or_fail(Exit::Failed, "cannot use the token")?;
    Ok(TokenKeys::new(Arc::new(HsmToken::new(client))))
}

fn pin() -> Outcome<Pin> {
    let typed =
        rpassword::prompt_password("PIN of the token: ").or_broken("cannot read the PIN")?;
    match typed.is_empty() {
        true => Err(Failure::usage("no PIN was typed: nothing was signed")),
        false => Ok(Pin::Typed(zeroize::Zeroizing::new(typed))),
    }
}

fn ask(question: &str) -> Outcome<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nobody is there to say yes: give --confirm with the first eight digits of the package's digest",
        ));
    }
    eprint!("{question}");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .or_broken("cannot read the answer")?;
    Ok(line)
}

pub(super) fn refused(refusal: &Refusal) -> Failure {
    Failure::new(
        Exit::Refused,
        format!("refused ({}): {}", refusal.code(), refusal.line()),
    )
}
