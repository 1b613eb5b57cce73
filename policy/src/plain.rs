//! Text that people read before they sign: it must look like what it is.

/// Characters that take no space, look like a space, or turn the direction of writing: with them two names that differ
/// look the same (Unicode Technical Report 36, sections 2.5 and 2.6; category Cf and the blank letters).
const INVISIBLE: [(char, char); 19] = [
    ('\u{00ad}', '\u{00ad}'),
    ('\u{034f}', '\u{034f}'),
    ('\u{061c}', '\u{061c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e007f}'),
    ('\u{e0100}', '\u{e01ef}'),
];

/// The greatest length of a name or label, in bytes.
pub(crate) const MAX_TEXT: usize = 128;

/// Accepts 1 to [`MAX_TEXT`] bytes that show, without spaces at the ends.
pub(crate) fn plain_text(value: &str) -> Result<(), String> {
    if value.is_empty() || value.len() > MAX_TEXT {
        return Err(format!("must have 1 to {MAX_TEXT} bytes"));
    }
    if value.trim() != value {
        return Err("must not begin or end with white space".into());
    }
    if let Some(hidden) = value.chars().find(|c| hides(*c)) {
        return Err(format!(
            "contains {}, which does not show: two names could look the same",
            hidden.escape_unicode()
        ));
    }
    Ok(())
}

pub(crate) fn hides(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || INVISIBLE
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_does_not_look_like_what_it_is_is_refused() {
        for good in [
            "exchange",
            "Börse Zürich",
            "取引所",
            "a b",
            &"x".repeat(128),
        ] {
            assert_eq!(plain_text(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "exchange ",
            " exchange",
            "ex\u{200b}change",
            "\u{202e}egnahcxe",
            "exchange\n",
            "a\u{a0}b",
            "a\u{7f}",
            "a\u{feff}b",
            &"x".repeat(129),
        ] {
            assert!(plain_text(bad).is_err(), "{bad:?}");
        }
    }
}
