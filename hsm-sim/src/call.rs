//! What the simulator needs to know of a call: which function, on which session or slot, and whether it only asks for a size.
//! It never looks at the data, keys and PINs that are passed.

use crate::entry::FUNCTIONS;
use cryptoki_sys::{CK_MECHANISM, CK_MECHANISM_TYPE, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG};
use std::ffi::c_void;
use std::fmt;

/// The name of a function of PKCS#11 2.40; there is none of a function that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName(&'static str);

impl FunctionName {
    /// The function called so, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        FUNCTIONS
            .iter()
            .find(|known| **known == name)
            .map(|known| Self(known))
    }

    /// The name: `C_Sign`.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Every function that a fault can be put on.
    pub fn all() -> impl Iterator<Item = Self> {
        FUNCTIONS.iter().map(|name| Self(name))
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a call acts on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The library as a whole.
    Library,
    /// A slot and the token in it.
    Slot(CK_SLOT_ID),
    /// A session.
    Session(CK_SESSION_HANDLE),
}

/// One call from the outside.
pub(crate) struct Call {
    pub(crate) function: FunctionName,
    pub(crate) target: Target,
    mechanism: *const CK_MECHANISM,
    output: Option<(*mut u8, *mut CK_ULONG)>,
}

impl Call {
    /// A call of the function with this name; only the generated table makes them.
    pub(crate) const fn to(name: &'static str) -> Self {
        Self {
            function: FunctionName(name),
            target: Target::Library,
            mechanism: std::ptr::null(),
            output: None,
        }
    }

    pub(crate) const fn session(self, handle: CK_SESSION_HANDLE) -> Self {
        Self {
            target: Target::Session(handle),
            ..self
        }
    }

    pub(crate) const fn slot(self, slot: CK_SLOT_ID) -> Self {
        Self {
            target: Target::Slot(slot),
            ..self
        }
    }

    pub(crate) const fn mechanism(self, mechanism: *const CK_MECHANISM) -> Self {
        Self { mechanism, ..self }
    }

    pub(crate) const fn output(self, buffer: *mut c_void, length: *mut CK_ULONG) -> Self {
        Self {
            output: Some((buffer.cast(), length)),
            ..self
        }
    }

    /// Whether the caller asks how large a buffer it needs, which PKCS#11 calls do with a null pointer.
    pub(crate) fn asks_for_size(&self) -> bool {
        self.output.is_some_and(|(buffer, _)| buffer.is_null())
    }

    /// The place of the length that the function writes, if it has one.
    pub(crate) fn length(&self) -> Option<*mut CK_ULONG> {
        self.output
            .map(|(_, length)| length)
            .filter(|length| !length.is_null())
    }

    /// The buffer that the function writes to, unless only a size was asked for.
    pub(crate) fn buffer(&self) -> Option<(*mut u8, *mut CK_ULONG)> {
        self.output
            .filter(|(buffer, length)| !buffer.is_null() && !length.is_null())
    }

    /// The type of the mechanism asked for.
    #[allow(unsafe_code)]
    pub(crate) fn mechanism_type(&self) -> Option<CK_MECHANISM_TYPE> {
        // SAFETY: PKCS#11 asks the caller for a null pointer or a valid mechanism, and the type is read without its parameter.
        (!self.mechanism.is_null()).then(|| unsafe { (*self.mechanism).mechanism })
    }

    /// Whether a device that does one thing at a time is busy with this: what takes a real one milliseconds.
    pub(crate) fn is_work(&self) -> bool {
        const WORK: [&str; 10] = [
            "C_Sign",
            "C_SignFinal",
            "C_Verify",
            "C_Encrypt",
            "C_Decrypt",
            "C_WrapKey",
            "C_UnwrapKey",
            "C_DeriveKey",
            "C_GenerateKey",
            "C_GenerateKeyPair",
        ];
        WORK.contains(&self.function.0) && !self.asks_for_size()
    }

    /// Whether the call gives out a signature.
    pub(crate) fn signs(&self) -> bool {
        ["C_Sign", "C_SignFinal"].contains(&self.function.0)
    }
}
