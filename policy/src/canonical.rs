//! Canonical JSON: one byte string for one value.
//!
//! Object keys in ascending byte order, no white space, integers only (at most 2^53 - 1 in magnitude), ASCII keys;
//! for such values the result is that of RFC 8785 (JCS). Reading requires byte equality with what writing would
//! give, which refuses duplicate keys, unknown fields, other orders, other number forms and trailing bytes at once.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a value could not be written or read as canonical JSON.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The value has no JSON form, or the bytes are no JSON of the expected type.
    #[error("not valid JSON for this type")]
    Json(#[from] serde_json::Error),
    /// A number that is not an integer within +-(2^53 - 1).
    #[error("number {0} is not an integer within 2^53 - 1; amounts are decimal strings")]
    Number(String),
    /// An object key outside ASCII.
    #[error("object key {0:?} is not ASCII")]
    Key(String),
    /// The bytes say the same in another way: order, white space, a duplicate key, an escape.
    #[error("JSON is not canonical: it differs from its own re-encoding at byte {0}")]
    NotCanonical(usize),
    /// More bytes than the format allows.
    #[error("{size} bytes is more than the {max} allowed")]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
        /// The greatest size allowed, in bytes.
        max: usize,
    },
}

/// The greatest integer that every JSON reader keeps exactly.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// Writes `value` as canonical JSON.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(512);
    write(&serde_json::to_value(value)?, &mut out)?;
    Ok(out)
}

/// Reads canonical JSON of at most `max` bytes, and nothing else.
pub fn from_slice<T: DeserializeOwned + Serialize>(
    bytes: &[u8],
    max: usize,
) -> Result<T, CanonicalError> {
    if bytes.len() > max {
        return Err(CanonicalError::TooLarge {
            size: bytes.len(),
            max,
        });
    }
    let value: T = serde_json::from_slice(bytes)?;
    let again = to_vec(&value)?;
    if again == bytes {
        return Ok(value);
    }
    let differs = again.iter().zip(bytes).position(|(a, b)| a != b);
    Err(CanonicalError::NotCanonical(
        differs.unwrap_or(again.len().min(bytes.len())),
    ))
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => {
            let refused = || CanonicalError::Number(number.to_string());
            let integer = match number.as_i64() {
                Some(integer) if !number.is_f64() => integer,
                _ => return Err(refused()),
            };
            if integer.unsigned_abs() > MAX_SAFE {
                return Err(refused());
            }
            // Written from the integer, not from the text that was read: "-0" would survive in a Number that keeps it.
            out.extend_from_slice(integer.to_string().as_bytes());
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            // Sorted here rather than trusting the map: a dependency's feature could turn it into an insertion-ordered one.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            out.push(b'{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                if !key.is_ascii() {
                    return Err(CanonicalError::Key(key.clone()));
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => serde_json::to_writer(out, value)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        b: u64,
        a: Option<String>,
    }

    #[test]
    fn one_byte_string_for_one_value() {
        let value = Sample {
            b: 7,
            a: Some("x\n".into()),
        };
        let bytes = to_vec(&value).unwrap();
        assert_eq!(bytes, br#"{"a":"x\n","b":7}"#);
        assert_eq!(from_slice::<Sample>(&bytes, 100).unwrap(), value);
    }

    #[test]
    fn every_other_way_to_write_it_is_refused() {
        for other in [
            &br#"{"b":7,"a":"x\n"}"#[..],
            br#"{"a":"x\n", "b":7}"#,
            br#"{"a":"x\n","b":7,"b":7}"#,
            br#"{"a":"x\n","b":7,"c":1}"#,
            br#"{"a":"x\u000a","b":7}"#,
            br#"{"a":"x\n","b":7.0}"#,
            br#"{"a":"x\n","b":7}x"#,
            br#"{"a":"x\n","b":9007199254740993}"#,
            br#"{"b":7}"#,
        ] {
            assert!(
                from_slice::<Sample>(other, 100).is_err(),
                "{}",
                String::from_utf8_lossy(other)
            );
        }
        assert!(matches!(
            from_slice::<Sample>(b"{}", 1),
            Err(CanonicalError::TooLarge { .. })
        ));
    }
}
