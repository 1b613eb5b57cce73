use super::*;
use proptest::prelude::*;

const FAULT: &str = "version = 1\n\n[[fault]]\nfunction = \"C_Sign\"\n";

fn refused(text: &str) -> (usize, String) {
    let error = Plan::parse(text).expect_err(text);
    (error.line, error.problem.to_string())
}

#[test]
fn a_plan_of_every_kind_of_fault_is_read() {
    let plan = Plan::parse(include_str!("every_fault.toml")).unwrap();
    let names: std::collections::BTreeSet<_> =
        plan.faults().iter().map(|f| f.action.name()).collect();
    assert_eq!(names.len(), 11, "{names:?}");
    assert_eq!(plan.seed(), 42);
    assert_eq!(plan.device().pin_tries, Some(3));
    assert_eq!(
        plan.faults()[0].selection,
        Selection::Nth(vec![2.try_into().unwrap()])
    );
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    let cases: &[(&str, usize, &str)] = &[
        ("", 1, "missing field `version`"),
        ("version = 2", 1, "version 2"),
        ("seed = 1\nversion = 1\nsede = 2", 3, "unknown field `sede`"),
        (
            "version = 1\nprofile = \"lunar\"",
            2,
            "unknown variant `lunar`",
        ),
        ("version = 1\nversion = 1", 2, "duplicate key"),
        ("version = 1\nseed = -1", 2, "invalid value"),
        (
            "version = 1\n\n[device]\nmax_session = 3",
            4,
            "unknown field `max_session`",
        ),
        (
            "version = 1\n[device]\npin_tries = 0",
            2,
            "\"pin_tries\" must be from 1",
        ),
        (
            "version = 1\n[device]\nhide_mechanisms = [\n\"CKM_AES_GCM\",\n\"CKM_AES\"]",
            5,
            "no mechanism \"CKM_AES\"",
        ),
        (
            "version = 1\n[[fault]]\nfunction = \"C_Sing\"\ndo = \"hang\"",
            3,
            "no function \"C_Sing\"",
        ),
        (
            "version = 1\n[[fault]]\nfunction = \"C_GetFunctionList\"\ndo = \"hang\"",
            3,
            "no function",
        ),
        (
            "version = 1\n[[fault]]\ndo = \"hang\"",
            2,
            "missing field `function`",
        ),
    ];
    for (text, line, problem) in cases {
        let (at, said) = refused(text);
        assert!(said.contains(problem), "{text:?}: {said}");
        assert_eq!(at, *line, "{text:?}: {said}");
    }
}

#[test]
fn a_fault_has_the_fields_of_its_action_and_no_others() {
    let cases: &[(&str, usize, &str)] = &[
        ("", 3, "missing field `do`"),
        ("do = \"explode\"", 5, "unknown variant `explode`"),
        ("do = \"error\"", 3, "\"error\" needs the field \"code\""),
        (
            "do = \"error\"\ncode = \"CKR_OOPS\"",
            6,
            "no return value \"CKR_OOPS\"",
        ),
        (
            "do = \"error\"\ncode = \"CKR_OK\"",
            6,
            "CKR_OK cannot be injected",
        ),
        ("do = \"error\"\ncode = 48", 6, "invalid type"),
        ("do = \"delay\"", 3, "\"delay\" needs the field \"ms\""),
        (
            "do = \"delay\"\nms = 600001",
            3,
            "\"ms\" must be from 0 to 600000",
        ),
        ("do = \"hang\"\nms = 3", 3, "\"hang\" has no field \"ms\""),
        (
            "do = \"lock-pin\"\nwhen = \"after\"",
            3,
            "\"lock-pin\" has no field \"when\"",
        ),
        (
            "do = \"hang\"\nwhen = \"during\"",
            6,
            "unknown variant `during`",
        ),
        ("do = \"hang\"\nnth = [0]", 3, "\"nth\" must be from 1"),
        ("do = \"hang\"\nnth = []", 3, "\"nth\" must be from 1"),
        ("do = \"hang\"\nevery = 0", 3, "\"every\" must be from 1"),
        ("do = \"hang\"\nevery = 2\none_in = 2", 3, "only one of"),
        ("do = \"over-report\"", 3, "needs the field \"extra\""),
        (
            "do = \"over-report\"\nextra = 0",
            3,
            "\"extra\" must be from 1",
        ),
    ];
    for (rest, line, problem) in cases {
        let (at, said) = refused(&format!("{FAULT}{rest}"));
        assert!(said.contains(problem), "{rest:?}: {said}");
        assert_eq!(at, *line, "{rest:?}: {said}");
    }
    let (_, said) = refused("version = 1\n[[fault]]\nfunction = \"C_Encrypt\"\ndo = \"flip-bit\"");
    assert!(said.contains("C_Sign"), "{said}");
}

#[test]
fn a_plan_that_is_too_large_is_refused() {
    let long = format!("version = 1 #{}", "x".repeat(MAX_BYTES));
    assert_eq!(Plan::parse(&long).unwrap_err().problem, Problem::TooLarge);
    let many = format!(
        "version = 1\n{}",
        "[[fault]]\nfunction = \"any\"\ndo = \"hang\"\n".repeat(MAX_FAULTS + 1)
    );
    assert_eq!(Plan::parse(&many).unwrap_err().problem, Problem::TooLarge);
}

#[test]
fn the_plan_changes_what_its_profile_says_and_leaves_the_rest() {
    let plan =
        Plan::parse("version = 1\nprofile = \"yubihsm2\"\n[device]\nmax_sessions = 4").unwrap();
    assert_eq!(
        plan.device(),
        &Device {
            max_sessions: Some(4),
            ..Profile::YubiHsm2.device()
        }
    );
    for profile in Profile::ALL {
        let plan = Plan::parse(&format!("version = 1\nprofile = \"{}\"", profile.name())).unwrap();
        assert_eq!(
            (plan.profile(), plan.device()),
            (profile, &profile.device())
        );
    }
}

#[test]
fn paths_are_relative_to_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    std::fs::write(
        &path,
        "version = 1\nmodule = \"/lib/real.so\"\ntrace = \"trace.jsonl\"",
    )
    .unwrap();
    let plan = Plan::read(&path).unwrap();
    assert_eq!(plan.module(), Some(Path::new("/lib/real.so")));
    assert_eq!(plan.trace(), Some(dir.path().join("trace.jsonl").as_path()));
    assert!(
        Plan::read(&dir.path().join("none.toml"))
            .unwrap_err()
            .contains("none.toml")
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,400}") {
        let _ = Plan::parse(&text);
    }

    #[test]
    fn no_damage_to_a_good_plan_makes_the_reader_panic_or_point_outside(
        at in 0usize..2000, with in any::<char>(), cut in any::<bool>(),
    ) {
        let good = include_str!("every_fault.toml");
        let at = good.char_indices().map(|(i, _)| i).rfind(|i| *i <= at).unwrap_or(0);
        let mut bad = good.to_owned();
        if cut { bad.truncate(at) } else { bad.insert(at, with) }
        if let Err(error) = Plan::parse(&bad) {
            prop_assert!(error.line >= 1 && error.line <= bad.lines().count() + 1, "{error}");
        }
    }

    #[test]
    fn selections_are_read_as_they_are_written(
        nth in proptest::collection::vec(1u64..1_000_000, 1..20), times in 1u64..1000, seed in 0..=i64::MAX as u64,
    ) {
        let text = format!("version = 1\nseed = {seed}\n[[fault]]\nfunction = \"any\"\ndo = \"hang\"\nnth = {nth:?}\ntimes = {times}");
        let plan = Plan::parse(&text).unwrap();
        prop_assert_eq!(plan.seed(), seed);
        prop_assert_eq!(plan.faults()[0].times.map(|t| t.get()), Some(times));
        match &plan.faults()[0].selection {
            Selection::Nth(read) => prop_assert_eq!(read.iter().map(|n| n.get()).collect::<Vec<_>>(), nth),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
