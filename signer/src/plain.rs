//! Text that others may have written, made fit for logs, records and terminals.

/// The longest text of a problem for people, in bytes.
const MAX_TEXT: usize = 2_000;

/// Text that others may have written, fit for a log and a terminal: control and direction characters are escaped, so that it
/// stays on its line and is what it looks like, and there is no more of it than anybody reads.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len().min(MAX_TEXT));
    for character in text.chars() {
        let hides = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if plain.len() >= MAX_TEXT.saturating_sub(16) {
            plain.push_str(" ...");
            break;
        }
        if character.is_control() || hides {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// An error with all its causes, on one line: a refusal that leaves them out sends people looking in the wrong place.
pub(crate) fn explained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Problem, ProblemCode};

    #[test]
    fn text_of_others_stays_on_its_line_and_is_short() {
        let forged = "x\n2026-01-01 INFO signed\r\u{1b}[2J\u{202e}\u{9b}\u{2028}";
        let problem = ProblemCode::Malformed.problem(forged);
        let shown = r"x\n2026-01-01 INFO signed\r\u{1b}[2J\u{202e}\u{9b}\u{2028}";
        assert_eq!(problem.detail, shown);
        // What another node says is not trusted to be made here.
        let theirs = Problem {
            title: "a\nb".into(),
            detail: "c\nd".repeat(4_000_000),
            ..problem
        };
        let text = theirs.to_string();
        assert!(text.starts_with(r"a\nb: c\ndc\nd") && text.len() < 4_100);
        assert!(!text.contains('\n'));
        assert_eq!(plain("é, 日本, 12 USDT"), "é, 日本, 12 USDT");
        assert!(plain(&"é".repeat(9_000)).len() <= MAX_TEXT);
        assert_eq!(
            plain(&plain(&"\n".repeat(9_000))),
            plain(&"\n".repeat(9_000))
        );
    }
}
