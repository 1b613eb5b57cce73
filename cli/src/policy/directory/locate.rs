//! Where a part of the policy stands in its file.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Fields by which an entry of a list is named.
const NAMES: [&str; 5] = ["id", "name", "label", "network", "asset"];

/// The text of a file and where everything in it stands.
#[derive(Debug)]
pub struct Source<'t> {
    text: &'t str,
    table: DeTable<'t>,
}

impl<'t> Source<'t> {
    /// Of a parsed file.
    pub fn new(text: &'t str, table: DeTable<'t>) -> Self {
        Self { text, table }
    }

    /// The line of an offset, from 1.
    pub fn line(&self, offset: usize) -> usize {
        line_of(self.text, offset)
    }

    /// The line of a part of the policy, written as validation writes it: `rules[usdt].asset`. When the part itself is not
    /// in the file, the nearest one around it.
    pub fn find(&self, at: &str) -> Option<usize> {
        let mut found: Option<Range<usize>> = None;
        let mut table = Some(&self.table);
        for step in steps(at) {
            // Limits are written without the nesting that they have in a bundle.
            if ["scope", "measure"].contains(&step.name) {
                continue;
            }
            let Some((key, value)) = table.and_then(|table| entry(table, step.name)) else {
                break;
            };
            found = Some(key);
            table = value.get_ref().as_table();
            if let Some(selector) = step.selector {
                let Some(item) = value
                    .get_ref()
                    .as_array()
                    .and_then(|list| item(list, selector))
                else {
                    break;
                };
                found = Some(item.span());
                table = item.get_ref().as_table();
            }
        }
        found.map(|span| self.line(span.start))
    }
}

/// The line of an offset in a text, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count().saturating_add(1)
}

/// One step of a path: `rules[usdt]`.
struct Step<'a> {
    name: &'a str,
    selector: Option<&'a str>,
}

/// The steps of a path. A selector may itself contain dots.
fn steps(at: &str) -> Vec<Step<'_>> {
    let mut found = Vec::new();
    let mut rest = at;
    while !rest.is_empty() {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (selector, after) = match after.strip_prefix('[').and_then(|s| s.split_once(']')) {
            Some((selector, after)) => (Some(selector), after),
            None => (None, after),
        };
        found.push(Step { name, selector });
        let next = after.strip_prefix('.').unwrap_or(after);
        if next.len() == rest.len() {
            break;
        }
        rest = next;
    }
    found
}

fn entry<'a, 't>(
    table: &'a DeTable<'t>,
    name: &str,
) -> Option<(Range<usize>, &'a Spanned<DeValue<'t>>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span(), value))
}

/// The entry that a selector names, or whose number it is.
fn item<'a, 't>(
    list: &'a [Spanned<DeValue<'t>>],
    selector: &str,
) -> Option<&'a Spanned<DeValue<'t>>> {
    let is_named = |item: &&Spanned<DeValue<'t>>| {
        let Some(table) = item.get_ref().as_table() else {
            return item.get_ref().as_str() == Some(selector);
        };
        NAMES
            .iter()
            .find_map(|name| entry(table, name))
            .is_some_and(|(_, value)| value.get_ref().as_str() == Some(selector))
    };
    list.iter()
        .find(is_named)
        .or_else(|| list.get(selector.parse::<usize>().ok()?))
}
