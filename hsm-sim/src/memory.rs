//! What is remembered across processes: how often each fault acted, and wrong PINs. A worker that is started again after a fault would
//! otherwise meet the same fault for ever, and a PIN would be unlocked by a restart.

use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Mutex;

/// The file, or nothing where the plan names none.
pub(crate) struct Memory(Option<Mutex<File>>);

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    acted: Vec<u64>,
    wrong_pins: u32,
    pin_locked: bool,
}

/// Wrong PINs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    pub(crate) wrong: u32,
    pub(crate) locked: bool,
}

impl Memory {
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let memory = Self(Some(Mutex::new(
            open.map_err(|e| format!("{}: {e}", path.display()))?,
        )));
        memory
            .with(|_| ())
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(memory)
    }

    /// How often each fault acted, in processes before this one.
    pub(crate) fn acted(&self) -> Vec<u64> {
        self.with(|r| r.acted.clone()).unwrap_or_default()
    }

    /// One more for this fault.
    pub(crate) fn count(&self, index: usize) {
        self.report(self.with(|r| {
            if r.acted.len() <= index {
                r.acted.resize(index.saturating_add(1), 0);
            }
            if let Some(n) = r.acted.get_mut(index) {
                *n = n.saturating_add(1);
            }
        }));
    }

    /// Wrong PINs so far; none without a file.
    pub(crate) fn pins(&self) -> Option<Pins> {
        self.0.as_ref()?;
        self.with(|r| Pins {
            wrong: r.wrong_pins,
            locked: r.pin_locked,
        })
        .ok()
    }

    pub(crate) fn keep_pins(&self, pins: Pins) {
        self.report(self.with(|r| (r.wrong_pins, r.pin_locked) = (pins.wrong, pins.locked)));
    }

    /// Forgets which faults acted, for another plan.
    pub(crate) fn forget_faults(&self) {
        self.report(self.with(|r| r.acted.clear()));
    }

    fn report(&self, result: Result<(), String>) {
        if let Err(problem) = result {
            eprintln!("hsm-sim: memory: {problem}");
        }
    }

    /// Reads, changes and writes the file while no other process does.
    fn with<T: Default>(&self, change: impl FnOnce(&mut Remembered) -> T) -> Result<T, String> {
        let Some(file) = &self.0 else {
            return Ok(T::default());
        };
        let mut file = file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        file.lock().map_err(|e| e.to_string())?;
        let result = Self::change(&mut file, change);
        let unlocked = file.unlock().map_err(|e| e.to_string());
        result.and_then(|value| unlocked.map(|()| value))
    }

    fn change<T>(file: &mut File, change: impl FnOnce(&mut Remembered) -> T) -> Result<T, String> {
        let mut text = String::new();
        file.rewind()
            .and_then(|()| file.read_to_string(&mut text))
            .map_err(|e| e.to_string())?;
        let mut remembered: Remembered = if text.is_empty() {
            Remembered::default()
        } else {
            serde_json::from_str(&text).map_err(|e| e.to_string())?
        };
        let value = change(&mut remembered);
        let now = serde_json::to_string(&remembered).map_err(|e| e.to_string())?;
        if now != text {
            file.rewind()
                .and_then(|()| file.write_all(now.as_bytes()))
                .map_err(|e| e.to_string())?;
            file.set_len(now.len() as u64).map_err(|e| e.to_string())?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_pins_are_remembered_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let first = Memory::open(&path).unwrap();
        first.count(2);
        first.count(2);
        first.keep_pins(Pins {
            wrong: 3,
            locked: true,
        });
        let second = Memory::open(&path).unwrap();
        assert_eq!(second.acted(), [0, 0, 2]);
        assert_eq!(
            second.pins(),
            Some(Pins {
                wrong: 3,
                locked: true
            })
        );
        second.forget_faults();
        assert_eq!(first.acted(), [0u64; 0]);
        assert_eq!(
            first.pins(),
            Some(Pins {
                wrong: 3,
                locked: true
            })
        );
    }

    #[test]
    fn a_memory_of_another_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        std::fs::write(&path, "{\"acted\":[],\"other\":1}").unwrap();
        assert!(Memory::open(&path).is_err());
    }
}
