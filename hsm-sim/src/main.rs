//! Checks plans, writes the fault matrix, and talks to running simulators.

use clap::{Parser, Subcommand};
use countersign_hsm_sim::matrix::{self, Places};
use countersign_hsm_sim::{Plan, command_all};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "countersign-hsm-sim",
    version,
    about = "Plans and control of the PKCS#11 fault simulator"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read plan files and say how many faults they have, or what is wrong with them
    Check {
        /// Plan files
        #[arg(required = true)]
        plans: Vec<PathBuf>,
    },
    /// Write a plan for each case of the fault matrix
    Matrix {
        /// The folder to write to, made if it is not there
        folder: PathBuf,
        /// The seed in the plans
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The real module, written into the plans
        #[arg(long)]
        module: Option<PathBuf>,
    },
    /// Send a command to every simulator that listens in a folder
    Control {
        /// The folder of the control sockets
        folder: PathBuf,
        /// status, release, remove-token, return-token, drop-sessions, lock-pin, unlock-pin, or plan FILE
        #[arg(required = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Check { plans } => check(&plans),
        Command::Matrix {
            folder,
            seed,
            module,
        } => write_matrix(&folder, seed, module.as_deref()),
        Command::Control { folder, words } => control(&folder, &words.join(" ")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("countersign-hsm-sim: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn check(plans: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    for path in plans {
        let plan = Plan::read(path)?;
        println!(
            "{}: {} faults, profile {}",
            path.display(),
            plan.faults().len(),
            plan.profile().name()
        );
    }
    Ok(())
}

fn write_matrix(folder: &Path, seed: u64, module: Option<&Path>) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let cases = matrix::all();
    for case in &cases {
        let plan = case.toml(
            seed,
            Places {
                module,
                ..Places::default()
            },
        )?;
        std::fs::write(folder.join(format!("{}.toml", case.name())), plan)?;
    }
    println!("{} plans", cases.len());
    Ok(())
}

fn control(folder: &Path, line: &str) -> Result<(), Box<dyn Error>> {
    let answers = command_all(folder, line)?;
    if answers.is_empty() {
        return Err(format!("no simulator listens in {}", folder.display()).into());
    }
    for answer in answers {
        println!("ok {answer}");
    }
    Ok(())
}
