//! The four safe primes of a node's Paillier and Pedersen keys: about 90 s of CPU, made in the background ahead of need.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cggmp24::PregeneratedPrimes;
use cggmp24::backend::Integer;
use cggmp24::security_level::SecurityLevel;
use rand_core::{CryptoRng, OsRng, RngCore};
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

/// Makes the primes on the calling thread; run it in the background lane.
///
/// # Errors
/// [`PrimesError::Cancelled`] soon after [`Cancel::cancel`].
pub fn generate_primes(
    mut progress: impl FnMut(PrimeProgress),
    cancel: &Cancel,
) -> Result<Primes, PrimesError> {
    let mut found = Vec::with_capacity(COUNT);
    while found.len() < COUNT {
        progress(PrimeProgress {
            found: found.len(),
            needed: COUNT,
        });
        found.push(generate_one(cancel)?);
    }
    progress(PrimeProgress {
        found: COUNT,
        needed: COUNT,
    });
    let found: [Integer; COUNT] = found.try_into().map_err(|_| PrimesError::Failed)?;
    let primes = PregeneratedPrimes::<Level>::try_from(found).map_err(|_| PrimesError::Failed)?;
    Primes::encode(&primes).map_err(|_| PrimesError::Failed)
}

fn generate_one(cancel: &Cancel) -> Result<Integer, PrimesError> {
    let generate = || {
        let mut rng = Interruptible(cancel);
        Integer::generate_safe_prime(&mut rng, <Level as SecurityLevel>::RSA_PRIME_BITLEN)
    };
    catch_unwind(AssertUnwindSafe(generate)).map_err(|_| {
        if cancel.is_cancelled() {
            PrimesError::Cancelled
        } else {
            PrimesError::Failed
        }
    })
}

/// The library's search cannot be stopped, but it asks for randomness before every candidate: unwinding from there stops it.
struct Interruptible<'c>(&'c Cancel);

impl Interruptible<'_> {
    fn check(&self) {
        if self.0.is_cancelled() {
            resume_unwind(Box::new(PrimesError::Cancelled));
        }
    }
}

impl RngCore for Interruptible<'_> {
    fn next_u32(&mut self) -> u32 {
        self.check();
        OsRng.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.check();
        OsRng.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.check();
        OsRng.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.check();
        OsRng.try_fill_bytes(bytes)
    }
}

impl CryptoRng for Interruptible<'_> {}

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

pub(super) fn is_test_prime(prime: &Integer) -> bool {
    let digest = hex::encode(Sha256::digest(prime_text(prime).as_bytes()));
    TEST_PRIME_DIGESTS.lines().any(|line| line == digest)
}

fn prime_text(prime: &Integer) -> Zeroizing<String> {
    Zeroizing::new(hex::encode(Zeroizing::new(prime.to_bytes_msf())))
}
