//! Approvals: who must look at a request before it may be signed, and who did.

mod needs;

pub use needs::{Need, Needs, NeedsError};
