//! Keys in a PKCS#11 token: the backend of [`Token`] over the worker process of `countersign-hsm`.
//!
//! A key's object in the token has the key's name as its `CKA_ID` and label. Every signature is verified under the public key
//! here, in the client and by [`TokenKeys`](crate::token::TokenKeys) once more, against the pinned one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use countersign_hsm::{
    Failure, HsmClient, HsmError, KeyHandle, KeyId as TokenKeyId, KeyKind, Prehash, PublicPoint,
};
use countersign_policy::{KeyId, Protocol, PublicKey, Signature};

use super::{Token, TokenError};
use crate::gate::Released;
use crate::threshold::Preimage;

/// A token that a worker process holds the login of.
#[derive(Debug)]
pub struct HsmToken {
    client: HsmClient,
    /// Keys that were looked up and checked: looking one up takes time in proportion to the keys in the token.
    opened: Mutex<BTreeMap<(KeyId, Protocol), KeyHandle>>,
}

impl HsmToken {
    /// Takes a client over: from here on the gate alone reaches its keys.
    pub fn new(client: HsmClient) -> Self {
        let opened = Mutex::default();
        Self { client, opened }
    }

    /// The key as it was found first. That it is the pinned one is checked with each signature, by whoever knows the pinned one; the
    /// worker looks the object up and checks its attributes again after each login.
    fn open(&self, key: &KeyId, protocol: Protocol) -> Result<KeyHandle, TokenError> {
        let opened = || self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (key.clone(), protocol);
        if let Some(handle) = opened().get(&name) {
            return Ok(handle.clone());
        }
        let point = self.describe(key, protocol)?;
        let handle = self.client.open_key_blocking(&object(key)?, point);
        let handle = handle.map_err(|error| failed(key, &error))?;
        opened().insert(name, handle.clone());
        Ok(handle)
    }

    fn describe(&self, key: &KeyId, protocol: Protocol) -> Result<PublicPoint, TokenError> {
        let id = object(key)?;
        let found = self.client.describe_blocking(kind(protocol), &id);
        found
            .map(|found| found.public)
            .map_err(|error| failed(key, &error))
    }
}

impl Token for HsmToken {
    fn public_key(&self, key: &KeyId, protocol: Protocol) -> Result<PublicKey, TokenError> {
        public(&self.describe(key, protocol)?)
    }

    fn generate(&self, key: &KeyId, protocol: Protocol) -> Result<PublicKey, TokenError> {
        let made =
            self.client
                .generate_key_pair_blocking(kind(protocol), &object(key)?, key.as_str());
        public(&made.map_err(|error| failed(key, &error))?)
    }

    fn sign(
        &self,
        key: &KeyId,
        protocol: Protocol,
        preimage: &Preimage,
        released: &Released,
    ) -> Result<Signature, TokenError> {
        if released.digest() != preimage.digest() {
            return Err(TokenError::OtherDigest);
        }
        let failed = |error: HsmError| failed(key, &error);
        let handle = self.open(key, protocol)?;
        if protocol.is_secp256k1() {
            let prehash = Prehash::new(*released.digest());
            let signature = self.client.sign_prehash_blocking(&handle, prehash);
            let bytes = signature.map_err(failed)?.bytes;
            let (r, s) = bytes.split_at(32);
            return match (r.try_into(), s.try_into()) {
                (Ok(r), Ok(s)) => Ok(Signature::Secp256k1 { r, s }),
                _ => Err(TokenError::Failed("a signature has 64 bytes".to_owned())),
            };
        }
        let signature = self.client.sign_ed25519_blocking(&handle, preimage.bytes());
        signature.map(Signature::Ed25519).map_err(failed)
    }
}

const fn kind(protocol: Protocol) -> KeyKind {
    match protocol.is_secp256k1() {
        true => KeyKind::Secp256k1,
        false => KeyKind::Ed25519,
    }
}

fn object(key: &KeyId) -> Result<TokenKeyId, TokenError> {
    TokenKeyId::new(key.as_str().as_bytes().to_vec()).map_err(|e| TokenError::Failed(e.to_string()))
}

fn public(point: &PublicPoint) -> Result<PublicKey, TokenError> {
    let bytes = point.as_bytes();
    let made = match point.kind() {
        KeyKind::Secp256k1 => bytes.try_into().ok().map(PublicKey::secp256k1),
        KeyKind::Ed25519 => bytes.try_into().ok().map(PublicKey::ed25519),
    };
    match made {
        Some(Ok(key)) => Ok(key),
        _ => Err(TokenError::Failed(
            "the token's public key is no point".to_owned(),
        )),
    }
}

fn failed(key: &KeyId, error: &HsmError) -> TokenError {
    match error {
        HsmError::Failed(Failure::Missing { .. }) => TokenError::Missing(key.clone()),
        HsmError::Failed(Failure::Exists(_)) => TokenError::Exists(key.clone()),
        HsmError::WrongSignature(_) => TokenError::WrongSignature(key.clone()),
        HsmError::Busy(_)
        | HsmError::Deadline
        | HsmError::NotReady { .. }
        | HsmError::Failed(Failure::Deadline(_)) => TokenError::Busy(error.to_string()),
        other => TokenError::Failed(other.to_string()),
    }
}
