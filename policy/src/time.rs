//! Points in time as statements carry them. This crate reads no clock: the caller says what time it is.

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset};

/// A point in time in milliseconds since 1970-01-01T00:00:00Z; text form is RFC 3339 in UTC with exactly three
/// fractional digits, `2026-11-23T19:16:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// Text that is not a time in the one accepted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a time is RFC 3339 in UTC with three fractional digits, like 2026-11-23T19:16:00.000Z")]
pub struct TimestampError;

/// The last millisecond of the year 9999, the greatest that RFC 3339 can write.
const MAX_MILLIS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The given number of milliseconds after 1970, kept within the years 1970 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, MAX_MILLIS))
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time plus `seconds`, kept within the years 1970 to 9999.
    pub fn plus_seconds(self, seconds: u64) -> Self {
        let millis = i64::try_from(seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// This time minus `seconds`, kept within the years 1970 to 9999.
    pub fn minus_seconds(self, seconds: u64) -> Self {
        let millis = i64::try_from(seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        Self::from_millis(self.0.saturating_sub(millis))
    }

    /// Milliseconds from `earlier` to this time; negative when `earlier` is later.
    pub const fn millis_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = i128::from(self.0).saturating_mul(1_000_000);
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| std::fmt::Error)?;
        let (y, mo, d) = (at.year(), u8::from(at.month()), at.day());
        let (h, mi, s, ms) = (at.hour(), at.minute(), at.second(), at.millisecond());
        write!(f, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}Z")
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimestampError;
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let parsed = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
            .map_err(|_| TimestampError)?
            .to_offset(UtcOffset::UTC);
        let millis =
            i64::try_from(parsed.unix_timestamp_nanos() / 1_000_000).map_err(|_| TimestampError)?;
        let time = Self::from_millis(millis);
        // One text for one time: what does not come back the same was written another way.
        if time.to_string() == text {
            Ok(time)
        } else {
            Err(TimestampError)
        }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;
    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_for_one_time() {
        let at: Timestamp = "2026-11-23T19:16:00.007Z".parse().unwrap();
        assert_eq!(at.as_millis(), 1_795_461_360_007);
        assert_eq!(at.to_string(), "2026-11-23T19:16:00.007Z");
        for other in [
            "2026-11-23T19:16:00Z",
            "2026-11-23T20:16:00.007+01:00",
            "2026-11-23 19:16:00.007Z",
            "1969-12-31T23:59:59.999Z",
            "",
        ] {
            assert!(other.parse::<Timestamp>().is_err(), "{other}");
        }
    }
}
