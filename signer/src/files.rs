//! Files that hold secrets: readable by their owner alone, or not used at all.

use std::path::Path;

use zeroize::Zeroizing;

use countersign_policy::IdentityKey;

pub use countersign_hsm::files::{SecretFileError, read_secret_file, write_secret_file};

/// Reads a statement key: 64 hexadecimal digits (the 32-byte Ed25519 seed) and at most a line end.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_identity_key(path: &Path) -> Result<IdentityKey, SecretFileError> {
    let bytes = read_secret_file(path)?;
    let content = SecretFileError::Content {
        path: path.to_owned(),
        expected: "64 hexadecimal digits, an Ed25519 seed",
    };
    let mut seed = Zeroizing::new([0u8; 32]);
    match hex::decode_to_slice(bytes.trim_ascii(), seed.as_mut_slice()) {
        Ok(()) => Ok(IdentityKey::from_seed(&seed)),
        Err(_) => Err(content),
    }
}

/// Writes a statement key in the form [`read_identity_key`] reads.
///
/// # Errors
/// [`SecretFileError::Io`], also when the file exists.
pub fn write_identity_key(path: &Path, key: &IdentityKey) -> Result<(), SecretFileError> {
    let seed = key.to_seed();
    let mut text = Zeroizing::new(hex::encode(seed.as_slice()));
    text.push('\n');
    write_secret_file(path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_comes_back_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        let key = IdentityKey::from_seed(&[9; 32]);
        write_identity_key(&path, &key).unwrap();
        assert_eq!(read_identity_key(&path).unwrap().public(), key.public());
        assert!(matches!(
            write_identity_key(&path, &key),
            Err(SecretFileError::Io { .. })
        ));
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        write_secret_file(&path, b"hunter2").unwrap();
        let error = read_identity_key(&path).unwrap_err().to_string();
        assert!(error.contains("64 hexadecimal digits") && !error.contains("hunter2"));
    }
}
