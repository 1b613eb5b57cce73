//! A key in the machine's token: ordered by a quorum, made on the machine, pinned by a bundle.

use std::path::PathBuf;

use countersign_policy::bundle::{ActivationEvidence, Environment};
use countersign_policy::cold::{OrderPackage, Trust, open_order};
use countersign_policy::statement::KeyCeremony;
use countersign_policy::{Envelope, KeyId, MemberId, Protocol, PublicKey};
use serde::Serialize;

use super::machine::MachineArg;
use super::sign::{refused, tokens};
use super::{read, write};
use crate::api::Api;
use crate::bundle::Submitted;
use crate::bundle::change::Change;
use crate::ceremony::{MadeKey, pin as pin_key};
use crate::clock;
use crate::failure::{Exit, OrFail as _, Outcome};
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::quorum::Signers;
use crate::verified;

/// How long an order may be under way to the machine, in seconds: a day.
const ORDER_LIFE: u64 = 86_400;

/// Orders a key for a machine with no network, with the signatures of a quorum, as a package for it.
#[derive(Debug, clap::Args)]
pub struct OrderArgs {
    /// The key's name, never used before.
    key: KeyId,
    /// The machine whose token makes it.
    #[arg(long, value_name = "MEMBER")]
    machine: MemberId,
    /// pkcs11-secp256k1 (Ethereum, BSC, Tron) or pkcs11-ed25519 (Solana).
    #[arg(long)]
    protocol: Protocol,
    /// What the key is for.
    #[arg(long, default_value = "cold wallets")]
    purpose: String,
    /// A key for test networks, staging or demonstrations.
    #[arg(long)]
    test: bool,
    /// Where to write the package.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    signers: Signers,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Makes the key of an order in this machine's token. What it writes says so to everybody, and holds no secret.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The order package.
    file: PathBuf,
    /// Where to write the signed transcript.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    machine: MachineArg,
    #[command(flatten)]
    format: Format,
}

/// Pins a key that a machine made, by the next version of the policy.
#[derive(Debug, clap::Args)]
pub struct PinArgs {
    /// The order package.
    order: PathBuf,
    /// The machine's transcript.
    transcript: PathBuf,
    /// A change of the policy made together with it: the wallet and its rules (TOML, as for countersign bundle propose).
    #[arg(long, value_name = "FILE")]
    change: Option<PathBuf>,
    #[command(flatten)]
    signers: Signers,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Ordered {
    ok: bool,
    key: KeyId,
    machine: MemberId,
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Pinned {
    ok: bool,
    key: KeyId,
    public_key: PublicKey,
    bundle: Submitted,
}

/// Runs `cold order`.
pub async fn order(args: OrderArgs) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let chain = verified::chain(&api, &profile).await?;
    let body = KeyCeremony {
        key: args.key.clone(),
        protocol: args.protocol,
        threshold: 1,
        max_faulty: 0,
        nodes: vec![args.machine.clone()],
        purpose: args.purpose,
        environment: match args.test {
            true => Environment::Test,
            false => Environment::Production,
        },
    };
    let order = args
        .signers
        .issue(&profile, chain.active(), body, ORDER_LIFE)?;
    // What the machine will refuse is found out before anybody carries it there.
    let refuse = "this order would be refused";
    chain
        .active()
        .open_ceremony(&order)
        .or_fail(Exit::Refused, refuse)?;
    let evidence: Vec<ActivationEvidence> = api.get("/v1/bundles/evidence").await?;
    let package = OrderPackage::new(chain.genesis(), evidence, order);
    let bytes = package.to_bytes().or_broken("cannot write the order")?;
    let trust = Trust {
        me: &args.machine,
        genesis: chain.genesis(),
        known: None,
    };
    open_order(&bytes, &trust, clock::now()).or_fail(Exit::Refused, refuse)?;
    write(&args.output, &bytes)?;
    let ordered = Ordered {
        ok: true,
        key: args.key,
        machine: args.machine,
        file: args.output,
    };
    args.format.show(&ordered, |o| {
        format!("written   {}: carry it to {}", o.file.display(), o.machine)
    })
}

/// Runs `cold key`.
pub async fn key(args: KeyArgs) -> Outcome {
    let config = args.machine.load()?;
    let bytes = read(&args.file)?;
    let mut machine = config.open().await?;
    let tokens = tokens(&config)?;
    let made = machine.make_key(&bytes, &tokens, clock::now()).await;
    machine.close().await;
    let transcript = made.map_err(|e| refused(&e))?;
    let text = serde_json::to_vec(&transcript).or_broken("cannot write the transcript")?;
    write(&args.output, &text)?;
    args.format.show(
        &serde_json::json!({ "ok": true, "transcript": transcript.digest() }),
        |_| {
            format!(
                "written   {}: the key is made; a bundle pins it",
                args.output.display()
            )
        },
    )
}

/// Runs `cold pin`.
pub async fn pin(args: PinArgs) -> Outcome {
    let package = OrderPackage::from_bytes(&read(&args.order)?)
        .or_fail(Exit::Refused, "the order is refused")?;
    let transcript: Envelope = serde_json::from_slice(&read(&args.transcript)?)
        .or_fail(Exit::Usage, "this is no transcript")?;
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let chain = verified::chain(&api, &profile).await?;
    let order = chain
        .active()
        .open_ceremony(&package.order)
        .or_fail(Exit::Refused, "the order is refused")?;
    let made = MadeKey::verify(chain.active(), &order, vec![transcript])?;
    let (key, public_key) = (made.record.id.clone(), made.record.group_key);
    let change = match &args.change {
        Some(file) => Change::read(file)?,
        None => Change::default(),
    };
    let bundle = pin_key(&api, &profile, vec![made], &change, &args.signers).await?;
    let pinned = Pinned {
        ok: true,
        key,
        public_key,
        bundle,
    };
    args.format.show(&pinned, |p| {
        format!(
            "key       {}\npublic    {}\nbundle    version {} pins it, {}",
            p.key, p.public_key, p.bundle.version, p.bundle.digest
        )
    })
}
