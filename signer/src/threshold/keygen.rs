//! Distributed key generation, one entry for all protocols.

use super::exchange::HASH;
use super::fault::{Fault, contained};
use super::protocol::hash_fields;
use super::{
    ExecutionId, GroupKey, KeyShare, Link, Parameters, PartyIndex, Protocol, cggmp24, dkls23,
    frost_ed25519,
};

/// What a party holds after a key generation. Nothing may use it before the activation barrier has passed.
#[derive(Debug)]
pub struct GeneratedKey {
    /// The same on every node.
    pub public: GroupKey,
    /// This node's secret, to be sealed and stored durably.
    pub share: KeyShare,
}

/// Runs this party's side of a key generation to the end; blocks on the link.
///
/// All broadcasts are echoed, and all parties compare the resulting public key and chain code.
///
/// # Errors
/// A [`Fault`] that names who misbehaved or was missing.
pub fn keygen(
    protocol: Protocol,
    parameters: Parameters,
    me: PartyIndex,
    execution: ExecutionId,
    link: &mut dyn Link,
) -> Result<GeneratedKey, Fault> {
    parameters.check(me).map_err(Fault::local)?;
    let setup = Setup {
        parameters,
        me,
        execution,
        tag: tag(protocol, parameters, &execution),
    };
    contained(|| match protocol {
        Protocol::Cggmp24 => cggmp24::keygen(&setup, link),
        Protocol::Dkls23 => dkls23::keygen(&setup, link),
        Protocol::FrostEd25519 => frost_ed25519::keygen(&setup, link),
        Protocol::Pkcs11Secp256k1 | Protocol::Pkcs11Ed25519 => Err(Fault::local(
            "a key in a token is made by the token, not by a protocol",
        )),
    })
}

/// What every backend's key generation starts from.
pub(super) struct Setup {
    pub parameters: Parameters,
    pub me: PartyIndex,
    pub execution: ExecutionId,
    /// Compared before round 1.
    pub tag: [u8; HASH],
}

fn tag(protocol: Protocol, parameters: Parameters, execution: &ExecutionId) -> [u8; HASH] {
    hash_fields(
        "countersign/threshold/keygen/v1",
        [
            protocol.as_str().as_bytes(),
            &parameters.threshold().to_be_bytes(),
            &parameters.parties().to_be_bytes(),
            execution.as_bytes(),
        ],
    )
}
