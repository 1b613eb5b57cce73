//! `countersign token`: a read token for tools that are not this one.

use clap::Parser;

use crate::api::Api;
use crate::failure::Outcome;
use crate::output::Format;
use crate::profile::ProfileArg;

/// Prints a fresh token for reading the coordinator's API, signed with the profile's API key. It counts for 60 seconds.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  \
    curl --cacert ca.pem -H \"Authorization: Bearer $(countersign token)\" https://127.0.0.1:7400/v1/wallets")]
pub struct Args {
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Runs the command.
pub async fn run(args: Args) -> Outcome {
    let token = Api::new(&args.profile.load()?)?.token();
    let answer = serde_json::json!({ "ok": true, "token": token });
    args.format.show(&answer, |_| token.clone())
}
