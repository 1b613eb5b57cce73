//! The commands on a SoftHSM token in a folder of its own. `countersign-hsm-worker` must be built, as it is with the workspace.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use clap::Parser as _;

use super::{Args, load, run};
use crate::failure::{Exit, Outcome};

fn hsm(arguments: &[&str]) -> Outcome {
    run(&Args::try_parse_from([&["hsm"], arguments].concat()).unwrap())
}

fn exit(outcome: Outcome) -> Exit {
    outcome.unwrap_err().exit
}

#[test]
fn a_development_token_is_made_once_and_passes_examination() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("hsm");
    let (new, file) = (new.to_str().unwrap(), new.join("hsm.toml"));
    let file = file.to_str().unwrap();
    hsm(&["provision", "--development", new, "--label", "payments"]).unwrap();
    assert_eq!(
        exit(hsm(&["provision", "--development", new])),
        Exit::Conflict
    );
    let config = load(Path::new(file)).unwrap();
    assert_eq!(config.token.token.as_deref(), Some("payments"));
    assert!(config.token.serial.is_some(), "the very token");
    hsm(&["doctor", "--config", file]).unwrap();
    hsm(&["doctor", "--config", file, "--json"]).unwrap();
    hsm(&["keys", "--config", file, "--json"]).unwrap();
    hsm(&[
        "bench",
        "--config",
        file,
        "--threads",
        "2",
        "--seconds",
        "1",
    ])
    .unwrap();
    // What is there already is left as it is; another sealing key has another id.
    hsm(&["provision", "--config", file, "--kek"]).unwrap();
    let so_pin = format!("{new}/so.pin");
    let again = hsm(&[
        "provision",
        "--config",
        file,
        "--so-pin-file",
        &so_pin,
        "--label",
        "payments",
    ]);
    assert_eq!(exit(again), Exit::Conflict);
}

#[test]
fn a_doctor_says_no_to_what_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("hsm");
    let file = new.join("hsm.toml");
    hsm(&["provision", "--development", new.to_str().unwrap()]).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let examine = |text: &str| {
        std::fs::write(&file, text).unwrap();
        hsm(&["doctor", "--config", file.to_str().unwrap()])
    };
    examine(&text).unwrap();
    assert_eq!(
        exit(examine(&text.replace("development", "another"))),
        Exit::Refused
    );
    assert_eq!(
        exit(examine(&text.replace("libsofthsm2.so", "nothing.so"))),
        Exit::Refused
    );
    assert_eq!(exit(examine(&format!("{text}slot = 1\n"))), Exit::Usage);
    // A wrong PIN costs one try, is told, and not repeated.
    std::fs::write(new.join("user.pin"), "0000").unwrap();
    assert_eq!(exit(examine(&text)), Exit::Refused);
}
