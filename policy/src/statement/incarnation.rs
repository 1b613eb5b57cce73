//! How a restarted node makes itself known, so that a restored copy shows.

use serde::{Deserialize, Serialize};

use super::{Body, Kind};
use crate::hash::Hash;
use crate::id::MemberId;

/// A node answers a peer that started: it durably remembers the peer's incarnation and accepts no lower one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncarnationAck {
    /// The peer that started.
    pub node: MemberId,
    /// Its incarnation: higher than any that this node accepted from it before.
    pub incarnation: u64,
    /// 32 random bytes that the peer chose at this start: an old answer does not fit.
    pub nonce: Hash,
    /// The last entry of the peer's ledger that this node holds durably; 0 for none.
    pub ledger_sequence: u64,
    /// Digest of that entry; [`Hash::ZERO`] for none.
    pub ledger_head: Hash,
}

impl Body for IncarnationAck {
    const KIND: Kind = Kind::IncarnationAck;

    fn check(&self) -> Result<(), String> {
        if self.incarnation == 0 {
            return Err("incarnations count from 1".into());
        }
        if (self.ledger_sequence == 0) != (self.ledger_head == Hash::ZERO) {
            return Err("only an empty ledger has no head".into());
        }
        Ok(())
    }
}
