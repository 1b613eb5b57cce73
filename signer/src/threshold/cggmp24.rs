//! CGGMP24 over secp256k1: key generation, auxiliary data per group, presignatures, and one-round signing from them.
//!
//! The library writes big integers to memory that it does not wipe and is not constant-time in its Paillier arithmetic: its own
//! README puts timing attacks out of scope.

mod aux_info;
mod keygen;
mod machine;
mod pool;
mod presign;
mod primes;
mod range_proofs;
mod signing;
#[cfg(feature = "test-primes")]
pub(super) mod test_data;

use cggmp24::IncompleteKeyShare;
use cggmp24::security_level::SecurityLevel128;
use cggmp24::supported_curves::Secp256k1;
use countersign_policy::{ChainCode, PublicKey};
use zeroize::Zeroizing;

pub use aux_info::{AuxInfo, LoadedAux, aux_info};
pub use pool::{
    BurntPresignature, InsertError, PoolKey, PoolStatus, PresignaturePool, ReserveError, Watermarks,
};
pub use presign::{Presignature, PresignatureId, presign};
pub use primes::{Cancel, PrimeProgress, Primes, PrimesError, generate_primes};

#[cfg(test)]
pub(super) use primes::is_test_prime;

pub(super) use keygen::keygen;
pub(super) use signing::open;

use super::{GroupKey, Parameters, PartyIndex, ShareError};

type Level = SecurityLevel128;

/// A parsed core share; auxiliary data of the group joins it when presigning.
pub(super) struct CoreShare(IncompleteKeyShare<Secp256k1>);

impl CoreShare {
    fn group_key(&self) -> Result<GroupKey, ShareError> {
        let refused = ShareError::Inconsistent("unusable public key");
        let bytes = self
            .0
            .shared_public_key
            .to_bytes(true)
            .as_bytes()
            .try_into()
            .map_err(|_| refused.clone())?;
        let chain_code = self
            .0
            .chain_code
            .ok_or(ShareError::Inconsistent("no chain code"))?;
        Ok(GroupKey {
            public_key: PublicKey::secp256k1(bytes).map_err(|_| refused)?,
            chain_code: Some(ChainCode(chain_code)),
        })
    }

    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, ShareError> {
        // Room for 16 parties, so that the buffer never grows and leaves no copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(16 << 10));
        ciborium::into_writer(&*self.0, &mut *bytes)
            .map_err(|_| ShareError::Malformed("unwritable share"))?;
        Ok(bytes)
    }
}

/// Parses a stored share and checks it against its header.
pub(super) fn load_share(
    parameters: Parameters,
    me: PartyIndex,
    bytes: &[u8],
) -> Result<(CoreShare, GroupKey), ShareError> {
    let mut rest = bytes;
    let core: IncompleteKeyShare<Secp256k1> = ciborium::from_reader(&mut rest)
        .map_err(|_| ShareError::Malformed("unreadable CGGMP24 share"))?;
    if !rest.is_empty() {
        return Err(ShareError::Malformed("trailing bytes"));
    }
    let consistent = core.i == me.0
        && core.n() == parameters.parties()
        && core.vss_setup.is_some()
        && core.min_signers() == parameters.threshold();
    if !consistent {
        return Err(ShareError::Inconsistent("CGGMP24 share and header differ"));
    }
    let share = CoreShare(core);
    let group = share.group_key()?;
    Ok((share, group))
}
