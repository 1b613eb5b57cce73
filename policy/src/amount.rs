//! Exact, unsigned token amounts in base units.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of one asset in its base units (wei, sun, lamports, 10^-6 USDT on Ethereum ...).
///
/// It holds 0 to 2^256 - 1 and never rounds. Text and JSON forms are the canonical decimal string: digits only, no
/// sign, no leading zeros, at most 78 digits. There are no operators: arithmetic is checked and says so.
///
/// ```
/// use countersign_policy::Amount;
/// let amount: Amount = "1500000".parse().expect("canonical decimal");
/// assert_eq!(amount.to_units(6), "1.5");
/// assert!("01".parse::<Amount>().is_err());
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(U256);

/// Why a text is not an [`Amount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Something else than the digits 0 to 9, or nothing at all.
    #[error(
        "an amount is a string of decimal digits in base units, without sign, point, spaces or exponent"
    )]
    NotDigits,
    /// A zero in front of other digits.
    #[error("an amount has no leading zeros")]
    LeadingZero,
    /// Above 2^256 - 1.
    #[error("an amount is at most 2^256 - 1")]
    TooLarge,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(U256::ZERO);
    /// 2^256 - 1, what token contracts call "unlimited".
    pub const MAX: Self = Self(U256::MAX);

    /// Reads the canonical decimal form.
    ///
    /// # Errors
    /// [`AmountError`] for every other text, also for one that denotes the same number.
    pub fn from_decimal(text: &str) -> Result<Self, AmountError> {
        let digits = text.as_bytes();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(AmountError::NotDigits);
        }
        if digits.len() > 1 && digits.first() == Some(&b'0') {
            return Err(AmountError::LeadingZero);
        }
        if digits.len() > 78 {
            return Err(AmountError::TooLarge);
        }
        U256::from_str_radix(text, 10)
            .map(Self)
            .map_err(|_| AmountError::TooLarge)
    }

    /// From 32 bytes, most significant first (an ABI word).
    #[must_use]
    pub const fn from_be_bytes(bytes: [u8; 32]) -> Self {
        Self(U256::from_be_bytes(bytes))
    }

    /// As 32 bytes, most significant first.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 32] {
        self.0.to_be_bytes()
    }

    pub(crate) const fn from_u256(value: U256) -> Self {
        Self(value)
    }

    /// True for [`Amount::ZERO`].
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The sum, or `None` above 2^256 - 1.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product, or `None` above 2^256 - 1.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        self.0.checked_mul(other.0).map(Self)
    }

    /// The sum of all, or `None` above 2^256 - 1.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// The quotient by `divisor`, rounded up, or `None` when `divisor` is zero.
    #[must_use]
    pub fn checked_div_ceil(self, divisor: Self) -> Option<Self> {
        let quotient = self.0.checked_div(divisor.0)?;
        let remainder = self.0.checked_rem(divisor.0)?;
        if remainder.is_zero() {
            Some(Self(quotient))
        } else {
            quotient.checked_add(U256::ONE).map(Self)
        }
    }

    /// The value as `u128`, when it fits.
    #[must_use]
    pub fn to_u128(self) -> Option<u128> {
        u128::try_from(self.0).ok()
    }

    /// For people: whole units with `decimals` places, trailing zeros cut (`1500000` with 6 is `1.5`). Exact, but never
    /// to be read back: machines use the base units.
    #[must_use]
    pub fn to_units(self, decimals: u8) -> String {
        let digits = self.0.to_string();
        let places = usize::from(decimals);
        let padded = format!("{digits:0>width$}", width = places.saturating_add(1));
        let (whole, fraction) = padded.split_at(padded.len().saturating_sub(places));
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            rest => format!("{whole}.{rest}"),
        }
    }
}

impl From<u64> for Amount {
    fn from(value: u64) -> Self {
        Self(U256::from(value))
    }
}

impl From<u128> for Amount {
    fn from(value: u128) -> Self {
        Self(U256::from(value))
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        Self::from_decimal(text)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({})", self.0)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parse(
            deserializer,
            "an amount as a decimal string",
            Self::from_decimal,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_decimal_form_is_read() {
        for good in ["0", "1", "10", &U256::MAX.to_string()] {
            assert_eq!(good.parse::<Amount>().unwrap().to_string(), good);
        }
        for (bad, why) in [
            ("", AmountError::NotDigits),
            ("+1", AmountError::NotDigits),
            ("-1", AmountError::NotDigits),
            ("1.0", AmountError::NotDigits),
            ("1e3", AmountError::NotDigits),
            ("1_000", AmountError::NotDigits),
            ("0x10", AmountError::NotDigits),
            (" 1", AmountError::NotDigits),
            ("١", AmountError::NotDigits),
            ("00", AmountError::LeadingZero),
            ("01", AmountError::LeadingZero),
            (&format!("{}0", U256::MAX), AmountError::TooLarge),
            // 2^256
            (
                "115792089237316195423570985008687907853269984665640564039457584007913129639936",
                AmountError::TooLarge,
            ),
        ] {
            assert_eq!(bad.parse::<Amount>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn json_is_a_string_never_a_number() {
        assert_eq!(
            serde_json::to_string(&Amount::from(7_u64)).unwrap(),
            "\"7\""
        );
        assert!(serde_json::from_str::<Amount>("7").is_err());
        assert_eq!(
            serde_json::from_str::<Amount>("\"7\"").unwrap(),
            Amount::from(7_u64)
        );
    }

    #[test]
    fn units_are_exact_for_people() {
        for (amount, decimals, shown) in [
            ("0", 6, "0"),
            ("1", 6, "0.000001"),
            ("1500000", 6, "1.5"),
            ("1000000", 6, "1"),
            ("42", 0, "42"),
            ("1", 18, "0.000000000000000001"),
        ] {
            assert_eq!(amount.parse::<Amount>().unwrap().to_units(decimals), shown);
        }
    }

    #[test]
    fn arithmetic_says_when_it_does_not_fit() {
        assert_eq!(Amount::MAX.checked_add(Amount::from(1_u64)), None);
        assert_eq!(Amount::ZERO.checked_sub(Amount::from(1_u64)), None);
        assert_eq!(Amount::MAX.checked_mul(Amount::from(2_u64)), None);
        assert_eq!(
            Amount::from(7_u64).checked_div_ceil(Amount::from(2_u64)),
            Some(Amount::from(4_u64))
        );
        assert_eq!(Amount::from(7_u64).checked_div_ceil(Amount::ZERO), None);
    }
}
