//! What applications meet that ask for the newer interface first.
#![allow(clippy::unwrap_used, clippy::expect_used, unsafe_code)]

use cryptoki::context::{Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_OK};
use std::path::PathBuf;

fn module() -> PathBuf {
    countersign_hsm_sim::luna_module_path().expect("the module is built with this test")
}

#[test]
fn an_application_that_does_not_fall_back_cannot_load_it() {
    let answer = Pkcs11::new(module());
    assert!(matches!(
        answer,
        Err(Error::Pkcs11(
            RvError::FunctionNotSupported,
            Function::GetInterface
        ))
    ));
}

#[test]
fn an_application_that_falls_back_finds_the_function_list() {
    // SAFETY: the module was built with this test, and the symbol has this type.
    unsafe {
        let library = libloading::Library::new(module()).unwrap();
        let give = library
            .get::<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(
                b"C_GetFunctionList\0",
            )
            .unwrap();
        let mut list = std::ptr::null_mut();
        assert_eq!(give(&mut list), CKR_OK);
        assert_eq!(((*list).version.major, (*list).version.minor), (2, 40));
    }
}
