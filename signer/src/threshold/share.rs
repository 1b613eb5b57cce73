//! Key shares: at rest as bytes to be sealed, in use as [`LoadedShare`].

use std::fmt;
use std::sync::Arc;

use countersign_policy::{ChildKeys, DerivationError, DerivationPath, PublicKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{GroupKey, Parameters, PartyIndex, Protocol, Signers, cggmp24, dkls23, frost_ed25519};

/// One party's secret share of one key, encoded. Opaque, not `Clone`, wiped on drop.
pub struct KeyShare {
    protocol: Protocol,
    parameters: Parameters,
    me: PartyIndex,
    secret: Zeroizing<Vec<u8>>,
}

/// Why bytes are not a usable share.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShareError {
    /// The bytes are no share file, or one of another version.
    #[error("not a key share: {0}")]
    Malformed(&'static str),
    /// The share belongs to another protocol than the caller expects.
    #[error("this is a share of {found}, not of {expected}")]
    WrongProtocol {
        /// What the key's record says.
        expected: Protocol,
        /// What the share says.
        found: Protocol,
    },
    /// The share contradicts its own header.
    #[error("the share is inconsistent: {0}")]
    Inconsistent(&'static str),
    /// Primes or auxiliary data made for tests, offered to a real node.
    #[error("these primes are published test material and protect nothing")]
    TestPrimes,
}

const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u8,
    protocol: Protocol,
    threshold: u16,
    parties: u16,
    index: u16,
}

impl KeyShare {
    pub(super) fn new(
        protocol: Protocol,
        parameters: Parameters,
        me: PartyIndex,
        secret: Zeroizing<Vec<u8>>,
    ) -> Self {
        Self {
            protocol,
            parameters,
            me,
            secret,
        }
    }

    /// The protocol of this key; a share never changes it.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// t and n of this key.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Whose share this is.
    pub fn index(&self) -> PartyIndex {
        self.me
    }

    /// The bytes to seal: a CBOR header (version, protocol, t, n, index), then the share. Wiped on drop.
    pub fn to_sealed_bytes(&self) -> Zeroizing<Vec<u8>> {
        let header = Header {
            version: VERSION,
            protocol: self.protocol,
            threshold: self.parameters.threshold(),
            parties: self.parameters.parties(),
            index: self.me.0,
        };
        let mut encoded_header = Vec::new();
        // Writing a plain struct of integers and a short name into memory cannot fail.
        let _ = ciborium::into_writer(&header, &mut encoded_header);
        // Sized once: growing would leave copies of the secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(
            encoded_header.len().saturating_add(self.secret.len()),
        ));
        bytes.extend_from_slice(&encoded_header);
        bytes.extend_from_slice(&self.secret);
        bytes
    }

    /// Reads what [`KeyShare::to_sealed_bytes`] wrote, for a key known to be of `protocol`.
    ///
    /// # Errors
    /// [`ShareError`]; the share itself is examined by [`KeyShare::load`].
    pub fn from_bytes(protocol: Protocol, bytes: &[u8]) -> Result<Self, ShareError> {
        let mut rest = bytes;
        let header: Header = ciborium::from_reader(&mut rest)
            .map_err(|_| ShareError::Malformed("unreadable header"))?;
        if header.version != VERSION {
            return Err(ShareError::Malformed("unknown version"));
        }
        if header.protocol != protocol {
            return Err(ShareError::WrongProtocol {
                expected: protocol,
                found: header.protocol,
            });
        }
        let parameters = Parameters::new(header.threshold, header.parties)
            .map_err(|_| ShareError::Inconsistent("parameters out of bounds"))?;
        let me = PartyIndex(header.index);
        parameters
            .check(me)
            .map_err(|_| ShareError::Inconsistent("index out of bounds"))?;
        Ok(Self::new(
            protocol,
            parameters,
            me,
            Zeroizing::new(rest.to_vec()),
        ))
    }

    /// Parses and validates the share for use.
    ///
    /// # Errors
    /// [`ShareError`] when the secret part is malformed or contradicts the header.
    pub fn load(&self) -> Result<LoadedShare, ShareError> {
        let (parameters, me, bytes) = (self.parameters, self.me, self.secret.as_slice());
        let (state, group) = match self.protocol {
            Protocol::Cggmp24 => {
                let (core, group) = cggmp24::load_share(parameters, me, bytes)?;
                (State::Cggmp24(Box::new(core)), group)
            }
            Protocol::Dkls23 => {
                let (party, group) = dkls23::load_share(parameters, me, bytes)?;
                (State::Dkls23(Box::new(party)), group)
            }
            Protocol::FrostEd25519 => {
                let (keys, group) = frost_ed25519::load_share(parameters, me, bytes)?;
                (State::FrostEd25519(Arc::new(keys)), group)
            }
            Protocol::Pkcs11Secp256k1 | Protocol::Pkcs11Ed25519 => {
                return Err(ShareError::Malformed("a key in a token has no shares"));
            }
        };
        Ok(LoadedShare {
            parameters,
            me,
            group,
            children: ChildKeys::bounded(CHILDREN),
            bytes: bytes.len(),
            state,
        })
    }
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyShare")
            .field("protocol", &self.protocol)
            .field("parameters", &self.parameters)
            .field("index", &self.me)
            .finish_non_exhaustive()
    }
}

/// Child keys that a share remembers. Few: there may be thousands of shares.
const CHILDREN: usize = 16;

/// A parsed share, ready to sign; callers keep a bounded cache of them behind `Arc`.
pub struct LoadedShare {
    parameters: Parameters,
    me: PartyIndex,
    group: GroupKey,
    children: ChildKeys,
    bytes: usize,
    state: State,
}

pub(super) enum State {
    Cggmp24(Box<cggmp24::CoreShare>),
    Dkls23(Box<dkls23::Share>),
    FrostEd25519(Arc<frost_ed25519::Share>),
}

impl LoadedShare {
    /// The protocol of this key.
    pub fn protocol(&self) -> Protocol {
        match self.state {
            State::Cggmp24(_) => Protocol::Cggmp24,
            State::Dkls23(_) => Protocol::Dkls23,
            State::FrostEd25519(_) => Protocol::FrostEd25519,
        }
    }

    /// t and n of this key.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// Whose share this is.
    pub fn index(&self) -> PartyIndex {
        self.me
    }

    /// The group's public key and chain code.
    pub fn group_key(&self) -> &GroupKey {
        &self.group
    }

    /// The group's public key at `path`.
    ///
    /// # Errors
    /// As [`GroupKey::at`].
    pub fn public_key_at(&self, path: &DerivationPath) -> Result<PublicKey, DerivationError> {
        match self.group.extended() {
            Some(root) => self.children.derive(&root, path),
            None => self.group.at(path),
        }
    }

    /// Encoded size in bytes: what a cache should count (in memory a share takes about the same).
    pub fn encoded_len(&self) -> usize {
        self.bytes
    }

    /// Checks a signer list against this key and that this party is among them.
    ///
    /// # Errors
    /// [`super::ParametersError`].
    pub fn signers(&self, ordered: &[PartyIndex]) -> Result<Signers, super::ParametersError> {
        let signers = Signers::new(self.parameters, ordered)?;
        if signers.contains(self.me) {
            Ok(signers)
        } else {
            Err(super::ParametersError::UnknownParty(self.me))
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }
}

impl fmt::Debug for LoadedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedShare")
            .field("protocol", &self.protocol())
            .field("parameters", &self.parameters)
            .field("index", &self.me)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}
