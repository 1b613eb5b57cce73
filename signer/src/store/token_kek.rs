//! A store's data key, wrapped by an AES key that never leaves a PKCS#11 token.

use countersign_hsm::{Failure, HsmClient, HsmError, KeyId, Sealed, Secret32};

use super::kek::{DataKey, KekError, KeyEncryptionKey};

/// AES-256-GCM in the token: 12-byte vector, 128-bit tag. The wrapped key is `CSK2`, a mechanism (1), the key's id behind its length,
/// the vector, and ciphertext with tag; all before the vector is authenticated together with the place.
pub struct TokenKek {
    token: HsmClient,
    id: KeyId,
}

const MAGIC: &[u8; 4] = b"CSK2";
/// CKM_AES_GCM with a 256-bit key.
const AES_256_GCM: u8 = 1;
const IV: usize = 12;

impl TokenKek {
    /// The key with this `CKA_ID` in the token. Ids of such keys are random, so that they name the key everywhere.
    pub fn new(token: HsmClient, id: KeyId) -> Self {
        Self { token, id }
    }

    fn header(&self) -> Vec<u8> {
        let id = self.id.as_bytes();
        let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
        [MAGIC.as_slice(), &[AES_256_GCM, length], id].concat()
    }

    fn associated_data(&self, aad: &[u8]) -> Vec<u8> {
        let header = self.header();
        let length = u64::try_from(header.len())
            .unwrap_or(u64::MAX)
            .to_be_bytes();
        [length.as_slice(), &header, aad].concat()
    }
}

impl KeyEncryptionKey for TokenKek {
    fn id(&self) -> String {
        format!("pkcs11/aes-256-gcm/{}", self.id)
    }

    fn wrap(&self, dek: &DataKey, aad: &[u8]) -> Result<Vec<u8>, KekError> {
        let secret = Secret32::new(dek);
        let sealed = self
            .token
            .wrap_blocking(&self.id, &self.associated_data(aad), &secret)
            .map_err(refused)?;
        Ok([self.header().as_slice(), &sealed.iv, &sealed.sealed].concat())
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<DataKey, KekError> {
        if !wrapped.starts_with(MAGIC) {
            return Err(KekError::Malformed("another form of key wrapping"));
        }
        let rest = wrapped
            .strip_prefix(self.header().as_slice())
            .ok_or(KekError::Malformed("wrapped by another key or mechanism"))?;
        let (iv, sealed) = rest
            .split_first_chunk::<IV>()
            .ok_or(KekError::Malformed("too short"))?;
        let sealed = Sealed {
            iv: *iv,
            sealed: sealed.to_vec(),
        };
        let opened = self
            .token
            .unwrap_blocking(&self.id, &self.associated_data(aad), &sealed)
            .map_err(refused)?;
        let mut dek = DataKey::default();
        dek.copy_from_slice(opened.expose());
        Ok(dek)
    }
}

fn refused(error: HsmError) -> KekError {
    match error {
        HsmError::Failed(Failure::SealRefused) => KekError::Refused,
        other => KekError::Token(Box::new(other)),
    }
}

impl std::fmt::Debug for TokenKek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKek")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
