//! The published primes and auxiliary data, embedded under the feature `test-primes` only.

use cggmp24::PregeneratedPrimes;
use cggmp24::key_share::DirtyAuxInfo;

use super::Level;
use super::aux_info::AuxInfo;
use super::primes::Primes;
use crate::threshold::{Parameters, PartyIndex, ShareError};

const PRIMES: [&str; 5] = [
    include_str!("../test_primes/0.json"),
    include_str!("../test_primes/1.json"),
    include_str!("../test_primes/2.json"),
    include_str!("../test_primes/3.json"),
    include_str!("../test_primes/4.json"),
];

macro_rules! aux {
    ($($n:literal-$i:literal),*) => {
        &[$(($n, $i, include_bytes!(concat!("../test_primes/aux-", $n, "-", $i, ".cbor")))),*]
    };
}

/// Parties, index, encoded auxiliary data.
const AUX: &[(u16, u16, &[u8])] = aux![
    2 - 0,
    2 - 1,
    3 - 0,
    3 - 1,
    3 - 2,
    4 - 0,
    4 - 1,
    4 - 2,
    4 - 3,
    5 - 0,
    5 - 1,
    5 - 2,
    5 - 3,
    5 - 4
];

pub(in crate::threshold) fn primes(me: PartyIndex) -> Result<Primes, ShareError> {
    let absent = ShareError::Malformed("no test primes for this party");
    let text = PRIMES.get(me.position()).ok_or_else(|| absent.clone())?;
    let primes: PregeneratedPrimes<Level> = serde_json::from_str(text).map_err(|_| absent)?;
    Primes::encode(&primes)
}

pub(in crate::threshold) fn aux_info(
    parameters: Parameters,
    me: PartyIndex,
) -> Result<AuxInfo, ShareError> {
    let absent = ShareError::Malformed("no test data for this group");
    let (_, _, bytes) = AUX
        .iter()
        .find(|(n, i, _)| *n == parameters.parties() && *i == me.0)
        .ok_or_else(|| absent.clone())?;
    let aux: DirtyAuxInfo<Level> = ciborium::from_reader(*bytes).map_err(|_| absent)?;
    AuxInfo::encode(&aux, me)
}
