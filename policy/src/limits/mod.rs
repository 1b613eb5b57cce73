//! Cumulative limits: exact, in base units, over what every ledger of a group reserved (DESIGN section 5).
//!
//! A [`Limit`] is part of the policy bundle. What it counts is a spend: one payment, however many nodes reserved it, however
//! often it was retried, and whichever version of it with a higher fee is signed in the end.

mod book;
mod charge;
mod evidence;
mod few;
mod hit;
mod lead;
mod model;
pub mod protocol;
mod series;
mod slots;
mod spend;
#[cfg(test)]
mod tests;

pub use book::LimitBook;
pub use evidence::{Evidence, Subject, evidence};
pub use hit::LimitHit;
pub use lead::{FirstNonce, NonceAhead, NonceBook, NonceLead};
pub use model::{LedgerGroup, Limit, LimitScope, Measure, Period, Price, Reference};
pub use spend::Spend;
