//! Published primes and auxiliary data, so that tests need not spend minutes on making them. They protect nothing: this module
//! exists only under the feature `test-primes`, which a release build refuses.

use std::sync::atomic::{AtomicBool, Ordering};

use super::cggmp24::test_data;
use super::{AuxInfo, Parameters, PartyIndex, Primes, ShareError};

static IN_CEREMONIES: AtomicBool = AtomicBool::new(false);

/// From now on the key ceremonies of this process use the fixed primes instead of making some, which takes minutes.
pub fn use_in_ceremonies() {
    IN_CEREMONIES.store(true, Ordering::Relaxed);
}

pub(crate) fn is_used_in_ceremonies() -> bool {
    IN_CEREMONIES.load(Ordering::Relaxed)
}

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
