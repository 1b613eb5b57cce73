//! The gate: the only way to a key (I2).
//!
//! ```text
//! Prepare --admit--> Admitted --reserve--> ReservedSpend --(receipts agreed, confirms)--> Released
//! ```
//!
//! Each arrow is one function here, each box a type that only its arrow can build. A backend takes a [`Released`], so
//! there is no way to use a share around these checks. The [`Released`] of a ceremony's test signature comes from
//! [`TestSpend`], which makes the preimage itself: it can be no transaction (I8).

mod admission;
mod receipts;
mod released;
mod spend;

pub use admission::{Admitted, admit};
pub use receipts::{AgreedReceipts, agree, check_confirm, receipts_hash};
pub use released::{Released, TestSpend};
pub use spend::{ReservedSpend, reserve, store_fault};
