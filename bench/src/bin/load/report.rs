//! Figures beside the bare library's, and the bounds they must keep.

use std::fmt;
use std::time::Duration;

use countersign_bench::bare::{self, Cost};
use countersign_policy::Protocol;
use serde::Serialize;

use crate::cost::{Run, quantile};

/// Bare signatures measured at a time.
const BARE: usize = 60;

/// What the bare library needs for one signature.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bare {
    /// CPU of all signers together.
    pub cpu_ms: f64,
    /// Signers with a processor each and a free network.
    pub critical_ms: f64,
}

/// Medians. `None` for CGGMP24, whose bare online part takes microseconds.
pub fn bare(protocol: Protocol, threshold: u16, nodes: u16) -> Option<Bare> {
    let mut one: Box<dyn FnMut() -> Cost> = match protocol {
        Protocol::Dkls23 => {
            let (t, n) = (u8::try_from(threshold).ok()?, u8::try_from(nodes).ok()?);
            let key = bare::dkls23_key(t, n);
            Box::new(move || bare::dkls23(&key, t))
        }
        Protocol::FrostEd25519 => {
            let key = bare::frost_key(threshold, nodes);
            Box::new(move || bare::frost(&key, usize::from(threshold)))
        }
        Protocol::Cggmp24 | Protocol::Pkcs11Secp256k1 | Protocol::Pkcs11Ed25519 => return None,
    };
    let costs: Vec<Cost> = (0..BARE).map(|_| one()).collect();
    let median = |of: fn(&Cost) -> Duration| {
        let mut times: Vec<Duration> = costs.iter().map(of).collect();
        times.sort_unstable();
        quantile(&times, 50)
    };
    Some(Bare {
        cpu_ms: median(|c| c.cpu),
        critical_ms: median(|c| c.critical),
    })
}

/// One protocol.
#[derive(Debug, Serialize)]
pub struct Measured {
    protocol: Protocol,
    /// The mean of before and after the runs.
    bare: Option<Bare>,
    bare_before: Option<Bare>,
    bare_after: Option<Bare>,
    runs: Vec<Run>,
}

impl Measured {
    pub fn new(
        protocol: Protocol,
        before: Option<Bare>,
        after: Option<Bare>,
        runs: Vec<Run>,
    ) -> Self {
        let bare = before.zip(after).map(|(b, a)| Bare {
            cpu_ms: (b.cpu_ms + a.cpu_ms) / 2.0,
            critical_ms: (b.critical_ms + a.critical_ms) / 2.0,
        });
        Self {
            protocol,
            bare,
            bare_before: before,
            bare_after: after,
            runs,
        }
    }

    /// The run with most requests at a time.
    fn busiest(&self, way: &str) -> Option<&Run> {
        let runs = self.runs.iter().filter(|run| run.way == way);
        runs.max_by_key(|run| run.concurrency)
    }

    fn alone(&self, way: &str) -> Option<&Run> {
        self.runs
            .iter()
            .find(|run| run.concurrency == 1 && run.way == way)
    }
}

/// A number that was asked for.
#[derive(Debug, Serialize)]
pub struct Bound {
    what: String,
    asked: String,
    measured: String,
    met: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    threshold: u16,
    nodes: u16,
    build: &'static str,
    measured: Vec<Measured>,
    bounds: Vec<Bound>,
}

impl Report {
    pub fn new(threshold: u16, nodes: u16, measured: Vec<Measured>) -> Self {
        let bounds = bounds(&measured);
        Self {
            threshold,
            nodes,
            build: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            },
            measured,
            bounds,
        }
    }

    pub fn all_met(&self) -> bool {
        self.bounds.iter().all(|bound| bound.met)
    }
}

fn bounds(all: &[Measured]) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let dkls = all.iter().find(|m| m.protocol == Protocol::Dkls23);
    let dkls_p50 = dkls
        .and_then(|m| m.alone("end-to-end"))
        .map(|run| run.p50_ms);
    for one in all {
        let Some(run) = one.alone("end-to-end") else {
            continue;
        };
        // Latency is that of a request alone; CPU is that of a request among as many as were asked for.
        let busiest = one.busiest("end-to-end").unwrap_or(run);
        let (cpu, p50, protocol) = (busiest.cpu_ms(), run.p50_ms, one.protocol);
        let mut at_most = |what: &str, asked: String, limit: f64, value: f64, shown: String| {
            bounds.push(Bound {
                what: format!("{protocol}: {what}"),
                asked,
                measured: shown,
                met: value <= limit,
            });
        };
        let at = |concurrency: usize| match concurrency {
            1 => String::new(),
            many => format!(", {many} at a time"),
        };
        let cpu_of = format!(
            "CPU of all processes per request, end to end{}",
            at(busiest.concurrency)
        );
        match (protocol, one.bare) {
            (Protocol::Dkls23, Some(bare)) => {
                at_most(
                    &cpu_of,
                    format!("<= 2 x bare ({:.1} ms)", 2.0 * bare.cpu_ms),
                    2.0 * bare.cpu_ms,
                    cpu,
                    format!("{cpu:.1} ms = {:.2} x", cpu / bare.cpu_ms),
                );
                at_most(
                    "p50 end to end, concurrency 1, durable",
                    format!(
                        "<= 8 x bare critical path ({:.1} ms)",
                        8.0 * bare.critical_ms
                    ),
                    8.0 * bare.critical_ms,
                    p50,
                    format!("{p50:.1} ms = {:.2} x", p50 / bare.critical_ms),
                );
            }
            (Protocol::FrostEd25519, _) => {
                at_most(
                    &cpu_of,
                    "<= 6 ms".to_owned(),
                    6.0,
                    cpu,
                    format!("{cpu:.1} ms"),
                );
            }
            (Protocol::Cggmp24 | Protocol::Pkcs11Secp256k1 | Protocol::Pkcs11Ed25519, _) => {
                at_most(
                    &cpu_of,
                    "<= 4 ms".to_owned(),
                    4.0,
                    cpu,
                    format!("{cpu:.1} ms"),
                );
                if let Some(limit) = dkls_p50 {
                    at_most(
                        "p50 end to end from a full pool",
                        format!("<= dkls23's ({limit:.1} ms)"),
                        limit,
                        p50,
                        format!("{p50:.1} ms"),
                    );
                }
            }
            (Protocol::Dkls23, None) => {}
        }
    }
    bounds
}

/// One run as a line of the table.
pub fn line(protocol: Protocol, run: &Run) -> String {
    format!(
        "{:14} {:10} x{:<3} {:5} requests  p50 {:7.1}  p95 {:7.1}  p99 {:7.1} ms  {:7.1}/s  CPU {:6.2} ms = signers {:.2} + coordinator {:.2}",
        protocol.as_str(),
        run.way,
        run.concurrency,
        run.requests,
        run.p50_ms,
        run.p95_ms,
        run.p99_ms,
        run.throughput,
        run.cpu_ms(),
        run.signers_cpu_ms,
        run.coordinator_cpu_ms
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{} of {}, {} build",
            self.threshold, self.nodes, self.build
        )?;
        for one in &self.measured {
            for run in &one.runs {
                writeln!(f, "{}\n{:14} {}", line(one.protocol, run), "", run.stages)?;
            }
            if let Some(bare) = &one.bare {
                writeln!(
                    f,
                    "{:14} bare library: CPU {:.2} ms, critical path {:.2} ms",
                    one.protocol.as_str(),
                    bare.cpu_ms,
                    bare.critical_ms
                )?;
            }
        }
        writeln!(f)?;
        for bound in &self.bounds {
            let met = if bound.met { "met    " } else { "NOT MET" };
            writeln!(
                f,
                "{met}  {}: {}, asked {}",
                bound.what, bound.measured, bound.asked
            )?;
        }
        Ok(())
    }
}
