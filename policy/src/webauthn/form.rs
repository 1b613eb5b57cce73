//! The one form in which an assertion travels.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};

use crate::HexBytes;
use crate::canonical::{self, CanonicalError};

/// The greatest assertion in its form as bytes.
pub const MAX_ASSERTION: usize = 4096;

/// What an authenticator and a browser answered to a challenge. Nothing in it has been checked but its form and size.
///
/// As bytes: canonical JSON of an object with the members `authenticator_data`, `client_data_json`, `credential_id` and
/// `signature`, each base64url without padding, in at most [`MAX_ASSERTION`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    credential_id: HexBytes,
    authenticator_data: Vec<u8>,
    client_data_json: Vec<u8>,
    signature: Vec<u8>,
    bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    authenticator_data: String,
    client_data_json: String,
    credential_id: String,
    signature: String,
}

/// Why bytes are no assertion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssertionFormError {
    /// Not canonical JSON of the four members.
    #[error("not canonical JSON of an assertion: {0}")]
    Json(String),
    /// A member that is not canonical base64url.
    #[error("{0} is not canonical base64url without padding")]
    Base64(&'static str),
    /// More than [`MAX_ASSERTION`] bytes.
    #[error("an assertion has at most {MAX_ASSERTION} bytes, this one has {0}")]
    TooLong(usize),
}

impl From<CanonicalError> for AssertionFormError {
    fn from(error: CanonicalError) -> Self {
        match error {
            CanonicalError::TooLarge { size, .. } => Self::TooLong(size),
            error => Self::Json(error.to_string()),
        }
    }
}

impl Assertion {
    /// The answer of `navigator.credentials.get`, member by member.
    ///
    /// # Errors
    /// [`AssertionFormError::TooLong`].
    pub fn new(
        credential_id: Vec<u8>,
        authenticator_data: Vec<u8>,
        client_data_json: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Self, AssertionFormError> {
        let bytes = canonical::to_vec(&Form {
            authenticator_data: BASE64URL.encode(&authenticator_data),
            client_data_json: BASE64URL.encode(&client_data_json),
            credential_id: BASE64URL.encode(&credential_id),
            signature: BASE64URL.encode(&signature),
        })?;
        if bytes.len() > MAX_ASSERTION {
            return Err(AssertionFormError::TooLong(bytes.len()));
        }
        Ok(Self {
            credential_id: HexBytes(credential_id),
            authenticator_data,
            client_data_json,
            signature,
            bytes,
        })
    }

    /// Reads the form, and nothing else than it.
    ///
    /// # Errors
    /// [`AssertionFormError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AssertionFormError> {
        let form: Form = canonical::from_slice(bytes, MAX_ASSERTION)?;
        // The engine refuses padding and bits beyond the last byte, so one text is read for one value.
        let decode = |what, text: &str| {
            BASE64URL
                .decode(text)
                .map_err(|_| AssertionFormError::Base64(what))
        };
        Ok(Self {
            credential_id: HexBytes(decode("credential_id", &form.credential_id)?),
            authenticator_data: decode("authenticator_data", &form.authenticator_data)?,
            client_data_json: decode("client_data_json", &form.client_data_json)?,
            signature: decode("signature", &form.signature)?,
            bytes: bytes.to_vec(),
        })
    }

    /// The form: what stands in an envelope, as base64, in place of a signature.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which credential is said to have signed.
    pub fn credential_id(&self) -> &HexBytes {
        &self.credential_id
    }

    /// What the authenticator says, as received.
    pub fn authenticator_data(&self) -> &[u8] {
        &self.authenticator_data
    }

    /// What the browser says, as received.
    pub fn client_data_json(&self) -> &[u8] {
        &self.client_data_json
    }

    /// The signature over both.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}
