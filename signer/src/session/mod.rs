//! Signing sessions: what happens between `prepare` and a signature (DESIGN section 4).
//!
//! A session lives in memory only (I10). The ledger remembers that it existed; after a restart every session that was
//! still open is aborted, and nothing of it can be resumed.

mod auto_freeze;
pub(crate) mod clocks;
mod engine;
mod exchange;
pub(crate) mod ledgers;
mod pool_peers;
mod presign;
mod registration;
mod shares;
mod stages;
pub(crate) mod starts;
mod table;

pub use engine::{Engine, EngineParts};
pub(crate) use engine::{indexes, names};
pub use exchange::ConfirmMessage;
pub use ledgers::Questions;
pub use presign::PoolFiller;
pub use registration::Registration;
pub use shares::ShareCache;
