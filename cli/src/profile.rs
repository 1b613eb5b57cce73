//! `client.toml`: what a client needs to know, written by `countersign init`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use countersign_policy::{Hash, IdentityKey, MemberId};
use countersign_signer::files::read_identity_key;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, OrFail as _, Outcome};

/// The name of the profile file in a deployment's folder.
pub const FILE_NAME: &str = "client.toml";

/// The option by which commands find their profile.
#[derive(Debug, Clone, clap::Args)]
pub struct ProfileArg {
    /// Connection profile: which coordinator, whom it is trusted through, who asks. `countersign init` writes one.
    #[arg(
        long,
        value_name = "FILE",
        env = "COUNTERSIGN_PROFILE",
        default_value = FILE_NAME
    )]
    pub profile: PathBuf,
}

/// Which coordinator, whom it is trusted through, and who asks. Relative paths are relative to the file's folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Base URL of the coordinator, `https://host:port`.
    pub coordinator: String,
    /// The deployment's certificate authority (PEM).
    pub ca_file: PathBuf,
    /// The genesis policy bundle (a DSSE envelope).
    pub genesis_file: PathBuf,
    /// Its digest: the root of this client's trust.
    pub genesis_hash: Hash,
    /// The member on whose behalf the commands run.
    pub member: MemberId,
    /// The member's statement key: 64 hexadecimal digits, mode 0600.
    pub statement_key_file: PathBuf,
    /// The member's API key for reading: 64 hexadecimal digits, mode 0600.
    pub api_key_file: PathBuf,
    /// Where this client remembers the newest policy bundle it has seen, so that nobody can show it an older one.
    pub memory_file: PathBuf,
    /// Statement keys of members that sign from this machine too. On a local cluster: all of them. Elsewhere: nobody's.
    #[serde(default)]
    pub signers: BTreeMap<MemberId, PathBuf>,
    /// Emergency addresses of signer nodes, `https://host:port`: where officers stop things without the coordinator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub emergency: BTreeMap<MemberId, String>,
}

impl ProfileArg {
    /// Reads the profile and makes its paths absolute.
    pub fn load(&self) -> Outcome<Profile> {
        Profile::load(&self.profile)
    }
}

impl Profile {
    /// Reads a profile and makes its paths absolute.
    pub fn load(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).or_fail(
            Exit::Usage,
            format!(
                "cannot read the profile {}; name one with --profile or COUNTERSIGN_PROFILE, or make one with countersign init",
                path.display()
            ),
        )?;
        let mut profile: Self =
            toml::from_str(&text).or_fail(Exit::Usage, format!("profile {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        for file in [
            &mut profile.ca_file,
            &mut profile.genesis_file,
            &mut profile.statement_key_file,
            &mut profile.api_key_file,
            &mut profile.memory_file,
        ]
        .into_iter()
        .chain(profile.signers.values_mut())
        {
            *file = folder.join(&*file);
        }
        Ok(profile)
    }

    /// The statement key of the member on whose behalf the commands run.
    pub fn statement_key(&self) -> Outcome<IdentityKey> {
        read_key(&self.statement_key_file)
    }

    /// The emergency addresses that `asked` names: addresses, nodes of this profile, or `all` of them.
    pub fn emergency(&self, asked: &[String]) -> Outcome<Vec<String>> {
        let mut urls = Vec::new();
        for name in asked {
            if name.starts_with("https://") {
                urls.push(name.clone());
                continue;
            }
            let named = self.emergency.iter();
            let named = named.filter(|(node, _)| name == "all" || node.as_str() == name);
            let before = urls.len();
            urls.extend(named.map(|(_, url)| url.clone()));
            if urls.len() == before {
                return Err(Failure::usage(format!(
                    "the profile knows no emergency address of {name}: name one as https://host:port"
                )));
            }
        }
        Ok(urls)
    }

    /// The statement key of `member`, from `given` files or from the profile.
    pub fn signer(
        &self,
        member: &MemberId,
        given: &BTreeMap<MemberId, PathBuf>,
    ) -> Outcome<IdentityKey> {
        let file = given.get(member).or_else(|| self.signers.get(member));
        match file {
            Some(file) => read_key(file),
            None if *member == self.member => self.statement_key(),
            None => Err(Failure::usage(format!(
                "there is no key file of {member} here: name it with --sign {member}=FILE"
            ))),
        }
    }
}

/// Reads a statement key.
pub fn read_key(path: &Path) -> Outcome<IdentityKey> {
    read_identity_key(path).or_fail(Exit::Usage, "cannot use the key")
}
