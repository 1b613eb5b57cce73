//! For `tests/outside/dsse.py`: `export` prints one signed statement of each kind as a JSON object a line, `open` reads such
//! objects from standard input and says of each whether it is accepted, and with which digest.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::io::BufRead as _;

use countersign_policy::statement::Kind;
use countersign_policy::testing::{TestDeployment, open_as, samples};
use countersign_policy::{Envelope, Hash};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Exchanged {
    name: String,
    kind: Kind,
    envelope: Envelope,
}

#[derive(Serialize)]
struct Key {
    public: String,
    seed: String,
}

#[derive(Serialize)]
struct Answer {
    name: String,
    digest: Option<Hash>,
    error: Option<String>,
}

fn main() {
    let deployment = TestDeployment::with_single_keys(3, 2);
    match std::env::args().nth(1).as_deref() {
        Some("keys") => {
            let keys: BTreeMap<_, _> = deployment
                .content()
                .members
                .iter()
                .map(|m| {
                    let key = deployment.identity(m.id.as_str());
                    let public = key.public().to_string();
                    let seed = hex::encode(key.to_seed().as_slice());
                    (m.id.clone(), Key { public, seed })
                })
                .collect();
            println!("{}", serde_json::to_string(&keys).unwrap());
        }
        Some("export") => {
            for sample in samples(&deployment) {
                let line = Exchanged {
                    name: sample.name.to_owned(),
                    kind: sample.kind,
                    envelope: sample.envelope,
                };
                println!("{}", serde_json::to_string(&line).unwrap());
            }
        }
        Some("open") => {
            for line in std::io::stdin().lock().lines() {
                let line = line.unwrap();
                println!(
                    "{}",
                    serde_json::to_string(&open(&deployment, &line)).unwrap()
                );
            }
        }
        _ => panic!("say keys, export or open"),
    }
}

fn open(deployment: &TestDeployment, line: &str) -> Answer {
    let value: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
    let name = value["name"].as_str().expect("a name").to_owned();
    let opened = serde_json::from_value::<Exchanged>(value)
        .map_err(|e| e.to_string())
        .and_then(|said| open_as(deployment, said.kind, &said.envelope).map_err(|e| e.to_string()));
    match opened {
        Ok(digest) => Answer {
            name,
            digest: Some(digest),
            error: None,
        },
        Err(error) => Answer {
            name,
            digest: None,
            error: Some(error),
        },
    }
}
