//! `countersign hsm keys`: what is in a token.

use clap::Parser;

use super::ConfigArg;
use crate::failure::{OrFail as _, Outcome};
use crate::output::Format;

/// Lists the keys in a token, with what each lacks of what every key must have: sensitive, not extractable, never anything else,
/// made in the token, not to be changed or copied. A key that lacks any of it is not used.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  countersign hsm keys --config node.toml")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    let keys = args
        .config
        .client()?
        .keys_blocking()
        .or_broken("cannot list the keys")?;
    let listed: Vec<_> = keys
        .iter()
        .map(|key| {
            serde_json::json!({
                "id": hex::encode(&key.id),
                "label": key.label.escape_debug().to_string(),
                "kind": key.kind,
                "lacks": key.missing,
            })
        })
        .collect();
    let answer = serde_json::json!({ "ok": true, "keys": listed });
    args.format.show(&answer, |_| {
        let mut text = String::new();
        for key in &keys {
            let lacks = match key.missing.is_empty() {
                true => "safe".to_owned(),
                false => format!("NOT SAFE: {:?}", key.missing),
            };
            let (id, label) = (hex::encode(&key.id), key.label.escape_debug());
            text.push_str(&format!("{id:34} {:10} {lacks:10} {label}\n", key.kind));
        }
        text.push_str(&format!("{} keys", keys.len()));
        text
    })
}
