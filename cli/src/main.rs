//! The `countersign` command: for payment services, policy authors and approvers, operators, and everybody who wants to see it
//! work on one machine.

mod address;
mod amount;
mod api;
mod bundle;
mod ceremony;
mod clock;
mod cluster;
mod cold;
mod demo;
mod failure;
mod hsm;
mod https;
mod init;
mod inspect;
mod officer;
mod output;
mod policy;
mod profile;
mod quorum;
mod request;
mod serve;
mod status;
mod token;
mod verified;
mod wallet;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use failure::{Failure, OrFail as _, Outcome};

/// Threshold signing for payment services: keys that no machine holds, transactions that every signer understands.
#[derive(Parser)]
#[command(
    name = "countersign",
    version,
    about,
    propagate_version = true,
    max_term_width = 120,
    after_help = EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
See it work:  countersign demo
Explore:      countersign init cluster && countersign up cluster

Exit codes:   0 done   1 something broke   2 the command line or a file makes no sense
              3 refused by the decoder, by policy or by a person   4 not found
              5 unreachable, or no answer in time   6 exists already, or belongs to something else
              7 not final yet";

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Init(init::Args),
    Up(cluster::Args),
    Ceremony(ceremony::Args),
    Wallet(wallet::Args),
    Address(address::Args),
    Policy(policy::Args),
    Bundle(bundle::Args),
    Request(request::Args),
    Status(status::Args),
    Cancel(status::CancelArgs),
    Approve(officer::approve::ApproveArgs),
    Reject(officer::approve::RejectArgs),
    Freeze(officer::freeze::FreezeArgs),
    Unfreeze(officer::unfreeze::Args),
    Freezes(officer::freeze::FreezesArgs),
    Cold(cold::Args),
    Token(token::Args),
    Hsm(hsm::Args),
    Demo(demo::Args),
    Node(serve::NodeArgs),
    Coordinator(serve::CoordinatorArgs),
    /// Writes shell completions to standard output.
    #[command(
        after_help = "Example:\n  countersign completions bash > /etc/bash_completion.d/countersign"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    // Before anything is read: most commands read a key.
    if let Err(error) = countersign_signer::process::forbid_core_dumps() {
        eprintln!("countersign: {error}");
        return ExitCode::FAILURE;
    }
    // Known before parsing is done, so that every failure after it is told in the form asked for.
    let json = std::env::args_os().any(|argument| argument == "--json");
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) if json && error.use_stderr() => return usage(&error).report(json),
        Err(error) => error.exit(),
    };
    if let Command::Inspect(args) = &command {
        return inspect::run(args);
    }
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// What is wrong with the command line, without clap's layout.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let message = words.join(" ");
    Failure::usage(message.strip_prefix("error: ").unwrap_or(&message))
}

fn run(command: Command) -> Outcome {
    match command {
        // Answered before, in its own form.
        Command::Inspect(_) => Ok(()),
        Command::Init(args) => client(init::run(args)),
        Command::Node(args) => serve::node(args),
        Command::Coordinator(args) => serve::coordinator(args),
        Command::Hsm(args) => hsm::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "countersign",
                &mut std::io::stdout(),
            );
            Ok(())
        }
        Command::Up(args) => client(cluster::run(args)),
        Command::Ceremony(args) => client(ceremony::run(args)),
        Command::Wallet(args) => client(wallet::run(args)),
        Command::Address(args) => client(address::run(args)),
        Command::Policy(args) => client(policy::run(args)),
        Command::Bundle(args) => client(bundle::run(args)),
        Command::Request(args) => client(request::run(args)),
        Command::Status(args) => client(status::run(args)),
        Command::Cancel(args) => client(status::cancel(args)),
        Command::Approve(args) => client(officer::approve::approve(args)),
        Command::Reject(args) => client(officer::approve::reject(args)),
        Command::Freeze(args) => client(officer::freeze::run(args)),
        Command::Unfreeze(args) => client(officer::unfreeze::run(args)),
        Command::Freezes(args) => client(officer::freeze::list(args)),
        Command::Cold(args) => client(cold::run(args)),
        Command::Token(args) => client(token::run(args)),
        Command::Demo(args) => client(demo::run(args)),
    }
}

/// Clients wait more than they work: one thread is enough.
fn client(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_broken("cannot start")?;
    runtime.block_on(work)
}
