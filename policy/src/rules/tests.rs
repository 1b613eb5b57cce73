//! What rules may say, where they may not, and that slicing them changes nothing.

mod meaning;
mod problems;
mod slicing;

use super::RuleSet;
use crate::bundle::{CedarFile, PolicyBundle};
use crate::testing::TestDeployment;

/// A deployment with the groups `treasury` and `security` and one file of rules.
fn with_rules(text: &str) -> TestDeployment {
    let mut deployment = TestDeployment::with_single_keys(3, 2);
    deployment.add_groups();
    deployment.content_mut().cedar = vec![file("hot.cedar", text)];
    deployment
}

fn file(name: &str, text: &str) -> CedarFile {
    CedarFile {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

/// What is wrong, as people are told.
fn problems(content: &PolicyBundle) -> Vec<String> {
    match RuleSet::compile(content) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}
