//! Serde for types whose only form is a string: one visitor for all of them.

use std::fmt::Display;

use serde::Deserializer;
use serde::de::{Error, Visitor};

struct TextVisitor<F> {
    expected: &'static str,
    read: F,
}

impl<T, E: Display, F: Fn(&str) -> Result<T, E>> Visitor<'_> for TextVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<D: Error>(self, text: &str) -> Result<T, D> {
        (self.read)(text).map_err(D::custom)
    }
}

/// Deserializes a string through `read`, without copying it first.
pub(crate) fn parse<'de, D, T, E, F>(
    deserializer: D,
    expected: &'static str,
    read: F,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: Display,
    F: Fn(&str) -> Result<T, E>,
{
    deserializer.deserialize_str(TextVisitor { expected, read })
}

/// `Serialize` through `Display` and `Deserialize` through `FromStr`.
macro_rules! serde_as_text {
    ($type:ty, $expected:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::parse(
                    deserializer,
                    $expected,
                    <$type as std::str::FromStr>::from_str,
                )
            }
        }
    };
}
pub(crate) use serde_as_text;
