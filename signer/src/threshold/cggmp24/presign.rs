//! Presignatures: the message-independent part of a signature, bound to one key, path and signer set.

use std::fmt;

use cggmp24::signing::PresignaturePublicData;
use cggmp24::supported_curves::Secp256k1;
use countersign_policy::DerivationPath;
use rand_core::OsRng;
use serde::{Deserialize, Serialize};

use super::aux_info::LoadedAux;
use super::machine::{self, Layout};
use super::pool::PoolKey;
use super::range_proofs::RangeProofs;
use super::{CoreShare, Level};
use crate::threshold::exchange::{Exchange, HASH, Round, broadcast, p2p};
use crate::threshold::fault::{Fault, FaultReason, contained};
use crate::threshold::protocol::hash_fields;
use crate::threshold::share::State;
use crate::threshold::signing::{encode_path, encode_signers};
use crate::threshold::{ExecutionId, Link, LoadedShare, PartyIndex, Protocol, Signers};

const AGREE: u16 = 0;
const RESULT: u16 = 6;

/// Library order: ciphertexts, proofs for one party, affine operations, shares, partial signatures (absent here), reliability
/// check.
const LAYOUT: Layout = Layout {
    wire: &[1, 2, 4, 5, u16::MAX, 3],
    broadcast: &[true, false, false, true, true, true],
    order: &[1, 2, 3, 4, 5],
};

fn rounds() -> Vec<Round> {
    vec![
        broadcast(HASH),
        broadcast(16 << 10),
        p2p(64 << 10),
        broadcast(1 << 10),
        p2p(128 << 10),
        broadcast(16 << 10),
        broadcast(HASH),
    ]
}

/// Names a presignature, alike on all of its signers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PresignatureId(pub [u8; 32]);

impl PresignatureId {
    /// The id of the presignature that an execution makes.
    pub fn of(execution: &ExecutionId) -> Self {
        Self(hash_fields(
            "countersign/threshold/presignature-id/v1",
            [execution.as_bytes().as_slice()],
        ))
    }
}

impl fmt::Display for PresignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PresignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresignatureId({self})")
    }
}

/// One party's half-made signature. Secret and single-use: neither `Clone` nor serializable, wiped on drop, so it moves from
/// the pool into one signature or vanishes with the process.
pub struct Presignature {
    id: PresignatureId,
    key: PoolKey,
    secret: cggmp24::Presignature<Secp256k1>,
    public: PresignaturePublicData<Secp256k1>,
}

impl Presignature {
    /// Its name.
    pub fn id(&self) -> PresignatureId {
        self.id
    }

    /// The key, path and signers that it serves.
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    #[cfg(all(test, feature = "test-primes"))]
    pub(in crate::threshold) fn rename_for_test(&mut self, id: PresignatureId) {
        self.id = id;
    }

    pub(super) fn into_parts(
        self,
    ) -> (
        PoolKey,
        cggmp24::Presignature<Secp256k1>,
        PresignaturePublicData<Secp256k1>,
    ) {
        (self.key, self.secret, self.public)
    }
}

impl fmt::Debug for Presignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presignature")
            .field("id", &self.id)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Runs this party's side of making one presignature (about 0.5 s of CPU); blocks on the link. Run it in the background lane.
///
/// # Errors
/// A [`Fault`] that names who misbehaved or was missing.
pub fn presign(
    share: &LoadedShare,
    aux: &LoadedAux,
    signers: &Signers,
    path: &DerivationPath,
    execution: ExecutionId,
    link: &mut dyn Link,
) -> Result<Presignature, Fault> {
    let State::Cggmp24(core) = share.state() else {
        return Err(Fault::blameless(FaultReason::Unsupported {
            protocol: share.protocol(),
        }));
    };
    let me = share.index();
    let signers = share.signers(signers.as_slice()).map_err(Fault::local)?;
    if !aux.fits(share.parameters(), me) {
        return Err(Fault::local("auxiliary data of another group or party"));
    }
    let key = PoolKey {
        public_key: share.group_key().public_key,
        path: path.clone(),
        signers,
    };
    contained(|| run(core, aux, key, me, execution, link))
}

fn run(
    core: &CoreShare,
    aux: &LoadedAux,
    key: PoolKey,
    me: PartyIndex,
    execution: ExecutionId,
    link: &mut dyn Link,
) -> Result<Presignature, Fault> {
    let parties = key.signers.as_slice();
    let mut exchange = Exchange::new(link, me, parties.iter().copied(), rounds());
    exchange.agree(AGREE, &tag(&key, &execution))?;

    let share =
        cggmp24::KeyShare::<Secp256k1, Level>::from_parts((core.0.clone(), aux.inner().clone()))
            .map_err(|_| Fault::local("core share and auxiliary data do not fit"))?;
    let position = key
        .signers
        .position(me)
        .and_then(|position| u16::try_from(position).ok())
        .ok_or_else(|| Fault::local("not a signer"))?;
    let at_keygen: Vec<u16> = parties.iter().map(|party| party.0).collect();
    let builder = cggmp24::signing(
        cggmp24::ExecutionId::new(execution.as_bytes()),
        position,
        &at_keygen,
        &share,
    )
    .enforce_reliable_broadcast(true)
    // The path is fixed here and nowhere later: choosing it online weakens the scheme to 85 bits (RUSTSEC-2025-0128).
    .set_derivation_path(key.path.steps().iter().copied())
    .map_err(Fault::local)?;
    let library_execution = cggmp24::ExecutionId::new(execution.as_bytes());
    let mut range_proofs = RangeProofs::new(library_execution, aux, me, parties);
    let mut rng = OsRng;
    let (secret, public) = machine::run(
        builder.generate_presignature_sync(&mut rng),
        &mut exchange,
        &LAYOUT,
        parties,
        |sender, message| range_proofs.inspect(sender, message),
    )?;
    // Everybody holds the same commitments, so that a wrong partial signature later blames its sender and nobody else.
    exchange.agree_on_result(RESULT, &encode_public(&public))?;
    Ok(Presignature {
        id: PresignatureId::of(&execution),
        key,
        secret,
        public,
    })
}

fn tag(key: &PoolKey, execution: &ExecutionId) -> [u8; HASH] {
    hash_fields(
        "countersign/threshold/cggmp24/presign/v1",
        [
            Protocol::Cggmp24.as_str().as_bytes(),
            key.public_key.as_bytes(),
            execution.as_bytes(),
            &encode_signers(&key.signers),
            &encode_path(&key.path),
        ],
    )
}

fn encode_public(public: &PresignaturePublicData<Secp256k1>) -> Vec<u8> {
    let mut bytes = public.Gamma.to_bytes(true).as_bytes().to_vec();
    for commitment in &public.commitments {
        bytes.extend_from_slice(commitment.tilde_Delta.to_bytes(true).as_bytes());
        bytes.extend_from_slice(commitment.tilde_S.to_bytes(true).as_bytes());
    }
    bytes
}
