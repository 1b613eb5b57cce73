//! The answers that this machine gave: one file per signed request, on disk before it leaves.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use countersign_policy::Hash;
use countersign_policy::cold::ResponsePackage;

use super::Refusal;

/// The folder of answers.
#[derive(Debug)]
pub(super) struct Answers(PathBuf);

impl Answers {
    /// Opens the folder, and makes it.
    pub(super) fn open(folder: &Path) -> Result<Self, Refusal> {
        fs::create_dir_all(folder).map_err(|e| fault(folder, &e))?;
        Ok(Self(folder.to_owned()))
    }

    fn path(&self, request: &Hash) -> PathBuf {
        self.0.join(format!("{}.json", request.to_hex()))
    }

    /// The answer to a request, if this machine signed it.
    pub(super) fn of(&self, request: &Hash) -> Result<Option<ResponsePackage>, Refusal> {
        let path = self.path(request);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(ResponsePackage::from_bytes(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault(&path, &error)),
        }
    }

    /// Keeps an answer: the file and its folder are synced when this returns.
    pub(super) fn keep(&self, answer: &ResponsePackage) -> Result<(), Refusal> {
        let path = self.path(&answer.request);
        let partial = path.with_extension("partial");
        let bytes = answer.to_bytes()?;
        let written = || -> std::io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&partial)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            File::open(&self.0)?.sync_all()
        };
        written().map_err(|e| fault(&path, &e))
    }
}

fn fault(path: &Path, error: &std::io::Error) -> Refusal {
    Refusal::File {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}
