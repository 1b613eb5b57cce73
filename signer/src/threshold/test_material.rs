//! Published primes and auxiliary data, so that tests need not spend minutes on making them. They protect nothing: this module
//! exists only under the feature `test-primes`, which a release build refuses.

use super::cggmp24::test_data;
use super::{AuxInfo, Parameters, PartyIndex, Primes, ShareError};

/// The fixed primes of a party (0 to 4).
///
/// # Errors
/// [`ShareError`] for other parties.
pub fn primes(me: PartyIndex) -> Result<Primes, ShareError> {
    test_data::primes(me)
}

/// Fixed auxiliary data of a party in a group of 2 to 5.
///
/// # Errors
/// [`ShareError`] for other groups.
pub fn aux_info(parameters: Parameters, me: PartyIndex) -> Result<AuxInfo, ShareError> {
    test_data::aux_info(parameters, me)
}
