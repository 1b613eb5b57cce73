//! `countersign hsm bench`: what signatures of a token cost, and what the way to it adds.

use std::time::{Duration, Instant};

use clap::Parser;

use super::ConfigArg;
use crate::failure::{Failure, OrFail as _, Outcome};
use crate::output::Format;

/// Measures signatures of the canary, which can sign nothing else: how many a second, how long, and how much of it inside the
/// token's module.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  countersign hsm bench --config node.toml --threads 4 --seconds 10"
)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Callers at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
    /// How long to measure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> Outcome {
    let token = args.config.client()?;
    token
        .health_blocking()
        .or_broken("the canary does not sign (countersign hsm provision makes one)")?;
    let begun = Instant::now();
    let length = Duration::from_secs(args.seconds);
    let measured: Vec<Outcome<Vec<_>>> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..args.threads)
            .map(|_| {
                let token = token.clone();
                scope.spawn(move || {
                    let mut times = Vec::new();
                    while begun.elapsed() < length {
                        times.push(
                            token
                                .health_blocking()
                                .or_broken("the canary does not sign")?,
                        );
                    }
                    Ok(times)
                })
            })
            .collect();
        let ended = |_| Err(Failure::broken("a caller ended"));
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap_or_else(ended))
            .collect()
    });
    let took = begun.elapsed();
    let mut times = Vec::new();
    for caller in measured {
        times.extend(caller?);
    }
    let total = quantiles(times.iter().map(|health| health.total).collect());
    let inside = quantiles(times.iter().map(|health| health.inside).collect());
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let count = u64::try_from(times.len()).unwrap_or(u64::MAX);
    let rate = count
        .saturating_mul(1000)
        .checked_div(milliseconds)
        .unwrap_or(0);
    let answer = serde_json::json!({
        "ok": true, "threads": args.threads, "signatures": count, "per_second": rate,
        "p50_us": micros(total.0), "p99_us": micros(total.1),
        "inside_p50_us": micros(inside.0), "inside_p99_us": micros(inside.1),
    });
    args.format.show(&answer, |_| {
        format!(
            "{count} signatures, {rate} a second, {} callers\nwith verification   p50 {:.1?}  p99 {:.1?}\ninside the module   p50 {:.1?}  p99 {:.1?}",
            args.threads, total.0, total.1, inside.0, inside.1
        )
    })
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The middle, and what 99 of 100 are within.
fn quantiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |hundredths: usize| {
        let index = times.len().saturating_mul(hundredths).div_euclid(100);
        let last = times.len().saturating_sub(1);
        times.get(index.min(last)).copied().unwrap_or_default()
    };
    (at(50), at(99))
}
