//! Typed identifiers: short, lower-case names that people write in bundles and read in logs.

use serde::{Deserialize, Serialize};

/// A name that does not have the form an identifier must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {value:?} is not an identifier: use 1 to {max} characters of a-z, 0-9, '.', '_' or '-', starting with a letter or digit"
)]
pub struct IdError {
    what: &'static str,
    value: String,
    max: usize,
}

/// The greatest length of an identifier, in bytes.
const MAX_LEN: usize = 64;

fn check(what: &'static str, value: &str) -> Result<(), IdError> {
    let form = value
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    let start = value
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if form && start && value.len() <= MAX_LEN {
        return Ok(());
    }
    Err(IdError {
        what,
        value: value.chars().take(MAX_LEN).collect(),
        max: MAX_LEN,
    })
}

macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the form (1 to 64 characters of `a-z 0-9 . _ -`) and takes the name.
            pub fn new(value: impl Into<String>) -> Result<Self, IdError> {
                let value = value.into();
                check($what, &value)?;
                Ok(Self(value))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(value: String) -> Result<Self, IdError> {
                Self::new(value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(value: &str) -> Result<Self, IdError> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

identifiers! {
    /// A person, service or node named in the policy bundle.
    MemberId, "member id";
    /// A threshold or HSM key.
    KeyId, "key id";
    /// A wallet: a key, a derivation prefix and the networks it is used on.
    WalletId, "wallet id";
    /// A rule of the policy bundle.
    RuleId, "rule id";
    /// People who approve together.
    GroupId, "group id";
    /// A cumulative limit of the policy bundle.
    LimitId, "limit id";
    /// Nodes whose ledgers together hold limits.
    LedgerGroupId, "ledger group id";
    /// The unique id of one statement, chosen by its issuer.
    StatementId, "statement id";
}

/// A payment layer's own permanent name for a payment. It can be signed at most once, ever.
///
/// 1 to 128 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExternalId(String);

impl ExternalId {
    /// Checks the form and takes the name.
    pub fn new(value: impl Into<String>) -> Result<Self, IdError> {
        let value = value.into();
        if !value.is_empty() && value.len() <= 128 && value.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(value));
        }
        Err(IdError {
            what: "external_id",
            value: value.chars().take(MAX_LEN).collect(),
            max: 128,
        })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ExternalId {
    type Error = IdError;
    fn try_from(value: String) -> Result<Self, IdError> {
        Self::new(value)
    }
}

impl From<ExternalId> for String {
    fn from(id: ExternalId) -> String {
        id.0
    }
}

impl std::fmt::Display for ExternalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl StatementId {
    /// A fresh id of 128 random bits, written as 32 hexadecimal digits.
    pub fn random(rng: &mut (impl rand_core::RngCore + rand_core::CryptoRng)) -> Self {
        let mut bytes = [0u8; 16];
        rng.fill_bytes(&mut bytes);
        Self(hex::encode(bytes))
    }
}
