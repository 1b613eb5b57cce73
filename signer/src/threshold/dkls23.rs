//! DKLs23 over secp256k1: key generation with echoed commitments, three-round signing at any path.
//!
//! The library (`dkls23`) is **not audited**. It leaves broadcast to its caller and demands that a counterparty found cheating
//! in a multiplication is banned for ever, because such an attempt leaks state that later sessions reuse.

mod keygen;
mod signing;

use countersign_policy::{ChainCode, PublicKey};
use dkls23::protocols::{Abort, AbortKind, AbortReason};
use dkls23::secp256k1::{Party, PublicKeyPackage};
use k256_14::elliptic_curve::sec1::ToSec1Point;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

pub(super) use keygen::keygen;
pub(super) use signing::open;

use super::fault::{Fault, FaultReason};
use super::{GroupKey, Parameters, PartyIndex, ShareError};

type Curve = k256_14::Secp256k1;

/// A parsed share. The library's `Party` wipes itself on drop.
#[derive(Serialize, Deserialize)]
pub(super) struct Share {
    party: Party,
    public: PublicKeyPackage,
}

impl Share {
    fn group_key(&self) -> Result<GroupKey, ShareError> {
        Ok(GroupKey {
            public_key: public_key(&self.party.pk)?,
            chain_code: Some(ChainCode(*self.party.chain_code())),
        })
    }

    /// Postcard, the library's own message encoding: half the size of CBOR and several times faster to read.
    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        // Sized first: growing would leave copies of the secret behind.
        let size = postcard::experimental::serialized_size(self).map_err(Fault::local)?;
        let mut bytes = Zeroizing::new(vec![0; size]);
        let used = postcard::to_slice(self, &mut bytes)
            .map_err(Fault::local)?
            .len();
        bytes.truncate(used);
        Ok(bytes)
    }
}

fn public_key(point: &k256_14::AffinePoint) -> Result<PublicKey, ShareError> {
    let refused = ShareError::Inconsistent("unusable public key");
    let bytes = point
        .to_sec1_point(true)
        .as_bytes()
        .try_into()
        .map_err(|_| refused.clone())?;
    PublicKey::secp256k1(bytes).map_err(|_| refused)
}

/// Parses a stored share and checks it against its header.
pub(super) fn load_share(
    parameters: Parameters,
    me: PartyIndex,
    bytes: &[u8],
) -> Result<(Share, GroupKey), ShareError> {
    let (share, rest) = postcard::take_from_bytes::<Share>(bytes)
        .map_err(|_| ShareError::Malformed("unreadable DKLs23 share"))?;
    if !rest.is_empty() {
        return Err(ShareError::Malformed("trailing bytes"));
    }
    let party = &share.party;
    let peers = usize::from(parameters.parties()).saturating_sub(1);
    let consistent = u16::from(party.parameters.threshold) == parameters.threshold()
        && u16::from(party.parameters.share_count) == parameters.parties()
        && index(me).is_ok_and(|own| own == party.party_index)
        && party.pk == party.derivation_data.pk
        && party.pk == *share.public.verifying_key()
        && party.derivation_data.depth == 0
        && party.mul_senders.len() == peers
        && party.mul_receivers.len() == peers;
    if !consistent {
        return Err(ShareError::Inconsistent("DKLs23 share and header differ"));
    }
    let group = share.group_key()?;
    Ok((share, group))
}

/// The library counts parties from 1.
fn index(party: PartyIndex) -> Result<dkls23::protocols::PartyIndex, Fault> {
    u8::try_from(party.0.saturating_add(1))
        .ok()
        .and_then(|value| dkls23::protocols::PartyIndex::new(value).ok())
        .ok_or_else(|| Fault::local("party index out of bounds"))
}

fn party(index: dkls23::protocols::PartyIndex) -> PartyIndex {
    PartyIndex(u16::from(index.as_u8()).saturating_sub(1))
}

fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Fault> {
    postcard::to_allocvec(message).map_err(Fault::local)
}

fn decode<T: DeserializeOwned>(from: PartyIndex, round: u16, body: &[u8]) -> Result<T, Fault> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(Fault::malformed(from, round, "trailing bytes")),
        Err(_) => Err(Fault::malformed(from, round, "unreadable message")),
    }
}

/// Translates the library's abort. `peers` are suspected together where the library cannot tell who lied.
fn blame(abort: &Abort, me: PartyIndex, peers: impl IntoIterator<Item = PartyIndex>) -> Fault {
    let reason = FaultReason::InvalidContribution {
        what: abort.description(),
    };
    if let AbortKind::BanCounterparty(cheater) = abort.kind {
        return Fault {
            ban: true,
            ..Fault::by(party(cheater), reason)
        };
    }
    match &abort.reason {
        AbortReason::SessionBindingMismatch { .. } => {
            Fault::blameless(FaultReason::ExecutionMismatch)
        }
        AbortReason::ProofVerificationFailed { counterparty }
        | AbortReason::CommitmentMismatch { counterparty }
        | AbortReason::TrivialInstancePoint { counterparty }
        | AbortReason::OtConsistencyCheckFailed { counterparty }
        | AbortReason::MultiplicationVerificationFailed { counterparty, .. }
        | AbortReason::GammaUInconsistency { counterparty }
        | AbortReason::ZeroShareDecommitFailed { counterparty }
        | AbortReason::ChainCodeCommitmentFailed {
            party: counterparty,
        } => match party(*counterparty) {
            // Our own committed point is wrong when the fragments sent to us were.
            own if own == me => Fault::among(peers, reason),
            peer => Fault::by(peer, reason),
        },
        AbortReason::PolynomialInconsistency
        | AbortReason::TrivialPublicKey
        | AbortReason::SignatureVerificationFailed
        | AbortReason::ZeroDenominator => Fault::among(peers, reason),
        _ => Fault::blameless(reason),
    }
}
