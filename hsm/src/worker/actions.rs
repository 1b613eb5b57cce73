//! What each error means: one table, by error and function.
//!
//! Measured on SoftHSM 2.6.1 and 2.7.0 and read from the trackers of other devices: `docs/hsm.md`.

use cryptoki::context::Function;
use cryptoki::error::RvError;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Throw the session away and try on another: an operation may still be open on it, and nothing else closes that.
    Replace,
    /// Log in again, and find keys anew: handles do not survive a login.
    Login,
    /// Find the key anew.
    Find,
    /// Finalize and initialize the module: it has lost its token.
    Reinitialise,
    /// Wait for others to free what is missing.
    Wait,
    /// Tell the caller. Trying again gives the same.
    Fail,
    /// Ask the token for nothing more until a person has looked.
    Stop,
}

/// The table.
pub(super) fn action(code: RvError, function: Function) -> Action {
    use RvError as E;
    match code {
        E::SessionHandleInvalid
        | E::SessionClosed
        | E::OperationActive
        | E::OperationNotInitialized
        | E::FunctionCanceled
        | E::Cancel
        | E::BufferTooSmall
        | E::UserAlreadyLoggedIn => Action::Replace,
        // Some modules say it of a session whose token was logged out under it.
        E::UserNotLoggedIn | E::SessionReadOnlyExists | E::SessionReadWriteSoExists => {
            Action::Login
        }
        E::ObjectHandleInvalid | E::KeyHandleInvalid => Action::Find,
        E::CryptokiNotInitialized
        | E::DeviceRemoved
        | E::TokenNotPresent
        | E::TokenNotRecognized
        | E::SlotIdInvalid => Action::Reinitialise,
        E::SessionCount => Action::Wait,
        E::PinIncorrect
        | E::PinInvalid
        | E::PinLenRange
        | E::PinExpired
        | E::PinLocked
        | E::UserPinNotInitialized => Action::Stop,
        // A module that another handle of this process holds already: as good as initialized.
        E::CryptokiAlreadyInitialized if matches!(function, Function::Initialize) => {
            Action::Replace
        }
        // The device is unwell, or the session is: which of them shows on the next session.
        E::DeviceError
        | E::DeviceMemory
        | E::HostMemory
        | E::GeneralError
        | E::FunctionFailed
        | E::FunctionRejected
        | E::CantLock
        | E::MutexBad
        | E::MutexNotLocked
        | E::NeedToCreateThreads
        | E::RandomNoRng
        | E::FipsSelfTestFailed
        | E::VendorDefined(_)
        | E::UnknownErrorCode(_) => Action::Replace,
        // About the sealed bytes: whether it is they or the device is found out by sealing something else.
        E::EncryptedDataInvalid | E::EncryptedDataLenRange | E::DataInvalid | E::DataLenRange
            if matches!(function, Function::Decrypt) =>
        {
            Action::Replace
        }
        _ => Action::Fail,
    }
}

/// Whether a login with this answer may have been counted as a wrong PIN.
pub(super) fn login_unclear(code: RvError) -> bool {
    use RvError as E;
    !matches!(
        code,
        E::SessionHandleInvalid
            | E::SessionClosed
            | E::CryptokiNotInitialized
            | E::TokenNotPresent
            | E::DeviceRemoved
            | E::SlotIdInvalid
            | E::TokenNotRecognized
            | E::SessionReadOnlyExists
            | E::SessionReadWriteSoExists
            | E::UserAnotherAlreadyLoggedIn
    )
}
