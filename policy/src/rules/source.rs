//! Rule files cut into single rules, so that each problem has its file and line and one broken rule hides no other.

use super::problem::RuleProblem;

/// One rule as written, with the place where it stands.
#[derive(Debug, Clone)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    /// The whole file.
    text: &'a str,
    /// Where the rule's text begins in it, in bytes.
    start: usize,
    /// The rule, with the comments before it.
    pub(super) rule: &'a str,
}

impl<'a> Source<'a> {
    /// The line of a byte of the rule's own text, from 1.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let until = self.start.saturating_add(offset);
        let before = self.text.as_bytes().iter().take(until);
        before.filter(|b| **b == b'\n').count().saturating_add(1)
    }

    /// The line where the rule begins, after the comments before it.
    pub(super) fn first_line(&self) -> usize {
        self.line_at(first_token(self.rule))
    }

    /// How deep its brackets are nested.
    pub(super) fn nesting(&self) -> usize {
        let (mut now, mut most) = (0_usize, 0_usize);
        for (_, token) in tokens(self.rule) {
            match token {
                Token::Open => now = now.saturating_add(1),
                Token::Close => now = now.saturating_sub(1),
                Token::End | Token::Other => {}
            }
            most = most.max(now);
        }
        most
    }

    /// How long the rule is without spaces, comments and what is in quotes.
    pub(super) fn length(&self) -> usize {
        tokens(self.rule).count()
    }

    pub(super) fn problem(&self, what: impl Into<String>, mend: impl Into<String>) -> RuleProblem {
        self.problem_at(self.first_line(), what, mend)
    }

    pub(super) fn problem_at(
        &self,
        line: usize,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) -> RuleProblem {
        RuleProblem {
            file: self.file.to_owned(),
            line,
            what: what.into(),
            mend: mend.into(),
        }
    }
}

/// Cuts at every `;` that is in no string and no comment: Cedar has it at the end of a rule and nowhere else.
pub(super) fn split<'a>(file: &'a str, text: &'a str) -> Vec<Source<'a>> {
    let mut rules = Vec::new();
    let mut start = 0_usize;
    for (offset, token) in tokens(text) {
        if token == Token::End {
            let end = offset.saturating_add(1);
            push(&mut rules, file, text, start, end);
            start = end;
        }
    }
    push(&mut rules, file, text, start, text.len());
    rules
}

fn push<'a>(rules: &mut Vec<Source<'a>>, file: &'a str, text: &'a str, start: usize, end: usize) {
    let rule = text.get(start..end).unwrap_or_default();
    if first_token(rule) < rule.len() {
        rules.push(Source {
            file,
            text,
            start,
            rule,
        });
    }
}

/// Where the first thing stands that is neither space nor comment; the length when there is none.
fn first_token(rule: &str) -> usize {
    tokens(rule).next().map_or(rule.len(), |(offset, _)| offset)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// The end of a rule.
    End,
    /// An opening bracket.
    Open,
    /// A closing bracket.
    Close,
    /// Any other character outside of strings, or the beginning of a string.
    Other,
}

/// Everything outside of comments and spaces; a string counts as one token.
fn tokens(text: &str) -> impl Iterator<Item = (usize, Token)> + '_ {
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        loop {
            let (offset, c) = chars.next()?;
            match c {
                '/' if chars.peek().is_some_and(|(_, next)| *next == '/') => {
                    while chars.next_if(|(_, c)| *c != '\n').is_some() {}
                }
                '"' => {
                    while let Some((_, c)) = chars.next() {
                        match c {
                            '\\' => {
                                chars.next();
                            }
                            '"' => break,
                            _ => {}
                        }
                    }
                    return Some((offset, Token::Other));
                }
                ';' => return Some((offset, Token::End)),
                '(' | '[' | '{' => return Some((offset, Token::Open)),
                ')' | ']' | '}' => return Some((offset, Token::Close)),
                c if c.is_whitespace() => {}
                _ => return Some((offset, Token::Other)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_cut_where_they_end_and_nowhere_else() {
        let text = "// one; two\n@reason(\"a;\\\"b;\")\npermit(principal, action, resource);\n\n// last\nforbid(x);\n// end;";
        let rules = split("a.cedar", text);
        let found: Vec<_> = rules
            .iter()
            .map(|r| (r.first_line(), r.rule.trim()))
            .collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, 2);
        assert!(found[0].1.ends_with("resource);"));
        assert_eq!(found[1], (6, "// last\nforbid(x);"));
    }

    #[test]
    fn what_has_no_end_is_a_rule_too_and_is_refused_later() {
        assert_eq!(split("a", "permit(principal").len(), 1);
        assert_eq!(split("a", "\"never closed; \n;").len(), 1);
        assert_eq!(split("a", " \n // nothing\n").len(), 0);
    }
}
