//! Numbers and times as people write them.

use std::fmt;

use countersign_policy::Timestamp;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An amount in whole units, not read yet: `"12.50"`, or a whole number without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Units(pub String);

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitsVisitor)
    }
}

struct UnitsVisitor;

impl Visitor<'_> for UnitsVisitor {
    type Value = Units;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount in whole units: 12, or \"12.50\" in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Units, E> {
        Ok(Units(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Units, E> {
        Ok(Units(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Units, E> {
        Ok(Units(number.to_string()))
    }

    // A float has been rounded already: what was meant is no longer known.
    fn visit_f64<E: Error>(self, _: f64) -> Result<Units, E> {
        Err(E::custom(
            "write an amount with a decimal point in quotes: \"12.50\"",
        ))
    }
}

/// A time in RFC 3339: `2026-11-23T19:16:00Z`.
pub(in crate::policy) fn moment<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_moment(&text).map(Some).map_err(D::Error::custom)
}

fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| format!("{text:?} is no time: write it like \"2026-11-23T19:16:00Z\""))?;
    let millis = at.unix_timestamp_nanos() / 1_000_000;
    Ok(Timestamp::from_millis(
        i64::try_from(millis).unwrap_or(i64::MAX),
    ))
}
