//! Files that hold secrets: readable by their owner alone, or not used at all.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The largest secret file, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Why a secret file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be opened, read or written.
    #[error("secret file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// Others than the owner can read or write it.
    #[error("secret file {path} has mode {mode:03o}: others can reach it; run chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is too large to be a secret of this product.
    #[error("secret file {0} has more than {MAX_SECRET} bytes")]
    TooLarge(PathBuf),
    /// The content is not what was expected.
    #[error("secret file {path}: expected {expected}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
}

/// Reads a file that must be a regular file accessible by its owner alone.
///
/// # Errors
/// [`SecretFileError`]; the message never repeats content.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let io = |source| SecretFileError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(io)?;
    // Of the opened file, not of the path: what was checked is what is read.
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 || !metadata.is_file() {
        return Err(SecretFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > MAX_SECRET {
        return Err(SecretFileError::TooLarge(path.to_owned()));
    }
    // Sized once, so that no copy of a secret is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_SECRET).unwrap_or(0)));
    std::io::Read::by_ref(&mut file)
        .take(MAX_SECRET)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    Ok(bytes)
}

/// Writes a new file with mode 0600 and syncs it; an existing file is never overwritten.
///
/// # Errors
/// [`SecretFileError::Io`], also when the file exists.
pub fn write_secret_file(path: &Path, content: &[u8]) -> Result<(), SecretFileError> {
    let io = |source| SecretFileError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    file.write_all(content).map_err(io)?;
    file.sync_all().map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        write_secret_file(&path, b"correct horse battery staple").unwrap();
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = read_secret_file(&path);
            assert!(matches!(refused, Err(SecretFileError::Exposed { mode: m, .. }) if m == mode));
        }
    }

    #[test]
    fn a_secret_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        write_secret_file(&path, b"1234").unwrap();
        assert!(matches!(
            write_secret_file(&path, b"5678"),
            Err(SecretFileError::Io { .. })
        ));
        assert_eq!(read_secret_file(&path).unwrap().as_slice(), b"1234");
    }
}
