//! What is carried to a machine with no network, and back (DESIGN section 6).
//!
//! A [`RequestPackage`] holds everything the machine needs to come to the answer that every online node comes to: the
//! request, its approvals, the bundle chain with the acknowledgements that made each version count, the authorization, and
//! what a quorum of online nodes said about this very digest. [`open`] believes nothing of whoever made it: it starts from
//! the genesis hash that the machine pins, or from the chain that it followed before.
//!
//! Packages are canonical JSON: the same content is the same bytes, so a digest names one and people can compare it.

mod chain;
mod consent;
mod error;
mod open;
mod order;
mod package;
mod response;
#[cfg(test)]
mod tests;
mod witnesses;

pub use error::PackageError;
pub use open::{OpenedPackage, Trust, open};
pub use order::{OrderPackage, open_order};
pub use package::{MAX_PACKAGE, RequestPackage, SessionEvidence, VERSION};
pub use response::{MachineAnswer, ResponsePackage};
