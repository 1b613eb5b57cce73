//! Sealing: AES-256-GCM with associated data that says where a ciphertext belongs.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use countersign_policy::{Hash, MemberId};
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use super::kek::DataKey;

/// The form of a ciphertext: version, nonce, AES-256-GCM output.
const VERSION: u8 = 1;
const NONCE: usize = 12;

/// Where a ciphertext stands. Moved to any other place it does not open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub table: &'static str,
    pub column: &'static str,
    pub row: &'a str,
    pub key: &'a str,
    pub generation: u32,
}

/// A ciphertext that does not open at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sealed {table}.{column} of row {row:?} does not open: it was changed, or belongs to another row, key, generation or node"
)]
pub struct SealError {
    table: &'static str,
    column: &'static str,
    row: String,
}

/// Seals and opens with the store's data key.
pub(super) struct Sealer {
    cipher: Aes256Gcm,
    tag_key: Zeroizing<[u8; 32]>,
    node: MemberId,
}

impl Sealer {
    pub fn new(dek: &DataKey, node: MemberId) -> Self {
        let tag_key = Hash::derive("countersign/store/tag-key/v1", &[dek.as_slice()]);
        Self {
            cipher: Aes256Gcm::new((&**dek).into()),
            tag_key: Zeroizing::new(*tag_key.as_bytes()),
            node,
        }
    }

    pub fn seal(&self, place: Place<'_>, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; NONCE];
        OsRng.fill_bytes(&mut nonce);
        let payload = Payload {
            msg: secret,
            aad: &self.associated_data(place),
        };
        let sealed = self
            .cipher
            .encrypt((&nonce).into(), payload)
            .map_err(|_| place.error())?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let rest = match sealed.split_first() {
            Some((&VERSION, rest)) => rest,
            _ => return Err(place.error()),
        };
        let (nonce, ciphertext) = rest
            .split_first_chunk::<NONCE>()
            .ok_or_else(|| place.error())?;
        let payload = Payload {
            msg: ciphertext,
            aad: &self.associated_data(place),
        };
        self.cipher
            .decrypt(nonce.into(), payload)
            .map(Zeroizing::new)
            .map_err(|_| place.error())
    }

    /// A keyed hash by which two secrets are compared without opening the stored one.
    pub fn tag(&self, place: Place<'_>, secret: &[u8]) -> [u8; 32] {
        let place = self.associated_data(place);
        let parts = [self.tag_key.as_slice(), &place, secret];
        *Hash::derive("countersign/store/tag/v1", &parts).as_bytes()
    }

    /// Each part behind its length (8 bytes, big endian), so that no two places give the same bytes.
    fn associated_data(&self, place: Place<'_>) -> Vec<u8> {
        let generation = place.generation.to_be_bytes();
        let parts: [&[u8]; 7] = [
            b"countersign/store/v1",
            place.table.as_bytes(),
            place.column.as_bytes(),
            place.row.as_bytes(),
            place.key.as_bytes(),
            &generation,
            self.node.as_str().as_bytes(),
        ];
        let mut out = Vec::with_capacity(160);
        for part in parts {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

impl Place<'_> {
    fn error(&self) -> SealError {
        SealError {
            table: self.table,
            column: self.column,
            row: self.row.to_owned(),
        }
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}
