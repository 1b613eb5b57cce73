//! DSSE v1 envelopes with Ed25519 signatures, or with WebAuthn assertions in their place.
//!
//! Follows the Dead Simple Signing Envelope protocol v1.0.2: a signature covers the pre-authentication encoding
//! `DSSEv1 SP len(type) SP type SP len(payload) SP payload`. The key id is a hint and never trusted: which key must
//! have signed follows from the issuer named *inside* the payload and the policy bundle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::hash::Hash;
use crate::webauthn::{Assertion, AssertionFormError, MAX_ASSERTION};

/// The greatest payload of a statement, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// The same as base64 text.
const MAX_PAYLOAD_BASE64: usize = MAX_PAYLOAD.div_ceil(3) * 4;
/// The greatest signature, an assertion, as base64 text.
const MAX_SIG_BASE64: usize = MAX_ASSERTION.div_ceil(3) * 4;
/// The greatest number of signatures on one envelope.
pub const MAX_SIGNATURES: usize = 64;

/// A DSSE envelope as received. Nothing in it has been checked but its form and sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "EnvelopeForm", into = "EnvelopeForm")]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// The hint: the id of the member who signed.
    pub keyid: String,
    /// The signature.
    pub sig: SignatureBytes,
}

/// What stands in the `sig` of an envelope, as base64. The two forms never have the same length, and which of them counts
/// is said by the kind of the statement and by the member's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureBytes {
    /// 64 bytes, RFC 8032, over the pre-authentication encoding.
    Ed25519([u8; 64]),
    /// Canonical JSON of a WebAuthn assertion, whose challenge is the SHA-256 of the pre-authentication encoding.
    Assertion(Box<Assertion>),
}

impl SignatureBytes {
    /// The bytes as they stand in the envelope.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) => bytes,
            Self::Assertion(assertion) => assertion.as_bytes(),
        }
    }

    fn read(bytes: Vec<u8>) -> Result<Self, EnvelopeError> {
        if bytes.first() == Some(&b'{') && bytes.len() != 64 {
            let assertion = Assertion::from_bytes(&bytes)?;
            return Ok(Self::Assertion(Box::new(assertion)));
        }
        bytes
            .try_into()
            .map(Self::Ed25519)
            .map_err(|bytes: Vec<u8>| EnvelopeError::SignatureLength(bytes.len()))
    }
}

impl AsRef<[u8]> for SignatureBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct EnvelopeForm {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<SignatureForm>,
}

#[derive(Serialize, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct SignatureForm {
    keyid: String,
    sig: String,
}

/// Why bytes are no acceptable envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Base64 that does not decode, or is not in its one canonical form.
    #[error("{0} is not canonical base64")]
    Base64(&'static str),
    /// A signature that is not 64 bytes.
    #[error("an Ed25519 signature has 64 bytes, this one has {0}")]
    SignatureLength(usize),
    /// A WebAuthn assertion that is not in its one form.
    #[error("the assertion in place of a signature is not acceptable")]
    Assertion(#[from] AssertionFormError),
    /// None, or more than [`MAX_SIGNATURES`].
    #[error("an envelope has 1 to {MAX_SIGNATURES} signatures, this one has {0}")]
    SignatureCount(usize),
    /// More than [`MAX_PAYLOAD`] bytes, or a payload type or key id beyond reason.
    #[error("{0} is too long")]
    TooLong(&'static str),
}

fn decode(what: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    BASE64.decode(text).map_err(|_| EnvelopeError::Base64(what))
}

impl TryFrom<EnvelopeForm> for Envelope {
    type Error = EnvelopeError;
    fn try_from(form: EnvelopeForm) -> Result<Self, EnvelopeError> {
        if form.payload.len() > MAX_PAYLOAD_BASE64 {
            return Err(EnvelopeError::TooLong("payload"));
        }
        if form.payload_type.len() > 128 {
            return Err(EnvelopeError::TooLong("payloadType"));
        }
        if form.signatures.is_empty() || form.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::SignatureCount(form.signatures.len()));
        }
        let mut signatures = Vec::with_capacity(form.signatures.len());
        for signature in form.signatures {
            if signature.keyid.len() > 128 {
                return Err(EnvelopeError::TooLong("keyid"));
            }
            if signature.sig.len() > MAX_SIG_BASE64 {
                return Err(EnvelopeError::TooLong("sig"));
            }
            signatures.push(EnvelopeSignature {
                keyid: signature.keyid,
                sig: SignatureBytes::read(decode("sig", &signature.sig)?)?,
            });
        }
        Ok(Self {
            payload_type: form.payload_type,
            payload: decode("payload", &form.payload)?,
            signatures,
        })
    }
}

impl From<Envelope> for EnvelopeForm {
    fn from(envelope: Envelope) -> Self {
        Self {
            payload_type: envelope.payload_type,
            payload: BASE64.encode(&envelope.payload),
            signatures: envelope
                .signatures
                .into_iter()
                .map(|s| SignatureForm {
                    keyid: s.keyid,
                    sig: BASE64.encode(s.sig.as_slice()),
                })
                .collect(),
        }
    }
}

impl Envelope {
    /// An envelope of `payload` with the first signature on it.
    pub fn sign(payload_type: &str, payload: Vec<u8>, keyid: &str, key: &IdentityKey) -> Self {
        let sig = key.sign(&pre_authentication_encoding(payload_type, &payload));
        Self::with(payload_type, payload, keyid, SignatureBytes::Ed25519(sig))
    }

    /// The SHA-256 of the pre-authentication encoding of what is not signed yet: the challenge for a WebAuthn assertion,
    /// and the [`Envelope::digest`] afterwards.
    pub fn challenge(payload_type: &str, payload: &[u8]) -> Hash {
        Hash::sha256(&pre_authentication_encoding(payload_type, payload))
    }

    /// An envelope of `payload` with a WebAuthn assertion, made for [`Envelope::challenge`], in place of the first
    /// signature.
    pub fn assert(payload_type: &str, payload: Vec<u8>, keyid: &str, assertion: Assertion) -> Self {
        let sig = SignatureBytes::Assertion(Box::new(assertion));
        Self::with(payload_type, payload, keyid, sig)
    }

    fn with(payload_type: &str, payload: Vec<u8>, keyid: &str, sig: SignatureBytes) -> Self {
        Self {
            payload_type: payload_type.to_owned(),
            payload,
            signatures: vec![EnvelopeSignature {
                keyid: keyid.to_owned(),
                sig,
            }],
        }
    }

    /// Adds one more signature over the same bytes (quorum-signed statements).
    pub fn add_signature(&mut self, keyid: &str, key: &IdentityKey) -> Result<(), EnvelopeError> {
        let sig = key.sign(&self.pre_authentication_encoding());
        self.add(keyid, SignatureBytes::Ed25519(sig))
    }

    /// Adds a WebAuthn assertion whose challenge is [`Envelope::digest`].
    pub fn add_assertion(
        &mut self,
        keyid: &str,
        assertion: Assertion,
    ) -> Result<(), EnvelopeError> {
        self.add(keyid, SignatureBytes::Assertion(Box::new(assertion)))
    }

    fn add(&mut self, keyid: &str, sig: SignatureBytes) -> Result<(), EnvelopeError> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(EnvelopeError::SignatureCount(
                self.signatures.len().saturating_add(1),
            ));
        }
        self.signatures.push(EnvelopeSignature {
            keyid: keyid.to_owned(),
            sig,
        });
        Ok(())
    }

    /// The same statement with other signatures: one that came alone, or those of several members put together. Whether
    /// they verify shows when it is opened.
    ///
    /// # Errors
    /// None, or more than [`MAX_SIGNATURES`].
    pub fn with_signatures(
        &self,
        signatures: Vec<EnvelopeSignature>,
    ) -> Result<Self, EnvelopeError> {
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::SignatureCount(signatures.len()));
        }
        Ok(Self {
            signatures,
            ..self.clone()
        })
    }

    /// The payload type, as claimed.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The signed bytes, as received.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, unchecked.
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }

    /// The bytes a signature covers (DSSE protocol, "PAE").
    pub fn pre_authentication_encoding(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload)
    }

    /// SHA-256 of the pre-authentication encoding: the name of this statement wherever another one refers to it,
    /// and the challenge of a WebAuthn approval.
    pub fn digest(&self) -> Hash {
        Hash::sha256(&self.pre_authentication_encoding())
    }
}

fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    out.extend_from_slice(payload);
    out
}

/// The public half of a statement key: 32 bytes, RFC 8032; text form is 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdentityPublicKey(Hash);

impl IdentityPublicKey {
    /// Takes 32 bytes. Whether they are a usable curve point shows when a signature is verified.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Hash::from_bytes(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether the bytes are the canonical form of a curve point outside the small subgroup, so that signatures can bind
    /// and one key has one text.
    pub fn is_usable(&self) -> bool {
        VerifyingKey::from_bytes(self.as_bytes()).is_ok_and(|key| {
            !key.is_weak() && key.to_edwards().compress().as_bytes() == self.as_bytes()
        })
    }

    /// Strict verification (RFC 8032 with canonical encodings, small-order keys refused). A signature that is not 64 bytes
    /// does not verify.
    pub fn verify(&self, message: &[u8], signature: impl AsRef<[u8]>) -> bool {
        let Ok(signature) = signature.as_ref().try_into() else {
            return false;
        };
        ReadyKey::new(self).is_some_and(|key| key.verify(message, signature))
    }
}

/// A statement key whose point is decompressed already: for keys that verify again and again.
#[derive(Debug, Clone)]
pub(crate) struct ReadyKey(VerifyingKey);

impl ReadyKey {
    /// None when the bytes are no point; such a key verifies nothing.
    pub(crate) fn new(key: &IdentityPublicKey) -> Option<Self> {
        VerifyingKey::from_bytes(key.as_bytes()).ok().map(Self)
    }

    /// The key's bytes.
    pub(crate) fn public(&self) -> IdentityPublicKey {
        IdentityPublicKey::from_bytes(self.0.to_bytes())
    }

    /// See [`IdentityPublicKey::verify`].
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl std::fmt::Display for IdentityPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for IdentityPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret half of a statement key. Not `Clone`, redacted, zeroized on drop.
pub struct IdentityKey(SigningKey);

impl IdentityKey {
    /// A fresh key.
    pub fn generate(rng: &mut (impl rand_core::RngCore + rand_core::CryptoRng)) -> Self {
        Self(SigningKey::generate(rng))
    }

    /// A key from its 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed, for a file that only its owner can read.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> IdentityPublicKey {
        IdentityPublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityKey({})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_authentication_encoding_matches_the_dsse_specification() {
        // secure-systems-lab/dsse, protocol.md, "Test Vectors".
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn the_envelope_survives_json_and_refuses_sloppy_forms() {
        let key = IdentityKey::from_seed(&[7; 32]);
        let envelope = Envelope::sign("t", b"{}".to_vec(), "alice", &key);
        let json = serde_json::to_string(&envelope).unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&json).unwrap(), envelope);
        assert!(key.public().verify(
            &envelope.pre_authentication_encoding(),
            &envelope.signatures()[0].sig
        ));
        for bad in [
            json.replace("\"e30=\"", "\"e30\""),
            json.replace("\"e30=\"", "\"e31=\""),
            json.replace("\"keyid\"", "\"key\""),
            r#"{"payloadType":"t","payload":"e30=","signatures":[]}"#.to_owned(),
        ] {
            assert!(serde_json::from_str::<Envelope>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let key = IdentityKey::from_seed(&[7; 32]);
        assert!(!format!("{key:?}").contains(&hex::encode([7u8; 32])));
    }
}
