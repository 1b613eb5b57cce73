//! Which parties, which execution: the words every part of the driver shares.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Position of a node in the sorted node list of a key, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartyIndex(pub u16);

impl PartyIndex {
    /// The index as a position in a list.
    pub fn position(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for PartyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a set of parameters or signers is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParametersError {
    /// The bounds 2 <= t <= n <= 16 and 2t > n do not hold.
    #[error(
        "{threshold}-of-{parties} is not allowed: need 2 <= t <= n <= {} and 2t > n",
        Parameters::MAX_PARTIES
    )]
    OutOfBounds {
        /// Signers needed.
        threshold: u16,
        /// Nodes that hold a share.
        parties: u16,
    },
    /// A party index is not below n.
    #[error("party {0} does not exist in this key")]
    UnknownParty(PartyIndex),
    /// A signer set does not have exactly t members.
    #[error("{given} signers given, the key needs exactly {threshold}")]
    WrongSignerCount {
        /// Distinct signers given.
        given: usize,
        /// Signers needed.
        threshold: u16,
    },
    /// A signer set is not sorted or names a party twice.
    #[error("signers must be sorted and distinct")]
    UnorderedSigners,
}

/// t-of-n. Checked: 2 <= t <= n <= 16 and 2t > n, so that two disjoint quorums cannot exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawParameters", into = "RawParameters")]
pub struct Parameters {
    threshold: u16,
    parties: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParameters {
    threshold: u16,
    parties: u16,
}

impl TryFrom<RawParameters> for Parameters {
    type Error = ParametersError;
    fn try_from(raw: RawParameters) -> Result<Self, Self::Error> {
        Self::new(raw.threshold, raw.parties)
    }
}

impl From<Parameters> for RawParameters {
    fn from(checked: Parameters) -> Self {
        Self {
            threshold: checked.threshold,
            parties: checked.parties,
        }
    }
}

impl Parameters {
    /// Most nodes that may hold one key.
    pub const MAX_PARTIES: u16 = 16;

    /// Checks and builds `threshold`-of-`parties`.
    ///
    /// # Errors
    /// [`ParametersError::OutOfBounds`].
    pub fn new(threshold: u16, parties: u16) -> Result<Self, ParametersError> {
        let bounded = threshold >= 2 && threshold <= parties && parties <= Self::MAX_PARTIES;
        if !bounded || threshold.saturating_mul(2) <= parties {
            return Err(ParametersError::OutOfBounds { threshold, parties });
        }
        Ok(Self { threshold, parties })
    }

    /// Signers needed for a signature (t).
    pub fn threshold(self) -> u16 {
        self.threshold
    }

    /// Nodes that hold a share (n).
    pub fn parties(self) -> u16 {
        self.parties
    }

    /// All party indexes, in order.
    pub fn everyone(self) -> impl Iterator<Item = PartyIndex> {
        (0..self.parties).map(PartyIndex)
    }

    /// Checks that a party exists in this key.
    ///
    /// # Errors
    /// [`ParametersError::UnknownParty`].
    pub fn check(self, party: PartyIndex) -> Result<(), ParametersError> {
        if party.0 < self.parties {
            Ok(())
        } else {
            Err(ParametersError::UnknownParty(party))
        }
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.threshold, self.parties)
    }
}

/// The parties of one signature: exactly t, sorted, distinct. The same list on every node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signers(Vec<PartyIndex>);

impl Signers {
    /// Checks an already ordered list against a key's parameters.
    ///
    /// # Errors
    /// When the list is unsorted, repeats a party, names a stranger, or is not exactly t long.
    pub fn new(parameters: Parameters, ordered: &[PartyIndex]) -> Result<Self, ParametersError> {
        if !ordered.is_sorted_by(|a, b| a < b) {
            return Err(ParametersError::UnorderedSigners);
        }
        for party in ordered {
            parameters.check(*party)?;
        }
        if ordered.len() != usize::from(parameters.threshold()) {
            return Err(ParametersError::WrongSignerCount {
                given: ordered.len(),
                threshold: parameters.threshold(),
            });
        }
        Ok(Self(ordered.to_vec()))
    }

    /// The signers in order.
    pub fn as_slice(&self) -> &[PartyIndex] {
        &self.0
    }

    /// Whether a party signs.
    pub fn contains(&self, party: PartyIndex) -> bool {
        self.0.binary_search(&party).is_ok()
    }

    /// Position of a party among the signers.
    pub fn position(&self, party: PartyIndex) -> Option<usize> {
        self.0.binary_search(&party).ok()
    }

    /// Everybody but `me`.
    pub fn others(&self, me: PartyIndex) -> impl Iterator<Item = PartyIndex> + '_ {
        self.0.iter().copied().filter(move |party| *party != me)
    }
}

/// Names one execution of one protocol, on all nodes alike, never reused: every transcript, proof and
/// commitment is bound to it.
///
/// Callers derive it from protocol, key, epoch, attempt and the ordered receipts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(pub [u8; 32]);

impl ExecutionId {
    /// SHA-256 over the domain and each field, every one preceded by its length (8 bytes, big endian), so that
    /// no two different lists of fields collide.
    pub fn derive<'a>(domain: &str, fields: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(hash_fields(domain, fields))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExecutionId({self})")
    }
}

/// Domain-separated, length-prefixed SHA-256.
pub(crate) fn hash_fields<'a>(
    domain: &str,
    fields: impl IntoIterator<Item = &'a [u8]>,
) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut absorb = |field: &[u8]| {
        let length = u64::try_from(field.len()).unwrap_or(u64::MAX);
        hasher.update(length.to_be_bytes());
        hasher.update(field);
    };
    absorb(domain.as_bytes());
    for field in fields {
        absorb(field);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_allow_no_two_disjoint_quorums() {
        for (t, n) in [(2, 2), (2, 3), (3, 4), (3, 5), (9, 16)] {
            assert!(Parameters::new(t, n).is_ok(), "{t}-of-{n}");
        }
        for (t, n) in [(1, 1), (0, 0), (2, 4), (3, 2), (8, 16), (9, 17), (1, 3)] {
            assert!(Parameters::new(t, n).is_err(), "{t}-of-{n}");
        }
    }

    #[test]
    fn deserialized_parameters_are_checked() {
        assert!(serde_json::from_str::<Parameters>(r#"{"threshold":2,"parties":3}"#).is_ok());
        assert!(serde_json::from_str::<Parameters>(r#"{"threshold":2,"parties":4}"#).is_err());
    }

    #[test]
    fn signers_are_exactly_t_sorted_and_known() {
        let p = Parameters::new(2, 3).unwrap();
        let list = |l: &[u16]| l.iter().map(|i| PartyIndex(*i)).collect::<Vec<_>>();
        assert!(Signers::new(p, &list(&[0, 2])).is_ok());
        for bad in [vec![2, 0], vec![0, 0], vec![0], vec![0, 1, 2], vec![0, 3]] {
            assert!(Signers::new(p, &list(&bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn execution_ids_do_not_collide_across_field_borders() {
        let id = |f: &[&[u8]]| ExecutionId::derive("d", f.iter().copied());
        assert_ne!(id(&[b"ab", b"c"]), id(&[b"a", b"bc"]));
        assert_ne!(id(&[b"ab"]), id(&[b"ab", b""]));
        assert_ne!(
            ExecutionId::derive("da", [b"b".as_slice()]),
            ExecutionId::derive("d", [b"ab".as_slice()])
        );
    }
}
