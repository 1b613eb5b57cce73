//! What the browser says: `clientDataJSON` (Web Authentication Level 3, section 5.8.1).

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::AssertionError;
use crate::bundle::WebAuthnPolicy;
use crate::hash::Hash;

/// Why client data is refused before anybody asks what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientDataError {
    /// Not a JSON object with the members that must be there, each once.
    #[error("{0}")]
    Json(String),
}

/// The members that count. Browsers may add others, which are passed over; a name that stands twice is refused wherever
/// two readers could take different ones.
pub(super) struct ClientData {
    kind: String,
    challenge: String,
    origin: String,
    cross_origin: bool,
    top_origin: bool,
}

impl ClientData {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ClientDataError> {
        serde_json::from_slice(bytes).map_err(|error| ClientDataError::Json(error.to_string()))
    }

    pub(super) fn require(
        self,
        policy: &WebAuthnPolicy,
        challenge: &Hash,
    ) -> Result<(), AssertionError> {
        if self.kind != "webauthn.get" {
            return Err(AssertionError::Type(self.kind));
        }
        if self.challenge != BASE64URL.encode(challenge.as_bytes()) {
            return Err(AssertionError::Challenge);
        }
        // Compared as text: no normalisation that a page could play with.
        if !policy.origins.contains(&self.origin) {
            return Err(AssertionError::Origin(self.origin));
        }
        if self.cross_origin {
            return Err(AssertionError::CrossOrigin);
        }
        if self.top_origin {
            return Err(AssertionError::TopOrigin);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for ClientData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = ClientData;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client data of a WebAuthn assertion")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClientData, A::Error> {
        let (mut kind, mut challenge, mut origin) = (None, None, None);
        let (mut cross_origin, mut top_origin) = (false, false);
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "type" => kind = Some(map.next_value()?),
                "challenge" => challenge = Some(map.next_value()?),
                "origin" => origin = Some(map.next_value()?),
                "crossOrigin" => cross_origin = map.next_value()?,
                "topOrigin" => {
                    // Its presence alone says that there was a page around.
                    map.next_value::<IgnoredAny>()?;
                    top_origin = true;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format_args!(
                    "{twice:?} stands there twice"
                )));
            }
        }
        Ok(ClientData {
            kind: kind.ok_or_else(|| A::Error::missing_field("type"))?,
            challenge: challenge.ok_or_else(|| A::Error::missing_field("challenge"))?,
            origin: origin.ok_or_else(|| A::Error::missing_field("origin"))?,
            cross_origin,
            top_origin,
        })
    }
}
