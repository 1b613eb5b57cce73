//! Whose approvals a rule needs, as people write it: `treasury:2,security:1` or `treasury:2,security:1|board:3`.

use std::fmt;
use std::str::FromStr;

use crate::id::GroupId;
use crate::text::serde_as_text;

/// Alternatives, of which one must be met; each asks for a number of approvals from every group that it names.
///
/// The text form separates alternatives by `|`, and the groups of one by `,`. Groups stand once in an alternative.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    alternatives: Vec<Vec<Need>>,
}

/// A number of people of one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The group.
    pub group: GroupId,
    /// How many of its members must approve; at least 1.
    pub count: u16,
}

/// The text is not of the form `group:number,group:number|group:number`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not of the form \"treasury:2,security:1\" with alternatives after \"|\": {why}"
)]
pub struct NeedsError {
    text: String,
    why: &'static str,
}

/// Alternatives, and groups in each.
const MAX_PARTS: usize = 8;

impl Needs {
    /// The alternatives, of which one must be met.
    pub fn alternatives(&self) -> &[Vec<Need>] {
        &self.alternatives
    }
}

impl FromStr for Needs {
    type Err = NeedsError;

    fn from_str(text: &str) -> Result<Self, NeedsError> {
        let fail = |why| NeedsError {
            text: text.chars().take(200).collect(),
            why,
        };
        let mut alternatives = Vec::new();
        for part in text.split('|') {
            let mut needs: Vec<Need> = Vec::new();
            for one in part.split(',') {
                let (group, count) = one
                    .split_once(':')
                    .ok_or_else(|| fail("a colon is missing"))?;
                let group = GroupId::new(group).map_err(|_| fail("a group has no valid name"))?;
                let canonical =
                    count.bytes().all(|b| b.is_ascii_digit()) && !count.starts_with('0');
                let count = count.parse().ok().filter(|_| canonical);
                let count =
                    count.ok_or_else(|| fail("numbers count from 1, without leading zeros"))?;
                if needs.iter().any(|n| n.group == group) {
                    return Err(fail("a group stands twice in one alternative"));
                }
                needs.push(Need { group, count });
            }
            alternatives.push(needs);
        }
        if alternatives.len() > MAX_PARTS || alternatives.iter().any(|a| a.len() > MAX_PARTS) {
            return Err(fail("there are more than 8 parts"));
        }
        Ok(Self { alternatives })
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, alternative) in self.alternatives.iter().enumerate() {
            if i > 0 {
                f.write_str("|")?;
            }
            for (j, need) in alternative.iter().enumerate() {
                if j > 0 {
                    f.write_str(",")?;
                }
                write!(f, "{}:{}", need.group, need.count)?;
            }
        }
        Ok(())
    }
}

serde_as_text!(Needs, "groups and numbers such as treasury:2,security:1");
