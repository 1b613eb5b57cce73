//! The plan: a TOML file that says which faults happen when, and what kind of device this is. `docs/hsm-sim.md` has the format.
//! Reading is strict: what is not understood is refused, with its line.

mod device;
mod fault;
mod raw;

pub use device::{Device, GcmIv, Profile};
pub use fault::{Action, Calls, Fault, MAX_DELAY, Selection, When};

use std::path::{Path, PathBuf};

/// The version of the format that this simulator reads.
pub const VERSION: u32 = 1;
/// A plan of more bytes is refused.
pub const MAX_BYTES: usize = 4 << 20;
/// A plan of more faults is refused.
pub const MAX_FAULTS: usize = 10_000;

/// A checked plan; only [`Plan::parse`] makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    seed: u64,
    module: Option<PathBuf>,
    control: Option<PathBuf>,
    trace: Option<PathBuf>,
    memory: Option<PathBuf>,
    profile: Profile,
    device: Device,
    faults: Vec<Fault>,
}

/// Why a plan is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct PlanError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No TOML, an unknown or missing field, or a value of another type.
    #[error("{0}")]
    Syntax(String),
    /// Another version of the format.
    #[error("version {0} of the format is not known: this simulator reads version {VERSION}")]
    Version(u32),
    /// Larger than [`MAX_BYTES`] or [`MAX_FAULTS`] allow.
    #[error("the plan is too large: at most {MAX_BYTES} bytes and {MAX_FAULTS} faults")]
    TooLarge,
    /// No function of PKCS#11 2.40 that faults can be put on.
    #[error("there is no function {0:?}")]
    Function(String),
    /// Neither a name nor a hexadecimal number of a return value.
    #[error(
        "there is no return value {0:?}: use a name such as CKR_DEVICE_ERROR, or a number such as 0x80000001"
    )]
    Code(String),
    /// `CKR_OK` injected before the call would claim work that was not done.
    #[error("CKR_OK cannot be injected")]
    CodeOk,
    /// Neither a name nor a hexadecimal number of a mechanism.
    #[error(
        "there is no mechanism {0:?}: use a name such as CKM_AES_GCM, or a number such as 0x1087"
    )]
    Mechanism(String),
    /// The action needs this field.
    #[error("{action:?} needs the field {field:?}")]
    Missing {
        /// The action, as written in the plan.
        action: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The action has no such field.
    #[error("{action:?} has no field {field:?}")]
    Surplus {
        /// The action, as written in the plan.
        action: &'static str,
        /// The field.
        field: &'static str,
    },
    /// More than one of `nth`, `every`, `one_in`.
    #[error("only one of \"nth\", \"every\" and \"one_in\" can be given")]
    Selections,
    /// A number outside of what makes sense.
    #[error("{field:?} must be from {least} to {most}")]
    Range {
        /// The field.
        field: &'static str,
        /// The least value.
        least: u64,
        /// The largest value.
        most: u64,
    },
    /// Signatures come from `C_Sign` and `C_SignFinal` only.
    #[error("{0:?} is for C_Sign and C_SignFinal")]
    NoSignature(&'static str),
}

impl Plan {
    /// Reads a plan. Relative paths in it stay relative: see [`Plan::read`].
    ///
    /// # Errors
    /// The first thing that is not understood, with its line.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        raw::parse(text)
    }

    /// Reads a plan file; paths in it are relative to the folder of the file.
    ///
    /// # Errors
    /// An unreadable file, or what [`Plan::parse`] refuses; the text names the file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut plan = Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for place in [
            &mut plan.module,
            &mut plan.control,
            &mut plan.trace,
            &mut plan.memory,
        ] {
            *place = place.take().map(|p| folder.join(p));
        }
        Ok(plan)
    }

    /// The plan without a fault, of a device without quirks.
    pub fn transparent() -> Self {
        Self {
            seed: 0,
            module: None,
            control: None,
            trace: None,
            memory: None,
            profile: Profile::Plain,
            device: Device::default(),
            faults: Vec::new(),
        }
    }

    /// What everything random is drawn from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The real module.
    pub fn module(&self) -> Option<&Path> {
        self.module.as_deref()
    }

    /// The folder of the control sockets.
    pub fn control(&self) -> Option<&Path> {
        self.control.as_deref()
    }

    /// The trace file.
    pub fn trace(&self) -> Option<&Path> {
        self.trace.as_deref()
    }

    /// The file in which `times` and wrong PINs are counted across processes.
    pub fn memory(&self) -> Option<&Path> {
        self.memory.as_deref()
    }

    /// Whose device this pretends to be.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// What kind of device this is: the profile's quirks, as changed by the plan.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The faults, in the order of the file.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

#[cfg(test)]
mod tests;
