//! The four safe primes of a node's Paillier and Pedersen keys: about 90 s of CPU, made in the background ahead of need.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;

use cggmp24::PregeneratedPrimes;
use cggmp24::backend::{Integer, IsPrime};
use cggmp24::security_level::SecurityLevel;
use rand_core::OsRng;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Level;
use crate::threshold::ShareError;

/// How many primes one node needs.
const COUNT: usize = 4;

/// Four secret safe primes of 1,536 bits, encoded. Not `Clone`, wiped on drop; used for one group's [`super::aux_info`].
pub struct Primes(Zeroizing<Vec<u8>>);

/// Why there are no primes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrimesError {
    /// The caller cancelled.
    #[error("prime generation was cancelled")]
    Cancelled,
    /// The generator failed.
    #[error("prime generation failed")]
    Failed,
}

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimeProgress {
    /// Primes found.
    pub found: usize,
    /// Primes needed.
    pub needed: usize,
}

/// Stops a running generation within milliseconds, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks for the stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes the primes, each on a thread of its own as far as there are processors; run it in the background lane. The calling
/// thread waits and reports.
///
/// # Errors
/// [`PrimesError::Cancelled`] soon after [`Cancel::cancel`].
pub fn generate_primes(
    mut progress: impl FnMut(PrimeProgress),
    cancel: &Cancel,
) -> Result<Primes, PrimesError> {
    let mut report = |found| {
        progress(PrimeProgress {
            found,
            needed: COUNT,
        });
    };
    report(0);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let claimed = AtomicUsize::new(0);
    let found = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..processors.min(COUNT) {
            let (claimed, sender) = (&claimed, sender.clone());
            // Inherits the low priority of the background lane.
            scope.spawn(move || {
                while claimed.fetch_add(1, Ordering::Relaxed) < COUNT {
                    // The receiver is gone when another thread was cancelled.
                    if sender.send(generate_one(cancel)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut found = Vec::with_capacity(COUNT);
        for prime in receiver {
            found.push(prime?);
            report(found.len());
        }
        Ok(found)
    })?;
    let found: [Integer; COUNT] = found.try_into().map_err(|_| PrimesError::Failed)?;
    let primes = PregeneratedPrimes::<Level>::try_from(found).map_err(|_| PrimesError::Failed)?;
    Primes::encode(&primes).map_err(|_| PrimesError::Failed)
}

/// The library's search (`sieve_generate_safe_primes`: random odd candidates, sieved, then two probabilistic tests of 25 rounds),
/// with a look at the flag before each candidate. The library's own cannot be stopped.
fn generate_one(cancel: &Cancel) -> Result<Integer, PrimesError> {
    const BITS: u32 = <Level as SecurityLevel>::RSA_PRIME_BITLEN;
    const ROUNDS: u32 = 25;
    let is_prime = |number: &Integer| {
        let verdict = number.is_probably_prime(ROUNDS, &mut OsRng);
        matches!(verdict, IsPrime::Yes | IsPrime::Probably)
    };
    let mut half = Integer::zero();
    while !cancel.is_cancelled() {
        half.assign_random_bits(BITS.saturating_sub(1), &mut OsRng);
        half.set_bit(BITS.saturating_sub(2), true);
        half |= 1_u32;
        // 2 * half + 1 is divisible by p exactly when half is (p - 1) / 2 modulo p.
        let divisible = SIEVE
            .iter()
            .any(|p| half.mod_u(*p) == p.wrapping_sub(1).wrapping_shr(1));
        if divisible || !is_prime(&half) {
            continue;
        }
        // Big integers: they grow, they do not overflow.
        #[allow(clippy::arithmetic_side_effects)]
        let prime = (half.clone() << 1_u32) + 1_u8;
        if is_prime(&prime) {
            return Ok(prime);
        }
    }
    Err(PrimesError::Cancelled)
}

/// The odd primes below 770, as many as the library sieves with.
static SIEVE: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let is_prime = |number: &u32| (2..*number).all(|divisor| !number.is_multiple_of(divisor));
    (3..770).filter(is_prime).collect()
});

impl Primes {
    pub(super) fn encode(primes: &PregeneratedPrimes<Level>) -> Result<Self, ShareError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 << 10));
        ciborium::into_writer(primes, &mut *bytes)
            .map_err(|_| ShareError::Malformed("unwritable primes"))?;
        Ok(Self(bytes))
    }

    /// The bytes to seal. Wiped on drop.
    pub fn to_sealed_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.0.clone()
    }

    /// Reads what [`Primes::to_sealed_bytes`] wrote.
    ///
    /// # Errors
    /// [`ShareError`], in particular when a prime is one of the published test primes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShareError> {
        let primes = decode(bytes)?;
        refuse_test_primes(primes.primes_ref())?;
        Self::encode(&primes)
    }

    pub(super) fn decode(&self) -> Result<PregeneratedPrimes<Level>, ShareError> {
        decode(&self.0)
    }
}

fn decode(bytes: &[u8]) -> Result<PregeneratedPrimes<Level>, ShareError> {
    let malformed = ShareError::Malformed("unreadable primes");
    let mut rest = bytes;
    let primes: PregeneratedPrimes<Level> =
        ciborium::from_reader(&mut rest).map_err(|_| malformed.clone())?;
    if !rest.is_empty() {
        return Err(malformed);
    }
    // Deserialization does not check sizes; this conversion does.
    PregeneratedPrimes::try_from(primes.into_primes()).map_err(|_| malformed)
}

impl fmt::Debug for Primes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Primes(redacted)")
    }
}

/// SHA-256 of every published test prime (hexadecimal text of the prime). Only these digests are in a real node.
const TEST_PRIME_DIGESTS: &str = include_str!("../test_primes/digests.txt");

/// Real nodes refuse the published primes, whoever slipped them in.
pub(super) fn refuse_test_primes(primes: &[Integer]) -> Result<(), ShareError> {
    if cfg!(feature = "test-primes") {
        return Ok(());
    }
    if primes.iter().any(is_test_prime) {
        return Err(ShareError::TestPrimes);
    }
    Ok(())
}

pub(in crate::threshold) fn is_test_prime(prime: &Integer) -> bool {
    let digest = hex::encode(Sha256::digest(prime_text(prime).as_bytes()));
    TEST_PRIME_DIGESTS.lines().any(|line| line == digest)
}

fn prime_text(prime: &Integer) -> Zeroizing<String> {
    Zeroizing::new(hex::encode(Zeroizing::new(prime.to_bytes_msf())))
}
