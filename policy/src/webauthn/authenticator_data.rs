//! What the authenticator says: `authenticatorData` (Web Authentication Level 3, section 6.1).

use super::AssertionError;
use crate::bundle::WebAuthnPolicy;
use crate::hash::Hash;

/// User present.
pub(crate) const UP: u8 = 0x01;
/// User verified.
pub(crate) const UV: u8 = 0x04;
/// Backup eligible.
pub(crate) const BE: u8 = 0x08;
/// Backed up.
pub(crate) const BS: u8 = 0x10;
/// Attested credential data included.
pub(crate) const AT: u8 = 0x40;
/// Extension data included.
pub(crate) const ED: u8 = 0x80;
/// Bits that nothing defines.
const RESERVED: u8 = 0x22;

/// Before any extensions: hash of the relying party's id, flags, counter.
const FIXED: usize = 37;

/// The greatest extension data, in bytes.
const MAX_EXTENSIONS: usize = 512;

/// How deep extension data may be nested (CTAP 2.1, section 8: four levels).
const MAX_DEPTH: u8 = 4;

/// Why authenticator data is refused before anybody asks what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticatorDataError {
    /// Fewer than 37 bytes, or more than the flags announce.
    #[error("its length is not what its flags say")]
    Length,
    /// A new credential's data, which has no place in an assertion.
    #[error("it carries attested credential data, which has no place in an assertion")]
    AttestedCredential,
    /// Flags without a meaning.
    #[error("it has flags that nothing defines")]
    ReservedFlags,
    /// Extensions that are no CBOR map, or beyond bounds.
    #[error(
        "its extensions are no CBOR map of at most {MAX_EXTENSIONS} bytes and {MAX_DEPTH} levels"
    )]
    Extensions,
}

pub(super) struct AuthenticatorData {
    rp_id_hash: Hash,
    flags: u8,
    counter: u32,
}

impl AuthenticatorData {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, AuthenticatorDataError> {
        let (fixed, rest) = bytes
            .split_first_chunk::<FIXED>()
            .ok_or(AuthenticatorDataError::Length)?;
        let (rp_id_hash, tail) = fixed
            .split_first_chunk::<32>()
            .ok_or(AuthenticatorDataError::Length)?;
        let [flags, a, b, c, d] = *tail else {
            return Err(AuthenticatorDataError::Length);
        };
        if flags & AT != 0 {
            return Err(AuthenticatorDataError::AttestedCredential);
        }
        if flags & RESERVED != 0 {
            return Err(AuthenticatorDataError::ReservedFlags);
        }
        match (flags & ED != 0, rest) {
            (false, []) => {}
            (false, _) => return Err(AuthenticatorDataError::Length),
            (true, extensions) if is_map(extensions) => {}
            (true, _) => return Err(AuthenticatorDataError::Extensions),
        }
        Ok(Self {
            rp_id_hash: Hash::from_bytes(*rp_id_hash),
            flags,
            counter: u32::from_be_bytes([a, b, c, d]),
        })
    }

    pub(super) fn counter(&self) -> u32 {
        self.counter
    }

    pub(super) fn require(&self, policy: &WebAuthnPolicy) -> Result<(), AssertionError> {
        let has = |flag| self.flags & flag != 0;
        if self.rp_id_hash != Hash::sha256(policy.rp_id.as_bytes()) {
            return Err(AssertionError::RelyingParty);
        }
        if !has(UP) {
            return Err(AssertionError::UserPresence);
        }
        if !has(UV) {
            return Err(AssertionError::UserVerification);
        }
        if has(BS) && !has(BE) {
            return Err(AssertionError::BackupFlags);
        }
        if has(BE) && !policy.allow_backup_eligible {
            return Err(AssertionError::BackupEligible);
        }
        Ok(())
    }
}

/// Whether the bytes are one well-formed CBOR map (RFC 8949) of definite lengths within bounds. What it says is nobody's
/// business here: no extension changes what is approved.
fn is_map(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_EXTENSIONS
        && bytes.first().is_some_and(|b| b >> 5 == 5)
        && skip(bytes, MAX_DEPTH).is_some_and(<[u8]>::is_empty)
}

/// What follows one item.
fn skip(bytes: &[u8], depth: u8) -> Option<&[u8]> {
    let (head, mut rest) = bytes.split_first()?;
    let (major, info) = (head >> 5, head & 0x1f);
    let width = match info {
        0..=23 => 0,
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        // Reserved, and indefinite lengths.
        _ => return None,
    };
    let (argument, after) = rest.split_at_checked(width)?;
    rest = after;
    let value = match width {
        0 => u64::from(info),
        _ => argument
            .iter()
            .fold(0, |value, byte| (value << 8) | u64::from(*byte)),
    };
    match major {
        // Strings.
        2 | 3 => rest
            .split_at_checked(usize::try_from(value).ok()?)
            .map(|(_, rest)| rest),
        // Arrays, maps and tags hold items; an item has at least one byte, so more of them than bytes cannot be there.
        4..=6 => {
            let items = match major {
                4 => value,
                5 => value.checked_mul(2)?,
                _ => 1,
            };
            let depth = depth.checked_sub(1)?;
            if items > u64::try_from(rest.len()).ok()? {
                return None;
            }
            for _ in 0..items {
                rest = skip(rest, depth)?;
            }
            Some(rest)
        }
        // Integers, simple values, floats: nothing follows their argument.
        _ => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_one_map_within_bounds_and_nothing_else() {
        let nested = |levels: usize| {
            // {"a": {"a": ... 1}}
            let mut bytes = [0xa1, 0x61, b'a'].repeat(levels);
            bytes.push(1);
            bytes
        };
        let long = |string: u16| {
            let mut bytes = vec![0xa1, 0x61, b'a', 0x59];
            bytes.extend(string.to_be_bytes());
            bytes.resize(bytes.len() + usize::from(string), 0);
            bytes
        };
        for good in [
            // RFC 8949, appendix A: {}, {1: 2, 3: 4}, {"a": 1, "b": [2, 3]}.
            hex::decode("a0").unwrap(),
            hex::decode("a201020304").unwrap(),
            hex::decode("a26161016162820203").unwrap(),
            // {"hmac-secret": h'00'}, {"uvm": 1(2), "f": 1.5 as half, "n": -1}
            hex::decode("a16b686d61632d7365637265744100").unwrap(),
            hex::decode("a36375766dc1026166f93e00616e20").unwrap(),
            nested(4),
            long(506),
        ] {
            assert!(is_map(&good), "{}", hex::encode(&good));
        }
        for bad in [
            // Nothing, an integer, an array, a map of indefinite length, a reserved length.
            hex::decode("").unwrap(),
            hex::decode("01").unwrap(),
            hex::decode("80").unwrap(),
            hex::decode("bf616101ff").unwrap(),
            hex::decode("bc").unwrap(),
            // A map cut short, with more behind it, with more items than bytes, with a string beyond the end.
            hex::decode("a20102").unwrap(),
            hex::decode("a000").unwrap(),
            hex::decode("bbffffffffffffffff").unwrap(),
            hex::decode("ba7fffffff00").unwrap(),
            hex::decode("a1617b5bffffffffffffffff").unwrap(),
            nested(5),
            long(507),
        ] {
            assert!(!is_map(&bad), "{}", hex::encode(&bad));
        }
    }
}
