//! What is wrong with a rule.

/// One thing wrong with a file of rules: where it is, what it is, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleProblem {
    /// The file's name below `rules/`.
    pub file: String,
    /// The line in it, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

impl RuleProblem {
    /// A fault that no rule file causes: it refuses the bundle all the same.
    pub(super) fn of_engine(what: String) -> Self {
        Self {
            file: "schema.cedarschema".to_owned(),
            line: 1,
            what,
            mend: "this is a defect of the program: report it".to_owned(),
        }
    }
}

impl std::fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            line,
            what,
            mend,
        } = self;
        write!(f, "{file}:{line}: {what}; {mend}")
    }
}
