//! Online: fetch the package, bring the answer.

use std::path::PathBuf;
use std::time::Duration;

use countersign_coordinator::RequestView;
use countersign_policy::Hash;
use countersign_policy::cold::{RequestPackage, ResponsePackage};
use http::Method;
use serde::Serialize;

use super::{read, write};
use crate::api::Api;
use crate::failure::{Exit, OrFail as _, Outcome};
use crate::output::Format;
use crate::profile::ProfileArg;
use crate::request::view::REQUESTS;

/// Fetches the package about a request that a quorum of nodes cleared, for the machine that is to sign it.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The request.
    request: Hash,
    /// Where to write the package; a file that exists is not overwritten.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The policy version that the machine follows already, as its last answer said: the chain up to it is left out.
    #[arg(long, value_name = "VERSION", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

/// Brings a machine's answer: the coordinator verifies the signature and ends the request.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The response package.
    file: PathBuf,
    #[command(flatten)]
    profile: ProfileArg,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Exported {
    ok: bool,
    package: Hash,
    bytes: usize,
    file: PathBuf,
}

/// Runs `cold export`.
pub async fn export(args: ExportArgs) -> Outcome {
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let path = format!(
        "{REQUESTS}/{}/cold-package?after={}",
        args.request, args.after
    );
    let answer = api
        .call(Method::GET, &path, &[], None, Duration::from_secs(10))
        .await?;
    let package = RequestPackage::from_bytes(&answer.body).or_fail(
        Exit::Refused,
        "the coordinator answered something else than a package",
    )?;
    // The same bytes, whoever writes them.
    let bytes = package.to_bytes().or_broken("cannot write the package")?;
    write(&args.output, &bytes)?;
    let exported = Exported {
        ok: true,
        package: Hash::sha256(&bytes),
        bytes: bytes.len(),
        file: args.output,
    };
    args.format.show(&exported, |e| {
        format!(
            "package   {}\nwritten   {} ({} bytes)\nCompare the first eight digits with what the machine shows.",
            e.package,
            e.file.display(),
            e.bytes
        )
    })
}

/// Runs `cold import`.
pub async fn import(args: ImportArgs) -> Outcome {
    let bytes = read(&args.file)?;
    let response =
        ResponsePackage::from_bytes(&bytes).or_fail(Exit::Refused, "the answer is refused")?;
    let profile = args.profile.load()?;
    let api = Api::new(&profile)?;
    let path = format!("{REQUESTS}/{}/cold-response", response.request);
    let view: RequestView = api.post(&path, &response).await?;
    args.format.show(&view, |view| {
        format!("request   {}\nstate     {}", view.id, view.state.as_str())
    })
}
