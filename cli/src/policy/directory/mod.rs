//! A policy as a directory that people edit and review: `policy.toml`, `rules/*.cedar`, `tests/*.toml`, and `chain.json`, the
//! public chain of bundles that it continues. It never holds a secret.

mod document;
mod locate;
mod pack;
mod problem;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]
mod tests;
mod write;

use std::path::{Path, PathBuf};

use countersign_policy::bundle::{BundleChain, BundleProblem, CedarFile, PolicyBundle, validate};
use countersign_policy::{Envelope, Hash};

pub use document::FILE;
use locate::Source;
pub use locate::line_of;
pub use pack::Basis;
pub use problem::{Problem, Problems};
pub use write::{cedar_example, tests_example, text};

use crate::clock;
use crate::failure::{Exit, OrFail as _, Outcome};

/// The folder of Cedar policies.
pub const RULES: &str = "rules";
/// The folder of the policy's own tests.
pub const TESTS: &str = "tests";
/// The chain of bundles that the directory continues, as it was when last looked at.
pub const CHAIN: &str = "chain.json";

/// A policy directory as it was read.
#[derive(Debug)]
pub struct PolicyDirectory {
    /// Where it is.
    pub path: PathBuf,
    text: String,
    cedar: Vec<CedarFile>,
}

impl PolicyDirectory {
    /// Reads the files.
    pub fn read(path: &Path) -> Outcome<Self> {
        let file = path.join(FILE);
        let text = std::fs::read_to_string(&file).or_fail(
            Exit::NotFound,
            format!(
                "{} is no policy directory, it has no {FILE}; countersign policy init makes one",
                path.display()
            ),
        )?;
        let mut cedar = Vec::new();
        for (name, text) in files(&path.join(RULES), "cedar")? {
            cedar.push(CedarFile { name, text });
        }
        Ok(Self {
            path: path.to_owned(),
            text,
            cedar,
        })
    }

    /// The content of the bundle that it makes after `basis`, with everything that is wrong.
    pub fn pack(&self, basis: &Basis) -> Result<PolicyBundle, Problems> {
        let (document, source, problems) = document::parse(&self.text);
        let Some(document) = document else {
            return Err(Problems::new(problems));
        };
        let bundle = pack::pack(&document, &self.cedar, &source, basis).map_err(Problems::new)?;
        let problems = self.problems(&source, &bundle);
        if problems.is_empty() {
            Ok(bundle)
        } else {
            Err(Problems::new(problems))
        }
    }

    /// What validation finds in the packed bundle, where it stands in the files.
    fn problems(&self, source: &Source<'_>, bundle: &PolicyBundle) -> Vec<Problem> {
        let Err(error) = validate(bundle) else {
            return Vec::new();
        };
        let problem = |found: BundleProblem| place(source, found);
        error.problems.into_iter().map(problem).collect()
    }

    /// The files of tests, by name.
    pub fn tests(&self) -> Outcome<Vec<(String, String)>> {
        files(&self.path.join(TESTS), "toml")
    }

    /// The chain that it continues, if one was kept: verified from its own genesis, or from `pinned` where that is known.
    pub fn chain(&self, pinned: Option<Hash>) -> Outcome<Option<BundleChain>> {
        let file = self.path.join(CHAIN);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).or_broken(format!("cannot read {}", file.display())),
        };
        let envelopes: Vec<Envelope> = serde_json::from_slice(&bytes)
            .or_fail(Exit::Usage, format!("{} is no chain", file.display()))?;
        let Some((first, rest)) = envelopes.split_first() else {
            return Ok(None);
        };
        let refused = format!("the chain in {} is refused", file.display());
        let mut chain = BundleChain::from_genesis(first, pinned.unwrap_or_else(|| first.digest()))
            .or_fail(Exit::Refused, &refused)?;
        for envelope in rest {
            chain
                .append(envelope, clock::now())
                .or_fail(Exit::Refused, &refused)?;
        }
        Ok(Some(chain))
    }

    /// What it continues: the chain that was kept, or nothing known.
    pub fn basis(&self) -> Outcome<Basis> {
        let chain = self.chain(None)?;
        Ok(chain.map_or_else(Basis::unknown, |chain| Basis::after(chain.active())))
    }
}

/// Where a problem of the packed bundle stands in the files. Those of Cedar policies name their file and line themselves.
fn place(source: &Source<'_>, found: BundleProblem) -> Problem {
    let cedar = found.at.strip_prefix("rules/").and_then(|at| {
        let (file, line) = at.rsplit_once(':')?;
        Some((format!("{RULES}/{file}"), line.parse().ok()?))
    });
    match cedar {
        Some((file, line)) => Problem {
            file,
            line: Some(line),
            at: String::new(),
            what: found.what,
        },
        None => Problem {
            file: FILE.to_owned(),
            line: source.find(&found.at),
            at: found.at,
            what: found.what,
        },
    }
}

/// Keeps a chain beside a policy.
pub fn keep_chain(directory: &Path, chain: &BundleChain) -> Outcome {
    let envelopes: Vec<&Envelope> = chain.links().iter().map(|link| link.envelope()).collect();
    let json = serde_json::to_string_pretty(&envelopes).or_broken("cannot write JSON")?;
    let file = directory.join(CHAIN);
    std::fs::write(&file, format!("{json}\n")).or_broken(format!("cannot write {}", file.display()))
}

/// The files of a folder with an extension, by ascending name; none when there is no such folder.
fn files(folder: &Path, extension: &str) -> Outcome<Vec<(String, String)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).or_broken(format!("cannot read {}", folder.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .or_broken(format!("cannot read {}", folder.display()))?
            .path();
        if path.extension().is_none_or(|e| e != extension) {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(&path)
            .or_fail(Exit::Usage, format!("cannot read {}", path.display()))?;
        found.push((name.into_owned(), text));
    }
    found.sort();
    Ok(found)
}
