//! What wraps a store's data key: a key derived from a passphrase file, or one in a PKCS#11 token ([`super::TokenKek`]).

use std::path::Path;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use crate::files::{SecretFileError, read_secret_file};

/// A data key: 32 bytes, wiped on drop.
pub type DataKey = Zeroizing<[u8; 32]>;

/// A key that encrypts the store's data key and never encrypts anything else.
pub trait KeyEncryptionKey: Send + Sync {
    /// Names the kind of key, and which one; stored in clear beside the wrapped data key.
    fn id(&self) -> String;

    /// Encrypts a data key; `aad` names the store, and opening demands the same.
    ///
    /// # Errors
    /// [`KekError`] when the key cannot be used.
    fn wrap(&self, dek: &DataKey, aad: &[u8]) -> Result<Vec<u8>, KekError>;

    /// Decrypts a wrapped data key.
    ///
    /// # Errors
    /// [`KekError::Refused`] when the key, the store or the bytes are not the ones of the wrapping.
    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<DataKey, KekError>;
}

/// Why a key encryption key cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The passphrase file cannot be read, or others can read it.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Too easily guessed.
    #[error(
        "a passphrase has {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes of UTF-8 text, this one has {0}"
    )]
    Length(usize),
    /// The wrapped key is not in the known form, or demands parameters beyond bounds.
    #[error("the wrapped data key is malformed: {0}")]
    Malformed(&'static str),
    /// Authentication failed.
    #[error(
        "the passphrase or key is wrong, or the store's header was changed or belongs to another store"
    )]
    Refused,
    /// The token cannot be used.
    #[error("the token cannot be used")]
    Token(#[source] Box<countersign_hsm::HsmError>),
    /// The key derivation or cipher failed.
    #[error("cannot derive or use the key: {0}")]
    Cipher(String),
}

/// The least length of a passphrase in bytes.
pub const MIN_PASSPHRASE: usize = 16;
/// The greatest length of a passphrase in bytes.
pub const MAX_PASSPHRASE: usize = 1024;

/// Argon2id cost (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Argon2Cost {
    /// 64 MiB and 3 passes: the memory-constrained recommendation of RFC 9106, section 4, with one lane.
    fn default() -> Self {
        Self {
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 1,
        }
    }
}

/// A key derived from a passphrase with Argon2id. Salt and cost stand in front of each wrapped key.
pub struct PassphraseKek {
    passphrase: Zeroizing<Vec<u8>>,
    cost: Argon2Cost,
}

const MAGIC: &[u8; 4] = b"CSK1";
const HEADER: usize = 4 + 4 + 4 + 4 + 16 + 12;
/// A header from a manipulated file must not make the node allocate without bound.
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 16;

impl PassphraseKek {
    /// Takes a passphrase; one line end at its end does not count.
    ///
    /// # Errors
    /// [`KekError::Length`].
    pub fn new(passphrase: Zeroizing<Vec<u8>>) -> Result<Self, KekError> {
        let mut passphrase = passphrase;
        if passphrase.last() == Some(&b'\n') {
            passphrase.pop();
            if passphrase.last() == Some(&b'\r') {
                passphrase.pop();
            }
        }
        let length = passphrase.len();
        let text = std::str::from_utf8(&passphrase).is_ok();
        if !text || !(MIN_PASSPHRASE..=MAX_PASSPHRASE).contains(&length) {
            return Err(KekError::Length(length));
        }
        Ok(Self {
            passphrase,
            cost: Argon2Cost::default(),
        })
    }

    /// Reads the passphrase from a file that only its owner can read.
    ///
    /// # Errors
    /// [`KekError::File`], [`KekError::Length`].
    pub fn from_file(path: &Path) -> Result<Self, KekError> {
        Self::new(read_secret_file(path)?)
    }

    /// Uses another Argon2id cost for keys wrapped from now on.
    #[must_use]
    pub fn with_cost(mut self, cost: Argon2Cost) -> Self {
        self.cost = cost;
        self
    }

    fn derive(&self, cost: Argon2Cost, salt: &[u8]) -> Result<DataKey, KekError> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
            .map_err(|e| KekError::Cipher(e.to_string()))?;
        let mut key = DataKey::default();
        let mut memory = Zeroizing::new(vec![Block::new(); params.block_count()]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                &self.passphrase,
                salt,
                key.as_mut_slice(),
                memory.as_mut_slice(),
            )
            .map_err(|e| KekError::Cipher(e.to_string()))?;
        Ok(key)
    }
}

impl KeyEncryptionKey for PassphraseKek {
    fn id(&self) -> String {
        "passphrase/argon2id".to_owned()
    }

    fn wrap(&self, dek: &DataKey, aad: &[u8]) -> Result<Vec<u8>, KekError> {
        let (mut salt, mut nonce) = ([0u8; 16], [0u8; 12]);
        OsRng.fill_bytes(&mut salt);
        OsRng.fill_bytes(&mut nonce);
        let mut out = Vec::with_capacity(HEADER + 48);
        out.extend_from_slice(MAGIC);
        for number in [self.cost.memory_kib, self.cost.passes, self.cost.lanes] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&salt);
        out.extend_from_slice(&nonce);
        let key = self.derive(self.cost, &salt)?;
        let payload = Payload {
            msg: dek.as_slice(),
            aad: &with_header(&out, aad),
        };
        let sealed = cipher(&key)
            .encrypt((&nonce).into(), payload)
            .map_err(|e| KekError::Cipher(e.to_string()))?;
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<DataKey, KekError> {
        let (header, sealed) = wrapped
            .split_at_checked(HEADER)
            .ok_or(KekError::Malformed("too short"))?;
        let rest = header
            .strip_prefix(MAGIC)
            .ok_or(KekError::Malformed("another form of key wrapping"))?;
        let (memory_kib, rest) = number(rest)?;
        let (passes, rest) = number(rest)?;
        let (lanes, rest) = number(rest)?;
        if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
            return Err(KekError::Malformed("cost beyond bounds"));
        }
        let (salt, nonce) = rest
            .split_first_chunk::<16>()
            .and_then(|(salt, rest)| Some((salt, rest.first_chunk::<12>()?)))
            .ok_or(KekError::Malformed("too short"))?;
        let cost = Argon2Cost {
            memory_kib,
            passes,
            lanes,
        };
        let key = self.derive(cost, salt)?;
        let payload = Payload {
            msg: sealed,
            aad: &with_header(header, aad),
        };
        let opened = Zeroizing::new(
            cipher(&key)
                .decrypt(nonce.into(), payload)
                .map_err(|_| KekError::Refused)?,
        );
        let mut dek = DataKey::default();
        if opened.len() != dek.len() {
            return Err(KekError::Malformed("a data key has 32 bytes"));
        }
        dek.copy_from_slice(&opened);
        Ok(dek)
    }
}

impl std::fmt::Debug for PassphraseKek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PassphraseKek")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

fn cipher(key: &DataKey) -> Aes256Gcm {
    Aes256Gcm::new((&**key).into())
}

fn with_header(header: &[u8], aad: &[u8]) -> Vec<u8> {
    [header, aad].concat()
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), KekError> {
    let (first, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or(KekError::Malformed("too short"))?;
    Ok((u32::from_be_bytes(*first), rest))
}
