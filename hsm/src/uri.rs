//! RFC 7512 URIs, strictly: an attribute that is not known, or stands twice, or is written badly, is refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::types::{KeyId, KeyIdError};

/// What a `pkcs11:` URI names: a token, a key in it, or both. Never a slot number: tokens move between slots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pkcs11Uri {
    /// `token`: the token's label.
    pub token: Option<String>,
    /// `serial`: its serial number.
    pub serial: Option<String>,
    /// `manufacturer`: its maker.
    pub manufacturer: Option<String>,
    /// `model`: its model.
    pub model: Option<String>,
    /// `object`: the key's label.
    pub object: Option<String>,
    /// `id`: the key's `CKA_ID`.
    pub id: Option<KeyId>,
}

/// Why text is no PKCS#11 URI of use here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// The scheme is missing.
    #[error("a PKCS#11 URI begins with pkcs11: (RFC 7512)")]
    Scheme,
    /// Not `name=value`.
    #[error("{0:?} in a PKCS#11 URI is not name=value")]
    Pair(String),
    /// Unknown, or of no use here.
    #[error(
        "the attribute {0:?} of a PKCS#11 URI is not used here: use token, serial, manufacturer, model, object and id"
    )]
    Unknown(String),
    /// `slot-id` and the like.
    #[error("slot numbers change: name the token by token= and serial=")]
    Slot,
    /// Secrets and settings after the question mark.
    #[error(
        "a PKCS#11 URI has no query here: module and PIN file have settings of their own, and a PIN never stands in one"
    )]
    Query,
    /// Twice.
    #[error("the attribute {0:?} stands twice in a PKCS#11 URI")]
    Twice(String),
    /// A bad percent sign, or a character that has to be escaped.
    #[error(
        "the value of {0:?} in a PKCS#11 URI is not written as RFC 7512 says; escape other bytes as %XX"
    )]
    Value(String),
    /// The `id` is no key id.
    #[error("id in a PKCS#11 URI")]
    Id(#[from] KeyIdError),
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let path = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        if path.contains('?') {
            return Err(UriError::Query);
        }
        let mut uri = Self::default();
        for pair in path.split(';').filter(|_| !path.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| UriError::Pair(pair.to_owned()))?;
            let bytes = unescape(name, value)?;
            if name == "id" {
                put(&mut uri.id, name, KeyId::new(bytes)?)?;
                continue;
            }
            let text = String::from_utf8(bytes).map_err(|_| UriError::Value(name.to_owned()))?;
            match name {
                "token" => put(&mut uri.token, name, text)?,
                "serial" => put(&mut uri.serial, name, text)?,
                "manufacturer" => put(&mut uri.manufacturer, name, text)?,
                "model" => put(&mut uri.model, name, text)?,
                "object" => put(&mut uri.object, name, text)?,
                "slot-id" | "slot-description" | "slot-manufacturer" => return Err(UriError::Slot),
                _ => return Err(UriError::Unknown(name.to_owned())),
            }
        }
        Ok(uri)
    }
}

fn put<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), UriError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Twice(name.to_owned())),
    }
}

/// `pk11-res-avail` and unreserved characters stand for themselves; everything else is escaped.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=&".contains(&byte)
}

fn unescape(name: &str, value: &str) -> Result<Vec<u8>, UriError> {
    let bad = || UriError::Value(name.to_owned());
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().ok_or_else(bad)?, bytes.next().ok_or_else(bad)?];
            let mut decoded = [0u8; 1];
            hex::decode_to_slice(digits, &mut decoded).map_err(|_| bad())?;
            out.extend_from_slice(&decoded);
        } else if plain(byte) {
            out.push(byte);
        } else {
            return Err(bad());
        }
    }
    if out.is_empty() || out.len() > MAX_VALUE {
        return Err(bad());
    }
    Ok(out)
}

/// Token labels have 32 bytes; nothing needs more than this.
const MAX_VALUE: usize = 128;

impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        let texts = [
            ("token", self.token.as_deref().map(str::as_bytes)),
            ("serial", self.serial.as_deref().map(str::as_bytes)),
            (
                "manufacturer",
                self.manufacturer.as_deref().map(str::as_bytes),
            ),
            ("model", self.model.as_deref().map(str::as_bytes)),
            ("object", self.object.as_deref().map(str::as_bytes)),
            ("id", self.id.as_ref().map(KeyId::as_bytes)),
        ];
        let mut first = true;
        for (name, value) in texts {
            let Some(value) = value else { continue };
            write!(f, "{}{name}=", if first { "" } else { ";" })?;
            first = false;
            for &byte in value {
                // An id is always escaped, as RFC 7512 advises.
                match plain(byte) && name != "id" {
                    true => write!(f, "{}", char::from(byte))?,
                    false => write!(f, "%{byte:02X}")?,
                }
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Pkcs11Uri {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        text.parse()
    }
}

impl From<Pkcs11Uri> for String {
    fn from(uri: Pkcs11Uri) -> Self {
        uri.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_uri_names_token_and_key() {
        let uri: Pkcs11Uri = "pkcs11:token=The%20Vault;serial=DECC0401648;id=%00%ff"
            .parse()
            .unwrap();
        assert_eq!(uri.token.as_deref(), Some("The Vault"));
        assert_eq!(uri.serial.as_deref(), Some("DECC0401648"));
        assert_eq!(uri.id, Some(KeyId::new(vec![0, 255]).unwrap()));
        assert_eq!(
            uri.to_string(),
            "pkcs11:token=The%20Vault;serial=DECC0401648;id=%00%FF"
        );
        assert_eq!(
            "pkcs11:".parse::<Pkcs11Uri>().unwrap(),
            Pkcs11Uri::default()
        );
    }

    #[test]
    fn what_is_vague_secret_or_unknown_is_refused() {
        let cases = [
            ("token=a", UriError::Scheme),
            ("pkcs11:slot-id=0", UriError::Slot),
            ("pkcs11:token=a?pin-value=1234", UriError::Query),
            ("pkcs11:token=a;token=b", UriError::Twice("token".into())),
            ("pkcs11:vendor=a", UriError::Unknown("vendor".into())),
            ("pkcs11:token", UriError::Pair("token".into())),
            ("pkcs11:token=a;", UriError::Pair(String::new())),
            ("pkcs11:token=a b", UriError::Value("token".into())),
            ("pkcs11:token=%4", UriError::Value("token".into())),
            ("pkcs11:token=%zz", UriError::Value("token".into())),
            ("pkcs11:token=", UriError::Value("token".into())),
            ("pkcs11:id=csn-canary", UriError::Id(KeyIdError::Reserved)),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Pkcs11Uri>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(token in "\\PC{1,20}", id in proptest::collection::vec(any::<u8>(), 1..32)) {
            prop_assume!(!id.starts_with(b"csn-"));
            let uri = Pkcs11Uri { token: Some(token), id: Some(KeyId::new(id).unwrap()), ..Pkcs11Uri::default() };
            prop_assert_eq!(uri.to_string().parse::<Pkcs11Uri>(), Ok(uri));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}") {
            let _ = text.parse::<Pkcs11Uri>();
            let _ = format!("pkcs11:{text}").parse::<Pkcs11Uri>();
        }
    }
}
