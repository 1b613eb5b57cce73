//! The simulator as the Luna client 10.5 meets old firmware: `C_GetInterface` is there and answers
//! `CKR_FUNCTION_NOT_SUPPORTED`. A symbol cannot be there for one profile and absent for another, hence a module of its own.
#![allow(unsafe_code)] // an exported symbol

use cryptoki_sys::{
    CK_FLAGS, CK_INTERFACE, CK_RV, CK_UTF8CHAR, CK_VERSION, CKR_FUNCTION_NOT_SUPPORTED,
};

// `C_GetFunctionList` comes from there.
extern crate countersign_hsm_sim;

/// Always `CKR_FUNCTION_NOT_SUPPORTED`.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetInterface(
    _name: *mut CK_UTF8CHAR,
    _version: *mut CK_VERSION,
    _interface: *mut *mut CK_INTERFACE,
    _flags: CK_FLAGS,
) -> CK_RV {
    CKR_FUNCTION_NOT_SUPPORTED
}
