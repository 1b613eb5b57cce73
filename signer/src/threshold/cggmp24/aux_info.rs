//! Auxiliary data of a group: Paillier and Pedersen keys, proven to each other once, shared by all keys of the same nodes.

use std::fmt;

use cggmp24::key_share::{DirtyAuxInfo, Validate};
use rand_core::OsRng;
use zeroize::Zeroizing;

use super::Level;
use super::machine::{self, Layout};
use super::primes::{Primes, refuse_test_primes};
use crate::threshold::exchange::{Exchange, HASH, Round, broadcast, p2p};
use crate::threshold::fault::{Fault, contained};
use crate::threshold::protocol::hash_fields;
use crate::threshold::{ExecutionId, Link, Parameters, PartyIndex, ShareError};

const AGREE: u16 = 0;
const RESULT: u16 = 5;

/// Library order: commitment, opening with proofs, proofs for one party, reliability check.
const LAYOUT: Layout = Layout {
    wire: &[1, 3, 4, 2],
    broadcast: &[true, true, false, true],
    order: &[1, 2, 3, 4],
};

fn rounds() -> Vec<Round> {
    vec![
        broadcast(HASH),
        broadcast(1 << 10),
        broadcast(1 << 10),
        broadcast(1 << 20),
        p2p(1 << 20),
        broadcast(HASH),
    ]
}

/// One node's auxiliary data for one group, encoded. Secret, not `Clone`, wiped on drop.
pub struct AuxInfo {
    parties: u16,
    me: PartyIndex,
    bytes: Zeroizing<Vec<u8>>,
}

/// Runs this party's side of the auxiliary-data protocol (about 8 s of CPU for three parties); blocks on the link.
///
/// # Errors
/// A [`Fault`] that names who misbehaved or was missing.
pub fn aux_info(
    parameters: Parameters,
    me: PartyIndex,
    execution: ExecutionId,
    primes: &Primes,
    link: &mut dyn Link,
) -> Result<AuxInfo, Fault> {
    parameters.check(me).map_err(Fault::local)?;
    contained(|| {
        let parties: Vec<PartyIndex> = parameters.everyone().collect();
        let tag = hash_fields(
            "countersign/threshold/cggmp24/aux/v1",
            [
                parameters.parties().to_be_bytes().as_slice(),
                execution.as_bytes(),
            ],
        );
        let mut exchange = Exchange::new(link, me, parties.iter().copied(), rounds());
        exchange.agree(AGREE, &tag)?;
        let builder = cggmp24::aux_info_gen::<Level>(
            cggmp24::ExecutionId::new(execution.as_bytes()),
            me.0,
            parameters.parties(),
            primes.decode().map_err(Fault::local)?,
        )
        .enforce_reliable_broadcast(true);
        let mut rng = OsRng;
        let made = machine::run(
            builder.into_state_machine(&mut rng),
            &mut exchange,
            &LAYOUT,
            &parties,
            |_, _| Ok(()),
        )?
        .into_inner();
        exchange.agree_on_result(RESULT, &public_part(&made))?;
        AuxInfo::encode(&made, me).map_err(Fault::local)
    })
}

/// What all parties must hold alike. Own Pedersen parameters carry secret CRT data beside the public values: only the three
/// public numbers of each party are hashed, and nothing of this is ever sent as it is.
fn public_part(aux: &DirtyAuxInfo<Level>) -> Vec<u8> {
    let pedersen = aux
        .pedersen_params
        .iter()
        .flat_map(|p| [&p.hat_N, &p.s, &p.t]);
    let numbers: Vec<Vec<u8>> = aux
        .N
        .iter()
        .chain(pedersen)
        .map(|number| number.to_bytes_msf())
        .collect();
    hash_fields(
        "countersign/threshold/cggmp24/aux-public/v1",
        numbers.iter().map(Vec::as_slice),
    )
    .to_vec()
}

impl AuxInfo {
    pub(super) fn encode(aux: &DirtyAuxInfo<Level>, me: PartyIndex) -> Result<Self, ShareError> {
        let unwritable = ShareError::Malformed("unwritable auxiliary data");
        let parties = u16::try_from(aux.N.len()).map_err(|_| unwritable.clone())?;
        // 20 kB for five parties: sized so that the buffer never grows and leaves no copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(128 << 10));
        ciborium::into_writer(&(parties, me), &mut *bytes).map_err(|_| unwritable.clone())?;
        ciborium::into_writer(aux, &mut *bytes).map_err(|_| unwritable)?;
        Ok(Self { parties, me, bytes })
    }

    /// The bytes to seal. Wiped on drop.
    pub fn to_sealed_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.bytes.clone()
    }

    /// Reads what [`AuxInfo::to_sealed_bytes`] wrote.
    ///
    /// # Errors
    /// [`ShareError`], in particular when it is built on published test primes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShareError> {
        let (parties, me, dirty) = decode(bytes)?;
        refuse_test_primes(&[dirty.p, dirty.q])?;
        Ok(Self {
            parties,
            me,
            bytes: Zeroizing::new(bytes.to_vec()),
        })
    }

    /// How many nodes the group has.
    pub fn parties(&self) -> u16 {
        self.parties
    }

    /// Whose data this is.
    pub fn index(&self) -> PartyIndex {
        self.me
    }

    /// Parses it for use, once per group. With `tables`, exponentiation tables are computed (about 3 s of CPU and 0.3 MB a
    /// party): presigning is then a quarter faster.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn load(&self, tables: bool) -> Result<LoadedAux, ShareError> {
        let (parties, me, mut dirty) = decode(&self.bytes)?;
        if tables {
            dirty
                .precompute_multiexp_tables()
                .map_err(|_| ShareError::Inconsistent("no exponentiation tables"))?;
        }
        let inner = dirty
            .validate()
            .map_err(|_| ShareError::Inconsistent("invalid auxiliary data"))?;
        Ok(LoadedAux { parties, me, inner })
    }
}

fn decode(bytes: &[u8]) -> Result<(u16, PartyIndex, DirtyAuxInfo<Level>), ShareError> {
    let malformed = ShareError::Malformed("unreadable auxiliary data");
    let mut rest = bytes;
    let (parties, me): (u16, PartyIndex) =
        ciborium::from_reader(&mut rest).map_err(|_| malformed.clone())?;
    let aux: DirtyAuxInfo<Level> =
        ciborium::from_reader(&mut rest).map_err(|_| malformed.clone())?;
    let whole = rest.is_empty()
        && aux.N.len() == usize::from(parties)
        && aux.pedersen_params.len() == usize::from(parties)
        && me.0 < parties;
    if whole {
        Ok((parties, me, aux))
    } else {
        Err(malformed)
    }
}

impl fmt::Debug for AuxInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuxInfo")
            .field("parties", &self.parties)
            .field("index", &self.me)
            .finish_non_exhaustive()
    }
}

/// Parsed auxiliary data; keep one per group behind `Arc`, for all of its keys.
pub struct LoadedAux {
    parties: u16,
    me: PartyIndex,
    inner: cggmp24::key_share::AuxInfo<Level>,
}

impl LoadedAux {
    /// Whether it belongs to this party of such a group.
    pub fn fits(&self, parameters: Parameters, me: PartyIndex) -> bool {
        self.parties == parameters.parties() && self.me == me
    }

    /// Bytes held by the exponentiation tables.
    pub fn tables_len(&self) -> usize {
        self.inner.multiexp_tables_size()
    }

    pub(super) fn inner(&self) -> &cggmp24::key_share::AuxInfo<Level> {
        &self.inner
    }
}

impl fmt::Debug for LoadedAux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedAux")
            .field("parties", &self.parties)
            .field("index", &self.me)
            .finish_non_exhaustive()
    }
}
