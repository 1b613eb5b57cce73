use std::path::Path;

use super::*;
use crate::policy::init;

fn example() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    init::write_example(folder.path()).unwrap();
    folder
}

fn args(folder: &Path) -> Args {
    Args {
        directory: DirectoryArg {
            dir: folder.to_owned(),
        },
        only: None,
        format: Format { json: true },
    }
}

fn rows(folder: &Path) -> Vec<Row> {
    let directory = PolicyDirectory::read(folder).unwrap();
    let bundle = directory.pack(&directory.basis().unwrap()).unwrap();
    let (file, text) = directory.tests().unwrap().remove(0);
    let cases = case::read(&file, &text).unwrap();
    cases.iter().map(|placed| row(&bundle, placed)).collect()
}

#[test]
fn the_examples_own_tests_pass() {
    let folder = example();
    run(&args(folder.path())).unwrap();
    let rows = rows(folder.path());
    assert_eq!(rows.len(), 10);
    for row in rows {
        assert!(row.passed, "{}: {}", row.name, row.answered.told());
    }
}

/// Each case of the example, with another expectation, fails: a test of a policy that cannot fail is none.
#[test]
fn an_answer_that_was_not_expected_fails_with_its_line() {
    let folder = example();
    let file = folder.path().join("tests/payments.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let swapped = text
        .replace("expect = \"allow\"", "expect = \"BLOCKED\"")
        .replace("expect = \"blocked\"", "expect = \"allow\"")
        .replace("BLOCKED", "blocked")
        .replace("needs-approvals", "allow");
    std::fs::write(&file, swapped).unwrap();
    let refused = run(&args(folder.path())).unwrap_err();
    assert_eq!(refused.exit, Exit::Refused);
    let rows = rows(folder.path());
    assert!(rows.iter().all(|row| !row.passed));
    assert_eq!(
        (rows[0].line, rows[0].file.as_str()),
        (3, "tests/payments.toml")
    );
    let text = table(&rows, rows.len());
    assert!(
        text.contains("tests/payments.toml:3: expected blocked, came allow"),
        "{text}"
    );
}

#[test]
fn another_reason_and_other_rules_fail_too() {
    let folder = example();
    let file = folder.path().join("tests/payments.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text
        .replace("reason = \"frozen\"", "reason = \"limit\"")
        .replace("rules = [\"usdt-small\"]", "rules = [\"usdt-large\"]");
    std::fs::write(&file, other).unwrap();
    let rows = rows(folder.path());
    let failed: Vec<&Row> = rows.iter().filter(|row| !row.passed).collect();
    assert_eq!(failed.len(), 2);
    assert!(
        failed[0].answered.told().contains("usdt-small"),
        "{}",
        failed[0].answered.told()
    );
    assert!(
        failed[1]
            .answered
            .told()
            .contains("expected the reason limit, came frozen")
    );
}

#[test]
fn a_case_that_makes_no_sense_is_no_pass() {
    let folder = example();
    let file = folder.path().join("tests/payments.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to, says) in [
        (
            "approvals = [\"ana\"]",
            "approvals = [\"payments\"]",
            "does not count",
        ),
        (
            "approvals = [\"ana\"]",
            "approvals = [\"zoe\"]",
            "no member zoe",
        ),
        ("to = \"Exchange\"", "to = \"Bank\"", "no label"),
        ("amount = \"12.50\"", "", "asset, to and amount"),
        (
            "wallet = \"treasury\"",
            "wallet = \"cash\"",
            "no wallet cash",
        ),
    ] {
        std::fs::write(&file, text.replacen(from, to, 9)).unwrap();
        let rows = rows(folder.path());
        let told: Vec<String> = rows
            .iter()
            .filter(|r| !r.passed)
            .map(|r| r.answered.told())
            .collect();
        assert!(told.iter().any(|t| t.contains(says)), "{to}: {told:?}");
    }
    std::fs::write(&file, text.replacen("initiator", "initiatr", 1)).unwrap();
    assert_eq!(run(&args(folder.path())).unwrap_err().exit, Exit::Usage);
}
