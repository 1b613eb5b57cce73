//! What slots and tokens say of themselves.

use crate::plan::{Device, Profile};
use crate::sim::Sim;
use cryptoki_sys::*;

/// # Safety
/// As for `C_GetSlotList`.
pub(crate) unsafe fn get_slot_list(
    sim: &Sim,
    real: unsafe extern "C" fn(CK_BBOOL, *mut CK_SLOT_ID, *mut CK_ULONG) -> CK_RV,
    with_token: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    if with_token != CK_FALSE && !count.is_null() && token_is_away(sim) {
        // SAFETY: not null; PKCS#11 asks for a place for the count.
        unsafe { *count = 0 };
        return CKR_OK;
    }
    // SAFETY: the caller's promise is the same.
    unsafe { real(with_token, slots, count) }
}

/// # Safety
/// As for `C_GetSlotInfo`.
pub(crate) unsafe fn get_slot_info(
    sim: &Sim,
    real: unsafe extern "C" fn(CK_SLOT_ID, *mut CK_SLOT_INFO) -> CK_RV,
    slot: CK_SLOT_ID,
    info: *mut CK_SLOT_INFO,
) -> CK_RV {
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(slot, info) };
    if answer == CKR_OK && token_is_away(sim) {
        // SAFETY: the real module has just written it.
        unsafe { (*info).flags &= !CKF_TOKEN_PRESENT };
    }
    answer
}

/// # Safety
/// As for `C_GetTokenInfo`.
pub(crate) unsafe fn get_token_info(
    sim: &Sim,
    real: unsafe extern "C" fn(CK_SLOT_ID, *mut CK_TOKEN_INFO) -> CK_RV,
    slot: CK_SLOT_ID,
    info: *mut CK_TOKEN_INFO,
) -> CK_RV {
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(slot, info) };
    if answer == CKR_OK {
        let active = sim.active();
        // SAFETY: the real module has just written it, and nobody else has a reference to the caller's structure.
        let info = unsafe { &mut *info };
        say_simulator(info, active.plan().profile());
        say_limits(info, sim, active.plan().device());
    }
    answer
}

fn token_is_away(sim: &Sim) -> bool {
    let active = sim.active();
    let mut state = sim.state();
    state.is_initialized() && !state.token_is_seen(active.plan().device())
}

/// Label and serial number stay: tokens are found by them.
fn say_simulator(info: &mut CK_TOKEN_INFO, profile: Profile) {
    fill(
        &mut info.manufacturerID,
        &format!("SIMULATOR ({})", profile.name()),
    );
    fill(&mut info.model, "SIMULATOR");
}

/// PKCS#11 pads with spaces and has no terminating zero.
fn fill(field: &mut [u8], text: &str) {
    for (place, byte) in field
        .iter_mut()
        .zip(text.bytes().chain(std::iter::repeat(b' ')))
    {
        *place = byte;
    }
}

fn say_limits(info: &mut CK_TOKEN_INFO, sim: &Sim, device: &Device) {
    let state = sim.state();
    if let Some(most) = device.max_sessions {
        info.ulMaxSessionCount = most;
        info.ulSessionCount = state.sessions();
    }
    if let Some(tries) = device.pin_tries {
        if state.wrong_pins() > 0 {
            info.flags |= CKF_USER_PIN_COUNT_LOW;
        }
        if state.wrong_pins().saturating_add(1) == tries {
            info.flags |= CKF_USER_PIN_FINAL_TRY;
        }
    }
    if state.pin_is_locked(device) {
        info.flags |= CKF_USER_PIN_LOCKED;
    }
}

type GetMechanismList =
    unsafe extern "C" fn(CK_SLOT_ID, *mut CK_MECHANISM_TYPE, *mut CK_ULONG) -> CK_RV;

/// # Safety
/// As for `C_GetMechanismList`.
pub(crate) unsafe fn get_mechanism_list(
    sim: &Sim,
    real: GetMechanismList,
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    let active = sim.active();
    let hidden = &active.plan().device().hidden;
    if hidden.is_empty() || count.is_null() {
        // SAFETY: the caller's promise is the same.
        return unsafe { real(slot, list, count) };
    }
    let shown: Vec<_> = match all_mechanisms(real, slot) {
        Ok(all) => all
            .into_iter()
            .filter(|mechanism| !hidden.contains(mechanism))
            .collect(),
        Err(answer) => return answer,
    };
    // SAFETY: not null; PKCS#11 asks for a count there.
    let room = unsafe { std::mem::replace(&mut *count, shown.len() as CK_ULONG) };
    if list.is_null() {
        return CKR_OK;
    }
    if room < shown.len() as CK_ULONG {
        return CKR_BUFFER_TOO_SMALL;
    }
    // SAFETY: the caller has room for as many as it said, which is enough.
    unsafe { std::ptr::copy_nonoverlapping(shown.as_ptr(), list, shown.len()) };
    CKR_OK
}

fn all_mechanisms(
    real: GetMechanismList,
    slot: CK_SLOT_ID,
) -> Result<Vec<CK_MECHANISM_TYPE>, CK_RV> {
    let mut count = 0;
    // SAFETY: asks for the count, which is there.
    let answer = unsafe { real(slot, std::ptr::null_mut(), &mut count) };
    let length = usize::try_from(count).map_err(|_| CKR_HOST_MEMORY)?;
    if answer != CKR_OK {
        return Err(answer);
    }
    let mut all = vec![0; length];
    // SAFETY: there is room for `count` of them.
    let answer = unsafe { real(slot, all.as_mut_ptr(), &mut count) };
    all.truncate(usize::try_from(count).unwrap_or(0));
    if answer == CKR_OK {
        Ok(all)
    } else {
        Err(answer)
    }
}

/// # Safety
/// As for `C_GetMechanismInfo`.
pub(crate) unsafe fn get_mechanism_info(
    sim: &Sim,
    real: unsafe extern "C" fn(CK_SLOT_ID, CK_MECHANISM_TYPE, *mut CK_MECHANISM_INFO) -> CK_RV,
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    if sim.active().plan().device().hidden.contains(&mechanism) {
        return CKR_MECHANISM_INVALID;
    }
    // SAFETY: the caller's promise is the same.
    unsafe { real(slot, mechanism, info) }
}
