//! Key ceremonies with an activation barrier.
//!
//! A quorum-signed order starts it on every node. The key exists for the outside only when all n nodes stored their
//! share durably, every node took part in a test signature made with its *stored* share and verified against the group
//! key, all n nodes signed the same transcript, and a bundle pins the key. Until then nothing signs with it.
//!
//! | phase | what happens |
//! |---|---|
//! | auxiliary (CGGMP) | primes from the store or made now; auxiliary data proven to each other once per group |
//! | key generation | the protocol's DKG; the share is sealed and stored |
//! | test signatures | windows of t nodes that together cover all n |
//! | transcript | every node signs it and collects those of all others |

mod auxiliary;
mod in_token;
mod phases;
mod prime_maker;
mod run;

pub(crate) use auxiliary::{group_name, held as held_auxiliary, load as load_auxiliary};
pub use in_token::{InTokenError, make_in_token};
pub(crate) use phases::link;
pub use prime_maker::{Making, PrimeMaker};
pub use run::Ceremonies;
pub(crate) use run::on_worker;
