//! Forwarded calls that do more than forward: they keep the device's state, and give it its vendor's quirks.
//!
//! Every hook has the arguments of its function and the real function before them, and demands of its caller what PKCS#11 demands of
//! the caller of that function: pointers that are null where the standard allows it, or point to as much as the lengths say.
#![allow(unsafe_code)] // takes C pointers from callers and passes them on

mod gcm;
mod keys;
mod tokens;

pub(crate) use gcm::{decrypt_init, encrypt, encrypt_init};
pub(crate) use keys::{generate_key_pair, get_attribute_value};
pub(crate) use tokens::{
    get_mechanism_info, get_mechanism_list, get_slot_info, get_slot_list, get_token_info,
};

use crate::sim::Sim;
use cryptoki_sys::*;
use std::ffi::c_void;

/// # Safety
/// As for `C_Initialize`.
pub(crate) unsafe fn initialize(
    sim: &Sim,
    real: unsafe extern "C" fn(*mut c_void) -> CK_RV,
    arguments: *mut c_void,
) -> CK_RV {
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(arguments) };
    if answer == CKR_OK {
        sim.state().initialize();
    }
    answer
}

/// # Safety
/// As for `C_Finalize`.
pub(crate) unsafe fn finalize(
    sim: &Sim,
    real: unsafe extern "C" fn(*mut c_void) -> CK_RV,
    reserved: *mut c_void,
) -> CK_RV {
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(reserved) };
    if answer == CKR_OK {
        sim.state().finalize();
    }
    answer
}

/// # Safety
/// As for `C_OpenSession`.
pub(crate) unsafe fn open_session(
    sim: &Sim,
    real: unsafe extern "C" fn(
        CK_SLOT_ID,
        CK_FLAGS,
        *mut c_void,
        CK_NOTIFY,
        *mut CK_SESSION_HANDLE,
    ) -> CK_RV,
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    let active = sim.active();
    let device = active.plan().device();
    if !device.read_only_sessions && flags & CKF_RW_SESSION == 0 {
        return CKR_ARGUMENTS_BAD;
    }
    // The state stays locked until the session is counted, so that two threads cannot both take the last one.
    let mut state = sim.state();
    if device
        .max_sessions
        .is_some_and(|most| state.is_initialized() && state.sessions() >= most)
    {
        return CKR_SESSION_COUNT;
    }
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(slot, flags, application, notify, session) };
    if answer == CKR_OK {
        // SAFETY: the real module has just written the handle there.
        state.opened(unsafe { *session }, slot);
    }
    answer
}

/// # Safety
/// As for `C_CloseSession`.
pub(crate) unsafe fn close_session(
    sim: &Sim,
    real: unsafe extern "C" fn(CK_SESSION_HANDLE) -> CK_RV,
    session: CK_SESSION_HANDLE,
) -> CK_RV {
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(session) };
    if answer == CKR_OK {
        sim.state().closed(session);
    }
    answer
}

/// # Safety
/// As for `C_CloseAllSessions`.
pub(crate) unsafe fn close_all_sessions(
    sim: &Sim,
    real: unsafe extern "C" fn(CK_SLOT_ID) -> CK_RV,
    slot: CK_SLOT_ID,
) -> CK_RV {
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(slot) };
    if answer == CKR_OK {
        sim.state().closed_all(slot);
    }
    answer
}

/// # Safety
/// As for `C_Login`.
pub(crate) unsafe fn login(
    sim: &Sim,
    real: unsafe extern "C" fn(
        CK_SESSION_HANDLE,
        CK_USER_TYPE,
        *mut CK_UTF8CHAR,
        CK_ULONG,
    ) -> CK_RV,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    let active = sim.active();
    if user == CKU_USER && sim.state().pin_is_locked(active.plan().device()) {
        return CKR_PIN_LOCKED;
    }
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(session, user, pin, length) };
    if user == CKU_USER && (answer == CKR_OK || answer == CKR_PIN_INCORRECT) {
        sim.state().pin_was(answer == CKR_OK, &sim.memory);
    }
    answer
}
