//! The machine's own configuration, store and journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_hsm::HsmConfig;
use countersign_policy::{Envelope, Hash, MemberId};
use countersign_signer::cold::{Machine, MachineParts};
use countersign_signer::files::read_identity_key;
use countersign_signer::store::{OpenMode, PassphraseKek, Store, StoreOptions};
use countersign_signer::wire::Record;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::failure::{Exit, OrFail as _, Outcome};
use crate::output::Format;

/// `vault.toml`: what the machine is told. Relative paths are relative to the file's folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// The machine's member id in the policy bundle.
    pub machine: MemberId,
    /// Digest of the genesis bundle: the root of this machine's trust, brought by a way that nobody can change.
    pub genesis_hash: Hash,
    /// Folder of its store and its answers; made if it is missing.
    pub data_dir: PathBuf,
    /// The machine's statement key: 64 hexadecimal digits, mode 0600.
    pub identity_key_file: PathBuf,
    /// The passphrase from which the key that seals the store is derived, mode 0600.
    pub passphrase_file: PathBuf,
    /// The token. Without `pin_file` a person types the PIN.
    pub hsm: HsmConfig,
}

/// Where the machine's configuration is.
#[derive(Debug, Clone, clap::Args)]
pub struct MachineArg {
    /// The machine's configuration.
    #[arg(
        long,
        value_name = "FILE",
        env = "COUNTERSIGN_VAULT",
        default_value = "vault.toml"
    )]
    pub machine: PathBuf,
}

impl MachineArg {
    /// Reads it and makes its paths absolute.
    pub fn load(&self) -> Outcome<VaultConfig> {
        let path = &self.machine;
        let what = || format!("the machine's configuration {}", path.display());
        let text = std::fs::read_to_string(path).or_fail(Exit::Usage, what())?;
        let mut config: VaultConfig = toml::from_str(&text).or_fail(Exit::Usage, what())?;
        config.hsm.check().or_fail(Exit::Usage, what())?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        for file in [
            &mut config.data_dir,
            &mut config.identity_key_file,
            &mut config.passphrase_file,
        ] {
            *file = folder.join(&*file);
        }
        config.hsm.resolve(&folder);
        Ok(config)
    }
}

impl VaultConfig {
    /// Opens the machine with what it remembers.
    pub async fn open(&self) -> Outcome<Machine> {
        std::fs::create_dir_all(&self.data_dir).or_fail(
            Exit::Usage,
            format!("cannot make {}", self.data_dir.display()),
        )?;
        let key = read_identity_key(&self.identity_key_file)
            .or_fail(Exit::Usage, "cannot use the machine's key")?;
        let kek = PassphraseKek::from_file(&self.passphrase_file)
            .or_fail(Exit::Usage, "cannot use the passphrase")?;
        let identity = Arc::new(key);
        let options = StoreOptions {
            path: self.data_dir.join("vault.db"),
            node: self.machine.clone(),
            genesis: self.genesis_hash,
            mode: OpenMode::CreateIfMissing,
        };
        let store = Store::open(&options, Arc::clone(&identity), &kek)
            .await
            .or_fail(Exit::Failed, "cannot open the machine's store")?;
        let parts = MachineParts {
            me: self.machine.clone(),
            identity,
            store,
            genesis: self.genesis_hash,
            answers: self.data_dir.join("answers"),
        };
        Machine::open(parts, clock::now()).await.or_fail(
            Exit::Failed,
            "the machine cannot go on from what it remembers",
        )
    }
}

/// Shows what the machine signed and refused, newest first, and with `--ledger` its signed ledger.
#[derive(Debug, clap::Args)]
pub struct JournalArgs {
    #[command(flatten)]
    machine: MachineArg,
    /// The signed entries of the machine's ledger as well, oldest first: they prove to others what it released.
    #[arg(long)]
    ledger: bool,
    /// How many entries of the journal.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Journal {
    ok: bool,
    machine: MemberId,
    bundle_version: u64,
    journal: Vec<Record>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Vec<Envelope>>,
}

/// Runs `cold journal`.
pub async fn journal(args: JournalArgs) -> Outcome {
    let config = args.machine.load()?;
    let machine = config.open().await?;
    let journal = Journal {
        ok: true,
        machine: config.machine.clone(),
        bundle_version: machine.bundle_version(),
        journal: machine
            .journal(args.limit)
            .await
            .or_broken("cannot read the journal")?,
        ledger: match args.ledger {
            true => Some(machine.ledger().await.or_broken("cannot read the ledger")?),
            false => None,
        },
    };
    args.format.show(&journal, |j| {
        let lines: Vec<String> = j
            .journal
            .iter()
            .map(|r| format!("{}  {}  {}  {}", r.at, r.outcome, r.subject, r.detail))
            .collect();
        format!(
            "machine   {}, policy version {}\n{}",
            j.machine,
            j.bundle_version,
            lines.join("\n")
        )
    })
}
