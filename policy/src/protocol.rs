//! Keys as everybody may know them: which protocol, which group, which public key.

use serde::{Deserialize, Serialize};

/// How a key signs: a threshold protocol, or a token that holds the key whole. A key's ceremony names it, and nothing ever
/// changes it.
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
    /// A secp256k1 key that a PKCS#11 token made and holds; ECDSA over a prehash.
    #[serde(rename = "pkcs11-secp256k1")]
    Pkcs11Secp256k1,
    /// An Ed25519 key that a PKCS#11 token made and holds.
    #[serde(rename = "pkcs11-ed25519")]
    Pkcs11Ed25519,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 5] = [
        Protocol::Cggmp24,
        Protocol::Dkls23,
        Protocol::FrostEd25519,
        Protocol::Pkcs11Secp256k1,
        Protocol::Pkcs11Ed25519,
    ];

    /// The protocol's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Cggmp24 => "cggmp24",
            Protocol::Dkls23 => "dkls23",
            Protocol::FrostEd25519 => "frost-ed25519",
            Protocol::Pkcs11Secp256k1 => "pkcs11-secp256k1",
            Protocol::Pkcs11Ed25519 => "pkcs11-ed25519",
        }
    }

    /// Whether keys of this protocol are secp256k1 keys (otherwise Ed25519).
    pub const fn is_secp256k1(self) -> bool {
        matches!(
            self,
            Protocol::Cggmp24 | Protocol::Dkls23 | Protocol::Pkcs11Secp256k1
        )
    }

    /// Whether the key lies whole in a token, and one machine signs alone.
    pub const fn is_hsm(self) -> bool {
        matches!(self, Protocol::Pkcs11Secp256k1 | Protocol::Pkcs11Ed25519)
    }

    /// Whether keys of this protocol have a BIP-32 chain code, and so children. A token signs with the key that it made and
    /// with no other; Ed25519 has no public derivation.
    pub const fn has_children(self) -> bool {
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
                format!(
                    "unknown protocol {text:?}: use cggmp24, dkls23, frost-ed25519, pkcs11-secp256k1 or pkcs11-ed25519"
                )
            })
    }
}
