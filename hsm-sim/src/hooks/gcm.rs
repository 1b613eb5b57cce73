//! AES-GCM as vendors have it: IVs made by the device, limits of length, a field that must be set.

use crate::plan::{Device, GcmIv};
use crate::sim::Sim;
use cryptoki_sys::*;

type Init = unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV;

/// # Safety
/// As for `C_EncryptInit`.
pub(crate) unsafe fn encrypt_init(
    sim: &Sim,
    real: Init,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let active = sim.active();
    let device = active.plan().device();
    // SAFETY: the caller's promise is the same.
    let parameters = unsafe { gcm(mechanism) };
    sim.state().encrypts(session, parameters.is_some());
    if let Some(parameters) = parameters {
        if device.gcm_needs_iv_bits && !iv_bits_are_right(parameters) {
            return CKR_MECHANISM_PARAM_INVALID;
        }
        // SAFETY: the caller's promise is the same.
        if let Err(answer) = unsafe { make_iv(sim, device, session, parameters) } {
            return answer;
        }
    }
    // SAFETY: the caller's promise is the same.
    unsafe { real(session, mechanism, key) }
}

/// # Safety
/// As for `C_DecryptInit`.
pub(crate) unsafe fn decrypt_init(
    sim: &Sim,
    real: Init,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let needs_bits = sim.active().plan().device().gcm_needs_iv_bits;
    // SAFETY: the caller's promise is the same.
    if unsafe { gcm(mechanism) }
        .is_some_and(|parameters| needs_bits && !iv_bits_are_right(parameters))
    {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    // SAFETY: the caller's promise is the same.
    unsafe { real(session, mechanism, key) }
}

/// # Safety
/// As for `C_Encrypt`.
pub(crate) unsafe fn encrypt(
    sim: &Sim,
    real: unsafe extern "C" fn(
        CK_SESSION_HANDLE,
        *mut CK_BYTE,
        CK_ULONG,
        *mut CK_BYTE,
        *mut CK_ULONG,
    ) -> CK_RV,
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_length: CK_ULONG,
    out: *mut CK_BYTE,
    out_length: *mut CK_ULONG,
) -> CK_RV {
    let too_long = sim
        .active()
        .plan()
        .device()
        .gcm_max_bytes
        .is_some_and(|most| data_length > most);
    if too_long && sim.state().encrypts_with_gcm(session) {
        return CKR_DATA_LEN_RANGE;
    }
    // SAFETY: the caller's promise is the same.
    unsafe { real(session, data, data_length, out, out_length) }
}

/// The parameters, if the mechanism is AES-GCM and has some.
///
/// # Safety
/// `mechanism` is null or points to a mechanism with parameters of the length that it says.
unsafe fn gcm<'a>(mechanism: *const CK_MECHANISM) -> Option<&'a CK_GCM_PARAMS> {
    // SAFETY: null or valid, says the caller.
    let mechanism = unsafe { mechanism.as_ref() }?;
    let is_gcm = mechanism.mechanism == CKM_AES_GCM
        && mechanism.ulParameterLen == std::mem::size_of::<CK_GCM_PARAMS>() as CK_ULONG;
    if !is_gcm {
        return None;
    }
    // SAFETY: null, or parameters of this size.
    unsafe { mechanism.pParameter.cast::<CK_GCM_PARAMS>().as_ref() }
}

fn iv_bits_are_right(parameters: &CK_GCM_PARAMS) -> bool {
    parameters.ulIvLen.checked_mul(8) == Some(parameters.ulIvBits)
}

/// Where the module makes the IV: refuses one that is not zero, and writes a random one in its place.
///
/// # Safety
/// `parameters` are those of a caller of `C_EncryptInit`.
unsafe fn make_iv(
    sim: &Sim,
    device: &Device,
    session: CK_SESSION_HANDLE,
    parameters: &CK_GCM_PARAMS,
) -> Result<(), CK_RV> {
    if device.gcm_iv == GcmIv::Caller {
        return Ok(());
    }
    let length = usize::try_from(parameters.ulIvLen).map_err(|_| CKR_MECHANISM_PARAM_INVALID)?;
    if parameters.pIv.is_null() || length == 0 {
        return Err(CKR_MECHANISM_PARAM_INVALID);
    }
    // SAFETY: not null, and the caller has `ulIvLen` bytes there.
    let iv = unsafe { std::slice::from_raw_parts_mut(parameters.pIv, length) };
    if iv.iter().any(|byte| *byte != 0) {
        return Err(CKR_MECHANISM_PARAM_INVALID);
    }
    let random = sim
        .real
        .functions()
        .C_GenerateRandom
        .ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
    // SAFETY: as many bytes as are there.
    match unsafe { random(session, iv.as_mut_ptr(), parameters.ulIvLen) } {
        CKR_OK => Ok(()),
        answer => Err(answer),
    }
}
