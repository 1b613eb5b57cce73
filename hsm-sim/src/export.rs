//! The one symbol of the module.
#![allow(unsafe_code)] // an exported symbol

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV};

/// Gives out the function list: where every PKCS#11 2.40 application begins.
///
/// # Safety
/// `list` is null or points to a place for a pointer, as PKCS#11 asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    // SAFETY: the caller's promise is the same.
    unsafe { crate::entry::give_function_list(list) }
}
