//! `countersign policy init`: a policy directory to begin with.

use std::path::{Path, PathBuf};

use clap::Parser;
use countersign_policy::IdentityKey;
use countersign_policy::bundle::BundleChain;

use super::directory::{CHAIN, FILE, RULES, TESTS, cedar_example, keep_chain, tests_example, text};
use crate::api::Api;
use crate::failure::{Exit, Failure, OrFail as _, Outcome};
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::verified;

/// Writes a policy directory: the active policy of the deployment, verified from the pinned genesis, or a commented example.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    countersign policy init policy               the active policy\n  \
    countersign policy init example --example    a policy to learn from, without any deployment")]
pub struct Args {
    /// The folder to make; nothing in it is ever overwritten.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Writes an example that needs no deployment. The statement keys in it are nobody's.
    #[arg(long)]
    example: bool,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// The policy of the example. Each `@` stands for a public key.
const EXAMPLE: &str = include_str!("example/policy.toml");
const EXAMPLE_CEDAR: &str = include_str!("example/hours.cedar");
const EXAMPLE_TESTS: &str = include_str!("example/payments.toml");

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let version = if args.example {
        write_example(&args.dir)?;
        None
    } else {
        let profile = args.profile.load()?;
        let chain = verified::chain(&Api::new(&profile)?, &profile).await?;
        write_active(&args.dir, &chain)?;
        Some(chain.active().content().version)
    };
    let object = serde_json::json!({ "ok": true, "dir": args.dir, "version": version });
    args.format.show(&object, |_| {
        let dir = args.dir.display();
        let what = match version {
            Some(version) => format!("policy version {version}"),
            None => "an example".to_owned(),
        };
        format!("made {dir}: {what}\nnext      edit {dir}/{FILE}, then countersign policy validate {dir}")
    })
}

/// The active policy of a chain as a directory.
pub fn write_active(dir: &Path, chain: &BundleChain) -> Outcome {
    let bundle = chain.active().content();
    write(dir, &text(bundle), cedar_example(), tests_example())?;
    if !bundle.cedar.is_empty() {
        remove(&dir.join(RULES).join("rules.cedar"))?;
    }
    for file in &bundle.cedar {
        create(&dir.join(RULES).join(&file.name), &file.text)?;
    }
    keep_chain(dir, chain)
}

/// The example as a directory.
pub fn write_example(dir: &Path) -> Outcome {
    write(dir, &with_keys(EXAMPLE), EXAMPLE_CEDAR, EXAMPLE_TESTS)
}

fn write(dir: &Path, policy: &str, cedar: &str, tests: &str) -> Outcome {
    for name in [FILE, RULES, TESTS, CHAIN] {
        if dir.join(name).exists() {
            return Err(Failure::new(
                Exit::Conflict,
                format!(
                    "{} has a {name} already: nothing is overwritten",
                    dir.display()
                ),
            ));
        }
    }
    for folder in [RULES, TESTS] {
        let folder = dir.join(folder);
        std::fs::create_dir_all(&folder).or_broken(format!("cannot make {}", folder.display()))?;
    }
    create(&dir.join(FILE), policy)?;
    create(&dir.join(RULES).join("rules.cedar"), cedar)?;
    create(&dir.join(TESTS).join("payments.toml"), tests)
}

fn create(path: &Path, content: &str) -> Outcome {
    use std::io::Write as _;
    std::fs::File::create_new(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .or_broken(format!("cannot write {}", path.display()))
}

fn remove(path: &Path) -> Outcome {
    std::fs::remove_file(path).or_broken(format!("cannot remove {}", path.display()))
}

/// Fresh public keys whose secrets nobody keeps.
fn with_keys(text: &str) -> String {
    text.split('@').fold(String::new(), |mut out, part| {
        if !out.is_empty() {
            let key = IdentityKey::generate(&mut rand_core::OsRng);
            out.push_str(&key.public().to_string());
        }
        out.push_str(part);
        out
    })
}
