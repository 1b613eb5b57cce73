//! Amounts as people write them: whole units with a decimal point, turned into base units without any rounding.

use countersign_policy::Amount;

/// Reads `12.5` as base units of an asset with `decimals` places.
///
/// # Errors
/// What to mend: a sign, an exponent, more places than the asset has, or more than 2^256 - 1.
pub fn parse_units(text: &str, decimals: u8) -> Result<Amount, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || text.ends_with('.') {
        return Err(format!(
            "{text:?} is no amount: write whole units such as 12 or 12.50"
        ));
    }
    let places = usize::from(decimals);
    let (kept, beyond) = fraction.split_at_checked(places).unwrap_or((fraction, ""));
    if beyond.bytes().any(|b| b != b'0') {
        return Err(format!(
            "{text:?} has more decimal places than the {decimals} of the asset"
        ));
    }
    let base = format!("{whole}{kept:0<places$}");
    let canonical = match base.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    Amount::from_decimal(canonical).map_err(|e| format!("{text:?}: {e}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn units_become_base_units_exactly() {
        for (text, decimals, base) in [
            ("12.50", 6, "12500000"),
            ("12", 6, "12000000"),
            ("0.000001", 6, "1"),
            ("0", 18, "0"),
            ("007", 0, "7"),
            ("1.10", 1, "11"),
            ("1", 18, "1000000000000000000"),
        ] {
            assert_eq!(
                parse_units(text, decimals).unwrap().to_string(),
                base,
                "{text}"
            );
        }
    }

    #[test]
    fn what_would_need_a_guess_is_refused() {
        for (text, decimals) in [
            ("", 6),
            (".5", 6),
            ("5.", 6),
            ("-1", 6),
            ("+1", 6),
            ("1e3", 6),
            ("1,000", 6),
            ("1 000", 6),
            ("0x10", 6),
            ("1.2.3", 6),
            ("0.0000001", 6),
        ] {
            assert!(parse_units(text, decimals).is_err(), "{text}");
        }
        let huge = "9".repeat(79);
        assert!(parse_units(&huge, 0).is_err());
    }
}
