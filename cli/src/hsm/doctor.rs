//! `countersign hsm doctor`: whether a token can be relied on, line by line.

use std::time::Duration;

use clap::Parser;
use countersign_hsm::{
    Device, Failure, HsmClient, HsmConfig, HsmError, InspectedModule, InspectedToken, find_worker,
};
use serde::Serialize;

use super::ConfigArg;
use crate::failure::{Exit, Failure as CommandFailure, Outcome, chain};
use crate::output::{Format, line};

/// Examines module, token, PIN counter, mechanisms, keys and a signature. Each line is ok, warn or bad, and says what to do.
/// It logs in once, and only if the token's counter says that a wrong PIN would not lock it. Exit code 3 when something is bad.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  countersign hsm doctor --config node.toml")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    Warn,
    Bad,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
}

#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    fn add(&mut self, name: &'static str, state: State, found: impl Into<String>) {
        let found = found.into();
        self.0.push(Check { name, state, found });
    }

    fn bad(&self) -> bool {
        self.0.iter().any(|check| check.state == State::Bad)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    let config = args.config.load()?;
    let mut report = Report::default();
    examine(&config, &mut report);
    if args.format.json {
        let answer = serde_json::json!({ "ok": !report.bad(), "checks": report.0 });
        args.format.show(&answer, |_| String::new())?;
    } else {
        for check in &report.0 {
            let state = match check.state {
                State::Ok => "ok",
                State::Warn => "warn",
                State::Bad => "BAD",
            };
            line(&format!("{state:5} {:12} {}", check.name, check.found));
        }
    }
    match report.bad() {
        true => Err(CommandFailure::quiet(Exit::Refused)),
        false => Ok(()),
    }
}

fn examine(config: &HsmConfig, report: &mut Report) {
    match find_worker(config.worker.as_deref()) {
        Ok(path) => report.add("worker", State::Ok, path.display().to_string()),
        Err(error) => return report.add("worker", State::Bad, error.to_string()),
    }
    let module = match HsmClient::inspect(config) {
        Ok(module) => module,
        Err(error) => return report.add("module", State::Bad, chain(&error)),
    };
    let name = format!(
        "{} by {}, PKCS#11 {}",
        module.library, module.manufacturer, module.cryptoki
    );
    report.add("module", State::Ok, name);
    let Some(token) = the_token(config, &module, report) else {
        return;
    };
    pin_counter(token, report);
    mechanisms(token, report);
    quirks(config, report);
    if !report.bad() {
        work(config, report);
    }
}

fn the_token<'a>(
    config: &HsmConfig,
    module: &'a InspectedModule,
    report: &mut Report,
) -> Option<&'a InspectedToken> {
    let same = |wanted: &Option<String>, found: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted == found)
    };
    let wanted = &config.token;
    let fitting: Vec<_> = module
        .tokens
        .iter()
        .filter(|t| {
            t.initialized
                && same(&wanted.token, &t.token.label)
                && same(&wanted.serial, &t.token.serial)
        })
        .collect();
    match fitting.as_slice() {
        [one] => {
            let found = format!(
                "{:?}, serial number {}, {}",
                one.token.label, one.token.serial, one.token.model
            );
            report.add("token", State::Ok, found);
            if wanted.serial.is_none() {
                let advice = format!(
                    "labels can be given twice: name it {wanted};serial={}",
                    one.token.serial
                );
                report.add("serial", State::Warn, advice);
            }
            Some(one)
        }
        [] => {
            let seen: Vec<_> = module
                .tokens
                .iter()
                .filter(|t| t.initialized)
                .map(|t| format!("{:?}", t.token.label))
                .collect();
            report.add(
                "token",
                State::Bad,
                format!("no token fits {wanted}; there are: {}", seen.join(", ")),
            );
            None
        }
        several => {
            report.add(
                "token",
                State::Bad,
                format!("{} tokens fit {wanted}: add serial=", several.len()),
            );
            None
        }
    }
}

fn pin_counter(token: &InspectedToken, report: &mut Report) {
    let (state, found) = if token.locked {
        (
            State::Bad,
            "the user PIN is locked: the token's security officer must unlock it",
        )
    } else if token.final_try {
        (
            State::Bad,
            "one more wrong PIN locks the token: log in by hand with the right one first",
        )
    } else if !token.user_pin {
        (State::Bad, "the user PIN was never set")
    } else if token.token.pin_count_low {
        (
            State::Warn,
            "wrong PINs were entered since the last login: find out by whom",
        )
    } else {
        (State::Ok, "no wrong PIN since the last login")
    };
    report.add("pin counter", state, found);
}

fn mechanisms(token: &InspectedToken, report: &mut Report) {
    for mechanism in &token.mechanisms {
        let (state, found) = match (mechanism.present, mechanism.name.as_str()) {
            (true, name) => (State::Ok, name.to_owned()),
            (false, name @ ("CKM_AES_GCM" | "CKM_AES_KEY_GEN")) => (
                State::Warn,
                format!("{name} is missing: this token cannot seal a store, use passphrase_file"),
            ),
            (false, name @ ("CKM_EDDSA" | "CKM_EC_EDWARDS_KEY_PAIR_GEN")) => (
                State::Warn,
                format!("{name} is missing: no Ed25519 keys (Solana) in this token"),
            ),
            (false, name) => (
                State::Bad,
                format!("{name} is missing: no secp256k1 keys in this token"),
            ),
        };
        report.add("mechanism", state, found);
    }
}

fn quirks(config: &HsmConfig, report: &mut Report) {
    if config.device == Device::Softhsm {
        let found = "SoftHSM keeps keys in files: for development and tests, never for money";
        report.add("device", State::Warn, found);
    }
    for attribute in config.quirks().unknown_attributes {
        let found =
            format!("the device does not say {attribute:?}: a promise less, see docs/hsm.md");
        report.add("attribute", State::Warn, found);
    }
    if config.hang_after_ms <= config.deadline_ms {
        report.add(
            "deadlines",
            State::Warn,
            "hang_after_ms should be more than deadline_ms",
        );
    }
}

/// Signatures of the canary from which the middle is taken.
const SIGNATURES: usize = 11;

fn work(config: &HsmConfig, report: &mut Report) {
    let token = match HsmClient::start(config.clone()) {
        Ok(token) => token,
        Err(error) => return report.add("login", State::Bad, chain(&error)),
    };
    report.add("login", State::Ok, "logged in");
    let mut times = Vec::new();
    for _ in 0..SIGNATURES {
        match token.health_blocking() {
            Ok(health) => times.push(health.total),
            Err(HsmError::Failed(Failure::Missing { .. })) => {
                let found = "there is no canary: countersign hsm provision makes one";
                report.add("canary", State::Warn, found);
                break;
            }
            Err(error) => {
                report.add("canary", State::Bad, chain(&error));
                break;
            }
        }
    }
    times.sort_unstable();
    if let Some(middle) = times.get(times.len().div_euclid(2)) {
        let state = match *middle < Duration::from_secs(1) {
            true => State::Ok,
            false => State::Warn,
        };
        report.add(
            "signature",
            state,
            format!("verified; half of them within {middle:.1?}"),
        );
    }
    match token.keys_blocking() {
        Err(error) => report.add("keys", State::Bad, chain(&error)),
        Ok(keys) => {
            for key in keys.iter().filter(|key| !key.missing.is_empty()) {
                let found = format!(
                    "{} ({}) is not used: {:?}",
                    hex::encode(&key.id),
                    key.label.escape_debug(),
                    key.missing
                );
                report.add("key", State::Warn, found);
            }
            let mut ids: Vec<_> = keys.iter().map(|key| (&key.id, &key.kind)).collect();
            ids.sort();
            for pair in ids.windows(2) {
                if let [one, two] = pair
                    && one == two
                {
                    report.add(
                        "key",
                        State::Bad,
                        format!("two keys have the id {}", hex::encode(one.0)),
                    );
                }
            }
            report.add("keys", State::Ok, format!("{} keys", keys.len()));
        }
    }
}
