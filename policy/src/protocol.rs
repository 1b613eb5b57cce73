//! Keys as everybody may know them: which protocol, which group, which public key.

use serde::{Deserialize, Serialize};

/// A threshold signature protocol. A key's ceremony names it, and its shares never change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// CGGMP24 (ePrint 2021/060, 2024 revision): ECDSA over secp256k1, with presignatures.
    #[serde(rename = "cggmp24")]
    Cggmp24,
    /// DKLs23 (ePrint 2023/765): ECDSA over secp256k1 from oblivious transfer. The implementation is not audited.
    #[serde(rename = "dkls23")]
    Dkls23,
    /// FROST (RFC 9591): Ed25519.
    #[serde(rename = "frost-ed25519")]
    FrostEd25519,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 3] = [Protocol::Cggmp24, Protocol::Dkls23, Protocol::FrostEd25519];

    /// The protocol's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Cggmp24 => "cggmp24",
            Protocol::Dkls23 => "dkls23",
            Protocol::FrostEd25519 => "frost-ed25519",
        }
    }

    /// Whether keys of this protocol are secp256k1 keys (otherwise Ed25519).
    pub const fn is_secp256k1(self) -> bool {
        matches!(self, Protocol::Cggmp24 | Protocol::Dkls23)
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Protocol {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or_else(|| {
                format!("unknown protocol {text:?}: use cggmp24, dkls23 or frost-ed25519")
            })
    }
}
