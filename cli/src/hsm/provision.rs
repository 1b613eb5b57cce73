//! `countersign hsm provision`: a token that is ready for a node.

use std::path::{Path, PathBuf};

use clap::Parser;
use countersign_hsm::files::write_secret_file;
use countersign_hsm::{
    Device, Failure, HsmClient, HsmConfig, HsmError, KeyId, Pkcs11Uri, Provision,
};
use rand_core::{OsRng, RngCore as _};

use super::ConfigArg;
use crate::failure::{Exit, Failure as CommandFailure, OrFail as _, Outcome};
use crate::output::Format;

/// Makes a token ready: the token itself if asked for, its canary (a key that shows that it can sign, and signs nothing else), and
/// an AES-256 key that seals a node's store. Says what it does, and never overwrites anything.
///
/// For production, the device's officers initialize the token with the vendor's tools; this command then adds what is missing.
/// With --so-pin-file it initializes one in a slot that was never initialized.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign hsm provision --development hsm                 a SoftHSM token in the new folder hsm\n  \
    countersign hsm provision --config node.toml --kek          canary and sealing key in the token of [hsm]\n  \
    countersign hsm provision --config node.toml --so-pin-file so.pin --label payments")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Initializes a token with this security officer's PIN (a file, mode 0600), and sets the user PIN from section hsm.
    #[arg(
        long,
        value_name = "FILE",
        requires = "label",
        conflicts_with = "development"
    )]
    so_pin_file: Option<PathBuf>,
    /// The new token's label.
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Makes a key that seals a store, with a random id.
    #[arg(long)]
    kek: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// A TOML file with the section hsm.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Makes this folder, with a SoftHSM token, random PINs, and hsm.toml. For development: SoftHSM's keys are files.
    #[arg(long, value_name = "DIR")]
    development: Option<PathBuf>,
}

/// Where Debian and Ubuntu put SoftHSM's module; others have it elsewhere.
const SOFTHSM: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    let mut done = Vec::new();
    let config = match (&args.source.development, &args.source.config) {
        (Some(folder), _) => {
            let label = args.label.as_deref().unwrap_or("development");
            let config = development(folder, label)?;
            done.push(format!(
                "made {} with SoftHSM's configuration and random PINs",
                folder.display()
            ));
            config
        }
        (None, Some(file)) => ConfigArg {
            config: file.clone(),
        }
        .load()?,
        (None, None) => return Err(CommandFailure::usage("say --config or --development")),
    };
    let mut config = config;
    if let Some(serial) = initialize(args, &config)? {
        done.push(format!("initialized the token with serial number {serial}"));
        config.token.serial = Some(serial);
    }
    let token = HsmClient::start(config.clone()).or_broken("the token cannot be used")?;
    match token.generate_canary_blocking() {
        Ok(()) => done.push("made the canary".to_owned()),
        Err(HsmError::Failed(Failure::Exists(_))) => {
            done.push("there is a canary already".to_owned())
        }
        Err(error) => return Err(error).or_broken("no canary was made"),
    }
    token
        .health_blocking()
        .or_broken("the canary does not sign")?;
    let kek = match args.kek || args.source.development.is_some() {
        true => Some(kek(&token)?),
        false => None,
    };
    done.extend(
        kek.as_ref()
            .map(|uri| format!("made a key that seals a store: kek = \"{uri}\"")),
    );
    if let Some(folder) = &args.source.development {
        let file = write_config(folder, &config, kek.as_ref())?;
        done.push(format!(
            "wrote {}: copy its lines into a node's configuration",
            file.display()
        ));
    }
    let serial = token.metrics().token.map(|token| token.serial);
    let answer = serde_json::json!({ "ok": true, "done": done, "serial": serial, "kek": kek });
    args.format.show(&answer, |_| done.join("\n"))
}

fn initialize(args: &Args, config: &HsmConfig) -> Outcome<Option<String>> {
    let (so_pin_file, label) = match (&args.so_pin_file, &args.source.development) {
        (Some(file), _) => (file.clone(), args.label.clone()),
        (None, Some(folder)) => (folder.join("so.pin"), config.token.token.clone()),
        (None, None) => return Ok(None),
    };
    let (Some(label), Some(pin_file)) = (label, config.pin_file.clone()) else {
        return Err(CommandFailure::usage(
            "the section [hsm] needs pin_file, and the token a label",
        ));
    };
    let wanted = Provision {
        label,
        so_pin_file,
        pin_file,
    };
    match HsmClient::provision(config, wanted) {
        Ok(serial) => Ok(Some(serial)),
        Err(error @ HsmError::Failed(Failure::Exists(_))) => {
            Err(error).or_fail(Exit::Conflict, "no token was made")
        }
        Err(error) => Err(error).or_broken("no token was made"),
    }
}

/// A key with a random id: it names this very key, in whatever token a copy of the id may turn up.
fn kek(token: &HsmClient) -> Outcome<Pkcs11Uri> {
    let mut id = [0u8; 16];
    OsRng.fill_bytes(&mut id);
    let id = KeyId::new(id.to_vec()).or_broken("no key was made")?;
    token
        .generate_kek_blocking(&id, "countersign kek")
        .or_broken("no sealing key was made")?;
    Ok(Pkcs11Uri {
        id: Some(id),
        ..Pkcs11Uri::default()
    })
}

/// Makes the folder: refused when it exists.
fn development(folder: &Path, label: &str) -> Outcome<HsmConfig> {
    let module = SOFTHSM
        .iter()
        .find(|path| Path::new(path).is_file())
        .ok_or_else(|| {
            CommandFailure::new(
                Exit::NotFound,
                "SoftHSM is not installed: apt-get install softhsm2 (or your system's package)",
            )
        })?;
    let what = format!("cannot make {}", folder.display());
    if folder.exists() {
        return Err(CommandFailure::new(
            Exit::Conflict,
            format!("{} exists already", folder.display()),
        ));
    }
    std::fs::create_dir_all(folder.join("tokens")).or_broken(&what)?;
    let folder = folder.canonicalize().or_broken(&what)?;
    let conf = format!(
        "directories.tokendir = {}/tokens\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
        folder.display()
    );
    std::fs::write(folder.join("softhsm2.conf"), conf).or_broken(&what)?;
    for name in ["so.pin", "user.pin"] {
        let mut pin = [0u8; 12];
        OsRng.fill_bytes(&mut pin);
        let pin = zeroize::Zeroizing::new(hex::encode(pin));
        write_secret_file(&folder.join(name), pin.as_bytes()).or_broken(&what)?;
    }
    let token = Pkcs11Uri {
        token: Some(label.to_owned()),
        ..Pkcs11Uri::default()
    };
    let mut config = HsmConfig::new(*module, &token.to_string(), folder.join("user.pin"))
        .or_fail(Exit::Usage, &what)?;
    config.device = Device::Softhsm;
    let softhsm = folder.join("softhsm2.conf").display().to_string();
    config
        .environment
        .insert("SOFTHSM2_CONF".to_owned(), softhsm);
    Ok(config)
}

/// Written last: its existence says that the token is ready.
fn write_config(folder: &Path, config: &HsmConfig, kek: Option<&Pkcs11Uri>) -> Outcome<PathBuf> {
    let what = format!("cannot write to {}", folder.display());
    let section =
        toml::to_string(&std::collections::BTreeMap::from([("hsm", config)])).or_broken(&what)?;
    let kek = kek.map_or_else(String::new, |kek| {
        format!("# seals a store, in place of passphrase_file:\n# kek = \"{kek}\"\n\n")
    });
    let file = folder.join("hsm.toml");
    std::fs::write(&file, format!("{kek}{section}")).or_broken(&what)?;
    Ok(file)
}
