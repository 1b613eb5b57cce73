//! The PIN: from a file that its owner alone can read, or from a person's keyboard.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::files::{SecretFileError, read_secret_file};

/// A token's PIN or where it is. Never an argument, never an environment variable, never shown.
#[derive(Clone)]
pub enum Pin {
    /// A file with mode 0600; one line end at its end does not count. The worker alone reads it, at each login.
    File(PathBuf),
    /// Typed by a person; given to the worker over the pipe.
    Typed(Zeroizing<String>),
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Typed(_) => f.write_str("Typed(..)"),
        }
    }
}

/// Reads a PIN file.
pub(crate) fn read_pin_file(path: &std::path::Path) -> Result<Zeroizing<String>, SecretFileError> {
    let mut bytes = read_secret_file(path)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    match std::str::from_utf8(&bytes) {
        Ok(pin) if !pin.is_empty() && pin.len() <= MAX_PIN => Ok(Zeroizing::new(pin.to_owned())),
        _ => Err(SecretFileError::Content {
            path: path.to_owned(),
            expected: "a PIN of 1 to 255 bytes of UTF-8 text",
        }),
    }
}

const MAX_PIN: usize = 255;
