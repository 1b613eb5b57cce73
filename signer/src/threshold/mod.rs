//! Threshold key generation and signing: one driver for all protocols and curves.
//!
//! No network, SQL or async runtime here. Protocol code is blocking, straight-line code; callers run it on [`Workers`] and
//! hand it a [`Link`]. What the driver adds to the libraries, once for all of them: agreement on the execution before round
//! 1 (a mismatch ends without blame), a table of rounds with size limits, echo of broadcasts, comparison of results,
//! verification of the final signature, and a [`Fault`] that names who is to blame.
//!
//! | protocol | library | before release | after release |
//! |---|---|---|---|
//! | [`Protocol::Cggmp24`] | `cggmp24` | nothing (presignature reserved) | one round |
//! | [`Protocol::Dkls23`] | `dkls23`, not audited | phase 1 | two rounds |
//! | [`Protocol::FrostEd25519`] | `frost-ed25519` | commitments | one round |

#[cfg(all(feature = "test-primes", not(debug_assertions)))]
compile_error!("feature test-primes embeds published primes: never in a release build");

mod cggmp24;
mod dkls23;
mod exchange;
mod fault;
mod frost_ed25519;
mod keygen;
mod keys;
mod link;
mod protocol;
mod share;
mod signing;
#[cfg(feature = "test-primes")]
pub mod test_material;
mod workers;

#[cfg(test)]
mod tests;

pub use cggmp24::{
    AuxInfo, BurntPresignature, Cancel, InsertError, LoadedAux, PoolKey, PoolStatus, Presignature,
    PresignatureId, PresignaturePool, PrimeProgress, Primes, PrimesError, ReserveError, Watermarks,
    aux_info, generate_primes, presign,
};
pub use countersign_policy::{HashAlgorithm, Protocol, PublicKey, Signature};
pub use fault::{Fault, FaultReason};
pub use keygen::{GeneratedKey, keygen};
pub use keys::{Digest, GroupKey, Preimage, verifies};
pub use link::{Incoming, Kind, Link, LinkError, Outgoing, Recipient};
pub use protocol::{ExecutionId, Parameters, ParametersError, PartyIndex, Signers};
pub use share::{KeyShare, LoadedShare, ShareError};
pub use signing::{Material, OpenSession, SigningContext, open};
pub use workers::{JobError, Lane, LaneLimits, SubmitError, Ticket, Workers};
