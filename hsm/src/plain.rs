//! Text that came from a module or its process, fit for logs and terminals.

use serde::{Deserialize as _, Deserializer};

/// The longest text kept, in characters.
const MAX_TEXT: usize = 300;

/// Reads a text from a frame: control and direction characters are escaped, and it is short. The process that says it shares its
/// memory with somebody else's code.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(plain(&String::deserialize(deserializer)?))
}

fn plain(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().take(MAX_TEXT) {
        let hides = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if character.is_control() || hides {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_module_stays_on_its_line_and_is_short() {
        assert_eq!(plain("a\nb\u{1b}[2J\u{202e}"), r"a\nb\u{1b}[2J\u{202e}");
        assert_eq!(plain(&"x".repeat(5000)).len(), MAX_TEXT);
    }

    #[test]
    fn a_frame_with_such_text_is_read_plain() {
        let trouble = crate::Trouble {
            code: "x\ny".into(),
            function: "C_Sign".into(),
        };
        let bytes = postcard::to_allocvec(&trouble).unwrap();
        let back: crate::Trouble = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back.code, r"x\ny");
    }
}
