//! Names of return values and mechanisms.

use crate::entry::{MECHANISMS, RETURN_VALUES};
use cryptoki_sys::{CK_MECHANISM_TYPE, CK_RV};
use std::fmt;

/// A return value: one that PKCS#11 names, a vendor's, or one that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(CK_RV);

impl Code {
    /// The return value with this number.
    pub const fn new(value: CK_RV) -> Self {
        Self(value)
    }

    /// Reads `CKR_DEVICE_ERROR`, or a number such as `0x80000001`.
    pub fn parse(text: &str) -> Option<Self> {
        number_or_name(text, RETURN_VALUES).map(Self)
    }

    /// The number.
    pub const fn value(self) -> CK_RV {
        self.0
    }

    /// Every return value that PKCS#11 names, without `CKR_OK` and without the bounds that are no values of their own.
    pub fn all_errors() -> impl Iterator<Item = Self> {
        RETURN_VALUES
            .iter()
            .filter(|(name, value)| *value != 0 && *name != "CKR_VENDOR_DEFINED")
            .map(|(_, v)| Self(*v))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RETURN_VALUES.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// Reads `CKM_AES_GCM`, or a number such as `0x1087`.
pub(crate) fn mechanism(text: &str) -> Option<CK_MECHANISM_TYPE> {
    number_or_name(text, MECHANISMS)
}

fn number_or_name(text: &str, names: &[(&str, u64)]) -> Option<u64> {
    match text.strip_prefix("0x") {
        // `from_str_radix` takes a sign, which is no number here.
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None => names
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_and_nothing_else() {
        assert_eq!(Code::parse("CKR_DEVICE_ERROR"), Some(Code::new(0x30)));
        assert_eq!(
            Code::parse("0x30").map(|c| c.to_string()),
            Some("CKR_DEVICE_ERROR".into())
        );
        assert_eq!(
            Code::parse("0x80000001").map(|c| c.to_string()),
            Some("0x80000001".into())
        );
        for bad in [
            "",
            "0x",
            "0x+1",
            "30",
            "CKR_",
            "ckr_ok",
            "CKR_OK ",
            "0x1ffffffffffffffff",
        ] {
            assert_eq!(Code::parse(bad), None, "{bad}");
        }
        assert_eq!(mechanism("CKM_AES_GCM"), Some(0x1087));
    }

    #[test]
    fn every_named_error_can_be_written_and_read() {
        let all: Vec<_> = Code::all_errors().collect();
        assert!(all.len() > 90, "{}", all.len());
        assert!(
            all.iter()
                .all(|code| Code::parse(&code.to_string()) == Some(*code))
        );
    }
}
