//! The functions that the outside calls: one for each entry of the function list, all made by one macro from the generated
//! table. A panic ends here and becomes `CKR_GENERAL_ERROR`; across the C interface it would be undefined behaviour.
#![allow(unsafe_code, non_snake_case)] // C functions with the names that PKCS#11 gives them

use crate::call::Call;
use crate::{hooks, sim};
use cryptoki_sys::*;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn guarded(body: impl FnOnce() -> CK_RV) -> CK_RV {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(CKR_GENERAL_ERROR)
}

/// The forwarded call: plain, or through the hook that the table names.
macro_rules! forward {
    ($sim:ident, $real:ident, ($($a:ident),*)) => {
        // SAFETY: the arguments are those of our caller, who promised the same for them to us.
        unsafe { $real($($a),*) }
    };
    ($sim:ident, $real:ident, ($($a:ident),*), $hook:ident) => {
        // SAFETY: as above; hooks demand of their caller what the function demands.
        unsafe { hooks::$hook($sim, $real, $($a),*) }
    };
}

macro_rules! functions {
    ($( $name:ident ( $($a:ident : $t:ty),* ) [ $call:expr ] $(=> $hook:ident)? ; )*) => {
        /// The functions that faults can be put on.
        pub(crate) const FUNCTIONS: &[&str] = &[$(stringify!($name)),*];

        mod entries {
            use super::*;
            $( pub(super) unsafe extern "C" fn $name($($a: $t),*) -> CK_RV {
                guarded(|| {
                    let sim = match sim::for_call(stringify!($name)) {
                        Ok(sim) => sim,
                        Err(answer) => return answer,
                    };
                    let Some(real) = sim.real.functions().$name else { return CKR_FUNCTION_NOT_SUPPORTED };
                    sim.through(&$call, &mut || forward!(sim, real, ($($a),*) $(, $hook)?))
                })
            } )*
        }

        static LIST: CK_FUNCTION_LIST = CK_FUNCTION_LIST {
            version: CK_VERSION { major: 2, minor: 40 },
            C_GetFunctionList: Some(give_function_list_entry),
            $( $name: Some(entries::$name) ),*
        };
    };
}

include!("table.rs");

unsafe extern "C" fn give_function_list_entry(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    // SAFETY: the caller's promise is the same.
    unsafe { give_function_list(list) }
}

/// Gives out the simulator's function list; it needs no initialised library, and no fault can be put on it.
///
/// # Safety
/// `list` is null or points to a place for a pointer.
pub unsafe fn give_function_list(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    // SAFETY: not null, and the caller promises a place for a pointer. PKCS#11 callers do not write through it.
    unsafe { *list = (&raw const LIST).cast_mut() };
    CKR_OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_general_error() {
        assert_eq!(guarded(|| panic!("in a call")), CKR_GENERAL_ERROR);
        assert_eq!(guarded(|| CKR_OK), CKR_OK);
    }

    #[test]
    fn every_function_of_the_list_has_an_entry() {
        let mut list = std::ptr::null_mut();
        // SAFETY: a place for a pointer; and null, which is refused.
        let answers = unsafe {
            (
                give_function_list(&mut list),
                give_function_list(std::ptr::null_mut()),
            )
        };
        assert_eq!(answers, (CKR_OK, CKR_ARGUMENTS_BAD));
        // A version and 68 pointers, none of them null.
        let pointers = std::mem::size_of::<CK_FUNCTION_LIST>() / std::mem::size_of::<usize>() - 1;
        assert_eq!((pointers, FUNCTIONS.len()), (68, 67));
        // SAFETY: the list is that large, and its pointers follow its version.
        let entries = unsafe { std::slice::from_raw_parts(list.cast::<usize>().add(1), pointers) };
        assert!(entries.iter().all(|entry| *entry != 0));
    }

    #[test]
    fn nothing_but_the_list_is_given_out_before_the_start() {
        let mut info = CK_INFO::default();
        let get_info = LIST.C_GetInfo.unwrap();
        // SAFETY: a place for the information.
        assert_eq!(unsafe { get_info(&mut info) }, CKR_CRYPTOKI_NOT_INITIALIZED);
    }
}
