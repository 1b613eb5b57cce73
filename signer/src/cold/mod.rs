//! The machine with no network: it opens a package, comes to its own answer, and signs with the key in its token.
//!
//! ```text
//! bytes --cold::open (policy)--> OpenedPackage --gate::admit--> Examined
//!       --gate::reserve, this machine's own ledger--> ReservedSpend --release_offline--> Released --token--> signature
//! ```
//!
//! The same gate as on every other node, with one difference: what the others said comes in the package, and not over a
//! network. What it signed it never signs again, and its answer is on disk before it leaves (I5).

mod answers;
mod machine;
mod refusal;
#[cfg(test)]
mod tests;

pub use machine::{Confirmed, Examined, Machine, MachineParts};
pub use refusal::Refusal;
