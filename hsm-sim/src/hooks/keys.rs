//! Keys as vendors have them: bare curve points, and another object identifier for Ed25519.

use crate::sim::Sim;
use cryptoki_sys::*;

/// 1.3.101.112, id-Ed25519 (RFC 8410, section 3), in DER.
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
/// 1.3.6.1.4.1.11591.15.1, as GNU had it before the RFC, in DER.
const ED25519_GNU: [u8; 11] = [
    0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01,
];

type GetAttributeValue =
    unsafe extern "C" fn(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, *mut CK_ATTRIBUTE, CK_ULONG) -> CK_RV;

/// # Safety
/// As for `C_GetAttributeValue`.
pub(crate) unsafe fn get_attribute_value(
    sim: &Sim,
    real: GetAttributeValue,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let active = sim.active();
    let device = active.plan().device();
    if template.is_null() || !(device.raw_ec_point || device.ed25519_gnu) {
        // SAFETY: the caller's promise is the same.
        return unsafe { real(session, object, template, count) };
    }
    let Ok(length) = usize::try_from(count) else {
        return CKR_ARGUMENTS_BAD;
    };
    // SAFETY: not null, and the caller has `count` attributes there. The real module gets the same memory through the raw pointer, so
    // that this reference must end before that call.
    let rooms: Vec<CK_ULONG> = unsafe { std::slice::from_raw_parts(template, length) }
        .iter()
        .map(|a| a.ulValueLen)
        .collect();
    // SAFETY: the caller's promise is the same.
    let answer = unsafe { real(session, object, template, count) };
    if answer != CKR_OK {
        return answer;
    }
    // SAFETY: as above, and the real module is done.
    for (attribute, room) in unsafe { std::slice::from_raw_parts_mut(template, length) }
        .iter_mut()
        .zip(rooms)
    {
        match attribute.type_ {
            CKA_EC_POINT if device.raw_ec_point => strip_octet_string(attribute),
            CKA_EC_PARAMS if device.ed25519_gnu => {
                // SAFETY: the caller has `room` bytes where the attribute points to.
                let renamed = unsafe { rename_curve(attribute, room) };
                if renamed != CKR_OK {
                    return renamed;
                }
            }
            _ => {}
        }
    }
    CKR_OK
}

/// 04 LENGTH POINT becomes POINT. A size query keeps its size: vendors over-report too.
fn strip_octet_string(attribute: &mut CK_ATTRIBUTE) {
    let Ok(length) = usize::try_from(attribute.ulValueLen) else {
        return;
    };
    if attribute.pValue.is_null() || attribute.ulValueLen == CK_UNAVAILABLE_INFORMATION {
        return;
    }
    // SAFETY: the real module has just written `ulValueLen` bytes there.
    let value = unsafe { std::slice::from_raw_parts_mut(attribute.pValue.cast::<u8>(), length) };
    if let [0x04, said, point @ ..] = &*value
        && usize::from(*said) == point.len()
    {
        attribute.ulValueLen = point.len() as CK_ULONG;
        value.copy_within(2.., 0);
    }
}

/// The RFC's identifier becomes GNU's, which is longer.
///
/// # Safety
/// The attribute's value is null or has `room` bytes.
unsafe fn rename_curve(attribute: &mut CK_ATTRIBUTE, room: CK_ULONG) -> CK_RV {
    const LONGER: CK_ULONG = ED25519_GNU.len() as CK_ULONG;
    if attribute.ulValueLen != ED25519.len() as CK_ULONG {
        return CKR_OK;
    }
    if attribute.pValue.is_null() {
        attribute.ulValueLen = LONGER;
        return CKR_OK;
    }
    // SAFETY: the real module has just written that many bytes there.
    if unsafe { std::slice::from_raw_parts(attribute.pValue.cast::<u8>(), ED25519.len()) }
        != ED25519
    {
        return CKR_OK;
    }
    if room < LONGER {
        attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return CKR_BUFFER_TOO_SMALL;
    }
    // SAFETY: there is room for it.
    unsafe {
        std::ptr::copy_nonoverlapping(
            ED25519_GNU.as_ptr(),
            attribute.pValue.cast::<u8>(),
            ED25519_GNU.len(),
        )
    };
    attribute.ulValueLen = LONGER;
    CKR_OK
}

type GenerateKeyPair = unsafe extern "C" fn(
    CK_SESSION_HANDLE,
    *mut CK_MECHANISM,
    *mut CK_ATTRIBUTE,
    CK_ULONG,
    *mut CK_ATTRIBUTE,
    CK_ULONG,
    *mut CK_OBJECT_HANDLE,
    *mut CK_OBJECT_HANDLE,
) -> CK_RV;

/// # Safety
/// As for `C_GenerateKeyPair`.
#[allow(clippy::too_many_arguments)] // PKCS#11 has as many
pub(crate) unsafe fn generate_key_pair(
    sim: &Sim,
    real: GenerateKeyPair,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let call = |public| {
        // SAFETY: the caller's promise is the same; its template, or a copy of it with another curve name.
        unsafe {
            real(
                session,
                mechanism,
                public,
                public_count,
                private,
                private_count,
                public_key,
                private_key,
            )
        }
    };
    let Ok(count) = usize::try_from(public_count) else {
        return CKR_ARGUMENTS_BAD;
    };
    if !sim.active().plan().device().ed25519_gnu || public.is_null() {
        return call(public);
    }
    // SAFETY: not null, and the caller has that many attributes there.
    let mut template = unsafe { std::slice::from_raw_parts(public, count) }.to_vec();
    let mut rfc = ED25519;
    for attribute in template
        .iter_mut()
        .filter(|a| a.type_ == CKA_EC_PARAMS && !a.pValue.is_null())
    {
        let Ok(length) = usize::try_from(attribute.ulValueLen) else {
            return CKR_ATTRIBUTE_VALUE_INVALID;
        };
        // SAFETY: not null, and the caller has that many bytes there.
        let curve = unsafe { std::slice::from_raw_parts(attribute.pValue.cast::<u8>(), length) };
        if curve == ED25519 {
            return CKR_ATTRIBUTE_VALUE_INVALID;
        }
        if curve == ED25519_GNU {
            attribute.pValue = rfc.as_mut_ptr().cast();
            attribute.ulValueLen = rfc.len() as CK_ULONG;
        }
    }
    call(template.as_mut_ptr())
}
