//! The module behind the simulator.
#![allow(unsafe_code)] // loads a C library

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_OK};
use std::path::{Path, PathBuf};

/// A loaded module. It stays loaded until the process ends: modules are known to crash when they are unloaded.
pub(crate) struct Real {
    functions: &'static CK_FUNCTION_LIST,
}

/// Why a module could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot load {0}: {1}")]
    Library(PathBuf, libloading::Error),
    #[error("{0} has no C_GetFunctionList: {1}")]
    Symbol(PathBuf, libloading::Error),
    #[error("{0} gives no function list: {1:#x}")]
    NoList(PathBuf, CK_RV),
    #[error("{0} is a simulator itself: name the real module")]
    Itself(PathBuf),
}

impl Real {
    pub(crate) fn load(path: &Path) -> Result<Self, LoadError> {
        type GetList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
        // SAFETY: whoever named this module wants its initialisers run, as any PKCS#11 application does.
        let library = unsafe { libloading::Library::new(path) }
            .map_err(|e| LoadError::Library(path.into(), e))?;
        let library = Box::leak(Box::new(library));
        // SAFETY: PKCS#11 gives this symbol this type.
        let get_list = unsafe { library.get::<GetList>(b"C_GetFunctionList\0") }
            .map_err(|e| LoadError::Symbol(path.into(), e))?;
        let mut list = std::ptr::null_mut();
        // SAFETY: `list` is a place for a pointer.
        let answer = unsafe { get_list(&mut list) };
        if answer != CKR_OK || list.is_null() {
            return Err(LoadError::NoList(path.into(), answer));
        }
        let mut own = std::ptr::null_mut();
        // SAFETY: `own` is a place for a pointer.
        unsafe { crate::entry::give_function_list(&mut own) };
        if own == list {
            return Err(LoadError::Itself(path.into()));
        }
        // SAFETY: not null; the library is never unloaded, and PKCS#11 lets nobody write to the list.
        let functions = unsafe { &*list };
        Ok(Self { functions })
    }

    pub(crate) fn functions(&self) -> &'static CK_FUNCTION_LIST {
        self.functions
    }
}
