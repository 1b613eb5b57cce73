//! What was measured: CPU of processes, latencies.

use std::time::Duration;

use serde::Serialize;

use crate::deployment::Outcome;
use crate::stages::Stages;

/// CPU of a process since its start, user and system, all its threads; from `/proc/PID/stat`, in steps of 10 ms.
pub fn process_cpu(pid: u32) -> Outcome<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the command in parentheses and may hold spaces.
    let rest = stat.rsplit_once(')').ok_or("no stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok());
    // Fields 14 and 15, of which `rest` starts at the third. USER_HZ is 100 for every Linux program.
    let (user, system) = ticks(11).zip(ticks(12)).ok_or("no CPU times in stat")?;
    Ok(Duration::from_millis((user + system) * 10))
}

/// CPU of several processes together.
pub fn processes_cpu(pids: &[u32]) -> Outcome<Duration> {
    pids.iter().map(|pid| process_cpu(*pid)).sum()
}

/// Resident memory of a process in bytes.
pub fn resident(pid: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok());
    Ok(kib.ok_or("no VmRSS in status")? * 1024)
}

/// One measured run.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// How requests were made: `nodes` or `end-to-end`.
    pub way: &'static str,
    pub concurrency: usize,
    pub requests: usize,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// Signatures per second.
    pub throughput: f64,
    /// CPU of all signers per request.
    pub signers_cpu_ms: f64,
    /// CPU of the coordinator per request.
    pub coordinator_cpu_ms: f64,
    /// What the nodes say of it.
    pub stages: Stages,
}

impl Run {
    pub fn new(
        way: &'static str,
        concurrency: usize,
        mut latencies: Vec<Duration>,
        wall: Duration,
        (signers, coordinator): (Duration, Duration),
        stages: Stages,
    ) -> Self {
        latencies.sort_unstable();
        let requests = latencies.len();
        let each = |cpu: Duration| milliseconds(cpu) / requests as f64;
        Self {
            way,
            concurrency,
            requests,
            p50_ms: quantile(&latencies, 50),
            p95_ms: quantile(&latencies, 95),
            p99_ms: quantile(&latencies, 99),
            throughput: requests as f64 / wall.as_secs_f64(),
            signers_cpu_ms: each(signers),
            coordinator_cpu_ms: each(coordinator),
            stages,
        }
    }

    pub fn cpu_ms(&self) -> f64 {
        self.signers_cpu_ms + self.coordinator_cpu_ms
    }
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value below which `percent` of the sorted times are.
pub fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().map_or(0.0, milliseconds)
}
