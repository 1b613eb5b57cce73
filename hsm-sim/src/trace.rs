//! The trace: one JSON object a line for each call, with the function's name, its answer and its time. Nothing that was passed to or
//! came from a function is written, so that no PIN, digest, key or signature can be in it.

use crate::call::FunctionName;
use crate::codes::Code;
use cryptoki_sys::CK_RV;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct Trace {
    file: Option<Mutex<File>>,
    calls: AtomicU64,
}

impl Trace {
    pub(crate) const fn none() -> Self {
        Self {
            file: None,
            calls: AtomicU64::new(0),
        }
    }

    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self {
            file: Some(Mutex::new(file)),
            ..Self::none()
        })
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Writes a call's line. Faults are named by their place in the plan, from 1.
    pub(crate) fn call(
        &self,
        function: FunctionName,
        answer: CK_RV,
        time: Duration,
        faults: &[usize],
    ) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let Some(file) = &self.file else { return };
        let faults: Vec<_> = faults
            .iter()
            .map(|index| index.saturating_add(1).to_string())
            .collect();
        let line = format!(
            "{{\"pid\":{},\"n\":{number},\"fn\":\"{function}\",\"rv\":\"{}\",\"us\":{},\"faults\":[{}]}}\n",
            std::process::id(),
            Code::new(answer),
            time.as_micros(),
            faults.join(","),
        );
        let mut file = file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // One write a line: several processes may append to one file.
        if let Err(e) = file.write_all(line.as_bytes()) {
            eprintln!("hsm-sim: trace: {e}");
        }
    }
}
